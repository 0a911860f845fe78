/*
 * The uring shim: the few things JavaScript can not do itself.
 *
 * It takes and returns plain numbers (addresses are doubles, exact to 2^53; a Linux user address has 47 bits, 56 with
 * LA57), reports errors as -errno, and keeps no state but the list of uring_keep(). System calls other than io_uring's
 * own are made here directly, so that the library needs no libc at run time and one file serves glibc and musl.
 */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <linux/time_types.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>

#include <liburing.h>

#include "errno_names.h"

#define EXPORT __attribute__((visibility("default")))
#define HIDDEN __attribute__((visibility("hidden")))

/* Raised whenever an exported signature or the order of uring_describe() changes. */
#define SHIM_VERSION 4

/* liburing.a is built with stack protection; without a libc its failure handler is ours to provide. */
HIDDEN void __stack_chk_fail(void);
HIDDEN void __stack_chk_fail(void)
{
	__builtin_trap();
}

/* Compilers turn copying loops and assignments into calls of these; the barrier keeps their own loops out of that. */
HIDDEN void *memcpy(void *restrict to, const void *restrict from, size_t size);
HIDDEN void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		((char *)to)[i] = ((const char *)from)[i];
		__asm__ volatile("" ::: "memory");
	}
	return to;
}

HIDDEN void *memset(void *to, int byte, size_t size);
HIDDEN void *memset(void *to, int byte, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		((char *)to)[i] = (char)byte;
		__asm__ volatile("" ::: "memory");
	}
	return to;
}

#if defined(__x86_64__)
#define SHIM_ARCH 1

static long call6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
#define SHIM_ARCH 2

/* Some arm64 compilers read the canary from a variable instead of the thread's control block. */
HIDDEN uintptr_t __stack_chk_guard = 0x00000aff0d0a0000;

static long call6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5), "r"(x8)
			 : "memory");
	return x0;
}
#else
#error "uring supports x86-64 and arm64"
#endif

static void *pointer(double address)
{
	return (void *)(uintptr_t)address;
}

/* The address of a buffer: each runtime's FFI passes a typed array as a pointer to its first byte. */
EXPORT double uring_address(const void *buffer);
EXPORT double uring_address(const void *buffer)
{
	return (double)(uintptr_t)buffer;
}

EXPORT int32_t uring_setup(uint32_t entries, double params);
EXPORT int32_t uring_setup(uint32_t entries, double params)
{
	return io_uring_setup(entries, pointer(params));
}

/* arg is what flags make of it: nothing, struct io_uring_getevents_arg, or an offset into a registered wait region. */
EXPORT int32_t uring_enter(int32_t fd, uint32_t to_submit, uint32_t min_complete, uint32_t flags, double arg,
			   uint32_t arg_size);
EXPORT int32_t uring_enter(int32_t fd, uint32_t to_submit, uint32_t min_complete, uint32_t flags, double arg,
			   uint32_t arg_size)
{
	return io_uring_enter2((unsigned int)fd, to_submit, min_complete, flags, pointer(arg), arg_size);
}

EXPORT int32_t uring_register(int32_t fd, uint32_t opcode, double arg, uint32_t nr_args);
EXPORT int32_t uring_register(int32_t fd, uint32_t opcode, double arg, uint32_t nr_args)
{
	return io_uring_register((unsigned int)fd, opcode, pointer(arg), nr_args);
}

/* Maps part of a ring (fd >= 0), or anonymous memory in huge pages (fd = -1). Address, or -errno. */
EXPORT double uring_map(int32_t fd, double length, double offset);
EXPORT double uring_map(int32_t fd, double length, double offset)
{
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB : MAP_SHARED | MAP_POPULATE;

	return (double)call6(__NR_mmap, 0, (long)length, PROT_READ | PROT_WRITE, flags, fd, (long)offset);
}

EXPORT int32_t uring_unmap(double address, double length);
EXPORT int32_t uring_unmap(double address, double length)
{
	return (int32_t)call6(__NR_munmap, (long)address, (long)length, 0, 0, 0, 0);
}

/*
 * Undoes uring_map(), and keeps the addresses: what the kernel may still be asked to write there goes nowhere, instead of
 * into memory that is mapped there later.
 */
EXPORT int32_t uring_retire(double address, double length);
EXPORT int32_t uring_retire(double address, double length)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
	const long result = call6(__NR_mmap, (long)address, (long)length, PROT_NONE, flags, -1, 0);

	return result < 0 ? (int32_t)result : 0;
}

/*
 * Exchanges the pages of private anonymous memory for new ones, all zero. Pages that a ring has pinned live on outside of
 * this process's memory, and so does what the kernel writes into them late.
 */
EXPORT int32_t uring_discard(double address, double length);
EXPORT int32_t uring_discard(double address, double length)
{
	return (int32_t)call6(__NR_madvise, (long)address, (long)length, MADV_DONTNEED, 0, 0, 0);
}

/* Memory of uring_keep(): this in pages of its own, and the memory itself after it, aligned to 64 KiB as alloc() says. */
struct kept {
	struct kept *next;
	long length;
	int owner;
};

#define KEPT_HEADER 65536

static struct kept *kept_first;

/*
 * Memory for a thread that may end while the kernel still writes to it, as a Worker's does that is terminated: no engine
 * frees or reuses it. What a thread has left behind is given, in new pages, to the next that asks for as much. By the
 * time its id is no thread's any more its operations have ended; what a ring stores late goes to the pages it has pinned.
 * Address, or -errno.
 */
EXPORT double uring_keep(double length);
EXPORT double uring_keep(double length)
{
	const int self = (int)call6(__NR_gettid, 0, 0, 0, 0, 0, 0);
	const long process = call6(__NR_getpid, 0, 0, 0, 0, 0, 0);
	const long size = (long)length;

	for (struct kept *each = __atomic_load_n(&kept_first, __ATOMIC_ACQUIRE); each; each = each->next) {
		int owner = __atomic_load_n(&each->owner, __ATOMIC_RELAXED);
		char *memory = (char *)each + KEPT_HEADER;

		if (each->length != size || owner == self || call6(__NR_tgkill, process, owner, 0, 0, 0, 0) != -ESRCH ||
		    !__atomic_compare_exchange_n(&each->owner, &owner, self, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			continue;
		if (call6(__NR_madvise, (long)memory, size, MADV_DONTNEED, 0, 0, 0) == 0)
			return (double)(uintptr_t)memory;
	}

	/* One header more than needed leaves room for the memory to begin at a multiple of its size. */
	long mapped = call6(__NR_mmap, 0, 2 * KEPT_HEADER + size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mapped < 0)
		return (double)mapped;
	const long memory = (mapped + 2 * KEPT_HEADER - 1) & -(long)KEPT_HEADER;
	struct kept *fresh = (struct kept *)(memory - KEPT_HEADER);
	fresh->length = size;
	fresh->owner = self;
	fresh->next = __atomic_load_n(&kept_first, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&kept_first, &fresh->next, fresh, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
	return (double)memory;
}

EXPORT int32_t uring_close(int32_t fd);
EXPORT int32_t uring_close(int32_t fd)
{
	return (int32_t)call6(__NR_close, fd, 0, 0, 0, 0, 0);
}

/* An eventfd as the runtimes' event loops want it: its reads do not wait. The fd, or -errno. */
EXPORT int32_t uring_eventfd(void);
EXPORT int32_t uring_eventfd(void)
{
	return (int32_t)call6(__NR_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK, 0, 0, 0, 0);
}

/* Adds one to an eventfd's counter. 8 or -errno. */
EXPORT int32_t uring_signal(int32_t fd);
EXPORT int32_t uring_signal(int32_t fd)
{
	uint64_t one = 1;

	return (int32_t)call6(__NR_write, fd, (long)&one, sizeof(one), 0, 0, 0);
}

/* Copies text and its NUL as far as size allows; its whole length. */
static int32_t copy_text(char *out, uint32_t size, const char *text)
{
	uint32_t i = 0;

	for (; text[i]; i++)
		if (i + 1 < size)
			out[i] = text[i];
	if (size)
		out[i < size ? i : size - 1] = 0;
	return (int32_t)i;
}

/* "EINVAL: invalid argument" for 22; 0 for a number that is no errno. */
EXPORT int32_t uring_errno_name(int32_t number, char *out, uint32_t size);
EXPORT int32_t uring_errno_name(int32_t number, char *out, uint32_t size)
{
	switch (number) {
#define CASE(name, text)                                                                                               \
	case name:                                                                                                     \
		return copy_text(out, size, #name ": " text);
		ERRNO_NAMES(CASE)
#undef CASE
	}
	return 0;
}

/* The running kernel's release, such as "6.18.44". */
EXPORT int32_t uring_kernel_release(char *out, uint32_t size);
EXPORT int32_t uring_kernel_release(char *out, uint32_t size)
{
	struct utsname name;
	long ret = call6(__NR_uname, (long)&name, 0, 0, 0, 0, 0);

	return ret < 0 ? (int32_t)ret : copy_text(out, size, name.release);
}

/* The sysctl kernel.io_uring_disabled (0, 1 or 2), or -errno; -ENOENT before Linux 6.6. */
EXPORT int32_t uring_sysctl_disabled(void);
EXPORT int32_t uring_sysctl_disabled(void)
{
	char digit = 0;
	long ret, fd = call6(__NR_openat, AT_FDCWD, (long)"/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC, 0, 0, 0);

	if (fd < 0)
		return (int32_t)fd;
	ret = call6(__NR_read, fd, (long)&digit, 1, 0, 0, 0);
	call6(__NR_close, fd, 0, 0, 0, 0, 0);
	return ret < 0 ? (int32_t)ret : digit - '0';
}

/*
 * What the compiler saw, for the TypeScript side to compare with its own tables before it trusts either. Writes at
 * most count words; how many there are.
 */
EXPORT int32_t uring_describe(uint32_t *out, uint32_t count);
EXPORT int32_t uring_describe(uint32_t *out, uint32_t count)
{
	static const uint32_t words[] = {
		SHIM_VERSION,
		SHIM_ARCH,
		sizeof(struct io_uring_sqe),
		offsetof(struct io_uring_sqe, fd),
		offsetof(struct io_uring_sqe, off),
		offsetof(struct io_uring_sqe, addr),
		offsetof(struct io_uring_sqe, len),
		offsetof(struct io_uring_sqe, rw_flags),
		offsetof(struct io_uring_sqe, user_data),
		offsetof(struct io_uring_sqe, buf_index),
		offsetof(struct io_uring_sqe, file_index),
		offsetof(struct io_uring_sqe, addr3),
		sizeof(struct io_uring_cqe),
		offsetof(struct io_uring_cqe, res),
		offsetof(struct io_uring_cqe, flags),
		sizeof(struct io_uring_params),
		offsetof(struct io_uring_params, features),
		offsetof(struct io_uring_params, sq_off),
		offsetof(struct io_uring_params, cq_off),
		sizeof(struct io_uring_getevents_arg),
		sizeof(struct iovec),
		sizeof(struct msghdr),
		offsetof(struct msghdr, msg_iov),
		offsetof(struct msghdr, msg_control),
		offsetof(struct msghdr, msg_flags),
		sizeof(struct cmsghdr),
		sizeof(struct sockaddr_storage),
		sizeof(struct __kernel_timespec),
		sizeof(struct open_how),
		sizeof(struct statx),
		sizeof(struct epoll_event),
	};
	const uint32_t total = sizeof(words) / sizeof(words[0]);

	for (uint32_t i = 0; i < total && i < count; i++)
		out[i] = words[i];
	return (int32_t)total;
}
