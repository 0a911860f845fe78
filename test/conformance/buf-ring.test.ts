import assert from "node:assert/strict";
import { constants } from "node:os";
import {
  alloc,
  type BufferRing,
  type BufferRingOptions,
  decodeRecvmsg,
  Msghdr,
  type Pinned,
  Ring,
  type Sqe,
  UringError,
} from "uring";
import {
  IORING_CQE_BUFFER_SHIFT,
  IORING_CQE_F_BUF_MORE,
  IORING_CQE_F_BUFFER,
  IORING_CQE_F_MORE,
  IORING_CQE_F_SOCK_NONEMPTY,
  IORING_FEAT_RECVSEND_BUNDLE,
  IORING_OFF_PBUF_RING,
  IORING_OFF_PBUF_SHIFT,
  IORING_RECV_MULTISHOT,
  IORING_RECVSEND_BUNDLE,
  IORING_SETUP_COOP_TASKRUN,
  IORING_SETUP_NO_MMAP,
  IOSQE_ASYNC,
  IOSQE_IO_LINK,
  IOU_PBUF_RING_INC,
  IOU_PBUF_RING_MMAP,
  io_uring_buf,
  MSG_DONTWAIT,
  MSG_WAITALL,
  O_DIRECT,
  SHUT_WR,
  SO_RCVBUF,
  SO_SNDBUF,
  SOL_SOCKET,
  sockaddr_in,
} from "uring/abi";
import { pipe } from "../support/harness.ts";
import { shim } from "../support/runtime.ts";
import { type Brief, brief, entry, submitted } from "./completions.ts";
import { randomFile } from "./content.ts";
import { textOf, write } from "./descriptors.ts";
import { PATIENCE_MS } from "./durations.ts";
import { outcome } from "./outcome.ts";
import { counting, Network } from "./sockets.ts";
import { allRings, type Bench, conformance } from "./support.ts";

const { EAGAIN, EEXIST, EINVAL, ENOBUFS, ENOENT } = constants.errno;
const BUFFER = IORING_CQE_F_BUFFER;
const BUF_MORE = IORING_CQE_F_BUF_MORE;
const MORE = IORING_CQE_F_MORE;
const NONEMPTY = IORING_CQE_F_SOCK_NONEMPTY;
const INC = IOU_PBUF_RING_INC;
const MMAP = IOU_PBUF_RING_MMAP;

/** The flags of a completion that names a buffer. */
function picked(id: number, flags = 0): number {
  return BUFFER | flags | (id << IORING_CQE_BUFFER_SHIFT);
}

/** Why there are no such buffer rings here; `false` where there are. */
function lackingRings(options: Partial<BufferRingOptions>): string | false {
  using ring = new Ring({ entries: 1 });
  try {
    ring.setupBufRing({ group: 1, entries: 1, bufferSize: 64, ...options });
    return false;
  } catch (error) {
    if (!(error instanceof UringError && error.code === "EINVAL")) throw error;
    return `this kernel has no buffer rings with ${JSON.stringify(options)}`;
  }
}

/** Why there are no bundles here; `false` where there are. */
function lackingBundles(): string | false {
  using ring = new Ring({ entries: 1 });
  return (ring.features & IORING_FEAT_RECVSEND_BUNDLE) === 0 ? "bundles came with Linux 6.10" : false;
}

const plain = { rings: allRings, skip: lackingRings({}) };
const mapped = { skip: lackingRings({ flags: MMAP }) };
const incremental = { rings: allRings, skip: lackingRings({ flags: INC }) };
const bundles = { rings: allRings, skip: lackingBundles() };

/** Submits and takes completions, one after the other, until nothing more is to come; after each batch something else. */
function pump(ring: Ring, done: () => boolean, each: (...completion: Brief) => void, then = () => {}): void {
  const end = performance.now() + PATIENCE_MS;
  while (!done()) {
    assert.ok(performance.now() < end, "completions are missing");
    ring.submitAndWait(1, { timeout: 100 });
    ring.drain(each);
    then();
  }
}

/** The operations under way on a ring: each has a name of its own, so that what comes after its end is noticed. */
class Running {
  static readonly #LABELS = 16;
  readonly #names = new Set<number>();
  #last = 0;

  get count(): number {
    return this.#names.size;
  }

  /** Names an operation; `label`, up to 15, comes back with its completions. */
  start(sqe: Sqe, label = 0): Sqe {
    const name = ++this.#last * Running.#LABELS + label;
    this.#names.add(name);
    return sqe.setData64(name);
  }

  /** Makes sure that a completion is of an operation that is to have one; its label. */
  take(name: number, flags: number): number {
    assert.ok(this.#names.has(name), `a completion of ${name}, which is not under way`);
    if ((flags & MORE) === 0) this.#names.delete(name);
    return name % Running.#LABELS;
  }
}

// ------------------------------------------------------------------------------------------------ liburing/buf-ring-mshot

const MESSAGE = 128;

/** The bytes of a stream: each tells which one it is of, and where it is. */
function streamBytes(stream: number, length: number): Pinned {
  const memory = alloc(length);
  for (let i = 0; i < length; i++) memory.bytes[i] = 61 * stream + (i % 61);
  return memory;
}

/** Sends so many messages on each stream, all at the same time, by worker threads; then the stream's end. */
class Senders {
  readonly #ring = new Ring({ entries: 512 });
  readonly #counts: readonly number[];

  constructor(bench: Bench, fds: readonly number[], data: readonly Pinned[], counts: readonly number[]) {
    bench.defer(() => assert.deepEqual(this.#ring.close({ deadline: PATIENCE_MS }), { leaked: 0 }));
    this.#counts = counts;
    for (const [stream, fd] of fds.entries()) {
      for (let i = 0; i < (counts[stream] as number); i++) {
        entry(this.#ring)
          .prepSend(fd, (data[stream] as Pinned).slice(i * MESSAGE, MESSAGE), MESSAGE, MSG_WAITALL)
          .setFlags(IOSQE_ASYNC | IOSQE_IO_LINK);
      }
      entry(this.#ring).prepShutdown(fd, SHUT_WR).setFlags(IOSQE_ASYNC);
    }
    this.#ring.submit();
  }

  /** Makes sure that all has been sent. */
  end(): void {
    const results: number[] = [];
    const messages = this.#counts.reduce((sum, count) => sum + count);
    pump(
      this.#ring,
      () => results.length === messages + this.#counts.length,
      (_, res) => results.push(res),
    );
    assert.equal(results.filter((res) => res === MESSAGE).length, messages);
    assert.equal(results.filter((res) => res === 0).length, this.#counts.length);
  }
}

for (const { what, buffers, counts, late } of [
  { what: "as much on each", buffers: 32, counts: [32, 32, 32, 32], late: false },
  { what: "more than fits into its buffers", buffers: 8, counts: [64, 64, 64, 64], late: true },
  { what: "most on one", buffers: 32, counts: [8, 128, 8, 8], late: false },
]) {
  conformance(
    "liburing/buf-ring-mshot",
    `four streams share buffers, each byte arrives once and in order: ${what}`,
    (bench) => {
      const ring = bench.ring({ cqEntries: 128 });
      const network = new Network(bench);
      const pool = ring.setupBufRing({ group: 7, entries: buffers, bufferSize: 256 });
      const pairs = counts.map(() => network.streamPair());
      const data = counts.map((count, stream) => streamBytes(stream, count * MESSAGE));
      const received = counts.map(() => 0);
      const unarmed = new Set(counts.keys());
      const kept: number[] = [];
      const running = new Running();
      let ended = 0;
      let empty = 0;
      const arm = () => {
        for (const stream of unarmed) {
          const [, server] = pairs[stream] as [number, number];
          running.start(entry(ring).prepRecvMultishot(server, 0, 0, 0).setBufferGroup(pool.group), stream);
        }
        unarmed.clear();
      };
      arm();
      ring.submit();
      const senders = new Senders(
        bench,
        pairs.map(([client]) => client),
        data,
        counts,
      );
      pump(
        ring,
        () => ended === counts.length,
        (name, res, flags) => {
          const stream = running.take(name, flags);
          const start = received[stream] as number;
          const expected = data[stream]?.bytes as Uint8Array;
          if (res > 0) {
            const id = flags >>> IORING_CQE_BUFFER_SHIFT;
            assert.equal(flags & ~(MORE | NONEMPTY), picked(id));
            assert.ok(id < buffers);
            assert.deepEqual(pool.bytes(flags, res), expected.subarray(start, start + res));
            received[stream] = start + res;
            // Kept for as long as possible, or given back at once.
            if (late) kept.push(id);
            else pool.recycle(id);
          } else {
            assert.equal(flags & ~NONEMPTY, 0);
            if (res === 0) {
              assert.equal(start, expected.length);
              ended++;
              return;
            }
            assert.equal(res, -ENOBUFS);
            empty++;
            for (const id of kept.splice(0)) pool.recycle(id);
          }
          if ((flags & MORE) === 0) unarmed.add(stream);
        },
        arm,
      );
      senders.end();
      if (late) assert.ok(empty > 0, "the buffers were always enough");
      assert.equal(pool.available() + kept.length, buffers);
    },
    plain,
  );
}

// ------------------------------------------------------------------------------------------------ liburing/buf-ring-nommap

conformance(
  "liburing/buf-ring-nommap",
  "a ring in the program's own memory has a buffer ring in the kernel's",
  (bench) => {
    const ring = bench.ring();
    assert.notEqual(ring.params.flags & IORING_SETUP_NO_MMAP, 0);
    using ends = pipe();
    const pool = ring.setupBufRing({ group: 5, entries: 1, bufferSize: 32, firstId: 89, flags: MMAP });
    assert.equal(write(ends.write, "bytes"), 5);
    entry(ring).prepRead(ends.read, 0, 5, 0).setBufferGroup(5);
    const { res, flags } = bench.one(ring);
    assert.deepEqual([res, flags], [5, picked(89)]);
    assert.equal(Buffer.from(pool.bytes(flags, res)).toString(), "bytes");
  },
  // "mapped" is the kind of ring whose memory is the kernel's.
  { ...mapped, rings: allRings.filter((type) => type !== "mapped") },
);

// ------------------------------------------------------------------------------------------------ liburing/buf-ring-put

conformance(
  "liburing/buf-ring-put",
  "mappings of ten buffer rings stay what they are once these are unregistered",
  (bench) => {
    const ring = bench.ring();
    const entries = 512;
    const length = entries * io_uring_buf.sizeof;
    const groups = Array.from({ length: 10 }, (_, i) => 60 + i);
    const mappings = groups.map((group) => {
      ring.registerBufRing({ address: 0, entries, group, flags: MMAP });
      const address = shim().map(ring.fd, length, IORING_OFF_PBUF_RING + group * 2 ** IORING_OFF_PBUF_SHIFT);
      assert.ok(address > 0, `mmap: ${address}`);
      return { address, bytes: new Uint8Array(shim().view(address, length)) };
    });
    for (const group of groups) ring.unregisterBufRing(group);
    for (let round = 0; round < 1000; round++) {
      for (const { bytes } of mappings) bytes.fill(round);
    }
    for (const { bytes, address } of mappings) {
      assert.ok(bytes.every((byte) => byte === 999 % 256));
      bytes.buffer.transfer(0);
      assert.equal(shim().unmap(address, length), 0);
    }
  },
  { ...mapped, rings: allRings },
);

// ------------------------------------------------------------------------------------------------ liburing/read-inc-buf-more

conformance(
  "liburing/read-inc-buf-more",
  "a read of a pipe leaves what it does not use of a buffer, and at the end all of it",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    const pool = ring.setupBufRing({ group: 1, entries: 1, bufferSize: 256, flags: INC });
    const read = () => {
      entry(ring).prepRead(ends.read, 0, 32, -1).setBufferGroup(1);
      return bench.one(ring);
    };
    assert.equal(write(ends.write, "twelve bytes"), 12);
    const { res, flags } = read();
    assert.deepEqual([res, flags], [12, picked(0, BUF_MORE)]);
    assert.equal(Buffer.from(pool.bytes(flags, res)).toString(), "twelve bytes");
    ends.close(ends.write);
    assert.deepEqual(read(), { userData: 0, res: 0, flags: picked(0, BUF_MORE) });
  },
  incremental,
);

conformance(
  "liburing/read-inc-buf-more",
  "reads of a file leave the rest of a buffer",
  (bench) => {
    const ring = bench.ring();
    const { fd, content } = randomFile(bench, 128);
    const pool = ring.setupBufRing({ group: 1, entries: 1, bufferSize: 256, flags: INC });
    for (let i = 0; i < 4; i++) {
      entry(ring).prepRead(fd, 0, 32, -1).setBufferGroup(1);
      const { res, flags } = bench.one(ring);
      assert.deepEqual([res, flags], [32, picked(0, BUF_MORE)]);
      assert.deepEqual(pool.bytes(flags, res).slice(), content.slice(32 * i, 32 * i + 32));
    }
    assert.deepEqual(pool.get(0, 128).slice(), content.slice());
  },
  incremental,
);

// ------------------------------------------------------------------------------------------------ liburing/read-inc-file

conformance(
  "liburing/read-inc-file",
  "reads of a file fill a buffer without gaps",
  (bench) => {
    const ring = bench.ring();
    const { fd, content } = randomFile(bench, 400);
    const pool = ring.setupBufRing({ group: 3, entries: 1, bufferSize: 65_536, firstId: 8, flags: INC });
    for (const offset of [0, 80, 160, 240]) {
      entry(ring).prepRead(fd, 0, 80, offset).setBufferGroup(3);
      const { res, flags } = bench.one(ring);
      assert.deepEqual([res, flags], [80, picked(8, BUF_MORE)]);
      const bytes = pool.bytes(flags, res);
      assert.equal(bytes.byteOffset, pool.get(8).byteOffset + offset);
      assert.deepEqual(bytes.slice(), content.slice(offset, offset + 80));
    }
    assert.deepEqual(pool.get(8, 320).slice(), content.slice(0, 320));
    assert.ok(
      pool
        .get(8)
        .subarray(320)
        .every((byte) => byte === 0),
    );
  },
  incremental,
);

// ------------------------------------------------------------------------------------------------ liburing/recv-bundle-short-ooo

for (const { kind, flags: setup, rings } of [
  { kind: "", flags: 0, rings: allRings },
  { kind: ", on a ring without interrupts", flags: IORING_SETUP_COOP_TASKRUN, rings: ["default"] },
] as const) {
  conformance(
    "liburing/recv-bundle-short-ooo",
    `four receives at once of bundles take a stream of 1 MiB in order${kind}`,
    (bench) => {
      const ring = bench.ring({ flags: setup, cqEntries: 128 });
      const network = new Network(bench);
      const [client, server] = network.streamPair();
      const total = 1 << 20;
      const data = alloc(total);
      for (let i = 0; i < total; i++) data.bytes[i] = i;
      const pool = ring.setupBufRing({ group: 2, entries: 4, bufferSize: 1024 });
      const running = new Running();
      const arm = () =>
        running.start(
          entry(ring)
            .prepRecvMultishot(server, 0, 0, 0)
            .setIoprio(IORING_RECV_MULTISHOT | IORING_RECVSEND_BUNDLE)
            .setBufferGroup(2),
        );
      for (let i = 0; i < 4; i++) arm();
      ring.submit();
      const sender = new Ring({ entries: 1 });
      bench.defer(() => assert.deepEqual(sender.close({ deadline: PATIENCE_MS }), { leaked: 0 }));
      entry(sender).prepSend(client, data, total, MSG_WAITALL).setFlags(IOSQE_ASYNC).setData64(9);
      sender.submit();
      let received = 0;
      pump(
        ring,
        () => received === total,
        (name, res, flags) => {
          running.take(name, flags);
          if (res > 0) {
            const first = flags >>> IORING_CQE_BUFFER_SHIFT;
            assert.equal(flags & ~(MORE | NONEMPTY), picked(first));
            for (const [i, { id, bytes, done }] of pool.pieces(flags, res).entries()) {
              assert.deepEqual([id, done], [(first + i) % 4, true]);
              assert.equal(Buffer.compare(bytes, data.bytes.subarray(received, received + bytes.length)), 0);
              received += bytes.length;
              pool.recycle(id);
            }
          } else {
            assert.deepEqual([res, flags & ~NONEMPTY], [-ENOBUFS, 0]);
          }
          if ((flags & MORE) === 0) arm();
        },
      );
      assert.deepEqual(brief(bench.collect(sender, 1)), [[9, total, 0]]);
    },
    { ...bundles, rings },
  );
}

// ------------------------------------------------------------------------------------------------ liburing/recvmsg-inc-tail

conformance(
  "liburing/recvmsg-inc-tail",
  "what is left of a buffer and too small for a message is no longer used",
  (bench) => {
    const ring = bench.ring();
    const network = new Network(bench);
    const [sender, { fd }] = network.datagramPair();
    const pool = ring.setupBufRing({ group: 4, entries: 4, bufferSize: 1024, flags: INC, minLeft: 32 });
    const message = new Msghdr({ nameLength: sockaddr_in.sizeof });
    entry(ring).prepRecvmsgMultishot(fd, message, 0).setBufferGroup(4).setData64(1);
    ring.submit();
    submitted(ring);
    const ids: number[] = [];
    for (const [i, size] of [480, 480, ...Array<number>(7).fill(305)].entries()) {
      const data = counting(size, i);
      network.send(sender, data, size);
      const [completion] = brief(bench.collect(ring, 1)) as [Brief];
      const [userData, res, flags] = completion;
      assert.deepEqual([userData, res], [1, 32 + size]);
      assert.notEqual(flags & MORE, 0);
      const { name, payload } = decodeRecvmsg(pool.bytes(flags, res), message, res);
      assert.equal(name?.family, "ipv4");
      assert.deepEqual(payload, data.bytes);
      ids.push(flags >>> IORING_CQE_BUFFER_SHIFT);
    }
    assert.deepEqual(ids, [0, 0, 1, 1, 1, 2, 2, 2, 3]);
    bench.quiet(ring, 10);
  },
  { rings: allRings, skip: lackingRings({ flags: INC, minLeft: 32 }) },
);

// ------------------------------------------------------------------------------------------------ liburing/recvsend_bundle*

/** How messages of 128 bytes go from the buffers of one group into those of another. */
interface Exchange {
  readonly protocol: "TCP" | "UDP";
  readonly messages: number;
  /** How much room the sender's socket has. */
  readonly socket: "empty" | "almost full" | "full";
  /** Whether buffers are in rings, or are provided one by one. */
  readonly buffers: "ring" | "provided";
  /** Whether all are received into one large buffer. */
  readonly incremental: boolean;
  /** Whether one operation sends, or receives, as many buffers as it can. */
  readonly sendBundle: boolean;
  readonly receiveBundle: boolean;
  readonly multishot: boolean;
}

const SENT = 1;
const RECEIVED = 2;

/** What takes what completions bring: the bytes, and the ids of their buffers. */
type Take = (flags: number, res: number) => { bytes: Uint8Array; ids: number[] };

/** Gives a ring `count` buffers of 128 bytes in a group; what takes them back. */
function provide(bench: Bench, ring: Ring, way: Exchange["buffers"], memory: Pinned, group: number): Take {
  const count = memory.byteLength / MESSAGE;
  if (way === "provided") {
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepProvideBuffers(memory, MESSAGE, count, group, 0)),
      0,
    );
    return (flags, res) => {
      const first = flags >>> IORING_CQE_BUFFER_SHIFT;
      const ids = Array.from({ length: Math.ceil(res / MESSAGE) }, (_, i) => first + i);
      return { bytes: memory.slice(first * MESSAGE, res).bytes, ids };
    };
  }
  const buffers = Array.from({ length: count }, (_, i) => memory.slice(i * MESSAGE, MESSAGE));
  return takeFrom(ring.setupBufRing({ group, entries: 2 ** Math.ceil(Math.log2(count)), buffers }));
}

function takeFrom(pool: BufferRing): Take {
  return (flags, res) => {
    const pieces = pool.pieces(flags, res);
    return { bytes: Buffer.concat(pieces.map(({ bytes }) => bytes)), ids: pieces.map(({ id }) => id) };
  };
}

/** 64-bit numbers that count up. */
function sequence(length: number): Pinned {
  const memory = alloc(length);
  const view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset, length);
  for (let i = 0; i < length; i += 8) view.setBigUint64(i, BigInt(i / 8), true);
  return memory;
}

/** A pair of stream sockets that hold little. */
function smallPair(network: Network): [client: number, server: number] {
  const [client, server] = network.streamPair();
  network.setOption(client, SOL_SOCKET, SO_SNDBUF, 32_768);
  network.setOption(server, SOL_SOCKET, SO_RCVBUF, 32_768);
  return [client, server];
}

/** Sends until a socket takes no more, or has taken so many bytes; how many it has. */
function fill(network: Network, fd: number, most = Number.POSITIVE_INFINITY): number {
  using block = alloc(4096);
  for (let sent = 0; ; ) {
    const length = Math.min(block.byteLength, most - sent);
    if (length === 0) return sent;
    const result = network.run((sqe) => sqe.prepSend(fd, block, length, MSG_DONTWAIT));
    if (result === -EAGAIN) return sent;
    assert.ok(result > 0, `send: ${result}`);
    sent += result;
  }
}

/** Fills a socket as an exchange wants it; how many bytes are on the way. */
function prepare(network: Network, fd: number, { socket, messages }: Exchange): number {
  if (socket === "empty") return 0;
  if (socket === "full") return fill(network, fd);
  const [other] = smallPair(network);
  const room = fill(network, other);
  return fill(network, fd, room - (messages * MESSAGE) / 2);
}

/** Sends and receives, and makes sure of every completion and byte. */
function exchange(
  bench: Bench,
  network: Network,
  rings: { sender: Ring; receiver: Ring },
  way: Exchange,
): void {
  const { sender, receiver } = rings;
  const total = way.messages * MESSAGE;
  const data = sequence(total);
  let [client, server] = [0, 0];
  if (way.protocol === "TCP") [client, server] = smallPair(network);
  else {
    const [from, { fd }] = network.datagramPair();
    [client, server] = [from, fd];
  }
  const filling = prepare(network, client, way);

  const sentFrom = provide(bench, sender, way.buffers, data, SENT);
  const sending = new Running();
  const send = () => {
    if (way.sendBundle) {
      sending.start(entry(sender).prepSendBundle(client, 0, 0).setBufferGroup(SENT));
      return;
    }
    for (let i = 0; i < way.messages; i++) {
      const link = i < way.messages - 1 ? IOSQE_IO_LINK : 0;
      sending.start(
        entry(sender).prepSend(client, 0, MESSAGE, MSG_WAITALL).setBufferGroup(SENT).addFlags(link),
      );
    }
  };
  send();
  sender.submit();
  if (filling > 0) {
    using rest = alloc(filling);
    assert.equal(
      network.run((sqe) => sqe.prepRecv(server, rest, filling, MSG_WAITALL)),
      filling,
    );
  }

  // As many as there are pieces at worst, so that none need be given back.
  const take = way.incremental
    ? takeFrom(receiver.setupBufRing({ group: RECEIVED, entries: 1, bufferSize: 1 << 20, flags: INC }))
    : provide(bench, receiver, way.buffers, alloc(128 * MESSAGE), RECEIVED);
  // Without a length the first receive of a bundle has one buffer, and a datagram is cut to that.
  const most = way.protocol === "UDP" && way.receiveBundle ? total : 0;
  const receiving = new Running();
  const receive = () =>
    receiving.start(
      entry(receiver)
        .prepRecv(server, 0, most, 0)
        .setIoprio(
          (way.receiveBundle ? IORING_RECVSEND_BUNDLE : 0) | (way.multishot ? IORING_RECV_MULTISHOT : 0),
        )
        .setBufferGroup(RECEIVED),
    );
  receive();

  let [sent, received, next] = [0, 0, 0];
  pump(
    receiver,
    () => sent === total && received === total,
    (name, res, flags) => {
      receiving.take(name, flags);
      assert.ok(res > 0, `receive: ${res}`);
      const { bytes, ids } = take(flags, res);
      assert.equal(Buffer.compare(bytes, data.bytes.subarray(received, received + res)), 0);
      received += res;
      if (way.incremental) {
        assert.equal(flags & ~(MORE | NONEMPTY), picked(0, BUF_MORE));
        assert.deepEqual(ids, [0]);
      } else {
        assert.equal(flags & ~(MORE | NONEMPTY), picked(next));
        const count = Math.ceil(res / MESSAGE);
        assert.ok(count === 1 || way.receiveBundle, `${res} bytes without a bundle`);
        assert.deepEqual(
          ids,
          Array.from({ length: count }, (_, i) => next + i),
        );
        next += count;
      }
      if ((flags & MORE) === 0 && received < total) receive();
    },
    () => {
      sender.submit();
      sender.getEvents();
      sender.drain((name, res, flags) => {
        sending.take(name, flags);
        assert.ok(res > 0, `send: ${res}`);
        assert.equal(flags & ~MORE & 0xffff, BUFFER);
        assert.ok(way.sendBundle || res === MESSAGE);
        const { bytes } = sentFrom(flags, res);
        assert.equal(Buffer.compare(bytes, data.bytes.subarray(sent, sent + res)), 0);
        sent += res;
        if (way.sendBundle && (flags & MORE) === 0 && sent < total) send();
      });
    },
  );
  // One that goes on has said so with each completion. In incremental buffers any may have been the last.
  if (!way.incremental) assert.equal(receiving.count, way.multishot ? 1 : 0);
  network.close(client);
  network.close(server);
}

const either = [false, true];

/** Shows an exchange with every number of messages, on fresh rings each. */
function exchanges(bench: Bench, ways: readonly Omit<Exchange, "messages">[]): void {
  const network = new Network(bench);
  for (const way of ways) {
    for (const messages of [4, 32]) {
      const rings = { sender: bench.ring({ entries: 64 }), receiver: bench.ring({ entries: 64 }) };
      exchange(bench, network, rings, { ...way, messages });
      for (const ring of Object.values(rings))
        assert.deepEqual(ring.close({ deadline: PATIENCE_MS }), { leaked: 0 });
    }
  }
}

const sockets = ["empty", "almost full", "full"] as const;

for (const buffers of ["ring", "provided"] as const) {
  for (const receiveBundle of either) {
    const how = `from ${buffers === "ring" ? "a ring" : "provided buffers"} ${receiveBundle ? "by bundles" : "one at a time"}`;
    for (const socket of sockets) {
      conformance(
        "liburing/recvsend_bundle",
        `a bundle over TCP to a socket that is ${socket} is received ${how}`,
        (bench) => {
          const way = { protocol: "TCP", socket, buffers, receiveBundle } as const;
          exchanges(
            bench,
            either.map((multishot) => ({ ...way, multishot, sendBundle: true, incremental: false })),
          );
        },
        bundles,
      );
    }

    conformance(
      "liburing/recvsend_bundle",
      `${receiveBundle ? "a bundle" : "each buffer"} over UDP is received ${how}`,
      (bench) => {
        // A socket of datagrams is never full: what its peer has no room for is lost. A bundle is one datagram, or
        // without a ring one for each buffer.
        const way = { protocol: "UDP", socket: "empty", buffers, receiveBundle } as const;
        exchanges(
          bench,
          either.map((multishot) => ({ ...way, multishot, sendBundle: receiveBundle, incremental: false })),
        );
      },
      bundles,
    );
  }
}

for (const socket of sockets) {
  for (const sendBundle of either) {
    conformance(
      "liburing/recvsend_bundle-inc",
      `${sendBundle ? "a bundle" : "single sends"} to a socket that is ${socket} follow on each other in one buffer`,
      (bench) => {
        const way = { protocol: "TCP", socket, buffers: "ring", sendBundle } as const;
        exchanges(
          bench,
          either.map((receiveBundle) => ({ ...way, receiveBundle, multishot: true, incremental: true })),
        );
      },
      { rings: allRings, skip: bundles.skip || incremental.skip },
    );
  }
}

// ------------------------------------------------------------------------------------------------ liburing/ringbuf-read

for (const { how, open } of [
  { how: "through the page cache", open: 0 },
  { how: "past the page cache", open: O_DIRECT },
]) {
  conformance(
    "liburing/ringbuf-read",
    `64 blocks of a file are read ${how}, each into the buffer that its completion names`,
    (bench) => {
      const block = 4096;
      const ring = bench.ring({ entries: 64 });
      const { fd, content } = randomFile(bench, 64 * block, open);
      const pool = ring.setupBufRing({ group: 1, entries: 128, bufferSize: block, firstId: 1 });
      for (let i = 0; i < 64; i++) {
        entry(ring)
          .prepRead(fd, 0, block, i * block)
          .setBufferGroup(1)
          .addFlags(i % 2 === 1 ? IOSQE_ASYNC : 0)
          .setData64(i);
      }
      const seen = new Set<number>();
      for (const { userData, res, flags } of bench.complete(ring, 64)) {
        const id = flags >>> IORING_CQE_BUFFER_SHIFT;
        assert.deepEqual([res, flags], [block, picked(id)]);
        assert.ok(id >= 1 && id <= 128, `buffer ${id}`);
        const expected = content.subarray(userData * block, (userData + 1) * block);
        assert.equal(Buffer.compare(pool.bytes(flags, res), expected), 0, `block ${userData}`);
        seen.add(id);
      }
      assert.equal(seen.size, 64);
    },
    plain,
  );
}

// ------------------------------------------------------------------------------------------------ tokio/net/test_tcp_recv_bundle

const LETTER = counting(256 + 256 + 256 + 128);

/** A ring with buffers of 256 bytes, and a stream on which the letter is on its way. */
function letter(
  bench: Bench,
  buffers: number,
): { ring: Ring; pool: BufferRing; client: number; server: number } {
  const ring = bench.ring();
  const network = new Network(bench);
  const [client, server] = network.streamPair();
  const pool = ring.setupBufRing({
    group: 0xdeae,
    buffers: Array.from({ length: buffers }, () => alloc(256)),
  });
  network.send(client, LETTER, LETTER.byteLength);
  return { ring, pool, client, server };
}

conformance(
  "tokio/net/test_tcp_recv_bundle",
  "receives of bundles take a buffer after the other, and tell that there is more",
  (bench) => {
    const { ring, pool, server } = letter(bench, 32);
    const lengths: number[] = [];
    for (let received = 0; received < LETTER.byteLength; ) {
      entry(ring).prepRecv(server, 0, 0, 0).setIoprio(IORING_RECVSEND_BUNDLE).setBufferGroup(pool.group);
      const { res, flags } = bench.one(ring);
      assert.ok(res > 0, `receive: ${res}`);
      const more = received + res < LETTER.byteLength ? NONEMPTY : 0;
      assert.equal(flags, picked(lengths.length, more));
      for (const { id, bytes } of pool.pieces(flags, res)) {
        assert.equal(id, lengths.length);
        assert.deepEqual(bytes, LETTER.bytes.subarray(received, received + bytes.length));
        lengths.push(bytes.length);
        received += bytes.length;
      }
    }
    assert.deepEqual(lengths, [256, 256, 256, 128]);
  },
  bundles,
);

// ------------------------------------------------------------------------------------------------ tokio/net/test_tcp_recv_multi_bundle

/** A multishot receive of bundles until it ends: completions with data, whose bytes and buffers are in order, and the end. */
function receiveMany(ring: Ring, pool: BufferRing, server: number) {
  const running = new Running();
  running.start(
    entry(ring)
      .prepRecvMultishot(server, 0, 0, 0)
      .setIoprio(IORING_RECV_MULTISHOT | IORING_RECVSEND_BUNDLE)
      .setBufferGroup(pool.group),
  );
  const received: Uint8Array[] = [];
  let end: [res: number, flags: number] | undefined;
  let completions = 0;
  pump(
    ring,
    () => end !== undefined,
    (name, res, flags) => {
      running.take(name, flags);
      if ((flags & MORE) === 0) end = [res, flags & ~NONEMPTY];
      if (res <= 0) return;
      assert.equal(flags & ~(MORE | NONEMPTY), picked(received.length));
      received.push(...pool.pieces(flags, res).map(({ bytes }) => bytes));
      completions++;
    },
  );
  return { end, completions, bytes: Buffer.concat(received) };
}

conformance(
  "tokio/net/test_tcp_recv_multi_bundle",
  "a receive of many bundles goes on to the end of the stream",
  (bench) => {
    const { ring, pool, client, server } = letter(bench, 5);
    new Network(bench).must((sqe) => sqe.prepShutdown(client, SHUT_WR));
    const { end, completions, bytes } = receiveMany(ring, pool, server);
    assert.ok(completions === 1 || completions === 2, `${completions} completions with data`);
    assert.equal(Buffer.compare(bytes, LETTER.bytes), 0);
    assert.deepEqual(end, [0, 0]);
  },
  bundles,
);

conformance(
  "tokio/net/test_tcp_recv_multi_bundle",
  "a receive of many bundles ends where another has had the last of its buffers",
  (bench) => {
    const { ring, pool, client, server } = letter(bench, 5);
    const network = new Network(bench);
    using ends = pipe();
    assert.equal(write(ends.write, "taken"), 5);
    const other = 77;
    const results: Brief[] = [];
    entry(ring)
      .prepRecvMultishot(server, 0, 0, 0)
      .setIoprio(IORING_RECV_MULTISHOT | IORING_RECVSEND_BUNDLE)
      .setBufferGroup(pool.group);
    let received = 0;
    pump(
      ring,
      () => results.length === 2,
      (userData, res, flags) => {
        if (res <= 0 || userData === other) {
          results.push([userData, res, flags & ~NONEMPTY]);
          if (userData === other) network.send(client, counting(100), 100);
          return;
        }
        assert.notEqual(flags & MORE, 0);
        received += res;
        if (received < LETTER.byteLength) return;
        entry(ring).prepRead(ends.read, 0, 256, -1).setBufferGroup(pool.group).setData64(other);
      },
    );
    assert.deepEqual(results, [
      [other, 5, picked(4)],
      [0, -ENOBUFS, 0],
    ]);
    assert.equal(received, LETTER.byteLength);
  },
  bundles,
);

conformance(
  "tokio/net/test_tcp_recv_multi_bundle",
  "a receive of many bundles ends with the last of its buffers",
  (bench) => {
    const { ring, pool, client, server } = letter(bench, 5);
    const rest = counting(600, 100);
    new Network(bench).send(client, rest, 600);
    const { end, completions, bytes } = receiveMany(ring, pool, server);
    assert.ok(completions === 1 || completions === 2, `${completions} completions with data`);
    const expected = Buffer.concat([LETTER.bytes, rest.bytes]).subarray(0, 5 * 256);
    assert.equal(Buffer.compare(bytes, expected), 0);
    // Whether that is known along with the data, or the next attempt tells.
    if ((end?.[0] as number) > 0) assert.deepEqual(receiveMany(ring, pool, server).end, [-ENOBUFS, 0]);
    else assert.deepEqual(end, [-ENOBUFS, 0]);
  },
  bundles,
);

// ------------------------------------------------------------------------------------------------ tokio/net/test_tcp_send_bundle

const TEXT = "The quick brown fox jumps over the lazy dog.";

conformance(
  "tokio/net/test_tcp_send_bundle",
  "two buffers are sent as one",
  (bench) => {
    const ring = bench.ring();
    const network = new Network(bench);
    const [client, server] = network.streamPair();
    const pool = ring.setupBufRing({ group: 0xdead, entries: 2, bufferSize: 22, fill: false });
    for (const id of [0, 1]) {
      pool.get(id).set(new TextEncoder().encode(TEXT.slice(22 * id, 22 * id + 22)));
      pool.add(id);
    }
    pool.advance();
    entry(ring).prepSendBundle(client, 0, 0).setBufferGroup(pool.group);
    const { res, flags } = bench.one(ring);
    assert.deepEqual([res, flags], [44, picked(0)]);
    assert.deepEqual(
      pool.pieces(flags, res).map(({ id, bytes }) => [id, bytes.length]),
      [
        [0, 22],
        [1, 22],
      ],
    );
    const target = alloc(44);
    assert.equal(
      network.run((sqe) => sqe.prepRecv(server, target, 44, MSG_WAITALL)),
      44,
    );
    assert.equal(textOf(target), TEXT);
  },
  bundles,
);

// ------------------------------------------------------------------------------------------------ tokio/register_buf_ring/test_register_buf_ring

conformance(
  "tokio/register_buf_ring/test_register_buf_ring",
  "a group has one buffer ring, which ends once",
  (bench) => {
    const ring = bench.ring();
    const [pool, other] = [alloc(65_536), alloc(65_536)];
    const register = ({ address }: Pinned) =>
      outcome(() => ring.registerBufRing({ address, entries: 16, group: 777 }));
    const unregister = () => outcome(() => ring.unregisterBufRing(777));
    assert.equal(register(pool), 0);
    assert.equal(unregister(), 0);
    assert.equal(register(pool), 0);
    assert.equal(register(other), -EEXIST);
    assert.equal(register(pool), -EEXIST);
    assert.equal(unregister(), 0);
    // Which of them is the kernel's choice: 5.19 had the other.
    assert.ok([-ENOENT, -EINVAL].includes(unregister()));
  },
  plain,
);

/** A file with a text, and a ring of two buffers to read it into, half each. */
function halves(bench: Bench) {
  const ring = bench.ring();
  const { fd, content } = randomFile(bench, 44);
  const pool = ring.setupBufRing({ group: 777, entries: 2, bufferSize: 22 });
  const read = (half: number) =>
    entry(ring)
      .prepRead(fd, 0, 22, 22 * half)
      .setBufferGroup(777)
      .setData64(half);
  /** Takes a read's buffer; its id. */
  const take = (half: number, res: number, flags: number) => {
    assert.equal(res, 22);
    assert.equal(Buffer.compare(pool.bytes(flags, res), content.subarray(22 * half, 22 * half + 22)), 0);
    return flags >>> IORING_CQE_BUFFER_SHIFT;
  };
  const readNow = (half: number) => {
    read(half);
    const { res, flags } = bench.one(ring);
    if (res >= 0) assert.equal(flags, picked(flags >>> IORING_CQE_BUFFER_SHIFT));
    return res < 0 ? res : take(half, res, flags);
  };
  return { ring, pool, read, readNow, take };
}

conformance(
  "tokio/register_buf_ring/test_register_buf_ring",
  "buffers are picked in the order in which they were given, and then there is none",
  (bench) => {
    const { pool, readNow } = halves(bench);
    assert.deepEqual([readNow(0), readNow(1), readNow(0)], [0, 1, -ENOBUFS]);
    pool.recycle(1);
    pool.recycle(0);
    assert.deepEqual([readNow(0), readNow(1), readNow(1)], [1, 0, -ENOBUFS]);
  },
  plain,
);

conformance(
  "tokio/register_buf_ring/test_register_buf_ring",
  "buffers go to and fro 65536 times, which is more than a position counts",
  (bench) => {
    const { ring, pool, read, take } = halves(bench);
    let count = 0;
    const again = () => {
      read(0);
      read(1);
    };
    again();
    pump(
      ring,
      () => count === 65_536,
      (half, res, flags) => {
        pool.recycle(take(half, res, flags));
        count++;
        if (count % 2 === 0 && count < 65_536) again();
      },
    );
    assert.equal(pool.available(), 2);
  },
  plain,
);
