import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { describe, it } from "node:test";
import { alloc, Ring } from "uring";
import * as abi from "uring/abi";
import { pipe, underSignals, writeAtSleep, writeFromThread } from "./support/harness.ts";
import { type Completion, drained, entry, LONG, nops, range, reap, Scratch, text } from "./support/ring.ts";
import { kernelTakes, withShim } from "./support/runtime.ts";

const EINTR = 4;
const ETIME = 62;

const DEFER = abi.IORING_SETUP_SINGLE_ISSUER | abi.IORING_SETUP_DEFER_TASKRUN;
/** The bit of SIGUSR2, signal 12, in a mask. */
const SIGUSR2 = 1n << 11n;

const features = () => {
  using ring = new Ring({ entries: 1 });
  return ring.features;
};
const needsMinTimeout =
  (features() & abi.IORING_FEAT_MIN_TIMEOUT) !== 0 ? {} : { skip: "this kernel has no min_wait" };

describe("waiting", () => {
  /** Runs a wait; its result and how many milliseconds it took. */
  function timed<T>(wait: () => T): [T, number] {
    const start = performance.now();
    const result = wait();
    return [result, performance.now() - start];
  }

  it("ends when enough completions are there", () => {
    using ring = new Ring({ entries: 8 });
    nops(ring, 5);
    assert.equal(ring.submitAndWait(5), 5);
    assert.equal(ring.cqReady, 5);
    assert.equal(ring.submitAndWait(5), 0);
    assert.equal(ring.submitAndWait(5, { timeout: LONG }), 0);
    assert.equal(ring.cqReady, 5);
  });

  it("ends when its time is up, to parts of a millisecond", () => {
    using ring = new Ring({ entries: 4 });
    for (const timeout of [0, 0.000001, 0.05, 0.5, 1, 12.75, 40]) {
      const [result, took] = timed(() => ring.submitAndWait(1, { timeout }));
      assert.equal(result, -ETIME);
      // Clocks may differ by as much as a runtime rounds its own.
      assert.ok(took >= timeout - 0.2 && took < timeout + LONG, `${took} ms for ${timeout}`);
    }
    const [, short] = timed(() => {
      for (let i = 0; i < 20; i++) ring.submitAndWait(1, { timeout: 0.01 });
    });
    assert.ok(short < LONG, `20 times 0.01 ms took ${short} ms`);
  });

  it("with time left over a second counts seconds and the rest", () => {
    let timespec: [bigint, bigint] | undefined;
    using ring = withShim(
      (real) => ({
        enter(fd, submit, count, flags, arg, size) {
          if ((flags & abi.IORING_ENTER_EXT_ARG) === 0)
            return real.enter(fd, submit, count, flags, arg, size);
          const view = new DataView(real.view(arg, size).slice(0));
          const at = Number(view.getBigUint64(abi.io_uring_getevents_arg.ts, true));
          const ts = new DataView(real.view(at, 16).slice(0));
          timespec = [ts.getBigInt64(0, true), ts.getBigInt64(8, true)];
          return -ETIME;
        },
      }),
      () => new Ring({ entries: 4 }),
    );
    const cases: [number, bigint, bigint][] = [
      [0, 0n, 0n],
      [0.000001, 0n, 1n],
      [999, 0n, 999_000_000n],
      [1000, 1n, 0n],
      [1500.25, 1n, 500_250_000n],
      [86_400_000, 86_400n, 0n],
      [1999.9999999, 1n, 999_999_999n],
    ];
    for (const [timeout, seconds, nanoseconds] of cases) {
      assert.equal(ring.submitAndWait(1, { timeout }), -ETIME);
      assert.deepEqual(timespec, [seconds, nanoseconds], `${timeout} ms`);
    }
  });

  it("tells how many entries were taken even when the time is up", () => {
    using ring = new Ring({ entries: 4 });
    using ends = pipe();
    entry(ring).prepRead(ends.read, alloc(8), 8, -1).setData64(1);
    assert.equal(ring.submitAndWait(1, { timeout: 5 }), 1);
    assert.equal(ring.cqReady, 0);
    assert.equal(ring.inFlight, 1);
    assert.equal(ring.submitAndWait(1, { timeout: 5 }), -ETIME);
  });

  it("ends by a completion that another thread brings about", () => {
    for (const flags of [0, abi.IORING_SETUP_COOP_TASKRUN, DEFER, DEFER | abi.IORING_SETUP_TASKRUN_FLAG]) {
      using ring = new Ring({ entries: 4, flags });
      using ends = pipe();
      const memory = alloc(8);
      entry(ring).prepRead(ends.read, memory, 8, -1).setData64(1);
      assert.equal(
        writeAtSleep(ends.write, () => ring.submitAndWait(1, { timeout: LONG })),
        1,
      );
      assert.deepEqual(drained(ring), [[1, 1, 0]]);
      assert.equal(text(memory, 1), "x");
      entry(ring).prepRead(ends.read, memory, 8, -1).setData64(2);
      ring.submit();
      const cqe = writeAtSleep(ends.write, () => ring.waitCqe());
      assert.deepEqual([cqe?.userData, cqe?.res], [2, 1]);
      ring.cqAdvance(1);
    }
  });

  it("ends with -EINTR by a signal", () => {
    using ring = new Ring({ entries: 4 });
    const [result, took] = timed(() => underSignals(() => ring.submitAndWait(1, { timeout: LONG })));
    assert.equal(result, -EINTR);
    assert.ok(took < LONG);
    underSignals(() => assert.equal(ring.submitAndWait(1), -EINTR));
    underSignals(() => assert.equal(ring.waitCqe({ timeout: LONG }), null));
    underSignals(() => assert.equal(ring.waitCqe(), null));
  });

  it("is not ended by signals that are masked meanwhile", () => {
    using ring = new Ring({ entries: 4 });
    underSignals(() => {
      const [result, took] = timed(() => ring.submitAndWait(1, { timeout: 50, sigmask: SIGUSR2 }));
      assert.equal(result, -ETIME);
      assert.ok(took >= 49.8);
      assert.equal(ring.submitAndWait(1, { timeout: LONG, sigmask: SIGUSR2 << 1n }), -EINTR);
      assert.equal(ring.submitAndWait(1, { timeout: LONG, sigmask: 0n }), -EINTR);
      assert.equal(ring.submitAndWait(1, { timeout: 5, sigmask: 0xffff_ffff_ffff_ffffn }), -ETIME);
    });
  });

  it("without a timeout can still have a mask", () => {
    using ring = new Ring({ entries: 4 });
    using ends = pipe();
    entry(ring).prepRead(ends.read, alloc(8), 8, -1).setData64(1);
    ring.submit();
    const result = underSignals(() =>
      writeAtSleep(ends.write, () => ring.submitAndWait(1, { sigmask: SIGUSR2 })),
    );
    assert.equal(result, 0);
    assert.deepEqual(drained(ring), [[1, 1, 0]]);
  });

  it("gathers completions for the time of minWait, then takes what there is", needsMinTimeout, () => {
    using ring = new Ring({ entries: 8, flags: DEFER });
    nops(ring, 2);
    const [result, took] = timed(() => ring.submitAndWait(8, { timeout: LONG, minWait: 20 }));
    assert.equal(result, 2);
    assert.equal(ring.cqReady, 2);
    assert.ok(took >= 19.8 && took < LONG, `${took} ms`);
  });

  it("for minWait goes on up to the timeout while there is nothing", needsMinTimeout, () => {
    using ring = new Ring({ entries: 8, flags: DEFER });
    const [result, took] = timed(() => ring.submitAndWait(8, { timeout: 40, minWait: 2.5 }));
    assert.equal(result, -ETIME);
    assert.ok(took >= 39.8, `${took} ms`);
    using ends = pipe();
    entry(ring).prepRead(ends.read, alloc(8), 8, -1).setData64(1);
    const submitted = writeAtSleep(ends.write, () => ring.submitAndWait(8, { timeout: LONG, minWait: 0.5 }));
    assert.equal(submitted, 1);
    assert.deepEqual(drained(ring), [[1, 1, 0]]);
  });

  it("refuses what is no duration, mask or count", () => {
    using ring = new Ring({ entries: 4 });
    nops(ring, 1);
    const refused = (options: unknown, name: string) => {
      assert.throws(() => ring.submitAndWait(1, options as object), { name }, String(options));
      assert.throws(() => ring.waitCqe(options as object), { name });
    };
    for (const timeout of [-1, -0.001, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
      refused({ timeout }, "RangeError");
    }
    for (const timeout of ["1", 1n, null, {}]) refused({ timeout }, "TypeError");
    for (const minWait of [-1, Number.NaN, 2 ** 32]) refused({ minWait }, "RangeError");
    for (const minWait of ["1", 1n, null]) refused({ minWait }, "TypeError");
    for (const sigmask of [-1n, 2n ** 64n]) refused({ sigmask }, "RangeError");
    for (const sigmask of [0, 1, "1", null, new Uint8Array(128)]) refused({ sigmask }, "TypeError");
    for (const options of [null, 5, "5", 5n]) refused(options, "TypeError");
    for (const count of [-1, 0.5, Number.NaN, 2 ** 32]) {
      assert.throws(() => ring.submitAndWait(count), { name: "RangeError" });
    }
    for (const count of ["1", null, 1n, undefined] as unknown[]) {
      assert.throws(() => ring.submitAndWait(count as number), { name: /^(Range|Type)Error$/ });
    }
    // Nothing of that has submitted anything.
    assert.deepEqual([ring.sqReady, ring.cqReady], [1, 0]);
    assert.deepEqual(reap(ring, 1), [[0, 0, 0]]);
  });
});

describe("completions of operations that others end", () => {
  it("become visible on a ring with task work deferred, once it is entered", () => {
    using ring = new Ring({ entries: 4, flags: DEFER });
    using ends = pipe();
    entry(ring).prepRead(ends.read, alloc(8), 8, -1).setData64(1);
    ring.submit();
    writeFromThread(ends.write);
    assert.deepEqual([ring.cqReady, drained(ring)], [0, []]);
    ring.getEvents();
    assert.equal(ring.cqReady, 1);
    assert.deepEqual(drained(ring), [[1, 1, 0]]);
  });

  const ways: Record<string, (ring: Ring) => Completion[]> = {
    drain: drained,
    peekCqe(ring) {
      const cqe = ring.peekCqe();
      if (cqe === null) return [];
      ring.cqAdvance(1);
      return [[cqe.userData, cqe.res, cqe.flags]];
    },
    copyCqes(ring) {
      const words = new Int32Array(4);
      return range(ring.copyCqes(words)).map(() => [words[0] ?? -1, words[2] ?? -1, words[3] ?? -1]);
    },
    forEachCqe(ring) {
      const all: Completion[] = [];
      ring.cqAdvance(ring.forEachCqe((cqe) => all.push([cqe.userData, cqe.res, cqe.flags])));
      return all;
    },
    submit(ring) {
      assert.equal(ring.submit(), 0);
      assert.equal(ring.cqReady, 1);
      return drained(ring);
    },
    waitCqe(ring) {
      const cqe = ring.waitCqe({ timeout: LONG });
      if (cqe === null) return [];
      ring.cqAdvance(1);
      return [[cqe.userData, cqe.res, cqe.flags]];
    },
  };
  for (const [name, look] of Object.entries(ways)) {
    it(`are found by ${name} where the kernel tells of task work`, () => {
      for (const flags of [DEFER, abi.IORING_SETUP_COOP_TASKRUN]) {
        using ring = new Ring({ entries: 4, flags: flags | abi.IORING_SETUP_TASKRUN_FLAG });
        using ends = pipe();
        entry(ring).prepRead(ends.read, alloc(8), 8, -1).setData64(1);
        ring.submit();
        assert.deepEqual(drained(ring), []);
        writeFromThread(ends.write);
        assert.deepEqual(look(ring), [[1, 1, 0]]);
        assert.equal(ring.inFlight, 0);
      }
    });
  }

  const noMixed = !kernelTakes(abi.IORING_SETUP_CQE_MIXED) && "this kernel has no completions of mixed sizes";
  it("are waited for up to what a queue of mixed sizes can hold for sure", { skip: noMixed }, () => {
    const asked: number[] = [];
    // More is not passed on: the kernel would never come back from it, not even to be killed.
    using ring = withShim(
      (real) => ({
        enter: (fd, toSubmit, count, ...rest) => {
          asked.push(count);
          return real.enter(fd, toSubmit, Math.min(count, 6), ...rest);
        },
      }),
      () => new Ring({ entries: 8, cqEntries: 8, flags: abi.IORING_SETUP_CQE_MIXED }),
    );
    for (const count of [1, 6, 7, 8, 2 ** 32 - 1]) ring.submitAndWait(count, { timeout: 1 });
    assert.deepEqual(asked, [1, 6, 6, 6, 6]);
  });

  it("come from another process, too", () => {
    using ring = new Ring({ entries: 4, flags: DEFER | abi.IORING_SETUP_TASKRUN_FLAG });
    using scratch = new Scratch();
    const path = scratch.path("fifo");
    assert.equal(spawnSync("mkfifo", [path]).status, 0);
    const fd = openSync(path, abi.O_RDWR);
    const memory = alloc(16);
    for (let i = 0; i < 3; i++) {
      entry(ring).prepRead(fd, memory, 16, -1).setData64(i);
      ring.submit();
      assert.equal(spawnSync("sh", ["-c", `printf 'from afar' > '${path}'`]).status, 0);
      assert.deepEqual(drained(ring), [[i, 9, 0]]);
      assert.equal(text(memory, 9), "from afar");
    }
    closeSync(fd);
  });
});
