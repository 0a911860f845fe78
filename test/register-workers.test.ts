import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { constants } from "node:os";
import { describe, it } from "node:test";
import { alloc, CpuSet, cstring, Restrictions, Ring, SignalSet } from "uring";
import * as abi from "uring/abi";
import { account, runChild } from "./support/child.ts";
import { pipe } from "./support/harness.ts";
import { bytes, run, Scratch } from "./support/ring.ts";
import { mustCall } from "./support/system.ts";

const { EACCES, EBADFD, EBUSY, EINVAL, ETIME } = { ...constants.errno, EBADFD: 77 };
const {
  IORING_SETUP_R_DISABLED,
  IORING_OP_NOP,
  IORING_OP_WRITE,
  IOSQE_ASYNC,
  IOSQE_IO_DRAIN,
  IOSQE_IO_LINK,
} = abi;

function refuses(errno: number, call: () => unknown): void {
  assert.throws(call, { name: "UringError", errno, syscall: "io_uring_register" });
}

describe("worker threads", () => {
  it("run where they are bound to, and are as many as there may be", () => {
    const ended = runChild("workers-child.ts", [], { recorded: true });
    assert.equal(ended.status, 0, account(ended));
    const { here, last, bound, free, before, limits, limited, raised, opens, opened, leaked } = JSON.parse(
      ended.stdout,
    );
    assert.deepEqual(bound, [last]);
    assert.deepEqual(free, [last, here].sort());
    assert.ok(before.bounded > 0 && before.unbounded > 0);
    assert.deepEqual(limits, { ...before, bounded: 4 });
    assert.equal(limited, 4);
    assert.ok(raised > 4 && raised <= 8, `${raised} threads`);
    assert.equal(opened, opens);
    assert.equal(leaked, 0);
  });

  it("are bound to CPUs by number", () => {
    using ring = new Ring({ entries: 8 });
    assert.throws(() => ring.registerIowqAff([-1]), RangeError);
    assert.throws(() => ring.registerIowqAff([16384]), RangeError);
    assert.throws(() => ring.registerIowqAff(["0"] as never), TypeError);
    assert.throws(() => ring.registerIowqAff(0 as never), TypeError);
    assert.throws(() => ring.registerIowqAff(new Set([0]) as never), TypeError);
  });

  it("have limits that are told and set by name", () => {
    using ring = new Ring({ entries: 8 });
    const before = ring.registerIowqMaxWorkers();
    assert.deepEqual(ring.registerIowqMaxWorkers({ bounded: 3, unbounded: 20 }), before);
    assert.deepEqual(ring.registerIowqMaxWorkers({ unbounded: 40 }), { bounded: 3, unbounded: 20 });
    assert.deepEqual(ring.registerIowqMaxWorkers({}), { bounded: 3, unbounded: 40 });
    ring.registerIowqMaxWorkers(before);
    assert.deepEqual(ring.registerIowqMaxWorkers(), before);
    assert.throws(() => ring.registerIowqMaxWorkers({ bounded: -1 }), RangeError);
    assert.throws(() => ring.registerIowqMaxWorkers({ unbounded: 1.5 }), RangeError);
    assert.throws(() => ring.registerIowqMaxWorkers({ bounded: "1" as never }), TypeError);
    assert.throws(() => ring.registerIowqMaxWorkers(null as never), TypeError);
  });
});

describe("credentials", () => {
  const root = process.getuid?.() === 0 ? {} : { skip: "changing groups takes root" };
  const OTHER = 65534;

  it("are those of when they were registered", root, () => {
    using ring = new Ring({ entries: 8 });
    using scratch = new Scratch();
    const group = process.getegid?.() as number;
    const mine = ring.registerPersonality();
    process.setegid?.(OTHER);
    let other: number;
    try {
      other = ring.registerPersonality();
    } finally {
      process.setegid?.(group);
    }
    assert.ok(mine > 0 && other > 0 && mine !== other);
    const create = (name: string, personality: number) => {
      const path = scratch.path(name);
      const flags = abi.O_CREAT | abi.O_WRONLY;
      const fd = run(ring, (sqe) =>
        sqe.prepOpenat(abi.AT_FDCWD, cstring(path), flags, 0o600).setPersonality(personality),
      );
      if (fd < 0) return fd;
      mustCall("close", fd);
      return statSync(path).gid;
    };
    assert.equal(create("0", 0), group);
    assert.equal(create("mine", mine), group);
    assert.equal(create("other", other), OTHER);
    ring.unregisterPersonality(other);
    assert.equal(create("none", other), -EINVAL);
    refuses(EINVAL, () => ring.unregisterPersonality(other));
    assert.equal(create("still", mine), group);
  });

  it("are named by what registering returned", () => {
    using ring = new Ring({ entries: 8 });
    const id = ring.registerPersonality();
    ring.unregisterPersonality(id);
    refuses(EINVAL, () => ring.unregisterPersonality(id));
    refuses(EINVAL, () => ring.unregisterPersonality(0));
    assert.throws(() => ring.unregisterPersonality(-1), RangeError);
    assert.throws(() => ring.unregisterPersonality("1" as never), TypeError);
  });
});

describe("restrictions", () => {
  /** An enabled ring with restrictions, which allow what closing it takes. */
  function restricted(restrictions: Restrictions): Ring {
    const ring = new Ring({ entries: 8, flags: IORING_SETUP_R_DISABLED });
    ring.registerRestrictions(restrictions);
    ring.enableRings();
    return ring;
  }

  it("refuse operations that are not on the list", () => {
    using ends = pipe();
    using ring = restricted(new Restrictions().sqeOp(IORING_OP_WRITE, IORING_OP_NOP));
    assert.equal(
      run(ring, (sqe) => sqe.prepWrite(ends.write, bytes("abc"), 3, -1)),
      3,
    );
    assert.equal(
      run(ring, (sqe) => sqe.prepRead(ends.read, alloc(3), 3, -1)),
      -EACCES,
    );
    refuses(EACCES, () => ring.registerIowqMaxWorkers());
  });

  it("refuse registrations that are not on the list", () => {
    using ring = restricted(
      new Restrictions().registerOp(abi.IORING_REGISTER_IOWQ_MAX_WORKERS).sqeOp(IORING_OP_NOP),
    );
    assert.ok(ring.registerIowqMaxWorkers().bounded > 0);
    refuses(EACCES, () => ring.registerPersonality());
  });

  it("require flags, and allow some more", () => {
    using ring = restricted(
      new Restrictions().sqeOp(IORING_OP_NOP).sqeFlagsRequired(IOSQE_ASYNC).sqeFlagsAllowed(IOSQE_IO_LINK),
    );
    const result = (flags: number) => run(ring, (sqe) => sqe.prepNop().setFlags(flags));
    assert.equal(result(IOSQE_ASYNC), 0);
    assert.equal(result(IOSQE_ASYNC | IOSQE_IO_LINK), 0);
    assert.equal(result(0), -EACCES);
    assert.equal(result(IOSQE_IO_LINK), -EACCES);
    assert.equal(result(IOSQE_ASYNC | IOSQE_IO_DRAIN), -EACCES);
  });

  it("that allow nothing refuse everything, and the ring can still be closed", () => {
    const ring = restricted(new Restrictions());
    assert.equal(
      run(ring, (sqe) => sqe.prepNop()),
      -EACCES,
    );
    refuses(EACCES, () => ring.registerIowqMaxWorkers());
    assert.deepEqual(ring.close(), { leaked: 0 });
  });

  it("are given once, before the ring is enabled", () => {
    using enabled = new Ring({ entries: 8 });
    refuses(EBADFD, () => enabled.registerRestrictions(new Restrictions().sqeOp(IORING_OP_NOP)));
    using ring = new Ring({ entries: 8, flags: IORING_SETUP_R_DISABLED });
    refuses(EINVAL, () => ring.registerRestrictions(new Restrictions().sqeOp(255)));
    ring.registerRestrictions(new Restrictions().sqeOp(IORING_OP_NOP));
    refuses(EBUSY, () => ring.registerRestrictions(new Restrictions().sqeOp(IORING_OP_NOP)));
    assert.throws(() => ring.registerRestrictions([] as never), TypeError);
    assert.throws(() => new Restrictions().sqeOp(256), RangeError);
    assert.throws(() => new Restrictions().sqeFlagsAllowed("1" as never), TypeError);
  });
});

describe("sets", () => {
  it("of CPUs hold numbers, as the kernel's bits", () => {
    const set = new CpuSet([3, 64, 0]).add(7).delete(3);
    assert.deepEqual([...set], [0, 7, 64]);
    assert.equal(set.size, 3);
    assert.ok(set.has(64) && !set.has(3));
    assert.deepEqual([...set.toBytes()], [0x81, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    assert.equal(new CpuSet().toBytes().length, 8);
    assert.throws(() => set.add(-1), RangeError);
    assert.throws(() => set.add(Number.NaN), RangeError);
  });

  it("of signals hold numbers, as the kernel's mask", () => {
    const set = new SignalSet([2, 64]).add(15).delete(2);
    assert.deepEqual([...set], [15, 64]);
    assert.equal(set.mask, (1n << 14n) | (1n << 63n));
    assert.ok(set.has(64) && !set.has(2));
    assert.equal(SignalSet.full().mask, 2n ** 64n - 1n);
    for (const signal of [0, 65, 1.5]) assert.throws(() => set.add(signal), RangeError);
    assert.throws(() => set.add("2" as never), TypeError);
  });

  it("of signals are what a wait blocks; libc's bytes are refused", () => {
    using ring = new Ring({ entries: 4 });
    assert.equal(ring.submitAndWait(1, { timeout: 1, sigmask: SignalSet.full() }), -ETIME);
    assert.equal(ring.submitAndWait(1, { timeout: 1, sigmask: 2n ** 64n - 1n }), -ETIME);
    assert.throws(() => ring.submitAndWait(1, { sigmask: new Uint8Array(128) as never }), TypeError);
    assert.throws(() => ring.submitAndWait(1, { sigmask: 2n ** 64n }), RangeError);
  });
});
