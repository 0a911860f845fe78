// The end of a ring: nothing that was in flight writes afterwards, and what can not be ended is told.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  alloc,
  cstring,
  encodeTimespec,
  Iovecs,
  type Pinned,
  Restrictions,
  Ring,
  type RingOptions,
  type Sqe,
} from "uring";
import * as abi from "uring/abi";
import { pipe, underSignals } from "./support/harness.ts";
import {
  bytes,
  type Completion,
  entry,
  LONG,
  nop,
  reap,
  ringFds,
  run,
  Scratch,
  submitAll,
  text,
} from "./support/ring.ts";
import { kernelTakes, withShim } from "./support/runtime.ts";
import { mustCall } from "./support/system.ts";

const EEXIST = 17;
const ETIME = 62;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;

const DEFER = abi.IORING_SETUP_SINGLE_ISSUER | abi.IORING_SETUP_DEFER_TASKRUN;
const HOUR = encodeTimespec(3_600_000);

const rings: Record<string, RingOptions> = {
  "a default ring": {},
  "a ring in mapped memory": { memory: "mapped" },
  "a ring that defers its work": { flags: DEFER },
  "a ring that tells of its work": {
    flags: abi.IORING_SETUP_COOP_TASKRUN | abi.IORING_SETUP_TASKRUN_FLAG,
  },
  "a ring with a poller thread": { flags: abi.IORING_SETUP_SQPOLL, sqThreadIdle: 10 },
  "a ring with large entries and completions": { flags: abi.IORING_SETUP_SQE128 | abi.IORING_SETUP_CQE32 },
  "a ring of one entry": { entries: 1, cqEntries: 2 },
  ...(kernelTakes(abi.IORING_SETUP_NO_MMAP) ? { "a ring without an fd": { fd: false } } : {}),
};

/** Hands an entry over, whatever room there is. */
function start(ring: Ring, fill: (sqe: Sqe) => unknown): void {
  if (ring.sqSpaceLeft === 0) submitAll(ring);
  fill(entry(ring));
}

/** Counts the calls that a ring makes of the kernel. */
function counted(options: RingOptions): { ring: Ring; enters: () => number } {
  let count = 0;
  const ring = withShim(
    (real) => ({
      enter(...args) {
        count++;
        return real.enter(...args);
      },
    }),
    () => new Ring(options),
  );
  return { ring, enters: () => count };
}

/** Has calls of the kernel fail once that is switched on: those that submit and wait, and those that cancel. */
function failing(options: RingOptions, errno: number): { ring: Ring; fail(on: boolean): void } {
  let on = false;
  const ring = withShim(
    (real) => ({
      enter: (...args) => (on ? -errno : real.enter(...args)),
      register: (fd, opcode, arg, count) =>
        on && (opcode & 0xff) === abi.IORING_REGISTER_SYNC_CANCEL
          ? -errno
          : real.register(fd, opcode, arg, count),
    }),
    () => new Ring(options),
  );
  return {
    ring,
    fail(value) {
      on = value;
    },
  };
}

/** Whether no operation reads from a pipe any more, now that its reading end is closed. */
function nobodyReads(write: number): boolean {
  using ring = new Ring({ entries: 2 });
  entry(ring).prepPollAdd(write, 0);
  ring.submitAndWait(1, { timeout: 0 });
  let events = 0;
  ring.drain((_, res) => {
    events = res;
  });
  return (events & abi.POLLERR) !== 0;
}

describe("close", () => {
  for (const [name, options] of Object.entries(rings)) {
    it(`ends every kind of operation, and waits for that: ${name}`, () => {
      using ends = pipe();
      const before = ringFds();
      const ring = new Ring({ entries: 16, ...options });
      const socket = run(ring, (sqe) => sqe.prepSocket(abi.AF_INET, abi.SOCK_STREAM, 0, 0));
      assert.equal(
        run(ring, (sqe) => sqe.prepListen(socket, 8)),
        0,
      );
      start(ring, (sqe) => sqe.prepAccept(socket, alloc(128), 0, 0));
      start(ring, (sqe) => sqe.prepMultishotAccept(socket, 0, 0, 0));
      const view = new Uint8Array(100);
      const pinned = alloc(100);
      const pieces = [new Uint8Array(10), new Uint8Array(5000)] as const;
      const late = alloc(64);
      const memory = [view, pinned.bytes, ...pieces, late.bytes];
      start(ring, (sqe) => sqe.prepRead(ends.read, view, 100, -1));
      start(ring, (sqe) => sqe.prepRead(ends.read, pinned, 100, -1));
      start(ring, (sqe) => sqe.prepReadv(ends.read, new Iovecs(pieces), 2, -1));
      start(ring, (sqe) => sqe.prepRead(ends.read, alloc(100), 100, -1).setFlags(abi.IOSQE_ASYNC));
      start(ring, (sqe) => sqe.prepPollAdd(ends.read, abi.POLLIN));
      start(ring, (sqe) => sqe.prepPollMultishot(ends.read, abi.POLLIN));
      start(ring, (sqe) => sqe.prepTimeout(HOUR, 0, 0));
      start(ring, (sqe) => sqe.prepTimeout(HOUR, 1000, abi.IORING_TIMEOUT_BOOTTIME));
      start(ring, (sqe) => sqe.prepNop().setFlags(abi.IOSQE_IO_DRAIN));
      // It waits for the drain, which waits for all before it: it begins when those have been cancelled.
      start(ring, (sqe) => sqe.prepRead(ends.read, late, 64, -1));
      submitAll(ring);
      assert.deepEqual(ring.close({ deadline: LONG }), { leaked: 0 });
      assert.equal(ring.closed, true);
      mustCall("close", socket);
      assert.equal(ringFds(), before);

      for (const each of memory) each.fill(0xee);
      using other = new Ring({ entries: 4 });
      assert.equal(
        run(other, (sqe) => sqe.prepWrite(ends.write, bytes("whoever reads"), 13, -1)),
        13,
      );
      for (const each of memory) assert.ok(each.every((byte) => byte === 0xee));
      const got = alloc(64);
      assert.equal(
        run(other, (sqe) => sqe.prepRead(ends.read, got, 64, -1)),
        13,
      );
      assert.equal(text(got, 13), "whoever reads");
      ends.close(ends.read);
      assert.ok(nobodyReads(ends.write));
    });

    it(`drops what was prepared and never submitted: ${name}`, () => {
      using ends = pipe();
      const ring = new Ring({ entries: 16, ...options });
      entry(ring).prepWrite(ends.write, bytes("x"), 1, -1);
      assert.deepEqual(ring.close(), { leaked: 0 });
      using other = new Ring({ entries: 4 });
      entry(other).prepPollAdd(ends.read, abi.POLLIN);
      assert.equal(other.submitAndWait(1, { timeout: 5 }), 1);
      assert.equal(other.cqReady, 0);
    });
  }

  for (const [name, flags] of [
    ["by default", 0],
    ["with work deferred", DEFER],
  ] as const) {
    it(`ends thousands of operations in a few calls, ${name}`, () => {
      using ends = pipe();
      const { ring, enters } = counted({ entries: 1024, flags });
      const buffer = alloc(64);
      for (let i = 0; i < 3000; i++) {
        start(ring, (sqe) => {
          if (i % 3 === 0) sqe.prepTimeout(HOUR, 0, 0);
          else if (i % 3 === 1) sqe.prepPollAdd(ends.read, abi.POLLIN);
          else sqe.prepRead(ends.read, buffer, 64, -1);
        });
      }
      submitAll(ring);
      const before = enters();
      assert.deepEqual(ring.close({ deadline: LONG }), { leaked: 0 });
      assert.ok(enters() - before < 30, `${enters() - before} calls`);
    });
  }

  it("needs two calls, or fewer, where nothing is in flight", () => {
    for (const options of Object.values(rings)) {
      const calls = Array.from({ length: 5 }, () => {
        const { ring, enters } = counted({ entries: 16, ...options });
        run(ring, (sqe) => sqe.prepNop());
        const before = enters();
        assert.deepEqual(ring.close(), { leaked: 0 });
        return enters() - before;
      });
      // A poller thread may have to be woken, and waited for; on a busy machine so may a worker thread.
      const poller = ((options.flags ?? 0) & abi.IORING_SETUP_SQPOLL) !== 0;
      assert.ok(poller || Math.min(...calls) <= 2, `${calls}`);
    }
  });

  it("discards completions that were not read, also of an overflowing queue", () => {
    for (const flags of [0, DEFER]) {
      const ring = new Ring({ entries: 8, cqEntries: 8, flags });
      for (let i = 0; i < 100; i++) {
        start(ring, (sqe) => sqe.prepNop());
        if (i % 8 === 7) ring.submit();
      }
      submitAll(ring);
      assert.deepEqual(ring.close(), { leaked: 0 });
    }
  });

  const noMixed = !kernelTakes(abi.IORING_SETUP_CQE_MIXED) && "this kernel has no completions of mixed sizes";
  it("never waits for more than a queue of mixed sizes may hold", { skip: noMixed }, () => {
    let most = 0;
    // More is not passed on: the kernel would never come back from it, not even to be killed.
    const ring = withShim(
      (real) => ({
        enter: (fd, toSubmit, count, ...rest) => {
          most = Math.max(most, count);
          return real.enter(fd, toSubmit, Math.min(count, 6), ...rest);
        },
      }),
      () => new Ring({ entries: 8, cqEntries: 8, flags: abi.IORING_SETUP_CQE_MIXED }),
    );
    for (let i = 0; i < 100; i++) {
      start(ring, (sqe) => (i % 2 === 0 ? sqe.prepNop() : nop(sqe, abi.IORING_NOP_CQE32)));
      if (i % 8 === 7) ring.submit();
    }
    submitAll(ring);
    assert.deepEqual(ring.close({ deadline: LONG }), { leaked: 0 });
    assert.equal(most, 6);
  });

  it("does nothing the second time", () => {
    const ring = new Ring({ entries: 4 });
    assert.deepEqual(ring.close(), { leaked: 0 });
    assert.deepEqual(ring.close(), { leaked: 0 });
    ring[Symbol.dispose]();
    using again = new Ring({ entries: 4 });
    again.close({ deadline: 0 });
  });

  it("leaves nothing that could be used", () => {
    const ring = new Ring({ entries: 4 });
    const sqe = entry(ring);
    ring.close();
    const closed = { name: "TypeError", message: "the ring is closed" };
    assert.throws(() => ring.getSqe(), closed);
    assert.throws(() => ring.submit(), closed);
    assert.throws(() => ring.submitAndWait(1, { timeout: 1 }), closed);
    assert.throws(() => ring.drain(() => {}), closed);
    assert.throws(() => ring.peekCqe(), closed);
    assert.throws(() => ring.enableRings(), closed);
    assert.throws(() => ring.resizeRings({ entries: 8 }), closed);
    assert.throws(() => ring.registerEventfd(0), closed);
    assert.throws(() => sqe.prepNop(), closed);
    assert.equal(ring.fd, -1);
  });

  it("from a callback of drain ends what is in flight, and is the last callback", () => {
    for (const options of Object.values(rings)) {
      using ends = pipe();
      const ring = new Ring({ entries: 16, ...options });
      start(ring, (sqe) => sqe.prepRead(ends.read, new Uint8Array(64), 64, -1));
      start(ring, (sqe) => sqe.prepNop().setData64(1));
      start(ring, (sqe) => sqe.prepNop().setData64(2));
      submitAll(ring);
      const seen: unknown[] = [];
      const end = performance.now() + LONG;
      while (seen.length === 0 && performance.now() < end) {
        ring.drain((userData) => {
          seen.push(userData, ring.close());
        });
      }
      assert.deepEqual(seen, [1, { leaked: 0 }]);
      ends.close(ends.read);
      assert.ok(nobodyReads(ends.write));
    }
  });

  it("from a callback of forEachCqe does so, too", () => {
    using ends = pipe();
    const ring = new Ring({ entries: 16 });
    entry(ring).prepRead(ends.read, new Uint8Array(64), 64, -1);
    entry(ring).prepNop();
    entry(ring).prepNop();
    ring.submit();
    let calls = 0;
    ring.forEachCqe(() => {
      calls++;
      assert.deepEqual(ring.close({ deadline: LONG }), { leaked: 0 });
    });
    assert.equal(calls, 1);
  });

  it("of a disabled ring asks nothing of the kernel that it would refuse", () => {
    for (const flags of [0, DEFER, abi.IORING_SETUP_SQPOLL]) {
      const { ring, enters } = counted({ entries: 4, flags: flags | abi.IORING_SETUP_R_DISABLED });
      entry(ring).prepNop();
      assert.deepEqual(ring.close(), { leaked: 0 });
      assert.equal(enters(), 0);
    }
  });

  it("of a ring whose restrictions forbid all that closing does counts completions", () => {
    using ends = pipe();
    const ring = new Ring({ entries: 8, flags: abi.IORING_SETUP_R_DISABLED });
    ring.registerRestrictions(new Restrictions().sqeOp(abi.IORING_OP_READ, abi.IORING_OP_WRITE));
    ring.enableRings();
    entry(ring).prepRead(ends.read, new Uint8Array(8), 8, -1);
    entry(ring).prepWrite(ends.write, bytes("12345678"), 8, -1);
    submitAll(ring);
    assert.deepEqual(ring.close({ deadline: LONG }), { leaked: 0 });
  });

  it("of such a ring tells what can not be ended", () => {
    using ends = pipe();
    const ring = new Ring({ entries: 8, flags: abi.IORING_SETUP_R_DISABLED });
    ring.registerRestrictions(new Restrictions().sqeOp(abi.IORING_OP_READ));
    ring.enableRings();
    entry(ring).prepRead(ends.read, alloc(8), 8, -1);
    entry(ring).prepRead(ends.read, alloc(8), 8, -1);
    submitAll(ring);
    assert.deepEqual(ring.close({ deadline: 30 }), { leaked: 2 });
  });

  it("is not disturbed by signals", () => {
    underSignals(() => {
      for (let i = 0; i < 20; i++) {
        using ends = pipe();
        const ring = new Ring({ entries: 8 });
        entry(ring).prepRead(ends.read, new Uint8Array(8), 8, -1);
        submitAll(ring);
        assert.deepEqual(ring.close(), { leaked: 0 });
      }
    });
  });

  it("takes its own completion from no other of the same user_data", () => {
    using ends = pipe();
    const ring = new Ring({ entries: 64, cqEntries: 4096 });
    for (let i = 0; i < 50; i++) start(ring, (sqe) => sqe.prepNop().setData64(i * 2 ** 47));
    start(ring, (sqe) => sqe.prepRead(ends.read, new Uint8Array(8), 8, -1));
    submitAll(ring);
    assert.deepEqual(ring.close({ deadline: LONG }), { leaked: 0 });
    ends.close(ends.read);
    assert.ok(nobodyReads(ends.write));
  });
});

describe("operations without completions on success", () => {
  it("can not be counted: where none of them has failed close says that something may be left", () => {
    using ends = pipe();
    const ring = new Ring({ entries: 8 });
    entry(ring).prepNop().setFlags(abi.IOSQE_CQE_SKIP_SUCCESS);
    for (let i = 0; i < 4; i++) entry(ring).prepRead(ends.read, alloc(8), 8, -1);
    submitAll(ring);
    const begin = performance.now();
    assert.deepEqual(ring.close({ deadline: LONG }), { leaked: 1 });
    assert.ok(performance.now() - begin < LONG / 2);
    // What could be cancelled has been all the same.
    ends.close(ends.read);
    assert.ok(nobodyReads(ends.write));
  });

  it("end all the same, thousands of them", () => {
    for (const flags of [0, DEFER]) {
      using ends = pipe();
      const ring = new Ring({ entries: 256, flags });
      entry(ring).prepNop().setFlags(abi.IOSQE_CQE_SKIP_SUCCESS);
      for (let i = 0; i < 1000; i++) {
        start(ring, (sqe) => sqe.prepRead(ends.read, alloc(8), 8, -1).setFlags(abi.IOSQE_CQE_SKIP_SUCCESS));
      }
      submitAll(ring);
      assert.deepEqual(ring.close({ deadline: LONG }), { leaked: 1 });
      ends.close(ends.read);
      assert.ok(nobodyReads(ends.write));
    }
  });

  it("that all have failed leave nothing", () => {
    const ring = new Ring({ entries: 8 });
    entry(ring).prepRead(-1, alloc(8), 8, 0).setFlags(abi.IOSQE_CQE_SKIP_SUCCESS);
    submitAll(ring);
    assert.deepEqual(ring.close(), { leaked: 0 });
  });
});

describe("a send without a copy", () => {
  /** More than the connection below takes before somebody reads, and no more than any user may lock. */
  const size = 2 ** 20;

  /** A ring with such a send of which the notification is to come, how much it has taken, and both ends. */
  function sending(flags: number): { ring: Ring; memory: Pinned; sent: number; from: number; to: number } {
    using setup = new Ring({ entries: 4 });
    const must = (fill: (sqe: Sqe) => unknown) => {
      const result = run(setup, fill);
      assert.ok(result >= 0, `errno ${-result}`);
      return result;
    };
    const listener = must((sqe) => sqe.prepSocket(abi.AF_INET, abi.SOCK_STREAM, 0, 0));
    using little = alloc(4);
    little.bytes.set([0, 16, 0, 0]);
    mustCall("setsockopt", listener, SOL_SOCKET, SO_RCVBUF, little.address, 4);
    must((sqe) => sqe.prepListen(listener, 1));
    const from = must((sqe) => sqe.prepSocket(abi.AF_INET, abi.SOCK_STREAM, 0, 0));
    using name = alloc(128);
    using length = alloc(4);
    length.bytes.set([128, 0, 0, 0]);
    mustCall("getsockname", listener, name.address, length.address);
    must((sqe) => sqe.prepConnect(from, name, 16));
    const to = must((sqe) => sqe.prepAccept(listener, 0, 0, 0));
    mustCall("close", listener);

    const memory = alloc(size);
    memory.bytes.fill(0x11);
    const ring = new Ring({ entries: 8, flags });
    entry(ring).prepSendZc(from, memory, size, abi.MSG_DONTWAIT, 0).setData64(1);
    const [[, sent, state]] = reap(ring, 1) as [Completion];
    assert.ok(sent > 0 && (state & abi.IORING_CQE_F_MORE) !== 0);
    assert.equal(ring.inFlight, 1);
    return { ring, memory, sent, from, to };
  }

  for (const [name, flags] of [
    ["by default", 0],
    ["with work deferred", DEFER],
  ] as const) {
    it(`can not be cancelled, and is told of as long as the data is in use, ${name}`, () => {
      const { ring, memory, sent, from, to } = sending(flags);
      assert.deepEqual(ring.close({ deadline: 50 }), { leaked: 1 });
      using other = new Ring({ entries: 4 });
      const got = alloc(2 ** 20);
      for (let total = 0; total < sent; ) {
        const count = run(other, (sqe) => sqe.prepRecv(to, got, got.byteLength, 0));
        assert.ok(count > 0, `recv: ${count}`);
        assert.ok(got.bytes.subarray(0, count).every((byte) => byte === 0x11));
        total += count;
      }
      assert.equal(memory.bytes[0], 0x11);
      for (const fd of [from, to]) mustCall("close", fd);
    });

    it(`ends when the peer has gone, ${name}`, () => {
      const { ring, memory, from, to } = sending(flags);
      mustCall("close", to);
      assert.deepEqual(ring.close({ deadline: LONG }), { leaked: 0 });
      memory[Symbol.dispose]();
      mustCall("close", from);
    });
  }
});

describe("the deadline", () => {
  it("is when close gives up, and tells how many operations may go on", () => {
    const { ring, fail } = failing({ entries: 8 }, ETIME);
    using ends = pipe();
    for (let i = 0; i < 3; i++) entry(ring).prepRead(ends.read, alloc(8), 8, -1);
    submitAll(ring);
    fail(true);
    const begin = performance.now();
    const { leaked } = ring.close({ deadline: 100 });
    const took = performance.now() - begin;
    assert.equal(leaked, 3);
    assert.ok(took >= 100 && took < LONG, `took ${took} ms`);
    assert.equal(ring.closed, true);
  });

  it("of 0 gives an operation that can not be cancelled no time; its memory stays", () => {
    using scratch = new Scratch();
    const size = 64 * 2 ** 20;
    const path = scratch.file("large", "");
    using setup = new Ring({ entries: 4 });
    const fd = run(setup, (sqe) => sqe.prepOpenat(abi.AT_FDCWD, cstring(path), abi.O_RDWR, 0));
    assert.equal(
      run(setup, (sqe) => sqe.prepFtruncate(fd, size)),
      0,
    );
    const memory = alloc(size);
    const end = performance.now() + LONG;
    let leaked = 0;
    do {
      memory.bytes.fill(0xee);
      const ring = new Ring({ entries: 4 });
      entry(ring).prepRead(fd, memory, size, 0).setFlags(abi.IOSQE_ASYNC);
      submitAll(ring);
      // Where the worker has not begun it can be cancelled.
      while (memory.bytes[0] !== 0 && performance.now() < end);
      leaked = ring.close({ deadline: 0 }).leaked;
    } while (leaked === 0 && performance.now() < end);
    assert.equal(leaked, 1);
    while (memory.bytes[size - 1] !== 0 && performance.now() < end);
    assert.equal(firstOther(memory, 0), -1);
    mustCall("close", fd);
  });

  it("is a number of milliseconds", () => {
    const ring = new Ring({ entries: 4 });
    for (const deadline of [-1, Number.NaN, "1", null, 1n]) {
      assert.throws(() => ring.close({ deadline: deadline as number }), { name: "RangeError" });
      assert.equal(ring.closed, false);
    }
    assert.deepEqual(ring.close({ deadline: Number.POSITIVE_INFINITY }), { leaked: 0 });
  });
});

describe("a thread that does not own the ring", () => {
  it("is refused to close it, and the ring stays open", () => {
    const { ring, fail } = failing({ entries: 8, flags: DEFER }, EEXIST);
    fail(true);
    assert.throws(() => ring.close(), {
      name: "UringError",
      code: "EEXIST",
      syscall: "io_uring_enter",
      message: /belongs to the thread that created or enabled it/,
    });
    assert.equal(ring.closed, false);
    fail(false);
    assert.equal(
      run(ring, (sqe) => sqe.prepNop()),
      0,
    );
    assert.deepEqual(ring.close(), { leaked: 0 });
  });
});

describe("reads from a disk", () => {
  const rounds = 40;
  for (const [name, flags] of [
    ["by default", 0],
    ["with work deferred", DEFER],
    ["with a poller thread", abi.IORING_SETUP_SQPOLL],
  ] as const) {
    it(`past the page cache never write after close, ${name}`, () => {
      using scratch = new Scratch();
      const block = 65536;
      const count = 32;
      const path = scratch.file("blocks", new Uint8Array(block * count).fill(0x11));
      using setup = new Ring({ entries: 4 });
      const fd = run(setup, (sqe) =>
        sqe.prepOpenat(abi.AT_FDCWD, cstring(path), abi.O_RDONLY | abi.O_DIRECT, 0),
      );
      assert.ok(fd >= 0, `openat: ${fd}`);
      const memory = alloc(block * count);
      const begun = (ring: Ring) => {
        for (let i = 0; i < count; i++) {
          entry(ring).prepRead(fd, memory.slice(i * block, block), block, i * block);
        }
        submitAll(ring);
      };
      for (let round = 0; round < rounds; round++) {
        const ring = new Ring({ entries: count, flags });
        begun(ring);
        assert.deepEqual(ring.close({ deadline: LONG }), { leaked: 0 });
        memory.bytes.fill(0xee);
        // As long as such reads take.
        using other = new Ring({ entries: count });
        entry(other).prepTimeout(encodeTimespec(5), 0, 0);
        reap(other, 1);
        assert.equal(firstOther(memory, 0xee), -1);
      }
      mustCall("close", fd);
    });
  }
});

/** Where memory has another byte than it should; -1 for nowhere. */
function firstOther({ bytes }: Pinned, byte: number): number {
  const words = new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8);
  const [expected] = new Float64Array(new Uint8Array(8).fill(byte).buffer);
  return words.findIndex((word) => word !== expected);
}
