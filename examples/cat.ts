/**
 * Prints a file:
 *
 *     bun examples/cat.ts README.md
 *     deno run --allow-ffi examples/cat.ts README.md
 */
import process from "node:process";

import { alloc, cstring, Ring, type Sqe } from "uring";
import { AT_FDCWD, O_RDONLY } from "uring/abi";

// Memory is declared before the ring that works on it: what is declared last is disposed of first.
using buffer = alloc(65536);
using path = cstring(process.argv[2] ?? "README.md");
using ring = new Ring({ entries: 8 });

const file = run("openat", (sqe) => sqe.prepOpenat(AT_FDCWD, path, O_RDONLY, 0));
for (let length = read(); length > 0; length = read()) {
  for (let at = 0; at < length; at += write(at, length - at));
}
run("close", (sqe) => sqe.prepClose(file));

function read(): number {
  return run("read", (sqe) => sqe.prepRead(file, buffer, buffer.byteLength, -1));
}

function write(at: number, length: number): number {
  return run("write", (sqe) => sqe.prepWrite(1, buffer.slice(at), length, -1));
}

/** Runs one operation and waits for its result. */
function run(syscall: string, prepare: (sqe: Sqe) => Sqe): number {
  const sqe = ring.getSqe();
  if (sqe === null) throw new Error("the submission queue is full");
  prepare(sqe);
  ring.submit();
  let cqe = ring.waitCqe();
  // A signal ends a wait early.
  while (cqe === null) cqe = ring.waitCqe();
  ring.cqAdvance(1);
  const error = cqe.error(syscall);
  if (error !== null) throw error;
  return cqe.res;
}
