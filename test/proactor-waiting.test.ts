import assert from "node:assert/strict";
import { existsSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { describe, it } from "node:test";
import { alloc, Direct, type Pinned, Proactor, Ring, type Timespec, type UringError } from "uring";
import * as abi from "uring/abi";
import { type SimulatedOperation, simulateKernel } from "uring/testing";
import { endsEarly, giveUpWhenDone } from "./support/endings.ts";
import { pipe } from "./support/harness.ts";
import { onKernel } from "./support/older-kernel.ts";
import { Sockets } from "./support/proactor-sockets.ts";
import { code, reason } from "./support/rejections.ts";
import { bytes, openFds, Scratch, text, untilFds } from "./support/ring.ts";
import { child, mustCall, syscall } from "./support/system.ts";

const bench = { timeout: 60_000 };

/** A futex's word. */
function word(value: number): Pinned {
  const memory = alloc(4);
  new DataView(memory.bytes.buffer, memory.bytes.byteOffset).setInt32(0, value, true);
  return memory;
}

/** Opens an epoll instance, closed at the end of the block. */
function epoll(): { fd: number } & Disposable {
  const fd = mustCall("epoll_create1", abi.O_CLOEXEC);
  return { fd, [Symbol.dispose]: () => void mustCall("close", fd) };
}

describe("poll", () => {
  it("tells what is there", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    assert.equal(await proactor.poll(ends.write, abi.POLLIN | abi.POLLOUT), abi.POLLOUT);
    const readable = proactor.poll(ends.read, abi.POLLIN);
    await proactor.timeout(1);
    assert.equal(proactor.inFlight, 1);
    await proactor.write(ends.write, bytes("x"));
    assert.equal(await readable, abi.POLLIN);
    ends.close(ends.write);
    assert.equal(await proactor.poll(ends.read, abi.POLLIN), abi.POLLIN | abi.POLLHUP);
    assert.equal(await code(proactor.poll(1_000_000, abi.POLLIN)), "EBADF");
    proactor.ring.registerFiles([ends.read]);
    assert.equal(await proactor.poll(new Direct(0), 0), abi.POLLHUP);
  });

  endsEarly("poll", (proactor) => {
    const ends = pipe();
    return {
      call: (options) => proactor.poll(ends.read, abi.POLLIN, options),
      [Symbol.dispose]: () => ends[Symbol.dispose](),
    };
  });
});

describe("timeout", () => {
  it("resolves after a time, in any of its forms, not before", bench, async () => {
    await using proactor = new Proactor();
    for (const time of [20, 20_000_000n, { sec: 0, nsec: 20_000_000 }] as Timespec[]) {
      const start = performance.now();
      assert.equal(await proactor.timeout(time), undefined);
      assert.ok(performance.now() - start >= 19.5);
    }
    assert.equal(await proactor.timeout(0), undefined);
  });

  it("resolves at a point on a clock", bench, async () => {
    await using proactor = new Proactor();
    const clocks = {
      CLOCK_MONOTONIC: abi.CLOCK_MONOTONIC,
      CLOCK_BOOTTIME: abi.CLOCK_BOOTTIME,
      CLOCK_REALTIME: abi.CLOCK_REALTIME,
    };
    for (const [name, clock] of Object.entries(clocks)) {
      const now = timeOf(clock);
      await proactor.timeout(now + 20_000_000n, { absolute: true, clock });
      assert.ok(timeOf(clock) >= now + 20_000_000n, name);
      await proactor.timeout(now, { absolute: true, clock });
      const start = performance.now();
      await proactor.timeout(10, { clock });
      assert.ok(performance.now() - start >= 9.5, name);
    }
    const now = timeOf(abi.CLOCK_MONOTONIC);
    await proactor.timeout(now + 5_000_000n, { absolute: true });
    assert.ok(timeOf(abi.CLOCK_MONOTONIC) >= now + 5_000_000n);
  });

  it("goes on with what comes next in a chain", bench, async () => {
    await using proactor = new Proactor();
    const chain = proactor.chain();
    const start = performance.now();
    const slept = chain.timeout(20);
    const done = chain.nop().then(() => performance.now() - start);
    await chain.submit();
    assert.equal(await slept, undefined);
    assert.ok((await done) >= 19.5);
  });

  it("rejects times and clocks that are none", bench, async () => {
    await using proactor = new Proactor();
    const wrong: [typeof Error, Promise<unknown>][] = [
      [RangeError, proactor.timeout(-1)],
      [RangeError, proactor.timeout(Number.POSITIVE_INFINITY)],
      [RangeError, proactor.timeout(Number.NaN)],
      [TypeError, proactor.timeout("1" as never)],
      [RangeError, proactor.timeout(1, { clock: 17 })],
    ];
    const errors = await Promise.all(wrong.map(([, promise]) => reason(promise)));
    for (const [i, [kind]] of wrong.entries()) assert.ok(errors[i] instanceof kind, String(errors[i]));
    assert.equal(proactor.inFlight, 0);
  });

  endsEarly("timeout", (proactor) => ({ call: (options) => proactor.timeout(60_000, options) }));
});

/** A clock's time in nanoseconds. */
function timeOf(clock: number): bigint {
  using memory = alloc(16);
  mustCall("clock_gettime", clock, memory.address);
  const view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset);
  return view.getBigInt64(0, true) * 1_000_000_000n + view.getBigInt64(8, true);
}

describe("epoll", () => {
  it("tells of files that were added, with what they were added with", bench, async () => {
    await using proactor = new Proactor();
    using instance = epoll();
    using ends = pipe();
    const { EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL, EPOLLIN, EPOLLOUT } = abi;
    const { fd } = instance;
    const ctl = (op: number, target: number, events: number, data: number | bigint) =>
      proactor.epollCtl(fd, op, target, { events, data });
    assert.equal(await ctl(EPOLL_CTL_ADD, ends.read, EPOLLIN, 0xffff_ffff_ffff_fffen), undefined);
    assert.equal(await code(ctl(EPOLL_CTL_ADD, ends.read, EPOLLIN, 1)), "EEXIST");
    assert.equal(await code(ctl(EPOLL_CTL_MOD, ends.write, EPOLLIN, 1)), "ENOENT");

    const events = proactor.epollWait(fd);
    await proactor.write(ends.write, bytes("x"));
    assert.deepEqual(await events, [{ events: EPOLLIN, data: 0xffff_ffff_ffff_fffen }]);
    await ctl(EPOLL_CTL_ADD, ends.write, EPOLLOUT, 7);
    const both = await proactor.epollWait(fd);
    assert.deepEqual(both.map(({ events }) => events).sort(), [EPOLLIN, EPOLLOUT]);
    assert.equal((await proactor.epollWait(fd, { maxEvents: 1 })).length, 1);
    await ctl(EPOLL_CTL_MOD, ends.read, EPOLLIN, 8);
    assert.equal(await proactor.epollCtl(fd, EPOLL_CTL_DEL, ends.write, null), undefined);
    assert.deepEqual(await proactor.epollWait(fd), [{ events: EPOLLIN, data: 8n }]);
    assert.equal(await code(proactor.epollWait(ends.read)), "EINVAL");
    assert.ok((await reason(proactor.epollWait(fd, { maxEvents: 0 }))) instanceof RangeError);
  });

  endsEarly("epoll_wait", (proactor) => {
    const instance = epoll();
    return { ...instance, call: (options) => proactor.epollWait(instance.fd, options) };
  });
});

describe("a futex", () => {
  it("is waited for until it is woken", bench, async () => {
    await using proactor = new Proactor();
    using futex = word(-5);
    const waits = [proactor.futexWait(futex, -5), proactor.futexWait(futex, 0xffff_fffb)];
    proactor.flush();
    assert.equal(await proactor.futexWake(futex, 1), 1);
    await Promise.race(waits);
    assert.equal(proactor.inFlight, 1);
    const FUTEX_WAKE = 1;
    assert.equal(syscall("futex", futex.address, FUTEX_WAKE, 10), 1);
    assert.deepEqual(await Promise.all(waits), [undefined, undefined]);
    assert.equal(await proactor.futexWake(futex, 1), 0);
  });

  it("is not waited for where its word says that something has happened", bench, async () => {
    await using proactor = new Proactor();
    using futex = word(1);
    assert.equal(await code(proactor.futexWait(futex, 2)), "EAGAIN");
  });

  it("wakes those whose mask has a bit in common", bench, async () => {
    await using proactor = new Proactor();
    using futex = word(0);
    const waiting = proactor.futexWait(futex, 0, { mask: 0b0110 });
    proactor.flush();
    assert.equal(await proactor.futexWake(futex, 9, { mask: 0b1001 }), 0);
    assert.equal(await proactor.futexWake(futex, 9, { mask: 0b1100 }), 1);
    assert.equal(await waiting, undefined);
    const flags = abi.FUTEX2_SIZE_U32 | abi.FUTEX2_PRIVATE;
    const own = proactor.futexWait(futex, 0, { flags });
    proactor.flush();
    assert.equal(await proactor.futexWake(futex, 9, { flags }), 1);
    await own;
    assert.equal(await code(proactor.futexWake(futex, 1, { mask: 0 })), "EINVAL");
  });

  it("is waited for among others", bench, async () => {
    await using proactor = new Proactor();
    const futexes = [1, 2, 3].map((value) => ({ futex: word(value), value }));
    const waiting = proactor.futexWaitv(futexes);
    proactor.flush();
    assert.equal(await proactor.futexWake((futexes[1] as (typeof futexes)[0]).futex, 1), 1);
    assert.equal(await waiting, 1);
    (futexes[2] as (typeof futexes)[0]).value = 9;
    assert.equal(await code(proactor.futexWaitv(futexes)), "EAGAIN");
    for (const wrong of [[], "x", [{ futex: alloc(2), value: 1 }], [{ futex: "x", value: 1 }]]) {
      const error = await reason(proactor.futexWaitv(wrong as never));
      assert.ok(error instanceof TypeError || error instanceof RangeError, String(error));
    }
  });

  it("keeps words that are given back meanwhile until the end", bench, async () => {
    await using proactor = new Proactor();
    for (const wait of [
      (futex: Pinned, options: object) => proactor.futexWait(futex, 0, options),
      (futex: Pinned, options: object) => proactor.futexWaitv([{ futex, value: 0 }], options),
    ]) {
      const futex = word(0);
      const { address } = futex;
      const controller = new AbortController();
      const waiting = reason(wait(futex, { signal: controller.signal }));
      proactor.flush();
      futex[Symbol.dispose]();
      assert.ok(Array.from({ length: 8 }, () => word(0)).every((other) => other.address !== address));
      controller.abort("done");
      assert.equal(await waiting, "done");
      assert.ok(Array.from({ length: 8 }, () => word(0)).some((other) => other.address === address));
    }
  });

  it("is a word of 32 bits", bench, async () => {
    await using proactor = new Proactor();
    using futex = word(0);
    const wrong: [typeof Error, Promise<unknown>][] = [
      [RangeError, proactor.futexWait(alloc(64).slice(0, 3), 0)],
      [RangeError, proactor.futexWait(futex, 2 ** 32)],
      [RangeError, proactor.futexWait(futex, 0.5)],
      [RangeError, proactor.futexWake(futex, 1, { mask: 2 ** 32 })],
      [TypeError, proactor.futexWait("word" as never, 0)],
    ];
    const errors = await Promise.all(wrong.map(([, promise]) => reason(promise)));
    for (const [i, [kind]] of wrong.entries()) assert.ok(errors[i] instanceof kind, String(errors[i]));
    assert.equal(await code(proactor.futexWait(alloc(64).slice(1), 0)), "EINVAL");
  });

  endsEarly("futex_wait", (proactor) => {
    const futex = word(0);
    return { call: (options) => proactor.futexWait(futex, 0, options) };
  });
  endsEarly("futex_waitv", (proactor) => {
    const futexes = [word(0), word(1)].map((futex, value) => ({ futex, value }));
    return { call: (options) => proactor.futexWaitv(futexes, options) };
  });
});

describe("a child process", () => {
  const CLD_EXITED = 1;

  it("is waited for, and what has become of it is told", bench, async () => {
    await using proactor = new Proactor();
    const pid = child({ delayMs: 20, code: 7 });
    const still = await proactor.waitid(abi.P_PID, pid, { flags: abi.WEXITED | abi.WNOHANG });
    if (still.pid !== 0) assert.fail("it is gone already");
    const info = await proactor.waitid(abi.P_PID, pid);
    assert.deepEqual([info.pid, info.code, info.status], [pid, CLD_EXITED, 7]);
    assert.equal(await code(proactor.waitid(abi.P_PID, pid)), "ECHILD");
    assert.equal(await code(proactor.waitid(99, pid)), "EINVAL");
  });

  endsEarly("waitid", (proactor) => {
    const pid = child({ delayMs: 60_000 });
    const end = () => {
      const SIGKILL = 9;
      mustCall("kill", pid, SIGKILL);
      mustCall("wait4", pid, 0, 0, 0);
    };
    return { call: (options) => proactor.waitid(abi.P_PID, pid, options), [Symbol.dispose]: end };
  });
});

describe("another ring", () => {
  it("is sent completions", bench, async () => {
    await using proactor = new Proactor();
    using ring = new Ring({ entries: 8 });
    assert.equal(await proactor.msgRing(ring.fd, -5, 0xffff_ffff_ffff_fff0n), undefined);
    await proactor.msgRing(ring.fd, 0xffff_fffe, 2 ** 40, { cqeFlags: 0xabcd0000 });
    const found: [bigint, number, number][] = [];
    ring.forEachCqe(({ userData64, res, flags }) => {
      found.push([BigInt.asUintN(64, userData64), res, flags >>> 0]);
    });
    ring.cqAdvance(found.length);
    assert.deepEqual(found, [
      [0xffff_ffff_ffff_fff0n, -5, 0],
      [2n ** 40n, -2, 0xabcd0000],
    ]);
    assert.equal(await code(proactor.msgRing(0, 1, 1)), "EBADFD");
    assert.ok((await reason(proactor.msgRing(ring.fd, 0.5, 1))) instanceof RangeError);
    assert.ok((await reason(proactor.msgRing(ring.fd, 1, 2n ** 64n))) instanceof RangeError);
  });

  it("is sent files", bench, async () => {
    await using proactor = new Proactor();
    using ring = new Ring({ entries: 8 });
    using ends = pipe();
    ring.registerFilesSparse(3);
    proactor.ring.registerFiles([ends.read, ends.write]);
    assert.deepEqual(await proactor.msgRingFd(ring.fd, new Direct(1), 1, { slot: 2 }), new Direct(2));
    const any = await proactor.msgRingFd(ring.fd, new Direct(0), 2, { flags: abi.IORING_MSG_RING_CQE_SKIP });
    assert.equal(any.slot < 2, true);
    const told: [number, number][] = [];
    ring.drain((userData, res) => told.push([userData, res]));
    assert.deepEqual(told, [[1, 0]]);
    ring.getSqe()?.prepWrite(new Direct(2), bytes("ping"), 4, -1);
    assert.equal(ring.submitAndWait(1), 1);
    const got = new Uint8Array(4);
    assert.equal(await proactor.read(ends.read, got), 4);
    assert.equal(text(got), "ping");
    assert.equal(await code(proactor.msgRingFd(ring.fd, new Direct(5), 1)), "EBADF");
    assert.equal(await code(proactor.msgRingFd(proactor.ring.fd, new Direct(0), 1)), "EINVAL");
  });
});

describe("the table of registered files", () => {
  it("is filled and emptied", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    assert.equal(await code(proactor.filesUpdate([ends.read], { slot: 0 })), "ENXIO");
    proactor.ring.registerFilesSparse(4);
    const given = await proactor.filesUpdate([ends.read, ends.write], { slot: 1 });
    assert.deepEqual(given, [new Direct(1), new Direct(2)]);
    const [any] = (await proactor.filesUpdate([ends.write])) as [Direct];
    assert.ok([0, 3].includes(any.slot));
    assert.equal(await proactor.write(any, bytes("ping")), 4);
    const got = new Uint8Array(4);
    assert.equal(await proactor.read(new Direct(1), got), 4);
    assert.equal(text(got), "ping");
    assert.deepEqual(await proactor.filesUpdate([abi.IORING_REGISTER_FILES_SKIP, -1], { slot: 1 }), given);
    assert.equal(await code(proactor.write(new Direct(2), got)), "EBADF");
    assert.equal(await code(proactor.filesUpdate([1_000_000], { slot: 1 })), "EBADF");
    for (const fds of [[], "x", [0.5], ["x"]]) {
      const error = await reason(proactor.filesUpdate(fds as never));
      assert.ok(error instanceof TypeError || error instanceof RangeError, String(error));
    }
  });

  it("keeps nothing of what was given up", bench, async () => {
    for (const options of [{}, { slot: 1 }]) {
      await using proactor = await giveUpWhenDone((it, more) =>
        it.filesUpdate([0, 1], { ...more, ...options }),
      );
      for (const slot of [0, 1, 2, 3]) {
        assert.equal(await code(proactor.poll(new Direct(slot), abi.POLLOUT)), "EBADF");
      }
    }
  });
});

const LOOP_SET_FD = 0x4c00;
const LOOP_CLR_FD = 0x4c01;
const LOOP_CTL_GET_FREE = 0x4c82;

describe("commands of drivers", () => {
  it("are run", bench, async () => {
    await using proactor = new Proactor();
    using sockets = new Sockets(proactor);
    const [a, b] = await sockets.connection();
    await proactor.write(a, bytes("ping"));
    await proactor.poll(b, abi.POLLIN);
    assert.equal(await proactor.uringCmd(b, abi.SOCKET_URING_OP_SIOCINQ), 4);
    assert.equal(await code(proactor.uringCmd(b, 0xffff)), "EOPNOTSUPP");
    using ends = pipe();
    assert.equal(await code(proactor.uringCmd(ends.read, 0)), "EOPNOTSUPP");
    assert.equal(await code(proactor.cmdDiscard(ends.read, 0, 512)), "EOPNOTSUPP");
  });

  it("take bytes of their own", bench, async () => {
    const seen: SimulatedOperation[] = [];
    using _kernel = simulateKernel({
      policy(operation) {
        seen.push(operation);
        return { res: 7 };
      },
    });
    await using proactor = new Proactor();
    const payload = new Uint8Array(16).fill(1, 0, 6);
    const command = proactor.uringCmd(5, 0x1234, { payload });
    payload.fill(9);
    assert.equal(await command, 7);
    assert.deepEqual(
      seen.map(({ name, fd, off64, addr3 }) => [name, fd, off64, addr3]),
      [["URING_CMD", 5, 0x1234n, 0x010101010101]],
    );
    assert.ok((await reason(proactor.uringCmd(5, 0, { payload: new Uint8Array(17) }))) instanceof RangeError);
    const list = [1] as unknown as Uint8Array;
    assert.ok((await reason(proactor.uringCmd(5, 0, { payload: list }))) instanceof TypeError);
  });

  const isRoot = process.getuid?.() === 0;
  const skip = isRoot && existsSync("/dev/loop-control") ? false : "needs root and /dev/loop-control";
  it("discard a range of a block device", { ...bench, skip }, async () => {
    const before = openFds();
    {
      await using proactor = new Proactor();
      using scratch = new Scratch();
      const path = scratch.path("disk");
      writeFileSync(path, new Uint8Array(1 << 20).fill(1));
      truncateSync(path, 1 << 20);
      const file = await proactor.open(path, abi.O_RDWR);
      const control = await proactor.open("/dev/loop-control", abi.O_RDWR);
      const device = await proactor.open(
        `/dev/loop${mustCall("ioctl", control, LOOP_CTL_GET_FREE)}`,
        abi.O_RDWR,
      );
      mustCall("ioctl", device, LOOP_SET_FD, file);
      assert.equal(await proactor.cmdDiscard(device, 65536, 131072), undefined);
      assert.equal(await code(proactor.cmdDiscard(device, 1, 512)), "EINVAL");
      mustCall("ioctl", device, LOOP_CLR_FD);
      for (const fd of [device, control, file]) await proactor.closeFd(fd);
      const content = readFileSync(path);
      const zeroes = (from: number) => content.subarray(from, from + 65536).every((byte) => byte === 0);
      assert.deepEqual([0, 65536, 131072, 196608].map(zeroes), [false, true, true, false]);
    }
    await untilFds(before.length);
  });
});

describe("on an older kernel", () => {
  it("operations that wait and that it does not have say which one has", bench, async () => {
    const { proactor, errors } = onKernel("6.1", () => {
      const proactor = new Proactor();
      const futex = word(0);
      return {
        proactor,
        errors: {
          "epoll_wait 6.15": reason(proactor.epollWait(0)),
          "futex_wait 6.7": reason(proactor.futexWait(futex, 0)),
          "futex_wake 6.7": reason(proactor.futexWake(futex, 1)),
          "futex_waitv 6.7": reason(proactor.futexWaitv([{ futex, value: 0 }])),
          "waitid 6.7": reason(proactor.waitid(abi.P_ALL, 0)),
        },
      };
    });
    for (const [what, error] of Object.entries(errors)) {
      const [name, since] = what.split(" ");
      const { message, errno } = (await error) as UringError;
      assert.equal(errno, constants.errno.ENOSYS);
      assert.match(message, new RegExp(`${name} needs Linux ${since}, and this is 6.1.0-test$`));
    }
    await proactor.close();
  });
});
