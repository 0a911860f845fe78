import { statSync } from "node:fs";
import { alloc, cstring, type Pinned } from "uring";
import { AT_FDCWD, O_CLOEXEC, O_CREAT, O_RDWR } from "uring/abi";
import { mustCall, syscall } from "../support/system.ts";
import type { Bench } from "./support.ts";

/** Closes an fd when the test is over. */
export function owned(bench: Bench, fd: number): number {
  bench.defer(() => mustCall("close", fd));
  return fd;
}

/** A file in the test's folder, created if it is not there, open until the test is over. */
export function open(bench: Bench, path: string, flags: number = O_RDWR | O_CREAT): number {
  using name = cstring(path);
  return owned(bench, mustCall("openat", AT_FDCWD, name.address, flags | O_CLOEXEC, 0o600));
}

/** An eventfd. `flags` are those of open, `O_NONBLOCK` above all. */
export function eventfd(bench: Bench, initial = 0, flags = 0): number {
  return owned(bench, mustCall("eventfd2", initial, flags | O_CLOEXEC));
}

/** Both ends of a pair of connected Unix stream sockets. */
export function socketpair(bench: Bench): [number, number] {
  const AF_UNIX = 1;
  const SOCK_STREAM = 1;
  using fds = alloc(8);
  mustCall("socketpair", AF_UNIX, SOCK_STREAM | O_CLOEXEC, 0, fds.address);
  const [a, b] = int32s(fds) as unknown as [number, number];
  return [owned(bench, a), owned(bench, b)];
}

/** write(2): its result. */
export function write(fd: number, content: string | Uint8Array): number {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  using memory = alloc(Math.max(bytes.length, 1));
  memory.bytes.set(bytes);
  return syscall("write", fd, memory.address, bytes.length);
}

/** read(2): what came, as text. */
export function read(fd: number, length = 4096): string {
  using memory = alloc(length);
  const count = mustCall("read", fd, memory.address, length);
  return new TextDecoder().decode(memory.bytes.slice(0, count));
}

/** Adds to an eventfd's counter. */
export function signal(eventfd: number): void {
  write(eventfd, new Uint8Array(BigUint64Array.of(1n).buffer));
}

/** The address of a NUL-terminated string, for a system call; valid until the test is over. */
export function cstringAddress(bench: Bench, text: string): number {
  const memory = cstring(text);
  bench.defer(() => memory[Symbol.dispose]());
  return memory.address;
}

/** Memory with a text in it. */
export function textMemory(text: string): Pinned {
  const bytes = new TextEncoder().encode(text);
  const memory = alloc(bytes.length);
  memory.bytes.set(bytes);
  return memory;
}

/** Memory as 32-bit integers. */
export function int32s(memory: Pinned): Int32Array {
  return new Int32Array(memory.bytes.buffer, memory.bytes.byteOffset, memory.byteLength >> 2);
}

/** A copy of the text in memory. */
export function textOf(memory: Pinned, length: number = memory.byteLength): string {
  return new TextDecoder().decode(memory.bytes.slice(0, length));
}

/** The size of the file behind an fd, which not every runtime's fstat knows. */
export function sizeOf(fd: number): number {
  return statSync(`/proc/self/fd/${fd}`).size;
}

/** Whether an fd is open. */
export function isOpen(fd: number): boolean {
  const F_GETFD = 1;
  return syscall("fcntl", fd, F_GETFD) >= 0;
}
