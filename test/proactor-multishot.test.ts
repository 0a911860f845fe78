import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { alloc, Direct, type Lease, Proactor, type ProactorOptions, UringError } from "uring";

import * as abi from "uring/abi";
import type { BufferGroup } from "../src/shared/proactor/buffer-group.ts";
import { account, runChild } from "./support/child.ts";
import { pipe } from "./support/harness.ts";
import { closesOnExec, lastingOnKernel, Sockets, turns, until } from "./support/proactor-sockets.ts";
import { Random } from "./support/random.ts";
import { code, reason } from "./support/rejections.ts";
import { bytes, openFds, range, untilFds } from "./support/ring.ts";
import { mustCall, writesFromThread } from "./support/system.ts";

const bench = { timeout: 60_000 };
const DONE = { done: true, value: undefined };

/** Runs a test with a proactor and sockets, after which the process has as many descriptors as before. */
function within(
  run: (proactor: Proactor, sockets: Sockets) => Promise<void>,
  make: () => Proactor = () => new Proactor({ debug: true }),
): () => Promise<void> {
  return async () => {
    const before = openFds();
    {
      await using proactor = make();
      using sockets = new Sockets(proactor);
      // From here on the proactor has all the descriptors that it will have.
      for await (const _ of proactor.timeoutMultishot(1)) break;
      await run(proactor, sockets);
    }
    await untilFds(before.length);
  };
}

/** How many sockets are open: what else there is may be the runtime's, which comes and goes. */
function openSockets(): number {
  return openFds().filter((link) => link.includes("socket:")).length;
}

/** A copy of a lease's text; the lease is released. */
function take(lease: Lease): string {
  using released = lease;
  return new TextDecoder().decode(released.bytes.slice());
}

/** Writes at once, whatever the proactor does. */
function write(fd: number, text: string): void {
  using memory = bytes(text);
  assert.equal(mustCall("write", fd, memory.address, text.length), text.length);
}

function value<T>({ done, value }: IteratorResult<T, undefined>): T {
  assert.equal(done, false);
  return value as T;
}

describe("acceptMultishot", () => {
  it(
    "brings connections in order",
    bench,
    within(async (proactor, sockets) => {
      const { fd, address } = await sockets.listener();
      const connections = proactor.acceptMultishot(fd);
      const clients: number[] = [];
      for (let i = 0; i < 5; i++) clients.push(await sockets.client(address));
      const servers: number[] = [];
      for await (const server of connections) {
        servers.push(sockets.own(server));
        if (servers.length === 5) break;
      }
      assert.deepEqual(await connections.next(), DONE);
      for (const [i, server] of servers.entries()) {
        assert.equal(closesOnExec(server), true);
        write(clients[i] as number, `${i}`);
        using got = alloc(1);
        await proactor.recv(server, got);
        assert.equal(got.bytes[0], 0x30 + i);
      }
      assert.equal(proactor.inFlight, 0);
    }),
  );

  it(
    "begins with the first pull",
    bench,
    within(async (proactor, sockets) => {
      const { fd } = await sockets.listener();
      const connections = proactor.acceptMultishot(fd);
      await turns();
      assert.equal(proactor.inFlight, 0);
      assert.deepEqual(await connections.return(), DONE);
      assert.deepEqual(await connections.next(), DONE);
    }),
  );

  it(
    "accepts into the ring's own table",
    bench,
    within(async (proactor, sockets) => {
      proactor.ring.registerFilesSparse(4);
      const { fd, address } = await sockets.listener();
      const connections = proactor.acceptMultishot(fd, { direct: true });
      const clients: number[] = [];
      for (let i = 0; i < 3; i++) clients.push(await sockets.client(address));
      const server = value(await connections.next());
      assert.ok(server instanceof Direct);
      using got = alloc(1);
      write(clients[0] as number, "x");
      assert.equal(await proactor.recv(server, got), 1);
      await until(() => proactor.counters.completed > 0, "completions");
      await connections.return();
      await proactor.closeFd(server);
      // Those that nobody has pulled are closed: all slots are free.
      const options = { direct: true } as const;
      for (let i = 0; i < 4; i++) await proactor.socket(abi.AF_INET, abi.SOCK_STREAM, options);
    }),
  );

  it(
    "ends with its error when the table is full, once; what came before can be pulled",
    bench,
    within(async (proactor, sockets) => {
      proactor.ring.registerFilesSparse(2);
      const { fd, address } = await sockets.listener();
      for (let i = 0; i < 3; i++) await sockets.client(address);
      const connections = proactor.acceptMultishot(fd, { direct: true });
      assert.ok(value(await connections.next()) instanceof Direct);
      await until(() => proactor.inFlight === 0, "the end");
      assert.ok(value(await connections.next()) instanceof Direct);
      assert.equal(await code(connections.next()), "ENFILE");
      assert.deepEqual(await connections.next(), DONE);
    }),
  );

  for (const [how, leave] of Object.entries({
    break: async (connections: AsyncIterable<number>, own: (fd: number) => void) => {
      for await (const fd of connections) {
        own(fd);
        break;
      }
    },
    return: async (connections: AsyncIterable<number>, own: (fd: number) => void) => {
      await (async () => {
        for await (const fd of connections) return own(fd);
      })();
    },
    throw: async (connections: AsyncIterable<number>, own: (fd: number) => void) => {
      const why = new Error("enough");
      const loop = async () => {
        for await (const fd of connections) {
          own(fd);
          throw why;
        }
      };
      assert.equal(await reason(loop()), why);
    },
  })) {
    it(
      `closes what nobody has pulled: ${how}`,
      bench,
      within(async (proactor, sockets) => {
        const { fd, address } = await sockets.listener();
        for (let i = 0; i < 10; i++) await sockets.client(address);
        const before = openSockets();
        await leave(proactor.acceptMultishot(fd), (server) => sockets.own(server));
        assert.equal(openSockets(), before + 1);
        assert.equal(proactor.inFlight, 0);
      }),
    );
  }

  it(
    "has throw() and asyncDispose as well",
    bench,
    within(async (proactor, sockets) => {
      const { fd, address } = await sockets.listener();
      for (let i = 0; i < 3; i++) await sockets.client(address);
      const before = openSockets();
      const why = new Error("why");
      {
        await using connections = proactor.acceptMultishot(fd);
        sockets.own(value(await connections.next()));
      }
      assert.equal(openSockets(), before + 1);
      for (let i = 0; i < 3; i++) await sockets.client(address);
      const others = proactor.acceptMultishot(fd);
      sockets.own(value(await others.next()));
      assert.equal(await reason(others.throw(why)), why);
      assert.deepEqual(await others.next(), DONE);
      assert.equal(openSockets(), before + 1 + 3 + 1);
    }),
  );

  it(
    "tells several who wait in order, and those who are left that it is over",
    bench,
    within(async (proactor, sockets) => {
      const { fd, address } = await sockets.listener();
      const connections = proactor.acceptMultishot(fd);
      const pulls = range(5).map(() => connections.next());
      const clients: number[] = [];
      for (let i = 0; i < 3; i++) clients.push(await sockets.client(address));
      for (const [i, client] of clients.entries()) {
        const server = sockets.own(value(await (pulls[i] as (typeof pulls)[0])));
        write(client, `${i}`);
        using got = alloc(1);
        await proactor.recv(server, got);
        assert.equal(got.bytes[0], 0x30 + i);
      }
      const ended = connections.return();
      assert.deepEqual(await Promise.all(pulls.slice(3)), [DONE, DONE]);
      await ended;
    }),
  );

  it(
    "stops accepting while nobody pulls, and goes on",
    bench,
    within(async (proactor, sockets) => {
      const { fd, address } = await sockets.listener();
      const connections = proactor.acceptMultishot(fd, { highWaterMark: 4 });
      const first = connections.next();
      for (let i = 0; i < 20; i++) await sockets.client(address);
      sockets.own(value(await first));
      await until(() => proactor.inFlight === 0, "the pause");
      await turns();
      assert.equal(proactor.inFlight, 0);
      for (let i = 1; i < 20; i++) sockets.own(value(await connections.next()));
      await connections.return();
    }),
  );

  it(
    "is rejected with the reason of its signal, once",
    bench,
    within(async (proactor, sockets) => {
      const { fd, address } = await sockets.listener();
      const why = new Error("why");
      for (const when of ["before", "pending", "queued", "over"] as const) {
        const controller = new AbortController();
        const connections = proactor.acceptMultishot(fd, { signal: controller.signal });
        if (when === "before") {
          controller.abort(why);
          assert.equal(await reason(connections.next()), why);
        } else if (when === "pending") {
          const pulls = [connections.next(), connections.next()] as const;
          proactor.flush();
          controller.abort(why);
          assert.equal(await reason(pulls[0]), why);
          assert.deepEqual(await pulls[1], DONE);
        } else if (when === "queued") {
          for (let i = 0; i < 3; i++) await sockets.client(address);
          const open = openSockets();
          sockets.own(value(await connections.next()));
          controller.abort(why);
          assert.equal(await reason(connections.next()), why);
          assert.equal(openSockets(), open + 1);
        } else {
          const pull = connections.next();
          await connections.return();
          assert.deepEqual(await pull, DONE);
          controller.abort(why);
        }
        assert.deepEqual(await connections.next(), DONE);
        assert.equal(proactor.inFlight, 0);
      }
    }),
  );

  it(
    "leaks nothing when the abort races with connections",
    bench,
    within(async (proactor, sockets) => {
      const { fd, address } = await sockets.listener();
      for (let i = 0; i < 100; i++) {
        const controller = new AbortController();
        const connections = proactor.acceptMultishot(fd, { signal: controller.signal });
        const loop = (async () => {
          for await (const server of connections) await proactor.closeFd(server);
        })();
        const ended = reason(loop);
        if (i % 3 === 0) proactor.flush();
        const clients = range(1 + (i % 5)).map(() => sockets.client(address));
        if (i % 2 === 0) await clients[0];
        controller.abort();
        assert.equal(((await ended) as Error).name, "AbortError");
        for (const client of await Promise.all(clients)) sockets.close(client);
      }
    }),
  );
});

describe("recvMultishot", () => {
  it(
    "brings a stream in lent buffers up to its end",
    bench,
    within(async (proactor, sockets) => {
      const [a, b] = sockets.pair();
      write(a, "first");
      const stream = proactor.recvMultishot(b);
      const lease = value(await stream.next());
      const group = proactor.defaultBufferGroup();
      assert.deepEqual([lease.byteLength, group.available, group.lent], [5, 255, 1]);
      const view = lease.bytes;
      assert.equal(take(lease), "first");
      assert.throws(() => lease.bytes, TypeError);
      assert.ok(view.every((byte) => byte === 0xdb));
      write(a, "second");
      assert.equal(take(value(await stream.next())), "second");
      await proactor.shutdown(a, abi.SHUT_WR);
      assert.deepEqual(await stream.next(), DONE);
      assert.deepEqual(await stream.next(), DONE);
      assert.deepEqual([group.available, group.lent, proactor.inFlight], [256, 0, 0]);
    }),
  );

  for (const incremental of [false, true]) {
    it(
      `loses nothing with four buffers and somebody slow${incremental ? ", bit by bit" : ""}`,
      bench,
      within(async (proactor, sockets) => {
        const TOTAL = 4096 * 64;
        const [a, b] = sockets.pair();
        await using group = proactor.bufferGroup({ entries: 4, bufferSize: 128, incremental });
        const writer = writesFromThread(a, { count: 4096, size: 64 });
        let sum = 0;
        const stream = proactor.recvMultishot(b, { group });
        const held: Lease[] = [];
        for await (const lease of stream) {
          assert.ok(lease.bytes.every((byte) => byte === 0x78));
          sum += lease.byteLength;
          held.push(lease);
          assert.ok(group.available >= 0 && group.lent >= held.length);
          if (held.length === 3) for (const each of held.splice(0)) each[Symbol.dispose]();
          if (sum % 7 === 0) await turns(1);
          if (sum === TOTAL) break;
        }
        for (const lease of held) lease[Symbol.dispose]();
        assert.equal(writer.join(), TOTAL);
        assert.deepEqual([sum, group.available, group.lent], [TOTAL, 4, 0]);
      }),
    );
  }

  it(
    "keeps the order and content of thousands of messages of any length",
    bench,
    within(async (proactor, sockets) => {
      const [a, b] = sockets.pair();
      await using group = proactor.bufferGroup({ entries: 16, bufferSize: 256 });
      const COUNT = 5000;
      using data = alloc(64 * 1024);
      for (let i = 0; i < data.byteLength; i++) data.bytes[i] = (i * 7 + (i >> 8)) & 0xff;
      const sending = (async () => {
        for (let i = 0; i < COUNT; i++) {
          const at = (i * 131) % 60_000;
          const length = 1 + ((i * 37) % 700);
          const sent = await proactor.send(a, data.slice(at, length), { flags: abi.MSG_WAITALL });
          assert.equal(sent, length);
        }
        await proactor.shutdown(a, abi.SHUT_WR);
      })();
      let message = 0;
      let within = 0;
      for await (const lease of proactor.recvMultishot(b, { group })) {
        using part = lease;
        for (const byte of part.bytes) {
          if (byte !== data.bytes[((message * 131) % 60_000) + within]) assert.fail(`message ${message}`);
          if (++within === 1 + ((message * 37) % 700)) {
            within = 0;
            message++;
          }
        }
      }
      await sending;
      assert.deepEqual([message, group.available, group.lent], [COUNT, 16, 0]);
    }),
  );

  it(
    "waits for buffers without asking for them again and again",
    bench,
    within(async (proactor, sockets) => {
      const [a, b] = sockets.pair(abi.SOCK_SEQPACKET);
      await using group = proactor.bufferGroup({ entries: 2, bufferSize: 64 });
      for (let i = 0; i < 6; i++) write(a, `${i}`);
      const stream = proactor.recvMultishot(b, { group });
      const leases = [value(await stream.next()), value(await stream.next())];
      const third = stream.next();
      await turns();
      const { submitted } = proactor.counters;
      await turns(50);
      assert.equal(proactor.counters.submitted, submitted);
      assert.deepEqual([group.available, group.lent, proactor.inFlight], [0, 2, 0]);
      leases[1]?.[Symbol.dispose]();
      const lease = value(await third);
      assert.equal(take(lease), "2");
      leases[0]?.[Symbol.dispose]();
      for (let i = 3; i < 6; i++) assert.equal(take(value(await stream.next())), `${i}`);
      await stream.return();
      assert.deepEqual([group.available, group.lent], [2, 0]);
    }),
  );

  it(
    "gives all who wait for buffers their chance",
    bench,
    within(async (proactor, sockets) => {
      await using group = proactor.bufferGroup({ entries: 1, bufferSize: 64 });
      const pairs = range(4).map(() => sockets.pair());
      const streams = pairs.map(([, b]) => proactor.recvMultishot(b, { group }));
      const pulls = streams.map((stream) => stream.next());
      write(pairs[0]?.[0] as number, "a");
      const first = value(await (pulls[0] as (typeof pulls)[0]));
      for (const [a] of pairs.slice(1)) write(a, "b");
      await turns();
      first[Symbol.dispose]();
      for (const pull of pulls.slice(1)) assert.equal(take(value(await pull)), "b");
      await Promise.all(streams.map((stream) => stream.return()));
      assert.equal(group.available, 1);
    }),
  );

  it(
    "keeps a released lease's buffer while operations use it",
    bench,
    within(async (proactor, sockets) => {
      const [a, b] = sockets.pair();
      const [c, d] = sockets.pair();
      await using group = proactor.bufferGroup({ entries: 1, bufferSize: 64 });
      write(a, "echo");
      const stream = proactor.recvMultishot(b, { group });
      const lease = value(await stream.next());
      const received = proactor.recv(c, lease, { length: 2 });
      proactor.flush();
      lease[Symbol.dispose]();
      assert.deepEqual([group.available, group.lent], [0, 1]);
      write(d, "xx");
      assert.equal(await received, 2);
      assert.deepEqual([group.available, group.lent], [1, 0]);
      await stream.return();
    }),
  );

  for (const way of ["return", "abort", "close of the group"] as const) {
    it(
      `gives back what nobody has pulled: ${way}`,
      bench,
      within(async (proactor, sockets) => {
        const [a, b] = sockets.pair(abi.SOCK_SEQPACKET);
        const group = proactor.bufferGroup({ entries: 8, bufferSize: 64 });
        const controller = new AbortController();
        const stream = proactor.recvMultishot(b, { group, signal: controller.signal });
        for (let i = 0; i < 5; i++) write(a, `${i}`);
        assert.equal(take(value(await stream.next())), "0");
        await until(() => group.lent === 4, "what is queued");
        if (way === "return") await stream.return();
        else if (way === "abort") {
          controller.abort("why");
          assert.equal(await reason(stream.next()), "why");
        } else {
          const pulls = range(5).map(() => stream.next());
          const kept = value(await (pulls[0] as (typeof pulls)[0]));
          for (const pull of pulls.slice(1, 4)) value(await pull)[Symbol.dispose]();
          await Promise.all([group.close(), reason(pulls[4] as (typeof pulls)[0])]);
          assert.equal(String.fromCharCode(...kept.bytes), "1");
          assert.equal(group.lent, 1);
          kept[Symbol.dispose]();
          assert.equal(group.lent, 0);
          assert.match(String(await reason(proactor.recvMultishot(b, { group }).next())), /group is closed/);
          return;
        }
        assert.deepEqual([group.available, group.lent, proactor.inFlight], [8, 0, 0]);
        await group.close();
      }),
    );
  }

  it("keeps leases valid when the proactor is closed", bench, async () => {
    const before = openFds();
    const proactor = new Proactor({ debug: true });
    const sockets = new Sockets(proactor);
    const [a, b] = sockets.pair();
    write(a, "stays");
    const stream = proactor.recvMultishot(b);
    const lease = value(await stream.next());
    const pending = stream.next();
    proactor.flush();
    const closing = proactor.close();
    assert.match(String(await reason(pending)), /ECANCELED.*The proactor was closed/);
    assert.deepEqual(await closing, { leaked: 0 });
    // Would be the same memory.
    const other = alloc(256 * 16384);
    other.bytes.fill(1);
    assert.equal(take(lease), "stays");
    assert.deepEqual(await stream.next(), DONE);
    assert.equal(await code(proactor.recvMultishot(b).next()), "ECANCELED");
    sockets[Symbol.dispose]();
    await untilFds(before.length);
  });

  it(
    "refuses a group of another proactor",
    bench,
    within(async (proactor, sockets) => {
      const [, b] = sockets.pair();
      await using other = new Proactor();
      const stream = proactor.recvMultishot(b, { group: other.defaultBufferGroup() });
      assert.match(String(await reason(stream.next())), /TypeError: .*another proactor's/);
      assert.deepEqual(await stream.next(), DONE);
    }),
  );

  it(
    "shares its buffers with entries of one's own",
    bench,
    within(async (proactor, sockets) => {
      const [a, b] = sockets.pair();
      await using group = proactor.bufferGroup({ entries: 2, bufferSize: 64 });
      const lease = await new Promise<Lease>((resolve) => {
        proactor
          .entry({ complete: (res, flags) => resolve(group.lease(flags, res)) })
          ?.prepRecv(b, 0, 0, 0)
          .setBufferGroup(group.id);
        write(a, "entry");
      });
      assert.deepEqual([group.available, group.lent], [1, 1]);
      assert.equal(take(lease), "entry");
      assert.deepEqual([group.available, group.lent], [2, 0]);
    }),
  );

  it(
    "lends what there is of datagrams that are longer than a buffer, and loses no buffer",
    bench,
    within(async (proactor, sockets) => {
      const [a, b] = sockets.pair(abi.SOCK_DGRAM);
      await using group = proactor.bufferGroup({ entries: 2, bufferSize: 8 });
      const flags = abi.MSG_TRUNC;
      const stream = proactor.recvMultishot(b, { group, flags });
      for (let i = 0; i < 5; i++) {
        write(a, `${i} is longer than that`);
        assert.equal(take(value(await stream.next())), `${i} is lon`);
        assert.deepEqual([group.available, group.lent], [2, 0]);
      }
      await stream.return();
      const lease = new Promise<Lease>((resolve, reject) => {
        const complete = (res: number, flags: number) => {
          try {
            resolve(group.lease(flags, res));
          } catch (error) {
            reject(error);
          }
        };
        proactor.entry({ complete })?.prepRecv(b, 0, 0, flags).setBufferGroup(group.id);
      });
      write(a, "for an entry");
      assert.equal(take(await lease), "for an e");
      assert.deepEqual([group.available, group.lent], [2, 0]);
    }),
  );

  it(
    "refuses to lose buffers of an incremental group to datagrams that are too long",
    bench,
    within(async (proactor, sockets) => {
      const [a, b] = sockets.pair(abi.SOCK_DGRAM);
      await using group = proactor.bufferGroup({ entries: 2, bufferSize: 8, incremental: true });
      assert.equal(group.incremental, true);
      const refused = proactor.recvMultishot(b, { group, flags: abi.MSG_TRUNC });
      assert.match(String(await reason(refused.next())), /TypeError: MSG_TRUNC/);
      assert.deepEqual(await refused.next(), DONE);
      const stream = proactor.recvMultishot(b, { group });
      for (let i = 0; i < 5; i++) {
        write(a, `${i} is longer than that`);
        assert.equal(take(value(await stream.next())), `${i} is lon`);
      }
      await stream.return();
      assert.deepEqual([group.available, group.lent], [2, 0]);
    }),
  );

  it(
    "ends with the error of what is no socket",
    bench,
    within(async (proactor) => {
      using ends = pipe();
      const stream = proactor.recvMultishot(ends.read);
      const pulls = [stream.next(), stream.next()] as const;
      assert.equal(await code(pulls[0]), "ENOTSOCK");
      assert.deepEqual(await pulls[1], DONE);
      assert.equal(await code(proactor.recvMultishot(-1).next()), "EBADF");
      assert.ok((await reason(proactor.recvMultishot({} as never).next())) instanceof TypeError);
    }),
  );
});

describe("recvmsgMultishot", () => {
  it(
    "brings datagrams, empty ones included, and who they are from",
    bench,
    within(async (proactor, sockets) => {
      const a = await sockets.bound();
      const b = await sockets.bound();
      const messages = proactor.recvmsgMultishot(b.fd);
      const texts = ["one", "", "three", "", "", "six"];
      for (const text of texts) {
        using memory = bytes(`${text} `);
        await proactor.sendTo(a.fd, memory, b.address, { length: text.length });
      }
      for (const text of texts) {
        using message = value(await messages.next());
        assert.equal(new TextDecoder().decode(message.bytes.slice()), text);
        assert.deepEqual([message.address, message.control, message.flags], [a.address, [], 0]);
        assert.equal(message.length, text.length);
      }
      await messages.return();
      const group = proactor.defaultBufferGroup();
      assert.deepEqual([group.available, group.lent], [256, 0]);
    }),
  );

  it(
    "says where a message was cut",
    bench,
    within(async (proactor, sockets) => {
      const a = await sockets.bound();
      const b = await sockets.bound();
      await using group = proactor.bufferGroup({ entries: 2, bufferSize: 16 + 128 + 4 });
      const messages = proactor.recvmsgMultishot(b.fd, { group, flags: abi.MSG_TRUNC });
      await proactor.sendTo(a.fd, bytes("too long"), b.address);
      const message = value(await messages.next());
      assert.deepEqual([message.bytes.length, message.length, message.flags], [4, 8, abi.MSG_TRUNC]);
      message[Symbol.dispose]();
      await messages.return();
      await using small = proactor.bufferGroup({ entries: 1, bufferSize: 64 });
      assert.equal(await code(proactor.recvmsgMultishot(b.fd, { group: small }).next()), "EFAULT");
    }),
  );

  it(
    "brings descriptors, closes those that nobody pulls, and ends with the stream",
    bench,
    within(async (proactor, sockets) => {
      const [a, b] = sockets.pair();
      const [c] = sockets.pair();
      const send = () => proactor.sendmsg(a, bytes("fd"), { control: [{ kind: "rights", fds: [c, c] }] });
      await send();
      const messages = proactor.recvmsgMultishot(b, { control: 64 });
      {
        using message = value(await messages.next());
        assert.deepEqual([message.address, message.flags], [null, 0]);
        const [rights] = message.control;
        assert.ok(rights?.kind === "rights");
        for (const fd of rights.fds) assert.equal(closesOnExec(sockets.own(fd)), true);
      }
      const before = openSockets();
      for (let i = 0; i < 3; i++) await send();
      await until(() => proactor.defaultBufferGroup().lent === 3, "the messages");
      assert.equal(openSockets(), before + 6);
      await messages.return();
      assert.equal(openSockets(), before);
      const rest = proactor.recvmsgMultishot(b);
      await proactor.send(a, bytes("end"));
      value(await rest.next())[Symbol.dispose]();
      await proactor.shutdown(a, abi.SHUT_WR);
      assert.deepEqual(await rest.next(), DONE);
      assert.equal(proactor.defaultBufferGroup().available, 256);
    }),
  );
});

describe("readMultishot", () => {
  it(
    "reads a pipe up to its end",
    bench,
    within(async (proactor) => {
      using ends = pipe();
      const writer = writesFromThread(ends.write, { count: 1000, size: 100 });
      let sum = 0;
      await using group = proactor.bufferGroup({ entries: 4, bufferSize: 512 });
      for await (const lease of proactor.readMultishot(ends.read, { group })) {
        sum += take(lease).length;
        if (sum === 100_000) break;
      }
      assert.equal(writer.join(), 100_000);
      assert.deepEqual([sum, group.available, group.lent], [100_000, 4, 0]);
    }),
  );

  it(
    "ends with the pipe",
    bench,
    within(async (proactor) => {
      const ends = await proactor.pipe();
      write(ends.write, "last");
      await proactor.closeFd(ends.write);
      const texts: string[] = [];
      for await (const lease of proactor.readMultishot(ends.read)) texts.push(take(lease));
      assert.deepEqual(texts, ["last"]);
      await proactor.closeFd(ends.read);
    }),
  );
});

describe("pollMultishot", () => {
  it(
    "tells each time there is something",
    bench,
    within(async (proactor, sockets) => {
      const [a, b] = sockets.pair();
      using got = alloc(8);
      let told = 0;
      write(a, "x");
      for await (const events of proactor.pollMultishot(b, abi.POLLIN)) {
        assert.equal(events & abi.POLLIN, abi.POLLIN);
        if (++told === 3) break;
        await proactor.recv(b, got);
        write(a, "x");
      }
      assert.equal(proactor.inFlight, 0);
    }),
  );
});

describe("timeoutMultishot", () => {
  it(
    "ticks",
    bench,
    within(async (proactor) => {
      const start = performance.now();
      const ticks: number[] = [];
      for await (const tick of proactor.timeoutMultishot(4)) {
        ticks.push(tick);
        if (tick === 5) break;
      }
      assert.deepEqual(ticks, [1, 2, 3, 4, 5]);
      assert.ok(performance.now() - start >= 19);
      assert.ok((await reason(proactor.timeoutMultishot(-1).next())) instanceof RangeError);
    }),
  );

  it(
    "ends although it is just ticking",
    bench,
    within(async (proactor) => {
      for (let i = 0; i < 500; i++) {
        for await (const tick of proactor.timeoutMultishot(0.1 + (i % 7) / 5)) {
          assert.equal(tick, 1);
          break;
        }
        assert.equal(proactor.inFlight, 0);
      }
    }),
  );

  it(
    "pauses while nobody pulls",
    bench,
    within(async (proactor) => {
      const ticks = proactor.timeoutMultishot(1, { highWaterMark: 3 });
      assert.equal(value(await ticks.next()), 1);
      await until(() => proactor.inFlight === 0, "the pause");
      for (let tick = 2; tick < 20; tick++) assert.equal(value(await ticks.next()), tick);
      await ticks.return();
    }),
  );
});

describe("a multishot", () => {
  it(
    "goes on where the completion queue has overflowed",
    bench,
    within(
      async (proactor, sockets) => {
        const [a, b] = sockets.pair(abi.SOCK_SEQPACKET);
        await using group = proactor.bufferGroup({ entries: 64, bufferSize: 64 });
        const stream = proactor.recvMultishot(b, { group });
        const COUNT = 2000;
        let sent = 0;
        const first = stream.next();
        proactor.flush();
        const send = () => {
          for (let i = 0; i < 50 && sent < COUNT; i++) write(a, `${sent++}`);
        };
        send();
        let got = 0;
        for (let pull = first; got < COUNT; pull = stream.next()) {
          assert.equal(take(value(await pull)), `${got++}`);
          if (got === sent && got < COUNT) send();
        }
        await stream.return();
        assert.deepEqual([group.available, group.lent], [64, 0]);
      },
      () => new Proactor({ entries: 4, cqEntries: 8 }),
    ),
  );

  const CLAMP = abi.IORING_SETUP_CLAMP;
  for (const [name, options] of Object.entries<ProactorOptions>({
    "the best flags": {},
    "no flags": { flags: CLAMP, entries: 8, cqEntries: 64 },
    "a poller thread": { flags: CLAMP | abi.IORING_SETUP_SQPOLL, sqThreadIdle: 20 },
  })) {
    it(
      `gives back all it was brought, whenever it is ended: ${name}`,
      bench,
      within(
        async (proactor, sockets) => {
          const random = new Random(7);
          const { fd, address } = await sockets.listener();
          const groups = [false, true].map((incremental) =>
            proactor.bufferGroup({ entries: 4, bufferSize: 64, incremental }),
          );
          const pairs = range(8).map(() => sockets.pair());
          const before = openSockets();
          const iterate = async (i: number, signal: AbortSignal) => {
            const [, b] = pairs[i % 8] as [number, number];
            const group = groups[i % 2] as BufferGroup;
            const steps = random.below(5);
            const all: AsyncIterable<number | Lease>[] = [
              proactor.recvMultishot(b, { group, signal, highWaterMark: 1 + random.below(4) }),
              proactor.acceptMultishot(fd, { signal, highWaterMark: 1 + random.below(4) }),
              proactor.readMultishot(b, { group, signal }),
              proactor.pollMultishot(b, abi.POLLIN | abi.POLLOUT, { signal }),
              proactor.timeoutMultishot(0.1 + random.below(10) / 5, { signal }),
            ];
            let step = 0;
            const which = random.below(all.length);
            for await (const item of all[which] as AsyncIterable<number | Lease>) {
              if (typeof item !== "number") item[Symbol.dispose]();
              else if (which === 1) await proactor.closeFd(item);
              if (step++ === steps) break;
            }
          };
          for (let round = 0; round < 60; round++) {
            const controller = new AbortController();
            const loops = range(8).map((i) => iterate(i, controller.signal));
            const ended = Promise.allSettled(loops);
            for (let i = 0; i < 20; i++) {
              const [a] = pairs[random.below(8)] as [number, number];
              write(a, "x".repeat(1 + random.below(100)));
            }
            if (random.below(2) === 0) sockets.close(await sockets.client(address));
            if (random.below(2) === 0) await turns(random.below(4));
            controller.abort();
            for (const result of await ended) {
              if (result.status === "rejected") assert.equal((result.reason as Error).name, "AbortError");
            }
            assert.equal(proactor.inFlight, 0);
            for (const group of groups) assert.deepEqual([group.available, group.lent], [4, 0]);
          }
          assert.equal(openSockets(), before);
        },
        () => new Proactor(options),
      ),
    );
  }

  it(
    "is rejected with the reason of its signal also where the operation is over, and that was not pulled",
    bench,
    within(async (proactor, sockets) => {
      const why = new Error("why");
      await using group = proactor.bufferGroup({ entries: 4, bufferSize: 64 });
      for (const pulled of ["the first", "all", "all and the end"] as const) {
        const [a, b] = sockets.pair(abi.SOCK_SEQPACKET);
        const controller = new AbortController();
        const stream = proactor.recvMultishot(b, { group, signal: controller.signal });
        for (let i = 0; i < 3; i++) write(a, `${i}`);
        sockets.close(a);
        assert.equal(take(value(await stream.next())), "0");
        await until(() => proactor.inFlight === 0, "the end");
        assert.equal(group.lent, 2);
        if (pulled !== "the first")
          for (const i of [1, 2]) assert.equal(take(value(await stream.next())), `${i}`);
        if (pulled === "all and the end") assert.deepEqual(await stream.next(), DONE);
        controller.abort(why);
        assert.deepEqual([group.available, group.lent], [4, 0]);
        if (pulled !== "all and the end") assert.equal(await reason(stream.next()), why);
        assert.deepEqual(await stream.next(), DONE);
      }
      // What it has failed with was not pulled either.
      proactor.ring.registerFilesSparse(1);
      const { fd, address } = await sockets.listener();
      for (let i = 0; i < 2; i++) await sockets.client(address);
      const controller = new AbortController();
      const { signal } = controller;
      const connections = proactor.acceptMultishot(fd, { direct: true, signal });
      value(await connections.next());
      await until(() => proactor.inFlight === 0, "the failure");
      controller.abort(why);
      assert.equal(await reason(connections.next()), why);
      assert.deepEqual(await connections.next(), DONE);
    }),
  );

  it(
    "minds no signal any more once it was left",
    bench,
    within(async (proactor, sockets) => {
      const [a, b] = sockets.pair(abi.SOCK_SEQPACKET);
      for (let i = 0; i < 3; i++) write(a, `${i}`);
      sockets.close(a);
      const controller = new AbortController();
      const stream = proactor.recvMultishot(b, { signal: controller.signal });
      assert.equal(take(value(await stream.next())), "0");
      await until(() => proactor.inFlight === 0, "the end");
      assert.deepEqual(await stream.return(), DONE);
      controller.abort();
      assert.deepEqual(await stream.next(), DONE);
      assert.equal(proactor.defaultBufferGroup().lent, 0);
    }),
  );

  it(
    "costs nothing while it waits",
    bench,
    within(async (proactor, sockets) => {
      const { fd } = await sockets.listener();
      const connections = proactor.acceptMultishot(fd);
      const pending = connections.next();
      await turns();
      const before = proactor.counters;
      await new Promise((resolve) => setTimeout(resolve, 50));
      assert.deepEqual(proactor.counters, before);
      await connections.return();
      assert.deepEqual(await pending, DONE);
    }),
  );

  it("is ended by close, whatever it is in", bench, async () => {
    const before = openFds();
    for (let round = 0; round < 20; round++) {
      const proactor = new Proactor();
      using other = new Sockets(proactor);
      const { fd, address } = await other.listener();
      const [a, b] = other.pair();
      const group = proactor.bufferGroup({ entries: 1, bufferSize: 64 });
      write(a, "x".repeat(200));
      if (round % 2 === 0) for (let i = 0; i < 3; i++) await other.client(address);
      const receiving = proactor.recvMultishot(b, { group });
      const lease = value(await receiving.next());
      const iterators = [
        proactor.acceptMultishot(fd, { highWaterMark: 1 }),
        proactor.timeoutMultishot(1000),
        proactor.pollMultishot(b, abi.POLLOUT),
      ];
      const pulls = iterators.map((iterator) => iterator.next());
      // Starves, for want of the buffer that is lent.
      const starving = reason(receiving.next());
      if (round % 4 > 1) await turns(round % 5);
      const closing = proactor.close();
      const results = await Promise.allSettled(pulls);
      for (const [i, result] of results.entries()) {
        if (result.status === "fulfilled") {
          assert.notEqual(i, 1);
          if (i === 0) other.own(value(result.value));
        } else assert.match(String(result.reason), /The proactor was closed/);
      }
      assert.match(String(await starving), /The proactor was closed/);
      assert.deepEqual(await closing, { leaked: 0 });
      lease[Symbol.dispose]();
      for (const iterator of [...iterators, receiving]) {
        // What was not told to somebody who waited is told now.
        await iterator.next().catch((error) => assert.match(String(error), /The proactor was closed/));
        assert.deepEqual(await iterator.next(), DONE);
      }
    }
    await untilFds(before.length);
  });

  it("leaves room for others, however many there are", bench, async () => {
    await using proactor = new Proactor({ entries: 4, cqEntries: 16 });
    using ends = pipe();
    const polls = Array.from({ length: 100 }, () => proactor.pollMultishot(ends.read, abi.POLLIN));
    const found = polls.map((poll) => poll.next());
    for (let i = 0; i < 10; i++) await proactor.nop();
    assert.equal(await proactor.write(ends.write, alloc(1)), 1);
    for (const { done, value } of await Promise.all(found))
      assert.deepEqual([done, value], [false, abi.POLLIN]);
    assert.ok(proactor.counters.overflow > 0);
    await Promise.all(polls.map((poll) => poll.return()));
    assert.equal(proactor.inFlight, 0);
  });

  it("refuses options that are none", bench, async () => {
    await using proactor = new Proactor();
    assert.throws(() => proactor.timeoutMultishot(1, { signal: {} as never }), TypeError);
    assert.throws(() => proactor.timeoutMultishot(1, { highWaterMark: 0 }), RangeError);
    assert.throws(() => proactor.bufferGroup({ entries: 3 }), RangeError);
    assert.throws(() => proactor.bufferGroup({ bufferSize: 0 }), RangeError);
  });

  it("fails with the first kernel that has it, where this one has not", bench, async () => {
    for (const [name, version, since, call] of [
      ["multishot poll", "5.11", "5.13", (p) => p.pollMultishot(0, abi.POLLIN)],
      ["multishot accept", "5.18", "5.19", (p) => p.acceptMultishot(0)],
      ["multishot recv", "5.18", "6.0", (p) => p.recvMultishot(0)],
      ["multishot recv", "5.19", "6.0", (p) => p.recvMultishot(0)],
      ["multishot recvmsg", "5.19", "6.0", (p) => p.recvmsgMultishot(0)],
      ["multishot timeout", "6.3", "6.4", (p) => p.timeoutMultishot(1)],
      ["multishot read", "6.6", "6.7", (p) => p.readMultishot(0)],
    ] as [string, string, string, (proactor: Proactor) => AsyncIterator<unknown>][]) {
      await lastingOnKernel(version, async () => {
        await using proactor = new Proactor();
        const error = await reason(call(proactor).next());
        assert.ok(error instanceof UringError, `${name}: ${error}`);
        assert.equal(error.syscall, name);
        assert.ok(error.message.includes(`needs Linux ${since}, and this is ${version}`), error.message);
      });
    }
  });

  for (const [part, promise] of [
    ["dropped", "is ended when it is collected, and gives back what nobody has pulled"],
    ["pending", "goes on while somebody waits who has the promise alone"],
    ["exit", "does not mind the end of the process"],
  ] as const) {
    it(promise, { timeout: 120_000 }, () => {
      const ended = runChild("proactor-multishot-child.ts", [part]);
      assert.deepEqual([ended.status, ended.stdout], [0, "done\n"], account(ended));
    });
  }
});
