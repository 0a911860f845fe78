// Memory whose bytes the kernel takes for addresses: no caller gets his own in there, nor takes it away too early.

import assert from "node:assert/strict";
import { closeSync, openSync } from "node:fs";
import { describe, it } from "node:test";
import { AttrPi, alloc, BufferPool, FutexWaitv, Iovecs, Msghdr, Ring, type Sqe } from "uring";
import * as abi from "uring/abi";
import { bytes, entry, exercise, range, reap, run, text } from "./support/ring.ts";
import { mustCall } from "./support/system.ts";

const MSG_CMSG_COMPAT = 0x80000000;
const MADV_GUARD_INSTALL = 102;

/** Two datagram sockets, the first of which sends to the second. */
function datagrams(): readonly [from: number, to: number] {
  using fds = alloc(8);
  mustCall("socketpair", abi.AF_UNIX, abi.SOCK_DGRAM, 0, fds.address);
  const view = new DataView(fds.bytes.buffer, fds.bytes.byteOffset, 8);
  return [view.getInt32(0, true), view.getInt32(4, true)];
}

describe("a message header that is disposed of in flight", () => {
  for (const [name, disposesIovecs] of [
    ["keeps the pieces it was made of", false],
    ["keeps the caller's iovecs", true],
  ] as const) {
    it(name, () => {
      using ring = new Ring({ entries: 8 });
      using sender = new Ring({ entries: 8 });
      const [from, to] = datagrams();
      const buffers = [alloc(64), alloc(64)];
      for (const buffer of buffers) {
        const iov = disposesIovecs ? new Iovecs([buffer]) : [buffer];
        const header = new Msghdr({ iov });
        entry(ring).prepRecvmsg(to, header, 0);
        header[Symbol.dispose]();
        if (iov instanceof Iovecs) iov[Symbol.dispose]();
        // Whoever asks for such memory next.
        range(4).forEach(() => void new Iovecs([alloc(64)]));
      }
      ring.submit();
      for (const letter of ["A", "B"]) run(sender, (sqe) => sqe.prepSend(from, bytes(letter), 1, 0));
      reap(ring, 2);
      assert.deepEqual(
        // The kernel asks those who wait in an order of its own.
        buffers.map((buffer) => text(buffer, 1)).sort(),
        ["A", "B"],
      );
      for (const fd of [from, to]) mustCall("close", fd);
    });
  }
});

describe("a struct that points to memory that is gone", () => {
  const structs = {
    Iovecs: (memory: Uint8Array | ReturnType<typeof alloc>) => new Iovecs([new Uint8Array(8), memory]),
    "Msghdr's data": (memory) => new Msghdr({ iov: [memory] }),
    "Msghdr's iovecs": (memory) => new Msghdr({ iov: new Iovecs([memory]) }),
    "Msghdr's control messages": (memory) => new Msghdr({ control: memory }),
    FutexWaitv: (memory) => new FutexWaitv([{ futex: memory, value: 0 }]),
    AttrPi: (memory) => new AttrPi(memory),
  } satisfies Record<string, (memory: Uint8Array | ReturnType<typeof alloc>) => object>;

  for (const [name, make] of Object.entries(structs)) {
    it(`is refused: ${name}`, () => {
      const pinned = alloc(64);
      const view = new Uint8Array(new ArrayBuffer(64));
      const made = [make(pinned), make(view)];
      for (const struct of made) assert.ok(struct.address > 0);
      pinned[Symbol.dispose]();
      view.buffer.transfer();
      const [disposed, detached] = made.map((struct) => () => struct.address);
      assert.throws(disposed as () => number, /disposed of/);
      assert.throws(detached as () => number, /detached/);
    });
  }

  it("is refused by the operation that would follow it", () => {
    using ring = new Ring({ entries: 8 });
    const zero = openSync("/dev/zero", "r");
    const pinned = alloc(64);
    const iovecs = new Iovecs([pinned]);
    pinned[Symbol.dispose]();
    const other = alloc(64);
    other.bytes.fill(7);
    assert.throws(() => entry(ring).prepReadv(zero, iovecs, 1, 0), /disposed of/);
    ring.submit();
    closeSync(zero);
    assert.ok(other.bytes.every((byte) => byte === 7));
  });
});

describe("a struct that can not be made", () => {
  const none = null as unknown as Uint8Array;
  const word = alloc(64);
  for (const [name, make, wrong] of [
    ["Iovecs", () => new Iovecs([word]), () => new Iovecs([none])],
    ["Msghdr", () => new Msghdr({}), () => new Msghdr({ control: none, nameLength: 3 })],
    [
      "FutexWaitv",
      () => new FutexWaitv([{ futex: word, value: 0 }]),
      () => new FutexWaitv([{ futex: word, value: -1 }]),
    ],
    ["AttrPi", () => new AttrPi(word), () => new AttrPi(word, { seed: -1 })],
  ] as const) {
    it(`takes no memory: ${name}`, () => {
      const before = make();
      const { address } = before;
      before[Symbol.dispose]();
      for (let i = 0; i < 10; i++) assert.throws(wrong);
      assert.equal(make().address, address);
    });
  }
});

describe("what only a prep helper looks at", () => {
  /** A view that says it is longer than it is, from the second time it is asked. */
  function boaster(): Uint8Array {
    const view = new Uint8Array(new ArrayBuffer(4096)).subarray(0, 8);
    let asked = 0;
    return Object.defineProperty(view, "byteLength", { get: () => (asked++ === 0 ? 8 : 4096) });
  }
  const header = new Msghdr({ iov: [alloc(64)], nameLength: 128, control: alloc(64) });

  const refused: Record<string, (sqe: Sqe) => unknown> = {
    "advice set afterwards": (sqe) =>
      sqe.prepMadvise(alloc(65536), 65536, abi.MADV_NORMAL).setOpFlags(MADV_GUARD_INSTALL),
    "flags of a 32-bit program's header, received": (sqe) => sqe.prepRecvmsg(0, header, MSG_CMSG_COMPAT),
    "flags of a 32-bit program's header, sent": (sqe) => sqe.prepSendmsg(0, header, MSG_CMSG_COMPAT | 0),
    "flags of a 32-bit program's header, again and again": (sqe) =>
      sqe.prepRecvmsgMultishot(0, header, MSG_CMSG_COMPAT),
    "such flags set afterwards": (sqe) => sqe.prepRecvmsg(0, header, 0).setOpFlags(MSG_CMSG_COMPAT),
    "bytes sent as if they were iovecs": (sqe) =>
      sqe.prepSend(0, alloc(64), 1, 0).setIoprio(abi.IORING_SEND_VECTORIZED),
    "bytes sent without a copy as if they were iovecs": (sqe) =>
      sqe.prepSendZc(0, alloc(64), 1, 0, 0).setIoprio(abi.IORING_SEND_VECTORIZED),
    "a view that claims to be longer": (sqe) => sqe.prepRead(0, boaster(), 4096, 0),
  };
  for (const [name, fill] of Object.entries(refused)) {
    it(`is not to be had behind its back: ${name}`, () => {
      using ring = new Ring({ entries: 8 });
      assert.throws(() => fill(entry(ring)), /TypeError|RangeError/);
    });
  }

  it("stays as the helper has set it: that iovecs are sent", () => {
    using ring = new Ring({ entries: 8 });
    const [from, to] = datagrams();
    const pieces = new Iovecs([bytes("ab"), bytes("cd")]);
    const sent = run(ring, (sqe) =>
      sqe.prepSend(from, pieces, 2, 0).setIoprio(abi.IORING_RECVSEND_POLL_FIRST),
    );
    // Linux 6.17 is the first that sends them.
    if (sent >= 0) {
      const got = alloc(8);
      assert.equal(
        run(ring, (sqe) => sqe.prepRecv(to, got, 8, 0)),
        4,
      );
      assert.equal(text(got, 4), "abcd");
    }
    // What was prepared before is gone with it.
    const plain = (sqe: Sqe) => sqe.prepSend(from, pieces, 2, 0).prepSend(from, bytes("xyz"), 3, 0);
    assert.equal(run(ring, plain), 3);
    for (const fd of [from, to]) mustCall("close", fd);
  });
});

describe("a region that is closed with its ring", () => {
  it("leaves its place to nobody, for whom other rings' operations have it", () => {
    using ring = new Ring({ entries: 8 });
    const owner = new Ring({ entries: 8 });
    const ends = alloc(8);
    assert.equal(
      run(ring, (sqe) => sqe.prepPipe(ends, 0)),
      0,
    );
    const [read, write] = new Int32Array(ends.bytes.slice().buffer) as unknown as [number, number];
    const region = owner.registerRegion(65536).bytes;
    entry(ring).prepRead(read, region, 65536, -1);
    ring.submit();
    owner.close();
    assert.equal(region.length, 0);
    const others = range(8).map(() => {
      const other = new Ring({ entries: 8 });
      return { other, memory: other.registerRegion(65536).bytes };
    });
    using writer = new Ring({ entries: 8 });
    assert.equal(
      run(writer, (sqe) => sqe.prepWrite(write, bytes("x"), 1, -1)),
      1,
    );
    const EFAULT = 14;
    assert.deepEqual(
      reap(ring, 1).map(([, res]) => res),
      [-EFAULT],
    );
    for (const { other, memory } of others) {
      assert.ok(memory.every((byte) => byte === 0));
      other.close();
    }
    for (const fd of [read, write]) mustCall("close", fd);
  });
});

describe("what a caller is shown of memory", () => {
  it("says nothing of how much there is", () => {
    using ring = new Ring({ entries: 8 });
    const memory = alloc(64);
    Object.defineProperty(memory.bytes, "length", { value: 4096 });
    assert.throws(() => entry(ring).prepRead(0, memory, 4096, 0), RangeError);
    assert.equal(memory.byteLength, 64);
    assert.throws(() => memory.slice(0, 65), RangeError);
    const other = alloc(64);
    const asked = { get: () => assert.fail("was asked") };
    Object.defineProperty(other.bytes, "constructor", asked);
    Object.defineProperty(other.bytes, "buffer", { value: new ArrayBuffer(8) });
    const part = other.slice(8, 8);
    part.bytes.fill(1);
    assert.equal(part.byteLength, 8);
    assert.deepEqual([...other.bytes.entries()].filter(([, byte]) => byte === 1).length, 8);
  });

  it("nor of which buffer it is, or of which group", () => {
    using ring = new Ring({ entries: 8 });
    using buffers = ring.setupBufRing({ group: 1, entries: 4, bufferSize: 64 });
    for (const name of ["group", "entries", "mask", "firstId", "count"] as const) {
      assert.throws(() => Object.assign(buffers, { [name]: 2 }), TypeError, name);
    }
    using pool = new BufferPool();
    using lease = pool.lend(64);
    assert.throws(() => Object.assign(lease, { bufferId: 1 }), TypeError);
    Object.defineProperty(lease.bytes, "length", { value: 4096 });
    assert.equal(lease.byteLength, 64);
  });

  it("makes no struct another", () => {
    using ring = new Ring({ entries: 8 });
    const iovecs = new Iovecs(range(4).map(() => alloc(8)));
    for (const { prototype } of [Msghdr, FutexWaitv, AttrPi]) {
      Object.setPrototypeOf(iovecs, prototype);
      const header = iovecs as unknown as Msghdr;
      assert.throws(() => entry(ring).prepRecvmsg(0, header, 0), TypeError);
      assert.throws(() => entry(ring).prepFutexWaitv(header as never, 1, 0), TypeError);
    }
    Object.setPrototypeOf(iovecs, Iovecs.prototype);
    entry(ring).prepReadv(0, iovecs, 4, 0);
    const header = Object.setPrototypeOf(new Msghdr({}), Iovecs.prototype) as Iovecs;
    assert.throws(() => entry(ring).prepReadv(0, header, 1, 0), TypeError);
    assert.throws(() => new Msghdr({ iov: header }), TypeError);
  });
});

describe("an array with methods of its own", () => {
  it("is taken for what is in it", () => {
    const word = alloc(4);
    const elsewhere = alloc(4);
    class Forged<T> extends Array<T> {
      override map<U>(): U[] {
        return [{ futex: word, address: elsewhere.address, value: 7n, bits: 2 }] as U[];
      }
      override slice(): T[] {
        return this;
      }
    }
    const futexes = Forged.of({ futex: word, value: 0 });
    using ring = new Ring({ entries: 8 });
    entry(ring).prepFutexWaitv(new FutexWaitv(futexes), 1, 0);
    ring.submit();
    // It waits for the word, which has that value; the other would have answered -EAGAIN.
    assert.equal(ring.inFlight, 1);
    const pieces = Forged.of(word);
    const iovecs = new Iovecs(pieces);
    pieces.length = 0;
    assert.equal(iovecs.at(0), word);
  });
});

describe("a ring of buffers", () => {
  it("takes no memory that was disposed of", () => {
    using ring = new Ring({ entries: 8 });
    const memory = alloc(4096);
    using buffers = ring.setupBufRing({ group: 1, buffers: [memory], fill: false });
    memory[Symbol.dispose]();
    assert.throws(() => buffers.recycle(0), /disposed of/);
    const gone = alloc(64);
    const options = {
      group: 2,
      buffers: [gone],
      get entries() {
        gone[Symbol.dispose]();
        return 1;
      },
    };
    assert.throws(() => ring.setupBufRing(options), /disposed of/);
    using again = ring.setupBufRing({ group: 2, entries: 1, bufferSize: 64 });
    assert.equal(again.count, 1);
  });
});

describe("sizes that are getters", () => {
  it("are asked for before a ring is moved", () => {
    const flags = abi.IORING_SETUP_SINGLE_ISSUER | abi.IORING_SETUP_DEFER_TASKRUN;
    using ring = new Ring({ entries: 8, flags });
    let asked = 0;
    ring.resizeRings({
      get entries() {
        if (asked++ === 0) ring.resizeRings({ entries: 16 });
        for (let i = 0; i < 4; i++) ring.getSqe()?.prepNop().setData64(i);
        return 8;
      },
    });
    assert.equal(asked, 1);
    assert.equal(ring.params.sqEntries, 8);
    assert.equal(ring.submitAndWait(4), 4);
    assert.deepEqual(
      reap(ring, 4).map(([userData]) => userData),
      range(4),
    );
    const closed = new Ring({ entries: 8, flags });
    const closer = {
      get entries() {
        closed.close();
        return 8;
      },
    };
    assert.throws(() => closed.resizeRings(closer), /closed/);
    assert.throws(() => ring.resizeRings({ flags: { valueOf: () => 0 } as never }), TypeError);
    exercise(ring);
  });
});

describe("a region whose memory the caller has detached", () => {
  it("keeps the ring from closing no more than another", () => {
    const ring = new Ring({ entries: 8 });
    (ring.registerRegion(65536).bytes.buffer as ArrayBuffer).transfer();
    assert.deepEqual(ring.close(), { leaked: 0 });
  });
});
