/* System calls for what a test sets up, does from another thread or process, or compares with. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static void pause_us(int32_t us)
{
	struct timespec time = { us / 1000000, us % 1000000 * 1000L };

	while (us > 0 && nanosleep(&time, &time) && errno == EINTR)
		;
}

/* A system call by number: its result or -errno. Arguments and result are numbers of JavaScript. */
EXPORT double harness_syscall(int32_t number, double a, double b, double c, double d, double e, double f);
EXPORT double harness_syscall(int32_t number, double a, double b, double c, double d, double e, double f)
{
	long result = syscall(number, (long)a, (long)b, (long)c, (long)d, (long)e, (long)f);

	return result == -1 ? -errno : result;
}

/* As harness_syscall, while the process may have two pages of address space more than it has, and no more than that. */
EXPORT double harness_squeezed_syscall(int32_t number, double a, double b, double c, double d, double e, double f);
EXPORT double harness_squeezed_syscall(int32_t number, double a, double b, double c, double d, double e, double f)
{
	struct rlimit before, squeezed;
	char statm[64] = "";
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, statm, sizeof(statm) - 1) <= 0 || getrlimit(RLIMIT_AS, &before))
		return -errno;
	close(fd);
	squeezed = before;
	squeezed.rlim_cur = (strtoul(statm, NULL, 10) + 2) * sysconf(_SC_PAGESIZE);
	if (setrlimit(RLIMIT_AS, &squeezed))
		return -errno;
	double result = harness_syscall(number, a, b, c, d, e, f);

	setrlimit(RLIMIT_AS, &before);
	return result;
}

/* What another thread is to do, and what came of it. */
struct task {
	pthread_t thread;
	int32_t number;
	double args[6];
	int32_t fd, count, size, pause;
	double result;
};

#define TASKS 64
static struct task *tasks[TASKS];

static void *run_call(void *arg)
{
	struct task *task = arg;
	const double *args = task->args;

	task->result = harness_syscall(task->number, args[0], args[1], args[2], args[3], args[4], args[5]);
	return NULL;
}

static void *run_writes(void *arg)
{
	struct task *task = arg;
	char *bytes = malloc(task->size);

	memset(bytes, 'x', task->size);
	for (int32_t i = 0; i < task->count; i++) {
		pause_us(task->pause);
		ssize_t written = write(task->fd, bytes, task->size);

		if (written < 0) {
			task->result = -errno;
			break;
		}
		task->result += written;
	}
	free(bytes);
	return NULL;
}

/* A number to join the thread by, or -errno. */
static int32_t start(void *(*body)(void *), struct task task)
{
	for (int32_t i = 0; i < TASKS; i++) {
		if (tasks[i])
			continue;
		tasks[i] = malloc(sizeof(task));
		*tasks[i] = task;
		int ret = pthread_create(&tasks[i]->thread, NULL, body, tasks[i]);

		if (!ret)
			return i;
		free(tasks[i]);
		tasks[i] = NULL;
		return -ret;
	}
	return -EAGAIN;
}

/* Has another thread make a system call. */
EXPORT int32_t harness_thread_syscall(int32_t number, double a, double b, double c, double d, double e, double f);
EXPORT int32_t harness_thread_syscall(int32_t number, double a, double b, double c, double d, double e, double f)
{
	return start(run_call, (struct task){ .number = number, .args = { a, b, c, d, e, f } });
}

/* Has another thread write `size` bytes `count` times, each time after a pause of `pause` microseconds. */
EXPORT int32_t harness_thread_write(int32_t fd, int32_t count, int32_t size, int32_t pause);
EXPORT int32_t harness_thread_write(int32_t fd, int32_t count, int32_t size, int32_t pause)
{
	return start(run_writes, (struct task){ .fd = fd, .count = count, .size = size, .pause = pause });
}

/* Waits for such a thread: the result of its call, or how many bytes it has written. */
EXPORT double harness_thread_join(int32_t index);
EXPORT double harness_thread_join(int32_t index)
{
	struct task *task = tasks[index];

	pthread_join(task->thread, NULL);
	double result = task->result;

	free(task);
	tasks[index] = NULL;
	return result;
}

#define CHILDREN 256
#define CHILD_STACK 16384

struct child {
	int32_t delay, fd, code;
	_Alignas(16) char stack[CHILD_STACK];
};

static struct child children[CHILDREN];
static int next_child;

/* Shares the parent's memory, its thread's errno included: system calls that fail only where the test does, too. */
static int run_child(void *arg)
{
	struct child *child = arg;
	struct timespec time = { child->delay / 1000000, child->delay % 1000000 * 1000L };

	if (child->delay > 0)
		syscall(SYS_nanosleep, &time, NULL);
	if (child->fd >= 0 && syscall(SYS_write, child->fd, "x", 1) != 1)
		child->code = 255;
	syscall(SYS_exit, child->code);
	return 0;
}

/*
 * A child process that sleeps for `delay` microseconds, writes one byte to `fd` unless that is -1, and exits: its process
 * id, or -errno. At most 256 at a time. No fork, which would copy a runtime's page tables: rounds of thousands take time.
 */
EXPORT int32_t harness_child(int32_t delay, int32_t fd, int32_t code);
EXPORT int32_t harness_child(int32_t delay, int32_t fd, int32_t code)
{
	struct child *child = &children[next_child++ % CHILDREN];

	child->delay = delay;
	child->fd = fd;
	child->code = code;
	int pid = clone(run_child, child->stack + CHILD_STACK, CLONE_VM | SIGCHLD, child);

	return pid < 0 ? -errno : pid;
}

static int run_child_call(void *arg)
{
	run_call(arg);
	syscall(SYS_exit, 0);
	return 0;
}

/* Runs `body` in a child process that shares memory, and waits until it has exited: the call's result or -errno. */
static double child_call(int (*body)(void *), struct task task)
{
	static _Alignas(16) char stack[CHILD_STACK];
	int pid = clone(body, stack + CHILD_STACK, CLONE_VM, &task);

	if (pid < 0)
		return -errno;
	while (waitpid(pid, NULL, __WALL) < 0)
		if (errno != EINTR)
			return -errno;
	return task.result;
}

/* Has a child process make a system call and exit, after which this returns: the call's result or -errno. */
EXPORT double harness_child_syscall(int32_t number, double a, double b, double c, double d, double e, double f);
EXPORT double harness_child_syscall(int32_t number, double a, double b, double c, double d, double e, double f)
{
	return child_call(run_child_call, (struct task){ .number = number, .args = { a, b, c, d, e, f } });
}

static int run_child_call_and_exec(void *arg)
{
	static char path[] = "/bin/true";
	static char *const argv[] = { path, NULL }, *const envp[] = { NULL };

	run_call(arg);
	syscall(SYS_execve, path, argv, envp);
	syscall(SYS_exit, 127);
	return 0;
}

/* As harness_child_syscall, with a child process that then becomes another program. */
EXPORT double harness_child_syscall_exec(int32_t number, double a, double b, double c, double d, double e, double f);
EXPORT double harness_child_syscall_exec(int32_t number, double a, double b, double c, double d, double e, double f)
{
	return child_call(run_child_call_and_exec,
			  (struct task){ .number = number, .args = { a, b, c, d, e, f } });
}
