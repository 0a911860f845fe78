import assert from "node:assert/strict";
import { constants, release } from "node:os";
import { alloc, encodeTimespec, type Pinned, type Ring, type Sqe } from "uring";
import {
  IORING_CQE_F_MORE,
  IORING_FEAT_MIN_TIMEOUT,
  IORING_REGISTER_CLOCK,
  IORING_TIMEOUT_ABS,
  IORING_TIMEOUT_ETIME_SUCCESS,
  IORING_TIMEOUT_IMMEDIATE_ARG,
  IORING_TIMEOUT_MULTISHOT,
  IOSQE_ASYNC,
  IOSQE_IO_DRAIN,
  IOSQE_IO_LINK,
} from "uring/abi";
import { type Pipe, pipe } from "../support/harness.ts";
import { withShim } from "../support/runtime.ts";
import { syscall, syscallBeforeExec, type Task, writesFromThread } from "../support/system.ts";
import { type Brief, brief, entry, sorted, submitAll, submitted } from "./completions.ts";
import {
  CLOCK_BOOTTIME,
  CLOCK_MONOTONIC,
  clock,
  elapsed,
  PATIENCE_MS,
  SOON_MS,
  sleep,
  takes,
} from "./durations.ts";
import { allRings, type Bench, conformance, type RingType } from "./support.ts";

const { EALREADY, ECANCELED, EINVAL, ENOENT, ETIME } = constants.errno;
const MORE = IORING_CQE_F_MORE;

/** The kinds of ring that wait in ways of their own. */
const waits: RingType[] = ["default", "defer", "sqpoll"];

/** How long it takes until the next `count` completions are there, and what they are. */
function timed(bench: Bench, ring: Ring, count: number): { time: number; found: Brief[] } {
  let found: Brief[] = [];
  const time = elapsed(() => {
    found = brief(bench.complete(ring, count));
  });
  return { time, found };
}

/** A point in time so many milliseconds from now, for `IORING_TIMEOUT_ABS`. */
function fromNow(milliseconds: number, id: number = CLOCK_MONOTONIC): Pinned {
  return encodeTimespec(clock(id) + BigInt(milliseconds * 1e6));
}

// ----------------------------------------------------------------------------------------------- liburing/7ad0e4b2f83c

conformance(
  "liburing/7ad0e4b2f83c",
  "a wait with a limit ends with the completion that is there, and leaves no timeout behind",
  (bench) => {
    const ring = bench.ring();
    takes(900, 1100, () => {
      entry(ring).prepNop().setData64(1);
      submitAll(ring, 1);
      const time = elapsed(() => {
        const cqe = ring.waitCqe({ timeout: PATIENCE_MS });
        assert.deepEqual([cqe?.userData, cqe?.res], [1, 0]);
      });
      assert.ok(time < SOON_MS, `waited ${time} ms`);
      ring.cqAdvance(1);
      entry(ring).prepTimeout(encodeTimespec(1000), 0, 0).setData64(89);
      assert.deepEqual(timed(bench, ring, 1).found, [[89, -ETIME, 0]]);
    });
  },
  { rings: waits },
);

// ------------------------------------------------------------------------------------------- liburing/min-timeout-wait

/** A ring with four reads of one byte from a pipe, and what is to happen to them. */
class Events {
  readonly ring: Ring;
  readonly #bench: Bench;
  readonly #pipe: Pipe = pipe();
  readonly #memory = alloc(4);
  /** The completions that are still to come. */
  #pending: Brief[] = [];
  #task: Task | undefined;

  constructor(bench: Bench) {
    this.#bench = bench;
    this.ring = bench.ring();
    assert.notEqual(this.ring.features & IORING_FEAT_MIN_TIMEOUT, 0);
    bench.defer(() => this.#pipe[Symbol.dispose]());
  }

  /** So many events are there already. */
  ready(count: number): void {
    for (let i = 0; i < count; i++) {
      entry(this.ring).prepNop().setData64(i);
      this.#pending.push([i, 0, 0]);
    }
    this.ring.submit();
    submitted(this.ring);
    // The poller thread takes the entries before it completes them.
    const end = performance.now() + PATIENCE_MS;
    while (this.ring.cqReady < count && performance.now() < end) this.ring.getEvents();
    assert.equal(this.ring.cqReady, count);
  }

  /** So many events happen at once after a time. */
  later(count: number, pauseMs: number): void {
    for (let i = 0; i < count; i++) {
      entry(this.ring).prepRead(this.#pipe.read, this.#memory.slice(i, 1), 1, -1).setData64(i);
      this.#pending.push([i, 1, 0]);
    }
    this.ring.submit();
    submitted(this.ring);
    this.#task = writesFromThread(this.#pipe.write, { size: count, pauseMs });
  }

  /** Forgets what has happened. */
  clear(): void {
    this.#task?.join();
    this.#task = undefined;
    const expected = this.#pending;
    this.#pending = [];
    assert.deepEqual(sorted(this.#bench.collect(this.ring, expected.length)), expected);
  }
}

for (const { name, before, timeout, minWait, result, least, most } of [
  {
    name: "4 of 4 events are there: it ends at once",
    before: (events: Events) => events.ready(4),
    timeout: 100,
    minWait: 50,
    result: 0,
    least: 0,
    most: 5,
  },
  {
    name: "2 of 4 are there: it ends after the least time",
    before: (events: Events) => events.ready(2),
    timeout: 100,
    minWait: 50,
    result: 0,
    least: 45,
    most: 55,
  },
  {
    name: "nothing happens: it ends with -ETIME after the whole time",
    before: () => {},
    timeout: 100,
    minWait: 50,
    result: -ETIME,
    least: 95,
    most: 110,
  },
  {
    name: "nothing happens and the least time is longer than the whole: it ends with -ETIME after the least time",
    before: () => {},
    timeout: 20,
    minWait: 50,
    result: -ETIME,
    least: 45,
    most: 55,
  },
  {
    name: "one event after the least time ends it",
    before: (events: Events) => events.later(1, 100),
    timeout: 1000,
    minWait: 10,
    result: 0,
    least: 90,
    most: 120,
  },
  {
    name: "4 events within the least time end it",
    before: (events: Events) => events.later(4, 10),
    timeout: 1000,
    minWait: 200,
    result: 0,
    least: 5,
    most: 30,
  },
  {
    name: "2 of 4 events within the least time: it ends after that",
    before: (events: Events) => events.later(2, 10),
    timeout: 1000,
    minWait: 100,
    result: 0,
    least: 90,
    most: 120,
  },
]) {
  conformance(
    "liburing/min-timeout-wait",
    `a wait for 4 events, at least ${minWait} and at most ${timeout} ms: ${name}`,
    (bench) => {
      const events = new Events(bench);
      takes(
        least,
        most,
        () => assert.equal(events.ring.submitAndWait(4, { timeout, minWait }), result),
        () => {
          events.clear();
          before(events);
        },
      );
      events.clear();
    },
    { rings: waits },
  );
}

// ---------------------------------------------------------------------------------------------------- liburing/timeout

conformance(
  "liburing/timeout",
  "a timeout of 200 ms fires after 100 to 300 ms",
  (bench) => {
    const ring = bench.ring();
    takes(100, 300, () => {
      entry(ring).prepTimeout(encodeTimespec(200), 0, 0).setData64(1);
      assert.deepEqual(timed(bench, ring, 1).found, [[1, -ETIME, 0]]);
    });
  },
  { rings: allRings },
);

conformance(
  "liburing/timeout",
  "an absolute timeout a second from now fires after 0.5 to 1.5 s",
  (bench) => {
    const ring = bench.ring();
    takes(500, 1500, () => {
      entry(ring).prepTimeout(fromNow(1000), 0, IORING_TIMEOUT_ABS).setData64(1);
      assert.deepEqual(timed(bench, ring, 1).found, [[1, -ETIME, 0]]);
    });
  },
  { rings: waits },
);

conformance(
  "liburing/timeout",
  "a time in the entry itself is for kernels from 7.1 on, -EINVAL for others",
  (bench) => {
    const [major = 0, minor = 0] = release().split(".").map(Number);
    const known = major > 7 || (major === 7 && minor >= 1);
    const ring = bench.ring();
    entry(ring).prepTimeout(1_000_000, 0, IORING_TIMEOUT_IMMEDIATE_ARG).setData64(1);
    assert.deepEqual(brief(bench.complete(ring, 1)), [[1, known ? -ETIME : -EINVAL, 0]]);
  },
  { rings: allRings },
);

conformance(
  "liburing/timeout",
  "a wait for 4 events ends when the only timeout fires",
  (bench) => {
    const ring = bench.ring();
    takes(150, 1000, () => {
      entry(ring).prepTimeout(encodeTimespec(200), 0, 0).setData64(1);
      submitAll(ring, 1, 4);
      assert.deepEqual(brief(bench.collect(ring, 1)), [[1, -ETIME, 0]]);
    });
  },
  { rings: allRings },
);

for (const count of [1, 2]) {
  conformance(
    "liburing/timeout",
    `a timeout for ${count} completions ends after so many, with 0`,
    (bench) => {
      const ring = bench.ring();
      entry(ring).prepTimeout(encodeTimespec(10_000), count, 0).setData64(100);
      for (let i = 0; i < count; i++) entry(ring).prepNop().setData64(i);
      const { time, found } = timed(bench, ring, count + 1);
      assert.ok(time < SOON_MS, `${time} ms`);
      assert.deepEqual(found, [...Array.from({ length: count }, (_, i) => [i, 0, 0]), [100, 0, 0]]);
    },
    { rings: allRings },
  );
}

conformance(
  "liburing/timeout",
  "timeouts do not count for each other: the shorter fires first, then the longer",
  (bench) => {
    const ring = bench.ring();
    entry(ring).prepTimeout(encodeTimespec(400), 1, 0).setData64(1);
    entry(ring).prepTimeout(encodeTimespec(200), 1, 0).setData64(2);
    const { time, found } = timed(bench, ring, 2);
    assert.deepEqual(found, [
      [2, -ETIME, 0],
      [1, -ETIME, 0],
    ]);
    assert.ok(time >= 390, `${time} ms`);
  },
  { rings: waits },
);

conformance(
  "liburing/timeout",
  "of two timeouts that wait for 2 completions and for 1, a no-op ends the second",
  (bench) => {
    const ring = bench.ring();
    entry(ring).prepTimeout(encodeTimespec(200), 2, 0).setData64(1);
    entry(ring).prepTimeout(encodeTimespec(200), 1, 0).setData64(2);
    entry(ring).prepNop().setData64(3);
    assert.deepEqual(brief(bench.complete(ring, 3)), [
      [3, 0, 0],
      [2, 0, 0],
      [1, -ETIME, 0],
    ]);
  },
  { rings: waits },
);

conformance(
  "liburing/timeout",
  "a timeout is removed by its user_data",
  (bench) => {
    const ring = bench.ring();
    entry(ring).prepTimeout(encodeTimespec(10_000), 0, 0).setData64(1);
    ring.submit();
    entry(ring).prepTimeoutRemove(1, 0).setData64(2);
    const { time, found } = timed(bench, ring, 2);
    assert.ok(time < SOON_MS, `${time} ms`);
    assert.deepEqual(
      found.sort(([a], [b]) => a - b),
      [
        [1, -ECANCELED, 0],
        [2, 0, 0],
      ],
    );
  },
  { rings: allRings },
);

conformance(
  "liburing/timeout",
  "removing a timeout that there is not is -ENOENT, and harms no other",
  (bench) => {
    const ring = bench.ring();
    entry(ring).prepTimeout(encodeTimespec(100), 0, 0).setData64(1);
    entry(ring).prepTimeoutRemove(77, 0).setData64(2);
    assert.deepEqual(brief(bench.complete(ring, 2)), [
      [2, -ENOENT, 0],
      [1, -ETIME, 0],
    ]);
  },
  { rings: allRings },
);

conformance(
  "liburing/timeout",
  "flags that are not for removing or updating are -EINVAL",
  (bench) => {
    const ring = bench.ring();
    const time = encodeTimespec(100);
    entry(ring).prepTimeoutRemove(77, IORING_TIMEOUT_ABS).setData64(1);
    assert.deepEqual(brief(bench.complete(ring, 1)), [[1, -EINVAL, 0]]);
    // All flags at once include one by which the time is a number.
    entry(ring).prepTimeoutUpdate(time.address, 77, 0xffff_ffff).setData64(2);
    assert.deepEqual(brief(bench.complete(ring, 1)), [[2, -EINVAL, 0]]);
  },
  { rings: allRings },
);

for (const milliseconds of [0, 1, 1000]) {
  for (const how of ["relative", "absolute", "asynchronous", "linked after a no-op"] as const) {
    conformance(
      "liburing/timeout",
      `a timeout of 10 s updated to ${milliseconds} ms, ${how}, fires then`,
      (bench) => {
        const ring = bench.ring();
        entry(ring).prepTimeout(encodeTimespec(10_000), 0, 0).setData64(1);
        ring.submit();
        submitted(ring);
        const absolute = how === "absolute";
        const time = absolute ? fromNow(milliseconds) : encodeTimespec(milliseconds);
        const expected: Brief[] = [];
        if (how === "linked after a no-op") {
          entry(ring).prepNop().setFlags(IOSQE_IO_LINK).setData64(3);
          expected.push([3, 0, 0]);
        }
        const update = entry(ring).prepTimeoutUpdate(time, 1, absolute ? IORING_TIMEOUT_ABS : 0);
        if (how === "asynchronous") update.setFlags(IOSQE_ASYNC);
        update.setData64(2);
        const { time: taken, found } = timed(bench, ring, expected.length + 2);
        assert.deepEqual(
          found.sort(([a], [b]) => a - b),
          [[1, -ETIME, 0], [2, 0, 0], ...expected],
        );
        assert.ok(taken < 4000, `${taken} ms`);
        if (milliseconds === 1000) assert.ok(taken >= 500, `${taken} ms`);
      },
      { rings: waits },
    );
  }
}

conformance(
  "liburing/timeout",
  "updating a timeout that there is not is -ENOENT",
  (bench) => {
    const ring = bench.ring();
    entry(ring).prepTimeoutUpdate(encodeTimespec(100), 77, 0).setData64(1);
    assert.deepEqual(brief(bench.complete(ring, 1)), [[1, -ENOENT, 0]]);
  },
  { rings: allRings },
);

for (const { flags, results } of [
  { flags: ["LINK", "DRAIN", ""], results: [-ETIME, -ECANCELED, -ETIME] },
  { flags: ["LINK", "LINK", ""], results: [-ETIME, -ECANCELED, -ECANCELED] },
  { flags: ["DRAIN", "LINK", ""], results: [-ETIME, -ETIME, -ECANCELED] },
]) {
  conformance(
    "liburing/timeout",
    `three timeouts, linked and drained: ${flags.map((flag) => flag || "plain").join(", ")}`,
    (bench) => {
      const ring = bench.ring();
      const time = encodeTimespec(30);
      for (const [i, flag] of flags.entries()) {
        entry(ring)
          .prepTimeout(time, 0, 0)
          .setFlags(flag === "LINK" ? IOSQE_IO_LINK : flag === "DRAIN" ? IOSQE_IO_DRAIN : 0)
          .setData64(i);
      }
      assert.deepEqual(
        sorted(bench.complete(ring, 3)),
        results.map((result, i) => [i, result, 0]),
      );
    },
    { rings: allRings },
  );
}

conformance(
  "liburing/timeout",
  "a timeout that fires does not break a link with ETIME_SUCCESS",
  (bench) => {
    const ring = bench.ring();
    entry(ring)
      .prepTimeout(encodeTimespec(1), 0, IORING_TIMEOUT_ETIME_SUCCESS)
      .setFlags(IOSQE_IO_LINK)
      .setData64(1);
    entry(ring).prepNop().setData64(2);
    assert.deepEqual(brief(bench.complete(ring, 2)), [
      [1, -ETIME, 0],
      [2, 0, 0],
    ]);
  },
  { rings: allRings },
);

/**
 * Removes or updates a multishot timeout, which is 1 and on a busy machine may fire meanwhile: then it is not to be
 * found, and the next try comes after that. What it completes with before the answer.
 */
function change(bench: Bench, ring: Ring, fill: (sqe: Sqe) => Sqe): Brief[] {
  const fired: Brief[] = [];
  const take = () => {
    const [completion] = brief([bench.next(ring)]) as [Brief];
    if (completion[0] === 1) fired.push(completion);
    return completion;
  };
  for (;;) {
    fill(entry(ring)).setData64(2);
    let [userData, res] = take();
    while (userData !== 2) [userData, res] = take();
    if (res === 0) return fired;
    assert.ok(res === -ENOENT || res === -EALREADY, `answer: ${res}`);
    assert.deepEqual(take(), [1, -ETIME, MORE]);
  }
}

conformance(
  "liburing/timeout",
  "a multishot timeout fires each period until it is removed",
  (bench) => {
    const ring = bench.ring();
    entry(ring).prepTimeout(encodeTimespec(200), 0, IORING_TIMEOUT_MULTISHOT).setData64(1);
    const start = performance.now();
    for (let i = 1; i <= 3; i++) {
      assert.deepEqual(brief([bench.next(ring)]), [[1, -ETIME, MORE]]);
      assert.ok(performance.now() - start >= 200 * i - 1, `period ${i}`);
    }
    const late = change(bench, ring, (sqe) => sqe.prepTimeoutRemove(1, 0));
    while ((late.at(-1) ?? [1, 0, MORE])[2] === MORE) late.push(...brief([bench.next(ring)]));
    assert.deepEqual(late.pop(), [1, -ECANCELED, 0]);
    for (const completion of late) assert.deepEqual(completion, [1, -ETIME, MORE]);
  },
  { rings: waits },
);

conformance(
  "liburing/timeout",
  "a multishot timeout with a count of 3 fires three times, the last without MORE",
  (bench) => {
    const ring = bench.ring();
    entry(ring).prepTimeout(encodeTimespec(100), 3, IORING_TIMEOUT_MULTISHOT).setData64(1);
    assert.deepEqual(brief(bench.complete(ring, 3)), [
      [1, -ETIME, MORE],
      [1, -ETIME, MORE],
      [1, -ETIME, 0],
    ]);
    bench.quiet(ring, 400);
  },
  { rings: waits },
);

conformance(
  "liburing/timeout",
  "a multishot timeout that nobody reads overflows the completion queue, and ends",
  async (bench) => {
    const ring = bench.ring({ entries: 4, cqEntries: 16 });
    entry(ring).prepTimeout(encodeTimespec(10), 0, IORING_TIMEOUT_MULTISHOT).setData64(1);
    submitAll(ring, 1);
    const end = performance.now() + PATIENCE_MS;
    while (!ring.cqHasOverflow && performance.now() < end) {
      await sleep(20);
      // Some kinds of ring post only when they are entered.
      ring.getEvents();
    }
    assert.equal(ring.cqHasOverflow, true);
    assert.equal(ring.cqReady, 16);
    const found = brief(bench.collect(ring, 17));
    assert.deepEqual(found, [...Array.from({ length: 16 }, () => [1, -ETIME, MORE]), [1, -ETIME, 0]]);
    assert.equal(ring.cqHasOverflow, false);
    bench.quiet(ring, 100);
  },
  { rings: waits },
);

conformance(
  "liburing/timeout",
  "an update gives a multishot timeout another period",
  (bench) => {
    const ring = bench.ring();
    entry(ring).prepTimeout(encodeTimespec(100), 0, IORING_TIMEOUT_MULTISHOT).setData64(1);
    assert.deepEqual(brief([bench.next(ring)]), [[1, -ETIME, MORE]]);
    let start = 0;
    const late = change(bench, ring, (sqe) => {
      start = performance.now();
      return sqe.prepTimeoutUpdate(encodeTimespec(300), 1, 0);
    });
    // Of the first period.
    for (const completion of late) assert.deepEqual(completion, [1, -ETIME, MORE]);
    for (let i = 0; i < 2; i++) assert.deepEqual(brief([bench.next(ring)]), [[1, -ETIME, MORE]]);
    const time = performance.now() - start;
    assert.ok(time >= 590, `${time} ms for two periods`);
  },
  { rings: waits },
);

conformance(
  "liburing/timeout",
  "a ring with a timeout pending, and a no-op linked to it, closes at once",
  (bench) => {
    const ring = bench.ring();
    entry(ring).prepTimeout(encodeTimespec(30_000), 0, 0).setFlags(IOSQE_IO_LINK).setData64(1);
    entry(ring).prepNop().setData64(2);
    submitAll(ring, 2);
    const time = elapsed(() => assert.deepEqual(ring.close({ deadline: PATIENCE_MS }), { leaked: 0 }));
    assert.ok(time < SOON_MS, `${time} ms`);
  },
  { rings: allRings },
);

conformance(
  "liburing/timeout",
  "a process that becomes another program has its timeouts cancelled, and what is linked to them",
  (bench) => {
    let asChild = false;
    const ring: Ring = withShim(
      (real) => ({
        enter(fd, ...rest) {
          // The fd by which this thread enters is an index that means nothing to the child.
          if (asChild) return syscallBeforeExec("io_uring_enter", ring.fd, rest[0], 0, 0, 0, 0);
          return real.enter(fd, ...rest);
        },
      }),
      () => bench.ring(),
    );
    entry(ring).prepTimeout(encodeTimespec(10_000), 0, 0).setFlags(IOSQE_IO_LINK).setData64(1);
    entry(ring).prepNop().setData64(2);
    asChild = true;
    submitAll(ring, 2);
    asChild = false;
    const { time, found } = timed(bench, ring, 2);
    assert.deepEqual(found, [
      [1, -ECANCELED, 0],
      [2, -ECANCELED, 0],
    ]);
    assert.ok(time < SOON_MS, `${time} ms`);
  },
);

// ----------------------------------------------------------------------------------------------- liburing/wait-timeout

conformance(
  "liburing/wait-timeout",
  "a ring's clock is one of two, as often as wanted, and no other",
  (bench) => {
    const ring = bench.ring();
    assert.ok(syscall("io_uring_register", ring.fd, IORING_REGISTER_CLOCK, 0, 0) < 0);
    assert.throws(() => ring.registerClock(-1), { code: "EINVAL", errno: EINVAL });
    for (let i = 0; i < 3; i++) {
      ring.registerClock(CLOCK_MONOTONIC);
      ring.registerClock(CLOCK_BOOTTIME);
    }
  },
);

for (const { name, id } of [
  { name: "the default clock", id: undefined },
  { name: "CLOCK_BOOTTIME", id: CLOCK_BOOTTIME },
]) {
  const waiting = (bench: Bench, timeout: (now: number) => number, absolute: boolean): Ring => {
    const ring = bench.ring();
    if (id !== undefined) ring.registerClock(id);
    const now = Number(clock(id ?? CLOCK_MONOTONIC)) / 1e6;
    assert.equal(ring.submitAndWait(1, { timeout: timeout(now), absolute }), -ETIME);
    return ring;
  };

  conformance(
    "liburing/wait-timeout",
    `a wait of no time ends at once: ${name}`,
    (bench) => takes(0, 100, () => waiting(bench, () => 0, false)),
    { rings: waits },
  );

  conformance(
    "liburing/wait-timeout",
    `a wait of 2 s ends after 1 to 3 s: ${name}`,
    (bench) => takes(1000, 3000, () => waiting(bench, () => 2000, false)),
    { rings: waits },
  );

  for (const past of [0, 1000]) {
    conformance(
      "liburing/wait-timeout",
      `a wait until ${past === 0 ? "now" : "a second ago"} ends at once: ${name}`,
      (bench) => takes(0, 100, () => waiting(bench, (now) => now - past, true)),
      { rings: waits },
    );
  }

  conformance(
    "liburing/wait-timeout",
    `a wait until 2 s from now ends after 1 to 3 s: ${name}`,
    (bench) => takes(1000, 3000, () => waiting(bench, (now) => now + 2000, true)),
    { rings: waits },
  );
}

// ------------------------------------------------------------------------------------------------------- tokio/timeout

conformance(
  "tokio/timeout/test_timeout_abs",
  "an absolute timeout 2 s from now fires after at least 1 s",
  (bench) => {
    const ring = bench.ring();
    entry(ring).prepTimeout(fromNow(2000), 0, IORING_TIMEOUT_ABS).setData64(0x19);
    const { time, found } = timed(bench, ring, 1);
    assert.deepEqual(found, [[0x19, -ETIME, 0]]);
    assert.ok(time >= 1000, `${time} ms`);
  },
  { rings: waits },
);

conformance(
  "tokio/timeout/test_timeout_cancel",
  "a timeout cancelled by its user_data ends at once",
  (bench) => {
    const ring = bench.ring();
    takes(0, 900, () => {
      entry(ring).prepTimeout(encodeTimespec(1000), 0, 0).setData64(1);
      submitAll(ring, 1);
      entry(ring).prepCancel64(1, 0).setData64(2);
      assert.deepEqual(sorted(bench.complete(ring, 2)), [
        [1, -ECANCELED, 0],
        [2, 0, 0],
      ]);
    });
  },
  { rings: allRings },
);

conformance(
  "tokio/timeout/test_timeout_count",
  "a no-op ends a timeout for one completion at once, both with 0",
  (bench) => {
    const ring = bench.ring();
    takes(0, 900, () => {
      entry(ring).prepTimeout(encodeTimespec(1000), 1, 0).setData64(1);
      entry(ring).prepNop().setData64(2);
      assert.deepEqual(sorted(bench.complete(ring, 2)), [
        [1, 0, 0],
        [2, 0, 0],
      ]);
    });
  },
  { rings: allRings },
);

conformance(
  "tokio/timeout/test_timeout_multishot",
  "a multishot timeout of 1 s with a count of 2 fires at 1 s, and at 2 s for the last time",
  (bench) => {
    const ring = bench.ring();
    const start = performance.now();
    entry(ring).prepTimeout(encodeTimespec(1000), 2, IORING_TIMEOUT_MULTISHOT).setData64(1);
    assert.deepEqual(brief([bench.next(ring)]), [[1, -ETIME, MORE]]);
    assert.ok(performance.now() - start >= 999);
    assert.deepEqual(brief([bench.next(ring)]), [[1, -ETIME, 0]]);
    assert.ok(performance.now() - start >= 1999);
    bench.quiet(ring);
  },
  { rings: waits },
);

conformance(
  "tokio/timeout/test_timeout_remove",
  "a pending timeout is removed without waiting for it",
  (bench) => {
    const ring = bench.ring();
    takes(0, 900, () => {
      entry(ring).prepTimeout(encodeTimespec(1000), 0, 0).setData64(1);
      entry(ring).prepTimeoutRemove(1, 0).setData64(2);
      assert.deepEqual(sorted(bench.complete(ring, 2)), [
        [1, -ECANCELED, 0],
        [2, 0, 0],
      ]);
    });
  },
  { rings: allRings },
);

conformance(
  "tokio/timeout/test_timeout_submit_args_min_wait",
  "a wait for 2 with nothing pending ends after its whole time",
  (bench) => {
    const ring = bench.ring();
    takes(2000, 3000, () => assert.equal(ring.submitAndWait(2, { timeout: 2000, minWait: 1000 }), -ETIME));
  },
  { rings: waits },
);

conformance(
  "tokio/timeout/test_timeout_submit_args_min_wait",
  "a wait for 2 with one completion ends after its least time",
  (bench) => {
    const ring = bench.ring();
    takes(1000, 1900, () => {
      entry(ring).prepNop().setData64(1);
      const taken = ring.submitAndWait(2, { timeout: 2000, minWait: 1000 });
      // A poller thread may have taken the entry before it was counted.
      assert.ok(taken === 1 || (bench.type === "sqpoll" && taken === 0), `${taken}`);
      assert.deepEqual(brief(bench.collect(ring, 1)), [[1, 0, 0]]);
    });
  },
  { rings: waits },
);

conformance(
  "tokio/timeout/test_timeout_update",
  "a timeout of 1 ms updated to 2 ms right away fires after 2 ms",
  (bench) => {
    const ring = bench.ring();
    // On a busy machine the first millisecond may be over before the update runs.
    for (let attempt = 1; ; attempt++) {
      entry(ring).prepTimeout(encodeTimespec(1), 0, 0).setData64(1);
      entry(ring).prepTimeoutUpdate(encodeTimespec(2), 1, 0).setData64(2);
      const { time, found } = timed(bench, ring, 2);
      const [fired, updated] = found.sort(([a], [b]) => a - b);
      assert.deepEqual(fired, [1, -ETIME, 0]);
      if (updated?.[1] !== 0 && attempt < 10) continue;
      assert.deepEqual(updated, [2, 0, 0]);
      assert.ok(time >= 2, `${time} ms`);
      return;
    }
  },
  { rings: allRings },
);
