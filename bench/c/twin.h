/*
 * What the C twins of the benchmarks have in common. A twin sets its ring up once, says how on one line, and then runs
 * a round for each line on its input: so many operations; the answer is the nanoseconds they took.
 */
#ifndef TWIN_H
#define TWIN_H

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <liburing.h>

static inline void fail(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(error));
	exit(1);
}

/* liburing's defaults, or these and the ring's fd registered with this thread. */
static inline void set_up(struct io_uring *ring, unsigned int entries, const char *kind)
{
	int ret = io_uring_queue_init(entries, ring, 0);

	if (ret < 0)
		fail("io_uring_queue_init", -ret);
	if (strcmp(kind, "registered") == 0) {
		ret = io_uring_register_ring_fd(ring);
		if (ret < 0)
			fail("io_uring_register_ring_fd", -ret);
	}
	printf("flags 0x%x, %s ring fd, %u entries\n", ring->flags,
	       ring->int_flags ? "registered" : "plain", ring->sq.ring_entries);
	fflush(stdout);
}

static inline uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Whole numbers from the command line. */
static inline unsigned int number(const char *text)
{
	return (unsigned int)strtoul(text, NULL, 10);
}

/* Reads the next round's number of operations; 0 at the end of input. */
static inline uint64_t next_round(void)
{
	char line[32];

	return fgets(line, sizeof(line), stdin) ? strtoull(line, NULL, 10) : 0;
}

static inline void answer(uint64_t nanoseconds)
{
	printf("%" PRIu64 "\n", nanoseconds);
	fflush(stdout);
}

#endif
