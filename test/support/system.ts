import { native } from "./harness.ts";

/** Numbers of system calls, on x64 and on arm64. */
const NUMBERS = {
  accept4: [288, 242],
  clock_gettime: [228, 113],
  close: [3, 57],
  dup: [32, 23],
  epoll_create1: [291, 20],
  epoll_ctl: [233, 21],
  eventfd2: [290, 19],
  execve: [59, 221],
  fcntl: [72, 25],
  fsync: [74, 82],
  futex: [202, 98],
  getsockname: [51, 204],
  getsockopt: [55, 209],
  gettid: [186, 178],
  io_uring_enter: [426, 426],
  io_uring_register: [427, 427],
  io_uring_setup: [425, 425],
  ioctl: [16, 29],
  kill: [62, 129],
  mknodat: [259, 33],
  mmap: [9, 222],
  munmap: [11, 215],
  openat: [257, 56],
  pipe2: [293, 59],
  ppoll: [271, 73],
  pread64: [17, 67],
  prlimit64: [302, 261],
  pwrite64: [18, 68],
  read: [0, 63],
  sched_getaffinity: [204, 123],
  setsockopt: [54, 208],
  socketpair: [53, 199],
  statx: [332, 291],
  timerfd_create: [283, 85],
  timerfd_settime: [286, 86],
  wait4: [61, 260],
  waitid: [247, 95],
  write: [1, 64],
} as const;

export type Syscall = keyof typeof NUMBERS;

function parameters(name: Syscall, args: readonly number[]): number[] {
  const [x64, arm64] = NUMBERS[name];
  return [process.arch === "arm64" ? arm64 : x64, ...Array.from({ length: 6 }, (_, i) => args[i] ?? 0)];
}

/** A system call, for what a test sets up or compares with; its result or `-errno`. Addresses are `Pinned.address`. */
export function syscall(name: Syscall, ...args: number[]): number {
  return (native.harness_syscall as (...all: number[]) => number)(...parameters(name, args));
}

/** A system call that must not fail. */
export function mustCall(name: Syscall, ...args: number[]): number {
  const result = syscall(name, ...args);
  if (result < 0) throw new Error(`${name}: errno ${-result}`);
  return result;
}

/**
 * A system call while this process may have two pages of address space more than it has; the result or `-errno`. Other
 * threads may end the process meanwhile, for want of memory.
 */
export function syscallInTightSpace(name: Syscall, ...args: number[]): number {
  return (native.harness_squeezed_syscall as (...all: number[]) => number)(...parameters(name, args));
}

/** Has a child process, which shares this one's memory, make a system call and exit; the call's result or `-errno`. */
export function syscallInChild(name: Syscall, ...args: number[]): number {
  return (native.harness_child_syscall as (...all: number[]) => number)(...parameters(name, args));
}

/** Has a child process make a system call and then become another program, which exits; the call's result or `-errno`. */
export function syscallBeforeExec(name: Syscall, ...args: number[]): number {
  return (native.harness_child_syscall_exec as (...all: number[]) => number)(...parameters(name, args));
}

/** Something another thread does; `join` waits for the end and gives the result, negative for failure. */
export interface Task {
  join(): number;
}

function task(index: number): Task {
  if (index < 0) throw new Error(`pthread_create: errno ${-index}`);
  return { join: () => native.harness_thread_join(index) };
}

/** Has another thread make a system call. */
export function syscallInThread(name: Syscall, ...args: number[]): Task {
  return task((native.harness_thread_syscall as (...all: number[]) => number)(...parameters(name, args)));
}

/** Has another thread write `size` bytes, all `x`, `count` times, after a pause each; the result is the bytes written. */
export function writesFromThread(
  fd: number,
  { count = 1, size = 1, pauseMs = 0 }: { count?: number; size?: number; pauseMs?: number } = {},
): Task {
  return task(native.harness_thread_write(fd, count, size, Math.round(pauseMs * 1000)));
}

/** Starts a process that sleeps, writes a byte to an fd where one is given, and exits; its id. The caller waits for it. */
export function child({
  delayMs = 0,
  fd = -1,
  code = 0,
}: {
  delayMs?: number;
  fd?: number;
  code?: number;
} = {}): number {
  const pid = native.harness_child(Math.round(delayMs * 1000), fd, code);
  if (pid < 0) throw new Error(`fork: errno ${-pid}`);
  return pid;
}
