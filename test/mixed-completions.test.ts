import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Ring, UringError } from "uring";
import * as abi from "uring/abi";
import { Random } from "./support/random.ts";
import { drained, entry, LONG, nop, range } from "./support/ring.ts";
import { kernelTakes } from "./support/runtime.ts";

const needsMixed = kernelTakes(abi.IORING_SETUP_CQE_MIXED)
  ? {}
  : { skip: "this kernel has no completions of mixed sizes" };

describe("completions of mixed sizes", needsMixed, () => {
  const BIG = abi.IORING_NOP_CQE32;
  /** In the second half of a large one, where the first has its flags. */
  const LIKE_FILLER = abi.IORING_CQE_F_SKIP * 2 ** 32;
  const mixed = () => new Ring({ entries: 8, cqEntries: 16, flags: abi.IORING_SETUP_CQE_MIXED });
  const plain = (ring: Ring, userData: number) => entry(ring).prepNop().setData64(userData);
  const big = (ring: Ring, userData: number) =>
    nop(entry(ring), BIG, 0, [userData + 100, userData + LIKE_FILLER]).setData64(userData);
  const extra = (userData: number) => [BigInt(userData + 100), BigInt(userData + LIKE_FILLER)];

  /** Two plain ones, two large ones, two plain ones: eight slots. */
  function batch(ring: Ring): void {
    for (const i of range(6)) (i === 2 || i === 3 ? big : plain)(ring, i);
    assert.equal(ring.submit(), 6);
    assert.equal(ring.cqReady, 8);
  }
  const flagsOf = (i: number) => (i === 2 || i === 3 ? abi.IORING_CQE_F_32 : 0);

  it("take one slot or two, and are shown with what is in them", () => {
    using ring = mixed();
    batch(ring);
    const seen: unknown[] = [];
    const slots = ring.forEachCqe((cqe) => seen.push([cqe.userData, cqe.res, cqe.flags, cqe.big]));
    assert.equal(slots, 8);
    assert.deepEqual(
      seen,
      range(6).map((i) => [i, 0, flagsOf(i), i === 2 || i === 3 ? extra(i) : undefined]),
    );
    ring.cqAdvance(slots);
    assert.deepEqual([ring.cqReady, ring.inFlight], [0, 0]);
  });

  it("are drained and copied one by one", () => {
    using ring = mixed();
    for (let round = 0; round < 5; round++) {
      batch(ring);
      assert.equal(
        ring.drain(() => {}),
        6,
      );
      batch(ring);
      assert.deepEqual(
        drained(ring),
        range(6).map((i) => [i, 0, flagsOf(i)]),
      );
      batch(ring);
      const words = new Int32Array(12);
      assert.equal(ring.copyCqes(words), 3);
      assert.deepEqual([...words], [0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, abi.IORING_CQE_F_32]);
      assert.equal(ring.cqReady, 4);
      assert.equal(ring.copyCqes(words), 3);
      assert.deepEqual([...words], [3, 0, 0, abi.IORING_CQE_F_32, 4, 0, 0, 0, 5, 0, 0, 0]);
      assert.deepEqual([ring.cqReady, ring.inFlight], [0, 0]);
    }
  });

  it("are consumed whole", () => {
    using ring = mixed();
    big(ring, 1);
    plain(ring, 2);
    ring.submit();
    assert.deepEqual(ring.peekCqe()?.big, extra(1));
    assert.throws(() => ring.cqAdvance(1), { name: "RangeError", message: /two slots/ });
    assert.equal(ring.peekCqe()?.userData, 1);
    ring.cqAdvance(2);
    assert.equal(ring.peekCqe()?.userData, 2);
    ring.cqAdvance(1);
    assert.equal(ring.inFlight, 0);
  });

  for (const [name, look] of Object.entries({
    drain: (ring: Ring) => drained(ring).map(([userData]) => userData),
    copyCqes(ring: Ring) {
      const words = new Int32Array(64);
      return range(ring.copyCqes(words)).map((i) => words[4 * i] as number);
    },
    forEachCqe(ring: Ring) {
      const seen: number[] = [];
      ring.cqAdvance(ring.forEachCqe((cqe) => seen.push(cqe.userData)));
      return seen;
    },
    peekCqe(ring: Ring) {
      const seen: number[] = [];
      for (let cqe = ring.peekCqe(); cqe !== null; cqe = ring.peekCqe()) {
        seen.push(cqe.userData);
        ring.cqAdvance(cqe.big === undefined ? 1 : 2);
      }
      return seen;
    },
  })) {
    it(`hide the filler at the queue's end from ${name}`, () => {
      using ring = mixed();
      // The head comes to slot 11; four plain ones, and a large one that slot 15 is too short for.
      for (const i of range(8)) plain(ring, i);
      ring.submit();
      for (const i of range(3)) plain(ring, i);
      ring.submit();
      assert.equal(look(ring).length, 11);
      for (const i of range(4)) plain(ring, i);
      big(ring, 4);
      plain(ring, 5);
      ring.submit();
      assert.deepEqual(look(ring), range(6));
      assert.deepEqual([ring.cqReady, ring.inFlight], [0, 0]);
    });
  }

  it("come with what is in them through many turns of the queue", () => {
    using ring = mixed();
    let next = 0;
    const seen: number[] = [];
    for (let round = 0; round < 300; round++) {
      for (const _ of range((round % 5) + 1)) {
        if (next % 3 === 1) big(ring, next);
        else plain(ring, next);
        next++;
      }
      ring.submit();
      ring.cqAdvance(
        ring.forEachCqe((cqe) => {
          seen.push(cqe.userData);
          assert.deepEqual(cqe.big, cqe.userData % 3 === 1 ? extra(cqe.userData) : undefined);
        }),
      );
    }
    assert.deepEqual(seen, range(next));
  });

  it("lose nothing when the queue is full of large ones", () => {
    using ring = mixed();
    const COUNT = 400;
    for (const i of range(COUNT)) {
      big(ring, i);
      ring.submit();
    }
    assert.equal(ring.cqHasOverflow, true);
    const seen: unknown[] = [];
    for (let i = 0; seen.length < COUNT && i < COUNT; i++) {
      ring.cqAdvance(ring.forEachCqe((cqe) => seen.push(cqe.big)));
    }
    assert.deepEqual(seen, range(COUNT).map(extra));
    assert.deepEqual([ring.cqReady, ring.inFlight], [0, 0]);
  });

  const large = (userData: number) => userData % 2 === 0;
  // Linux 6.18 puts a plain one in the place of a filler that it has posted in the last slot of a full queue, and counts
  // both: the tail is then one slot ahead of what there is.
  const ways: Record<string, (ring: Ring, show: (userData: number) => void) => void> = {
    drain: (ring, show) => ring.drain(show),
    copyCqes(ring, show) {
      const words = new Int32Array(256);
      for (const i of range(ring.copyCqes(words))) show(words[4 * i] as number);
    },
    forEachCqe(ring, show) {
      ring.cqAdvance(
        ring.forEachCqe((cqe) => {
          assert.deepEqual(cqe.big, large(cqe.userData) ? extra(cqe.userData) : undefined);
          show(cqe.userData);
        }),
      );
    },
    "forEachCqe, each at once": (ring, show) => {
      ring.forEachCqe((cqe) => {
        ring.cqAdvance(cqe.big === undefined ? 1 : 2);
        show(cqe.userData);
      });
    },
    peekCqe(ring, show) {
      const cqe = ring.peekCqe();
      if (cqe === null) return;
      assert.deepEqual(cqe.big, large(cqe.userData) ? extra(cqe.userData) : undefined);
      ring.cqAdvance(cqe.big === undefined ? 1 : 2);
      show(cqe.userData);
    },
  };

  /** What is to be given every number below `count` once. */
  function once(count: number): { show(userData: number): void; readonly left: Set<number> } {
    const left = new Set(range(count));
    const show = (userData: number) =>
      assert.ok(left.delete(userData), `${userData} comes for the second time`);
    return { show, left };
  }

  for (const [name, look] of Object.entries(ways)) {
    it(`of both sizes are shown once each by ${name} when the queue is full`, () => {
      const COUNT = 400;
      using ring = mixed();
      for (const i of range(COUNT)) {
        (large(i) ? big : plain)(ring, i);
        ring.submit();
      }
      assert.equal(ring.cqHasOverflow, true);
      const { show, left } = once(COUNT);
      for (let i = 0; left.size > 0 && i < COUNT; i++) look(ring, show);
      assert.deepEqual([left.size, ring.cqReady, ring.inFlight], [0, 0, 0]);
    });
  }

  for (const [name, flags] of Object.entries({
    "without flags": 0,
    "with IORING_SETUP_DEFER_TASKRUN": abi.IORING_SETUP_SINGLE_ISSUER | abi.IORING_SETUP_DEFER_TASKRUN,
    "with IORING_SETUP_SQPOLL": abi.IORING_SETUP_SQPOLL,
  })) {
    it(`come once each however they are read, in queues that are often full, ${name}`, () => {
      const random = new Random(flags);
      for (const entries of range(25).map(() => random.pick([1, 2, 4, 8]))) {
        const cqEntries = random.pick([entries, 2 * entries]);
        using ring = new Ring({ entries, cqEntries, flags: flags | abi.IORING_SETUP_CQE_MIXED });
        const COUNT = 200;
        const { show, left } = once(COUNT);
        const end = performance.now() + LONG;
        for (let next = 0; left.size > 0; ) {
          assert.ok(performance.now() < end, `${[...left].slice(0, 9)} of ${next} are missing`);
          const most = Math.min(next + random.below(4 * entries), COUNT);
          while (next < most && ring.sqSpaceLeft > 0) {
            (large(next) ? big : plain)(ring, next++);
            if (random.below(3) === 0) ring.submit();
          }
          if (random.below(2) === 0) ring.submit();
          else ring.submitAndWait(1, { timeout: 1 });
          random.pick(Object.values(ways))(ring, show);
          if (flags !== abi.IORING_SETUP_SQPOLL && flags !== 0 && random.below(20) === 0)
            resize(ring, random);
        }
        assert.equal(ring.inFlight, 0);
      }
    });
  }

  /** Makes the queue larger or smaller, where that is possible now. */
  function resize(ring: Ring, random: Random): void {
    const { sqEntries } = ring.params;
    try {
      ring.resizeRings({ entries: sqEntries, cqEntries: sqEntries * random.pick([1, 2, 4]) });
    } catch (error) {
      assert.ok(error instanceof UringError && ["EOVERFLOW", "EINVAL"].includes(error.code), String(error));
    }
  }

  it("have four slots at least: with two none would be left for a large one beside a filler", () => {
    using least = new Ring({ entries: 1, flags: abi.IORING_SETUP_CQE_MIXED });
    assert.equal(least.params.cqEntries, 4);
    using asked = new Ring({ entries: 2, cqEntries: 2, flags: abi.IORING_SETUP_CQE_MIXED });
    assert.equal(asked.params.cqEntries, 4);
  });
});
