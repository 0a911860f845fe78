import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { constants } from "node:os";
import {
  alloc,
  type BufferRing,
  type CompletionCallback,
  decodeRecvmsg,
  decodeSockaddr,
  Iovecs,
  Msghdr,
  type Pinned,
  type Ring,
} from "uring";
import {
  IORING_CQE_BUFFER_SHIFT,
  IORING_CQE_F_BUF_MORE,
  IORING_CQE_F_BUFFER,
  IORING_CQE_F_MORE,
  IORING_CQE_F_NOTIF,
  IORING_CQE_F_SOCK_NONEMPTY,
  IORING_RECV_MULTISHOT,
  IORING_RECVSEND_BUNDLE,
  IORING_SETUP_COOP_TASKRUN,
  IOSQE_ASYNC,
  IOSQE_CQE_SKIP_SUCCESS,
  IOSQE_IO_LINK,
  IOU_PBUF_RING_INC,
  io_uring_recvmsg_out,
  MSG_TRUNC,
  O_DIRECT,
  SHUT_WR,
  SOL_IP,
  sockaddr_in,
} from "uring/abi";
import { pipe } from "../support/harness.ts";
import { Random } from "../support/random.ts";
import { mustCall, writesFromThread } from "../support/system.ts";
import { type Brief, brief, entry, skippingRing, sorted, submitted, untilEnded } from "./completions.ts";
import { int32s, open, owned, socketpair, write } from "./descriptors.ts";
import { PATIENCE_MS } from "./durations.ts";
import { counting, Network } from "./sockets.ts";
import { allRings, type Bench, conformance } from "./support.ts";

const { ECANCELED, ENOBUFS } = constants.errno;
const EBADFD = 77;
const MORE = IORING_CQE_F_MORE;
const BUFFER = IORING_CQE_F_BUFFER;
const NONEMPTY = IORING_CQE_F_SOCK_NONEMPTY;

const everywhere = { rings: allRings };

/** Rings that differ in how completions come about, for what takes thousands of operations. */
const fewRings = { rings: ["default", "defer", "sqpoll"] } as const;

const GROUP = 7;

/** The flags of a completion that names a buffer. */
function inBuffer(id: number, others = 0): number {
  return BUFFER | (id << IORING_CQE_BUFFER_SHIFT) | others;
}

function bufferId(flags: number): number {
  return flags >>> IORING_CQE_BUFFER_SHIFT;
}

/** Submits, and takes completions until enough is known. */
function takeUntil(ring: Ring, known: () => boolean, take: CompletionCallback): void {
  const end = performance.now() + PATIENCE_MS;
  while (!known()) {
    assert.ok(performance.now() < end, "completions are missing");
    ring.submitAndWait(1, { timeout: 100 });
    ring.drain(take);
  }
}

// ------------------------------------------------------------------------------------------------ liburing/poll-race-mshot

const ROUNDS = 1000;
const RACERS = 64;

/** Buffers of as many bytes as are written at once, as many as there are writes, by ids from 1 on. */
function racersBuffers(ring: Ring): BufferRing {
  return ring.setupBufRing({ group: GROUP, entries: RACERS, bufferSize: RACERS, firstId: 1 });
}

/** Gives every buffer back, each of which must have been used once. */
function recycleAll(buffers: BufferRing, completions: readonly Brief[]): void {
  assert.equal(new Set(completions.map(([, , flags]) => bufferId(flags))).size, RACERS);
  for (const [, res, flags] of completions) {
    assert.equal(String.fromCharCode(...buffers.bytes(flags, res)), "x".repeat(res));
    buffers.add(bufferId(flags));
  }
  buffers.advance();
}

conformance(
  "liburing/poll-race-mshot",
  "64 receives race with 64 writes, a thousand times",
  (bench) => {
    const ring = bench.ring({ entries: RACERS });
    const [near, far] = socketpair(bench);
    const buffers = racersBuffers(ring);
    for (let round = 0; round < ROUNDS; round++) {
      for (let i = 0; i < RACERS; i++) entry(ring).prepRecv(near, 0, 0, 0).setBufferGroup(GROUP).setData64(i);
      const writer = writesFromThread(far, { count: RACERS, size: RACERS });
      const found = untilEnded(ring, RACERS);
      assert.equal(found.length, RACERS);
      for (const [, res, flags] of found) {
        assert.equal(res, RACERS);
        assert.equal(flags & ~NONEMPTY, inBuffer(bufferId(flags)));
      }
      assert.equal(writer.join(), RACERS * RACERS);
      recycleAll(buffers, found);
    }
  },
  fewRings,
);

conformance(
  "liburing/poll-race-mshot",
  "a multishot receive races with 64 writes, a thousand times",
  (bench) => {
    const ring = bench.ring({ entries: RACERS });
    const [near, far] = socketpair(bench);
    const buffers = racersBuffers(ring);
    for (let round = 0; round < ROUNDS; round++) {
      entry(ring).prepRecvMultishot(near, 0, 0, 0).setBufferGroup(GROUP).setData64(1);
      const writer = writesFromThread(far, { count: RACERS, size: RACERS });
      const found: Brief[] = [];
      const last: Brief[] = [];
      takeUntil(
        ring,
        () => found.length >= RACERS,
        (...completion) => ((completion[2] & MORE) !== 0 ? found : last).push(completion),
      );
      assert.equal(found.length, RACERS);
      for (const [userData, res, flags] of found) {
        assert.deepEqual([userData, res], [1, RACERS]);
        assert.equal(flags & ~NONEMPTY, inBuffer(bufferId(flags), MORE));
      }
      assert.equal(writer.join(), RACERS * RACERS);
      if (last.length === 0) {
        entry(ring).prepCancel64(1, 0).setData64(2);
        last.push(...untilEnded(ring, 2).filter(([userData]) => userData === 1));
      }
      // It may have looked for another buffer, of which there is none.
      assert.deepEqual([last.length, last[0]?.[0], last[0]?.[2]], [1, 1, 0]);
      assert.ok(last[0]?.[1] === -ECANCELED || last[0]?.[1] === -ENOBUFS);
      recycleAll(buffers, found);
    }
  },
  fewRings,
);

// ------------------------------------------------------------------------------------------------ liburing/read-mshot

const MESSAGES = 64;
const MESSAGE_SIZE = 11;

function message(i: number): string {
  return `message ${String(i).padStart(3, "0")}`;
}

/** A pipe that keeps what was written at once apart from the rest, with room for 256 of those. */
function packetPipe(bench: Bench): [read: number, write: number] {
  const F_SETPIPE_SZ = 1031;
  using fds = alloc(8);
  mustCall("pipe2", fds.address, O_DIRECT);
  const [read, write] = int32s(fds) as unknown as [number, number];
  owned(bench, read);
  owned(bench, write);
  mustCall("fcntl", write, F_SETPIPE_SZ, 256 * 4096);
  return [read, write];
}

function sendMessages(fd: number, first: number, count: number): void {
  for (let i = first; i < first + count; i++) assert.equal(write(fd, message(i)), MESSAGE_SIZE);
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes.slice());
}

/** Arms a multishot read as operation 1. */
function armRead(ring: Ring, fd: number, flags = 0): void {
  entry(ring).prepReadMultishot(fd, 0, -1, GROUP).addFlags(flags).setData64(1);
  ring.submit();
  submitted(ring);
}

for (const flags of [0, IOSQE_ASYNC]) {
  const how = flags === 0 ? "" : ", asynchronous";
  for (const early of [true, false]) {
    conformance(
      "liburing/read-mshot",
      `each of 64 messages written ${early ? "before" : "after"} the submit comes in a buffer of its own, then there is none${how}`,
      (bench) => {
        const ring = bench.ring({ cqEntries: 256 });
        const [reader, writer] = packetPipe(bench);
        const buffers = ring.setupBufRing({ group: GROUP, entries: MESSAGES, bufferSize: 32, firstId: 1 });
        if (early) sendMessages(writer, 0, MESSAGES);
        armRead(ring, reader, flags);
        if (!early) sendMessages(writer, 0, MESSAGES);
        const found = brief(bench.collect(ring, MESSAGES));
        for (const [i, completion] of found.entries()) {
          assert.deepEqual(completion, [1, MESSAGE_SIZE, inBuffer(i + 1, MORE)]);
          assert.equal(text(buffers.bytes(completion[2], MESSAGE_SIZE)), message(i));
        }
        sendMessages(writer, MESSAGES, 1);
        assert.deepEqual(brief(bench.collect(ring, 1)), [[1, -ENOBUFS, 0]]);
        bench.quiet(ring, 10);
        // What there was no buffer for is still there.
        buffers.recycle(17);
        armRead(ring, reader, flags);
        const [last] = brief(bench.collect(ring, 1)) as [Brief];
        assert.deepEqual(last, [1, MESSAGE_SIZE, inBuffer(17, MORE)]);
        assert.equal(text(buffers.bytes(last[2], last[1])), message(MESSAGES));
      },
      everywhere,
    );

    conformance(
      "liburing/read-mshot",
      `a queue of 16 ends it before all messages written ${early ? "before" : "after"} the submit have come; armed anew it goes on${how}`,
      (bench) => {
        const ring = bench.ring({ entries: 16, cqEntries: 16 });
        const [reader, writer] = packetPipe(bench);
        const buffers = ring.setupBufRing({ group: GROUP, entries: MESSAGES, bufferSize: 32, firstId: 1 });
        if (early) sendMessages(writer, 0, MESSAGES);
        armRead(ring, reader, flags);
        if (!early) sendMessages(writer, 0, MESSAGES);
        const received: string[] = [];
        let ends = 0;
        takeUntil(
          ring,
          () => received.length >= MESSAGES,
          (userData, res, cqeFlags) => {
            assert.equal(userData, 1);
            // The last one may bring a message as well.
            assert.ok(res === MESSAGE_SIZE || (res === 0 && (cqeFlags & MORE) === 0), `result ${res}`);
            if (res > 0) received.push(text(buffers.bytes(cqeFlags, res)));
            if ((cqeFlags & MORE) !== 0) return;
            ends++;
            armRead(ring, reader, flags);
          },
        );
        assert.deepEqual(
          received,
          Array.from({ length: MESSAGES }, (_, i) => message(i)),
        );
        assert.ok(ends > 0);
        assert.equal(ring.cqOverflow, 0);
        bench.quiet(ring, 10);
      },
      everywhere,
    );

    conformance(
      "liburing/read-mshot",
      `messages written ${early ? "before" : "after"} the submit lie one after the other in one buffer that is used bit by bit${how}`,
      (bench) => {
        const ring = bench.ring({ cqEntries: 256 });
        const [reader, writer] = packetPipe(bench);
        const buffers = ring.setupBufRing({
          group: GROUP,
          entries: 1,
          bufferSize: 1024,
          firstId: 1,
          flags: IOU_PBUF_RING_INC,
        });
        if (early) sendMessages(writer, 0, MESSAGES);
        armRead(ring, reader, flags);
        if (!early) sendMessages(writer, 0, MESSAGES);
        const found = brief(bench.collect(ring, MESSAGES));
        for (const [i, completion] of found.entries()) {
          const more = MORE | IORING_CQE_F_BUF_MORE;
          assert.deepEqual(completion, [1, MESSAGE_SIZE, inBuffer(1, more)]);
          assert.equal(text(buffers.bytes(completion[2], MESSAGE_SIZE)), message(i));
        }
        const all = Array.from({ length: MESSAGES }, (_, i) => message(i)).join("");
        assert.equal(text(buffers.get(1, all.length)), all);
      },
      everywhere,
    );
  }

  conformance(
    "liburing/read-mshot",
    `a regular file can not be read by it${how}`,
    (bench) => {
      const ring = bench.ring();
      const path = bench.path("file");
      writeFileSync(path, "content");
      ring.setupBufRing({ group: GROUP, entries: 1, bufferSize: 32 });
      armRead(ring, open(bench, path), flags);
      assert.deepEqual(brief(bench.collect(ring, 1)), [[1, -EBADFD, 0]]);
      bench.quiet(ring, 10);
    },
    everywhere,
  );
}

conformance(
  "liburing/read-mshot",
  "a short buffer makes no later read shorter",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    const sizes = [16, 32, 16, 32];
    const buffers = ring.setupBufRing({ group: GROUP, buffers: sizes.map((size) => alloc(size)) });
    const data = counting(96);
    assert.equal(write(ends.write, data.bytes.slice()), 96);
    armRead(ring, ends.read);
    const found = brief(bench.collect(ring, 4));
    assert.deepEqual(
      found,
      sizes.map((size, id) => [1, size, inBuffer(id, MORE)]),
    );
    const received = found.flatMap(([, res, flags]) => [...buffers.bytes(flags, res)]);
    assert.deepEqual(received, [...data.bytes]);
  },
  everywhere,
);

for (const multishot of [true, false]) {
  conformance(
    "liburing/read-mshot",
    `buffers used bit by bit are filled to the last byte by ${multishot ? "a multishot read" : "single reads"}`,
    (bench) => {
      const COUNT = 32;
      const SIZE = 2048;
      const ring = bench.ring();
      const random = new Random(3);
      using ends = pipe();
      const buffers = ring.setupBufRing({
        group: GROUP,
        entries: COUNT,
        bufferSize: SIZE,
        flags: IOU_PBUF_RING_INC,
      });
      const data = counting(COUNT * SIZE);
      const filled: number[] = [];
      let written = 0;
      let received = 0;
      const take: CompletionCallback = (userData, res, flags) => {
        assert.ok(res > 0, `result ${res}`);
        const id = bufferId(flags);
        const before = filled[id] ?? 0;
        // The kernel goes on to the next buffer when one is full, and not before.
        if (before === 0) assert.deepEqual([id, filled.filter((sum) => sum !== SIZE)], [filled.length, []]);
        const sum = before + res;
        filled[id] = sum;
        const more = (multishot ? MORE : 0) | (sum < SIZE ? IORING_CQE_F_BUF_MORE : 0);
        assert.deepEqual([userData, flags], [1, inBuffer(id, more)]);
        const expected = data.bytes.slice(received, received + res);
        assert.deepEqual(buffers.bytes(flags, res).slice(), expected);
        received += res;
      };
      if (multishot) armRead(ring, ends.read);
      while (written < data.byteLength) {
        const size = Math.min(1 + random.below(1500), data.byteLength - written);
        assert.equal(write(ends.write, data.bytes.slice(written, written + size)), size);
        written += size;
        while (received < written) {
          if (!multishot) entry(ring).prepRead(ends.read, 0, SIZE, -1).setBufferGroup(GROUP).setData64(1);
          const before = received;
          takeUntil(ring, () => received > before, take);
        }
      }
      assert.deepEqual(filled, Array(COUNT).fill(SIZE));
    },
    fewRings,
  );
}

// ------------------------------------------------------------------------------------------------ liburing/read-mshot-empty

conformance(
  "liburing/read-mshot-empty",
  "two buffers' worth at once is read into two buffers, twice",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    const buffers = ring.setupBufRing({ group: GROUP, entries: 4, bufferSize: 32 });
    const data = counting(128);
    const writeTwice = (start: number) => {
      for (const at of [start, start + 32]) {
        assert.equal(write(ends.write, data.bytes.slice(at, at + 32)), 32);
      }
    };
    writeTwice(0);
    armRead(ring, ends.read);
    const found = brief(bench.collect(ring, 2));
    bench.quiet(ring, 100);
    writeTwice(64);
    found.push(...brief(bench.collect(ring, 2)));
    assert.deepEqual(
      found,
      [0, 1, 2, 3].map((id) => [1, 32, inBuffer(id, MORE)]),
    );
    const received = found.flatMap(([, res, flags]) => [...buffers.bytes(flags, res)]);
    assert.deepEqual(received, [...data.bytes]);
    bench.quiet(ring, 20);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/recv-mshot-drain

for (const kind of ["TCP", "Unix"] as const) {
  conformance(
    "liburing/recv-mshot-drain",
    `4096 sends arrive in full in four buffers, up to the end of the stream: ${kind}`,
    (bench) => {
      const TOTAL = 4096 * 64;
      const ring = bench.ring();
      const network = new Network(bench);
      const [sender, receiver] = kind === "TCP" ? network.streamPair() : socketpair(bench);
      const buffers = ring.setupBufRing({ group: GROUP, entries: 4, bufferSize: 128 });
      const arm = () => entry(ring).prepRecvMultishot(receiver, 0, 0, 0).setBufferGroup(GROUP).setData64(1);
      let used: number[] = [];
      let sum = 0;
      let ended = false;
      const take: CompletionCallback = (userData, res, flags) => {
        assert.equal(userData, 1);
        if (res > 0) {
          const bytes = buffers.bytes(flags, res);
          assert.ok(bytes.every((byte) => byte === 0x78));
          used.push(bufferId(flags));
          sum += res;
        } else {
          assert.equal(flags & (MORE | BUFFER), 0);
          assert.ok(res === 0 || res === -ENOBUFS, `result ${res}`);
          ended = res === 0;
        }
        if (ended || (flags & MORE) !== 0) return;
        for (const id of used) buffers.add(id);
        buffers.advance();
        used = [];
        arm();
      };
      arm();
      const writer = writesFromThread(sender, { count: 4096, size: 64 });
      takeUntil(ring, () => sum >= TOTAL || ended, take);
      assert.equal(sum, TOTAL);
      assert.equal(ended, false);
      assert.equal(writer.join(), TOTAL);
      network.must((sqe) => sqe.prepShutdown(sender, SHUT_WR));
      takeUntil(ring, () => ended, take);
      assert.equal(sum, TOTAL);
    },
    fewRings,
  );
}

// ------------------------------------------------------------------------------------------------ liburing/recv-mshot-fair

const STREAMS = 4;
const SMALL = 32;
const SHARE = 1024;
const PER_STREAM = 16384;

/** What a stream delivered in a row, and all it has since it was armed. */
interface Delivery {
  readonly stream: number;
  bytes: number;
}

/**
 * Receives all of four streams that are full already, by one multishot each over shared buffers.
 *
 * @param limit most bytes before a multishot ends; 0 for no limit
 * @returns how many bytes each stream delivered between those of others, in order
 */
function receiveAll(bench: Bench, flags: number, bundle: boolean, limit: number): Delivery[] {
  const ring = bench.ring({ flags, cqEntries: 8192 });
  const network = new Network(bench);
  const buffers = ring.setupBufRing({ group: GROUP, entries: 2048, bufferSize: SMALL });
  const data = counting(PER_STREAM);
  const streams = Array.from({ length: STREAMS }, () => {
    const [sender, receiver] = network.streamPair();
    network.send(sender, data, PER_STREAM);
    return receiver;
  });
  const received = streams.map(() => 0);
  const sinceArmed = streams.map(() => 0);
  const deliveries: Delivery[] = [];
  const arm = (stream: number) => {
    sinceArmed[stream] = 0;
    const sqe = entry(ring).prepRecvMultishot(streams[stream] as number, 0, SHARE, 0);
    if (bundle) sqe.setIoprio(IORING_RECV_MULTISHOT | IORING_RECVSEND_BUNDLE);
    sqe.setOptlen(limit).setBufferGroup(GROUP).setData64(stream);
  };
  for (let stream = 0; stream < STREAMS; stream++) arm(stream);
  takeUntil(
    ring,
    () => received.every((bytes) => bytes === PER_STREAM),
    (stream, res, cqeFlags) => {
      assert.ok(res > 0, `stream ${stream}: ${res}`);
      if (!bundle) assert.ok(res <= SMALL);
      let at = received[stream] as number;
      for (const { bytes } of buffers.pieces(cqeFlags, res)) {
        assert.deepEqual(bytes.slice(), data.bytes.slice(at, at + bytes.length));
        at += bytes.length;
      }
      received[stream] = at;
      sinceArmed[stream] = (sinceArmed[stream] as number) + res;
      const last = deliveries.at(-1);
      if (last?.stream === stream) last.bytes += res;
      else deliveries.push({ stream, bytes: res });
      const ended = (cqeFlags & MORE) === 0;
      assert.equal(ended, limit > 0 && (sinceArmed[stream] as number) >= limit, `${sinceArmed[stream]}`);
      if (limit > 0) assert.ok((sinceArmed[stream] as number) <= limit);
      if (ended) arm(stream);
    },
  );
  return deliveries;
}

for (const { name, type, flags } of [
  { name: "deferred", type: "defer", flags: 0 },
  { name: "cooperative", type: "default", flags: IORING_SETUP_COOP_TASKRUN },
] as const) {
  for (const bundle of [false, true]) {
    const how = `${name} task work${bundle ? ", in bundles" : ""}`;
    conformance(
      "liburing/recv-mshot-fair",
      `no stream delivers more than its share before another does: ${how}`,
      (bench) => {
        const deliveries = receiveAll(bench, flags, bundle, 0);
        // At the end there is no other.
        for (const { stream, bytes } of deliveries.slice(0, -1)) {
          assert.ok(bytes <= SHARE + SMALL, `stream ${stream}: ${bytes} bytes`);
        }
      },
      { rings: [type] },
    );

    conformance(
      "liburing/recv-mshot-fair",
      `a multishot ends when it has delivered as much as it may: ${how}`,
      (bench) => {
        receiveAll(bench, flags, bundle, 4 * SHARE);
      },
      { rings: [type] },
    );
  }
}

// ------------------------------------------------------------------------------------------------ liburing/recv-multishot

type Transport = "TCP" | "UDP";
type Operation = "receive" | "receive of messages";

/** Different ones, so that a datagram is known by its size. */
const SIZES = [100, 17, 255, 64, 1, 200, 33, 128];
const ROOM = 512;
/** What a message begins with in its buffer. */
const HEAD = io_uring_recvmsg_out.sizeof;
const BUFFERS = 32;

/** Where received data is, by the flags and the result of a completion. */
type Pool = (flags: number, res: number) => Uint8Array;

/** Buffers for a group, registered as a ring of them or handed over by an operation. */
function pool(bench: Bench, ring: Ring, kind: "ring" | "provided", count = BUFFERS): Pool {
  if (kind === "ring") {
    const buffers = ring.setupBufRing({ group: GROUP, entries: count, bufferSize: ROOM });
    return (flags, res) => buffers.bytes(flags, res);
  }
  const memory = alloc(count * ROOM);
  assert.equal(
    bench.run(ring, (sqe) => sqe.prepProvideBuffers(memory, ROOM, count, GROUP, 0)),
    0,
  );
  return (flags, res) => memory.slice(ROOM * bufferId(flags), res).bytes;
}

/** Two connected sockets, and what is received of what was sent on one by a multishot on the other. */
class Reception {
  readonly network: Network;
  readonly sender: number;
  readonly pieces: number[][] = [];
  readonly completions: Brief[] = [];
  readonly #ring: Ring;
  readonly #receiver: number;
  readonly #operation: Operation;
  readonly #message = new Msghdr({ nameLength: 16 });
  readonly #pool: Pool;
  #armed = false;
  /** Sizes of what was sent, in order. */
  readonly sent: number[] = [];

  constructor(bench: Bench, ring: Ring, transport: Transport, operation: Operation, pool: Pool) {
    this.network = new Network(bench);
    this.#ring = ring;
    this.#operation = operation;
    this.#pool = pool;
    if (transport === "TCP") [this.sender, this.#receiver] = this.network.streamPair();
    else {
      const [sender, receiver] = this.network.datagramPair();
      this.sender = sender;
      this.#receiver = receiver.fd;
    }
  }

  arm(): void {
    const sqe = entry(this.#ring);
    if (this.#operation === "receive") sqe.prepRecvMultishot(this.#receiver, 0, 0, 0);
    else sqe.prepRecvmsgMultishot(this.#receiver, this.#message, 0);
    sqe.setBufferGroup(GROUP).setData64(1);
    this.#armed = true;
    this.#ring.submit();
    submitted(this.#ring);
  }

  /** Sends so many bytes that each send's are different, and a stream's go on. */
  send(size: number): void {
    const before = this.sent.reduce((sum, other) => sum + other, 0);
    this.network.send(this.sender, counting(size, before), size);
    this.sent.push(size);
  }

  /** What has been received, altogether. */
  get bytes(): number {
    return this.pieces.reduce((sum, piece) => sum + piece.length, 0);
  }

  /** Whether the multishot has ended. */
  get ended(): boolean {
    return !this.#armed;
  }

  /** Takes completions until enough is known. Each is checked: only data is in a buffer, and nothing follows the last. */
  takeUntil(known: () => boolean): void {
    takeUntil(this.#ring, known, (userData, res, flags) => {
      assert.equal(this.ended, false, "a completion after the last");
      assert.equal(userData, 1);
      this.completions.push([userData, res, flags & ~NONEMPTY]);
      this.#armed = (flags & MORE) !== 0;
      if (res <= 0) {
        assert.equal(flags & (MORE | BUFFER), 0);
        return;
      }
      assert.notEqual(flags & BUFFER, 0);
      const bytes = this.#pool(flags, res);
      const data = this.#operation === "receive" ? bytes : decodeRecvmsg(bytes, this.#message, res).payload;
      this.pieces.push([...data]);
    });
  }

  /** Takes the last completion, which must be the next one, without data. */
  last(res: number): void {
    const before = this.completions.length;
    this.takeUntil(() => this.ended);
    assert.deepEqual(this.completions.slice(before), [[1, res, 0]]);
  }
}

function checkReceived(reception: Reception, transport: Transport): void {
  let at = 0;
  const sent = reception.sent.map((size) => {
    const data = [...counting(size, at).bytes];
    at += size;
    return data;
  });
  if (transport === "TCP") assert.deepEqual(reception.pieces.flat(), sent.flat().slice(0, reception.bytes));
  else {
    for (const piece of reception.pieces) {
      assert.deepEqual(
        piece,
        sent.find((data) => data.length === piece.length),
      );
    }
    assert.equal(reception.pieces.length, new Set(reception.pieces.map(({ length }) => length)).size);
  }
}

interface Ending {
  readonly only?: Transport;
  end(bench: Bench, ring: Ring, reception: Reception, operation: Operation): void;
}

/** How a multishot ends: what makes it end, and its last completion. */
const endings: Record<string, Ending> = {
  "when the sender closes": {
    only: "TCP",
    end(_bench, _ring, reception, operation) {
      const data = reception.bytes;
      reception.network.close(reception.sender);
      if (operation === "receive") return reception.last(0);
      // A message without data has its head all the same.
      reception.takeUntil(() => reception.ended);
      const [, res, flags] = reception.completions.at(-1) as Brief;
      assert.equal(res, HEAD + sockaddr_in.sizeof);
      assert.equal(flags, inBuffer(bufferId(flags)));
      assert.equal(reception.bytes, data);
    },
  },
  "when it is cancelled": {
    end(bench, ring, reception) {
      entry(ring).prepCancel64(1, 0).setFlags(IOSQE_CQE_SKIP_SUCCESS).setData64(2);
      ring.submit();
      reception.last(-ECANCELED);
      bench.quiet(ring, 10);
    },
  },
};

for (const transport of ["TCP", "UDP"] as const) {
  for (const operation of ["receive", "receive of messages"] as const) {
    for (const reaping of ["after each send", "at the end"] as const) {
      for (const [when, { only = transport, end }] of Object.entries(endings)) {
        if (only !== transport) continue;
        conformance(
          "liburing/recv-multishot",
          `a multishot ${operation} brings what ${transport} sends, read ${reaping}, and ends ${when}`,
          (bench) => {
            const ring = skippingRing(bench);
            const reception = new Reception(bench, ring, transport, operation, pool(bench, ring, "ring"));
            reception.arm();
            let sum = 0;
            for (const size of SIZES) {
              reception.send(size);
              sum += size;
              if (reaping === "after each send") reception.takeUntil(() => reception.bytes >= sum);
            }
            reception.takeUntil(() => reception.bytes >= sum);
            assert.equal(reception.bytes, sum);
            assert.equal(reception.ended, false);
            checkReceived(reception, transport);
            end(bench, ring, reception, operation);
          },
          everywhere,
        );
      }

      for (const kind of ["ring", "provided"] as const) {
        conformance(
          "liburing/recv-multishot",
          `a multishot ${operation} by ${transport}, read ${reaping}, ends when ${kind === "ring" ? "the buffer ring" : "the group of provided buffers"} is empty`,
          (bench) => {
            const ring = bench.ring();
            const reception = new Reception(bench, ring, transport, operation, pool(bench, ring, kind, 4));
            reception.arm();
            for (let i = 0; i < SIZES.length && !reception.ended; i++) {
              reception.send(SIZES[i] as number);
              const before = reception.completions.length;
              if (reaping === "after each send")
                reception.takeUntil(() => reception.completions.length > before);
            }
            // A stream's bytes may share buffers: it takes more of them to fill all.
            for (let i = 0; i < 100 && reaping === "at the end" && transport === "TCP"; i++)
              reception.send(255);
            reception.takeUntil(() => reception.ended);
            assert.deepEqual(reception.completions.at(-1), [1, -ENOBUFS, 0]);
            assert.equal(reception.pieces.length, 4);
            checkReceived(reception, transport);
            bench.quiet(ring, 10);
          },
          everywhere,
        );
      }
    }

    conformance(
      "liburing/recv-multishot",
      `a multishot ${operation} by ${transport} goes on or ends in a queue of 4 that is full, and loses nothing`,
      (bench) => {
        const ring = bench.ring({ entries: 4, cqEntries: 4 });
        const reception = new Reception(bench, ring, transport, operation, pool(bench, ring, "ring"));
        reception.arm();
        for (const size of SIZES) {
          reception.send(size);
          ring.getEvents();
        }
        const sum = SIZES.reduce((a, b) => a + b);
        reception.takeUntil(() => reception.bytes >= sum || reception.ended);
        const last = reception.completions.at(-1) as Brief;
        if (reception.ended) assert.ok(last[1] >= 0, `result ${last[1]}`);
        for (const [, , flags] of reception.completions.slice(0, -1)) assert.notEqual(flags & MORE, 0);
        checkReceived(reception, transport);
        while (reception.bytes < sum) {
          reception.arm();
          reception.takeUntil(() => reception.bytes >= sum || reception.ended);
        }
        assert.equal(reception.bytes, sum);
        checkReceived(reception, transport);
        assert.equal(ring.cqOverflow, 0);
      },
      everywhere,
    );
  }
}

// A multishot receive of messages puts everything into the buffer: head, address, control messages, data.

const IP_RECVORIGDSTADDR = 20;

/** The head of a received message, word by word. */
function head(bytes: Uint8Array): Record<"namelen" | "controllen" | "payloadlen" | "flags", number> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEAD);
  return {
    namelen: view.getUint32(0, true),
    controllen: view.getUint32(4, true),
    payloadlen: view.getUint32(8, true),
    flags: view.getUint32(12, true),
  };
}

for (const wanted of [false, true]) {
  conformance(
    "liburing/recv-multishot",
    `a message has its parts one after the other in the buffer, ${wanted ? "with" : "without"} the address it was sent to`,
    (bench) => {
      const CONTROL = 64;
      const ring = bench.ring();
      const network = new Network(bench);
      const [receiver, sender] = [network.bound(), network.bound()];
      if (wanted) network.setOption(receiver.fd, SOL_IP, IP_RECVORIGDSTADDR, 1);
      const buffers = ring.setupBufRing({ group: GROUP, entries: 2, bufferSize: ROOM });
      const message = new Msghdr({ nameLength: sockaddr_in.sizeof, control: alloc(CONTROL) });
      entry(ring).prepRecvmsgMultishot(receiver.fd, message, 0).setBufferGroup(GROUP).setData64(1);
      ring.submit();
      submitted(ring);
      const data = counting(50);
      assert.equal(
        network.run((sqe) =>
          sqe.prepSendto(sender.fd, data, 50, 0, receiver.address, receiver.address.byteLength),
        ),
        50,
      );
      const payloadAt = HEAD + sockaddr_in.sizeof + CONTROL;
      const [completion] = brief(bench.collect(ring, 1)) as [Brief];
      assert.deepEqual(completion, [1, payloadAt + 50, inBuffer(0, MORE)]);
      const bytes = buffers.bytes(completion[2], completion[1]);
      // A header and an address of 16 bytes each.
      const controllen = wanted ? 32 : 0;
      assert.deepEqual(head(bytes), { namelen: 16, controllen, payloadlen: 50, flags: 0 });
      assert.deepEqual(bytes.slice(HEAD, HEAD + 16), sender.address.bytes.slice());
      assert.deepEqual(bytes.slice(payloadAt), data.bytes.slice());

      const received = decodeRecvmsg(bytes, message);
      assert.deepEqual(received.name, decodeSockaddr(sender.address));
      assert.equal(received.name?.family === "ipv4" && received.name.address, "127.0.0.1");
      const address = receiver.address.bytes.slice();
      assert.deepEqual(
        received.control,
        wanted ? [{ kind: "other", level: SOL_IP, type: IP_RECVORIGDSTADDR, data: address }] : [],
      );
      assert.deepEqual(received.payload.slice(), data.bytes.slice());
      assert.deepEqual([received.payloadLength, received.flags], [50, 0]);
    },
    everywhere,
  );
}

conformance(
  "liburing/recv-multishot",
  "a message that is too long for the buffer tells how long it was, and that it was cut",
  (bench) => {
    const ring = bench.ring();
    const network = new Network(bench);
    const [sender, receiver] = network.datagramPair();
    const buffers = ring.setupBufRing({ group: GROUP, entries: 2, bufferSize: HEAD + 10 });
    const message = new Msghdr({});
    entry(ring).prepRecvmsgMultishot(receiver.fd, message, MSG_TRUNC).setBufferGroup(GROUP).setData64(1);
    ring.submit();
    submitted(ring);
    network.send(sender, counting(40), 40);
    assert.deepEqual(brief(bench.collect(ring, 1)), [[1, HEAD + 10, inBuffer(0, MORE)]]);
    const bytes = buffers.get(0);
    assert.deepEqual(head(bytes), { namelen: 0, controllen: 0, payloadlen: 40, flags: MSG_TRUNC });
    const received = decodeRecvmsg(bytes, message);
    assert.deepEqual([received.payloadLength, received.flags], [40, MSG_TRUNC]);
    assert.deepEqual(received.payload.slice(), counting(10).bytes.slice());
  },
  everywhere,
);

const parts = { nameLength: 4, controlLength: 8 };

conformance("liburing/recv-multishot", "a buffer too short for a message's parts is refused", () => {
  const buffer = new Uint8Array(64);
  assert.equal(decodeRecvmsg(buffer, parts, 28).payload.length, 0);
  for (const length of [27, 15, 0, -1]) {
    assert.throws(() => decodeRecvmsg(buffer, parts, length), RangeError, `length ${length}`);
  }
  for (const controlLength of [2 ** 32 - 1, 2 ** 32 - 12, 2 ** 32 - 20]) {
    assert.throws(() => decodeRecvmsg(buffer, { ...parts, controlLength }), RangeError, `${controlLength}`);
  }
  const view = new DataView(buffer.buffer);
  view.setUint32(io_uring_recvmsg_out.controllen, 2 ** 32 - 1, true);
  assert.throws(() => decodeRecvmsg(buffer, parts), RangeError);
});

conformance(
  "liburing/recv-multishot",
  "a message's data is what the buffer has behind its other parts",
  () => {
    const buffer = new Uint8Array(64);
    new DataView(buffer.buffer).setUint32(io_uring_recvmsg_out.payloadlen, 1000, true);
    assert.equal(decodeRecvmsg(buffer, parts, 64).payload.length, 64 - HEAD - 4 - 8);
    assert.equal(decodeRecvmsg(buffer, parts, 28).payload.length, 0);
    // liburing calls that a length of 0; here there is no message to have one.
    for (const length of [27, -1]) assert.throws(() => decodeRecvmsg(buffer, parts, length), RangeError);
  },
);

conformance(
  "liburing/recv-multishot",
  "of three datagrams two fill the buffers that are provided just before, and there is none for the third",
  (bench) => {
    const ring = bench.ring();
    const network = new Network(bench);
    const [sender, receiver] = network.datagramPair();
    const memory = alloc(2);
    entry(ring).prepProvideBuffers(memory, 1, 2, GROUP, 0).setFlags(IOSQE_IO_LINK).setData64(1);
    entry(ring).prepRecvMultishot(receiver.fd, 0, 0, 0).setBufferGroup(GROUP).setData64(2);
    ring.submit();
    submitted(ring);
    for (let i = 0; i < 3; i++) network.send(sender, counting(1, 65 + i), 1);
    assert.deepEqual(brief(bench.collect(ring, 4)), [
      [1, 0, 0],
      [2, 1, inBuffer(0, MORE)],
      [2, 1, inBuffer(1, MORE)],
      [2, -ENOBUFS, 0],
    ]);
    assert.equal(text(memory.bytes), "AB");
    bench.quiet(ring, 10);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/fs/test_pipe_read_multishot

conformance(
  "tokio/fs/test_pipe_read_multishot",
  "writes to a pipe come in two buffers in turn, then its end",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    const buffers = ring.setupBufRing({ group: GROUP, entries: 2, bufferSize: 64 });
    armRead(ring, ends.read);
    const take = ([userData, res, flags]: Brief, id: number, data: Pinned) => {
      assert.deepEqual([userData, res, flags], [1, data.byteLength, inBuffer(id, MORE)]);
      assert.deepEqual(buffers.bytes(flags, res).slice(), data.bytes.slice());
      buffers.recycle(id);
    };
    for (const [id, size] of [44, 36].entries()) {
      const data = counting(size, size);
      entry(ring).prepWrite(ends.write, data, size, -1).setData64(2);
      const [read, written] = sorted(bench.complete(ring, 2)) as [Brief, Brief];
      assert.deepEqual(written, [2, size, 0]);
      take(read, id, data);
    }
    // Packets would be told apart in any case: here the buffers' size does that.
    const [first, second] = [counting(64), counting(36, 64)];
    entry(ring).prepWrite(ends.write, first, 64, -1).setFlags(IOSQE_IO_LINK).setData64(2);
    entry(ring).prepWrite(ends.write, second, 36, -1).setData64(3);
    const found = brief(bench.complete(ring, 4));
    assert.deepEqual(
      found.filter(([userData]) => userData > 1),
      [
        [2, 64, 0],
        [3, 36, 0],
      ],
    );
    for (const [id, completion] of found.filter(([userData]) => userData === 1).entries()) {
      take(completion, id, id === 0 ? first : second);
    }
    ends.close(ends.write);
    assert.deepEqual(brief(bench.collect(ring, 1)), [[1, 0, 0]]);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/net/test_tcp_recv_multi

conformance(
  "tokio/net/test_tcp_recv_multi",
  "a multishot with a length brings no more than that at a time, into each of two buffers",
  (bench) => {
    const ring = bench.ring();
    const network = new Network(bench);
    const [client, server] = network.streamPair();
    const memory = alloc(2048);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepProvideBuffers(memory, 1024, 2, GROUP, 0)),
      0,
    );
    const data = counting(1280);
    network.send(client, data, 1280);
    entry(ring).prepRecvMultishot(server, 0, 640, 0).setBufferGroup(GROUP).setData64(1);
    const found: Brief[] = [];
    const take: CompletionCallback = (userData, res, flags) => found.push([userData, res, flags & ~NONEMPTY]);
    takeUntil(ring, () => found.length >= 2, take);
    // That there is no buffer left it finds when it looks for one, which may take more data.
    if (found.length === 2) network.send(client, data, 1);
    takeUntil(ring, () => found.length >= 3, take);
    assert.deepEqual(found, [
      [1, 640, inBuffer(0, MORE)],
      [1, 640, inBuffer(1, MORE)],
      [1, -ENOBUFS, 0],
    ]);
    assert.deepEqual(memory.slice(0, 640).bytes.slice(), data.bytes.slice(0, 640));
    assert.deepEqual(memory.slice(1024, 640).bytes.slice(), data.bytes.slice(640));
    bench.quiet(ring, 10);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/net/test_udp_recvmsg_multishot

conformance(
  "tokio/net/test_udp_recvmsg_multishot",
  "two messages, one sent without a copy, arrive with their sender's address in two buffers",
  (bench) => {
    const ring = bench.ring();
    const network = new Network(bench);
    const [server, client] = [network.bound(), network.bound()];
    const memory = alloc(1024);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepProvideBuffers(memory, 512, 2, GROUP, 0)),
      0,
    );
    const message = new Msghdr({ nameLength: 32 });
    entry(ring).prepRecvmsgMultishot(server.fd, message, 0).setBufferGroup(GROUP).setData64(1);
    ring.submit();
    submitted(ring);
    const [short, long] = [counting(15), counting(25, 100)];
    const to = (data: Pinned) => new Msghdr({ iov: new Iovecs([data]), name: server.address });
    entry(ring).prepSendmsg(client.fd, to(short), 0).setData64(2);
    entry(ring).prepSendmsgZc(client.fd, to(long), 0).setData64(3);
    const found = sorted(bench.complete(ring, 6));
    assert.deepEqual(
      found.filter(([userData]) => userData > 1),
      [
        [2, 15, 0],
        [3, 25, MORE],
        [3, 0, IORING_CQE_F_NOTIF],
      ],
    );
    const [first, second, last] = found as [Brief, Brief, Brief];
    assert.deepEqual(last, [1, -ENOBUFS, 0]);
    const room = HEAD + message.nameLength;
    const sent = first[1] === room + 15 ? [short, long] : [long, short];
    for (const [i, [userData, res, flags]] of [first, second].entries()) {
      const data = sent[i] as Pinned;
      assert.deepEqual([userData, res, flags], [1, room + data.byteLength, inBuffer(i, MORE)]);
      const {
        name,
        control,
        payload,
        payloadLength,
        flags: messageFlags,
      } = decodeRecvmsg(memory.slice(i * 512, res), message);
      assert.deepEqual(payload.slice(), data.bytes.slice());
      assert.deepEqual([payloadLength, messageFlags, control], [data.byteLength, 0, []]);
      assert.deepEqual(name, decodeSockaddr(client.address));
    }
    bench.quiet(ring, 10);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/net/test_udp_recvmsg_multishot_trunc

conformance(
  "tokio/net/test_udp_recvmsg_multishot_trunc",
  "a message is told to be cut in its data and its address, each by itself",
  (bench) => {
    const ring = bench.ring();
    const network = new Network(bench);
    const [server, client] = [network.bound(), network.bound()];
    const [small, large] = [alloc(20), alloc(35)];
    for (const [id, memory] of [small, large].entries()) {
      const size = memory.byteLength;
      assert.equal(
        bench.run(ring, (sqe) => sqe.prepProvideBuffers(memory, size, 1, GROUP, id)),
        0,
      );
    }
    const message = new Msghdr({ nameLength: 4 });
    entry(ring).prepRecvmsgMultishot(server.fd, message, MSG_TRUNC).setBufferGroup(GROUP).setData64(1);
    ring.submit();
    submitted(ring);
    const data = counting(15, 100);
    for (let i = 0; i < 2; i++) {
      assert.equal(
        network.run((sqe) =>
          sqe.prepSendto(client.fd, data, 15, 0, server.address, server.address.byteLength),
        ),
        15,
      );
    }
    const found: Brief[] = [];
    takeUntil(
      ring,
      () => found.length >= 2,
      (...completion) => found.push(completion),
    );
    assert.deepEqual(found.slice(0, 2), [
      [1, HEAD + 4, inBuffer(0, MORE)],
      [1, HEAD + 4 + 15, inBuffer(1, MORE)],
    ]);
    if (found.length > 2) assert.deepEqual(found.slice(2), [[1, -ENOBUFS, 0]]);

    const cut = { namelen: 16, controllen: 0, payloadlen: 15, flags: MSG_TRUNC };
    assert.deepEqual(head(small.bytes), cut);
    assert.deepEqual(head(large.bytes), { ...cut, flags: 0 });
    for (const { bytes } of [small, large]) {
      assert.deepEqual(bytes.slice(HEAD, HEAD + 4), client.address.bytes.slice(0, 4));
      // Part of an address is none.
      assert.throws(() => decodeRecvmsg(bytes, message), { name: "RangeError", message: /address/ });
    }
    assert.deepEqual(large.bytes.slice(HEAD + 4), data.bytes.slice());
  },
  everywhere,
);
