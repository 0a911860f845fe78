import assert from "node:assert/strict";
import { constants } from "node:os";
import { alloc, encodeTimespec, Iovecs, Msghdr, type Pinned, type Ring, UringError } from "uring";
import {
  AF_INET,
  AF_INET6,
  IORING_CQE_BUFFER_SHIFT,
  IORING_CQE_F_BUFFER,
  IORING_CQE_F_MORE,
  IORING_CQE_F_NOTIF,
  IORING_NOTIF_USAGE_ZC_COPIED,
  IORING_RECVSEND_FIXED_BUF,
  IORING_RECVSEND_POLL_FIRST,
  IORING_SEND_VECTORIZED,
  IORING_SEND_ZC_REPORT_USAGE,
  IORING_TIMEOUT_ETIME_SUCCESS,
  IOSQE_ASYNC,
  IOSQE_IO_LINK,
  MSG_MORE,
  MSG_WAITALL,
  SO_RCVBUF,
  SO_SNDBUF,
  SOCK_DGRAM,
  SOL_SOCKET,
} from "uring/abi";
import { type Brief, brief, entry, sorted, submitAll, untilEnded } from "./completions.ts";
import { kernelFrom } from "./kernel.ts";
import { counting, Network } from "./sockets.ts";
import { allRings, type Bench, conformance } from "./support.ts";

const { ECANCELED, EFAULT, EINVAL, ENOMEM, ETIME } = constants.errno;
const MORE = IORING_CQE_F_MORE;
const NOTIF = IORING_CQE_F_NOTIF;

/** Where nothing is mapped. */
const NOWHERE = 8;

// --------------------------------------------------------------------------------------------- liburing/send-zerocopy

conformance(
  "liburing/send-zerocopy",
  "a send has a completion, then a notification, and no more",
  (bench) => {
    const ring = bench.ring();
    const [client] = new Network(bench).streamPair();
    entry(ring).prepSendZc(client, counting(100), 100, 0, 0).setData64(7);
    assert.deepEqual(brief(bench.complete(ring, 2)), [
      [7, 100, MORE],
      [7, 0, NOTIF],
    ]);
    bench.quiet(ring, 20);
  },
  { rings: allRings },
);

conformance(
  "liburing/send-zerocopy",
  "a send of two pieces has a completion for both, then a notification",
  (bench) => {
    const ring = bench.ring();
    const network = new Network(bench);
    const [client, server] = network.streamPair();
    const data = counting(100);
    const iovecs = new Iovecs([data.slice(0, 30), data.slice(30)]);
    entry(ring).prepSendZc(client, iovecs, 2, 0, IORING_SEND_VECTORIZED).setData64(7);
    const target = alloc(100);
    if (!kernelFrom(6, 17)) {
      assert.deepEqual(brief(bench.complete(ring, 1)), [[7, -EINVAL, 0]]);
      return;
    }
    assert.deepEqual(brief(bench.complete(ring, 2)), [
      [7, 100, MORE],
      [7, 0, NOTIF],
    ]);
    assert.equal(
      network.run((sqe) => sqe.prepRecv(server, target, 100, MSG_WAITALL)),
      100,
    );
    assert.deepEqual(target.bytes, data.bytes);
  },
  { rings: allRings },
);

for (const { what, expected, fill } of [
  {
    what: "data that is nowhere",
    expected: -EFAULT,
    fill: (ring: Ring, fd: number) => entry(ring).prepSendZc(fd, NOWHERE, 100, 0, 0),
  },
  {
    what: "an address that is nowhere",
    expected: -EFAULT,
    fill: (ring: Ring, fd: number) =>
      entry(ring).prepSendZc(fd, counting(100), 100, 0, 0).prepSendSetAddr(NOWHERE, 16),
  },
  {
    what: "flags that there are not",
    expected: -EINVAL,
    fill: (ring: Ring, fd: number) => entry(ring).prepSendZc(fd, counting(100), 100, 0, 1 << 15),
  },
]) {
  conformance(
    "liburing/send-zerocopy",
    `a send fails for ${what}; a notification comes only if announced`,
    (bench) => {
      const ring = bench.ring();
      const [sender] = new Network(bench).datagramPair();
      fill(ring, sender).setData64(7);
      const [first, ...others] = untilEnded(ring, 1);
      assert.deepEqual(first?.slice(0, 2), [7, expected]);
      assert.equal((first?.[2] ?? 0) & ~MORE, 0);
      assert.deepEqual(others, first?.[2] === MORE ? [[7, 0, NOTIF]] : []);
      bench.quiet(ring, 20);
    },
    { rings: allRings },
  );
}

conformance(
  "liburing/send-zerocopy",
  "a notification can say whether data was copied after all",
  (bench) => {
    const ring = bench.ring();
    const [client] = new Network(bench).streamPair();
    entry(ring).prepSendZc(client, counting(1), 1, 0, IORING_SEND_ZC_REPORT_USAGE).setData64(7);
    const [first, second] = brief(bench.complete(ring, 2));
    assert.deepEqual(first, [7, 1, MORE]);
    assert.deepEqual([second?.[0], second?.[2]], [7, NOTIF]);
    assert.ok([0, IORING_NOTIF_USAGE_ZC_COPIED | 0].includes(second?.[1] as number), `${second}`);
  },
  { rings: allRings },
);

for (const linked of [false, true]) {
  conformance(
    "liburing/send-zerocopy",
    `an address may be overwritten once a send is submitted${linked ? ", also behind a timeout of a second" : ""}`,
    (bench) => {
      const ring = bench.ring();
      const network = new Network(bench);
      const receiver = network.bound();
      const sender = network.socket(AF_INET, SOCK_DGRAM);
      const address = alloc(receiver.address.byteLength);
      address.bytes.set(receiver.address.bytes);
      const expected: Brief[] = [];
      if (linked) {
        entry(ring)
          .prepTimeout(encodeTimespec(1000), 0, IORING_TIMEOUT_ETIME_SUCCESS)
          .setFlags(IOSQE_IO_LINK)
          .setData64(1);
        expected.push([1, -ETIME, 0]);
      }
      const data = counting(100);
      entry(ring)
        .prepSendZc(sender, data, 100, 0, 0)
        .prepSendSetAddr(address, address.byteLength)
        .setData64(7);
      submitAll(ring, expected.length + 1);
      address.bytes.fill(0xff);
      expected.push([7, 100, MORE], [7, 0, NOTIF]);
      assert.deepEqual(untilEnded(ring, expected.length - 1), expected);
      const target = alloc(100);
      assert.equal(
        network.run((sqe) => sqe.prepRecv(receiver.fd, target, 100, 0)),
        100,
      );
      assert.deepEqual(target.bytes, data.bytes);
    },
    { rings: linked ? ["default", "defer", "sqpoll"] : allRings },
  );
}

/** One way to send. */
interface Way {
  readonly message: boolean;
  readonly zeroCopy: boolean;
  readonly fixed: boolean;
  /** In how many linked operations, all but the last with `MSG_MORE`. */
  readonly chain: number;
  readonly async: boolean;
  readonly pollFirst: boolean;
  readonly pieces: number;
  /** Whether the operation has the address, and not the socket. */
  readonly address: boolean;
}

const eitherWay = [false, true];

/** Every way to send over streams or datagrams. */
function ways(datagrams: boolean): Way[] {
  const all: Way[] = [];
  for (const message of eitherWay)
    for (const zeroCopy of eitherWay)
      for (const fixed of zeroCopy && (!message || kernelFrom(6, 15)) ? eitherWay : [false])
        for (const chain of [1, 5])
          for (const async of eitherWay)
            for (const pollFirst of eitherWay)
              for (const pieces of pieceCounts(message, fixed, datagrams))
                for (const address of datagrams ? eitherWay : [false])
                  all.push({ message, zeroCopy, fixed, chain, async, pollFirst, pieces, address });
  return all;
}

/** In how many pieces data can be sent. */
function pieceCounts(message: boolean, fixed: boolean, datagrams: boolean): number[] {
  // Pieces of a registered buffer are for messages alone: Linux 6.18 refuses others with EINVAL.
  if (!message && (fixed || !kernelFrom(6, 17))) return [1];
  // Where they are not copied each piece is a fragment of the packet, which has at most 17.
  return fixed && datagrams ? [1, 4] : [1, 4, 32];
}

/** Memory in so many pieces of about the same size. */
function cut(memory: Pinned, pieces: number): Pinned[] {
  const at = (i: number) => Math.floor((memory.byteLength * i) / pieces);
  return Array.from({ length: pieces }, (_, i) => memory.slice(at(i), at(i + 1) - at(i)));
}

/** Queues what sends the data in one way; operations are numbered from 0. */
function queue(ring: Ring, fd: number, data: Pinned, way: Way, to: Pinned): Pinned[] {
  const parts = cut(data, way.chain);
  for (const [i, part] of parts.entries()) {
    const last = i === parts.length - 1;
    const flags = MSG_WAITALL | (last ? 0 : MSG_MORE);
    const pieces = Math.min(way.pieces, part.byteLength);
    const sqe = entry(ring).setData64(i);
    let ioprio = way.pollFirst ? IORING_RECVSEND_POLL_FIRST : 0;
    if (way.fixed) ioprio |= IORING_RECVSEND_FIXED_BUF;
    if (way.message) {
      const message = new Msghdr({ iov: cut(part, pieces), ...(way.address ? { name: to } : {}) });
      if (!way.zeroCopy) sqe.prepSendmsg(fd, message, flags);
      else if (way.fixed) sqe.prepSendmsgZcFixed(fd, message, flags, 0);
      else sqe.prepSendmsgZc(fd, message, flags);
    } else {
      const vectorized = pieces > 1;
      if (vectorized) ioprio |= IORING_SEND_VECTORIZED;
      const from = vectorized ? new Iovecs(cut(part, pieces)) : part;
      const count = vectorized ? pieces : part.byteLength;
      if (!way.zeroCopy) sqe.prepSend(fd, from, count, flags);
      else if (way.fixed) sqe.prepSendZcFixed(fd, from, count, flags, ioprio & ~IORING_RECVSEND_FIXED_BUF, 0);
      else sqe.prepSendZc(fd, from, count, flags, ioprio);
      if (way.address) sqe.prepSendSetAddr(to, to.byteLength);
    }
    sqe.setIoprio(ioprio);
    sqe.addFlags((way.async ? IOSQE_ASYNC : 0) | (last ? 0 : IOSQE_IO_LINK));
  }
  return parts;
}

/** Sends data in one way, and makes sure of completions, notifications and what arrives. */
function sendOneWay(
  bench: Bench,
  rings: { readonly sender: Ring; readonly receiver: Ring },
  sockets: { readonly sender: number; readonly receiver: number; readonly to: Pinned },
  data: Pinned,
  target: Pinned,
  way: Way,
): void {
  const size = data.byteLength;
  const what = JSON.stringify(way);
  entry(rings.receiver).prepRecv(sockets.receiver, target, size, MSG_WAITALL).setData64(1);
  rings.receiver.submit();
  const parts = queue(rings.sender, sockets.sender, data, way, sockets.to);
  const found = untilEnded(rings.sender, parts.length, rings.receiver);
  // Pages of the data are locked meanwhile, for which there may be a limit.
  const refused = found.some(([, res]) => res === -ENOMEM) && process.getuid?.() !== 0;
  if (refused) {
    entry(rings.receiver).prepCancel64(1, 0).setData64(2);
    bench.complete(rings.receiver, 2);
    return;
  }
  for (const [i, part] of parts.entries()) {
    const own = found.filter(([userData]) => userData === i);
    const [first, ...notifications] = own;
    assert.deepEqual(first?.slice(0, 2), [i, part.byteLength], `${what}: ${own}`);
    if (way.zeroCopy) {
      assert.equal((first?.[2] ?? 0) & ~MORE, 0, what);
      assert.deepEqual(notifications, first?.[2] === MORE ? [[i, 0, NOTIF]] : [], what);
    } else {
      assert.deepEqual(own, [[i, part.byteLength, 0]], what);
    }
  }
  const [received] = brief(bench.collect(rings.receiver, 1));
  assert.deepEqual(received?.slice(0, 2), [1, size], what);
  assert.equal(Buffer.compare(target.bytes, data.bytes), 0, what);
  target.bytes.fill(0);
}

const MiB = 1024 * 1024;

for (const { protocol, datagrams } of [
  { protocol: "TCP", datagrams: false },
  { protocol: "UDP", datagrams: true },
]) {
  for (const { name, family } of [
    { name: "IPv4", family: AF_INET },
    { name: "IPv6", family: AF_INET6 },
  ] as const) {
    for (const size of datagrams ? [137, 4096, 8138] : [137, 4096, 8138, 32 * MiB]) {
      const large = size >= MiB;
      conformance(
        "liburing/send-zerocopy",
        `${size} bytes arrive in every way to send them over ${protocol} and ${name}`,
        (bench) => {
          const network = new Network(bench);
          const rings = { sender: bench.ring(), receiver: bench.ring() };
          using data = counting(size);
          using target = alloc(size);
          let fixed = true;
          try {
            rings.sender.registerBuffers([data]);
          } catch (error) {
            // Without privileges not so much memory can be locked.
            if (!(error instanceof UringError && error.code === "ENOMEM" && process.getuid?.() !== 0))
              throw error;
            fixed = false;
          }
          for (const address of datagrams ? eitherWay : [false]) {
            let sockets: { sender: number; receiver: number; to: Pinned };
            if (datagrams) {
              const bound = network.bound(family, SOCK_DGRAM);
              const sender = network.socket(family, SOCK_DGRAM);
              if (!address) network.connect(sender, bound.address);
              sockets = { sender, receiver: bound.fd, to: bound.address };
            } else {
              const [sender, receiver] = network.streamPair(family);
              network.setOption(sender, SOL_SOCKET, SO_SNDBUF, MiB);
              network.setOption(receiver, SOL_SOCKET, SO_RCVBUF, MiB);
              sockets = { sender, receiver, to: data };
            }
            for (const way of ways(datagrams)) {
              if (way.address !== address || (way.fixed && !fixed)) continue;
              // What takes long is done in fewer ways.
              if (large && (way.chain > 1 || way.pollFirst !== way.async || way.pieces === 4)) continue;
              sendOneWay(bench, rings, sockets, data, target, way);
            }
          }
          rings.sender.close();
        },
        { rings: ["default", "defer"] },
      );
    }
  }
}

conformance(
  "liburing/send-zerocopy",
  "a message without a header fails, and is notified of only if announced",
  (bench) => {
    const ring = bench.ring();
    const [client] = new Network(bench).streamPair();
    entry(ring).prepSendmsgZc(client, 0, 0).setFlags(IOSQE_ASYNC).setData64(7);
    const [first, ...others] = untilEnded(ring, 1);
    assert.deepEqual(first?.slice(0, 2), [7, -EFAULT]);
    assert.deepEqual(others, first?.[2] === MORE ? [[7, 0, NOTIF]] : []);
    bench.quiet(ring, 20);
  },
  { rings: allRings },
);

// ----------------------------------------------------------------------------------------------------------- tokio/net

for (const { id, what, fixed } of [
  { id: "tokio/net/test_tcp_zero_copy_send_recv", what: "a send", fixed: false },
  {
    id: "tokio/net/test_tcp_zero_copy_send_fixed",
    what: "a send from the middle of a registered buffer",
    fixed: true,
  },
]) {
  conformance(
    id,
    `${what} linked to a receive has a completion and a notification`,
    (bench) => {
      const ring = bench.ring();
      const [client, server] = new Network(bench).streamPair();
      const whole = counting(1024);
      const data = whole.slice(7, 44);
      const target = alloc(44);
      if (fixed) ring.registerBuffers([whole]);
      const sqe = entry(ring);
      if (fixed) sqe.prepSendZcFixed(client, data, 44, 0, 0, 0);
      else sqe.prepSendZc(client, data, 44, 0, 0);
      sqe.setFlags(IOSQE_IO_LINK).setData64(1);
      entry(ring).prepRecv(server, target, 44, 0).setData64(2);
      const [first, ...others] = brief(bench.complete(ring, 3));
      assert.deepEqual(first, [1, 44, MORE]);
      assert.deepEqual(
        others.sort(([a], [b]) => a - b),
        [
          [1, 0, NOTIF],
          [2, 44, 0],
        ],
      );
      assert.deepEqual(target.bytes, data.bytes);
    },
    { rings: allRings },
  );
}

conformance(
  "tokio/net/test_udp_sendzc_with_dest",
  "a send to an address arrives in a buffer of a multishot receive",
  (bench) => {
    const ring = bench.ring();
    const network = new Network(bench);
    const receiver = network.bound();
    const sender = network.socket(AF_INET, SOCK_DGRAM);
    const buffers = ring.setupBufRing({ group: 3, entries: 4, bufferSize: 64 });
    entry(ring).prepRecvMultishot(receiver.fd, 0, 0, 0).setBufferGroup(3).setData64(1);
    const data = counting(11);
    entry(ring)
      .prepSendZc(sender, data, 11, 0, 0)
      .prepSendSetAddr(receiver.address, receiver.address.byteLength)
      .setData64(2);
    const found = bench.complete(ring, 3);
    assert.deepEqual(brief(found.filter(({ userData }) => userData === 2)), [
      [2, 11, MORE],
      [2, 0, NOTIF],
    ]);
    assert.deepEqual(brief(found.filter(({ userData }) => userData === 1)), [
      [1, 11, MORE | IORING_CQE_F_BUFFER | (0 << IORING_CQE_BUFFER_SHIFT)],
    ]);
    assert.deepEqual(buffers.get(0, 11).slice(), data.bytes.slice());
    entry(ring).prepCancel64(1, 0).setData64(3);
    assert.deepEqual(sorted(bench.complete(ring, 2)), [
      [1, -ECANCELED, 0],
      [3, 0, 0],
    ]);
  },
  { rings: allRings },
);
