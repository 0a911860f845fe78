import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { alloc, cstring, type Pinned, type Ring, type Sqe } from "uring";
import { AT_FDCWD, IORING_OP_NOP, O_RDONLY } from "uring/abi";
import { runtime } from "#runtime";
import { pipe } from "./harness.ts";

/** `[userData, res, flags]` of a completion. */
export type Completion = [userData: number, res: number, flags: number];

/** Long enough for any operation here on a busy machine; nothing waits so long unless it is broken. */
export const LONG = 20_000;

/** The next free entry, where there must be one. */
export function entry(ring: Ring): Sqe {
  let sqe = ring.getSqe();
  if (sqe === null) {
    // A poller thread gives places back after all it has read is done: completions of those entries are there before.
    ring.sqringWait();
    sqe = ring.getSqe();
  }
  assert.ok(sqe, "the submission queue is full");
  return sqe;
}

/** Hands over what is prepared, and gives the next completions, which must come. */
export function reap(ring: Ring, count: number): Completion[] {
  const all: Completion[] = [];
  const end = performance.now() + LONG;
  while (all.length < count && performance.now() < end) {
    ring.submitAndWait(1, { timeout: LONG });
    ring.drain((...completion) => all.push(completion));
  }
  assert.equal(all.length, count, `completions: ${JSON.stringify(all)}`);
  return all;
}

/** Runs one operation on a ring that does nothing else; its result. */
export function run(ring: Ring, fill: (sqe: Sqe) => unknown): number {
  const sqe = entry(ring);
  fill(sqe);
  sqe.setData64(4711);
  const [[userData, res]] = reap(ring, 1) as [Completion];
  assert.equal(userData, 4711);
  return res;
}

/** A NOP with `IORING_NOP_*` flags, for which there is no helper: `result` is for `IORING_NOP_INJECT_RESULT`. */
export function nop(sqe: Sqe, flags: number, result = 0, extra: [number, number] = [0, 0]): Sqe {
  return sqe.prepPollAdd(-1, flags).prepRw(IORING_OP_NOP, -1, extra[1], result >>> 0, extra[0]);
}

/** Prepares no-ops whose `user_data` counts up. */
export function nops(ring: Ring, count: number, from = 0): void {
  for (const userData of range(count, from)) entry(ring).prepNop().setData64(userData);
}

/** What is ready, without a wait for more. */
export function drained(ring: Ring): Completion[] {
  const all: Completion[] = [];
  ring.drain((...completion) => all.push(completion));
  return all;
}

/** So many numbers, one after the other. */
export function range(count: number, from = 0): number[] {
  return Array.from({ length: count }, (_, i) => from + i);
}

/** Bytes of the library's memory with a text in them. */
export function bytes(text: string): Pinned {
  const utf8 = new TextEncoder().encode(text);
  const memory = alloc(utf8.length);
  memory.bytes.set(utf8);
  return memory;
}

/** The text in memory. */
export function text(memory: Pinned | Uint8Array, length: number = memory.byteLength): string {
  // A copy: some engines decode no shared memory, nor that of WebAssembly.
  return new TextDecoder().decode((memory instanceof Uint8Array ? memory : memory.bytes).slice(0, length));
}

/** A folder that is gone at the end of the block. */
export class Scratch {
  readonly #folder: string = mkdtempSync(join(tmpdir(), "uring-test-"));

  path(name: string): string {
    return join(this.#folder, name);
  }

  file(name: string, content: string | Uint8Array): string {
    writeFileSync(this.path(name), content);
    return this.path(name);
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true });
  }
}

/** What every ring must be able to do: no-ops, a file from open to close, and a pipe whose reader waits. */
export function exercise(ring: Ring): void {
  exerciseNops(ring);
  using scratch = new Scratch();
  const fd = run(ring, (sqe) =>
    sqe.prepOpenat(AT_FDCWD, cstring(scratch.file("f", "some content")), O_RDONLY, 0),
  );
  assert.ok(fd >= 0, `openat: ${fd}`);
  const memory = alloc(64);
  assert.equal(
    run(ring, (sqe) => sqe.prepRead(fd, memory, 64, 5)),
    7,
  );
  assert.equal(text(memory, 8), "content\0");
  assert.equal(
    run(ring, (sqe) => sqe.prepClose(fd)),
    0,
  );

  using ends = pipe();
  const got = alloc(8);
  // A poller thread may still have the places of earlier entries.
  submitAll(ring);
  entry(ring).prepRead(ends.read, got, 8, -1).setData64(1);
  assert.equal(submitAll(ring), 1);
  entry(ring).prepWrite(ends.write, bytes("ping"), 4, -1).setData64(2);
  assert.deepEqual(reap(ring, 2).sort(), [
    [1, 4, 0],
    [2, 4, 0],
  ]);
  assert.equal(text(got, 5), "ping\0");
}

/** Three times the queue in no-ops, so that every slot is used and used again; results come once each and in order. */
export function exerciseNops(ring: Ring): void {
  const { sqEntries } = ring.params;
  for (let round = 0; round < 3; round++) {
    const expected: Completion[] = [];
    for (let i = 0; i < sqEntries; i++) {
      entry(ring)
        .prepNop()
        .setData64(1000 * round + i);
      expected.push([1000 * round + i, 0, 0]);
    }
    assert.equal(ring.getSqe(), null);
    assert.deepEqual(reap(ring, sqEntries), expected);
  }
}

/** Submits, and with a poller thread waits until it has taken everything. */
export function submitAll(ring: Ring): number {
  const count = ring.submit();
  const end = performance.now() + LONG;
  while (ring.sqReady > 0 && performance.now() < end) ring.submit();
  assert.equal(ring.sqReady, 0);
  return count;
}

// Deno's event loop has an eventfd of its own from the first turn that something asks for: it is there before fds are
// counted.
if (runtime.mainThread) {
  runtime.load();
  runtime.turn(() => {});
}

/** What the process has open, as links in /proc/self/fd show it. */
export function openFds(): string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      return [`${fd} ${readlinkSync(`/proc/self/fd/${fd}`)}`];
    } catch {
      // The one that was open for looking.
      return [];
    }
  });
}

/**
 * Waits for the process to have no more fds than that. An event loop closes what it has watched some time after it was told
 * to, and a thread that was terminated goes on for a moment, in which it may also open one: what is counted last counts.
 */
export async function untilFds(most: number): Promise<void> {
  const end = performance.now() + LONG;
  let fds = openFds();
  for (; fds.length > most && performance.now() < end; fds = openFds()) await setTimeout(1);
  assert.ok(fds.length <= most, `more than ${most}: ${fds.join(", ")}`);
}

/** How many fds of rings the process has. */
export function ringFds(): number {
  return openFds().filter((link) => link.endsWith("anon_inode:[io_uring]")).length;
}

/** How many mappings of memory of rings the process has: the kernel's rings, buffer rings and regions, mapped by an fd. */
export function ringMappings(): number {
  return readFileSync("/proc/self/maps", "latin1").split("anon_inode:[io_uring]").length - 1;
}

/** How many mappings the process has in all, of which the engine makes and undoes some at any time. */
export function mappings(): number {
  return readFileSync("/proc/self/maps", "latin1").split("\n").length - 1;
}
