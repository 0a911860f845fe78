import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { constants } from "node:os";
import { alloc, type Ring } from "uring";
import {
  IORING_CQE_F_32,
  IORING_CQE_F_MORE,
  IORING_CQE_F_SKIP,
  IORING_ENTER_GETEVENTS,
  IORING_NOP_CQE32,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_SINGLE_ISSUER,
  io_uring_cqe,
  O_RDONLY,
  POLLIN,
} from "uring/abi";
import { pipe } from "../support/harness.ts";
import { nop } from "../support/ring.ts";
import { withShim } from "../support/runtime.ts";
import { type Brief, brief, entry, submitted } from "./completions.ts";
import { open, textOf, write } from "./descriptors.ts";
import { PATIENCE_MS, SOON_MS } from "./durations.ts";
import { allRings, conformance } from "./support.ts";
import { watchedRing } from "./watched-ring.ts";

const { EALREADY, ECANCELED, ENOENT } = constants.errno;
const MORE = IORING_CQE_F_MORE;

// ------------------------------------------------------------------------------------------------ liburing/nop32-overflow

/** Every completion that is there without consuming any: `userData`, flags, and what a large one carries. */
function shown(ring: Ring): { slots: number; all: [number, number, readonly bigint[] | undefined][] } {
  const all: [number, number, readonly bigint[] | undefined][] = [];
  const slots = ring.forEachCqe((cqe) => all.push([cqe.userData, cqe.flags, cqe.big]));
  return { slots, all };
}

for (const deferred of [false, true]) {
  conformance(
    "liburing/nop32-overflow",
    `large completions that did not fit come in order once there is room${deferred ? ", from deferred work" : ""}`,
    (bench) => {
      const flags = deferred ? IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN : 0;
      const { ring, view } = watchedRing(bench, { entries: 8, cqEntries: 8, flags });
      const large = (userData: number): [number, number, bigint[]] => [
        userData,
        IORING_CQE_F_32,
        [BigInt(100 + userData), BigInt(200 + userData)],
      ];
      // Over the end of the queue in every way there is: each round begins one slot further.
      for (let round = 0; round < 8; round++) {
        entry(ring).prepNop().setData64(1);
        for (let i = 2; i <= 8; i++) {
          nop(entry(ring), IORING_NOP_CQE32, 0, [100 + i, 200 + i]).setData64(i);
        }
        assert.equal(ring.submitAndWait(4, { timeout: 1000 }), 8);
        const first = shown(ring);
        if (round === 0) {
          // 7 slots, and a filler where no large one fits any more, which is not read before something follows it.
          assert.equal(first.slots, 7);
          assert.equal(view.cqTail, 8);
          assert.equal(view.completion(7).getUint32(io_uring_cqe.flags, true), IORING_CQE_F_SKIP);
          assert.deepEqual(first.all, [[1, 0, undefined], large(2), large(3), large(4)]);
          assert.equal(ring.cqHasOverflow, true);
        }
        const found = [...first.all];
        ring.cqAdvance(first.slots);
        while (found.length < 8) {
          assert.notEqual(ring.waitCqe({ timeout: 1000 }), null);
          const { slots, all } = shown(ring);
          found.push(...all);
          ring.cqAdvance(slots);
        }
        assert.deepEqual(found, [[1, 0, undefined], ...[2, 3, 4, 5, 6, 7, 8].map(large)]);
        assert.equal(ring.cqHasOverflow, false);
        assert.equal(ring.cqOverflow, 0);
        entry(ring).prepNop().setData64(0);
        assert.deepEqual(brief(bench.complete(ring, 1)), [[0, 0, 0]]);
      }
    },
    { rings: ["mixed"] },
  );
}

// ------------------------------------------------------------------------------------------------ liburing/poll-mshot-overflow

/** A poller thread may take several triggers for one, at moments of its own: how many it sees is not known. */
const inTask = allRings.filter((type) => type !== "sqpoll");

/** Collects every completion there is, overflow included. */
function all(ring: Ring): Brief[] {
  const found: Brief[] = [];
  const take = () => ring.drain((...completion) => found.push(completion));
  do ring.getEvents();
  while (take() > 0 || ring.cqHasOverflow);
  return found;
}

conformance(
  "liburing/poll-mshot-overflow",
  "a multishot poll that the queue has no room for ends, and can be armed anew",
  (bench) => {
    const ring = bench.ring({ entries: 2, cqEntries: 2 });
    using ends = pipe();
    for (let userData = 1; userData <= 3; userData++) {
      entry(ring).prepPollMultishot(ends.read, POLLIN).setData64(userData);
      assert.equal(ring.submit(), 1);
      for (let i = 0; i < 8; i++) {
        write(ends.write, "x");
        ring.getEvents();
      }
      const found = all(ring);
      assert.ok(found.length >= 3 && found.length <= 9, JSON.stringify(found));
      const last = found.pop() as Brief;
      for (const completion of found) assert.deepEqual(completion, [userData, POLLIN, MORE]);
      // The pipe has bytes already when it is armed a second time, which is one event more.
      const events = userData === 1 ? 8 : 9;
      assert.deepEqual(last, [userData, POLLIN, found.length + 1 < events ? 0 : MORE]);
      if (last[2] === MORE) {
        entry(ring).prepPollRemove(userData).setData64(0);
        ring.submit();
        all(ring);
      }
      bench.quiet(ring, 10);
    }
  },
  { rings: inTask },
);

conformance(
  "liburing/poll-mshot-overflow",
  "nothing follows a multishot poll's last completion when it is removed from a full queue",
  (bench) => {
    const ring = bench.ring({ entries: 2, cqEntries: 2 });
    using ends = pipe();
    entry(ring).prepPollMultishot(ends.read, POLLIN).setData64(1);
    ring.submit();
    submitted(ring);
    for (let i = 0; i < 2; i++) entry(ring).prepNop().setData64(0);
    ring.submit();
    submitted(ring);
    write(ends.write, "x");
    const found = all(ring);
    const collectUntil = (last: (completion: Brief) => boolean, from: number) => {
      const end = performance.now() + PATIENCE_MS;
      for (;;) {
        const completion = found.slice(from).find(last);
        if (completion !== undefined) return completion;
        assert.ok(performance.now() < end, JSON.stringify(found));
        ring.submitAndWait(1, { timeout: 20 });
        found.push(...all(ring));
      }
    };
    const removal = () => {
      entry(ring).prepPollRemove(1).setData64(2);
      return collectUntil(([userData]) => userData === 2, found.length)[1];
    };
    let res = removal();
    // While a poller thread works on what has woken the poll, it is not to be had.
    while (res === -EALREADY) res = removal();
    assert.ok(res === 0 || res === -ENOENT, `removal: ${res}`);
    collectUntil(([userData, , flags]) => userData === 1 && flags === 0, 0);
    bench.quiet(ring, 20);
    assert.equal(found.filter(([userData, res]) => userData === 0 && res === 0).length, 2);
    const polls = found.filter(([userData]) => userData === 1);
    assert.ok(polls.length >= 1);
    const last = polls.pop() as Brief;
    assert.equal(last[2], 0, JSON.stringify(found));
    assert.ok(last[1] === POLLIN || last[1] === -ECANCELED);
    for (const completion of polls) assert.deepEqual(completion, [1, POLLIN, MORE]);
  },
  { rings: allRings },
);

// ------------------------------------------------------------------------------------------------ tokio/sqpoll/test_sqpoll_cq_overflow

conformance(
  "tokio/sqpoll/test_sqpoll_cq_overflow",
  "what a poller could not post comes when the next submission notices, not when the poller falls asleep",
  (bench) => {
    const IDLE = SOON_MS;
    let noticed = 0;
    const ring = withShim(
      (real) => ({
        enter(fd, toSubmit, count, flags, arg, size) {
          if ((flags & IORING_ENTER_GETEVENTS) !== 0 && count === 0) noticed++;
          return real.enter(fd, toSubmit, count, flags, arg, size);
        },
      }),
      () => bench.ring({ entries: 8, sqThreadIdle: IDLE }),
    );
    assert.equal(ring.params.cqEntries, 16);
    const path = bench.path("file");
    writeFileSync(path, "0123456789abcdef0123456789abcdef");
    const fd = open(bench, path, O_RDONLY);
    const memory = alloc(32);
    const start = performance.now();
    for (let i = 0; i < 32; i++) {
      let sqe = ring.getSqe();
      while (sqe === null) {
        ring.submit();
        sqe = ring.getSqe();
      }
      sqe.prepRead(fd, memory.slice(i, 1), 1, i).setData64(i);
    }
    ring.submit();
    submitted(ring);
    const seen = new Set<number>();
    while (seen.size < 32 && performance.now() - start < PATIENCE_MS) {
      ring.submit();
      ring.drain((userData, res, flags) => {
        assert.deepEqual([res, flags, seen.has(userData)], [1, 0, false]);
        seen.add(userData);
      });
    }
    const time = performance.now() - start;
    assert.equal(seen.size, 32);
    assert.equal(ring.cqOverflow, 0);
    assert.ok(noticed > 0, "submit has not entered the kernel for the overflow");
    assert.ok(time < IDLE, `${time} ms`);
    assert.equal(textOf(memory), "0123456789abcdef0123456789abcdef");
  },
  { rings: ["sqpoll"] },
);
