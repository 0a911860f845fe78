/*
 * A thread that does with a ring's queues what a poller thread of the kernel does, except that it only completes entries,
 * and that it falls asleep after any number of looks: the kernel's can not before several milliseconds are over.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

#define NEED_WAKEUP 1u
#define SQE_SIZE 64
#define SQE_USER_DATA 32

struct cqe {
	uint64_t user_data;
	int32_t res;
	uint32_t flags;
};

/* Where things are in a ring's memory, in bytes from its start, and how many entries the queues have. */
struct places {
	uint32_t sq_head, sq_tail, sq_flags, cq_head, cq_tail, cqes, sq_entries, cq_entries;
};

static struct {
	pthread_t thread;
	_Atomic uint32_t *sq_head, *sq_tail, *sq_flags, *cq_head, *cq_tail;
	const char *sqes;
	struct cqe *cqes;
	uint32_t sq_mask, cq_mask;
	int32_t looks;
	/* Counts, and is what the thread sleeps on. */
	_Atomic uint32_t wakes;
	atomic_bool stop;
	/* Whether somebody sleeps until there is a completion. */
	atomic_bool awaited;
	uint32_t random;
	int32_t sleeps;
} poller;

static long futex(_Atomic uint32_t *word, int op, uint32_t value, const struct timespec *timeout)
{
	return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, timeout, NULL, 0);
}

/* Takes one entry, if there is one, and completes it. */
static bool take(void)
{
	uint32_t head = atomic_load_explicit(poller.sq_head, memory_order_relaxed);
	uint32_t tail = atomic_load_explicit(poller.cq_tail, memory_order_relaxed);
	struct cqe *cqe = &poller.cqes[tail & poller.cq_mask];

	if (head == atomic_load_explicit(poller.sq_tail, memory_order_acquire))
		return false;
	*cqe = (struct cqe){ 0 };
	memcpy(&cqe->user_data, poller.sqes + SQE_SIZE * (head & poller.sq_mask) + SQE_USER_DATA, 8);
	atomic_store_explicit(poller.sq_head, head + 1, memory_order_release);
	atomic_store(poller.cq_tail, tail + 1);
	if (atomic_load(&poller.awaited))
		futex(poller.cq_tail, FUTEX_WAKE, 1, NULL);
	return true;
}

static void sleep_until_woken(void)
{
	uint32_t wakes = atomic_load(&poller.wakes);

	atomic_fetch_or(poller.sq_flags, NEED_WAKEUP);
	atomic_thread_fence(memory_order_seq_cst);
	/* What came before the flag could be seen was told to nobody. */
	if (atomic_load(poller.sq_head) == atomic_load(poller.sq_tail)) {
		poller.sleeps++;
		while (!atomic_load(&poller.stop) && atomic_load(&poller.wakes) == wakes)
			futex(&poller.wakes, FUTEX_WAIT, wakes, NULL);
	}
	atomic_fetch_and(poller.sq_flags, ~NEED_WAKEUP);
}

/* How often to look for an entry before falling asleep: any number, so that it comes at any moment of the other side's. */
static int32_t looks_to_take(void)
{
	poller.random = poller.random * 1664525 + 1013904223;
	return 1 + (poller.random >> 8) % poller.looks;
}

static void *poll(void *arg)
{
	while (!atomic_load(&poller.stop)) {
		int32_t looks = looks_to_take();

		while (looks-- > 0)
			if (take())
				looks = looks_to_take();
		sleep_until_woken();
	}
	return arg;
}

/*
 * Starts the thread on a ring's queues and entries, which are not in use by the kernel. It sleeps after `looks` looks at
 * most. One at a time.
 */
EXPORT int32_t harness_poller_start(double rings, double sqes, const struct places *at, int32_t looks);
EXPORT int32_t harness_poller_start(double rings, double sqes, const struct places *at, int32_t looks)
{
	char *base = (char *)(uintptr_t)rings;

	poller.sq_head = (_Atomic uint32_t *)(base + at->sq_head);
	poller.sq_tail = (_Atomic uint32_t *)(base + at->sq_tail);
	poller.sq_flags = (_Atomic uint32_t *)(base + at->sq_flags);
	poller.cq_head = (_Atomic uint32_t *)(base + at->cq_head);
	poller.cq_tail = (_Atomic uint32_t *)(base + at->cq_tail);
	poller.cqes = (struct cqe *)(base + at->cqes);
	poller.sqes = (const char *)(uintptr_t)sqes;
	poller.sq_mask = at->sq_entries - 1;
	poller.cq_mask = at->cq_entries - 1;
	poller.looks = looks;
	poller.sleeps = 0;
	atomic_store(&poller.stop, false);
	return -pthread_create(&poller.thread, NULL, poll, NULL);
}

/* What IORING_ENTER_SQ_WAKEUP does. */
EXPORT int32_t harness_poller_wake(void);
EXPORT int32_t harness_poller_wake(void)
{
	atomic_fetch_add(&poller.wakes, 1);
	return futex(&poller.wakes, FUTEX_WAKE, 1, NULL);
}

/* Waits some milliseconds for a completion: 0 or -ETIME. Wakes nobody. */
EXPORT int32_t harness_poller_wait(int32_t milliseconds);
EXPORT int32_t harness_poller_wait(int32_t milliseconds)
{
	struct timespec timeout = { milliseconds / 1000, milliseconds % 1000 * 1000000L };

	int32_t result = 0;

	atomic_store(&poller.awaited, true);
	while (!result) {
		uint32_t tail = atomic_load(poller.cq_tail);

		if (tail != atomic_load(poller.cq_head))
			break;
		if (futex(poller.cq_tail, FUTEX_WAIT, tail, &timeout) && errno == ETIMEDOUT)
			result = -ETIME;
	}
	atomic_store(&poller.awaited, false);
	return result;
}

/* Ends the thread: how often it has slept. */
EXPORT int32_t harness_poller_stop(void);
EXPORT int32_t harness_poller_stop(void)
{
	atomic_store(&poller.stop, true);
	harness_poller_wake();
	pthread_join(poller.thread, NULL);
	return poller.sleeps;
}
