// Cancelling in one call, and what the criteria come to: of a ring's operations those end that meet each.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { alloc, Cancel, Direct, encodeTimespec, type Int64, Ring, registerSyncMsg, UringError } from "uring";
import * as abi from "uring/abi";
import { pipe, underSignals } from "./support/harness.ts";
import { type Completion, entry, LONG, reap, run, submitAll } from "./support/ring.ts";
import { release, withShim } from "./support/runtime.ts";

const ENOENT = 2;
const EINTR = 4;
const EINVAL = 22;
const EALREADY = 114;
const ETIME = 62;
const ECANCELED = 125;

const DEFER = abi.IORING_SETUP_SINGLE_ISSUER | abi.IORING_SETUP_DEFER_TASKRUN;
const HOUR = encodeTimespec(3_600_000);

/** Every field of an entry that tells the kernel what to cancel. */
function fields(match: Cancel): { flags: number; addr: bigint; fd: number; opcode: number } {
  using ring = new Ring({ entries: 2 });
  const sqe = entry(ring).prepCancelMatch(match).toBytes();
  const view = new DataView(sqe.buffer);
  assert.equal(view.getUint8(abi.io_uring_sqe.opcode), abi.IORING_OP_ASYNC_CANCEL);
  return {
    flags: view.getUint32(abi.io_uring_sqe.cancel_flags, true),
    addr: view.getBigUint64(abi.io_uring_sqe.addr, true),
    fd: view.getInt32(abi.io_uring_sqe.fd, true),
    opcode: view.getUint32(abi.io_uring_sqe.len, true),
  };
}

describe("a Cancel", () => {
  const ALL = abi.IORING_ASYNC_CANCEL_ALL;
  const FD = abi.IORING_ASYNC_CANCEL_FD;
  const FIXED = abi.IORING_ASYNC_CANCEL_FD_FIXED;
  const OP = abi.IORING_ASYNC_CANCEL_OP;
  const ANY = abi.IORING_ASYNC_CANCEL_ANY;
  const DATA = abi.IORING_ASYNC_CANCEL_USERDATA;
  const forms: [string, Cancel, number, Int64, number, number][] = [
    ["user_data", Cancel.userData(7), 0, 7, -1, 0],
    ["all of a user_data", Cancel.userData(2n ** 64n - 1n).all(), ALL, 2n ** 64n - 1n, -1, 0],
    ["an fd", Cancel.fd(5), FD, 0, 5, 0],
    ["all of an fd", Cancel.fd(0).all(), FD | ALL, 0, 0, 0],
    ["a slot", Cancel.fd(new Direct(3)), FD | FIXED, 0, 3, 0],
    ["all of a slot", Cancel.fd(new Direct(0)).all(), FD | FIXED | ALL, 0, 0, 0],
    ["an opcode", Cancel.op(abi.IORING_OP_READ), OP, 0, -1, abi.IORING_OP_READ],
    ["any", Cancel.any(), ANY, 0, -1, 0],
    ["all", Cancel.any().all(), ANY | ALL, 0, -1, 0],
    ["a user_data on an fd", Cancel.userData(9).fd(4), DATA | FD, 9, 4, 0],
    ["an opcode on a slot", Cancel.op(22).fd(new Direct(1)), OP | FD | FIXED, 0, 1, 22],
    ["the last of each", Cancel.fd(1).fd(2).op(3).op(4).userData(5).userData(6), DATA | FD | OP, 6, 2, 4],
    [
      "all that meet all",
      Cancel.op(22).userData(-1).fd(8).all(),
      DATA | FD | OP | ALL,
      2n ** 64n - 1n,
      8,
      22,
    ],
  ];
  for (const [name, match, flags, addr, fd, opcode] of forms) {
    it(`by ${name} is what the kernel knows`, () => {
      assert.deepEqual(fields(match), { flags, addr: BigInt(addr), fd, opcode });
    });
  }

  it("is not changed by what is made of it", () => {
    const base = Cancel.fd(5);
    base.all();
    base.op(7);
    assert.deepEqual(fields(base), { flags: FD, addr: 0n, fd: 5, opcode: 0 });
  });

  it("of any operation goes with no other criterion, as no kernel takes that", () => {
    const both = { name: "TypeError", message: /any\(\) matches every operation/ };
    assert.throws(() => Cancel.any().fd(1), both);
    assert.throws(() => Cancel.any().op(1), both);
    assert.throws(() => Cancel.any().userData(1), both);
  });

  it("refuses what is no user_data, fd, slot or opcode", () => {
    for (const wrong of ["1", null, undefined, {}]) {
      assert.throws(() => Cancel.userData(wrong as never), TypeError);
      assert.throws(() => Cancel.fd(wrong as never), TypeError);
      assert.throws(() => Cancel.op(wrong as never), TypeError);
    }
    assert.throws(() => Cancel.userData(2n ** 64n), RangeError);
    assert.throws(() => Cancel.userData(0.5), RangeError);
    assert.throws(() => Cancel.fd(2 ** 31), RangeError);
    for (const wrong of [-1, 256, 1.5]) assert.throws(() => Cancel.op(wrong), RangeError);
    assert.throws(
      () => new (Cancel as never as new (x: object) => Cancel)({ any: true, opcode: 1 }),
      TypeError,
    );
  });
});

describe("registerSyncCancel", () => {
  for (const [name, flags] of [
    ["by default", 0],
    ["with work deferred", DEFER],
    ["with a poller thread", abi.IORING_SETUP_SQPOLL],
  ] as const) {
    it(`ends what meets every criterion, and nothing else, ${name}`, () => {
      using one = pipe();
      using two = pipe();
      using ring = new Ring({ entries: 64, flags });
      ring.registerFiles([two.read]);
      const slot = new Direct(0);
      entry(ring).prepRead(one.read, alloc(8), 8, -1).setData64(1);
      entry(ring).prepRead(two.read, alloc(8), 8, -1).setData64(1);
      entry(ring).prepRead(slot, alloc(8), 8, -1).setData64(1);
      entry(ring).prepPollAdd(one.read, abi.POLLIN).setData64(1);
      entry(ring).prepPollAdd(two.read, abi.POLLIN).setData64(2);
      entry(ring).prepPollAdd(slot, abi.POLLIN).setData64(3);
      entry(ring).prepTimeout(HOUR, 0, 0).setData64(4);
      entry(ring)
        .prepTimeout(HOUR, 0, 0)
        .setData64(2n ** 63n + 4n);
      submitAll(ring);
      /** The `userData` of those that one call ends. */
      const ends = (match: Cancel, count: number): number[] => {
        const result = ring.registerSyncCancel(match, { timeout: LONG });
        assert.ok(result >= 0, `${result}`);
        return reap(ring, count).map(([userData, res]) => {
          assert.equal(res, -ECANCELED);
          return userData;
        });
      };
      const poll = abi.IORING_OP_POLL_ADD;
      assert.equal(ring.registerSyncCancel(Cancel.op(poll).userData(4), { timeout: LONG }), -ENOENT);
      assert.equal(ring.registerSyncCancel(Cancel.fd(one.read).userData(3).all(), { timeout: LONG }), 0);
      assert.deepEqual(ends(Cancel.fd(one.read).op(poll), 1), [1]);
      assert.deepEqual(ends(Cancel.fd(slot).userData(1), 1), [1]);
      assert.deepEqual(ends(Cancel.op(abi.IORING_OP_TIMEOUT).userData(2n ** 63n + 4n), 1), [2 ** 63]);
      assert.deepEqual(ends(Cancel.userData(1).all(), 2), [1, 1]);
      assert.deepEqual(ends(Cancel.op(poll).all(), 2).sort(), [2, 3]);
      assert.equal(ring.inFlight, 1);
      assert.deepEqual(ends(Cancel.any(), 1), [4]);
      assert.equal(ring.registerSyncCancel(Cancel.any()), 0);
      assert.equal(ring.inFlight, 0);
    });
  }

  it("waits for an operation of a worker thread, which has ended then", () => {
    using ends = pipe();
    using ring = new Ring({ entries: 8 });
    for (let i = 0; i < 4; i++) {
      entry(ring).prepRead(ends.read, alloc(8), 8, -1).setFlags(abi.IOSQE_ASYNC).setData64(i);
    }
    submitAll(ring);
    for (let i = 0; i < 4; i++) {
      assert.equal(ring.registerSyncCancel(Cancel.userData(i)), 0);
      const [[userData, res]] = reap(ring, 1) as [Completion];
      assert.equal(userData, i);
      assert.ok(res === -ECANCELED || res === -EINTR, `${res}`);
    }
  });

  it("gives up when its time is over", () => {
    // What the kernel answers while something can not be ended at once.
    let timeout: [bigint, bigint] | undefined;
    using ring = withShim(
      (real) => ({
        register(fd, opcode, arg, count) {
          if ((opcode & 0xff) !== abi.IORING_REGISTER_SYNC_CANCEL)
            return real.register(fd, opcode, arg, count);
          const layout = abi.io_uring_sync_cancel_reg;
          const view = new DataView(real.view(arg, layout.sizeof).slice(0));
          timeout = [view.getBigInt64(layout.timeout, true), view.getBigInt64(layout.timeout + 8, true)];
          return -ETIME;
        },
      }),
      () => new Ring({ entries: 4 }),
    );
    assert.equal(ring.registerSyncCancel(Cancel.userData(1), { timeout: 1500.5 }), -ETIME);
    assert.deepEqual(timeout, [1n, 500_500_000n]);
    assert.equal(ring.registerSyncCancel(Cancel.userData(1), { timeout: 0 }), -ETIME);
    assert.deepEqual(timeout, [0n, 0n]);
    assert.equal(ring.registerSyncCancel(Cancel.userData(1)), -ETIME);
    assert.deepEqual(timeout, [-1n, -1n]);
  });

  it("gives results for what is no failure, and throws for what is", () => {
    let answer = 0;
    using ring = withShim(
      (real) => ({
        register: (fd, opcode, arg, count) =>
          (opcode & 0xff) === abi.IORING_REGISTER_SYNC_CANCEL
            ? answer
            : real.register(fd, opcode, arg, count),
      }),
      () => new Ring({ entries: 4 }),
    );
    for (answer of [0, 3, -ENOENT, -EALREADY, -ETIME, -EINTR]) {
      assert.equal(ring.registerSyncCancel(Cancel.any()), answer);
    }
    answer = -EINVAL;
    assert.throws(() => ring.registerSyncCancel(Cancel.any()), { name: "UringError", code: "EINVAL" });
    withShim(release("5.19.2"), () =>
      assert.throws(() => ring.registerSyncCancel(Cancel.any()), {
        message: /IORING_REGISTER_SYNC_CANCEL came with Linux 6\.0, and this kernel is 5\.19\.2/,
      }),
    );
    answer = 0;
  });

  it("is not stopped by a signal unless it waits", () => {
    using ends = pipe();
    using ring = new Ring({ entries: 8 });
    underSignals(() => {
      for (let i = 0; i < 50; i++) {
        entry(ring).prepRead(ends.read, alloc(8), 8, -1).setData64(i);
        submitAll(ring);
        assert.equal(ring.registerSyncCancel(Cancel.userData(i)), 0);
        assert.deepEqual(reap(ring, 1), [[i, -ECANCELED, 0]]);
      }
    });
  });

  it("refuses what is no Cancel, no options, no time, and a closed ring", () => {
    const ring = new Ring({ entries: 4 });
    for (const wrong of [undefined, null, 1, {}, { any: true }]) {
      assert.throws(() => ring.registerSyncCancel(wrong as never), {
        name: "TypeError",
        message: /a Cancel/,
      });
    }
    const any = Cancel.any();
    for (const wrong of [null, 5])
      assert.throws(() => ring.registerSyncCancel(any, wrong as never), TypeError);
    for (const timeout of [-1, Number.NaN, Number.POSITIVE_INFINITY]) {
      assert.throws(() => ring.registerSyncCancel(any, { timeout }), RangeError);
    }
    assert.throws(() => ring.registerSyncCancel(any, { timeout: "1" as never }), TypeError);
    assert.throws(() => ring.registerSyncCancel(Cancel.fd(new Direct(3))), { code: "EBADF" });
    ring.close();
    assert.throws(() => ring.registerSyncCancel(any), { name: "TypeError", message: "the ring is closed" });
  });
});

describe("a message without a ring", () => {
  const fails = (code: string, message: RegExp) => ({ name: "UringError", code, message });

  it("carries any 32 bits of length and 64 of data", () => {
    using ring = new Ring({ entries: 4 });
    const data: [number, Int64][] = [
      [0, 0],
      [0x7fff_ffff, 2 ** 53 - 1],
      [-1, -1],
      [0xffff_ffff, 2n ** 64n - 1n],
      [1, 2n ** 63n],
    ];
    const seen: unknown[] = [];
    for (const [len, userData] of data) {
      registerSyncMsg(ring, len, userData);
      const cqe = ring.waitCqe({ timeout: LONG });
      seen.push([cqe?.res, cqe?.userData64]);
      ring.cqAdvance(1);
    }
    assert.deepEqual(
      seen,
      data.map(([len, userData]) => [len | 0, BigInt.asUintN(64, BigInt(userData))]),
    );
  });

  it("ends no operation: views stay the ring's", () => {
    using ends = pipe();
    using ring = new Ring({ entries: 4 });
    entry(ring).prepRead(ends.read, new Uint8Array(8), 8, -1).setData64(1);
    submitAll(ring);
    registerSyncMsg(ring, 1, 2);
    assert.deepEqual(reap(ring, 1), [[2, 1, 0]]);
    using other = new Ring({ entries: 2 });
    assert.equal(
      run(other, (sqe) => sqe.prepWrite(ends.write, alloc(8), 8, -1)),
      8,
    );
    assert.deepEqual(reap(ring, 1), [[1, 8, 0]]);
  });

  it("is kept where the queue is full, or refused with a sentence", () => {
    using ring = new Ring({ entries: 2, cqEntries: 2 });
    let sent = 0;
    try {
      for (; sent < 100; sent++) registerSyncMsg(ring, sent, sent);
    } catch (error) {
      assert.ok(error instanceof UringError && error.code === "EOVERFLOW", String(error));
      assert.match(error.message, /completion queue is full/);
    }
    assert.ok(sent >= 2);
    assert.deepEqual(
      reap(ring, sent).map(([userData]) => userData),
      Array.from({ length: sent }, (_, i) => i),
    );
  });

  it("goes to what is a ring, and open", () => {
    assert.throws(() => registerSyncMsg(-1, 0, 0), fails("EBADF", /no such fd/));
    const ring = new Ring({ entries: 4 });
    const { fd } = ring;
    ring.close();
    assert.throws(() => registerSyncMsg(ring, 0, 0), fails("EBADF", /no such fd/));
    assert.throws(() => registerSyncMsg(fd, 0, 0), UringError);
    using none = new Ring({ entries: 4, fd: false });
    assert.throws(() => registerSyncMsg(none, 0, 0), fails("EBADF", /no such fd/));
  });

  it("is refused where it can be none, and by flags that do not exist", () => {
    using ring = new Ring({ entries: 4 });
    const call = registerSyncMsg as (...args: unknown[]) => void;
    for (const wrong of [undefined, null, "1", {}]) assert.throws(() => call(wrong, 0, 0), TypeError);
    for (const wrong of [2 ** 32, 0.5, -(2 ** 31) - 1]) assert.throws(() => call(ring, wrong, 0), RangeError);
    for (const wrong of [2n ** 64n, 0.5]) assert.throws(() => call(ring, 0, wrong), RangeError);
    for (const wrong of ["1", null, {}]) assert.throws(() => call(ring, 0, wrong), TypeError);
    assert.throws(() => call(ring, 0, 0, 2 ** 32), RangeError);
    assert.throws(() => call(ring, 0, 0, 0, "1"), TypeError);
    assert.throws(() => call(ring, 0, 0, 0x4000_0000), fails("EINVAL", /./));
    assert.equal(ring.cqReady, 0);
  });

  it("is explained to a kernel before 6.13", () => {
    withShim({ ...release("6.12.0"), register: () => -EINVAL }, () =>
      assert.throws(
        () => registerSyncMsg(3, 0, 0),
        fails("EINVAL", /IORING_REGISTER_SEND_MSG_RING came with Linux 6\.13, and this kernel is 6\.12\.0/),
      ),
    );
  });
});
