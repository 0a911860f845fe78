/**
 * Copies a file through a ring, many blocks in flight at once. The copy must not exist yet.
 *
 *     bun examples/copy.ts from to
 *     deno run --allow-ffi examples/copy.ts from to
 */
import process from "node:process";

import { alloc, type Cqe, cstring, decodeStatx, type Pinned, Ring, type Sqe } from "uring";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_RDONLY,
  O_WRONLY,
  STATX_BASIC_STATS,
  statx,
} from "uring/abi";

const DEPTH = 8;
const BLOCK_SIZE = 512 * 1024;

/** How far a copy is: bytes that are in their place, of how many. */
export type Progress = (done: number, total: number) => void;

/** What a copy took. */
export interface Copied {
  readonly bytes: number;
  readonly operations: number;
  /** Calls of `io_uring_enter(2)`. */
  readonly enters: number;
}

/** A part of the file on its way: first read into `memory`, then written from there. */
class Block {
  readonly memory: Pinned;
  offset = 0;
  length = 0;
  writing = false;
  /** How many of its bytes have been read, or while writing been written. */
  done = 0;

  constructor(memory: Pinned) {
    this.memory = memory;
  }
}

/** A ring that counts, and the plainest way to use one: an operation at a time. */
class CountingRing {
  readonly ring: Ring = new Ring({ entries: DEPTH });
  operations = 0;
  enters = 0;

  /** The next entry. With at most `DEPTH` operations at a time there always is one. */
  next(): Sqe {
    const sqe = this.ring.getSqe();
    if (sqe === null) throw new Error("more operations than the ring has entries");
    this.operations++;
    return sqe;
  }

  /** Submits what is queued and waits until there are completions. */
  wait(): void {
    this.ring.submitAndWait(1);
    this.enters++;
  }

  /** Runs one operation, the only one; its result. */
  run(syscall: string, prepare: (sqe: Sqe) => Sqe): number {
    prepare(this.next());
    let cqe: Cqe | null = null;
    // A signal ends a wait early.
    while (cqe === null) {
      this.wait();
      cqe = this.ring.peekCqe();
    }
    this.ring.cqAdvance(1);
    const error = cqe.error(syscall);
    if (error !== null) throw error;
    return cqe.res;
  }

  [Symbol.dispose](): void {
    this.ring.close();
  }
}

/** Copies a file, its permissions included, to a path where nothing is yet. */
export function copyFile(from: string, to: string, progress: Progress): Copied {
  // What is declared first is disposed of last: memory must outlive the ring that works on it.
  using memory = alloc(DEPTH * BLOCK_SIZE);
  using fromPath = cstring(from);
  using toPath = cstring(to);
  using noPath = cstring("");
  using status = alloc(statx.sizeof);
  using counting = new CountingRing();

  let bytes = 0;
  const source = counting.run("openat", (sqe) => {
    return sqe.prepOpenat(AT_FDCWD, fromPath, O_RDONLY | O_CLOEXEC, 0);
  });
  try {
    counting.run("statx", (sqe) => sqe.prepStatx(source, noPath, AT_EMPTY_PATH, STATX_BASIC_STATS, status));
    const { size, mode } = decodeStatx(status);
    bytes = Number(size);
    const flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
    const target = counting.run("openat", (sqe) => sqe.prepOpenat(AT_FDCWD, toPath, flags, mode & 0o777));
    try {
      copyBlocks(counting, source, target, bytes, memory, progress);
    } finally {
      counting.run("close", (sqe) => sqe.prepClose(target));
    }
  } finally {
    counting.run("close", (sqe) => sqe.prepClose(source));
  }
  return { bytes, operations: counting.operations, enters: counting.enters };
}

/** Keeps `DEPTH` blocks moving, some being read while others are written, until the whole file has arrived. */
function copyBlocks(
  counting: CountingRing,
  source: number,
  target: number,
  size: number,
  memory: Pinned,
  progress: Progress,
): void {
  const { ring } = counting;
  const blocks = Array.from(
    { length: DEPTH },
    (_, index) => new Block(memory.slice(index * BLOCK_SIZE, BLOCK_SIZE)),
  );
  let started = 0;
  let copied = 0;
  let moving = 0;
  let failure: Error | undefined;

  /** Sends a block on: what is left of it to read or to write. */
  function advance(index: number, block: Block): void {
    const rest = block.memory.slice(block.done, block.length - block.done);
    const offset = block.offset + block.done;
    const sqe = counting.next();
    if (block.writing) sqe.prepWrite(target, rest, rest.byteLength, offset);
    else sqe.prepRead(source, rest, rest.byteLength, offset);
    sqe.setData64(index);
    moving++;
  }

  /** Gives a block the next part of the file to carry, as long as there is one. */
  function restart(index: number, block: Block): void {
    if (started === size) return;
    block.offset = started;
    block.length = Math.min(BLOCK_SIZE, size - started);
    block.writing = false;
    block.done = 0;
    started += block.length;
    advance(index, block);
  }

  function complete(cqe: Cqe): void {
    const index = cqe.userData;
    const block = blocks[index] as Block;
    moving--;
    if (cqe.res <= 0) failure ??= cqe.error("read or write") ?? new Error("the file has become shorter");
    // After a failure nothing new is started, but what moves must come to its end.
    if (failure !== undefined) return;
    block.done += cqe.res;
    if (block.done < block.length) {
      advance(index, block);
    } else if (block.writing) {
      copied += block.length;
      restart(index, block);
    } else {
      block.writing = true;
      block.done = 0;
      advance(index, block);
    }
  }

  for (const [index, block] of blocks.entries()) restart(index, block);
  while (moving > 0) {
    counting.wait();
    ring.cqAdvance(ring.forEachCqe(complete));
    progress(copied, size);
  }
  if (failure !== undefined) throw failure;
}

/** A line that tells how far a copy is: rewritten on a terminal, elsewhere one line a quarter. */
export function progressLine(): Progress {
  const steps = process.stdout.isTTY ? 100 : 4;
  let shown = -1;
  return (done, total) => {
    const step = Math.floor((done / total) * steps);
    if (step === shown) return;
    shown = step;
    const percent = Math.floor((done / total) * 100);
    const line = `${String(percent).padStart(3)} %  ${megabytes(done)} of ${megabytes(total)} MB`;
    if (!process.stdout.isTTY) console.log(line);
    else process.stdout.write(`\r${line}${done === total ? "\n" : ""}`);
  };
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}

if (import.meta.main) {
  const [from, to] = process.argv.slice(2);
  if (from === undefined || to === undefined) {
    console.error("usage: copy.ts from to");
    process.exitCode = 2;
  } else {
    const { bytes, operations, enters } = copyFile(from, to, progressLine());
    console.log(`${bytes} bytes, ${operations} operations, ${enters} enters`);
  }
}
