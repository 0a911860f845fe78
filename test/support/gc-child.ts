// What the garbage collector may and may not take while the kernel writes. Run by gc.test.ts, a process a part, since the
// failure of most of these is a crash.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { alloc, cstring, Iovecs, Msghdr, Ring, type RingOptions } from "uring";
import {
  AF_UNIX,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_SINGLE_ISSUER,
  IOSQE_IO_LINK,
  IOU_PBUF_RING_MMAP,
  SOCK_DGRAM,
} from "uring/abi";
import { Canaries } from "./canaries.ts";
import { collectGarbage, patiently } from "./child.ts";
import { type Pipe, pipe, writeFromThread } from "./harness.ts";
import { Random } from "./random.ts";
import { entry, mappings, reap, ringFds, run } from "./ring.ts";

const random = new Random(1);

/** Lets the engine forget what it can, and fills what it got back with something else. */
async function forget(): Promise<void> {
  for (let i = 0; i < 3; i++) {
    // What a WeakRef has been asked for stays until the job ends.
    await setTimeout(1);
    collectGarbage();
    churn();
  }
}

/** New objects over the places of the old. */
function churn(): void {
  const rubbish: unknown[] = [];
  for (let i = 0; i < 2000; i++)
    rubbish.push(new Uint8Array(random.below(1100)).fill(0xee), { i, text: `${i}` });
  assert.equal(rubbish.length, 4000);
}

/** Writes to a pipe: the runtimes' own calls do not take every fd. */
function write(fd: number, bytes: Uint8Array): void {
  using ring = new Ring({ entries: 8 });
  assert.equal(
    run(ring, (sqe) => sqe.prepWrite(fd, bytes, bytes.length, -1)),
    bytes.length,
  );
}

function buffer(view: Uint8Array): WeakRef<object> {
  return new WeakRef(view.buffer);
}

/** How many of these the engine still has, at most so many of which it may take its time about. */
function alive(refs: readonly WeakRef<object>[]): number {
  return refs.filter((ref) => ref.deref() !== undefined).length;
}

async function releases(refs: readonly WeakRef<object>[], most: number): Promise<void> {
  for (let i = 0; i < 20 && alive(refs) > most; i++) await forget();
  // A stack may hold the last one or two by chance.
  assert.ok(alive(refs) <= most, `${alive(refs)} of ${refs.length} are still held`);
}

const SIZES = [1, 16, 100, 999, 1000, 1001, 4096, 100_000];

/** Starts reads from a pipe into views that nothing else keeps; the buffers' traces. */
function readIntoNowhere(ring: Ring, ends: Pipe, sizes: readonly number[]): WeakRef<object>[] {
  return sizes.map((size, i) => {
    const view = new Uint8Array(size);
    entry(ring).prepRead(ends.read, view, size, -1).setData64(i);
    return buffer(view);
  });
}

/** Views are kept until no operation is in flight, and no longer. */
async function views(): Promise<void> {
  using ends = pipe();
  const ring = new Ring({ entries: 256 });
  const sizes = Array.from({ length: 10 }, () => SIZES).flat();
  const refs = readIntoNowhere(ring, ends, sizes);
  ring.submit();
  await forget();
  assert.equal(alive(refs), refs.length, "views of operations in flight were collected");
  for (let i = 0; i < sizes.length - 1; i++) writeFromThread(ends.write);
  reap(ring, sizes.length - 1);
  await forget();
  assert.ok(alive(refs) > 0, "the view of the operation still in flight was collected");
  writeFromThread(ends.write);
  reap(ring, 1);
  await releases(refs, 8);
  ring.close();
}

/** The same for what is reached through a struct that nothing else keeps. */
async function structs(): Promise<void> {
  using ends = pipe();
  const ring = new Ring({ entries: 256 });
  const start = () => {
    const pieces = [new Uint8Array(10), new Uint8Array(500), new Uint8Array(5000)];
    entry(ring).prepReadv(ends.read, new Iovecs(pieces), 3, -1);
    return pieces.map(buffer);
  };
  const refs = Array.from({ length: 20 }, start).flat();
  const receive = (fd: number) => {
    const pieces = [new Uint8Array(10), new Uint8Array(500)];
    entry(ring).prepRecvmsg(
      fd,
      new Msghdr({ iov: pieces, nameLength: 128, control: new Uint8Array(300) }),
      0,
    );
    return pieces.map(buffer);
  };
  const socket = run(new Ring({ entries: 8 }), (sqe) => sqe.prepSocket(AF_UNIX, SOCK_DGRAM, 0, 0));
  refs.push(...Array.from({ length: 20 }, () => receive(socket)).flat());
  ring.submit();
  await forget();
  assert.equal(alive(refs), refs.length, "memory behind a struct in flight was collected");
  assert.deepEqual(ring.close(), { leaked: 0 });
  await releases(refs, 8);
}

/** What a view says of itself keeps other memory than its own from nobody. */
async function claims(): Promise<void> {
  using ends = pipe();
  const ring = new Ring({ entries: 8 });
  const start = () => {
    const view = new Uint8Array(1000);
    const trace = buffer(view);
    Object.defineProperty(view, "buffer", { value: new ArrayBuffer(1000) });
    entry(ring).prepRead(ends.read, view, 1000, -1);
    return trace;
  };
  const refs = [start(), start()];
  ring.submit();
  await forget();
  assert.equal(alive(refs), 2, "views of operations in flight were collected");
  ring.close();
}

/** Calls that the library makes by a ring's fd give it to nobody, who could send messages. */
async function calls(): Promise<void> {
  for (const call of [
    (ring: Ring) => ring.registerRegion(65536),
    (ring: Ring) => ring.setupBufRing({ group: 0, entries: 4096, bufferSize: 1, flags: IOU_PBUF_RING_MMAP }),
    (ring: Ring) => ring.closeRingFd(),
  ]) {
    using ends = pipe();
    const ring = new Ring({ entries: 64 });
    call(ring);
    const refs = readIntoNowhere(ring, ends, SIZES);
    ring.submit();
    for (const _ of SIZES) writeFromThread(ends.write);
    reap(ring, SIZES.length);
    await releases(refs, 2);
    ring.close();
  }
}

/** Of a zero-copy send whose chain is broken before it come two completions that look like its last. */
async function notifications(): Promise<void> {
  using ends = pipe();
  const ring = new Ring({ entries: 8 });
  const refs = readIntoNowhere(ring, ends, [1000]);
  const socket = run(new Ring({ entries: 8 }), (sqe) => sqe.prepSocket(AF_UNIX, SOCK_DGRAM, 0, 0));
  entry(ring).prepFsync(-1, 0).setFlags(IOSQE_IO_LINK).setData64(1);
  entry(ring).prepSendZc(socket, alloc(8), 8, 0, 0).setData64(2);
  ring.submit();
  ring.drain(() => {});
  await forget();
  ring.drain(() => {});
  await forget();
  assert.equal(alive(refs), 1, "the view of the read in flight was collected");
  assert.deepEqual(ring.close(), { leaked: 0 });
}

/** A completion that no operation of the ring has caused must not pass for the end of one. */
async function messages(): Promise<void> {
  for (const from of ["itself", "another"]) {
    using ends = pipe();
    const ring = new Ring({ entries: 8 });
    const sender = from === "itself" ? ring : new Ring({ entries: 8 });
    const refs = readIntoNowhere(ring, ends, [500, 1000]);
    ring.submit();
    for (let i = 0; i < 6; i++) {
      entry(sender).prepMsgRing(ring.fd, 0, 77, 0);
      sender.submitAndWait(1);
      sender.drain(() => {});
      ring.drain(() => {});
    }
    await forget();
    assert.equal(alive(refs), 2, `views in flight were collected after messages from ${from}`);
    writeFromThread(ends.write);
    reap(ring, 1);
    ring.close();
    sender.close();
    await releases(refs, 1);
  }
}

/** Data comes to a view that the caller has kept, however often memory was moved about meanwhile. */
async function arrival(): Promise<void> {
  for (const size of SIZES) {
    using ends = pipe();
    using ring = new Ring({ entries: 8 });
    const view = new Uint8Array(size);
    const pieces = [new Uint8Array(size), new Uint8Array(8).subarray(3, 5)] as const;
    entry(ring).prepRead(ends.read, view, size, -1);
    entry(ring).prepReadv(ends.read, new Iovecs(pieces), 2, -1);
    ring.submit();
    await forget();
    const sent = random.bytes(Math.min(size, 4096));
    write(ends.write, sent);
    reap(ring, 1);
    write(ends.write, sent);
    reap(ring, 1);
    await forget();
    for (const got of [view, pieces[0]]) assert.deepEqual(got.slice(0, sent.length), sent.slice());
  }
}

const KINDS: RingOptions[] = [
  { entries: 8 },
  { entries: 8, memory: "mapped" },
  { entries: 64, flags: IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN },
  { entries: 8, fd: false },
];

/** Rings that are dropped without close, in the middle of everything. */
async function dropped(): Promise<void> {
  const canaries = new Canaries(random);
  const pipes = Array.from({ length: 20 }, pipe);
  const drop = () => {
    for (const [i, ends] of pipes.entries()) {
      const ring = new Ring(KINDS[i % 3] as RingOptions);
      readIntoNowhere(ring, ends, [random.pick(SIZES), random.pick(SIZES)]);
      entry(ring).prepReadv(ends.read, new Iovecs([new Uint8Array(100), new Uint8Array(2000)]), 2, -1);
      entry(ring).prepOpenat(-1, cstring("/nowhere/to/be/found"), 0, 0);
      entry(ring).prepNop();
      ring.submit();
      // Prepared, and never submitted.
      if (ring.sqSpaceLeft > 0) entry(ring).prepRead(ends.read, new Uint8Array(64), 64, -1);
    }
  };
  for (let round = 0; round < 10; round++) {
    drop();
    await forget();
    // The kernel now writes into views and rings that nobody has any more.
    for (const ends of pipes) write(ends.write, random.bytes(3000));
    await forget();
    canaries.check();
  }
  const ring = new Ring({ entries: 8 });
  for (let i = 0; i < 100; i++)
    assert.equal(
      run(ring, (sqe) => sqe.prepNop()),
      0,
    );
  canaries.check();
}

/** Rings that come and go leave nothing behind. */
async function lifecycle(): Promise<void> {
  const canaries = new Canaries(random);
  using ends = pipe();
  const live = (count: number) => {
    for (let i = 0; i < count; i++) {
      const ring = patiently(KINDS[i % KINDS.length] as RingOptions);
      const memory = alloc(64);
      entry(ring).prepRead(ends.read, i % 2 === 0 ? new Uint8Array(64) : memory, 64, -1);
      entry(ring).prepNop();
      ring.submit();
      assert.deepEqual(ring.close(), { leaked: 0 });
      memory[Symbol.dispose]();
    }
  };
  live(1000);
  await forget();
  // On a busy machine an engine's heap is a while in growing to its size. What rings leave behind grows each time.
  let grown = Number.POSITIVE_INFINITY;
  for (let tries = 4; tries > 0 && grown >= 48; tries--) {
    const before = { fds: ringFds(), mappings: mappings(), resident: resident() };
    live(10_000);
    await forget();
    assert.equal(ringFds(), before.fds);
    assert.ok(!readFileSync("/proc/self/maps", "latin1").includes("[io_uring]"));
    // Engines map memory of their own now and then; a mapping a ring would be thousands.
    assert.ok(mappings() < before.mappings + 1000, `mappings grew from ${before.mappings} to ${mappings()}`);
    grown = (resident() - before.resident) / 2 ** 20;
  }
  assert.ok(grown < 48, `resident memory grew by ${grown.toFixed(1)} MiB`);
  canaries.check();
}

function resident(): number {
  return Number(readFileSync("/proc/self/statm", "latin1").split(" ")[1]) * 4096;
}

const parts: Record<string, () => Promise<void>> = {
  views,
  structs,
  claims,
  calls,
  notifications,
  messages,
  arrival,
  dropped,
  lifecycle,
};
await parts[process.argv[2] ?? ""]?.();
console.log("done");
