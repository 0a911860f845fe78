import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { alloc, Ring } from "uring";
import * as abi from "uring/abi";
import { pipe } from "./support/harness.ts";
import { drained, entry, exercise, nops, range, reap, submitAll } from "./support/ring.ts";
import { onEnter, withShim } from "./support/runtime.ts";

const EINTR = 4;
const EAGAIN = 11;
const EBUSY = 16;
const EINVAL = 22;
const ETIME = 62;

describe("the submission queue", () => {
  it("hands out as many entries as it has, and null then", () => {
    for (const entries of [1, 2, 8, 128]) {
      using ring = new Ring({ entries });
      assert.deepEqual([ring.sqReady, ring.sqSpaceLeft], [0, entries]);
      for (let i = 1; i <= entries; i++) {
        assert.ok(ring.getSqe());
        assert.deepEqual([ring.sqReady, ring.sqSpaceLeft], [i, entries - i]);
      }
      assert.equal(ring.getSqe(), null);
      assert.equal(ring.getSqe(), null);
      assert.equal(ring.submit(), entries);
      assert.deepEqual([ring.sqReady, ring.sqSpaceLeft], [0, entries]);
      assert.ok(ring.getSqe());
    }
  });

  it("keeps the order of entries, over every slot many times", () => {
    using ring = new Ring({ entries: 8 });
    let next = 0;
    const seen: number[] = [];
    for (let round = 0; round < 200; round++) {
      const count = (round % 8) + 1;
      nops(ring, count, next);
      next += count;
      assert.equal(ring.submit(), count);
      ring.drain((userData) => seen.push(userData));
    }
    assert.deepEqual(seen, range(next));
  });

  it("hands out cleared entries, whatever was in them", () => {
    using ring = new Ring({ entries: 4 });
    const memory = alloc(64);
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 4; i++) {
        const sqe = entry(ring);
        assert.deepEqual(sqe.toBytes(), new Uint8Array(64));
        sqe
          .prepReadFixed(-1, memory, 64, -1, 5)
          .setFlags(abi.IOSQE_ASYNC)
          .setData64(-1)
          .setPersonality(9)
          .setIoprio(3);
        assert.notDeepEqual(sqe.toBytes(), new Uint8Array(64));
      }
      reap(ring, 4);
    }
  });

  it("hands out cleared entries of 128 bytes", () => {
    using ring = new Ring({ entries: 2, flags: abi.IORING_SETUP_SQE128 });
    for (let i = 0; i < 6; i++) {
      const sqe = entry(ring);
      assert.deepEqual(sqe.toBytes(), new Uint8Array(128));
      sqe.prepNop().setData64(-1n);
      reap(ring, 1);
    }
  });

  it("with an entry handed out and not filled submits a no-op", () => {
    using ring = new Ring({ entries: 4 });
    entry(ring);
    assert.equal(ring.submit(), 1);
    assert.deepEqual(drained(ring), [[0, 0, 0]]);
  });

  it("submits nothing when there is nothing, and makes no system call for it", () => {
    let calls = 0;
    using ring = withShim(
      onEnter(() => calls++),
      () => new Ring({ entries: 4 }),
    );
    for (let i = 0; i < 10; i++) assert.equal(ring.submit(), 0);
    assert.equal(calls, 0);
    assert.equal(
      ring.drain(() => {}),
      0,
    );
    assert.equal(ring.peekCqe(), null);
    assert.equal(ring.copyCqes(new Int32Array(8)), 0);
    assert.equal(calls, 0);
  });

  it("submits a batch in one system call", () => {
    let calls = 0;
    using ring = withShim(
      onEnter(() => calls++),
      () => new Ring({ entries: 128 }),
    );
    nops(ring, 128);
    assert.equal(ring.submit(), 128);
    assert.equal(drained(ring).length, 128);
    assert.equal(calls, 1);
  });
});

describe("an invalid entry in a batch", () => {
  function batch(ring: Ring): void {
    entry(ring).prepNop().setData64(0);
    entry(ring).prepRw(254, -1, 0, 0, 0).setData64(1);
    entry(ring).prepNop().setData64(2);
    entry(ring).prepNop().setData64(3);
  }

  it("ends the batch, and what follows waits for the next submit", () => {
    using ring = new Ring({ entries: 8 });
    batch(ring);
    assert.equal(ring.submit(), 2);
    assert.deepEqual([ring.sqReady, ring.sqSpaceLeft, ring.inFlight], [2, 6, 2]);
    assert.deepEqual(drained(ring), [
      [0, 0, 0],
      [1, -EINVAL, 0],
    ]);
    nops(ring, 1, 4);
    assert.equal(ring.submit(), 3);
    assert.deepEqual(drained(ring), [
      [2, 0, 0],
      [3, 0, 0],
      [4, 0, 0],
    ]);
  });

  it("ends no batch with IORING_SETUP_SUBMIT_ALL", () => {
    using ring = new Ring({ entries: 8, flags: abi.IORING_SETUP_SUBMIT_ALL });
    batch(ring);
    assert.equal(ring.submit(), 4);
    assert.equal(ring.sqReady, 0);
    assert.deepEqual(drained(ring), [
      [0, 0, 0],
      [1, -EINVAL, 0],
      [2, 0, 0],
      [3, 0, 0],
    ]);
  });

  it("leaves the entries after it the kernel's: they can not be changed any more", () => {
    using ring = new Ring({ entries: 8 });
    batch(ring);
    const last = entry(ring).prepNop().setData64(4);
    assert.equal(ring.submit(), 2);
    assert.throws(() => last.setData64(5), { name: "TypeError", message: /submitted/ });
    assert.equal(ring.submit(), 3);
    assert.deepEqual(
      drained(ring).map(([userData]) => userData),
      [0, 1, 2, 3, 4],
    );
  });
});

describe("calls that a kernel puts off", () => {
  for (const [code, errno] of Object.entries({ EINTR, EAGAIN, EBUSY, ETIME })) {
    it(`answer -${code}, and what was prepared goes with the next`, () => {
      let answer = 0;
      using ring = withShim(
        (real) => ({ enter: (...args) => (answer !== 0 ? answer : real.enter(...args)) }),
        () => new Ring({ entries: 4 }),
      );
      nops(ring, 3);
      answer = -errno;
      assert.equal(ring.submit(), -errno);
      assert.equal(ring.submitAndWait(1), -errno);
      assert.equal(ring.submitAndWait(1, { timeout: 1 }), -errno);
      assert.equal(ring.submitAndGetEvents(), -errno);
      assert.equal(ring.getEvents(), -errno);
      assert.equal(ring.waitCqe(), null);
      assert.equal(ring.waitCqe({ timeout: 1 }), null);
      assert.deepEqual([ring.sqReady, ring.inFlight], [3, 0]);
      answer = 0;
      assert.equal(ring.submit(), 3);
      assert.deepEqual(drained(ring), [
        [0, 0, 0],
        [1, 0, 0],
        [2, 0, 0],
      ]);
    });
  }

  const failures: [string, number, RegExp][] = [
    ["EEXIST", 17, /belongs to the thread that created or enabled it/],
    ["EBADFD", 77, /enableRings\(\)/],
    ["EBADR", 53, /Completions were lost/],
    ["EOWNERDEAD", 130, /poller thread of this ring has died/],
    ["ENOMEM", 12, /no memory for the requests/],
    ["EFAULT", 14, /io_uring_enter/],
    ["EINVAL", 22, /io_uring_enter/],
  ];
  for (const [code, errno, message] of failures) {
    it(`throw ${code}, and the ring goes on afterwards`, () => {
      let answer = 0;
      using ring = withShim(
        (real) => ({ enter: (...args) => (answer !== 0 ? answer : real.enter(...args)) }),
        () => new Ring({ entries: 4 }),
      );
      nops(ring, 1);
      answer = -errno;
      const error = { name: "UringError", code, errno, syscall: "io_uring_enter", message };
      assert.throws(() => ring.submit(), error);
      assert.throws(() => ring.submitAndWait(1, { timeout: 5 }), error);
      assert.throws(() => ring.getEvents(), error);
      assert.throws(() => ring.waitCqe(), error);
      answer = 0;
      assert.deepEqual(reap(ring, 1), [[0, 0, 0]]);
      exercise(ring);
    });
  }
});

it("the kernel's own view of a ring is this library's", () => {
  using ring = new Ring({ entries: 8 });
  using ends = pipe();
  nops(ring, 3);
  entry(ring).prepRead(ends.read, alloc(8), 8, -1);
  submitAll(ring);
  const info = readFileSync(`/proc/self/fdinfo/${ring.fd}`, "utf8");
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\S+)$`, "m").exec(info)?.[1]);
  assert.deepEqual([field("SqHead"), field("SqTail"), field("CqHead"), field("CqTail")], [4, 4, 0, 3]);
  assert.deepEqual(
    [field("SqMask"), field("CqMask")],
    [ring.params.sqEntries - 1, ring.params.cqEntries - 1],
  );
  drained(ring);
  assert.match(readFileSync(`/proc/self/fdinfo/${ring.fd}`, "utf8"), /^CqHead:\s+3$/m);
});
