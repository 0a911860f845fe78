/* nop ENTRIES BATCH default|registered: no-ops, so many an io_uring_enter. */
#include "twin.h"

static uint64_t sum;

static void nops(struct io_uring *ring, unsigned int batch, uint64_t count)
{
	for (uint64_t done = 0; done < count; done += batch) {
		struct io_uring_cqe *cqe;
		unsigned int head, seen = 0;
		int ret;

		for (unsigned int i = 0; i < batch; i++) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

			io_uring_prep_nop(sqe);
			io_uring_sqe_set_data64(sqe, i);
		}
		ret = io_uring_submit_and_wait(ring, batch);
		if (ret < 0)
			fail("io_uring_submit_and_wait", -ret);
		io_uring_for_each_cqe(ring, head, cqe) {
			sum += cqe->user_data + (uint64_t)cqe->res;
			seen++;
		}
		io_uring_cq_advance(ring, seen);
	}
}

int main(int argc, char **argv)
{
	struct io_uring ring;
	uint64_t count;

	if (argc != 4)
		return 2;
	set_up(&ring, number(argv[1]), argv[3]);
	while ((count = next_round())) {
		uint64_t start;

		nops(&ring, number(argv[2]), count / 8);
		start = now();
		nops(&ring, number(argv[2]), count);
		answer(now() - start);
	}
	/* What was summed up must be used for something. */
	return sum == 1;
}
