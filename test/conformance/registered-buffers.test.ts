import assert from "node:assert/strict";
import { constants } from "node:os";
import { alloc, Iovecs, Msghdr, type Pinned, type Ring, type Sqe } from "uring";
import {
  IORING_CQE_F_MORE,
  IORING_CQE_F_NOTIF,
  IORING_REGISTER_DST_REPLACE,
  IOSQE_ASYNC,
  iovec,
  MSG_WAITALL,
  msghdr,
  O_DIRECT,
  O_RDONLY,
  O_RDWR,
} from "uring/abi";
import { pipe } from "../support/harness.ts";
import { type Brief, brief, entry, submitAll, untilEnded } from "./completions.ts";
import { random, randomFile } from "./content.ts";
import { open } from "./descriptors.ts";
import { kernelFrom, lacking } from "./kernel.ts";
import { outcome } from "./outcome.ts";
import { counting, Network } from "./sockets.ts";
import { allRings, type Bench, conformance } from "./support.ts";

const { EBUSY, EFAULT, EINVAL, ENXIO, EOVERFLOW } = constants.errno;
const MORE = IORING_CQE_F_MORE;
const NOTIF = IORING_CQE_F_NOTIF;
const REPLACE = IORING_REGISTER_DST_REPLACE;
const PAGE = 4096;

const everywhere = { rings: allRings };
const cloning = { rings: allRings, skip: lacking(6, 13) };
const vectors = { rings: allRings, skip: lacking(6, 15) };

/** So many separate buffers of one size. */
function buffersOf(count: number, size: number): Pinned[] {
  const memory = alloc(count * size);
  return Array.from({ length: count }, (_, i) => memory.slice(i * size, size));
}

// ------------------------------------------------------------------------------------------------ liburing/fixed-buf-iter

conformance(
  "liburing/fixed-buf-iter",
  "devices read into a buffer and write from it",
  (bench) => {
    const ring = bench.ring();
    const source = open(bench, "/dev/urandom", O_RDONLY);
    const sink = open(bench, "/dev/zero", O_RDWR);
    const buffer = alloc(PAGE);
    ring.registerBuffers([buffer]);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepReadFixed(source, buffer, PAGE, 0, 0)),
      PAGE,
    );
    assert.ok(new Set(buffer.bytes).size > 100, "these bytes are not random");
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepWriteFixed(sink, buffer, PAGE, 0, 0)),
      PAGE,
    );
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/fixed-seg

for (const start of [0, 512, 3584]) {
  conformance(
    "liburing/fixed-seg",
    `blocks of a disk are read anywhere into a buffer registered from byte ${start} on`,
    (bench) => {
      const ring = bench.ring();
      const size = 512 * 1024;
      const memory = alloc(size + PAGE);
      const { fd, content } = randomFile(bench, size, O_DIRECT);
      const registered = memory.slice(start, size);
      ring.registerBuffers([registered]);
      const read = (target: Pinned, length: number, offset: number) => {
        memory.bytes.fill(0);
        assert.equal(
          bench.run(ring, (sqe) => sqe.prepReadFixed(fd, target, length, offset, 0)),
          length,
        );
        assert.deepEqual(target.bytes.slice(0, length), content.slice(offset, offset + length));
      };
      read(registered, PAGE, 0);
      // From there, and from the start of a page.
      for (const base of [registered, memory]) {
        read(base.slice(PAGE), 2 * PAGE, 0);
        read(base.slice(PAGE), PAGE, 8 * PAGE);
      }
      read(registered, size, 0);
    },
    everywhere,
  );
}

// ------------------------------------------------------------------------------------------------ liburing/regbuf-clone

/** A ring with 64 registered buffers, one without, and a file to read. */
class Clones {
  readonly source: Ring;
  readonly target: Ring;
  readonly buffers: Pinned[] = buffersOf(64, 8192);
  readonly #bench: Bench;
  readonly #fd: number;
  readonly #content: Uint8Array;

  constructor(bench: Bench) {
    this.#bench = bench;
    this.source = bench.ring();
    this.target = bench.ring();
    this.source.registerBuffers(this.buffers);
    const { fd, content } = randomFile(bench, 100);
    this.#fd = fd;
    this.#content = content;
  }

  /** Reads 100 bytes on a ring by a slot, into one of the buffers; the result. */
  read(ring: Ring, slot: number, buffer: Pinned): number {
    buffer.bytes.fill(0, 0, 100);
    const result = this.#bench.run(ring, (sqe) => sqe.prepReadFixed(this.#fd, buffer, 100, 0, slot));
    if (result >= 0) assert.deepEqual(buffer.bytes.slice(0, 100), this.#content.slice());
    return result;
  }

  /** Whether a ring's slot is one of the buffers. */
  is(ring: Ring, slot: number, buffer: number): boolean {
    const result = this.read(ring, slot, this.buffers[buffer] as Pinned);
    assert.ok(result === 100 || result === -EFAULT, `read: ${result}`);
    return result === 100;
  }

  /** As `cloneBuffersOffset`, from `source` to `target`; `-errno` where that fails. */
  clone(targetOffset: number, sourceOffset: number, count: number, flags = 0): number {
    return outcome(() =>
      this.target.cloneBuffersOffset(this.source, targetOffset, sourceOffset, count, flags),
    );
  }
}

conformance(
  "liburing/regbuf-clone",
  "a ring without buffers has none to clone",
  (bench) => {
    const [source, target] = [bench.ring(), bench.ring()];
    assert.equal(
      outcome(() => target.cloneBuffers(source)),
      -ENXIO,
    );
    assert.equal(
      outcome(() => target.unregisterBuffers()),
      -ENXIO,
    );
  },
  cloning,
);

conformance(
  "liburing/regbuf-clone",
  "a table is cloned once, and ends without the other",
  (bench) => {
    const clones = new Clones(bench);
    const { source, target } = clones;
    assert.ok(!clones.is(target, 32, 32));
    target.cloneBuffers(source);
    for (const slot of [0, 32, 63]) assert.ok(clones.is(target, slot, slot));
    assert.ok(!clones.is(target, 31, 32));
    assert.equal(
      outcome(() => target.cloneBuffers(source)),
      -EBUSY,
    );
    target.unregisterBuffers();
    assert.ok(!clones.is(target, 32, 32));
    assert.equal(
      outcome(() => target.unregisterBuffers()),
      -ENXIO,
    );
    assert.ok(clones.is(source, 32, 32));
    target.cloneBuffers(source);
    source.unregisterBuffers();
    assert.ok(!clones.is(source, 32, 32));
    assert.ok(clones.is(target, 32, 32));
  },
  cloning,
);

for (const { without, close } of [
  { without: "neither ring", close: () => {} },
  { without: "the source", close: ({ source }: Clones) => source.closeRingFd() },
  { without: "the destination", close: ({ target }: Clones) => target.closeRingFd() },
  {
    without: "both",
    close: ({ source, target }: Clones) => {
      source.closeRingFd();
      target.closeRingFd();
    },
  },
]) {
  conformance(
    "liburing/regbuf-clone",
    `a table goes to another ring and back; only an index has ${without}`,
    (bench) => {
      const clones = new Clones(bench);
      const { source, target } = clones;
      close(clones);
      target.cloneBuffers(source);
      assert.ok(clones.is(target, 32, 32));
      source.unregisterBuffers();
      source.cloneBuffers(target);
      target.unregisterBuffers();
      assert.ok(clones.is(source, 32, 32));
      assert.ok(!clones.is(target, 32, 32));
    },
    cloning,
  );
}

conformance(
  "liburing/regbuf-clone",
  "what is cloned lies within the source's table, and where it goes within what a table can hold",
  (bench) => {
    const clones = new Clones(bench);
    assert.equal(clones.clone(0, 0, 65), -EINVAL);
    assert.equal(clones.clone(0, 1, 64), -EOVERFLOW);
    assert.equal(clones.clone(0, 64, 1), -EOVERFLOW);
    assert.equal(clones.clone(0, 2 ** 32 - 1, 2), -EOVERFLOW);
    assert.equal(clones.clone(2 ** 32 - 1, 0, 64), -EOVERFLOW);
    assert.equal(
      outcome(() => clones.target.unregisterBuffers()),
      -ENXIO,
    );
  },
  cloning,
);

conformance(
  "liburing/regbuf-clone",
  "the upper half of a table becomes a whole one",
  (bench) => {
    const clones = new Clones(bench);
    const { target } = clones;
    assert.equal(clones.clone(0, 32, 32), 0);
    assert.ok(clones.is(target, 0, 32));
    assert.ok(clones.is(target, 31, 63));
    for (const slot of [32, 63]) {
      assert.ok(!clones.is(target, slot, slot));
      assert.ok(!clones.is(target, slot, 63));
    }
  },
  cloning,
);

conformance(
  "liburing/regbuf-clone",
  "a table that is there is changed, and grows, only where that is asked for",
  (bench) => {
    const clones = new Clones(bench);
    const { target } = clones;
    const own = buffersOf(64, 100);
    const isOwn = (slot: number) => clones.read(target, slot, own[slot] as Pinned) === 100;
    target.registerBuffers(own);
    assert.equal(clones.clone(0, 32, 32), -EBUSY);
    assert.equal(clones.clone(0, 0, 0), -EBUSY);
    assert.ok(isOwn(0));
    assert.equal(clones.clone(16, 32, 32, REPLACE), 0);
    assert.ok(isOwn(15) && isOwn(48) && isOwn(63) && !isOwn(16) && !isOwn(47));
    assert.ok(clones.is(target, 16, 32));
    assert.ok(clones.is(target, 47, 63));
    assert.ok(!clones.is(target, 64, 0));
    assert.equal(clones.clone(32, 0, 64, REPLACE), 0);
    assert.ok(isOwn(15) && !isOwn(63));
    assert.ok(clones.is(target, 31, 47));
    assert.ok(clones.is(target, 32, 0));
    assert.ok(clones.is(target, 95, 63));
    assert.ok(!clones.is(target, 96, 63));
  },
  cloning,
);

conformance(
  "liburing/regbuf-clone",
  "buffers that are nothing are cloned, and a ring's table onto itself",
  (bench) => {
    const clones = new Clones(bench);
    const { source, target, buffers } = clones;
    source.unregisterBuffers();
    source.registerBuffers([null, ...buffers.slice(0, 4), null]);
    target.cloneBuffers(source);
    assert.ok(!clones.is(target, 0, 0));
    assert.ok(clones.is(target, 1, 0));
    assert.ok(!clones.is(target, 5, 3));
    target.unregisterBuffers();
    source.unregisterBuffers();
    source.registerBuffers([null, null]);
    target.cloneBuffers(source);
    assert.ok(!clones.is(target, 0, 0));

    target.unregisterBuffers();
    target.registerBuffers(buffers);
    target.cloneBuffersOffset(target, 1, 0, 64, REPLACE);
    assert.ok(clones.is(target, 0, 0));
    assert.ok(clones.is(target, 1, 0));
    assert.ok(clones.is(target, 64, 63));
    assert.ok(!clones.is(target, 65, 63));
  },
  cloning,
);

// ------------------------------------------------------------------------------------------------ liburing/vec-regbuf

const PAGES = 32;
/** In a sparse table of 128. */
const SLOT = 1;

/** A part of the registered buffer: where it starts, how long it is. */
type Segment = readonly [start: number, length: number];

const page = (number: number): Segment => [number * PAGE, PAGE];
const whole: Segment = [0, PAGES * PAGE];

/** Pieces of a message each, in the order they are sent: one ring sees the number of them grow and shrink. */
const shapes: Record<string, readonly (readonly Segment[])[]> = {
  "a page": [[page(0)], [page(PAGES - 1)]],
  "three bytes": [[[0, 3]], [[PAGE * PAGES - 3, 3]]],
  "the end of a page and the start of the next": [[[PAGE - 10, 20]], [[2 * PAGE - 1, 2]]],
  "twelve pages and some": [[[5, 12 * PAGE + 33]]],
  "all of it three times": [[whole, whole, whole]],
  "unaligned pieces": [
    [
      [1, PAGE],
      [3 * PAGE + 7, 2 * PAGE - 9],
      [PAGE - 1, 1],
    ],
  ],
  "six pieces, whose order is not the buffer's": [
    [page(9), [17, 100], [7 * PAGE - 3, 3 * PAGE], [0, 1], [PAGES * PAGE - 1, 1], page(9)],
  ],
  "one to six pieces and back to one": [1, 2, 6, 3, 4, 5, 1, 6, 1].map((count) =>
    Array.from({ length: count }, (_, i): Segment => [(3 * i + 1) * PAGE - 5 * i, 1000 * (i + 1)]),
  ),
};

/** Memory of which all but the first and the last page is registered in the slot. */
function registered(ring: Ring): { readonly memory: Pinned; readonly buffer: Pinned } {
  const memory = random((PAGES + 2) * PAGE);
  const buffer = memory.slice(PAGE, PAGES * PAGE);
  ring.registerBuffersSparse(128);
  assert.equal(ring.registerBuffersUpdateTag(SLOT, [buffer]), 1);
  return { memory, buffer };
}

function segmentsOf(buffer: Pinned, segments: readonly Segment[]): Pinned[] {
  return segments.map(([start, length]) => buffer.slice(start, length));
}

function lengthOf(segments: readonly Segment[]): number {
  return segments.reduce((sum, [, length]) => sum + length, 0);
}

/** An array of iovecs with addresses that no class of the library's would take. */
function wildIovecs(pieces: readonly (readonly [address: number, length: number])[]): Pinned {
  const memory = alloc(pieces.length * iovec.sizeof);
  const view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset, memory.byteLength);
  for (const [i, [address, length]] of pieces.entries()) {
    view.setBigUint64(i * iovec.sizeof + iovec.iov_base, BigInt(address), true);
    view.setBigUint64(i * iovec.sizeof + iovec.iov_len, BigInt(length), true);
  }
  return memory;
}

/** A message of such iovecs. */
function wildMessage(iovecs: Pinned): Pinned {
  const memory = alloc(msghdr.sizeof);
  const view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset, memory.byteLength);
  view.setBigUint64(msghdr.msg_iov, BigInt(iovecs.address), true);
  view.setBigUint64(msghdr.msg_iovlen, BigInt(iovecs.byteLength / iovec.sizeof), true);
  return memory;
}

/** The result of an operation that sends nothing, which may have a notification all the same. */
function failed(ring: Ring): number {
  const [[, res, flags], ...notifications] = untilEnded(ring, 1) as [Brief, ...Brief[]];
  assert.deepEqual(notifications, flags === MORE ? [[0, 0, NOTIF]] : []);
  return res;
}

/** How pieces of a registered buffer are sent. */
interface Sender {
  readonly name: string;
  readonly notified: boolean;
  fill(sqe: Sqe, fd: number, pieces: Pinned[]): Sqe;
  fillWild(sqe: Sqe, fd: number, iovecs: Pinned, count: number): Sqe;
}

const senders: Sender[] = [
  {
    name: "a write",
    notified: false,
    fill: (sqe, fd, pieces) => sqe.prepWritevFixed(fd, new Iovecs(pieces), pieces.length, 0, 0, SLOT),
    fillWild: (sqe, fd, iovecs, count) => sqe.prepWritevFixed(fd, iovecs.address, count, 0, 0, SLOT),
  },
  {
    name: "a zero-copy message",
    notified: true,
    fill: (sqe, fd, pieces) => sqe.prepSendmsgZcFixed(fd, new Msghdr({ iov: pieces }), 0, SLOT),
    fillWild: (sqe, fd, iovecs) => sqe.prepSendmsgZcFixed(fd, wildMessage(iovecs).address, 0, SLOT),
  },
];

for (const { name, notified, fill, fillWild } of senders) {
  for (const async of [false, true]) {
    const how = `${name}${async ? ", asynchronous" : ""}`;
    for (const [shape, messages] of Object.entries(shapes)) {
      conformance(
        "liburing/vec-regbuf",
        `${how} of ${shape} arrives`,
        (bench) => {
          const ring = bench.ring();
          const network = new Network(bench);
          const [client, server] = network.streamPair();
          const { buffer } = registered(ring);
          for (const segments of messages) {
            const pieces = segmentsOf(buffer, segments);
            const length = lengthOf(segments);
            fill(entry(ring), client, pieces)
              .addFlags(async ? IOSQE_ASYNC : 0)
              .setData64(1);
            submitAll(ring, 1);
            using target = alloc(length);
            assert.equal(
              network.run((sqe) => sqe.prepRecv(server, target, length, MSG_WAITALL)),
              length,
            );
            const expected = Buffer.concat(pieces.map(({ bytes }) => bytes));
            assert.equal(Buffer.compare(target.bytes, expected), 0);
            const found = brief(bench.collect(ring, notified ? 2 : 1));
            assert.deepEqual(
              found,
              notified
                ? [
                    [1, length, MORE],
                    [1, 0, NOTIF],
                  ]
                : [[1, length, 0]],
            );
          }
        },
        // Workers are the same for every kind of ring, but for how their completions come by.
        async ? { ...vectors, rings: ["default", "defer", "sqpoll"] } : vectors,
      );
    }
  }

  conformance(
    "liburing/vec-regbuf",
    `${name} of eight times nothing sends nothing`,
    (bench) => {
      const ring = bench.ring();
      const [client] = new Network(bench).streamPair();
      const { buffer } = registered(ring);
      const pieces = Array.from({ length: 8 }, () => buffer.slice(0, 0));
      fill(entry(ring), client, pieces);
      const result = failed(ring);
      assert.ok(result <= 0, `result ${result}`);
    },
    vectors,
  );

  conformance(
    "liburing/vec-regbuf",
    `${name} of what is not in the buffer is refused`,
    (bench) => {
      const ring = bench.ring();
      const [client] = new Network(bench).streamPair();
      const { memory, buffer } = registered(ring);
      const outside: Pinned[] = [
        memory.slice(PAGE - 1, 100),
        memory.slice(PAGE - 1, 1),
        memory.slice((PAGES + 1) * PAGE - 99, 100),
        memory.slice((PAGES + 1) * PAGE, 1),
      ];
      for (const piece of outside) {
        for (const pieces of [[piece], [buffer.slice(0, 10), piece]]) {
          fill(entry(ring), client, pieces);
          assert.equal(failed(ring), -EFAULT);
        }
      }
      for (const address of [0, 0x1000_0000_0000 + 5, buffer.address + 2 ** 45]) {
        const iovecs = wildIovecs([
          [buffer.address, 10],
          [address, 100],
        ]);
        fillWild(entry(ring), client, iovecs, 2);
        const result = failed(ring);
        assert.ok(result < 0, `address ${address}: ${result}`);
      }
    },
    vectors,
  );
}

for (const start of [0, 1]) {
  for (const lengths of [[10_000], [5000, 3, 8192]]) {
    const pieces = lengths.length === 1 ? "a piece" : `${lengths.length} pieces`;
    conformance(
      "liburing/vec-regbuf",
      `a file is read into ${pieces} of the buffer, from byte ${start} on`,
      (bench) => {
        const ring = bench.ring();
        const { memory, buffer } = registered(ring);
        const total = lengths.reduce((sum, length) => sum + length);
        const { fd, content } = randomFile(bench, total + 100);
        memory.bytes.fill(0);
        let at = start;
        const targets = lengths.map((length) => {
          const target = buffer.slice(at, length);
          at += length + PAGE;
          return target;
        });
        assert.equal(
          bench.run(ring, (sqe) => sqe.prepReadvFixed(fd, new Iovecs(targets), targets.length, 100, 0, SLOT)),
          total,
        );
        assert.deepEqual(Buffer.concat(targets.map(({ bytes }) => bytes)), Buffer.from(content.slice(100)));
        // Nothing else is written.
        for (const { bytes } of targets) bytes.fill(0);
        assert.ok(memory.bytes.every((byte) => byte === 0));
      },
      vectors,
    );
  }
}

conformance(
  "liburing/vec-regbuf",
  "a file is not read into what is not in the buffer",
  (bench) => {
    const ring = bench.ring();
    const { memory, buffer } = registered(ring);
    const { fd } = randomFile(bench, 100);
    for (const piece of [memory.slice(PAGE - 1, 10), memory.slice((PAGES + 1) * PAGE - 9, 10)]) {
      assert.equal(
        bench.run(ring, (sqe) =>
          sqe.prepReadvFixed(fd, new Iovecs([buffer.slice(0, 10), piece]), 2, 0, 0, SLOT),
        ),
        -EFAULT,
      );
    }
  },
  vectors,
);

// ------------------------------------------------------------------------------------------------ tokio/fs/test_pipe_fixed_writev_readv

conformance(
  "tokio/fs/test_pipe_fixed_writev_readv",
  "two pieces of one buffer go through a pipe into two of another",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    const [from, to] = [counting(80), alloc(80)];
    ring.registerBuffers([from, to]);
    assert.equal(
      bench.run(ring, (sqe) =>
        sqe.prepWritevFixed(ends.write, new Iovecs([from.slice(0, 44), from.slice(44)]), 2, 0, 0, 0),
      ),
      80,
    );
    assert.equal(
      bench.run(ring, (sqe) =>
        sqe.prepReadvFixed(ends.read, new Iovecs([to.slice(0, 36), to.slice(36)]), 2, 0, 0, 1),
      ),
      80,
    );
    assert.deepEqual(to.bytes, from.bytes);
  },
  vectors,
);

// ------------------------------------------------------------------------------------------------ tokio/register_buffers/test_register_buffers_clone

conformance(
  "tokio/register_buffers/test_register_buffers_clone",
  "a cloned buffer is written and read on its new ring",
  (bench) => {
    const [source, target] = [bench.ring(), bench.ring()];
    const { fd } = randomFile(bench, 0);
    const buffer = random(PAGE);
    const data = buffer.bytes.slice();
    source.registerBuffers([buffer]);
    const result = outcome(() => target.cloneBuffers(source));
    if (!kernelFrom(6, 12)) {
      assert.equal(result, -EINVAL);
      return;
    }
    assert.equal(result, 0);
    assert.equal(
      bench.run(target, (sqe) => sqe.prepWriteFixed(fd, buffer, PAGE, 0, 0)),
      PAGE,
    );
    buffer.bytes.fill(0);
    assert.equal(
      bench.run(target, (sqe) => sqe.prepReadFixed(fd, buffer, PAGE, 0, 0)),
      PAGE,
    );
    assert.deepEqual(buffer.bytes.slice(), data);
    source.unregisterBuffers();
    target.unregisterBuffers();
  },
  everywhere,
);
