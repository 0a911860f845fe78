/*
 * The other side of the doorbell's benchmark: a library for what the runtimes can not do, and as a program (with a main,
 * below) the process that writes.
 *
 *   peer RING OWN gap COUNT MICROSECONDS   a stamp to each socket in turn, so far apart after the first ones
 *   peer RING OWN echo COUNT 0             a hundred to each in turn, the next when a byte has come back; prints the medians
 *   peer RING OWN traffic COUNT 0          as echo, on 32 connections to each at a time
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static uint64_t stamp(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Microseconds, since a double of nanoseconds might be rounded. */
double peer_now(void)
{
	return (double)stamp() / 1000;
}

/* For the relay: an eventfd that waits, and two connected sockets. */
int peer_open(int *fds)
{
	fds[0] = eventfd(0, EFD_CLOEXEC);
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds + 1);
}

/* Writes at first that are closer together, for the engines to compile what handles them. */
#define WARM_UP 2000

struct watcher {
	int fd;
	void (*callback)(void);
};

static void *watch(void *argument)
{
	struct watcher *watcher = argument;
	uint64_t counter;

	while (read(watcher->fd, &counter, sizeof(counter)) == sizeof(counter))
		watcher->callback();
	return NULL;
}

/* A thread that calls back for each signal of an eventfd. */
int peer_watch(int fd, void (*callback)(void))
{
	struct watcher *watcher = malloc(sizeof(*watcher));
	pthread_t thread;

	watcher->fd = fd;
	watcher->callback = callback;
	return pthread_create(&thread, NULL, watch, watcher);
}

static int connected(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		perror(path);
		exit(1);
	}
	return fd;
}

static int order(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* A side's connections: one, or as many as there are in traffic. */
#define MANY 32

static void stamped(int fd, uint64_t now)
{
	if (write(fd, &now, sizeof(now)) != sizeof(now))
		exit(1);
}

static void answered(int fd)
{
	char byte;

	if (read(fd, &byte, 1) != 1)
		exit(1);
}

int main(int argc, char **argv)
{
	if (argc != 6)
		return 2;
	const int gapped = strcmp(argv[3], "gap") == 0, many = strcmp(argv[3], "traffic") == 0 ? MANY : 1;
	const int count = atoi(argv[4]) / many;
	const uint64_t gap = (uint64_t)atoi(argv[5]) * 1000;
	double *trips[] = {calloc((size_t)count, sizeof(double)), calloc((size_t)count, sizeof(double))};
	uint64_t next = stamp() + 100000000, now;
	int fds[2][MANY];

	for (int side = 0; side < 2; side++)
		for (int i = 0; i < many; i++)
			fds[side][i] = connected(argv[1 + side]);
	usleep(100000);
	for (int i = 0; i < 2 * count; i++) {
		const int side = gapped ? i % 2 : i / 100 % 2;

		if (gapped) {
			next += i < WARM_UP ? 200000 : gap;
			struct timespec until = {(time_t)(next / 1000000000), (long)(next % 1000000000)};
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
		}
		now = stamp();
		for (int j = 0; j < many; j++)
			stamped(fds[side][j], j == 0 ? now : stamp());
		if (gapped)
			continue;
		for (int j = 0; j < many; j++)
			answered(fds[side][j]);
		trips[side][i / 200 * 100 + i % 100] = (double)(stamp() - now) / 1000;
	}
	if (!gapped) {
		for (int side = 0; side < 2; side++) {
			qsort(trips[side], (size_t)count, sizeof(double), order);
			printf("%.1f %.1f ", trips[side][count / 2], trips[side][count * 99 / 100]);
		}
	}
	return 0;
}
