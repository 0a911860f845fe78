import assert from "node:assert/strict";
import { constants } from "node:os";
import { alloc, cstring, Direct, encodeSockaddr, Iovecs, Msghdr, type Pinned, Ring } from "uring";
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  IORING_ACCEPT_MULTISHOT,
  IORING_CQE_BUFFER_SHIFT,
  IORING_CQE_F_32,
  IORING_CQE_F_BUFFER,
  IORING_CQE_F_MORE,
  IORING_CQE_F_SOCK_NONEMPTY,
  IORING_CQE_F_TSTAMP_HW,
  IORING_FEAT_RECVSEND_BUNDLE,
  IORING_FEAT_SQPOLL_NONFIXED,
  IORING_FILE_INDEX_ALLOC,
  IORING_REGISTER_NAPI,
  IORING_SEND_VECTORIZED,
  IORING_SETUP_CQE_MIXED,
  IORING_SETUP_SUBMIT_ALL,
  IORING_TIMESTAMP_TYPE_SHIFT,
  IOSQE_ASYNC,
  IOSQE_IO_LINK,
  IPPROTO_TCP,
  IPPROTO_UDP,
  io_uring_napi,
  iovec,
  MSG_DONTWAIT,
  MSG_WAITALL,
  msghdr,
  SHUT_RDWR,
  SHUT_WR,
  SO_RCVBUF,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SO_SNDBUF,
  SO_TIMESTAMPING,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOCKET_URING_OP_GETSOCKOPT,
  SOCKET_URING_OP_SETSOCKOPT,
  SOCKET_URING_OP_TX_TIMESTAMP,
  SOF_TIMESTAMPING_OPT_CMSG,
  SOF_TIMESTAMPING_OPT_ID,
  SOF_TIMESTAMPING_OPT_TSONLY,
  SOF_TIMESTAMPING_SOFTWARE,
  SOF_TIMESTAMPING_TX_ACK,
  SOF_TIMESTAMPING_TX_SCHED,
  SOF_TIMESTAMPING_TX_SOFTWARE,
  SOL_SOCKET,
  sockaddr_in,
  sockaddr_storage,
  TCP_USER_TIMEOUT,
} from "uring/abi";
import { mustCall, syscall } from "../support/system.ts";
import { type Brief, brief, entry, sorted, submitAll, submitted } from "./completions.ts";
import { PATIENCE_MS, sleep } from "./durations.ts";
import { kernelFrom } from "./kernel.ts";
import { runProgram } from "./program.ts";
import { anyAddress, boundAddress, counting, int32, Network, nonBlocking, socketOption } from "./sockets.ts";
import { allRings, type Bench, type Completion, conformance, type RingType } from "./support.ts";

const {
  EAGAIN,
  EALREADY,
  ECANCELED,
  ECONNREFUSED,
  ECONNRESET,
  EDESTADDRREQ,
  EFAULT,
  EINTR,
  EINVAL,
  ENETUNREACH,
  ENFILE,
  ENOBUFS,
  ENOENT,
  ENOTCONN,
  EPIPE,
} = constants.errno;
const MORE = IORING_CQE_F_MORE;
const NONEMPTY = IORING_CQE_F_SOCK_NONEMPTY;

/** Kinds of ring that complete what they can before `submit` returns. */
const inline: RingType[] = allRings.filter((type) => type !== "sqpoll");

// ----------------------------------------------------------------------------------------------- liburing/232c93d07b74

/** The result of the one operation there is, number 1; consumes exactly what is there. */
function only(ring: Ring): number {
  const found: [number, number][] = [];
  ring.submitAndWait(1, { timeout: PATIENCE_MS });
  const slots = ring.forEachCqe(({ userData, res }) => found.push([userData, res]));
  ring.cqAdvance(slots);
  const [[userData, res]] = found as [[number, number]];
  assert.deepEqual([found.length, userData], [1, 1]);
  assert.equal(ring.cqReady, 0);
  return res;
}

for (const { family, name } of [
  { family: AF_INET, name: "TCP" },
  { family: AF_UNIX, name: "Unix" },
] as const) {
  for (const flags of [0, SOCK_NONBLOCK]) {
    conformance(
      "liburing/232c93d07b74",
      `33 bytes go in order from writes of 3 to reads of 2: ${flags === 0 ? "blocking" : "non-blocking"} ${name} sockets`,
      (bench) => {
        const [client, server] = new Network(bench).streamPair(family, flags);
        const reader = bench.ring();
        const writer = bench.ring();
        const data = counting(33);
        const target = alloc(2);
        const received: number[] = [];
        let sent = 0;
        const retry = (res: number) => flags !== 0 && res === -EAGAIN;
        while (received.length < 33) {
          // The read comes first: it waits, or on a non-blocking socket may fail with -EAGAIN.
          entry(reader)
            .prepReadv(server, new Iovecs([target]), 1, 0)
            .setData64(1);
          submitAll(reader, 1);
          if (sent < 33) {
            const length = Math.min(3, 33 - sent);
            entry(writer)
              .prepWritev(client, new Iovecs([data.slice(sent, length)]), 1, 0)
              .setData64(1);
            const written = only(writer);
            if (!retry(written)) {
              assert.ok(written >= 1 && written <= length, `writev: ${written}`);
              sent += written;
            }
          }
          const read = only(reader);
          if (retry(read)) continue;
          assert.ok(read >= 1 && read <= 2, `readv: ${read}`);
          received.push(...target.bytes.slice(0, read));
        }
        assert.deepEqual(received, [...data.bytes]);
      },
      { rings: allRings },
    );
  }
}

// ----------------------------------------------------------------------------------------------------- liburing/accept

/** Makes sure that 128 bytes written on one socket are read on the other. */
function exchange(bench: Bench, ring: Ring, client: number, server: number | Direct): void {
  const [data, target] = [counting(128), alloc(128)];
  entry(ring)
    .prepWritev(client, new Iovecs([data]), 1, 0)
    .setData64(1);
  entry(ring)
    .prepReadv(server, new Iovecs([target]), 1, 0)
    .setData64(2);
  assert.deepEqual(sorted(bench.complete(ring, 2)), [
    [1, 128, 0],
    [2, 128, 0],
  ]);
  assert.deepEqual(target.bytes, data.bytes);
}

/** Completions with the new fds as they came, closed when the test ends, and flags without `SOCK_NONEMPTY`. */
function accepted(network: Network, completions: readonly Completion[]): Brief[] {
  return brief(completions).map(([userData, res, flags]) => [userData, network.own(res), flags & ~NONEMPTY]);
}

for (const listenerFlags of [0, SOCK_NONBLOCK]) {
  for (const order of ["before", "after"] as const) {
    for (const count of [1, 4]) {
      const many = count === 1 ? "one at a time" : `${count} at once`;
      const blocking = listenerFlags === 0 ? "blocking" : "non-blocking";
      conformance(
        "liburing/accept",
        `accepts submitted ${order} the clients connect give usable fds: ${many}, ${blocking} listener`,
        (bench) => {
          const ring = bench.ring();
          const network = new Network(bench);
          const listener = network.listener({ flags: listenerFlags });
          for (let round = 0; round < 3; round++) {
            const clients: number[] = [];
            const connect = () => {
              for (let i = 0; i < count; i++) clients.push(network.client(listener.address));
            };
            if (order === "after") connect();
            for (let i = 0; i < count; i++) entry(ring).prepAccept(listener.fd, 0, 0, 0).setData64(i);
            submitAll(ring, count);
            if (order === "before") connect();
            const servers = accepted(network, bench.collect(ring, count));
            assert.deepEqual(
              servers.map(([userData]) => userData).sort(),
              Array.from({ length: count }, (_, i) => i),
            );
            assert.ok(servers.every(([, , flags]) => flags === 0));
            for (const client of clients) {
              const port = boundAddress(client).bytes.slice(2, 4);
              const server = servers.find(([, fd]) => {
                const peer = peerName(fd);
                return peer.slice(2, 4).every((byte, i) => byte === port[i]);
              });
              assert.ok(server !== undefined);
              exchange(bench, ring, client, server[1]);
            }
          }
        },
        { rings: allRings },
      );
    }
  }
}

/** The address of an IPv4 socket's peer, as getsockopt(2) tells it. */
function peerName(fd: number): Uint8Array {
  return plainOption(fd, SOL_SOCKET, SO_PEERNAME, sockaddr_in.sizeof);
}

/** `linux/socket.h`: the peer's address as an option. */
const SO_PEERNAME = 28;

/** An option of `size` bytes, as getsockopt(2) tells it. */
function plainOption(fd: number, level: number, name: number, size: number): Uint8Array {
  using value = alloc(size);
  using length = int32(size);
  mustCall("getsockopt", fd, level, name, value.address, length.address);
  return value.bytes.slice(0, new Int32Array(length.bytes.slice().buffer)[0]);
}

for (const order of ["before", "after"] as const) {
  conformance(
    "liburing/accept",
    `a multishot accept queued ${order} 32 clients connect gives each a distinct fd`,
    (bench) => {
      const ring = bench.ring({ cqEntries: 128 });
      const network = new Network(bench);
      const listener = network.listener();
      const connect = () => {
        for (let i = 0; i < 32; i++) network.client(listener.address);
      };
      if (order === "after") connect();
      entry(ring).prepMultishotAccept(listener.fd, 0, 0, 0).setData64(5);
      submitAll(ring, 1);
      if (order === "before") connect();
      const servers = accepted(network, bench.collect(ring, 32));
      for (const [userData, fd, flags] of servers) {
        assert.deepEqual([userData, flags], [5, MORE]);
        assert.equal(peerName(fd).length, 16);
      }
      assert.equal(new Set(servers.map(([, fd]) => fd)).size, 32);
      bench.quiet(ring, 20);
    },
    { rings: allRings },
  );
}

conformance(
  "liburing/accept",
  "a multishot accept into a full completion queue loses no connection; armed anew once it has ended it goes on",
  (bench) => {
    const ring = bench.ring({ entries: 16, cqEntries: 16 });
    const network = new Network(bench);
    const listener = network.listener();
    for (let i = 0; i < 16; i++) entry(ring).prepNop().setData64(0);
    submitAll(ring, 16);
    let armed = 100;
    const arm = () => {
      entry(ring).prepMultishotAccept(listener.fd, 0, 0, 0).setData64(++armed);
      ring.submit();
      submitted(ring);
    };
    arm();
    for (let i = 0; i < 32; i++) network.client(listener.address);
    ring.getEvents();
    const servers = new Set<number>();
    let nops = 0;
    const end = performance.now() + PATIENCE_MS;
    while (servers.size < 32 && performance.now() < end) {
      let ended = false;
      ring.submitAndWait(1, { timeout: 20 });
      ring.drain((userData, res, flags) => {
        if (userData === 0) {
          nops++;
          return;
        }
        assert.equal(userData, armed);
        servers.add(network.own(res));
        assert.equal(peerName(res).length, 16);
        ended ||= (flags & MORE) === 0;
      });
      if (ended) arm();
    }
    assert.equal(servers.size, 32);
    assert.equal(nops, 16);
    assert.equal(ring.cqOverflow, 0);
    bench.quiet(ring, 20);
  },
  { rings: allRings },
);

conformance(
  "liburing/accept",
  "an accept into slot 0 has 0 as its result, and the slot reads what the client writes",
  (bench) => {
    const ring = bench.ring();
    ring.registerFilesSparse(1);
    const network = new Network(bench);
    const listener = network.listener();
    const client = network.client(listener.address);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepAcceptDirect(listener.fd, 0, 0, 0, 0)),
      0,
    );
    exchange(bench, ring, client, new Direct(0));
  },
  { rings: allRings },
);

conformance(
  "liburing/accept",
  "a multishot accept into any slot fills each of 32 once",
  (bench) => {
    const ring = bench.ring({ cqEntries: 128 });
    ring.registerFilesSparse(32);
    const network = new Network(bench);
    const listener = network.listener();
    entry(ring).prepMultishotAcceptDirect(listener.fd, 0, 0, 0).setData64(5);
    submitAll(ring, 1);
    const clients = Array.from({ length: 32 }, () => network.client(listener.address));
    const found = brief(bench.collect(ring, 32));
    for (const [userData, , flags] of found) assert.deepEqual([userData, flags & ~NONEMPTY], [5, MORE]);
    assert.deepEqual(
      found.map(([, slot]) => slot).sort((a, b) => a - b),
      Array.from({ length: 32 }, (_, i) => i),
    );
    // The order of connections is that of slots, as long as nobody else takes one.
    exchange(bench, ring, clients[31] as number, new Direct(found[31]?.[1] as number));
  },
  { rings: allRings },
);

conformance(
  "liburing/accept",
  "a multishot accept into one slot is -EINVAL",
  (bench) => {
    const ring = bench.ring();
    ring.registerFilesSparse(4);
    const { fd } = new Network(bench).listener();
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepAcceptDirect(fd, 0, 0, 0, 1).setIoprio(IORING_ACCEPT_MULTISHOT)),
      -EINVAL,
    );
  },
  { rings: allRings },
);

conformance(
  "liburing/accept",
  "a poller thread accepts on a listener that is no registered file",
  (bench) => {
    const ring = bench.ring();
    assert.notEqual(ring.features & IORING_FEAT_SQPOLL_NONFIXED, 0);
    const network = new Network(bench);
    const listener = network.listener();
    const client = network.client(listener.address);
    const fd = network.own(bench.run(ring, (sqe) => sqe.prepAccept(listener.fd, 0, 0, 0)));
    exchange(bench, ring, client, fd);
  },
  { rings: ["sqpoll"] },
);

for (const shot of ["single", "multi"] as const) {
  for (const count of [1, 4]) {
    for (const pause of [0, 10]) {
      conformance(
        "liburing/accept",
        `${count} pending ${shot}shot accepts are cancelled ${pause === 0 ? "at once" : "after a pause"}`,
        async (bench) => {
          const ring = bench.ring();
          const { fd } = new Network(bench).listener();
          for (let i = 0; i < count; i++) {
            const sqe = entry(ring).setData64(i);
            if (shot === "single") sqe.prepAccept(fd, 0, 0, 0);
            else sqe.prepMultishotAccept(fd, 0, 0, 0);
          }
          submitAll(ring, count);
          if (pause > 0) await sleep(pause);
          for (let i = 0; i < count; i++)
            entry(ring)
              .prepCancel64(i, 0)
              .setData64(100 + i);
          const found = sorted(bench.complete(ring, 2 * count));
          for (const [i, [userData, res, flags]] of found.entries()) {
            assert.deepEqual([userData, flags], [i < count ? i : 100 + i - count, 0]);
            const allowed = i < count ? [-ECANCELED, -EINTR] : [0, -EALREADY];
            assert.ok(allowed.includes(res), `${userData}: ${res}`);
          }
          bench.quiet(ring, 20);
        },
        { rings: allRings },
      );
    }
  }
}

for (const listeners of [128, 1]) {
  for (const flags of [0, SOCK_NONBLOCK]) {
    for (const close of ["keep", "close"]) {
      const what = [
        listeners === 1 ? "one listener" : "a listener each",
        flags === 0 ? "blocking" : "non-blocking",
        close === "close" ? "closed before" : "open",
      ].join(", ");
      conformance("liburing/accept", `a ring with 128 pending accepts closes: ${what}`, () => {
        const { code, output, milliseconds } = runProgram("pending-accepts", [
          `${listeners}`,
          `${flags}`,
          close,
        ]);
        assert.equal(code, 42, output);
        assert.ok(milliseconds < 10_000, `${milliseconds} ms`);
      });
    }
  }
}

conformance(
  "liburing/accept",
  "a ring with 128 pending accepts closes where there may be few threads",
  () => {
    const { code, output } = runProgram("pending-accepts", ["128", "0", "keep", "32"]);
    assert.equal(code, 42, output);
  },
);

conformance("liburing/accept", "a process that waits for a connection ends by a signal", () => {
  const { signal, output, milliseconds } = runProgram("killed-accept");
  assert.equal(signal, "SIGTERM", output);
  assert.ok(milliseconds >= 1000 && milliseconds < 10_000, `${milliseconds} ms`);
});

// ------------------------------------------------------------------------------------------- liburing/accept-non-empty

for (const kind of ["fds", "slots"] as const) {
  conformance(
    "liburing/accept-non-empty",
    `all accepts but the last of 8 waiting clients tell that more wait: into ${kind}`,
    (bench) => {
      const ring = bench.ring();
      assert.notEqual(ring.features & IORING_FEAT_RECVSEND_BUNDLE, 0);
      const network = new Network(bench);
      const listener = network.listener();
      if (kind === "slots") ring.registerFilesSparse(8);
      for (let i = 0; i < 8; i++) network.client(listener.address);
      for (let i = 0; i < 8; i++) {
        const sqe = entry(ring).setData64(i);
        if (kind === "slots") sqe.prepAcceptDirect(listener.fd, 0, 0, 0, i);
        else sqe.prepAccept(listener.fd, 0, 0, 0);
        const { userData, res, flags } = bench.one(ring);
        assert.deepEqual([userData, flags], [i, i < 7 ? NONEMPTY : 0]);
        if (kind === "slots") assert.equal(res, 0);
        else network.own(res);
      }
    },
    { rings: ["default", "defer"] },
  );
}

// ------------------------------------------------------------------------------------------------ liburing/accept-test

conformance(
  "liburing/accept-test",
  "an accept with room for an address waits for a client, and the ring closes with it pending",
  (bench) => {
    const ring = bench.ring();
    const { fd } = new Network(bench).listener({ family: AF_UNIX });
    const address = alloc(sockaddr_storage.sizeof);
    entry(ring).prepAccept(fd, address, int32(address.byteLength), 0).setData64(1);
    submitAll(ring, 1);
    assert.equal(ring.waitCqe({ timeout: 1 }), null);
    assert.deepEqual(ring.close({ deadline: PATIENCE_MS }), { leaked: 0 });
  },
  { rings: allRings },
);

// ----------------------------------------------------------------------------------------------- liburing/conn-unreach

conformance(
  "liburing/conn-unreach",
  "a connect that nobody answers ends when the socket is shut down",
  async (bench) => {
    const network = new Network(bench);
    // With its queue full a listener leaves who asks next without an answer, as a host does that can not be reached.
    const listener = network.listener({ backlog: 0 });
    network.client(listener.address);
    const ring = bench.ring();
    const fd = network.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK);
    entry(ring).prepConnect(fd, listener.address, listener.address.byteLength).setData64(1);
    submitAll(ring, 1);
    bench.quiet(ring, 200);
    entry(ring).prepShutdown(fd, SHUT_RDWR).setData64(2);
    const [connect, shutdown] = sorted(bench.complete(ring, 2));
    assert.deepEqual(connect, [1, -ECONNRESET, 0]);
    assert.equal(shutdown?.[0], 2);
    assert.ok([0, -ENOTCONN].includes(shutdown?.[1] as number), `shutdown: ${shutdown}`);
  },
  { rings: allRings },
);

conformance(
  "liburing/conn-unreach",
  "a connect for which there is no way fails at once",
  (bench) => {
    const network = new Network(bench);
    const ring = bench.ring();
    const fd = network.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK);
    // No stream goes to everybody, so nothing leaves the machine.
    const address = encodeSockaddr({ family: "ipv4", address: "255.255.255.255", port: 9 });
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepConnect(fd, address, address.byteLength)),
      -ENETUNREACH,
    );
    const shutdown = bench.run(ring, (sqe) => sqe.prepShutdown(fd, SHUT_RDWR));
    assert.ok([0, -ENOTCONN].includes(shutdown), `shutdown: ${shutdown}`);
  },
  { rings: allRings },
);

// ------------------------------------------------------------------------------------------------ liburing/connect-rep

for (const poller of [false, true]) {
  conformance(
    "liburing/connect-rep",
    `32 connects of one socket to where nobody listens are all refused${poller ? ", with the poller asleep before" : ""}`,
    async (bench) => {
      const network = new Network(bench);
      const { address } = network.bound(AF_INET, SOCK_STREAM);
      const ring = bench.ring(poller ? { sqThreadIdle: 50 } : {});
      const fd = network.socket();
      for (let i = 0; i < 32; i++) {
        if (poller) await sleep(70);
        const copy = encodeSockaddr({ family: "other", number: AF_INET, data: address.bytes.slice(2) });
        entry(ring).prepConnect(fd, copy, copy.byteLength).setData64(i);
        submitAll(ring, 1);
        copy.bytes.fill(0xff);
        assert.deepEqual(brief(bench.collect(ring, 1)), [[i, -ECONNREFUSED, 0]]);
      }
    },
    { rings: poller ? ["sqpoll"] : inline },
  );
}

// ------------------------------------------------------------------------------------------------- liburing/recv-msgall

for (const message of [false, true]) {
  const name = message ? "recvmsg" : "recv";
  const receive = (ring: Ring, fd: number, buffer: Pinned) => {
    const sqe = entry(ring).setData64(1);
    if (message) sqe.prepRecvmsg(fd, new Msghdr({ iov: [buffer] }), MSG_WAITALL);
    else sqe.prepRecv(fd, buffer, buffer.byteLength, MSG_WAITALL);
  };

  conformance(
    "liburing/recv-msgall",
    `a ${name} that waits for all takes one datagram, not two`,
    (bench) => {
      const network = new Network(bench);
      const [sender, receiver] = network.datagramPair();
      const ring = bench.ring();
      const buffer = alloc(512);
      receive(ring, receiver.fd, buffer);
      ring.submit();
      const data = counting(512);
      network.send(sender, data.slice(0, 256), 256);
      network.send(sender, data.slice(256), 256);
      const [[userData, res, flags] = []] = brief(bench.collect(ring, 1));
      assert.deepEqual([userData, res, (flags ?? 0) & ~NONEMPTY], [1, 256, 0]);
      assert.deepEqual(buffer.bytes.slice(0, 256), data.bytes.slice(0, 256));
      assert.ok(buffer.bytes.slice(256).every((byte) => byte === 0));
    },
    { rings: allRings },
  );

  conformance(
    "liburing/recv-msgall-stream",
    `a ${name} that waits for all takes both halves of a stream, 10 ms apart`,
    async (bench) => {
      const network = new Network(bench);
      const [client, server] = network.streamPair();
      const ring = bench.ring();
      const buffer = alloc(512);
      receive(ring, server, buffer);
      ring.submit();
      const data = counting(512);
      network.send(client, data.slice(0, 256), 256);
      await sleep(10);
      ring.getEvents();
      assert.equal(ring.cqReady, 0);
      network.send(client, data.slice(256), 256);
      assert.deepEqual(brief(bench.collect(ring, 1)), [[1, 512, 0]]);
      assert.deepEqual(buffer.bytes, data.bytes);
    },
    { rings: allRings },
  );
}

// -------------------------------------------------------------------------------------------------- liburing/send_recv

/** A datagram of 4096 bytes, received by an operation that was there before it was sent. */
function datagram(
  bench: Bench,
  send: (ring: Ring, fd: number, data: Pinned) => void,
  flags = 0,
  fixed = false,
): void {
  const [sender, receiver] = new Network(bench).datagramPair();
  const ring = bench.ring();
  if (fixed) ring.registerFiles([receiver.fd, sender]);
  const [data, buffer] = [counting(4096), alloc(4096)];
  entry(ring)
    .prepRecv(fixed ? new Direct(0) : receiver.fd, buffer, 4096, 0)
    .addFlags(flags)
    .setData64(1);
  ring.submit();
  send(ring, sender, data);
  assert.deepEqual(sorted(bench.complete(ring, 2)), [
    [1, 4096, 0],
    [2, 4096, 0],
  ]);
  assert.deepEqual(buffer.bytes, data.bytes);
}

for (const { name, flags } of [
  { name: "", flags: 0 },
  { name: ", asynchronous", flags: IOSQE_ASYNC },
]) {
  conformance(
    "liburing/send_recv",
    `4096 bytes go in one datagram${name}`,
    (bench) => {
      const send = (ring: Ring, fd: number, data: Pinned) =>
        entry(ring).prepSend(fd, data, 4096, 0).setFlags(flags).setData64(2);
      datagram(bench, send, flags);
    },
    { rings: allRings },
  );

  conformance(
    "liburing/send_recv",
    `4096 bytes go in one datagram between registered sockets${name}`,
    (bench) => {
      const send = (ring: Ring, _: number, data: Pinned) =>
        entry(ring).prepSend(new Direct(1), data, 4096, 0).addFlags(flags).setData64(2);
      datagram(bench, send, flags, true);
    },
    { rings: allRings },
  );
}

for (const pieces of [2, 32]) {
  conformance(
    "liburing/send_recv",
    `4096 bytes go from ${pieces} pieces in one datagram`,
    (bench) => {
      const iovecs = (data: Pinned) => {
        const size = 4096 / pieces;
        return new Iovecs(Array.from({ length: pieces }, (_, i) => data.slice(i * size, size)));
      };
      if (!kernelFrom(6, 17)) {
        const [fd] = new Network(bench).datagramPair();
        const refused = bench.run(bench.ring(), (sqe) =>
          sqe.prepSend(fd, iovecs(counting(4096)), pieces, 0).setIoprio(IORING_SEND_VECTORIZED),
        );
        assert.equal(refused, -EINVAL);
        return;
      }
      datagram(bench, (ring, fd, data) =>
        entry(ring).prepSend(fd, iovecs(data), pieces, 0).setIoprio(IORING_SEND_VECTORIZED).setData64(2),
      );
    },
    { rings: allRings },
  );
}

conformance(
  "liburing/send_recv",
  "a receive into a group without buffers is -ENOBUFS, and says nothing of more data",
  (bench) => {
    const ring = bench.ring();
    const network = new Network(bench);
    const [sender, receiver] = network.datagramPair();
    ring.setupBufRing({ group: 3, entries: 4, bufferSize: 64, fill: false });
    for (const waiting of [false, true]) {
      if (waiting) for (let i = 0; i < 2; i++) network.send(sender, counting(16), 16);
      entry(ring).prepRecv(receiver.fd, 0, 0, 0).setBufferGroup(3).setData64(1);
      assert.deepEqual(brief(bench.complete(ring, 1)), [[1, -ENOBUFS, 0]]);
    }
  },
  { rings: allRings },
);

conformance(
  "liburing/send_recv",
  "messages without a header are -EFAULT",
  (bench) => {
    const ring = bench.ring({ flags: IORING_SETUP_SUBMIT_ALL });
    const [sender, receiver] = new Network(bench).datagramPair();
    entry(ring).prepSendmsg(sender, 0, 0).setFlags(IOSQE_ASYNC).setData64(1);
    entry(ring).prepRecvmsg(receiver.fd, 0, 0).setFlags(IOSQE_ASYNC).setData64(2);
    submitAll(ring, 2, 2);
    assert.deepEqual(sorted(bench.collect(ring, 2)), [
      [1, -EFAULT, 0],
      [2, -EFAULT, 0],
    ]);
  },
  { rings: allRings },
);

// ----------------------------------------------------------------------------------------------- liburing/send_recvmsg

const TEXT = "This is a test of sendmsg and recvmsg over io_uring!";

for (const pieces of [1, 10]) {
  for (const flags of [0, IOSQE_ASYNC]) {
    conformance(
      "liburing/send_recvmsg",
      `a message with an address arrives in ${pieces} pieces${flags === 0 ? "" : ", asynchronous"}`,
      (bench) => {
        const network = new Network(bench);
        const receiver = network.bound();
        const sender = network.bound();
        const ring = bench.ring();
        const text = cstring(TEXT);
        const length = text.byteLength;
        const target = alloc(length);
        // All but the last take one byte.
        const iov = Array.from({ length: pieces }, (_, i) =>
          i < pieces - 1 ? target.slice(i, 1) : target.slice(i),
        );
        const received = new Msghdr({ iov, nameLength: 128 });
        entry(ring).prepRecvmsg(receiver.fd, received, 0).setFlags(flags).setData64(1);
        ring.submit();
        {
          // Once it is submitted, the header is free for other use.
          using sent = new Msghdr({ iov: [text], name: receiver.address });
          entry(ring).prepSendmsg(sender.fd, sent, 0).setFlags(flags).setData64(2);
          ring.submit();
          submitted(ring);
        }
        assert.deepEqual(sorted(bench.collect(ring, 2)), [
          [1, length, 0],
          [2, length, 0],
        ]);
        assert.equal(new TextDecoder().decode(target.bytes.slice()), `${TEXT}\0`);
        assert.deepEqual(received.name, new Msghdr({ name: sender.address }).name);
        assert.equal(received.flags, 0);
      },
      { rings: allRings },
    );
  }
}

for (const kind of ["a buffer ring", "provided buffers", "no buffers"] as const) {
  conformance(
    "liburing/send_recvmsg",
    `a message into ${kind === "no buffers" ? "a group without buffers is -ENOBUFS" : `one of ${kind} names it`}`,
    (bench) => {
      const network = new Network(bench);
      const [sender, receiver] = network.datagramPair();
      const ring = bench.ring();
      const text = cstring(TEXT);
      let read = (): Uint8Array => new Uint8Array(0);
      if (kind === "a buffer ring") {
        const buffers = ring.setupBufRing({ group: 7, entries: 1, bufferSize: 128, firstId: 89 });
        read = () => buffers.get(89, text.byteLength);
      } else if (kind === "provided buffers") {
        const memory = alloc(128);
        const provided = bench.run(ring, (sqe) => sqe.prepProvideBuffers(memory, 128, 1, 7, 89));
        assert.ok(provided >= 0, `provide: ${provided}`);
        read = () => memory.bytes.subarray(0, text.byteLength);
      }
      const empty = new Msghdr({ iov: [new Uint8Array(0)] });
      entry(ring).prepRecvmsg(receiver.fd, empty, 0).setBufferGroup(7).setData64(1);
      ring.submit();
      network.send(sender, text, text.byteLength);
      const [completion] = brief(bench.collect(ring, 1));
      if (kind === "no buffers") {
        assert.deepEqual(completion, [1, -ENOBUFS, 0]);
        return;
      }
      const flags = IORING_CQE_F_BUFFER | (89 << IORING_CQE_BUFFER_SHIFT);
      assert.deepEqual(completion, [1, text.byteLength, flags]);
      assert.deepEqual(read().slice(), text.bytes.slice());
    },
    { rings: allRings },
  );
}

// ------------------------------------------------------------------------------------------ liburing/sendmsg_iov_clean

/** A message as C would have it on its stack: header and iovecs in memory that can be overwritten. */
function openMessage(pieces: readonly Pinned[]): Pinned {
  const memory = alloc(msghdr.sizeof + pieces.length * iovec.sizeof);
  const view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset, memory.byteLength);
  view.setBigUint64(msghdr.msg_iov, BigInt(memory.address + msghdr.sizeof), true);
  view.setBigUint64(msghdr.msg_iovlen, BigInt(pieces.length), true);
  for (const [i, piece] of pieces.entries()) {
    const at = msghdr.sizeof + i * iovec.sizeof;
    view.setBigUint64(at + iovec.iov_base, BigInt(piece.address), true);
    view.setBigUint64(at + iovec.iov_len, BigInt(piece.byteLength), true);
  }
  return memory;
}

conformance(
  "liburing/sendmsg_iov_clean",
  "256 messages that wait for room need neither header nor iovecs any more",
  (bench) => {
    const network = new Network(bench);
    const [client, server] = network.streamPair();
    network.setOption(client, SOL_SOCKET, SO_SNDBUF, 4096);
    network.setOption(server, SOL_SOCKET, SO_RCVBUF, 4096);
    assert.equal(socketOption(client, SOL_SOCKET, SO_SNDBUF), 8192);
    const filler = alloc(4096);
    filler.bytes.fill(0x11);
    let waiting = 0;
    for (let res = 1; res > 0; ) {
      res = network.run((sqe) => sqe.prepSend(client, filler, filler.byteLength, MSG_DONTWAIT));
      if (res > 0) waiting += res;
      else assert.equal(res, -EAGAIN);
    }
    assert.ok(waiting > 0);

    const ring = bench.ring({ entries: 256 });
    const data = alloc(16 * 64);
    data.bytes.fill(0xa5);
    const pieces = Array.from({ length: 16 }, (_, i) => data.slice(64 * i, 64));
    const messages = Array.from({ length: 256 }, (_, i) => {
      const message = openMessage(pieces);
      entry(ring).prepSendmsg(client, message.address, 0).setData64(i);
      return message;
    });
    submitAll(ring, 256);
    for (const message of messages) message.bytes.fill(0x5a);
    bench.quiet(ring, 20);

    // The reader takes a little at a time.
    const target = alloc(2048);
    const sent = new Map<number, number>();
    let received = 0;
    const end = performance.now() + PATIENCE_MS;
    const total = () => [...sent.values()].reduce((sum, res) => sum + res, 0);
    while (sent.size < 256 || received < waiting + total()) {
      assert.ok(performance.now() < end, `${sent.size} messages sent, ${received} bytes received`);
      const res = network.run((sqe) => sqe.prepRecv(server, target, target.byteLength, MSG_DONTWAIT));
      if (res > 0) {
        for (let i = 0; i < res; i++) {
          assert.equal(target.bytes[i], received + i < waiting ? 0x11 : 0xa5);
        }
        received += res;
      } else {
        assert.equal(res, -EAGAIN);
        ring.submitAndWait(1, { timeout: 20 });
      }
      ring.drain((userData, bytes, flags) => {
        assert.ok(bytes > 0 && bytes <= 1024, `message ${userData}: ${bytes}`);
        assert.equal(flags, 0);
        assert.ok(!sent.has(userData));
        sent.set(userData, bytes);
      });
    }
    assert.equal(received, waiting + total());
  },
  { rings: ["defer", "default"] },
);

// --------------------------------------------------------------------------------------------------- liburing/shutdown

conformance(
  "liburing/shutdown",
  "a socket shut down for writing takes no more",
  (bench) => {
    const [client] = new Network(bench).streamPair();
    const ring = bench.ring();
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepShutdown(client, SHUT_WR)),
      0,
    );
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepWritev(client, new Iovecs([counting(16)]), 1, 0)),
      -EPIPE,
    );
  },
  { rings: allRings },
);

// ------------------------------------------------------------------------------------- liburing/socket-getsetsock-cmd

for (const flags of [0, IOSQE_ASYNC]) {
  const how = flags === 0 ? "" : ", asynchronous";

  conformance(
    "liburing/socket-getsetsock-cmd",
    `a socket command gets the options that getsockopt gets${how}`,
    (bench) => {
      const [client] = new Network(bench).streamPair();
      const ring = bench.ring();
      for (const { name, size } of [
        { name: SO_PEERNAME, size: sockaddr_in.sizeof },
        { name: SO_RCVBUF, size: 4 },
      ]) {
        const expected = plainOption(client, SOL_SOCKET, name, size);
        const value = alloc(size);
        const length = bench.run(ring, (sqe) =>
          sqe.prepCmdSock(SOCKET_URING_OP_GETSOCKOPT, client, SOL_SOCKET, name, value, size).setFlags(flags),
        );
        assert.equal(length, expected.length);
        assert.deepEqual(value.bytes.slice(0, length), expected);
      }
    },
    { rings: allRings },
  );

  conformance(
    "liburing/socket-getsetsock-cmd",
    `a socket command sets options for all to see${how}`,
    (bench) => {
      const [client] = new Network(bench).streamPair();
      const ring = bench.ring();
      const set = (level: number, name: number, value: number) => {
        const memory = int32(value);
        const res = bench.run(ring, (sqe) =>
          sqe.prepCmdSock(SOCKET_URING_OP_SETSOCKOPT, client, level, name, memory, 4).setFlags(flags),
        );
        assert.equal(res, 0);
        assert.equal(socketOption(client, level, name), value);
      };
      for (const value of [0, 1]) set(SOL_SOCKET, SO_REUSEPORT, value);
      for (let value = 1; value <= 10; value++) set(IPPROTO_TCP, TCP_USER_TIMEOUT, value);
    },
    { rings: allRings },
  );
}

// -------------------------------------------------------------------------------------------------- liburing/socket-nb

for (const nonblocking of [false, true]) {
  conformance(
    "liburing/socket-nb",
    `only a receive's own flag keeps it from waiting, on a ${nonblocking ? "non-blocking" : "blocking"} socket`,
    (bench) => {
      const [, server] = new Network(bench).streamPair();
      if (nonblocking) nonBlocking(server);
      const ring = bench.ring();
      const buffer = alloc(16);
      entry(ring).prepRecv(server, buffer, 16, MSG_DONTWAIT).setData64(1);
      submitAll(ring, 1);
      const cqe = ring.peekCqe();
      assert.deepEqual([cqe?.userData, cqe?.res, cqe?.flags], [1, -EAGAIN, 0]);
      ring.cqAdvance(1);
      entry(ring).prepRecv(server, buffer, 16, 0).setData64(2);
      submitAll(ring, 1);
      assert.equal(ring.peekCqe(), null);
      bench.quiet(ring, 20);
    },
    { rings: inline },
  );
}

// ------------------------------------------------------------------------------------------- liburing/socket-rw-offset

conformance(
  "liburing/socket-rw-offset",
  "sockets have no use for offsets",
  (bench) => {
    const [client, server] = new Network(bench).streamPair();
    const ring = bench.ring();
    const [data, target] = [counting(128), alloc(128)];
    entry(ring)
      .prepReadv(server, new Iovecs([target]), 1, -1)
      .setData64(1);
    entry(ring)
      .prepWritev(client, new Iovecs([data]), 1, 0)
      .setData64(2);
    submitAll(ring, 2, 2);
    assert.deepEqual(sorted(bench.collect(ring, 2)), [
      [1, 128, 0],
      [2, 128, 0],
    ]);
    assert.deepEqual(target.bytes, data.bytes);
  },
  { rings: allRings },
);

// -------------------------------------------------------------------------------------------------- liburing/timestamp

/** What can be asked for, and the type by which a completion says which it is (`SCM_TSTAMP_*`). */
const stamps = [
  { name: "scheduled", flag: SOF_TIMESTAMPING_TX_SCHED, type: 1 },
  { name: "sent", flag: SOF_TIMESTAMPING_TX_SOFTWARE, type: 0 },
  { name: "acknowledged", flag: SOF_TIMESTAMPING_TX_ACK, type: 2 },
];

for (let mix = 1; mix < 8; mix++) {
  const wanted = stamps.filter((_, i) => (mix & (1 << i)) !== 0);

  conformance(
    "liburing/timestamp",
    `a completion for each time of a message: ${wanted.map(({ name }) => name).join(", ")}`,
    (bench) => {
      const ring = bench.ring();
      const network = new Network(bench);
      const [client] = network.streamPair(AF_INET6);
      const flags = wanted.reduce((all, { flag }) => all | flag, 0);
      const reporting =
        SOF_TIMESTAMPING_OPT_ID |
        SOF_TIMESTAMPING_OPT_TSONLY |
        SOF_TIMESTAMPING_OPT_CMSG |
        SOF_TIMESTAMPING_SOFTWARE;
      network.setOption(client, SOL_SOCKET, SO_TIMESTAMPING, flags | reporting);
      const message = new Msghdr({ iov: [counting(10)] });
      assert.equal(
        network.run((sqe) => sqe.prepSendmsg(client, message, 0)),
        10,
      );
      entry(ring).prepCmdSock(SOCKET_URING_OP_TX_TIMESTAMP, client, 0, 0, 0, 0).setData64(1);
      ring.submit();
      const types: number[] = [];
      const big = ring.params.flags & IORING_SETUP_CQE_MIXED ? IORING_CQE_F_32 : 0;
      const end = performance.now() + PATIENCE_MS;
      while (types.length < wanted.length && performance.now() < end) {
        ring.submitAndWait(1, { timeout: 100 });
        const slots = ring.forEachCqe((cqe) => {
          // The key is the last byte's place in the stream.
          assert.deepEqual([cqe.userData, cqe.res], [1, 9]);
          assert.equal(cqe.flags & 0xffff, MORE | big);
          assert.equal(cqe.flags & IORING_CQE_F_TSTAMP_HW, 0);
          types.push(cqe.flags >>> IORING_TIMESTAMP_TYPE_SHIFT);
          const [seconds, nanoseconds] = cqe.big as readonly bigint[];
          const age = Date.now() - Number(seconds) * 1000 - Number(nanoseconds) / 1e6;
          assert.ok(Math.abs(age) < 10_000, `${age} ms old`);
        });
        ring.cqAdvance(slots);
      }
      assert.deepEqual(types.sort(), wanted.map(({ type }) => type).sort());
      bench.quiet(ring, 20);
      // It waits for the times of further messages until it is cancelled.
      entry(ring).prepCancel64(1, 0).setData64(2);
      assert.deepEqual(sorted(bench.complete(ring, 2)), [
        [1, -ECANCELED, 0],
        [2, 0, 0],
      ]);
    },
    { rings: ["cqe32", "mixed"] },
  );
}

// ----------------------------------------------------------------------------------------------------------- tokio/net

conformance(
  "tokio/net/test_socket",
  "a socket is made, and takes an option",
  (bench) => {
    const ring = bench.ring();
    const network = new Network(bench);
    const fd = network.own(bench.run(ring, (sqe) => sqe.prepSocket(AF_INET, SOCK_DGRAM, IPPROTO_UDP, 0)));
    assert.equal(socketOption(fd, SOL_SOCKET, SO_REUSEADDR), 0);
    const one = int32(1);
    const set = bench.run(ring, (sqe) =>
      sqe.prepCmdSock(SOCKET_URING_OP_SETSOCKOPT, fd, SOL_SOCKET, SO_REUSEADDR, one, 4),
    );
    assert.equal(set, 0);
    assert.equal(socketOption(fd, SOL_SOCKET, SO_REUSEADDR), 1);
  },
  { rings: allRings },
);

conformance(
  "tokio/net/test_socket",
  "a socket is made in slot 0",
  (bench) => {
    const ring = bench.ring();
    ring.registerFilesSparse(1);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepSocketDirect(AF_INET, SOCK_DGRAM, IPPROTO_UDP, 0, 0)),
      0,
    );
    const value = alloc(4);
    const length = bench.run(ring, (sqe) =>
      sqe.prepCmdSock(SOCKET_URING_OP_GETSOCKOPT, new Direct(0), SOL_SOCKET, SO_REUSEADDR, value, 4),
    );
    assert.equal(length, 4);
  },
  { rings: allRings },
);

conformance(
  "tokio/net/test_socket",
  "sockets are made in any free slot until there is none, and work there",
  (bench) => {
    const ring = bench.ring();
    ring.registerFilesSparse(2);
    const socket = () =>
      bench.run(ring, (sqe) => sqe.prepSocketDirectAlloc(AF_INET, SOCK_DGRAM, IPPROTO_UDP, 0));
    assert.deepEqual([socket(), socket(), socket()], [0, 1, -ENFILE]);
    const receiver = new Network(bench).bound();
    const { address } = receiver;
    const [data, target] = [counting(44), alloc(44)];
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepConnect(new Direct(1), address, address.byteLength)),
      0,
    );
    entry(ring).prepRecv(receiver.fd, target, 44, 0).setData64(1);
    entry(ring).prepSend(new Direct(1), data, 44, 0).setData64(2);
    assert.deepEqual(sorted(bench.complete(ring, 2)), [
      [1, 44, 0],
      [2, 44, 0],
    ]);
    assert.deepEqual(target.bytes, data.bytes);
  },
  { rings: allRings },
);

conformance(
  "tokio/net/test_socket_bind_listen",
  "a socket is made, bound and listens, and a client connects",
  (bench) => {
    const ring = bench.ring();
    const network = new Network(bench);
    const fd = network.own(bench.run(ring, (sqe) => sqe.prepSocket(AF_INET, SOCK_STREAM, 0, 0)));
    const any = anyAddress(AF_INET);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepBind(fd, any, any.byteLength)),
      0,
    );
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepListen(fd, 128)),
      0,
    );
    network.client(boundAddress(fd));
    ring.registerFilesSparse(1);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepSocketDirect(AF_INET, SOCK_STREAM, 0, 0, 0)),
      0,
    );
  },
  { rings: allRings },
);

conformance(
  "tokio/net/test_tcp_accept",
  "an accept of a client that waits has its fd and its address",
  (bench) => {
    const ring = bench.ring();
    const network = new Network(bench);
    const listener = network.listener();
    const client = network.client(listener.address);
    const address = alloc(sockaddr_storage.sizeof);
    const length = int32(address.byteLength);
    network.own(bench.run(ring, (sqe) => sqe.prepAccept(listener.fd, address, length, 0)));
    assert.deepEqual(length.bytes.slice(), int32(16).bytes.slice());
    assert.deepEqual(address.bytes.slice(0, 16), boundAddress(client).bytes.slice());
  },
  { rings: allRings },
);

conformance(
  "tokio/net/test_tcp_accept",
  "an accept into any free slot has its number, and -ENFILE where there is none",
  (bench) => {
    const ring = bench.ring();
    const network = new Network(bench);
    const listener = network.listener();
    ring.registerFilesSparse(1);
    const accept = () =>
      bench.run(ring, (sqe) => sqe.prepAcceptDirect(listener.fd, 0, 0, 0, IORING_FILE_INDEX_ALLOC));
    const client = network.client(listener.address);
    assert.equal(accept(), 0);
    exchange(bench, ring, client, new Direct(0));
    network.client(listener.address);
    assert.equal(accept(), -ENFILE);
  },
  { rings: allRings },
);

conformance(
  "tokio/net/test_tcp_connect",
  "a new socket is connected to where somebody listens",
  (bench) => {
    const ring = bench.ring();
    const network = new Network(bench);
    const { fd, address } = network.listener();
    const client = network.socket();
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepConnect(client, address, address.byteLength)),
      0,
    );
    network.own(syscall("accept4", fd, 0, 0, 0));
  },
  { rings: allRings },
);

for (const { id, what, size, write, read } of [
  {
    id: "tokio/net/test_tcp_send_recv",
    what: "a send linked to a receive",
    size: 44,
    write: (ring: Ring, fd: number, data: Pinned) => entry(ring).prepSend(fd, data, 44, 0),
    read: (ring: Ring, fd: number, target: Pinned) => entry(ring).prepRecv(fd, target, 44, 0),
  },
  {
    id: "tokio/net/test_tcp_write_read",
    what: "a write linked to a read",
    size: 44,
    write: (ring: Ring, fd: number, data: Pinned) => entry(ring).prepWrite(fd, data, 44, 0),
    read: (ring: Ring, fd: number, target: Pinned) => entry(ring).prepRead(fd, target, 44, 0),
  },
  {
    id: "tokio/net/test_tcp_writev_readv",
    what: "a write of two pieces linked to a read into two",
    size: 80,
    write: (ring: Ring, fd: number, data: Pinned) =>
      entry(ring).prepWritev(fd, new Iovecs([data.slice(0, 44), data.slice(44)]), 2, 0),
    read: (ring: Ring, fd: number, target: Pinned) =>
      entry(ring).prepReadv(fd, new Iovecs([target.slice(0, 44), target.slice(44)]), 2, 0),
  },
]) {
  conformance(
    id,
    `${what} moves the data`,
    (bench) => {
      const [client, server] = new Network(bench).streamPair();
      const ring = bench.ring();
      const [data, target] = [counting(size), alloc(size)];
      write(ring, client, data).setFlags(IOSQE_IO_LINK).setData64(1);
      read(ring, server, target).setData64(2);
      submitAll(ring, 2, 2);
      assert.deepEqual(brief(bench.collect(ring, 2)), [
        [1, size, 0],
        [2, size, 0],
      ]);
      assert.deepEqual(target.bytes, data.bytes);
    },
    { rings: allRings },
  );
}

conformance(
  "tokio/net/test_udp_send_with_dest",
  "a datagram needs an address, which an entry can have",
  (bench) => {
    const ring = bench.ring();
    const network = new Network(bench);
    const receiver = network.bound();
    const sender = network.socket(AF_INET, SOCK_DGRAM);
    const data = counting(44);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepSend(sender, data, 44, 0)),
      -EDESTADDRREQ,
    );
    const { address } = receiver;
    for (const how of ["sendto", "set_addr"]) {
      const target = alloc(44);
      entry(ring).prepRecv(receiver.fd, target, 44, 0).setData64(1);
      const sqe = entry(ring).setData64(2);
      if (how === "sendto") sqe.prepSendto(sender, data, 44, 0, address, address.byteLength);
      else sqe.prepSend(sender, data, 44, 0).prepSendSetAddr(address, address.byteLength);
      assert.deepEqual(sorted(bench.complete(ring, 2)), [
        [1, 44, 0],
        [2, 44, 0],
      ]);
      assert.deepEqual(target.bytes, data.bytes);
    }
  },
  { rings: allRings },
);

// ------------------------------------------------------------------------------------------------- tokio/register_napi

/** Why a ring can not poll network devices here; `false` where it can. */
function noNapi(): string | false {
  const ring = new Ring({ entries: 4 });
  try {
    ring.unregisterNapi();
    return false;
  } catch (error) {
    return (error as Error).message;
  } finally {
    ring.close();
  }
}

conformance(
  "tokio/register_napi/test_register_napi",
  "polling of devices tells what was set before",
  (bench) => {
    const ring = bench.ring();
    assert.equal(ring.registerNapi({ busyPollTimeout: 0.06, preferBusyPoll: true }).busyPollTimeout, 0);
    assert.deepEqual(ring.registerNapi({ busyPollTimeout: 0.12, preferBusyPoll: true }), {
      busyPollTimeout: 0.06,
      preferBusyPoll: true,
    });
    assert.equal(ring.unregisterNapi().busyPollTimeout, 0.12);
  },
  { rings: allRings, skip: noNapi() },
);

/** `struct io_uring_napi` has more to it since 6.13 than its header says: an operation and its parameter. */
const STATIC_TRACKING = 1;
const napiOperations = { register: 0, add: 1, delete: 2 };

conformance(
  "tokio/register_napi/test_register_napi",
  "devices to poll can be named one by one, from 6.13 on",
  (bench) => {
    const ring = bench.ring();
    const call = (operation: number, parameter: number) => {
      const argument = alloc(io_uring_napi.sizeof);
      const view = new DataView(argument.bytes.buffer, argument.bytes.byteOffset, argument.byteLength);
      view.setUint32(io_uring_napi.busy_poll_to, 60, true);
      view.setUint8(io_uring_napi.pad, operation);
      view.setUint32(io_uring_napi.resv, parameter, true);
      return syscall("io_uring_register", ring.fd, IORING_REGISTER_NAPI, argument.address, 1);
    };
    assert.equal(call(napiOperations.register, STATIC_TRACKING), 0);
    for (const operation of [napiOperations.add, napiOperations.delete]) {
      const res = call(operation, 123_456);
      assert.ok([0, -EINVAL, -ENOENT].includes(res), `${res}`);
    }
    ring.unregisterNapi();
  },
  { rings: allRings, skip: kernelFrom(6, 13) ? noNapi() : "needs Linux 6.13" },
);
