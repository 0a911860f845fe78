import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { alloc, Direct, Iovecs, type Pinned, Ring, type RingOptions } from "uring";
import {
  IORING_ENTER_REGISTERED_RING,
  IORING_SETUP_SQPOLL,
  IORING_SQ_NEED_WAKEUP,
  IOSQE_ASYNC,
  O_DIRECT,
  O_RDONLY,
} from "uring/abi";
import { pipe } from "../support/harness.ts";
import { withShim } from "../support/runtime.ts";
import { mustCall, syscall } from "../support/system.ts";
import { brief, entry, sorted } from "./completions.ts";
import { open, write } from "./descriptors.ts";
import { elapsed, PATIENCE_MS, SOON_MS, sleep } from "./durations.ts";
import { type Bench, conformance } from "./support.ts";
import { watchedRing } from "./watched-ring.ts";

const BLOCK = 4096;

const poller = { rings: ["sqpoll"] } as const;

/** A file of so many blocks, each filled with its number, opened to be read past the page cache. */
function directFile(bench: Bench, blocks: number): number {
  const path = bench.path("file");
  writeFileSync(path, Buffer.concat(Array.from({ length: blocks }, (_, i) => Buffer.alloc(BLOCK, i))));
  return open(bench, path, O_RDONLY | O_DIRECT);
}

function isFilled(memory: Pinned, value: number): boolean {
  return memory.bytes.every((byte) => byte === value);
}

/** Waits for what another thread does, a little at a time. */
async function until(what: string, condition: () => boolean): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  while (!condition()) {
    assert.ok(performance.now() < end, `never seen: ${what}`);
    await sleep(2);
  }
}

// ------------------------------------------------------------------------------------------------ liburing/d4ae271dfaae

conformance(
  "liburing/d4ae271dfaae",
  "reads of a registered file, past the page cache, complete when they come one at a time",
  async (bench) => {
    const ring = bench.ring();
    ring.registerFiles([directFile(bench, 10)]);
    for (let i = 0; i < 10; i++) {
      const memory = alloc(BLOCK);
      entry(ring)
        .prepReadv(new Direct(0), new Iovecs([memory]), 1, i * BLOCK)
        .setData64(i);
      assert.deepEqual(brief(bench.complete(ring, 1)), [[i, BLOCK, 0]]);
      assert.ok(isFilled(memory, i));
      await sleep(1);
    }
  },
  poller,
);

conformance(
  "liburing/d4ae271dfaae",
  "reads of a registered file, past the page cache, complete when nobody waits between them",
  async (bench) => {
    const ring = bench.ring();
    ring.registerFiles([directFile(bench, 10)]);
    const memory = alloc(10 * BLOCK);
    for (let i = 0; i < 10; i++) {
      entry(ring)
        .prepReadv(new Direct(0), new Iovecs([memory.slice(i * BLOCK, BLOCK)]), 1, i * BLOCK)
        .setData64(i);
      ring.submit();
      await sleep(1);
    }
    assert.deepEqual(
      sorted(bench.collect(ring, 10)),
      Array.from({ length: 10 }, (_, i) => [i, BLOCK, 0]),
    );
    for (let i = 0; i < 10; i++) assert.ok(isFilled(memory.slice(i * BLOCK, BLOCK), i));
  },
  poller,
);

// ------------------------------------------------------------------------------------------------ liburing/d77a67ed5f27

conformance(
  "liburing/d77a67ed5f27",
  "a poller that has fallen asleep is woken by a submission",
  async (bench) => {
    const { ring, view } = watchedRing(bench, { sqThreadIdle: 100 });
    await sleep(150);
    await until("a sleeping poller", () => (view.sqFlags & IORING_SQ_NEED_WAKEUP) !== 0);
    entry(ring).prepNop().setData64(42);
    const time = elapsed(() => ring.submitAndWait(1, { timeout: PATIENCE_MS }));
    assert.deepEqual(brief(bench.collect(ring, 1)), [[42, 0, 0]]);
    assert.ok(time < SOON_MS, `${time} ms`);
  },
  poller,
);

// ------------------------------------------------------------------------------------------------ liburing/empty-eownerdead

conformance(
  "liburing/empty-eownerdead",
  "a call that asks for nothing does not fail, whether the poller is awake or asleep",
  async (bench) => {
    const { ring, view } = watchedRing(bench, { sqThreadIdle: 20 });
    const enter = () => syscall("io_uring_enter", ring.fd, 0, 0, 0, 0, 0);
    assert.ok(enter() >= 0);
    await until("a sleeping poller", () => (view.sqFlags & IORING_SQ_NEED_WAKEUP) !== 0);
    for (let i = 0; i < 100; i++) assert.ok(enter() >= 0);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepNop()),
      0,
    );
    assert.ok(enter() >= 0);
  },
  poller,
);

// ------------------------------------------------------------------------------------------------ liburing/sq-poll-dup

const RINGS = 4;
const READS = 64;

/** Rings whose submissions one thread polls, and a way to reach the first of them by another fd. */
interface PollerGroup {
  readonly rings: readonly Ring[];
  /** From now on the first ring is entered by this fd; by its own again after -1. */
  enterBy(fd: number): void;
}

function pollerGroup(bench: Bench): PollerGroup {
  let enterFd = -1;
  const first = withShim(
    (real) => ({
      enter: (fd, toSubmit, count, flags, arg, size) =>
        enterFd < 0
          ? real.enter(fd, toSubmit, count, flags, arg, size)
          : real.enter(enterFd, toSubmit, count, flags & ~IORING_ENTER_REGISTERED_RING, arg, size),
    }),
    () => bench.ring({ entries: READS, sqThreadIdle: 100 }),
  );
  const others = Array.from({ length: RINGS - 1 }, () =>
    bench.ring({ entries: READS, sqThreadIdle: 100, attachWq: first }),
  );
  return {
    rings: [first, ...others],
    enterBy: (fd) => {
      enterFd = fd;
    },
  };
}

/** Has every ring read the whole file, all at once. */
function readAll(bench: Bench, rings: readonly Ring[], file: number): void {
  const memories = rings.map((ring) => {
    const memory = alloc(READS * BLOCK);
    for (let i = 0; i < READS; i++) {
      entry(ring)
        .prepRead(file, memory.slice(i * BLOCK, BLOCK), BLOCK, i * BLOCK)
        .setData64(i);
    }
    ring.submit();
    return memory;
  });
  for (const [index, ring] of rings.entries()) {
    assert.deepEqual(
      sorted(bench.collect(ring, READS)),
      Array.from({ length: READS }, (_, i) => [i, BLOCK, 0]),
    );
    const memory = memories[index] as Pinned;
    for (let i = 0; i < READS; i++) assert.ok(isFilled(memory.slice(i * BLOCK, BLOCK), i));
    memory[Symbol.dispose]();
  }
}

conformance(
  "liburing/sq-poll-dup",
  "one thread polls four rings",
  (bench) => {
    const before = pollers();
    const { rings } = pollerGroup(bench);
    // A thread has its name once it runs, and that it does once it has served all of them.
    readAll(bench, rings, directFile(bench, READS));
    assert.equal(newPollers(before).length, 1);
  },
  poller,
);

for (const closed of [false, true]) {
  conformance(
    "liburing/sq-poll-dup",
    `four rings with one poller go on by a copy of the first one's fd${closed ? ", with the original closed" : ""}`,
    async (bench) => {
      const file = directFile(bench, READS);
      const { rings, enterBy } = pollerGroup(bench);
      const first = rings[0] as Ring;
      readAll(bench, rings, file);
      const copy = mustCall("dup", first.fd);
      bench.defer(() => {
        enterBy(-1);
        mustCall("close", copy);
      });
      if (closed) first.closeRingFd();
      enterBy(copy);
      readAll(bench, rings, file);
      await sleep(200);
      readAll(bench, rings, file);
      // Others find the thread by the copy, too.
      readAll(bench, [bench.ring({ entries: READS, attachWq: copy })], file);
    },
    poller,
  );
}

// ------------------------------------------------------------------------------------------------ liburing/sqpoll-sleep

conformance(
  "liburing/sqpoll-sleep",
  "a poller falls asleep once it has been idle for as long as it was told",
  (bench) => {
    const { ring, view } = watchedRing(bench, { sqThreadIdle: 100 });
    const asleep = () => (view.sqFlags & IORING_SQ_NEED_WAKEUP) !== 0;
    // A busy machine may run the thread late, so it may be late many times; it must not be early even once.
    const all: number[] = [];
    for (const start = performance.now(); performance.now() - start < 15_000; ) {
      const time = elapsed(() => {
        entry(ring).prepNop();
        ring.submit();
        const end = performance.now() + 5000;
        while ((ring.cqReady === 0 || !asleep()) && performance.now() < end);
      });
      assert.equal(
        ring.drain(() => {}),
        1,
      );
      assert.ok(asleep());
      all.push(time);
      assert.ok(time >= 90, `asleep after ${time} ms`);
      if (time <= 110) return;
    }
    assert.fail(`never asleep within 110 ms, but after ${all.map(Math.round)}`);
  },
  poller,
);

// ------------------------------------------------------------------------------------------------ liburing/wq-aff

/** The ids of this process's threads of a name. */
function threads(name: RegExp): number[] {
  return readdirSync("/proc/self/task")
    .filter((id) => {
      try {
        return name.test(readFileSync(`/proc/self/task/${id}/comm`, "latin1").trim());
      } catch {
        // It has ended meanwhile.
        return false;
      }
    })
    .map(Number);
}

/** The threads that poll submission queues. */
function pollers(): number[] {
  return threads(/^iou-sqp-/);
}

function newPollers(before: readonly number[]): number[] {
  return pollers().filter((id) => !before.includes(id));
}

/** The CPUs that a thread may run on, as sched_getaffinity(2) tells it. */
function affinity(thread: number): number[] {
  using mask = alloc(128);
  const length = mustCall("sched_getaffinity", thread, mask.byteLength, mask.address);
  return Array.from({ length: 8 * length }, (_, cpu) => cpu).filter(
    (cpu) => ((mask.bytes[cpu >> 3] as number) >> (cpu & 7)) & 1,
  );
}

const needsTwoCpus =
  affinity(0).includes(0) && affinity(0).includes(1) ? false : "CPUs 0 and 1 are needed to run on";

conformance(
  "liburing/wq-aff",
  "the poller runs on its CPU, and its workers run on theirs",
  async (bench) => {
    const before = pollers();
    const ring = bench.ring({ sqThreadCpu: 1 });
    ring.registerIowqAff([0]);
    using ends = pipe();
    entry(ring).prepRead(ends.read, alloc(8), 8, -1).setFlags(IOSQE_ASYNC).setData64(1);
    ring.submit();
    await until("the poller", () => newPollers(before).length === 1);
    const [poller] = newPollers(before) as [number];
    const workers = () => threads(new RegExp(`^iou-wrk-${poller}$`));
    await until("a worker of the poller's", () => workers().length > 0);
    assert.deepEqual(affinity(poller), [1]);
    for (const worker of workers()) assert.deepEqual(affinity(worker), [0]);
    write(ends.write, "x");
    assert.deepEqual(brief(bench.collect(ring, 1)), [[1, 1, 0]]);
  },
  { ...poller, skip: needsTwoCpus },
);

conformance("liburing/wq-aff", "no poller runs on a CPU that is not there", () => {
  const options: RingOptions = { flags: IORING_SETUP_SQPOLL, sqThreadCpu: 16 * cpus().length };
  assert.throws(() => new Ring(options), { code: "EINVAL", syscall: "io_uring_setup" });
});
