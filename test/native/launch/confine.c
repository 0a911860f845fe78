/*
 * Runs a program under the limits that users meet: a seccomp filter that refuses io_uring, a missing capability, less
 * locked memory, fewer file descriptors.
 *
 *   confine [errno=NUMBER] [without=CAPABILITY] [memlock=BYTES] [nofile=COUNT] -- PROGRAM ARGUMENTS...
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static void fail(const char *what)
{
	fprintf(stderr, "confine: %s: %s\n", what, strerror(errno));
	exit(125);
}

/* The three calls are numbered alike on every architecture. */
static void refuse_io_uring(unsigned int number)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SYS_io_uring_setup, 0, 2),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, SYS_io_uring_register, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (number & SECCOMP_RET_DATA)),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(filter) / sizeof(filter[0]), .filter = filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		fail("no_new_privs");
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		fail("seccomp");
}

static void limit(int resource, const char *text)
{
	rlim_t value = strtoull(text, NULL, 10);
	struct rlimit both = { .rlim_cur = value, .rlim_max = value };

	if (setrlimit(resource, &both))
		fail("setrlimit");
}

/* What root's programs get is bounded by this set. Nobody else has a capability to lose. */
static void drop(const char *capability)
{
	if (geteuid() == 0 && prctl(PR_CAPBSET_DROP, strtoul(capability, NULL, 10), 0, 0, 0))
		fail("capability");
}

static const char *value_of(const char *argument, const char *name)
{
	size_t length = strlen(name);

	return strncmp(argument, name, length) ? NULL : argument + length;
}

int main(int argc, char **argv)
{
	const char *number = NULL, *value;
	int i = 1;

	for (; i < argc && strcmp(argv[i], "--"); i++) {
		if ((value = value_of(argv[i], "errno=")))
			number = value;
		else if ((value = value_of(argv[i], "without=")))
			drop(value);
		else if ((value = value_of(argv[i], "memlock=")))
			limit(RLIMIT_MEMLOCK, value);
		else if ((value = value_of(argv[i], "nofile=")))
			limit(RLIMIT_NOFILE, value);
		else
			break;
	}
	if (i + 1 >= argc || strcmp(argv[i], "--")) {
		fprintf(stderr, "confine: [errno=N] [without=CAPABILITY] [memlock=BYTES] [nofile=N] -- PROGRAM ARGUMENTS...\n");
		return 125;
	}
	/* Last, since nothing here may stand in its way. */
	if (number)
		refuse_io_uring((unsigned int)strtoul(number, NULL, 10));
	execvp(argv[i + 1], argv + i + 1);
	fail(argv[i + 1]);
}
