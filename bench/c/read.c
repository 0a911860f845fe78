/* read ENTRIES DEPTH default|registered FILE: 4 KiB reads at random places of the file's first 64 MiB. */
#include "twin.h"

#include <fcntl.h>

#define BLOCK 4096
#define BLOCKS 16384

static uint64_t sum;

/* Goes on from round to round, so that no round finds in the caches what the one before has read. */
static uint32_t random_number = 1;

static void reads(struct io_uring *ring, unsigned int depth, int fd, char *memory, uint64_t count)
{
	for (uint64_t done = 0; done < count; done += depth) {
		struct io_uring_cqe *cqe;
		unsigned int head, seen = 0;
		int ret;

		for (unsigned int i = 0; i < depth; i++) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

			random_number = random_number * 1664525 + 1013904223;
			io_uring_prep_read(sqe, fd, memory + (size_t)i * BLOCK, BLOCK,
					   (uint64_t)((random_number >> 8) & (BLOCKS - 1)) * BLOCK);
			io_uring_sqe_set_data64(sqe, i);
		}
		ret = io_uring_submit_and_wait(ring, depth);
		if (ret < 0)
			fail("io_uring_submit_and_wait", -ret);
		io_uring_for_each_cqe(ring, head, cqe) {
			if (cqe->res != BLOCK)
				fail("read", -cqe->res);
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
	char *memory;
	int fd;

	if (argc != 5)
		return 2;
	fd = open(argv[4], O_RDONLY);
	if (fd < 0)
		fail(argv[4], errno);
	memory = aligned_alloc(BLOCK, (size_t)number(argv[2]) * BLOCK);
	if (!memory)
		fail("aligned_alloc", ENOMEM);
	memset(memory, 0, (size_t)number(argv[2]) * BLOCK);
	set_up(&ring, number(argv[1]), argv[3]);
	while ((count = next_round())) {
		uint64_t start;

		reads(&ring, number(argv[2]), fd, memory, count / 8);
		start = now();
		reads(&ring, number(argv[2]), fd, memory, count);
		answer(now() - start);
	}
	/* What was summed up must be used for something. */
	return sum == 1;
}
