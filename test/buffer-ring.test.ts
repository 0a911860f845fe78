import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  alloc,
  type BufferRing,
  type BufferRingOptions,
  Direct,
  encodeSockaddr,
  type Pinned,
  Ring,
  UringUnavailableError,
} from "uring";
import * as abi from "uring/abi";
import { pipe } from "./support/harness.ts";
import {
  bytes,
  type Completion,
  entry,
  LONG,
  reap,
  ringMappings,
  run,
  Scratch,
  text,
} from "./support/ring.ts";
import { withShim } from "./support/runtime.ts";
import { mustCall } from "./support/system.ts";

const EINVAL = 22;
const ENOBUFS = 105;
const NAMES = { 2: "ENOENT", 17: "EEXIST", 22: "EINVAL" };
const {
  IORING_CQE_F_BUF_MORE: BUF_MORE,
  IORING_CQE_F_BUFFER: BUFFER,
  IORING_CQE_F_MORE: MORE,
  IOU_PBUF_RING_INC: INC,
  IOU_PBUF_RING_MMAP: MMAP,
} = abi;

function refuses(errno: keyof typeof NAMES, call: () => unknown): void {
  assert.throws(call, { name: "UringError", errno, code: NAMES[errno], syscall: "io_uring_register" });
}

/** Whether the kernel takes such a buffer ring. */
function takes(options: Partial<BufferRingOptions>): { skip?: string } {
  using ring = new Ring({ entries: 1 });
  try {
    ring.setupBufRing({ group: 1, entries: 1, bufferSize: 64, ...options });
    return {};
  } catch (error) {
    if ((error as { errno?: number }).errno !== EINVAL) throw error;
    return { skip: `this kernel has no buffer rings with ${JSON.stringify(options)}` };
  }
}

const plain = takes({});
const mapped = takes({ flags: MMAP });
const incremental = takes({ flags: INC });
const minLeft = takes({ flags: INC, minLeft: 8 });
const bundles = (() => {
  using ring = new Ring({ entries: 1 });
  const has = (ring.features & abi.IORING_FEAT_RECVSEND_BUNDLE) !== 0;
  return has ? {} : { skip: "bundles came with Linux 6.10" };
})();

/** A ring, and a pipe or a pair of sockets to read what tests have written. */
class Fixture {
  readonly ring: Ring;
  readonly read: number;
  readonly write: number;

  constructor(kind: "pipe" | "sockets" | "tcp" = "pipe", flags = 0) {
    this.ring = new Ring({ entries: 64, flags });
    const ends = kind === "pipe" ? pipe() : kind === "sockets" ? socketpair() : connection(this.ring);
    [this.read, this.write] = [ends.read, ends.write];
  }

  /** Writes text at once. */
  put(content: string): void {
    mustCall("write", this.write, bytes(content).address, content.length);
  }

  /** Reads into a buffer of a group; the completion. */
  get(group: number, length: number): Completion {
    entry(this.ring).prepRead(this.read, 0, length, -1).setBufferGroup(group).setData64(1);
    return reap(this.ring, 1)[0] as Completion;
  }

  [Symbol.dispose](): void {
    this.ring.close();
    mustCall("close", this.read);
    mustCall("close", this.write);
  }
}

interface Ends {
  readonly read: number;
  readonly write: number;
}

function socketpair(): Ends {
  const fds = alloc(8);
  mustCall("socketpair", abi.AF_UNIX, abi.SOCK_STREAM, 0, fds.address);
  const [read, write] = new Int32Array(fds.bytes.buffer, fds.bytes.byteOffset, 2) as unknown as [
    number,
    number,
  ];
  return { read, write };
}

/** Both ends of a TCP connection. */
function connection(ring: Ring): Ends {
  const done = (fill: Parameters<typeof run>[1]) => {
    const res = run(ring, fill);
    assert.ok(res >= 0, `result ${res}`);
    return res;
  };
  const socket = () => done((sqe) => sqe.prepSocket(abi.AF_INET, abi.SOCK_STREAM, 0, 0));
  const [listener, write] = [socket(), socket()];
  const name = alloc(128);
  encodeSockaddr({ family: "ipv4", address: "127.0.0.1", port: 0 }, name);
  done((sqe) => sqe.prepBind(listener, name, 16));
  done((sqe) => sqe.prepListen(listener, 1));
  const length = alloc(4);
  length.bytes[0] = 128;
  mustCall("getsockname", listener, name.address, length.address);
  done((sqe) => sqe.prepConnect(write, name, 16));
  const read = done((sqe) => sqe.prepAccept(listener, 0, 0, 0));
  mustCall("close", listener);
  return { read, write };
}

/** As `bytes`, as text. */
function taken(pool: BufferRing, [, res, flags]: Completion): string {
  return text(pool.bytes(flags, res));
}

describe("a buffer ring", plain, () => {
  it("gives its buffers in the order they were added, then none", () => {
    using fixture = new Fixture();
    const pool = fixture.ring.setupBufRing({ group: 777, entries: 2, bufferSize: 22 });
    assert.deepEqual([pool.count, pool.entries, pool.mask, pool.available()], [2, 2, 1, 2]);
    fixture.put("first");
    const first = fixture.get(777, 22);
    assert.deepEqual(first, [1, 5, BUFFER]);
    fixture.put("second");
    const second = fixture.get(777, 22);
    assert.deepEqual(second, [1, 6, BUFFER | (1 << 16)]);
    fixture.put("third");
    assert.deepEqual(fixture.get(777, 22), [1, -ENOBUFS, 0]);
    assert.equal(pool.available(), 0);
    assert.equal(taken(pool, first), "first");
    assert.equal(taken(pool, second), "second");
    pool.recycle(1);
    pool.recycle(0);
    assert.deepEqual([pool.available(), pool.head()], [2, 2]);
    const third = fixture.get(777, 22);
    assert.equal(third[2] >>> 16, 1);
    assert.equal(taken(pool, third), "third");
    fixture.put("fourth");
    assert.equal(taken(pool, fixture.get(777, 22)), "fourth");
  });

  it("goes on when its 16-bit tail has wrapped", () => {
    using fixture = new Fixture();
    const { ring } = fixture;
    const zero = mustCall("openat", abi.AT_FDCWD, bytes("/dev/zero\0").address, abi.O_RDONLY);
    ring.registerFiles([zero]);
    mustCall("close", zero);
    const pool = ring.setupBufRing({ group: 0, entries: 4, bufferSize: 64 });
    const batch = 4;
    let cycles = 0;
    for (let round = 0; cycles < 70_000; round++) {
      for (let i = 0; i < batch; i++) {
        entry(ring).prepRead(new Direct(0), 0, 1, 0).setBufferGroup(0);
      }
      assert.equal(ring.submit(), batch);
      cycles += ring.drain((_, res, flags) => {
        assert.equal(res, 1);
        pool.bytes(flags, res);
        // In changing order, so that slots and ids part.
        if (round % 2 === 0) pool.recycle(flags >>> 16);
        else pool.add(flags >>> 16);
      });
      if (round % 2 === 1) pool.advance(batch);
    }
    assert.equal(pool.available(), 4);
    assert.equal(pool.head(), cycles & 0xffff);
  });

  it("has a place for every id up to 65535, and 32768 buffers", () => {
    using fixture = new Fixture();
    const pool = fixture.ring.setupBufRing({ group: 65535, entries: 32768, bufferSize: 8, firstId: 32768 });
    assert.equal(pool.available(), 32768);
    fixture.put("high");
    const completion = fixture.get(65535, 8);
    assert.deepEqual(completion, [1, 4, BUFFER | (32768 << 16)]);
    assert.equal(taken(pool, completion), "high");
    assert.equal(text(pool.get(32768, 4)), "high");
    assert.equal(pool.get(65535).length, 8);
    assert.throws(() => pool.get(32767), RangeError);
  });

  it("never has a buffer twice, so that no two reads share one", () => {
    using fixture = new Fixture();
    const pool = fixture.ring.setupBufRing({ group: 1, entries: 4, bufferSize: 16 });
    const notOurs = { name: "Error", message: /buffer \d is not the caller's/ };
    assert.throws(() => pool.recycle(0), notOurs);
    fixture.put("once");
    const completion = fixture.get(1, 16);
    // Its completion has come, and nobody has looked at it: the data would be lost.
    assert.throws(() => pool.recycle(0), notOurs);
    assert.equal(taken(pool, completion), "once");
    assert.throws(() => taken(pool, completion), /taken before/);
    pool.recycle(0);
    assert.throws(() => pool.recycle(0), notOurs);
    assert.throws(() => pool.add(0), notOurs);
    assert.equal(pool.available(), 4);
    assert.throws(() => pool.bytes(BUFFER | (9 << 16), 1), RangeError);
    assert.throws(() => pool.bytes(0, 1), TypeError);
    assert.throws(() => pool.bytes(BUFFER, 17), RangeError);
    assert.throws(() => pool.get(0, 17), RangeError);
    assert.throws(() => pool.get(0.5), RangeError);
  });

  it("shows what was added as far as it is advanced", () => {
    using fixture = new Fixture();
    const pool = fixture.ring.setupBufRing({ group: 1, entries: 4, bufferSize: 16, fill: false });
    assert.equal(pool.available(), 0);
    fixture.put("abcdefgh");
    assert.deepEqual(fixture.get(1, 16), [1, -ENOBUFS, 0]);
    pool.add(3).add(1, 5).add(0);
    assert.throws(() => pool.add(2, 17), RangeError);
    assert.throws(() => pool.add(2, 0), RangeError);
    assert.throws(() => pool.add(4), RangeError);
    assert.equal(pool.available(), 0);
    // Not yet the kernel's: no completion can name it.
    assert.throws(() => pool.bytes(BUFFER | (3 << 16), 1), Error);
    assert.throws(() => pool.advance(4), RangeError);
    pool.advance(2);
    assert.equal(pool.available(), 2);
    const first = fixture.get(1, 2);
    assert.deepEqual([first[2] >>> 16, taken(pool, first)], [3, "ab"]);
    const short = fixture.get(1, 16);
    assert.deepEqual([short[2] >>> 16, taken(pool, short)], [1, "cdefg"]);
    pool.advance();
    const last = fixture.get(1, 16);
    assert.deepEqual([last[2] >>> 16, taken(pool, last)], [0, "h"]);
  });

  it("is consumed and refilled in one call", () => {
    using fixture = new Fixture();
    const { ring } = fixture;
    const pool = ring.setupBufRing({ group: 1, entries: 4, bufferSize: 16 });
    fixture.put("x");
    entry(ring).prepRead(fixture.read, 0, 1, -1).setBufferGroup(1);
    ring.submitAndWait(1);
    const cqe = ring.peekCqe();
    assert.ok(cqe);
    assert.equal(text(pool.bytes(cqe.flags, cqe.res)), "x");
    pool.add(cqe.bufferId);
    assert.throws(() => ring.bufRingCqAdvance(pool, 2), RangeError);
    assert.throws(() => ring.bufRingCqAdvance(pool, 1, 2), RangeError);
    assert.deepEqual([ring.cqReady, pool.available()], [1, 3]);
    ring.bufRingCqAdvance(pool, 1);
    assert.deepEqual([ring.cqReady, pool.available()], [0, 4]);
  });

  it("can be made of memory the caller has, of any sizes", () => {
    using fixture = new Fixture();
    const buffers = [alloc(3), alloc(4096), alloc(10).slice(2, 5)];
    const pool = fixture.ring.setupBufRing({ group: 1, buffers });
    assert.deepEqual([pool.entries, pool.count, pool.available()], [4, 3, 3]);
    fixture.put("abcdefghijklmnop");
    assert.equal(taken(pool, fixture.get(1, 100)), "abc");
    assert.equal(taken(pool, fixture.get(1, 4)), "defg");
    assert.equal(taken(pool, fixture.get(1, 100)), "hijkl");
    assert.equal(text((buffers[2] as Pinned).bytes), "hijkl");
    pool.free();
    assert.equal(text((buffers[0] as Pinned).bytes), "abc");
  });

  it("is one of several: groups, and classes of size", () => {
    using fixture = new Fixture();
    const { ring } = fixture;
    const pools = [16, 256, 4096].map((bufferSize, group) =>
      ring.setupBufRing({ group, entries: 8, bufferSize }),
    );
    for (const [group, pool] of pools.entries()) {
      const content = `group ${group}`;
      fixture.put(content);
      assert.equal(taken(pool, fixture.get(group, 10)), content);
    }
    assert.deepEqual(
      pools.map((pool) => pool.available()),
      [7, 7, 7],
    );
    refuses(17, () => ring.setupBufRing({ group: 1, entries: 8, bufferSize: 8 }));
    (pools[1] as BufferRing).free();
    assert.equal((pools[2] as BufferRing).available(), 7);
    ring.setupBufRing({ group: 1, entries: 8, bufferSize: 8 });
    assert.throws(() => ring.freeBufRing(pools[1] as BufferRing), TypeError);
    using other = new Ring({ entries: 1 });
    assert.throws(() => other.freeBufRing(pools[0] as BufferRing), TypeError);
    assert.throws(() => other.bufRingCqAdvance(pools[0] as BufferRing, 0), TypeError);
  });

  it("feeds a multishot read", () => {
    using fixture = new Fixture();
    const { ring } = fixture;
    const pool = ring.setupBufRing({ group: 3, entries: 2, bufferSize: 64 });
    entry(ring).prepReadMultishot(fixture.read, 0, -1, 3).setData64(9);
    ring.submit();
    for (const content of ["one", "two", "three", "four", "five"]) {
      fixture.put(content);
      const [completion] = reap(ring, 1) as [Completion];
      assert.equal(completion[2] & 0xffff, BUFFER | MORE);
      assert.equal(taken(pool, completion), content);
      if (content !== "four") pool.recycle(completion[2] >>> 16);
    }
    // "four" has kept the one buffer and "five" is given back: one message more, then none.
    fixture.put("six");
    const [six] = reap(ring, 1) as [Completion];
    assert.equal(taken(pool, six), "six");
    fixture.put("seven");
    assert.deepEqual(reap(ring, 1), [[9, -ENOBUFS, 0]]);
  });
});

describe("incremental buffers", incremental, () => {
  it("are used bit by bit, and are the caller's when used up", () => {
    using fixture = new Fixture();
    const pool = fixture.ring.setupBufRing({ group: 1, entries: 2, bufferSize: 16, flags: INC });
    const parts: [id: number, more: boolean, content: string][] = [];
    const next = (length: number) => {
      const completion = fixture.get(1, length);
      parts.push([completion[2] >>> 16, (completion[2] & BUF_MORE) !== 0, taken(pool, completion)]);
    };
    fixture.put("0123456789abcdefABCDEF");
    next(5);
    next(7);
    assert.throws(() => pool.recycle(0), /not the caller's/);
    assert.equal(pool.available(), 2);
    next(100);
    next(4);
    assert.deepEqual(parts, [
      [0, true, "01234"],
      [0, true, "56789ab"],
      [0, false, "cdef"],
      [1, true, "ABCD"],
    ]);
    assert.equal(text(pool.get(0)), "0123456789abcdef");
    assert.equal(pool.available(), 1);
    pool.recycle(0, 3);
    next(100);
    fixture.put("0123456789!xyz");
    next(100);
    next(100);
    assert.deepEqual(parts.slice(4), [
      [1, true, "EF"],
      [1, false, "0123456789"],
      [0, false, "!xy"],
    ]);
  });

  it("stay in the ring at the end of a pipe", () => {
    using fixture = new Fixture();
    const { ring } = fixture;
    const pool = ring.setupBufRing({ group: 1, entries: 1, bufferSize: 256, flags: INC });
    fixture.put("twelve bytes");
    const data = fixture.get(1, 32);
    assert.deepEqual(data, [1, 12, BUFFER | BUF_MORE]);
    assert.equal(taken(pool, data), "twelve bytes");
    using other = pipe();
    other.close(other.write);
    entry(ring).prepRead(other.read, 0, 32, -1).setBufferGroup(1).setData64(2);
    const [eof] = reap(ring, 1) as [Completion];
    assert.deepEqual(eof, [2, 0, BUFFER | BUF_MORE]);
    assert.equal(taken(pool, eof), "");
    fixture.put("and four");
    assert.equal(taken(pool, fixture.get(1, 32)), "and four");
    assert.equal(text(pool.get(0, 20)), "twelve bytesand four");
  });

  it("are set aside as asked for by reads of files, and by IOSQE_ASYNC", () => {
    using fixture = new Fixture();
    using scratch = new Scratch();
    const { ring } = fixture;
    const pool = ring.setupBufRing({ group: 1, entries: 1, bufferSize: 320, flags: INC });
    const path = bytes(`${scratch.file("f", "a".repeat(80) + "b".repeat(20))}\0`);
    const fd = mustCall("openat", abi.AT_FDCWD, path.address, abi.O_RDONLY);
    const read = (offset: number): Completion => {
      entry(ring).prepRead(fd, 0, 80, offset).setBufferGroup(1).setData64(2);
      return (reap(ring, 1) as [Completion])[0];
    };
    const [, , flags] = read(0);
    assert.equal(text(pool.bytes(flags, 80, 80)), "a".repeat(80));
    const short = read(80);
    assert.equal(short[1], 20);
    assert.equal(text(pool.bytes(short[2], short[1], 80)), "b".repeat(20));
    fixture.put("wxyz");
    entry(ring).prepRead(fixture.read, 0, 32, -1).setBufferGroup(1).addFlags(abi.IOSQE_ASYNC);
    const [[, res, late]] = reap(ring, 1) as [Completion];
    assert.equal(text(pool.bytes(late, res, 32)), "wxyz");
    fixture.put("at 192");
    assert.equal(taken(pool, fixture.get(1, 6)), "at 192");
    assert.equal(text(pool.get(0).subarray(192, 198)), "at 192");
    const last = read(0);
    assert.equal(last[2] & BUF_MORE, BUF_MORE);
    assert.throws(() => pool.bytes(last[2], last[1], -1), RangeError);
    assert.equal(text(pool.bytes(last[2], last[1], 80)), "a".repeat(80));
    mustCall("close", fd);
  });

  it("count as used up below minLeft", minLeft, () => {
    using fixture = new Fixture();
    const options = { group: 1, entries: 2, bufferSize: 64, flags: INC };
    const pool = fixture.ring.setupBufRing({ ...options, minLeft: 32 });
    fixture.put("x".repeat(90));
    const first = fixture.get(1, 32);
    assert.equal(first[2] & 0xffff, BUFFER | BUF_MORE);
    taken(pool, first);
    const second = fixture.get(1, 8);
    assert.equal(second[2] & 0xffff, BUFFER);
    taken(pool, second);
    pool.recycle(0);
    assert.equal(fixture.get(1, 8)[2] >>> 16, 1);
  });

  it("must be for minLeft to mean anything", () => {
    using ring = new Ring({ entries: 1 });
    assert.throws(() => ring.setupBufRing({ group: 1, entries: 1, bufferSize: 64, minLeft: 8 }), TypeError);
  });
});

describe("bundles", bundles, () => {
  /** Receives as much as there is into as many buffers as that takes. */
  function receive({ ring, read }: Fixture, group: number): Completion {
    entry(ring).prepRecv(read, 0, 0, 0).setIoprio(abi.IORING_RECVSEND_BUNDLE).setBufferGroup(group);
    return reap(ring, 1)[0] as Completion;
  }

  function pieces(pool: BufferRing, [, res, flags]: Completion): [number, string, boolean][] {
    return pool.pieces(flags, res).map(({ id, bytes: piece, done }) => [id, text(piece), done]);
  }

  for (const kind of ["sockets", "tcp"] as const) {
    it(`fill buffers in the order of the ring, over ${kind}`, () => {
      using fixture = new Fixture(kind);
      const pool = fixture.ring.setupBufRing({ group: 1, entries: 4, bufferSize: 4, fill: false });
      pool.add(2).add(0).add(3).add(1).advance();
      fixture.put("0123456789");
      const completion = receive(fixture, 1);
      assert.equal(completion[2] >>> 16, 2);
      assert.throws(() => pool.bytes(completion[2], completion[1]), /pieces/);
      const parts = pieces(pool, completion);
      assert.throws(() => pieces(pool, completion), /taken before/);
      // How many buffers one completion fills is the kernel's to say.
      assert.ok(parts.length > 1);
      if (parts.length === 2) parts.push(...pieces(pool, receive(fixture, 1)));
      assert.deepEqual(parts, [
        [2, "0123", true],
        [0, "4567", true],
        [3, "89", true],
      ]);
      assert.equal(pool.available(), 1);
      for (const id of [3, 2, 0]) pool.add(id);
      pool.advance();
      fixture.put("abcdefgh");
      assert.deepEqual(pieces(pool, receive(fixture, 1)), [
        [1, "abcd", true],
        [3, "efgh", true],
      ]);
    });
  }

  it("are taken in any order", () => {
    using fixture = new Fixture("sockets");
    const pool = fixture.ring.setupBufRing({ group: 1, entries: 4, bufferSize: 4 });
    fixture.put("01234567");
    const first = receive(fixture, 1);
    fixture.put("abcdefgh");
    const second = receive(fixture, 1);
    assert.deepEqual(pieces(pool, second), [
      [2, "abcd", true],
      [3, "efgh", true],
    ]);
    // In the slots that the first two buffers had.
    pool.recycle(3);
    pool.recycle(2);
    assert.deepEqual(pieces(pool, first), [
      [0, "0123", true],
      [1, "4567", true],
    ]);
    fixture.put("xyz");
    assert.deepEqual(pieces(pool, receive(fixture, 1)), [[3, "xyz", true]]);
    assert.throws(() => pool.pieces(BUFFER | (2 << 16), 5), RangeError);
    assert.throws(() => pool.pieces(BUFFER | (4 << 16), 1), RangeError);
  });

  it("send what buffers hold, each as much as was added", () => {
    using fixture = new Fixture("sockets");
    const { ring } = fixture;
    const pool = ring.setupBufRing({ group: 1, entries: 4, bufferSize: 16, fill: false });
    for (const [id, content] of ["to ", "be ", "sent"].entries()) {
      pool.get(id).set(new TextEncoder().encode(content));
      pool.add(id, content.length);
    }
    pool.advance();
    entry(ring).prepSendBundle(fixture.write, 0, 0).setBufferGroup(1).setData64(1);
    const [sent] = reap(ring, 1) as [Completion];
    assert.deepEqual(sent, [1, 10, BUFFER]);
    assert.deepEqual(
      pieces(pool, sent).map(([id]) => id),
      [0, 1, 2],
    );
    const got = alloc(16);
    assert.equal(
      run(ring, (sqe) => sqe.prepRecv(fixture.read, got, 16, 0)),
      10,
    );
    assert.equal(text(got, 10), "to be sent");
    assert.equal(pool.available(), 0);
  });

  it("end in the middle of an incremental buffer", incremental, () => {
    using fixture = new Fixture("sockets");
    const pool = fixture.ring.setupBufRing({ group: 1, entries: 4, bufferSize: 8, flags: INC });
    fixture.put("0123456789ab");
    assert.deepEqual(pieces(pool, receive(fixture, 1)), [
      [0, "01234567", true],
      [1, "89ab", false],
    ]);
    assert.equal(pool.available(), 3);
    fixture.put("cdefABCD");
    assert.deepEqual(pieces(pool, receive(fixture, 1)), [
      [1, "cdef", true],
      [2, "ABCD", false],
    ]);
    fixture.put("EFGH");
    assert.deepEqual(pieces(pool, receive(fixture, 1)), [[2, "EFGH", true]]);
  });

  it("carry a stream over TCP, byte for byte", () => {
    for (const flags of [0, abi.IORING_SETUP_SINGLE_ISSUER | abi.IORING_SETUP_DEFER_TASKRUN]) {
      using fixture = new Fixture("tcp", flags);
      const { ring } = fixture;
      const pool = ring.setupBufRing({ group: 1, entries: 8, bufferSize: 1000 });
      const total = 1 << 20;
      const data = alloc(total);
      for (let i = 0; i < total; i++) data.bytes[i] = (i * 7 + (i >>> 8)) & 0xff;
      const arm = () =>
        entry(ring)
          .prepRecvMultishot(fixture.read, 0, 0, 0)
          .setIoprio(abi.IORING_RECV_MULTISHOT | abi.IORING_RECVSEND_BUNDLE)
          .setBufferGroup(1)
          .setData64(1);
      const send = (from: number) =>
        entry(ring)
          .prepSend(fixture.write, data.slice(from), total - from, 0)
          .setData64(2);
      arm();
      send(0);
      let sent = 0;
      let received = 0;
      let several = 0;
      while (received < total) {
        ring.submitAndWait(1, { timeout: LONG });
        const count = ring.drain((userData, res, cqeFlags) => {
          if (userData === 2) {
            sent += res;
            if (sent < total) send(sent);
            return;
          }
          assert.ok(res > 0 || res === -ENOBUFS, `result ${res}`);
          if (res > 0) {
            const parts = pool.pieces(cqeFlags, res);
            if (parts.length > 1) several++;
            for (const { id, bytes: piece } of parts) {
              const expected = data.bytes.subarray(received, received + piece.length);
              assert.equal(Buffer.compare(piece, expected), 0, `at ${received}`);
              received += piece.length;
              pool.add(id);
            }
            pool.advance();
          }
          if ((cqeFlags & MORE) === 0) arm();
        });
        assert.ok(count > 0, `stuck at ${received}`);
      }
      assert.equal(received, total);
      assert.ok(several > 0);
    }
  });
});

describe("a buffer ring in the kernel's memory", mapped, () => {
  it("works as any, and leaves no mapping", () => {
    using fixture = new Fixture();
    const { ring } = fixture;
    const before = ringMappings();
    for (let round = 0; round < 20; round++) {
      const pool = ring.setupBufRing({ group: 5, entries: 512, bufferSize: 64, firstId: 89, flags: MMAP });
      fixture.put("hello");
      const completion = fixture.get(5, 64);
      assert.deepEqual(completion, [1, 5, BUFFER | (89 << 16)]);
      assert.equal(taken(pool, completion), "hello");
      assert.equal(pool.available(), 511);
      pool.free();
      assert.throws(() => pool.recycle(89), TypeError);
    }
    assert.equal(ringMappings(), before);
  });

  it("can be incremental", incremental, () => {
    using fixture = new Fixture();
    const pool = fixture.ring.setupBufRing({ group: 5, entries: 1, bufferSize: 64, flags: MMAP | INC });
    fixture.put("abcd");
    assert.equal(taken(pool, fixture.get(5, 2)), "ab");
    assert.equal(taken(pool, fixture.get(5, 2)), "cd");
    assert.equal(text(pool.get(0, 4)), "abcd");
  });

  it("ends with its ring", () => {
    const ring = new Ring({ entries: 4 });
    const before = ringMappings();
    const pool = ring.setupBufRing({ group: 2047, entries: 4, bufferSize: 64, flags: MMAP });
    assert.equal(ringMappings(), before + 1);
    assert.deepEqual(ring.close(), { leaked: 0 });
    assert.equal(ringMappings(), before);
    assert.throws(() => pool.advance(0), TypeError);
    pool.free();
  });

  it("is not made where it can not be", () => {
    using ring = new Ring({ entries: 4 });
    const options = { group: 5, entries: 4, bufferSize: 64, flags: MMAP };
    assert.throws(() => ring.setupBufRing({ ...options, group: 2048 }), RangeError);
    const refusal = new UringUnavailableError("permission", "no view", "Ask for it.");
    const before = ringMappings();
    assert.throws(
      () =>
        withShim(
          {
            view: () => {
              throw refusal;
            },
          },
          () => ring.setupBufRing(options),
        ),
      refusal,
    );
    assert.equal(ringMappings(), before);
    // The group was given up, too.
    refuses(2, () => ring.unregisterBufRing(5));
    ring.setupBufRing(options);
  });
});

describe("registering buffer rings", plain, () => {
  it("is refused for what can not be", () => {
    using ring = new Ring({ entries: 4 });
    const wrong = (options: object) => ring.setupBufRing(options as never);
    assert.throws(() => wrong({}), TypeError);
    assert.throws(() => ring.setupBufRing(undefined as never), TypeError);
    assert.throws(() => wrong({ group: 1, entries: 4 }), TypeError);
    assert.throws(() => wrong({ group: 1, entries: 4, bufferSize: 1, buffers: [] }), TypeError);
    assert.throws(() => wrong({ group: 1, buffers: [new Uint8Array(9)] }), TypeError);
    assert.throws(() => wrong({ group: 65536, entries: 4, bufferSize: 1 }), RangeError);
    assert.throws(() => wrong({ entries: 4, bufferSize: 1 }), TypeError);
    assert.throws(() => wrong({ group: 1, entries: 3, bufferSize: 1 }), RangeError);
    assert.throws(() => wrong({ group: 1, entries: 0, bufferSize: 1 }), RangeError);
    assert.throws(() => wrong({ group: 1, entries: 65536, bufferSize: 1 }), RangeError);
    assert.throws(() => wrong({ group: 1, entries: 2, bufferSize: 0 }), RangeError);
    assert.throws(() => wrong({ group: 1, entries: 2, bufferSize: 2 ** 31 }), RangeError);
    assert.throws(() => wrong({ group: 1, entries: 2, buffers: [1, 2, 3].map(() => alloc(1)) }), RangeError);
    assert.throws(() => wrong({ group: 1, entries: 2, bufferSize: 1, firstId: 65535 }), RangeError);
    refuses(EINVAL, () => ring.setupBufRing({ group: 1, entries: 2, bufferSize: 1, flags: 0x8000 }));
    const gone = alloc(8);
    gone[Symbol.dispose]();
    assert.throws(() => wrong({ group: 1, buffers: [gone] }), TypeError);
    refuses(2, () => ring.unregisterBufRing(1));
    refuses(2, () => ring.bufRingHead(1));
  });

  it("goes by address, too, for who answers for that", () => {
    using ring = new Ring({ entries: 4 });
    const memory = alloc(65536);
    const options = { address: memory.address, entries: 16, group: 777 };
    ring.registerBufRing(options);
    refuses(17, () => ring.registerBufRing(options));
    assert.equal(ring.bufRingHead(777), 0);
    ring.unregisterBufRing(777);
    refuses(2, () => ring.unregisterBufRing(777));
    refuses(EINVAL, () => ring.registerBufRing({ ...options, entries: 15 }));
    refuses(EINVAL, () => ring.registerBufRing({ ...options, entries: 65536 }));
    refuses(EINVAL, () => ring.registerBufRing({ ...options, address: memory.address + 64 }));
  });

  it("finds provided buffers in the way, and the other way round", () => {
    using ring = new Ring({ entries: 4 });
    const memory = alloc(64);
    const provide = () => run(ring, (sqe) => sqe.prepProvideBuffers(memory, 16, 4, 1, 0));
    assert.equal(provide(), 0);
    refuses(17, () => ring.setupBufRing({ group: 1, entries: 4, bufferSize: 16 }));
    refuses(EINVAL, () => ring.unregisterBufRing(1));
    refuses(EINVAL, () => ring.bufRingHead(1));
    ring.setupBufRing({ group: 2, entries: 4, bufferSize: 16 });
    assert.equal(
      run(ring, (sqe) => sqe.prepProvideBuffers(memory, 16, 4, 2, 0)),
      -EINVAL,
    );
  });
});

describe("the end of a buffer ring", plain, () => {
  /** Whether memory of a size is handed out where a view is: given back, that is. */
  function givenBack(view: Uint8Array, size: number): boolean {
    const { bytes: again } = alloc(size);
    return again.buffer === view.buffer && again.byteOffset === view.byteOffset;
  }

  it("gives its buffers back once nothing is in flight", () => {
    using fixture = new Fixture();
    const { ring } = fixture;
    const size = 4 * 4096;
    const pool = ring.setupBufRing({ group: 1, entries: 4, bufferSize: 4096 });
    const view = pool.get(0);
    entry(ring).prepRead(fixture.read, 0, 1, -1).setBufferGroup(1).setData64(1);
    ring.submit();
    pool.free();
    pool.free();
    assert.equal(givenBack(view, size), false);
    fixture.put("x");
    assert.deepEqual(reap(ring, 1), [[1, -ENOBUFS, 0]]);
    assert.equal(givenBack(view, size), true);
    assert.throws(() => pool.get(0), TypeError);
    assert.throws(() => pool.available(), TypeError);
    refuses(2, () => ring.bufRingHead(1));
  });

  it("comes with its ring's, or with its group's", () => {
    const ring = new Ring({ entries: 4 });
    const pools = [1, 2].map((group) => ring.setupBufRing({ group, entries: 4, bufferSize: 4096 }));
    const view = (pools[1] as BufferRing).get(0);
    ring.unregisterBufRing(1);
    assert.throws(() => pools[0]?.recycle(0), TypeError);
    ring.close();
    assert.equal(givenBack(view, 4 * 4096), true);
    for (const pool of pools) {
      assert.throws(() => pool.recycle(0), TypeError);
      assert.throws(() => pool.pieces(BUFFER, 1), TypeError);
      pool.free();
    }
    assert.throws(() => ring.setupBufRing({ group: 3, entries: 4, bufferSize: 16 }), TypeError);
  });

  it("leaves the memory it was in clean for the next", () => {
    for (let round = 0; round < 200; round++) {
      using fixture = new Fixture();
      const pool = fixture.ring.setupBufRing({ group: 1, entries: 64, bufferSize: 64 });
      assert.equal(pool.available(), 64);
      fixture.put("again");
      assert.equal(taken(pool, fixture.get(1, 64)), "again");
      if (round % 2 === 0) pool.free();
    }
  });
});
