import assert from "node:assert/strict";
import { openSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { describe, it } from "node:test";
import { alloc, cstring, Proactor, Ring, UringError } from "uring";
import {
  AT_FDCWD,
  IORING_OP_NOP,
  IORING_OP_READ,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_IOPOLL,
  IORING_SETUP_SQPOLL,
  O_RDONLY,
  POLLIN,
} from "uring/abi";
import { account, runChild } from "./support/child.ts";
import { pipe } from "./support/harness.ts";
import { bytes, openFds, text, untilFds } from "./support/ring.ts";
import { onEnter, release, without, withShim } from "./support/runtime.ts";

const ECANCELED = 125;

const bench = { timeout: 60_000 };

/** What a promise was rejected with. */
async function reason(promise: Promise<unknown>): Promise<unknown> {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    return error;
  }
  return assert.fail(`resolved with ${value}`);
}

async function code(promise: Promise<unknown>): Promise<string> {
  const error = await reason(promise);
  assert.ok(error instanceof UringError, String(error));
  return error.code;
}

/** A few turns of the event loop. */
async function turns(count = 3): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** A proactor whose calls of io_uring_enter are counted. */
function counted(options = {}): { proactor: Proactor; enters: () => number } {
  let enters = 0;
  const proactor = withShim(
    onEnter(() => enters++),
    () => new Proactor(options),
  );
  return { proactor, enters: () => enters };
}

describe("operations", () => {
  it("of one turn go to the kernel in one call", bench, async () => {
    const { proactor, enters } = counted();
    await Promise.all(Array.from({ length: 64 }, () => proactor.nop()));
    assert.equal(enters(), 1);
    await proactor.close();
  });

  it("that follow one another in 64 places go in calls of 64", bench, async () => {
    const { proactor, enters } = counted();
    const rounds = 50;
    await Promise.all(
      Array.from({ length: 64 }, async () => {
        for (let i = 0; i < rounds; i++) await proactor.nop();
      }),
    );
    assert.ok(enters() <= rounds + 2, `${enters()} calls`);
    await proactor.close();
  });

  it("go at once where that is asked for", bench, async () => {
    const { proactor, enters } = counted();
    const done = proactor.nop();
    assert.equal(enters(), 0);
    proactor.flush();
    assert.equal(enters(), 1);
    assert.equal(await done, 0);
    await proactor.close();
  });

  it("read what is there, and wait for what is not", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    using memory = alloc(8);
    const read = proactor.read(ends.read, memory);
    await turns();
    assert.equal(proactor.inFlight, 1);
    assert.equal(await proactor.write(ends.write, bytes("ping")), 4);
    assert.equal(await read, 4);
    assert.equal(text(memory, 4), "ping");
    assert.equal(proactor.inFlight, 0);
  });

  it("fail with the errno, the call and what it was on", bench, async () => {
    await using proactor = new Proactor();
    using memory = alloc(8);
    const error = await reason(proactor.read(1_000_000, memory));
    assert.ok(error instanceof UringError);
    assert.deepEqual([error.code, error.errno, error.syscall], ["EBADF", 9, "read"]);
  });

  it("with wrong arguments are rejected, and leave nothing behind", bench, async () => {
    await using proactor = new Proactor();
    using memory = alloc(8);
    const wrong: [unknown, Promise<unknown>][] = [
      [RangeError, proactor.read(0, memory, { length: 9 })],
      [RangeError, proactor.read(0, memory, { length: -1 })],
      [TypeError, proactor.read("0" as never, memory)],
      [TypeError, proactor.read(0, {} as never)],
      [TypeError, proactor.read(0, new Uint8Array(new ArrayBuffer(8, { maxByteLength: 16 } as never)))],
      [TypeError, proactor.read(0, 4096)],
      [RangeError, proactor.read(0, memory, { offset: 0.5 })],
      [RangeError, proactor.read(0, memory, { flags: 2 ** 33 })],
      [TypeError, proactor.read(0, memory, { signal: {} as never })],
      [RangeError, proactor.read(0, memory, { timeout: -1 })],
    ];
    for (const [kind, promise] of wrong) {
      const error = await reason(promise);
      assert.ok(error instanceof (kind as typeof Error), String(error));
    }
    assert.equal(proactor.inFlight, 0);
  });

  it("beyond the completion queue wait in order, and all settle", bench, async () => {
    await using proactor = new Proactor({ entries: 8, cqEntries: 32 });
    const order: number[] = [];
    const all = Array.from({ length: 100_000 }, (_, i) => proactor.nop().then(() => order.push(i)));
    assert.equal(proactor.inFlight, 100_000);
    await Promise.all(all);
    assert.ok(order.every((value, i) => value === i));
    assert.ok(proactor.counters.spilled > 0);
    assert.equal(proactor.counters.overflow, 0);
    assert.equal(proactor.inFlight, 0);
  });

  it("that all block wait for room of others", bench, async () => {
    await using proactor = new Proactor({ entries: 8, cqEntries: 32 });
    using ends = pipe();
    const memories = Array.from({ length: 100 }, () => alloc(1));
    const reads = memories.map((memory) => proactor.read(ends.read, memory));
    await turns();
    const writer = new Proactor();
    for (let i = 0; i < 100; i++) await writer.write(ends.write, bytes("x"));
    assert.deepEqual(new Set(await Promise.all(reads)), new Set([1]));
    await writer.close();
  });

  it("can be waited for until they are the kernel's", bench, async () => {
    await using proactor = new Proactor({ entries: 4, cqEntries: 32 });
    await proactor.ready();
    const all = Promise.all(Array.from({ length: 500 }, () => proactor.nop()));
    await proactor.ready();
    assert.ok(proactor.inFlight < 500);
    await all;
  });

  it("keep memory that is disposed of meanwhile from being given to others", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    const memory = alloc(4096);
    const { address } = memory;
    const read = proactor.read(ends.read, memory);
    await turns();
    memory[Symbol.dispose]();
    const others = Array.from({ length: 20 }, () => alloc(4096));
    assert.ok(others.every((other) => other.address !== address));
    await proactor.write(ends.write, bytes("late"));
    assert.equal(await read, 4);
    assert.ok(others.every((other) => other.bytes.every((byte) => byte === 0)));
    assert.equal(alloc(4096).address, address);
    for (const other of others) other[Symbol.dispose]();
  });

  it("the kernel does not have fail with their name and the first kernel that has them", bench, async () => {
    const overrides = release("5.4.0");
    await withShim(
      (real) => ({
        ...overrides,
        register(fd, opcode, arg, count) {
          const result = real.register(fd, opcode, arg, count);
          // IORING_REGISTER_PROBE
          if ((opcode & 0xff) === 8) {
            const probe = new Uint8Array(real.view(arg, 16 + count * 8));
            probe[16 + IORING_OP_READ * 8 + 2] = 0;
          }
          return result;
        },
      }),
      async () => {
        const proactor = new Proactor();
        using memory = alloc(1);
        const error = await reason(proactor.read(0, memory));
        assert.ok(error instanceof UringError);
        assert.equal(error.code, "ENOSYS");
        assert.match(error.message, /The operation read needs Linux 5\.6, and this is 5\.4\.0/);
        await proactor.close();
      },
    );
  });
});

describe("an abort", () => {
  it("before the call means that nothing happens", bench, async () => {
    await using proactor = new Proactor();
    const why = new Error("no more");
    assert.equal(await reason(proactor.nop({ signal: AbortSignal.abort(why) })), why);
    assert.equal(proactor.counters.submitted, 0);
  });

  it("before the operation is the kernel's means that nothing happens", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    const controller = new AbortController();
    const write = proactor.write(ends.write, bytes("never"), { signal: controller.signal });
    controller.abort("changed my mind");
    assert.equal(await reason(write), "changed my mind");
    await turns();
    assert.equal(proactor.counters.submitted, 0);
    assert.equal(proactor.inFlight, 0);
  });

  it("in flight ends the operation, with the signal's reason", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    using memory = alloc(8);
    const controller = new AbortController();
    const read = proactor.read(ends.read, memory, { signal: controller.signal });
    await turns();
    const why = new Error("too late");
    controller.abort(why);
    controller.abort("again");
    assert.equal(await reason(read), why);
    assert.equal(proactor.inFlight, 0);
  });

  it("after the end changes nothing, nor does it reach the next operation", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    using memory = alloc(8);
    const controller = new AbortController();
    assert.equal(await proactor.nop({ signal: controller.signal }), 0);
    const read = proactor.read(ends.read, memory);
    controller.abort();
    await turns();
    assert.equal(proactor.inFlight, 1);
    await proactor.write(ends.write, bytes("x"));
    assert.equal(await read, 1);
  });

  it("of one signal ends all of its operations, each once", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    const controller = new AbortController();
    const { signal } = controller;
    const memories = Array.from({ length: 200 }, () => alloc(8));
    const reads = memories.map((memory) => reason(proactor.read(ends.read, memory, { signal })));
    await turns();
    controller.abort("all");
    assert.deepEqual(new Set(await Promise.all(reads)), new Set(["all"]));
    assert.equal(proactor.inFlight, 0);
  });

  it("that races with the result ends in one of the two", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    using memory = alloc(8);
    let won = 0;
    for (let i = 0; i < 500; i++) {
      const controller = new AbortController();
      const read = proactor.read(ends.read, memory, { signal: controller.signal });
      await turns(i % 2);
      const write = proactor.write(ends.write, bytes("x"));
      if (i % 3 === 0) proactor.flush();
      controller.abort("lost");
      const result = await read.catch((error: unknown) => error);
      assert.equal(await write, 1);
      if (result === "lost") assert.equal(await proactor.read(ends.read, memory), 1);
      else won += Number(assert.equal(result, 1) === undefined);
    }
    assert.ok(won >= 0);
    assert.equal(proactor.inFlight, 0);
  });
});

describe("a timeout", () => {
  it("ends the operation with a TimeoutError", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    using memory = alloc(8);
    const start = performance.now();
    const error = await reason(proactor.read(ends.read, memory, { timeout: 30 }));
    assert.ok(error instanceof DOMException && error.name === "TimeoutError", String(error));
    assert.match(error.message, /^read /);
    assert.ok(performance.now() - start >= 29);
    assert.equal(proactor.inFlight, 0);
  });

  it("that is not reached changes nothing", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    using memory = alloc(8);
    const read = proactor.read(ends.read, memory, { timeout: 20_000 });
    await turns();
    await proactor.write(ends.write, bytes("abc"), { timeout: 20_000 });
    assert.equal(await read, 3);
    assert.equal(proactor.inFlight, 0);
  });

  it("and an abort together end it once", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    using memory = alloc(8);
    for (let i = 0; i < 100; i++) {
      const controller = new AbortController();
      const why = reason(proactor.read(ends.read, memory, { timeout: 1, signal: controller.signal }));
      await new Promise((resolve) => setTimeout(resolve, i % 3));
      controller.abort("aborted");
      const error = await why;
      assert.ok(error === "aborted" || (error as Error).name === "TimeoutError", String(error));
    }
    assert.equal(proactor.inFlight, 0);
  });

  it("of 0 milliseconds still gives what is there at once", bench, async () => {
    await using proactor = new Proactor();
    const error = await proactor.nop({ timeout: 0 }).catch((error: unknown) => error);
    assert.ok(error === 0 || (error as Error).name === "TimeoutError");
  });
});

describe("the operations in flight", () => {
  it(
    "are listed with what they are on, since when, and in debug mode with where they were called",
    bench,
    async () => {
      await using proactor = new Proactor({ debug: true });
      using ends = pipe();
      assert.deepEqual(proactor.operations(), []);
      const read = proactor.read(ends.read, alloc(8));
      const entry = new Promise<number>((complete) => {
        proactor.entry({ complete })?.prepPollAdd(ends.read, POLLIN);
      });
      await turns();
      const [one, other] = proactor.operations();
      assert.deepEqual(
        [one?.name, one?.target, other?.name, other?.target],
        ["read", ends.read, "entry", -1],
      );
      for (const age of [one?.age, other?.age])
        assert.ok(age !== undefined && age >= 0 && age < 20_000, `${age} ms`);
      assert.match(String(one?.stack), /proactor\.test/);
      await proactor.write(ends.write, bytes("data"));
      assert.deepEqual([await read, await entry], [4, POLLIN]);
      assert.deepEqual(proactor.operations(), []);
    },
  );

  it("have no age where nothing records it", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    const read = proactor.read(ends.read, alloc(8));
    proactor.entry({ complete: () => {} })?.prepPollAdd(ends.read, POLLIN);
    assert.deepEqual(
      proactor.operations().map(({ age }) => age),
      [Number.NaN, Number.NaN],
    );
    await proactor.write(ends.write, bytes("data"));
    assert.equal(await read, 4);
  });
});

describe("entries without a promise", () => {
  it("tell their receiver of each completion", bench, async () => {
    await using proactor = new Proactor();
    using memory = alloc(8);
    using ends = pipe();
    const told: [number, number, boolean][] = [];
    const done = new Promise<void>((resolve) => {
      proactor
        .entry({
          complete(res, flags, last) {
            told.push([res, flags, last]);
            resolve();
          },
        })
        ?.prepRead(ends.read, memory, 8, -1);
    });
    await turns();
    await proactor.write(ends.write, bytes("data"));
    await done;
    assert.deepEqual(told, [[4, 0, true]]);
    assert.equal(proactor.inFlight, 0);
  });

  it("are theirs whatever user_data a caller writes", bench, async () => {
    await using proactor = new Proactor();
    const results: number[] = [];
    for (let i = 0; i < 10; i++) {
      proactor
        .entry({ complete: () => results.push(i) })
        ?.prepNop()
        .setData64(0);
    }
    const nop = proactor.nop();
    assert.equal(await nop, 0);
    assert.deepEqual(results, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert.equal(proactor.counters.stale, 0);
  });

  it(
    "are refused while as many are in flight as fit, and there are more of them than entries",
    bench,
    async () => {
      await using proactor = new Proactor({ entries: 4, cqEntries: 64 });
      let ended = 0;
      let given = 0;
      const receiver = { complete: () => void ended++ };
      for (let sqe = proactor.entry(receiver); sqe !== null; sqe = proactor.entry(receiver)) {
        sqe.prepNop();
        given++;
      }
      assert.ok(given >= 16 && given <= 64, String(given));
      await proactor.nop();
      assert.equal(ended, given);
    },
  );

  it("are told of their end when the proactor is closed, as many as there are", bench, async () => {
    const proactor = new Proactor();
    using ends = pipe();
    using memory = alloc(8);
    const told: [number, boolean][] = [];
    for (let i = 0; i < 200; i++) {
      proactor
        .entry({ complete: (res, _, last) => void told.push([res, last]) })
        ?.prepRead(ends.read, memory, 8, -1);
    }
    await turns();
    assert.equal(proactor.inFlight, 200);
    assert.deepEqual(
      proactor.operations().map(({ name, target }) => [name, target]),
      Array.from({ length: 200 }, () => ["entry", -1]),
    );
    assert.deepEqual(await proactor.close(), { leaked: 0 });
    assert.deepEqual(
      told,
      Array.from({ length: 200 }, () => [-ECANCELED, true]),
    );
    assert.equal(proactor.inFlight, 0);
    assert.deepEqual(proactor.operations(), []);
  });

  it("whose receiver throws hold nothing up", bench, () => {
    const ended = runChild("proactor-child.ts", ["throwing-receiver"]);
    assert.equal(ended.stdout, "caught: from a receiver\n64 nops\n", account(ended));
    assert.equal(ended.status, 0);
  });

  it("can be called from a receiver", bench, async () => {
    await using proactor = new Proactor({ entries: 4 });
    let left = 1000;
    await new Promise<void>((resolve) => {
      const receiver = {
        complete(): void {
          if (left-- === 0) resolve();
          else proactor.entry(receiver)?.prepNop();
        },
      };
      proactor.entry(receiver)?.prepNop();
    });
    assert.equal(left, -1);
  });
});

describe("a kernel that takes nothing for now", () => {
  for (const [name, errno] of [
    ["EINTR", 4],
    ["EAGAIN", 11],
    ["EBUSY", 16],
  ] as const) {
    it(`because of ${name} is given the entries again`, bench, async () => {
      let refuse = 0;
      const proactor = withShim(
        (real) => ({
          enter: (fd, submit, ...rest) =>
            submit > 0 && refuse-- > 0 ? -errno : real.enter(fd, submit, ...rest),
        }),
        () => new Proactor(),
      );
      using ends = pipe();
      using memory = alloc(8);
      const read = proactor.read(ends.read, memory);
      await turns();
      for (let i = 1; i < 5; i++) {
        refuse = i;
        assert.equal(await proactor.nop(), 0);
      }
      refuse = 2;
      await proactor.write(ends.write, bytes("x"));
      assert.equal(await read, 1);
      await proactor.close();
    });
  }
});

describe("without room for an eventfd", () => {
  it("what completes is found all the same, and rings once there is room", bench, async () => {
    let full = true;
    await withShim(
      (real) => ({ eventfd: () => (full ? -24 : real.eventfd()) }),
      async () => {
        const proactor = new Proactor();
        using ends = pipe();
        using memory = alloc(8);
        for (const room of [false, true]) {
          full = !room;
          const read = proactor.read(ends.read, memory);
          await turns();
          const writer = proactor.write(ends.write, bytes("x"));
          assert.deepEqual([await read, await writer], [1, 1]);
        }
        await proactor.close();
      },
    );
  });

  it("numbers of files closed behind the runtime's back are passed over", bench, async () => {
    const fds = Array.from({ length: 5 }, () => openSync("/proc/self/comm", "r"));
    const proactor = new Proactor();
    for (const fd of fds) await proactor.closeFd(fd);
    using ends = pipe();
    using memory = alloc(8);
    const read = proactor.read(ends.read, memory);
    await turns();
    await proactor.write(ends.write, bytes("x"));
    assert.equal(await read, 1);
    await proactor.close();
  });
});

describe("fairness", () => {
  it(
    "lets a socket of the runtime's own answer beside a loop of operations that never wait",
    bench,
    async () => {
      await using proactor = new Proactor();
      const server = createServer((socket) => socket.on("error", () => {}).pipe(socket)).listen(
        0,
        "127.0.0.1",
      );
      await new Promise((resolve) => server.once("listening", resolve));
      const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
      let answers = 0;
      client.on("data", () => {
        answers++;
        client.write("again");
      });
      client.write("first");
      const end = performance.now() + 20_000;
      await Promise.all(
        Array.from({ length: 64 }, async () => {
          while (answers < 20 && performance.now() < end) await proactor.nop();
        }),
      );
      client.destroy();
      server.close();
      assert.ok(answers >= 20, `${answers} answers`);
    },
  );

  it("lets timers and immediates run beside a loop of operations that never wait", bench, async () => {
    await using proactor = new Proactor();
    let fired = false;
    const timer = setTimeout(() => {
      fired = true;
    }, 10);
    const end = performance.now() + 10_000;
    while (!fired && performance.now() < end) await proactor.nop();
    clearTimeout(timer);
    assert.ok(fired);
  });
});

describe("the process", () => {
  for (const [program, status] of [
    ["idle", 0],
    ["settled", 0],
    ["unreferenced", 0],
    ["unreferenced-with-limits", 0],
    ["exit-in-flight", 7],
    ["dropped", 0],
    ["default", 0],
  ] as const) {
    it(`ends by itself: ${program}`, bench, () => {
      const ended = runChild("proactor-child.ts", [program], { timeout: 30_000 });
      assert.equal(ended.status, status, account(ended));
    });
  }

  it("is kept running by a read that waits", bench, () => {
    const ended = runChild("proactor-child.ts", ["waiting"], { timeout: 30_000 });
    assert.equal(ended.stdout, "still here\nread 4\n", account(ended));
    assert.equal(ended.status, 0);
  });

  it("is ended by SIGINT in mid-flight", bench, () => {
    const ended = runChild("proactor-child.ts", ["interrupted"], { timeout: 30_000 });
    assert.equal(ended.signal, "SIGINT", account(ended));
  });
});

describe("close", () => {
  it("ends what is in flight and queued with ECANCELED, and refuses more", bench, async () => {
    const before = openFds().length;
    const ends = pipe();
    const proactor = new Proactor();
    const memories = Array.from({ length: 100 }, () => alloc(8));
    const reads = memories.map((memory) => code(proactor.read(ends.read, memory)));
    await turns();
    const queued = code(proactor.nop());
    const closing = proactor.close();
    assert.deepEqual(new Set([await queued, ...(await Promise.all(reads))]), new Set(["ECANCELED"]));
    assert.deepEqual(await closing, { leaked: 0 });
    assert.equal(await code(proactor.nop()), "ECANCELED");
    assert.deepEqual(await proactor.close(), { leaked: 0 });
    assert.equal(proactor.closed, true);
    for (const memory of memories) memory[Symbol.dispose]();
    ends[Symbol.dispose]();
    await untilFds(before);
  });

  it("of many proactors one after the other leaves no descriptor", bench, async () => {
    const before = openFds().length;
    for (let i = 0; i < 30; i++) {
      await using proactor = new Proactor({ entries: 8, cqEntries: 64 });
      using ends = pipe();
      using memory = alloc(8);
      const read = proactor.read(ends.read, memory);
      await turns(2);
      await proactor.write(ends.write, bytes("x"));
      await read;
    }
    await untilFds(before);
  });
});

describe("a proactor's ring", () => {
  it("has its queues to itself", bench, async () => {
    await using proactor = new Proactor();
    assert.throws(() => proactor.ring.getSqe(), /a proactor's/);
    assert.throws(() => proactor.ring.drain(() => {}), /a proactor's/);
    assert.throws(() => proactor.ring.close(), /a proactor's/);
    assert.equal(proactor.ring.probe().supports(IORING_OP_NOP), true);
  });

  it("falls back flag by flag", bench, async () => {
    await withShim(without(IORING_SETUP_DEFER_TASKRUN), async () => {
      await using proactor = new Proactor();
      assert.equal(proactor.ring.params.flags & IORING_SETUP_DEFER_TASKRUN, 0);
      using ends = pipe();
      using memory = alloc(8);
      const read = proactor.read(ends.read, memory);
      await turns();
      await proactor.write(ends.write, bytes("x"));
      assert.equal(await read, 1);
    });
  });

  it("can have a poller thread", bench, async () => {
    await using proactor = new Proactor({ entries: 8, flags: IORING_SETUP_SQPOLL, sqThreadIdle: 50 });
    using ends = pipe();
    using memory = alloc(8);
    for (let i = 0; i < 50; i++) {
      const read = proactor.read(ends.read, memory);
      await turns(i % 3);
      await proactor.write(ends.write, bytes("x"));
      assert.equal(await read, 1);
    }
    await Promise.all(Array.from({ length: 1000 }, () => proactor.nop()));
  });

  it("can not be one that must be polled", () => {
    assert.throws(() => new Proactor({ flags: IORING_SETUP_IOPOLL }), TypeError);
  });

  it("counts completions of nobody, and gives them to nobody", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    using memory = alloc(8);
    const read = proactor.read(ends.read, memory);
    await turns();
    using other = new Ring({ entries: 4 });
    // The index of an operation under way, of other generations; and an index that there is none of.
    for (const userData of [0, 0x5_0000_0000, 99, -1]) {
      other.getSqe()?.prepMsgRing(proactor.ring.fd, 77, userData === -1 ? -3n : userData, 0);
    }
    other.submitAndWait(4);
    await turns(10);
    assert.equal(proactor.inFlight, 1);
    await proactor.write(ends.write, bytes("ok"));
    assert.equal(await read, 2);
    assert.equal(proactor.counters.stale, 4);
  });

  it("does what a Ring does", bench, async () => {
    await using proactor = new Proactor();
    const path = cstring("/proc/version");
    const result = await new Promise<number>((resolve) => {
      proactor.entry({ complete: resolve })?.prepOpenat(AT_FDCWD, path, O_RDONLY, 0);
    });
    assert.ok(result > 0);
    using memory = alloc(5);
    assert.equal(await proactor.read(result, memory), 5);
    assert.equal(text(memory), "Linux");
    await proactor.closeFd(result);
    assert.equal(await code(proactor.read(result, memory)), "EBADF");
  });
});
