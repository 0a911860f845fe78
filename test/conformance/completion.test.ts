import assert from "node:assert/strict";
import { alloc, type Ring } from "uring";
import { IORING_CQE_F_32, IORING_FEAT_NO_IOWAIT, IORING_NOP_CQE32 } from "uring/abi";
import { blockedOnIo, pipe } from "../support/harness.ts";
import { nop } from "../support/ring.ts";
import { type Brief, brief, entry, submitAll } from "./completions.ts";
import { PATIENCE_MS } from "./durations.ts";
import { allRings, conformance } from "./support.ts";

/** A no-op that completes with a large completion, which carries two numbers. */
function bigNop(ring: Ring, userData: number, extra: [number, number]): void {
  nop(entry(ring), IORING_NOP_CQE32, 0, extra).setData64(userData);
}

function plainNops(ring: Ring, ...userData: number[]): void {
  for (const value of userData) entry(ring).prepNop().setData64(value);
}

/** Every completion that is there, all successes, without consuming any: `userData`, and what a large one carries. */
function shown(ring: Ring): [number, readonly bigint[] | undefined][] {
  const all: [number, readonly bigint[] | undefined][] = [];
  ring.forEachCqe(({ userData, res, big }) => {
    assert.equal(res, 0);
    all.push([userData, big]);
  });
  return all;
}

function drained(ring: Ring): Brief[] {
  const all: Brief[] = [];
  ring.drain((...completion) => all.push(completion));
  return all;
}

/** At most `limit` completions as they are, all successes, consumed: each one's `userData`. */
function copied(ring: Ring, limit: number): number[] {
  const out = new Int32Array(4 * limit);
  const count = ring.copyCqes(out);
  return Array.from({ length: count }, (_, i) => {
    assert.equal(out[4 * i + 2], 0);
    return out[4 * i] as number;
  });
}

// ------------------------------------------------------------------------------------------------ liburing/cq-peek-batch

conformance(
  "liburing/cq-peek-batch",
  "completions are shown in order, and stay until they are consumed",
  (bench) => {
    const ring = bench.ring();
    const userData = () => shown(ring).map(([value]) => value);
    assert.deepEqual(userData(), []);
    plainNops(ring, 0, 1, 2, 3);
    ring.submitAndWait(4, { timeout: 1000 });
    assert.deepEqual(userData(), [0, 1, 2, 3]);
    plainNops(ring, 4, 5, 6, 7);
    ring.submitAndWait(8, { timeout: 1000 });
    ring.cqAdvance(4);
    assert.deepEqual(userData(), [4, 5, 6, 7]);
    ring.cqAdvance(4);
    assert.deepEqual(userData(), []);
  },
  { rings: allRings },
);

// ------------------------------------------------------------------------------------------------ liburing/cq-peek-batch-mixed

const mixed = { rings: ["mixed"] } as const;

conformance(
  "liburing/cq-peek-batch-mixed",
  "a large completion has its flag and carries two numbers, a plain one has neither",
  (bench) => {
    const ring = bench.ring({ entries: 8 });
    assert.equal(ring.params.cqEntries, 16);
    bigNop(ring, 1, [0x1234_5678_9abc, 0xdef0]);
    plainNops(ring, 2);
    ring.submitAndWait(2, { timeout: 1000 });
    assert.deepEqual(shown(ring), [
      [1, [0x1234_5678_9abcn, 0xdef0n]],
      [2, undefined],
    ]);
    assert.equal(ring.cqReady, 3);
    assert.deepEqual(drained(ring), [
      [1, 0, IORING_CQE_F_32],
      [2, 0, 0],
    ]);
  },
  mixed,
);

conformance(
  "liburing/cq-peek-batch-mixed",
  "a batch has a limit of completions, and is consumed by slots",
  (bench) => {
    const ring = bench.ring({ entries: 8 });
    const submit = () => {
      plainNops(ring, 1, 2);
      bigNop(ring, 3, [30, 31]);
      bigNop(ring, 4, [40, 41]);
      plainNops(ring, 5, 6);
      ring.submitAndWait(6, { timeout: 1000 });
    };
    submit();
    let seen = 0;
    const slots = ring.forEachCqe(() => {
      seen++;
    });
    assert.deepEqual([seen, slots], [6, 8]);
    assert.throws(() => ring.cqAdvance(3), RangeError, "half of a large completion");
    ring.cqAdvance(2 + 2);
    assert.deepEqual(shown(ring), [
      [4, [40n, 41n]],
      [5, undefined],
      [6, undefined],
    ]);
    ring.cqAdvance(4);
    assert.equal(ring.cqReady, 0);

    submit();
    assert.deepEqual(copied(ring, 3), [1, 2, 3]);
    assert.deepEqual(copied(ring, 9), [4, 5, 6]);
    assert.equal(ring.cqReady, 0);
  },
  mixed,
);

/** How completions can be read: each gives the `userData` of all, the first way in two batches. */
const readers: Record<string, (ring: Ring) => number[]> = {
  copyCqes: (ring) => {
    const first = copied(ring, 4);
    assert.deepEqual(first, [1, 2, 3, 4]);
    return [...first, ...copied(ring, 9)];
  },
  drain: (ring) =>
    drained(ring).map(([userData, res]) => {
      assert.equal(res, 0);
      return userData;
    }),
  forEachCqe: (ring) => {
    const all: number[] = [];
    ring.cqAdvance(
      ring.forEachCqe(({ userData, res }) => {
        assert.equal(res, 0);
        all.push(userData);
      }),
    );
    return all;
  },
  peekCqe: (ring) => {
    const all: number[] = [];
    for (let cqe = ring.peekCqe(); cqe !== null; cqe = ring.peekCqe()) {
      assert.equal(cqe.res, 0);
      all.push(cqe.userData);
      ring.cqAdvance(cqe.big === undefined ? 1 : 2);
    }
    return all;
  },
};

for (const [name, readAll] of Object.entries(readers)) {
  conformance(
    "liburing/cq-peek-batch-mixed",
    `the filler at the end of the queue is never shown by ${name}`,
    (bench) => {
      const ring = bench.ring({ entries: 8 });
      plainNops(ring, ...Array(8).fill(0));
      bench.complete(ring, 8);
      plainNops(ring, 0, 0, 0);
      bench.complete(ring, 3);
      // Now at slot 11 of 16: four more, and the large one meets the end.
      plainNops(ring, 1, 2, 3, 4);
      bigNop(ring, 5, [50, 51]);
      plainNops(ring, 6);
      ring.submitAndWait(6, { timeout: 1000 });
      assert.equal(ring.cqReady, 4 + 1 + 2 + 1);
      assert.deepEqual(shown(ring)[4], [5, [50n, 51n]]);
      assert.deepEqual(readAll(ring), [1, 2, 3, 4, 5, 6]);
      assert.equal(ring.cqReady, 0);
    },
    mixed,
  );
}

// ------------------------------------------------------------------------------------------------ liburing/iowait

conformance(
  "liburing/iowait",
  "waiting counts as waiting for I/O, unless the ring says that it does not",
  (bench) => {
    const ring = bench.ring();
    assert.ok(ring.features & IORING_FEAT_NO_IOWAIT);
    using ends = pipe();
    const byte = alloc(1);
    /** How many threads of the system wait for I/O at least while this one waits. */
    const waiters = (iowait: boolean) => {
      ring.setIowait(iowait);
      // Only a wait with operations in flight is one for I/O.
      entry(ring).prepRead(ends.read, byte, 1, -1).setData64(1);
      submitAll(ring, 1);
      const count = blockedOnIo(ends.write, () => ring.submitAndWait(1, { timeout: PATIENCE_MS }));
      assert.deepEqual(brief(bench.collect(ring, 1)), [[1, 1, 0]]);
      return count;
    };
    // Whatever else runs here waits for I/O now and then, or always: what counts is the difference, in one of some tries.
    const all: number[][] = [];
    while (all.length < 20) {
      const [before, without, after] = [waiters(true), waiters(false), waiters(true)];
      all.push([before, without, after]);
      if (before === without + 1 && after === without + 1) return;
    }
    assert.fail(`with, without and with iowait: ${all.join("; ")}`);
  },
  // With a poller thread the operations in flight are that thread's.
  { rings: allRings.filter((type) => type !== "sqpoll") },
);

// ------------------------------------------------------------------------------------------------ liburing/nop32

conformance(
  "liburing/nop32",
  "large completions carry their numbers wherever in the queue they land",
  (bench) => {
    const ring = bench.ring({ entries: 8 });
    plainNops(ring, 1);
    assert.deepEqual(brief(bench.complete(ring, 1)), [[1, 0, 0]]);
    for (let i = 0; i < 16; i++) {
      bigNop(ring, 2 + i, [100 + i, 200 + i]);
      ring.submitAndWait(1, { timeout: 1000 });
      assert.deepEqual(shown(ring), [[2 + i, [BigInt(100 + i), BigInt(200 + i)]]]);
      assert.deepEqual(drained(ring), [[2 + i, 0, IORING_CQE_F_32]]);
    }
    // Eight at a time, over the end of the queue in every way there is.
    for (let round = 0; round < 32; round++) {
      if (round % 3 === 0) {
        plainNops(ring, 7);
        assert.deepEqual(brief(bench.complete(ring, 1)), [[7, 0, 0]]);
      }
      for (let i = 0; i < 7; i++) bigNop(ring, i, [100 + i, 200 + i]);
      ring.submitAndWait(7, { timeout: 1000 });
      const expected = Array.from({ length: 7 }, (_, i) => [i, [BigInt(100 + i), BigInt(200 + i)]]);
      assert.deepEqual(shown(ring), expected);
      assert.equal(drained(ring).length, 7);
    }
  },
  mixed,
);

// ------------------------------------------------------------------------------------------------ tokio/queue/test_completion_status

conformance(
  "tokio/queue/test_completion_status",
  "the number of completions that are ready follows the kernel without anything being read",
  (bench) => {
    const ring = bench.ring();
    assert.equal(ring.cqReady, 0);
    entry(ring).prepNop().setData64(0x43);
    submitAll(ring, 1);
    const end = performance.now() + PATIENCE_MS;
    while (ring.cqReady === 0 && performance.now() < end);
    assert.equal(ring.cqReady, 1);
    assert.deepEqual(drained(ring), [[0x43, 0, 0]]);
    assert.equal(ring.cqReady, 0);
  },
  { rings: allRings },
);
