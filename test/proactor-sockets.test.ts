import assert from "node:assert/strict";
import { release } from "node:os";
import { describe, it } from "node:test";
import { alloc, Direct, Proactor, type SocketAddress, type Target, UringError } from "uring";
import * as abi from "uring/abi";
import { onKernel } from "./support/older-kernel.ts";
import { closesOnExec, LOCAL, nameOf, Sockets } from "./support/proactor-sockets.ts";
import { code, reason } from "./support/rejections.ts";
import { bytes, openFds, Scratch, text, untilFds } from "./support/ring.ts";

const bench = { timeout: 60_000 };

/** How many tries there are in a race. */
const ROUNDS = 200;

describe("sockets", () => {
  const addresses: Record<string, (scratch: Scratch) => SocketAddress> = {
    IPv4: () => LOCAL,
    IPv6: () => ({ family: "ipv6", address: "::1", port: 0 }),
    "a path": (scratch) => ({ family: "unix", path: scratch.path("socket") }),
    "an abstract name": () => ({ family: "unix", abstract: `uring-test-${process.pid}` }),
  };
  for (const [name, make] of Object.entries(addresses)) {
    it(`connect, talk and end by ${name}`, bench, async () => {
      using scratch = new Scratch();
      await using proactor = new Proactor();
      using sockets = new Sockets(proactor);
      const { fd, address } = await sockets.listener(make(scratch));
      const family = { ipv4: abi.AF_INET, ipv6: abi.AF_INET6, unix: abi.AF_UNIX, other: -1 }[address.family];
      const [client, accepted] = await Promise.all([
        sockets.client(address, family),
        proactor.accept(fd, { address: true }),
      ]);
      const server = sockets.own(accepted.fd);
      assert.deepEqual(accepted.address, nameOf(client));
      assert.deepEqual([closesOnExec(client), closesOnExec(server)], [true, true]);
      using got = alloc(16);
      const received = proactor.recv(server, got);
      assert.equal(await proactor.send(client, bytes("ping!"), { length: 4 }), 4);
      assert.equal(await received, 4);
      assert.equal(text(got, 5), "ping\0");
      await proactor.shutdown(client, abi.SHUT_WR);
      assert.equal(await proactor.recv(server, got), 0);
      await proactor.shutdown(server);
      assert.equal(await code(proactor.send(server, bytes("x"))), "EPIPE");
    });
  }

  it("are left open in programs this one becomes, if so asked", bench, async () => {
    await using proactor = new Proactor();
    using sockets = new Sockets(proactor);
    const { fd, address } = await sockets.listener();
    const plain = sockets.own(await proactor.socket(abi.AF_INET, abi.SOCK_STREAM, { cloexec: false }));
    const [, accepted] = await Promise.all([
      proactor.connect(plain, address),
      proactor.accept(fd, { cloexec: false, flags: abi.SOCK_NONBLOCK }),
    ]);
    assert.deepEqual([closesOnExec(plain), closesOnExec(sockets.own(accepted))], [false, false]);
  });

  it("are made and accepted in the ring's own table", bench, async () => {
    const before = openFds();
    {
      await using proactor = new Proactor();
      using sockets = new Sockets(proactor);
      proactor.ring.registerFilesSparse(8);
      const { fd, address } = await sockets.listener();
      const client = await proactor.socket(abi.AF_INET, abi.SOCK_STREAM, { direct: true });
      assert.ok(client instanceof Direct);
      const [, { fd: server, address: peer }] = await Promise.all([
        proactor.connect(client, address),
        proactor.accept(fd, { direct: 5, address: true }),
      ]);
      assert.deepEqual(server, new Direct(5));
      assert.equal(peer?.family, "ipv4");
      using got = alloc(8);
      await proactor.send(client, bytes("hello"));
      assert.equal(await proactor.recv(server, got), 5);
      const [, other] = await Promise.all([sockets.client(address), proactor.accept(fd, { direct: true })]);
      await proactor.closeFd(other);
      await proactor.closeFd(server);
      assert.equal(await proactor.recv(client, got), 0);
    }
    await untilFds(before.length);
  });

  it("tell and take options", bench, async () => {
    await using proactor = new Proactor();
    using sockets = new Sockets(proactor);
    const { fd } = await sockets.bound();
    assert.equal(await proactor.getsockopt(fd, abi.SOL_SOCKET, abi.SO_REUSEADDR), 0);
    await proactor.setsockopt(fd, abi.SOL_SOCKET, abi.SO_REUSEADDR, 1);
    assert.equal(await proactor.getsockopt(fd, abi.SOL_SOCKET, abi.SO_REUSEADDR), 1);
    const linger = new Uint8Array(Int32Array.of(1, 7).buffer);
    await proactor.setsockopt(fd, abi.SOL_SOCKET, abi.SO_LINGER, linger);
    assert.deepEqual(await proactor.getsockopt(fd, abi.SOL_SOCKET, abi.SO_LINGER, { length: 100 }), linger);
    assert.equal(await code(proactor.setsockopt(fd, abi.SOL_SOCKET, 9999, 1)), "ENOPROTOOPT");
    assert.ok(
      (await reason(proactor.setsockopt(fd, abi.SOL_SOCKET, abi.SO_LINGER, 2 ** 33))) instanceof RangeError,
    );
  });

  it("have addresses, where the kernel tells them", bench, async () => {
    await using proactor = new Proactor();
    using sockets = new Sockets(proactor);
    const [client, server] = await sockets.connection();
    const [major = 0, minor = 0] = release().split(".").map(Number.parseFloat);
    if (major > 6 || (major === 6 && minor >= 19)) {
      assert.deepEqual(await proactor.sockname(client), nameOf(client));
      assert.deepEqual(await proactor.peername(client), nameOf(server));
      assert.equal(await code(proactor.peername((await sockets.bound()).fd)), "ENOTCONN");
      return;
    }
    for (const promise of [proactor.sockname(client), proactor.peername(client)]) {
      const error = await reason(promise);
      assert.ok(error instanceof UringError);
      assert.match(error.message, /needs Linux 6\.19, and this is/);
    }
  });

  it("send datagrams to an address, and tell where they are from", bench, async () => {
    await using proactor = new Proactor();
    using sockets = new Sockets(proactor);
    const a = await sockets.bound();
    const b = await sockets.bound();
    using got = alloc(8);
    assert.equal(await proactor.sendTo(a.fd, bytes("datagram"), b.address), 8);
    assert.deepEqual(await proactor.recvmsg(b.fd, got), {
      length: 8,
      address: a.address,
      control: [],
      flags: 0,
    });
    assert.equal(await proactor.sendmsg(b.fd, [bytes("long "), bytes("answer")], { address: a.address }), 11);
    const cut = await proactor.recvmsg(a.fd, [got.slice(0, 3), got.slice(3)]);
    assert.deepEqual([cut.length, cut.address, cut.flags & abi.MSG_TRUNC], [8, b.address, abi.MSG_TRUNC]);
    assert.equal(text(got), "long ans");
  });

  it("pass descriptors beside data, which are closed in programs this one becomes", bench, async () => {
    await using proactor = new Proactor();
    using sockets = new Sockets(proactor);
    const [a, b] = sockets.pair();
    const [c] = sockets.pair();
    using got = alloc(8);
    const received = proactor.recvmsg(b, got, { control: 64 });
    await proactor.sendmsg(a, bytes("fd"), { control: [{ kind: "rights", fds: [c] }] });
    const { length, control } = await received;
    assert.equal(length, 2);
    const [rights] = control;
    assert.ok(rights?.kind === "rights" && rights.fds.length === 1);
    const passed = sockets.own(rights.fds[0] as number);
    assert.equal(closesOnExec(passed), true);
  });

  it("keep the memory of a message until its end, whoever gives it back before", bench, async () => {
    await using proactor = new Proactor({ debug: true });
    using sockets = new Sockets(proactor);
    const [a, b] = sockets.pair();
    const got = alloc(4096);
    const received = proactor.recvmsg(b, [got]);
    proactor.flush();
    got[Symbol.dispose]();
    // Would be the same memory.
    const other = alloc(4096);
    await proactor.send(a, bytes("late"));
    assert.equal((await received).length, 4);
    assert.equal(text(other, 4), "\0\0\0\0");
  });

  it("name the address that could not be reached", bench, async () => {
    await using proactor = new Proactor();
    using sockets = new Sockets(proactor);
    const { fd, address } = await sockets.bound(abi.SOCK_STREAM);
    assert.ok(address.family === "ipv4");
    const other = sockets.own(await proactor.socket(abi.AF_INET, abi.SOCK_STREAM));
    const refused = await reason(proactor.connect(other, address));
    assert.ok(refused instanceof UringError);
    assert.deepEqual([refused.code, refused.address], ["ECONNREFUSED", `127.0.0.1:${address.port}`]);
    const taken = await reason(proactor.bind(other, address));
    assert.ok(taken instanceof UringError);
    assert.deepEqual([taken.code, taken.syscall], ["EADDRINUSE", "bind"]);
    assert.match(taken.message, /127\.0\.0\.1/);
    const unix = sockets.own(await proactor.socket(abi.AF_UNIX, abi.SOCK_STREAM));
    const nowhere = await reason(proactor.connect(unix, { family: "unix", abstract: "uring-nobody" }));
    assert.ok(nowhere instanceof UringError && nowhere.message.includes("@uring-nobody"));
    assert.equal(await code(proactor.accept(fd)), "EINVAL");
  });

  it("reject what is wrong with arguments, and throw nothing", bench, async () => {
    await using proactor = new Proactor();
    using sockets = new Sockets(proactor);
    const { fd } = await sockets.bound();
    const wrong = {} as never;
    const calls: Record<string, () => Promise<unknown>> = {
      connect: () => proactor.connect(fd, wrong),
      bind: () => proactor.bind(fd, { family: "ipv4", address: "nowhere", port: 1 }),
      listen: () => proactor.listen(fd, -1),
      accept: () => proactor.accept(fd, { direct: wrong }),
      socket: () => proactor.socket(1.5, 1),
      sendTo: () => proactor.sendTo(fd, alloc(1), wrong),
      sendmsg: () => proactor.sendmsg(fd, wrong),
      recvmsg: () => proactor.recvmsg(fd, [alloc(1)], { control: -1 }),
      pieces: () => proactor.sendmsg(fd, [wrong]),
      many: () => proactor.sendmsg(fd, new Array(1025).fill(alloc(1))),
      control: () => proactor.sendmsg(fd, alloc(1), { control: [wrong] }),
      getsockopt: () => proactor.getsockopt(fd, 1, 1, { length: -1 }),
      setsockopt: () => proactor.setsockopt(fd, 1, 1, wrong),
      send: () => proactor.send(fd, alloc(1), { length: 2 }),
    };
    for (const [name, call] of Object.entries(calls)) {
      const error = await reason(call());
      assert.ok(error instanceof TypeError || error instanceof RangeError, `${name}: ${error}`);
    }
    assert.equal(proactor.inFlight, 0);
  });

  it("fail with the first kernel that has the operation, where this one has not", bench, async () => {
    await using proactor = onKernel("5.11", () => new Proactor());
    const calls: [string, string, () => Promise<unknown>][] = [
      ["socket", "5.19", () => proactor.socket(abi.AF_INET, abi.SOCK_STREAM)],
      ["bind", "6.11", () => proactor.bind(0, LOCAL)],
      ["listen", "6.11", () => proactor.listen(0)],
      ["getsockopt", "6.7", () => proactor.getsockopt(0, 1, 1)],
    ];
    for (const [name, since, call] of calls) {
      const error = await reason(onKernel("5.11", call));
      assert.ok(error instanceof UringError);
      assert.deepEqual([error.code, error.syscall], ["ENOSYS", name]);
      assert.ok(error.message.includes(`needs Linux ${since}, and this is 5.11`), error.message);
    }
  });
});

describe("an accept that is aborted", () => {
  it("takes no connection, which the next one gets", bench, async () => {
    await using proactor = new Proactor();
    using sockets = new Sockets(proactor);
    const { fd, address } = await sockets.listener();
    const controller = new AbortController();
    const accept = proactor.accept(fd, { signal: controller.signal });
    proactor.flush();
    const why = new Error("enough");
    controller.abort(why);
    assert.equal(await reason(accept), why);
    const client = await sockets.client(address);
    const { fd: server, address: peer } = await proactor.accept(fd, { address: true });
    sockets.own(server);
    assert.deepEqual(peer, nameOf(client));
    const late = await reason(proactor.accept(fd, { timeout: 5 }));
    assert.equal((late as Error).name, "TimeoutError");
  });

  for (const direct of [undefined, true] as const) {
    it(`leaks nothing whoever wins${direct ? ", in the ring's own table" : ""}`, bench, async () => {
      const before = openFds();
      let won = 0;
      {
        await using proactor = new Proactor();
        using sockets = new Sockets(proactor);
        proactor.ring.registerFilesSparse(2);
        const { fd, address } = await sockets.listener();
        for (let i = 0; i < ROUNDS; i++) {
          const controller = new AbortController();
          const { signal } = controller;
          const accept: Promise<Target> = direct
            ? proactor.accept(fd, { direct, signal })
            : proactor.accept(fd, { signal });
          if (i % 3 !== 0) proactor.flush();
          const client = await proactor.socket(abi.AF_INET, abi.SOCK_STREAM);
          const connect = proactor.connect(client, address);
          if (i % 4 === 0) await connect;
          else if (i % 4 === 1) proactor.flush();
          controller.abort();
          try {
            await proactor.closeFd(await accept);
            won++;
          } catch (error) {
            // The connection is closed, or waits for the next accept.
            assert.equal((error as Error).name, "AbortError");
          }
          await connect;
          await proactor.closeFd(client);
        }
        if (direct) {
          // Both slots are free.
          const options = { direct } as const;
          for (let slot = 0; slot < 2; slot++) await proactor.socket(abi.AF_INET, abi.SOCK_STREAM, options);
          assert.equal(await code(proactor.socket(abi.AF_INET, abi.SOCK_STREAM, options)), "ENFILE");
        }
      }
      assert.ok(won < ROUNDS, `${won}`);
      await untilFds(before.length);
    });
  }

  it("is ended by close, and leaks nothing", bench, async () => {
    const before = openFds();
    for (let i = 0; i < 10; i++) {
      const proactor = new Proactor();
      await using other = new Proactor();
      using sockets = new Sockets(other);
      const { fd, address } = await sockets.listener();
      const accept = proactor.accept(fd);
      proactor.flush();
      if (i % 2 === 0) await sockets.client(address);
      const ended = accept.then(
        (accepted) => sockets.own(accepted),
        (error: unknown) => assert.match(String(error), /ECANCELED.*The proactor was closed/),
      );
      assert.deepEqual(await proactor.close(), { leaked: 0 });
      await ended;
    }
    await untilFds(before.length);
  });
});
