import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { alloc, Proactor, UringError } from "uring";
import * as abi from "uring/abi";
import { type SimulatedOperation, simulateKernel } from "uring/testing";
import { onKernel } from "./support/older-kernel.ts";
import { Sockets, turns } from "./support/proactor-sockets.ts";
import { code, reason } from "./support/rejections.ts";
import { bytes, openFds, text, untilFds } from "./support/ring.ts";

const bench = { timeout: 60_000 };

/**
 * More than the buffers of a narrow connection hold, so that a send waits for who receives; and within the usual limit of
 * locked memory.
 */
const MUCH = 3 * 1024 * 1024;

async function narrowConnection(
  proactor: Proactor,
  sockets: Sockets,
): Promise<[client: number, server: number]> {
  const [client, server] = await sockets.connection();
  await proactor.setsockopt(client, abi.SOL_SOCKET, abi.SO_SNDBUF, 32 * 1024);
  await proactor.setsockopt(server, abi.SOL_SOCKET, abi.SO_RCVBUF, 32 * 1024);
  return [client, server];
}

function within(run: (proactor: Proactor, sockets: Sockets) => Promise<void>): () => Promise<void> {
  return async () => {
    const before = openFds();
    {
      await using proactor = new Proactor();
      using sockets = new Sockets(proactor);
      await run(proactor, sockets);
    }
    await untilFds(before.length);
  };
}

/** Receives so many bytes, and makes sure of each. */
async function receive(proactor: Proactor, fd: number, total: number): Promise<void> {
  using got = alloc(64 * 1024);
  for (let at = 0; at < total; ) {
    const count = await proactor.recv(fd, got);
    assert.ok(count > 0);
    for (let i = 0; i < count; i += 997) assert.equal(got.bytes[i], (at + i) % 251);
    at += count;
  }
}

function counting(length: number): ReturnType<typeof alloc> {
  const memory = alloc(length);
  for (let i = 0; i < length; i++) memory.bytes[i] = i % 251;
  return memory;
}

describe("sendZc", () => {
  it(
    "resolves when data is taken, and again when the memory is free",
    bench,
    within(async (proactor, sockets) => {
      const [client, server] = await sockets.connection();
      using data = counting(100_000);
      const order: string[] = [];
      const { sent, released } = proactor.sendZc(client, data);
      const settled = Promise.all([
        sent.then(() => order.push("sent")),
        released.then(() => order.push("released")),
      ]);
      const taken = await sent;
      assert.ok(taken > 0 && taken <= 100_000);
      await receive(proactor, server, taken);
      await settled;
      assert.deepEqual(order, ["sent", "released"]);
      assert.equal(proactor.inFlight, 0);
    }),
  );

  it(
    "sends thousands of times, in order",
    bench,
    within(async (proactor, sockets) => {
      const [client, server] = await sockets.connection();
      const COUNT = 2000;
      const size = 251 * 4;
      using data = counting(size);
      const received = receive(proactor, server, COUNT * size);
      const releases: Promise<void>[] = [];
      for (let i = 0; i < COUNT; i++) {
        const { sent, released } = proactor.sendZc(client, data, { flags: abi.MSG_WAITALL });
        releases.push(released);
        assert.equal(await sent, size);
      }
      await received;
      await Promise.all(releases);
      assert.equal(proactor.inFlight, 0);
    }),
  );

  it(
    "keeps the memory until it is released, although it was given back",
    bench,
    within(async (proactor, sockets) => {
      const [client, server] = await narrowConnection(proactor, sockets);
      const data = counting(MUCH);
      const { sent, released } = proactor.sendZc(client, data, { flags: abi.MSG_WAITALL });
      proactor.flush();
      data[Symbol.dispose]();
      // Would be the same memory.
      const other = alloc(MUCH);
      other.bytes.fill(255);
      await receive(proactor, server, MUCH);
      assert.equal(await sent, MUCH);
      await released;
    }),
  );

  it(
    "takes leases of a registered pool and parts of memory",
    bench,
    within(async (proactor, sockets) => {
      const [client, server] = await sockets.connection();
      using lease = proactor.pool.lend(4096);
      lease.bytes.set(counting(4096).bytes.subarray(0, lease.byteLength));
      const sending = proactor.sendZc(client, lease, { length: 2000 });
      assert.equal(await sending.sent, 2000);
      await receive(proactor, server, 2000);
      await sending.released;
    }),
  );

  it(
    "sends datagrams to an address",
    bench,
    within(async (proactor, sockets) => {
      const a = await sockets.bound();
      const b = await sockets.bound();
      using got = alloc(16);
      const { sent, released } = proactor.sendZc(a.fd, bytes("datagram"), { address: b.address });
      assert.equal(await sent, 8);
      assert.deepEqual((await proactor.recvmsg(b.fd, got)).address, a.address);
      assert.equal(text(got, 8), "datagram");
      await released;
    }),
  );

  it(
    "releases the memory where it fails, by one completion or two",
    bench,
    within(async (proactor, sockets) => {
      const [a] = sockets.pair();
      const [client] = await sockets.connection();
      for (const fd of [-1, a]) {
        const { sent, released } = proactor.sendZc(fd, bytes("x"));
        assert.match(await code(sent), /EBADF|EOPNOTSUPP/);
        await released;
      }
      await proactor.shutdown(client);
      const ended = proactor.sendZc(client, bytes("x"));
      assert.equal(await code(ended.sent), "EPIPE");
      await ended.released;
      const wrong = proactor.sendZc(client, bytes("x"), { length: 2 });
      assert.ok((await reason(wrong.sent)) instanceof RangeError);
      await wrong.released;
      const nowhere = proactor.sendZc(client, bytes("x"), { address: {} as never });
      assert.ok((await reason(nowhere.sent)) instanceof TypeError);
      await nowhere.released;
    }),
  );

  it(
    "is aborted before it is handed over and while it waits, and runs out of time",
    bench,
    within(async (proactor, sockets) => {
      const [client] = await narrowConnection(proactor, sockets);
      const why = new Error("why");
      const data = counting(MUCH);
      for (const when of ["before", "queued", "waiting", "timeout"] as const) {
        const controller = new AbortController();
        if (when === "before") controller.abort(why);
        const { sent, released } = proactor.sendZc(client, data, {
          flags: abi.MSG_WAITALL,
          ...(when === "timeout" ? { timeout: 5 } : { signal: controller.signal }),
        });
        if (when === "waiting") {
          proactor.flush();
          await turns();
        }
        if (when !== "timeout") controller.abort(why);
        let taken = 0;
        let error: unknown;
        try {
          taken = await sent;
        } catch (caught) {
          error = caught;
        }
        if (when === "before" || when === "queued") assert.equal(error, why);
        // What was taken before the end is told.
        else if (taken === 0 && when === "waiting") assert.equal(error, why);
        else if (taken === 0) assert.equal((error as Error).name, "TimeoutError");
        else assert.ok(taken < MUCH);
        if (taken === 0) await released;
      }
    }),
  );

  it(
    "that waits for room with nothing taken ends with the reason, or a TimeoutError",
    bench,
    within(async (proactor, sockets) => {
      const [client] = await narrowConnection(proactor, sockets);
      const filling = alloc(64 * 1024);
      for (let full = ""; full !== "EAGAIN"; ) {
        full = await proactor.send(client, filling, { flags: abi.MSG_DONTWAIT }).then(
          () => "",
          (error: UringError) => error.code,
        );
      }
      const why = new Error("why");
      const controller = new AbortController();
      const aborted = proactor.sendZc(client, filling, { signal: controller.signal });
      const rejected = reason(aborted.sent);
      proactor.flush();
      await turns();
      controller.abort(why);
      assert.equal(await rejected, why);
      await aborted.released;
      const late = proactor.sendZc(client, filling, { timeout: 5 });
      assert.equal(((await reason(late.sent)) as Error).name, "TimeoutError");
      await late.released;
      filling[Symbol.dispose]();
    }),
  );

  it("that completes once, cancelled, ends with the reason", bench, async () => {
    const policy = ({ name }: SimulatedOperation) =>
      name === "SEND_ZC" ? { res: 5, delay: Number.POSITIVE_INFINITY } : undefined;
    using _kernel = simulateKernel({ seed: 3, policy });
    await using proactor = new Proactor();
    using memory = alloc(64);
    const why = new Error("why");
    const controller = new AbortController();
    const { sent, released } = proactor.sendZc(5, memory, { signal: controller.signal });
    const rejected = reason(sent);
    proactor.flush();
    await turns();
    controller.abort(why);
    assert.equal(await rejected, why);
    await released;
  });

  it("with a limit longer than timers can be does not run out", bench, async () => {
    const policy = ({ name }: SimulatedOperation) =>
      name === "SEND_ZC" ? { res: 5, delay: Number.POSITIVE_INFINITY } : undefined;
    using _kernel = simulateKernel({ policy });
    await using proactor = new Proactor();
    using memory = alloc(64);
    const long = proactor.sendZc(5, memory, { timeout: 2 ** 40 });
    const outcome = reason(long.sent);
    const short = proactor.sendZc(6, memory, { timeout: 20 });
    assert.equal(((await reason(short.sent)) as Error).name, "TimeoutError");
    await proactor.close();
    assert.equal(((await outcome) as UringError).code, "ECANCELED");
  });

  it("is ended by close", bench, async () => {
    const before = openFds();
    const proactor = new Proactor();
    const sockets = new Sockets(proactor);
    const [client] = await narrowConnection(proactor, sockets);
    const waiting = proactor.sendZc(client, counting(MUCH), { flags: abi.MSG_WAITALL });
    proactor.flush();
    const queued = proactor.sendZc(client, bytes("x"));
    const ends = Promise.allSettled([waiting.sent, waiting.released, queued.sent, queued.released]);
    // What is taken already waits for somebody to acknowledge it.
    const { leaked } = await proactor.close({ deadline: 200 });
    const [sent, released, queuedSent, queuedReleased] = await ends;
    assert.ok(sent.status === "fulfilled" || /ECANCELED/.test(String(sent.reason)));
    assert.equal(released.status, leaked === 0 ? "fulfilled" : "rejected");
    assert.match(String(queuedSent.status === "rejected" && queuedSent.reason), /The proactor was closed/);
    assert.equal(queuedReleased.status, "fulfilled");
    const late = proactor.sendZc(client, bytes("x"));
    assert.equal(await code(late.sent), "ECANCELED");
    await late.released;
    sockets[Symbol.dispose]();
    await untilFds(before.length);
  });

  it("fails with the first kernel that has it, where this one has not", bench, async () => {
    await using proactor = onKernel("5.19", () => new Proactor());
    for (const [since, call] of [
      ["6.0", () => proactor.sendZc(0, bytes("x"))],
      ["6.1", () => proactor.sendmsgZc(0, bytes("x"))],
    ] as const) {
      const { sent, released } = onKernel("5.19", call);
      const error = await reason(sent);
      assert.ok(error instanceof UringError);
      assert.ok(error.message.includes(`needs Linux ${since}, and this is 5.19`), error.message);
      await released;
    }
  });
});

describe("sendmsgZc", () => {
  it(
    "sends several pieces",
    bench,
    within(async (proactor, sockets) => {
      const [client, server] = await sockets.connection();
      using data = counting(60_000);
      const { sent, released } = proactor.sendmsgZc(client, [data.slice(0, 10), data.slice(10)]);
      const taken = await sent;
      await receive(proactor, server, taken);
      await released;
      const failed = proactor.sendmsgZc(client, [{} as never]);
      assert.ok((await reason(failed.sent)) instanceof TypeError);
      await failed.released;
    }),
  );
});
