/* What the tests need and no JavaScript has: pipes by fd, another thread's writes, and signals at a chosen thread. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT int32_t harness_pipe(int32_t *fds);
EXPORT int32_t harness_pipe(int32_t *fds)
{
	return pipe2(fds, O_CLOEXEC) ? -errno : 0;
}

static void *write_byte(void *arg)
{
	ssize_t n = write((int)(intptr_t)arg, "x", 1);

	return (void *)(intptr_t)(n < 0 ? -errno : n);
}

/* Has another thread write a byte, and returns what write(2) did there once it has. */
EXPORT int32_t harness_write_from_thread(int32_t fd);
EXPORT int32_t harness_write_from_thread(int32_t fd)
{
	pthread_t thread;
	void *result;
	int ret = pthread_create(&thread, NULL, write_byte, (void *)(intptr_t)fd);

	if (ret)
		return -ret;
	pthread_join(thread, &result);
	return (int32_t)(intptr_t)result;
}

struct sleeper {
	int fd;
	pid_t tid;
};

/* Waits until a thread of this process sleeps in the kernel, 10 seconds at most. */
static void await_sleep(pid_t tid)
{
	char path[64], line[512];

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tid);
	for (int i = 0; i < 10000; i++) {
		int number = -1;
		FILE *file = fopen(path, "r");

		if (file) {
			if (fgets(line, sizeof(line), file))
				sscanf(line, "%d", &number);
			fclose(file);
		}
		if (number == SYS_io_uring_enter)
			return;
		usleep(1000);
	}
}

static void *write_at_sleep(void *arg)
{
	struct sleeper *sleeper = arg;

	await_sleep(sleeper->tid);
	return write_byte((void *)(intptr_t)sleeper->fd);
}

static struct sleeper sleeper;
static pthread_t sleeper_thread;

/* Has another thread write a byte as soon as the caller's thread sleeps in io_uring_enter(2). One at a time. */
EXPORT int32_t harness_write_at_sleep(int32_t fd);
EXPORT int32_t harness_write_at_sleep(int32_t fd)
{
	sleeper = (struct sleeper){ .fd = fd, .tid = (pid_t)syscall(SYS_gettid) };
	return -pthread_create(&sleeper_thread, NULL, write_at_sleep, &sleeper);
}

EXPORT int32_t harness_write_at_sleep_join(void);
EXPORT int32_t harness_write_at_sleep_join(void)
{
	void *result;

	pthread_join(sleeper_thread, &result);
	return (int32_t)(intptr_t)result;
}

/* How many threads of the system are blocked on I/O, or -errno. */
static int blocked_on_io(void)
{
	FILE *file = fopen("/proc/stat", "r");
	char line[4096];
	int count = -1;

	if (!file)
		return -errno;
	while (count < 0 && fgets(line, sizeof(line), file))
		sscanf(line, "procs_blocked %d", &count);
	fclose(file);
	return count;
}

static void *watch_at_sleep(void *arg)
{
	int least = INT_MAX;

	await_sleep(sleeper.tid);
	for (int i = 0; i < 20; i++) {
		int count = blocked_on_io();

		if (count < least)
			least = count;
		usleep(1000);
	}
	write_byte((void *)(intptr_t)sleeper.fd);
	*(int *)arg = least;
	return arg;
}

/*
 * Has another thread look how many threads of the system are blocked on I/O while the caller's thread sleeps in
 * io_uring_enter(2), and then write a byte. One at a time.
 */
EXPORT int32_t harness_watch_at_sleep(int32_t fd);
EXPORT int32_t harness_watch_at_sleep(int32_t fd)
{
	static int least;

	sleeper = (struct sleeper){ .fd = fd, .tid = (pid_t)syscall(SYS_gettid) };
	return -pthread_create(&sleeper_thread, NULL, watch_at_sleep, &least);
}

/* Waits for that thread: the least number it saw. */
EXPORT int32_t harness_watch_at_sleep_join(void);
EXPORT int32_t harness_watch_at_sleep_join(void)
{
	void *least;

	pthread_join(sleeper_thread, &least);
	return *(int *)least;
}

static atomic_int signalling;
static pthread_t signalled, signaller;

static void do_nothing(int number)
{
	(void)number;
}

static void *signal_repeatedly(void *arg)
{
	while (atomic_load(&signalling)) {
		pthread_kill(signalled, SIGUSR2);
		usleep(1000);
	}
	return arg;
}

/* Has another thread send SIGUSR2, which is handled by doing nothing, to this one every millisecond. */
EXPORT int32_t harness_signals_start(void);
EXPORT int32_t harness_signals_start(void)
{
	struct sigaction action = { .sa_handler = do_nothing };

	sigaction(SIGUSR2, &action, NULL);
	signalled = pthread_self();
	atomic_store(&signalling, 1);
	return -pthread_create(&signaller, NULL, signal_repeatedly, NULL);
}

EXPORT int32_t harness_signals_stop(void);
EXPORT int32_t harness_signals_stop(void)
{
	atomic_store(&signalling, 0);
	return -pthread_join(signaller, NULL);
}
