import assert from "node:assert/strict";
import { closeSync, openSync } from "node:fs";
import { describe, it } from "node:test";
import { alloc, cstring, Direct, Ring, type Sqe } from "uring";
import * as abi from "uring/abi";
import { pipe, writeFromThread } from "./support/harness.ts";
import { drained, entry, nops, range, reap, run, Scratch, text } from "./support/ring.ts";
import { shim } from "./support/runtime.ts";
import { mustCall } from "./support/system.ts";

const EBADF = 9;
const EINVAL = 22;
const ECANCELED = 125;

/** A file that says which one it is, open. */
function openFile(scratch: Scratch, name: string): number {
  return openSync(scratch.file(name, `this is ${name}`), "r");
}

describe("an entry", () => {
  const uses: Record<string, (sqe: Sqe) => unknown> = {
    prepNop: (sqe) => sqe.prepNop(),
    prepRead: (sqe) => sqe.prepRead(0, alloc(1), 1, 0),
    prepTimeoutRemove: (sqe) => sqe.prepTimeoutRemove(1, 0),
    prepRw: (sqe) => sqe.prepRw(0, 0, 0, 0, 0),
    setData64: (sqe) => sqe.setData64(1),
    "setData64 of a bigint": (sqe) => sqe.setData64(1n),
    setFlags: (sqe) => sqe.setFlags(0),
    addFlags: (sqe) => sqe.addFlags(0),
    setIoprio: (sqe) => sqe.setIoprio(0),
    setPersonality: (sqe) => sqe.setPersonality(0),
    setBufferGroup: (sqe) => sqe.setBufferGroup(0),
    setBufferIndex: (sqe) => sqe.setBufferIndex(0),
    setOptlen: (sqe) => sqe.setOptlen(0),
    toBytes: (sqe) => sqe.toBytes(),
  };
  for (const [name, use] of Object.entries(uses)) {
    it(`can not be used any more once it is submitted: ${name}`, () => {
      for (const flags of [0, abi.IORING_SETUP_SQPOLL]) {
        using ring = new Ring({ entries: 4, flags });
        const early = entry(ring);
        const sqe = entry(ring).prepNop();
        assert.equal(ring.submit(), 2);
        for (const stale of [early, sqe]) {
          assert.throws(() => use(stale), { name: "TypeError", message: /has been submitted/ });
        }
        assert.deepEqual(reap(ring, 2).length, 2);
        assert.throws(() => use(sqe), { name: "TypeError", message: /has been submitted/ });
        // The next one is another's, in the same memory.
        nops(ring, 2, 7);
        assert.throws(() => use(sqe), { name: "TypeError" });
        assert.deepEqual(
          reap(ring, 2).map(([userData]) => userData),
          [7, 8],
        );
      }
    });

    it(`can not be used any more once its ring is closed: ${name}`, () => {
      const ring = new Ring({ entries: 4 });
      const sqe = entry(ring);
      ring.close();
      assert.throws(() => use(sqe), { name: "TypeError", message: "the ring is closed" });
    });
  }

  it("stays its owner's while others are submitted and a wait goes on", () => {
    using ring = new Ring({ entries: 4 });
    nops(ring, 1);
    ring.submit();
    const sqe = entry(ring);
    drained(ring);
    ring.getEvents();
    sqe.prepNop().setData64(9);
    assert.deepEqual(reap(ring, 1), [[9, 0, 0]]);
  });

  it("carries any user_data, as a number and in full", () => {
    using ring = new Ring({ entries: 64 });
    const given: (number | bigint)[] = [
      0,
      1,
      2 ** 31 - 1,
      2 ** 31,
      2 ** 31 + 1,
      2 ** 32 - 1,
      2 ** 32,
      2 ** 32 + 1,
      2 ** 33 - 1,
      2 ** 52 + 1,
      2 ** 53 - 1,
      2 ** 53,
      -1,
      -2,
      -(2 ** 31),
      -(2 ** 32) - 1,
      -(2 ** 53),
      0n,
      1n,
      0x7fff_ffffn,
      0x8000_0000n,
      0xffff_ffffn,
      0x1_0000_0000n,
      0x1234_5678_9abc_def0n,
      0x7fff_ffff_ffff_ffffn,
      0x8000_0000_0000_0000n,
      0xffff_ffff_ffff_ffffn,
      -1n,
      -0x8000_0000_0000_0000n,
    ];
    const words = given.map((value) => BigInt.asUintN(64, BigInt(value)));
    const submit = () => {
      for (const value of given) entry(ring).prepNop().setData64(value);
      assert.equal(ring.submit(), given.length);
    };

    submit();
    assert.deepEqual(
      drained(ring),
      words.map((word) => [Number(word), 0, 0]),
    );

    submit();
    const seen: [bigint, number][] = [];
    ring.cqAdvance(ring.forEachCqe((cqe) => seen.push([cqe.userData64, cqe.userData])));
    assert.deepEqual(
      seen,
      words.map((word) => [word, Number(word)]),
    );

    submit();
    for (const word of words) {
      assert.equal(ring.peekCqe()?.userData64, word);
      ring.cqAdvance(1);
    }

    submit();
    const raw = new Int32Array(4 * given.length);
    assert.equal(ring.copyCqes(raw), given.length);
    assert.deepEqual(
      [...raw],
      words.flatMap((word) => [
        Number(BigInt.asIntN(32, word)),
        Number(BigInt.asIntN(32, word >> 32n)),
        0,
        0,
      ]),
    );
  });

  it("refuses user_data that does not fit, and keeps what it has", () => {
    using ring = new Ring({ entries: 4 });
    const sqe = entry(ring).prepNop().setData64(77);
    for (const value of [
      2 ** 53 + 2,
      -(2 ** 53) - 2,
      0.5,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      2n ** 64n,
      -(2n ** 63n) - 1n,
    ]) {
      assert.throws(() => sqe.setData64(value), { name: "RangeError" }, String(value));
    }
    for (const value of ["1", null, undefined, {}, true]) {
      assert.throws(() => sqe.setData64(value as number), { name: "TypeError" }, String(value));
    }
    assert.deepEqual(reap(ring, 1), [[77, 0, 0]]);
  });

  it("refuses flags, priorities and ids that do not fit", () => {
    using ring = new Ring({ entries: 4 });
    const sqe = entry(ring).prepNop();
    for (const value of [-1, 0.5, Number.NaN]) {
      assert.throws(() => sqe.setFlags(value), { name: "RangeError" });
      assert.throws(() => sqe.addFlags(value), { name: "RangeError" });
      assert.throws(() => sqe.setIoprio(value), { name: "RangeError" });
      assert.throws(() => sqe.setPersonality(value), { name: "RangeError" });
      assert.throws(() => sqe.setBufferGroup(value), { name: "RangeError" });
      assert.throws(() => sqe.setBufferIndex(value), { name: "RangeError" });
    }
    assert.throws(() => sqe.setFlags(256), { name: "RangeError" });
    assert.throws(() => sqe.setIoprio(65536), { name: "RangeError" });
    assert.throws(() => sqe.setPersonality(65536), { name: "RangeError" });
    assert.throws(() => sqe.setBufferGroup(65536), { name: "RangeError" });
    for (const value of ["1", null, {}, undefined] as unknown[]) {
      assert.throws(() => sqe.setFlags(value as number), { name: "TypeError" });
      assert.throws(() => sqe.setIoprio(value as number), { name: "TypeError" });
    }
    assert.deepEqual(reap(ring, 1), [[0, 0, 0]]);
  });

  it("with IOSQE_IO_LINK is the next one's condition", () => {
    using ring = new Ring({ entries: 4 });
    const memory = alloc(8);
    entry(ring).prepRead(-1, memory, 8, 0).setFlags(abi.IOSQE_IO_LINK).setData64(1);
    entry(ring).prepNop().setData64(2);
    entry(ring).prepNop().setData64(3);
    assert.deepEqual(reap(ring, 3).sort(), [
      [1, -EBADF, 0],
      [2, -ECANCELED, 0],
      [3, 0, 0],
    ]);
  });

  it("with IOSQE_IO_DRAIN waits for all before it", () => {
    using ring = new Ring({ entries: 4 });
    using ends = pipe();
    entry(ring).prepRead(ends.read, alloc(8), 8, -1).setData64(1);
    entry(ring).prepNop().setFlags(abi.IOSQE_IO_DRAIN).setData64(2);
    assert.equal(ring.submit(), 2);
    assert.deepEqual(drained(ring), []);
    writeFromThread(ends.write);
    assert.deepEqual(reap(ring, 2), [
      [1, 1, 0],
      [2, 0, 0],
    ]);
  });

  it("with IOSQE_CQE_SKIP_SUCCESS completes only in failure", () => {
    using ring = new Ring({ entries: 4 });
    entry(ring).prepNop().setFlags(abi.IOSQE_CQE_SKIP_SUCCESS).setData64(1);
    entry(ring).prepRead(-1, alloc(8), 8, 0).setFlags(abi.IOSQE_CQE_SKIP_SUCCESS).setData64(2);
    entry(ring).prepNop().setData64(3);
    assert.equal(ring.submit(), 3);
    assert.deepEqual(reap(ring, 2), [
      [2, -EBADF, 0],
      [3, 0, 0],
    ]);
  });

  it("keeps its flags when more are added, and loses them when others are set", () => {
    using ring = new Ring({ entries: 4 });
    const flags = () => sqe.toBytes()[1];
    const sqe = entry(ring).prepNop().setFlags(abi.IOSQE_ASYNC);
    assert.equal(flags(), abi.IOSQE_ASYNC);
    sqe.addFlags(abi.IOSQE_IO_LINK);
    assert.equal(flags(), abi.IOSQE_ASYNC | abi.IOSQE_IO_LINK);
    sqe.setFlags(abi.IOSQE_IO_DRAIN);
    assert.equal(flags(), abi.IOSQE_IO_DRAIN);
    assert.deepEqual(reap(ring, 1), [[0, 0, 0]]);
  });

  it("with a priority runs with that, and is refused with one that does not exist", () => {
    using ring = new Ring({ entries: 4 });
    using scratch = new Scratch();
    const fd = openFile(scratch, "a");
    const memory = alloc(8);
    const read = (ioprio: number) => run(ring, (sqe) => sqe.prepRead(fd, memory, 8, 0).setIoprio(ioprio));
    // Best effort, level 4; and class 7, which there is not.
    assert.equal(read((2 << 13) | 4), 8);
    assert.equal(read(7 << 13), -EINVAL);
    closeSync(fd);
  });

  it("runs under registered credentials alone", () => {
    using ring = new Ring({ entries: 4 });
    const id = shim().register(ring.fd, abi.IORING_REGISTER_PERSONALITY, 0, 0);
    assert.ok(id > 0);
    const open = (personality: number) =>
      run(ring, (sqe) =>
        sqe.prepOpenat(abi.AT_FDCWD, cstring("/dev/null"), abi.O_RDONLY, 0).setPersonality(personality),
      );
    const fd = open(id);
    assert.ok(fd > 0);
    mustCall("close", fd);
    assert.equal(open(id + 1), -EINVAL);
    assert.equal(shim().register(ring.fd, abi.IORING_UNREGISTER_PERSONALITY, 0, id), 0);
    assert.equal(open(id), -EINVAL);
  });
});

describe("a slot of the file table as a target", () => {
  function withTable(ring: Ring, fds: number[]): void {
    const memory = alloc(4 * fds.length);
    memory.bytes.set(new Uint8Array(Int32Array.from(fds).buffer));
    assert.equal(shim().register(ring.fd, abi.IORING_REGISTER_FILES, memory.address, fds.length), 0);
  }

  it("is the file that was registered there", () => {
    using ring = new Ring({ entries: 4 });
    using scratch = new Scratch();
    const files = ["a", "b"].map((name) => openFile(scratch, name));
    withTable(ring, files);
    for (const fd of files) closeSync(fd);
    const memory = alloc(16);
    for (const [slot, name] of ["a", "b"].entries()) {
      assert.equal(
        run(ring, (sqe) => sqe.prepRead(new Direct(slot), memory, 16, 0)),
        9,
      );
      assert.equal(text(memory, 9), `this is ${name}`);
    }
    assert.equal(
      run(ring, (sqe) => sqe.prepRead(new Direct(2), memory, 16, 0)),
      -EBADF,
    );
  });

  it("can be opened, read and closed without an fd", () => {
    using ring = new Ring({ entries: 4 });
    using scratch = new Scratch();
    withTable(ring, [-1, -1, -1]);
    const path = cstring(scratch.file("c", "in a slot"));
    const slot = new Direct(1);
    assert.equal(
      run(ring, (sqe) => sqe.prepOpenatDirect(abi.AT_FDCWD, path, abi.O_RDONLY, 0, slot)),
      0,
    );
    const memory = alloc(16);
    assert.equal(
      run(ring, (sqe) => sqe.prepRead(slot, memory, 16, 3)),
      6,
    );
    assert.equal(text(memory, 6), "a slot");
    assert.equal(
      run(ring, (sqe) => sqe.prepCloseDirect(slot)),
      0,
    );
    assert.equal(
      run(ring, (sqe) => sqe.prepRead(slot, memory, 16, 0)),
      -EBADF,
    );
  });

  it("is not the fd of the same number", () => {
    using ring = new Ring({ entries: 4 });
    using scratch = new Scratch();
    const [first, second] = [openFile(scratch, "a"), openFile(scratch, "b")];
    withTable(
      ring,
      range(first + 1).map((slot) => (slot === first ? second : -1)),
    );
    const memory = alloc(16);
    for (const [target, name] of [
      [first, "a"],
      [new Direct(first), "b"],
    ] as const) {
      assert.equal(
        run(ring, (sqe) => sqe.prepRead(target, memory, 16, 0)),
        9,
      );
      assert.equal(text(memory, 9), `this is ${name}`);
    }
    closeSync(first);
    closeSync(second);
  });

  it("is a whole number that is not negative", () => {
    for (const slot of [-1, 0.5, Number.NaN, 2 ** 31]) {
      assert.throws(() => new Direct(slot), { name: "RangeError" });
    }
    assert.equal(new Direct(2 ** 31 - 1).slot, 2 ** 31 - 1);
  });
});

describe("a caller's own memory", () => {
  it("is read and written in place, as any Uint8Array", () => {
    using ring = new Ring({ entries: 4 });
    using scratch = new Scratch();
    const fd = openFile(scratch, "mine");
    for (const length of [4, 64, 900, 1001, 5000]) {
      const view = new Uint8Array(length);
      assert.equal(
        run(ring, (sqe) => sqe.prepRead(fd, view, length, 0)),
        Math.min(length, 12),
      );
      assert.equal(text(view, 4), "this");
      const part = new Uint8Array(8192).subarray(100, 100 + length);
      run(ring, (sqe) => sqe.prepRead(fd, part, part.length, 8));
      assert.equal(text(part, 4), "mine");
    }
    closeSync(fd);
  });

  it("at a raw address is the same memory", () => {
    using ring = new Ring({ entries: 4 });
    using scratch = new Scratch();
    const fd = openFile(scratch, "raw");
    const memory = alloc(32);
    for (const address of [memory.address, BigInt(memory.address)]) {
      memory.bytes.fill(0);
      assert.equal(
        run(ring, (sqe) => sqe.prepRead(fd, address, 32, 0)),
        11,
      );
      assert.equal(text(memory, 11), "this is raw");
    }
    closeSync(fd);
  });

  it("that may move, or is too short, is refused before anything is prepared", () => {
    using ring = new Ring({ entries: 4 });
    const sqe = entry(ring).setData64(3);
    const detached = new Uint8Array(8);
    detached.buffer.transfer();
    const resizable = new Uint8Array(new ArrayBuffer(8, { maxByteLength: 16 }));
    const growable = new Uint8Array(new SharedArrayBuffer(8, { maxByteLength: 16 }));
    for (const [memory, name] of [
      [detached, "TypeError"],
      [resizable, "TypeError"],
      [growable, "TypeError"],
      [new Uint8Array(7), "RangeError"],
      [alloc(7), "RangeError"],
      ["12345678", "TypeError"],
      [new Uint16Array(8), "TypeError"],
      [new ArrayBuffer(8), "TypeError"],
      [null, "TypeError"],
      [undefined, "TypeError"],
    ] as const) {
      assert.throws(() => sqe.prepRead(0, memory as Uint8Array, 8, 0), { name });
    }
    assert.equal(sqe.toBytes()[0], abi.IORING_OP_NOP);
    assert.deepEqual(reap(ring, 1), [[3, 0, 0]]);
  });

  it("stays reachable while the kernel may write to it", () => {
    using ring = new Ring({ entries: 64 });
    using ends = pipe();
    // Dropped at once: only the ring knows the views.
    for (const i of range(32)) entry(ring).prepRead(ends.read, new Uint8Array(4096), 4096, -1).setData64(i);
    ring.submit();
    const garbage: Uint8Array[] = [];
    for (const _ of range(400)) garbage.push(new Uint8Array(4096));
    for (const _ of range(32)) {
      assert.equal(shim().enter(-1, 0, 0, 0, 0, 0), -EBADF);
      writeFromThread(ends.write);
    }
    assert.equal(reap(ring, 32).length, 32);
    assert.ok(garbage.every((view) => view.every((byte) => byte === 0)));
  });
});
