// What a proactor is asked for in unusual moments: full queues, receivers that close it, arguments that are none.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate, setTimeout } from "node:timers/promises";
import { alloc, Direct, type LeasedMessage, Proactor, type Receiver, Ring, UringError } from "uring";
import * as abi from "uring/abi";
import { type SimulatedOperation, simulateKernel } from "uring/testing";
import { Alarm } from "../src/shared/proactor/alarm.ts";
import { pipe } from "./support/harness.ts";
import { Sockets } from "./support/proactor-sockets.ts";
import { bytes, range } from "./support/ring.ts";
import { writesFromThread } from "./support/system.ts";

const bench = { timeout: 60_000 };
const EINVAL = 22;

/** What became of a promise, in a word. */
async function word(promise: Promise<unknown>): Promise<string> {
  try {
    return `${await promise}`;
  } catch (error) {
    return error instanceof UringError ? error.code : (error as Error).name;
  }
}

describe("a receiver that closes the proactor", () => {
  it("can do so, whether or not it is the last to be told", bench, async () => {
    for (const others of [0, 3]) {
      const proactor = new Proactor();
      const closed = new Promise((resolve) => {
        proactor.entry({ complete: () => resolve(proactor.close()) })?.prepNop();
      });
      const nops = range(others).map(() => word(proactor.nop()));
      assert.deepEqual(await closed, { leaked: 0 });
      for (const nop of nops) assert.match(await nop, /^(0|ECANCELED)$/);
      assert.ok(proactor.ring.closed);
    }
  });
});

describe("an entry that no kernel takes", () => {
  it("fails by itself, and holds nothing up", bench, async () => {
    await using proactor = new Proactor();
    const res = new Promise<number>((complete) => {
      proactor.entry({ complete })?.prepRecvMultishot(0, 0, 0, 0);
    });
    const nop = proactor.nop();
    assert.equal(await res, -EINVAL);
    assert.equal(await nop, 0);
    assert.deepEqual(await proactor.close(), { leaked: 0 });
  });
});

describe("a blocking drive", () => {
  it("hands over all that is queued before it waits", bench, async () => {
    const proactor = new Proactor({ entries: 4 });
    using ends = pipe();
    const work = async () => {
      await proactor.timeout(5);
      await proactor.nop();
      // As long as the event loop is to be kept waiting at most, and longer.
      for (const end = performance.now() + 10; performance.now() < end; );
      const polls = range(400).map(() => proactor.poll(ends.read, abi.POLLIN));
      const written = proactor.write(ends.write, bytes("x"));
      await Promise.all([...polls, written]);
      return proactor.inFlight;
    };
    const done = work();
    await proactor.run({ until: done });
    assert.equal(await done, 0);
    await proactor.close();
  });

  it("ends in time what the kernel's timers do not end", bench, async () => {
    const proactor = new Proactor();
    using from = pipe();
    using to = pipe();
    const splice = word(proactor.splice(from.read, to.write, 10, { timeout: 20 }));
    const begin = performance.now();
    await proactor.run({ until: splice });
    assert.equal(await splice, "TimeoutError");
    assert.ok(performance.now() - begin < 20_000);
    await proactor.close();
  });
});

describe("an operation that waits for room", () => {
  it("is ended by its limit of time", bench, async () => {
    const proactor = new Proactor({ entries: 4, cqEntries: 4 });
    using ends = pipe();
    const polls = range(4).map(() => word(proactor.poll(ends.read, abi.POLLIN)));
    assert.equal(await word(proactor.nop({ timeout: 20 })), "TimeoutError");
    const patient = word(proactor.nop({ timeout: 3_600_000 }));
    await setImmediate();
    assert.equal(proactor.inFlight, 5);
    await proactor.close();
    for (const poll of polls) assert.equal(await poll, "ECANCELED");
    assert.equal(await patient, "ECANCELED");
  });

  it("and is aborted leaves the queue empty to who waits for that", bench, async () => {
    const proactor = new Proactor({ entries: 2, cqEntries: 2 });
    using ends = pipe();
    const poll = word(proactor.poll(ends.read, abi.POLLIN));
    const controller = new AbortController();
    const queued = word(proactor.nop({ signal: controller.signal }));
    await setImmediate();
    const ready = proactor.ready();
    controller.abort();
    assert.equal(await queued, "AbortError");
    await ready;
    await proactor.close();
    assert.equal(await poll, "ECANCELED");
  });

  it("and is aborted leaves no timer to whoever is called with the same object", bench, async () => {
    const proactor = new Proactor({ entries: 2, cqEntries: 2 });
    using ends = pipe();
    const poll = word(proactor.poll(ends.read, abi.POLLIN));
    proactor.flush();
    const all: Promise<string>[] = [];
    const call = () => {
      const controller = new AbortController();
      all.push(word(proactor.nop({ signal: controller.signal, timeout: 3_600_000 })));
      return controller;
    };
    for (let i = 0; i < 200; i++) call().abort();
    const last = range(100).map(call);
    await setImmediate();
    assert.ok(Number.isFinite(Alarm.next()));
    for (const controller of last) controller.abort();
    assert.deepEqual(new Set(await Promise.all(all)), new Set(["AbortError"]));
    assert.equal(Alarm.next(), Number.POSITIVE_INFINITY);
    await proactor.close();
    assert.equal(await poll, "ECANCELED");
  });

  it("and is aborted is kept no longer than those before it, in order", bench, async () => {
    const proactor = new Proactor({ entries: 2, cqEntries: 4 });
    using ends = pipe();
    const polls = range(4).map(() => proactor.poll(ends.read, abi.POLLIN));
    const order: number[] = [];
    const kept = range(10).map((i) => proactor.nop().then(() => order.push(i)));
    const reasons: Promise<string>[] = [];
    for (let i = 0; i < 1000; i++) {
      const controller = new AbortController();
      reasons.push(word(proactor.nop({ signal: controller.signal })));
      if (i % 2 === 0) await setImmediate();
      controller.abort();
    }
    const last = proactor.nop().then(() => order.push(10));
    assert.deepEqual(new Set(await Promise.all(reasons)), new Set(["AbortError"]));
    writesFromThread(ends.write).join();
    await Promise.all([...polls, ...kept, last]);
    assert.deepEqual(order, range(11));
    await proactor.close();
  });
});

describe("a completion that somebody made up", () => {
  it("passes for none of the proactor's own", bench, async () => {
    await using proactor = new Proactor();
    for (const userData of [0xffffffff, 0xfffffffe, 0]) {
      await proactor.msgRing(proactor.ring.fd, 0, userData);
      await proactor.timeout(1);
    }
    assert.equal(proactor.counters.stale, 3);
    assert.equal(proactor.inFlight, 0);
  });
});

describe("arguments that are none", () => {
  it("are refused: memory, receivers, deadlines", bench, async () => {
    const proactor = new Proactor();
    const none = null as unknown as Uint8Array;
    await assert.rejects(proactor.read(0, none), TypeError);
    await assert.rejects(proactor.write(0, none), TypeError);
    for (const receiver of [null, undefined, {}, 1]) {
      assert.throws(() => proactor.entry(receiver as unknown as Receiver), TypeError);
    }
    for (const deadline of [Number.NaN, -1, "1000", {}, null]) {
      await assert.rejects(proactor.close({ deadline: deadline as number }), RangeError);
    }
    assert.equal(proactor.closed, false);
    assert.equal(await proactor.nop(), 0);
    assert.deepEqual(await proactor.close({ deadline: 1000 }), { leaked: 0 });
  });

  it("leave nothing behind, however often", bench, async () => {
    const indices: bigint[] = [];
    const policy = ({ userData64 }: SimulatedOperation) => {
      indices.push(userData64 & 0xffffffn);
      return undefined;
    };
    using _kernel = simulateKernel({ policy });
    const proactor = new Proactor();
    for (let i = 0; i < 100; i++) await assert.rejects(proactor.read(0, "none" as unknown as Uint8Array));
    await Promise.all(range(3).map(() => proactor.nop()));
    assert.deepEqual(indices, [0n, 1n, 2n]);
    await proactor.close();
  });
});

describe("memory that is transferred while the kernel uses it", () => {
  for (const debug of [false, true]) {
    it(`${debug ? "is told of" : "is the caller's own affair"}, debug: ${debug}`, bench, async () => {
      await using proactor = new Proactor({ debug });
      using ends = pipe();
      const view = new Uint8Array(4096);
      const read = word(proactor.read(ends.read, view));
      proactor.flush();
      const moved = view.buffer.transfer();
      await proactor.write(ends.write, bytes("data"));
      assert.equal(await read, debug ? "TypeError" : "4");
      assert.equal(moved.byteLength, 4096);
    });
  }
});

describe("a limit of time longer than timers can be", () => {
  it("does not run out", bench, async () => {
    const proactor = new Proactor();
    using from = pipe();
    using to = pipe();
    const splice = word(proactor.splice(from.read, to.write, 10, { timeout: 2 ** 31 + 5 }));
    await setTimeout(20);
    assert.equal(proactor.inFlight, 1);
    await proactor.close();
    assert.equal(await splice, "ECANCELED");
  });
});

describe("an iteration that could go on for ever at once", () => {
  for (const period of [1n, 1000n, 3000n]) {
    it(`can be ended: a tick every ${period} ns`, bench, async () => {
      const proactor = new Proactor();
      const ticks = proactor.timeoutMultishot(period);
      // More than are asked for at a time.
      for (let i = 1; i <= 200; i++) assert.equal((await ticks.next()).value, i);
      await ticks.return?.();
      assert.equal(proactor.inFlight, 0);
      assert.deepEqual(await proactor.close(), { leaked: 0 });
    });
  }

  it("needs a period", bench, async () => {
    await using proactor = new Proactor();
    for (const period of [0, 0n, -1, Number.NaN]) {
      assert.equal(await word(proactor.timeoutMultishot(period).next()), "RangeError");
    }
    assert.equal(proactor.inFlight, 0);
  });

  it("tells of a file that is always ready once", bench, async () => {
    await using proactor = new Proactor();
    for (const path of ["/proc/self/comm", "/dev/zero"]) {
      const file = await proactor.open(path, abi.O_RDONLY);
      const events: number[] = [];
      for await (const event of proactor.pollMultishot(file, abi.POLLIN)) events.push(event);
      assert.deepEqual(events, [abi.POLLIN], path);
      await proactor.closeFd(file);
    }
  });
});

describe("messages received again and again", () => {
  it("bring the fds of one that is empty", bench, async () => {
    await using proactor = new Proactor();
    using sockets = new Sockets(proactor);
    const [from, to] = sockets.pair(abi.SOCK_DGRAM);
    const messages = proactor.recvmsgMultishot(to, { control: 64 });
    const next = messages.next();
    await proactor.sendmsg(from, [], { control: [{ kind: "rights", fds: [from, to] }] });
    const { value, done } = await next;
    assert.equal(done, false);
    using message = value as LeasedMessage;
    assert.equal(message.length, 0);
    const [rights] = message.control;
    assert.ok(rights?.kind === "rights" && rights.fds.length === 2);
    for (const fd of rights.fds) await proactor.closeFd(fd);
    await messages.return?.();
  });

  it("take buffers that are whole, and a length for control messages", bench, async () => {
    await using proactor = new Proactor();
    const group = proactor.bufferGroup({ entries: 8, bufferSize: 4096, incremental: true });
    assert.equal(await word(proactor.recvmsgMultishot(0, { group }).next()), "TypeError");
    for (const control of [-1, 0.5, Number.NaN]) {
      assert.equal(await word(proactor.recvmsgMultishot(0, { control }).next()), "RangeError");
    }
  });
});

describe("a close that waits for nothing", () => {
  it("leaks nothing where nothing is in flight, or all can be cancelled", bench, async () => {
    for (let i = 0; i < 20; i++) {
      const proactor = new Proactor();
      await proactor.nop();
      assert.deepEqual(await proactor.close({ deadline: 0 }), { leaked: 0 });
      const ring = new Ring({ flags: abi.IORING_SETUP_SINGLE_ISSUER | abi.IORING_SETUP_DEFER_TASKRUN });
      assert.deepEqual(ring.close({ deadline: 0 }), { leaked: 0 });
    }
  });
});

describe("an update of files that is aborted", () => {
  it("empties the slots it has filled, and no other", bench, async () => {
    await using proactor = new Proactor();
    proactor.ring.registerFilesSparse(4);
    const zero = await proactor.open("/dev/zero", abi.O_RDONLY);
    await proactor.filesUpdate([zero], { slot: 0 });
    const controller = new AbortController();
    const chain = proactor.chain();
    const timer = word(chain.timeout(30));
    const update = word(
      chain.filesUpdate([abi.IORING_REGISTER_FILES_SKIP, zero], { slot: 0, signal: controller.signal }),
    );
    const submitted = word(chain.submit());
    await proactor.nop();
    controller.abort();
    await Promise.all([timer, submitted]);
    assert.equal(await update, "AbortError");
    assert.equal(await proactor.read(new Direct(0), new Uint8Array(4)), 4);
    assert.equal(await word(proactor.read(new Direct(1), new Uint8Array(4))), "EBADF");
    await proactor.closeFd(zero);
  });
});

describe("memory that is disposed of in the turn of the call", () => {
  it("is still given advice on", bench, async () => {
    await using proactor = new Proactor();
    const memory = alloc(65536);
    const advised = proactor.madvise(memory, abi.MADV_WILLNEED);
    memory[Symbol.dispose]();
    await advised;
    const MADV_GUARD_INSTALL = 102;
    assert.equal(await word(proactor.madvise(alloc(65536), MADV_GUARD_INSTALL)), "RangeError");
    assert.equal(
      await word(proactor.madvise(alloc(65536), abi.MADV_DONTNEED, { length: 4096 })),
      "RangeError",
    );
  });
});

describe("a pool whose table the caller has unregistered", () => {
  it("gives its buffers back all the same", bench, async () => {
    await using proactor = new Proactor();
    const zero = await proactor.open("/dev/zero", abi.O_RDONLY);
    const leases = range(2).map(() => proactor.pool.lend(1 << 26));
    const reads = leases.map((lease) => word(proactor.read(zero, lease)));
    proactor.ring.unregisterBuffers();
    for (const lease of leases) lease[Symbol.dispose]();
    await Promise.all(reads);
    assert.equal(proactor.inFlight, 0);
    await proactor.closeFd(zero);
  });
});

describe("flags that are no numbers", () => {
  it("are refused, whatever they could be taken for", bench, async () => {
    await using proactor = new Proactor();
    for (const flags of ["x", Number.NaN, 2 ** 33, null] as number[]) {
      assert.match(await word(proactor.accept(0, { flags })), /^(Type|Range)Error$/);
      assert.throws(() => proactor.acceptMultishot(0, { flags }), /flags/);
    }
    assert.equal(await word(proactor.socket(abi.AF_INET, 1.5)), "RangeError");
  });
});

describe("one signal for many operations", () => {
  it("ends those under way, in order, and lets go of each that has ended", bench, async () => {
    await using proactor = new Proactor({ entries: 64 });
    using ends = pipe();
    const controller = new AbortController();
    const { signal } = controller;
    const order: number[] = [];
    const reads = range(1000).map((i) =>
      word(proactor.read(ends.read, new Uint8Array(1), { signal })).then((name) => {
        order.push(i);
        return name;
      }),
    );
    for (const result of await Promise.all(range(1000).map(() => proactor.nop({ signal })))) {
      assert.equal(result, 0);
    }
    controller.abort();
    assert.deepEqual(new Set(await Promise.all(reads)), new Set(["AbortError"]));
    assert.equal(order.length, 1000);
    assert.equal(await word(proactor.nop({ signal })), "AbortError");
    assert.equal(proactor.inFlight, 0);
  });
});
