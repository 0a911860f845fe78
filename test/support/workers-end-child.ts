// Threads that are terminated in the middle of everything. Run by workers.test.ts, a process a part, since the failure of
// most of these is a crash.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { alloc, encodeSockaddr, Ring, type RingOptions, type RingTransfer } from "uring";
import * as abi from "uring/abi";
import { Canaries } from "./canaries.ts";
import { collectGarbage } from "./child.ts";
import { type Pipe, pipe } from "./harness.ts";
import { Random } from "./random.ts";
import { entry, LONG, openFds, reap, ringFds, run, untilFds } from "./ring.ts";
import type { Idle } from "./ring-thread.ts";
import { mustCall, type Task, writesFromThread } from "./system.ts";
import { Thread, type ThreadKind } from "./thread.ts";

const kind = process.argv[3] as ThreadKind;
const random = new Random(7);
/** This thread's own, made first, so that its fd counts before and after. */
const ring = new Ring({ entries: 8 });

const THREADS = 10;
/** How many fds an engine may have for itself. The threads have a hundred rings. */
const SPARE = 8;
const DEFER = abi.IORING_SETUP_SINGLE_ISSUER | abi.IORING_SETUP_DEFER_TASKRUN;
/** Ten rings, of the kinds there are. */
const RINGS: readonly RingOptions[] = [
  { entries: 64 },
  { entries: 64, flags: DEFER },
  { entries: 64, flags: abi.IORING_SETUP_SINGLE_ISSUER },
  { entries: 64, flags: abi.IORING_SETUP_COOP_TASKRUN | abi.IORING_SETUP_TASKRUN_FLAG },
  { entries: 64, flags: abi.IORING_SETUP_SQE128 },
  { entries: 64, flags: abi.IORING_SETUP_CQE32 },
  { entries: 128, cqEntries: 1024 },
  { entries: 64, flags: DEFER | abi.IORING_SETUP_TASKRUN_FLAG },
  { entries: 64 },
  { entries: 64, flags: DEFER },
];

/** What the operations of one thread wait for. */
class Waited {
  /** Written to after the thread's end: `kept` has a reader still, of `lost` the operations are the last. */
  readonly kept: Pipe = pipe();
  readonly lost: Pipe = pipe();
  readonly #socket: number;

  constructor(name: string) {
    this.#socket = run(ring, (sqe) => sqe.prepSocket(abi.AF_UNIX, abi.SOCK_STREAM, 0, 0));
    const address = encodeSockaddr({ family: "unix", abstract: `uring-${process.pid}-${name}` });
    assert.equal(
      run(ring, (sqe) => sqe.prepBind(this.#socket, address, address.byteLength)),
      0,
    );
    assert.equal(
      run(ring, (sqe) => sqe.prepListen(this.#socket, 8)),
      0,
    );
  }

  get idle(): Idle {
    return { pipes: [this.kept.read, this.lost.read], listeners: [this.#socket] };
  }

  [Symbol.dispose](): void {
    this.kept[Symbol.dispose]();
    this.lost[Symbol.dispose]();
    mustCall("close", this.#socket);
  }
}

/** Waits until no operation reads from the pipe any more, which the write end can tell once nobody else could. */
function untilNobodyReads(ends: Pipe): void {
  ends.close(ends.read);
  entry(ring).prepPollAdd(ends.write, 0);
  const [[, events]] = reap(ring, 1) as [[number, number, number]];
  assert.ok((events & abi.POLLERR) !== 0, `events: ${events}`);
}

/** What is written now stays in the pipe: nobody is there to read it. */
function provoke(ends: Pipe): void {
  const sent = random.bytes(20_000);
  assert.equal(
    run(ring, (sqe) => sqe.prepWrite(ends.write, sent, sent.length, -1)),
    sent.length,
  );
  const got = alloc(65536);
  assert.equal(
    run(ring, (sqe) => sqe.prepRead(ends.read, got, got.byteLength, -1)),
    sent.length,
  );
  assert.deepEqual(got.bytes.slice(0, sent.length), sent);
}

/** Waits for a thread's end, which comes some time after `terminate()`. */
async function untilEnded(id: number): Promise<void> {
  const end = performance.now() + LONG;
  while (existsSync(`/proc/self/task/${id}`) && performance.now() < end) await setTimeout(1);
  assert.ok(!existsSync(`/proc/self/task/${id}`), `thread ${id} goes on`);
}

/** Rings and operations end with their thread; what was theirs is others' memory then. */
async function rings(): Promise<void> {
  for (let round = 0; round < 2; round++) {
    const waited = Array.from({ length: THREADS }, (_, i) => new Waited(`${round}-${i}`));
    const before = openFds().length;
    const threads = waited.map(() => new Thread("ring-thread.ts", kind));
    const counts = await Promise.all(threads.map((each, i) => each.call("begin", RINGS, waited[i]?.idle)));
    // Of each pipe six, one in the kernel's own thread, and two on the listener.
    assert.deepEqual(
      counts,
      threads.map(() => RINGS.length * (2 * 5 + 1 + 2)),
    );
    await Promise.all(threads.map((each) => each.terminate()));
    const canaries = new Canaries(random);
    for (const { lost } of waited) untilNobodyReads(lost);
    for (const { kept } of waited) provoke(kept);
    collectGarbage();
    canaries.check();
    // All that were made, less those that untilNobodyReads has closed.
    assert.equal(ringFds(), 1);
    await untilFds(before - THREADS + SPARE);
    for (const each of waited) each[Symbol.dispose]();
  }
}

/** As above with data that arrives before, during and after the thread's end. */
async function writes(): Promise<void> {
  for (let round = 0; round < 2; round++) {
    const waited = Array.from({ length: 4 }, (_, i) => new Waited(`${round}-${i}`));
    const threads = waited.map(() => new Thread("ring-thread.ts", kind));
    await Promise.all(threads.map((each, i) => each.call("begin", RINGS, waited[i]?.idle)));
    const writers: Task[] = waited.map(({ kept }) =>
      writesFromThread(kept.write, { count: 1500, size: 32, pauseMs: 0.1 }),
    );
    const all = [new Canaries(random)];
    for (const each of threads) {
      await each.terminate();
      all.push(new Canaries(random));
      collectGarbage();
    }
    for (const { lost } of waited) untilNobodyReads(lost);
    for (const writer of writers) assert.equal(writer.join(), 1500 * 32);
    for (const canaries of all) canaries.check();
    for (const each of waited) each[Symbol.dispose]();
  }
}

/** A ring with an fd outlives its thread until that is closed; its operations end without doing anything. */
async function adopted(): Promise<void> {
  const flags = abi.IORING_SETUP_R_DISABLED;
  const owned = [{ flags }, { flags: flags | DEFER }].map((options) => new Ring({ entries: 64, ...options }));
  const mapped = new Ring({ entries: 64, flags, memory: "mapped" });
  // Of the thread's own: these are mapped as well.
  const own = Array.from({ length: 8 }, () => undefined);
  for (const [i, ring] of [...owned, mapped, ...own].entries()) {
    using waited = new Waited(`${i}`);
    const thread = new Thread("ring-thread.ts", kind);
    const transfer = ring?.detach() ?? (await thread.call<RingTransfer>("detached", { entries: 64 }));
    assert.equal(await thread.call("beginAdopted", transfer, waited.idle), 2 * 5 + 1 + 2);
    const id = await thread.call<number>("id");
    await thread.terminate();
    await untilEnded(id);
    const canaries = new Canaries(random);
    provoke(waited.kept);
    mustCall("close", transfer.fd);
    // A mapping that the thread has left behind holds the ring, and so do operations on it what they wait for.
    if (ring?.memory === "owned") untilNobodyReads(waited.lost);
    provoke(waited.kept);
    collectGarbage();
    canaries.check();
  }
  assert.equal(ringFds(), 1);
}

/** Memory of threads that have ended is used again: they cost no more the more there are. */
async function memory(): Promise<void> {
  const addresses = new Set<number>();
  using waited = new Waited("memory");
  for (let i = 0; i < 8; i++) {
    const thread = new Thread("ring-thread.ts", kind);
    await thread.call("begin", RINGS.slice(0, 2), waited.idle);
    const { address, zero } = await thread.call<{ address: number; zero: boolean }>("memory", 1_000_000);
    addresses.add(address);
    assert.ok(zero, "memory is not zeroed");
    const id = await thread.call<number>("id");
    await thread.terminate();
    await untilEnded(id);
  }
  // A thread has three pieces of it, which come in any order.
  assert.ok(addresses.size <= 3, `memory at ${addresses.size} places`);
}

const parts: Record<string, () => Promise<void>> = { rings, writes, adopted, memory };
await parts[process.argv[2] ?? ""]?.();
console.log("done");
