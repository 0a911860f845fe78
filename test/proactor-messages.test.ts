import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { alloc, closeAddress, Proactor, type ProactorAddress, Ring, UringError } from "uring";
import { account, runChild } from "./support/child.ts";
import { pipe } from "./support/harness.ts";
import { code, reason } from "./support/rejections.ts";
import { bytes, LONG, openFds, range, ringFds, run, untilFds } from "./support/ring.ts";
import { mustCall } from "./support/system.ts";
import { Thread, type ThreadKind } from "./support/thread.ts";

const bench = { timeout: 60_000 };
const KINDS: readonly ThreadKind[] = ["Worker", "node:worker_threads"];
const DONE = { done: true, value: undefined };
/** How many messages wait to be taken. */
const ROOM = 65536;

function addressable(): Proactor {
  return new Proactor({ addressable: true });
}

/** The next messages. */
async function take(proactor: Proactor, count: number): Promise<number[]> {
  const all: number[] = [];
  for await (const message of proactor.messages()) {
    all.push(message);
    if (all.length === count) break;
  }
  return all;
}

/** Enters the kernel until something is so, which is not long: it brings out a few messages at a time. */
async function until(proactor: Proactor, reached: () => boolean): Promise<void> {
  const end = performance.now() + LONG;
  while (!reached() && performance.now() < end) {
    proactor.flush();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe("messages", () => {
  it("come as they were sent, in order", bench, async () => {
    await using proactor = addressable();
    await using other = new Proactor();
    const values = [0, 1, -1, 2 ** 31 - 1, -(2 ** 31)];
    for (const sender of [proactor, other]) {
      await Promise.all(values.map((value) => sender.post(proactor.address, value)));
      assert.deepEqual(await take(proactor, values.length), values);
    }
    assert.equal(proactor.counters.stale, 0);
  });

  it("wake one who waits for them", bench, async () => {
    await using proactor = addressable();
    await using other = new Proactor();
    for (let i = 0; i < 100; i++) {
      const next = take(proactor, 1);
      await new Promise((resolve) => setImmediate(resolve));
      await other.post(proactor.address, i);
      assert.deepEqual(await next, [i]);
    }
    assert.equal(proactor.inFlight, 0);
    assert.ok(proactor.counters.wakes >= 90, `${proactor.counters.wakes} wakes`);
  });

  it("that nobody takes are kept, and where they are too many that is told", bench, async () => {
    await using proactor = addressable();
    const { address } = proactor;
    for (let from = 0; from < ROOM; from += 4096) {
      await Promise.all(range(4096, from).map((i) => proactor.post(address, i)));
    }
    await Promise.all(range(10).map((i) => proactor.post(address, -i)));
    await until(proactor, () => proactor.counters.completed === 2 * (ROOM + 10));
    const all: number[] = [];
    const error = await reason(
      (async () => {
        for await (const message of proactor.messages()) all.push(message);
      })(),
    );
    assert.ok(error instanceof UringError);
    assert.equal(error.code, "ENOBUFS");
    assert.match(error.message, /10 messages came while 65536 waited/);
    assert.equal(all.length, ROOM);
    assert.ok(all.every((message, i) => message === i));
    await proactor.post(address, 5);
    assert.deepEqual(await take(proactor, 1), [5]);
  });

  it("each go to one of those who wait", bench, async () => {
    await using proactor = addressable();
    const takers = range(3).map(() => take(proactor, 10));
    await Promise.all(range(30).map((i) => proactor.post(proactor.address, i)));
    const all = (await Promise.all(takers)).flat();
    assert.deepEqual(
      all.sort((a, b) => a - b),
      range(30),
    );
  });

  it("are waited for until the signal is aborted, or the proactor closed", bench, async () => {
    const proactor = addressable();
    const why = new Error("enough");
    assert.equal(await reason(proactor.messages({ signal: AbortSignal.abort(why) }).next()), why);
    const controller = new AbortController();
    const aborted = proactor.messages({ signal: controller.signal });
    const pending = aborted.next();
    controller.abort(why);
    assert.equal(await reason(pending), why);
    assert.deepEqual(await aborted.next(), DONE);
    const left = proactor.messages();
    const last = left.next();
    await proactor.close();
    assert.deepEqual(await last, DONE);
    assert.deepEqual(await left.next(), DONE);
  });

  it("are waited for by several at once, in the order of their calls", bench, async () => {
    await using proactor = addressable();
    const messages = proactor.messages();
    const pulls = range(3).map(() => messages.next());
    const other = proactor.messages().next();
    await Promise.all(range(2).map((i) => proactor.post(proactor.address, i)));
    assert.deepEqual(await pulls[0], { value: 0, done: false });
    assert.deepEqual(await other, { value: 1, done: false });
    await Promise.all(range(2, 2).map((i) => proactor.post(proactor.address, i)));
    for (const i of [1, 2]) assert.deepEqual(await pulls[i], { value: i + 1, done: false });
    const controller = new AbortController();
    const aborted = proactor.messages({ signal: controller.signal });
    const rejected = [aborted.next(), aborted.next()] as const;
    controller.abort("enough");
    assert.equal(await reason(rejected[0]), "enough");
    assert.deepEqual(await rejected[1], DONE);
  });

  for (const [how, leave] of Object.entries<(messages: AsyncGenerator<number, void>) => Promise<unknown>>({
    return: (messages) => messages.return(),
    throw: async (messages) => assert.equal(await reason(messages.throw("why")), "why"),
    asyncDispose: async (messages) => await messages[Symbol.asyncDispose](),
  })) {
    it(`are no longer waited for after ${how}, although none comes`, { timeout: 10_000 }, async () => {
      await using proactor = addressable();
      const messages = proactor.messages();
      const pulls = [messages.next(), messages.next()];
      await leave(messages);
      assert.deepEqual(await Promise.all(pulls), [DONE, DONE]);
      assert.deepEqual(await messages.next(), DONE);
      // Ends, since nobody waits.
      await proactor.run();
      await proactor.post(proactor.address, 1);
      assert.deepEqual(await take(proactor, 1), [1]);
    });
  }

  it("can follow what they tell of in a chain", bench, async () => {
    await using proactor = addressable();
    await using other = new Proactor();
    using ends = pipe();
    const chain = other.chain();
    void chain.write(ends.write, bytes("news"));
    void chain.post(proactor.address, 4);
    await chain.submit();
    const [length] = await take(proactor, 1);
    assert.equal(await proactor.read(ends.read, alloc(64)), length);
  });

  it("that were made up, or meant for another, touch no operation", bench, async () => {
    await using proactor = addressable();
    using ring = new Ring({ entries: 8 });
    using ends = pipe();
    const { fd, token } = proactor.address;
    const reads = range(8).map(() => proactor.read(ends.read, alloc(1)));
    proactor.flush();
    const forged = [
      ...range(64),
      ...range(8).map((i) => 2 ** 40 + i),
      ...range(8).map((i) => 2 ** 24 + i),
      0xffff_ffffn,
      0xffff_fffen,
      0xffff_ffff_ffff_ffffn,
      0xffff_ffff_ffff_fffen,
      2n ** 63n,
      BigInt((token % 2 ** 20) + 1) * 2n ** 32n + 0xffff_ffffn,
    ];
    for (const data of forged) {
      assert.equal(
        run(ring, (sqe) => sqe.prepMsgRing(fd, 1, data, 0)),
        0,
      );
    }
    await until(proactor, () => proactor.counters.stale >= forged.length);
    assert.equal(proactor.counters.stale, forged.length);
    assert.equal(proactor.inFlight, reads.length);
    for (const _ of reads) mustCall("write", ends.write, bytes("x").address, 1);
    assert.deepEqual(
      await Promise.all(reads),
      range(8).map(() => 1),
    );
    assert.equal(proactor.inFlight, 0);
    await using other = new Proactor();
    await other.post({ fd, token: token - 1 }, 7);
    await other.post({ fd, token }, 8);
    assert.deepEqual(await take(proactor, 1), [8]);
    assert.equal(proactor.counters.stale, forged.length + 1);
  });

  it("are refused where there is no address, and what is none", bench, async () => {
    const plain = new Proactor();
    assert.throws(() => plain.address, { name: "TypeError", message: /addressable: true/ });
    assert.throws(() => plain.messages(), { name: "TypeError", message: /addressable: true/ });
    const proactor = addressable();
    const { address } = proactor;
    assert.deepEqual(structuredClone(address), address);
    for (const value of [2 ** 31, 0.5, Number.NaN, "1" as never]) {
      assert.ok((await reason(plain.post(address, value))) instanceof RangeError);
    }
    for (const wrong of [null, {}, { fd: "3", token: 1 }, { fd: 3, token: -1 }, { fd: 3, token: 2 ** 40 }]) {
      assert.ok((await reason(plain.post(wrong as ProactorAddress, 1))) instanceof TypeError);
    }
    using ends = pipe();
    assert.equal(await code(plain.post({ fd: ends.read, token: 1 }, 1)), "EBADFD");
    for (const fd of [-1, 0.5, "3" as never]) assert.throws(() => closeAddress({ fd, token: 1 }), TypeError);
    assert.throws(() => proactor.messages({ signal: {} as never }), TypeError);
    assert.throws(() => closeAddress({ fd: 1_000_000, token: 1 }), { name: "UringError", code: "EBADF" });
    await proactor.close();
    assert.throws(() => proactor.address, { name: "TypeError", message: /closed/ });
    await plain.close();
  });

  it("keep run() going while they are waited for", bench, async () => {
    await using proactor = addressable();
    await using thread = new Thread("message-thread.ts");
    const sent = thread.call("send", proactor.address, 0, 100);
    const taken = take(proactor, 100);
    await proactor.run();
    assert.deepEqual(await taken, range(100));
    await sent;
  });

  for (const [part, printed] of [
    ["messages", "5\ndone\n"],
    ["address", "posted\n"],
    ["left", "done\n"],
    ["unref", "waits\n"],
  ] as const) {
    it(`keep a process running while they are waited for: ${part}`, () => {
      const ended = runChild("run-child.ts", [part], { timeout: 20_000 });
      assert.deepEqual([ended.status, ended.stdout], [0, printed], account(ended));
    });
  }
});

for (const kind of KINDS) {
  describe(`messages between threads (${kind})`, () => {
    it("come in order, both ways", bench, async () => {
      const before = ringFds();
      await using proactor = addressable();
      await using thread = new Thread("message-thread.ts", kind);
      const there = await thread.call<ProactorAddress>("address");
      const count = 1000;
      const arriving = thread.call<number[]>("receive", count);
      await Promise.all(range(count).map((i) => proactor.post(there, i)));
      assert.deepEqual(await arriving, range(count));
      const back = take(proactor, count);
      await thread.call("send", proactor.address, 5, count);
      assert.deepEqual(await back, range(count, 5));
      assert.deepEqual(await thread.call("close"), { leaked: 0 });
      await proactor.close();
      assert.equal(ringFds(), before);
    });

    it("go back and forth", bench, async () => {
      await using proactor = addressable();
      await using thread = new Thread("message-thread.ts", kind);
      const there = await thread.call<ProactorAddress>("address");
      const answering = thread.call("answer", proactor.address, 500);
      const messages = proactor.messages();
      for (let i = 0; i < 500; i++) {
        await proactor.post(there, 2 * i);
        assert.deepEqual(await messages.next(), { value: 2 * i + 1, done: false });
      }
      await messages.return();
      await answering;
      await thread.call("close");
    });

    it("go from one thread to another", bench, async () => {
      await using one = new Thread("message-thread.ts", kind);
      await using two = new Thread("message-thread.ts", kind);
      const to = await two.call<ProactorAddress>("address");
      const arriving = two.call<number[]>("receive", 300);
      await one.call("send", to, -100, 300);
      assert.deepEqual(await arriving, range(300, -100));
      await one.call("close");
      await two.call("close");
    });

    it(
      "end with a thread that is terminated in the middle, and only its ring's fd is left",
      bench,
      async () => {
        const proactor = addressable();
        const { address } = proactor;
        const before = openFds().length;
        const rings = ringFds();
        for (let i = 0; i < 5; i++) {
          const thread = new Thread("message-thread.ts", kind);
          const there = await thread.call<ProactorAddress>("address");
          const ends = await thread.call<{ read: number; write: number }>("leave", address);
          const sending = Promise.allSettled(range(100).map((value) => proactor.post(there, value)));
          await take(proactor, 50);
          await thread.terminate();
          await sending;
          closeAddress(there);
          for (const fd of [ends.read, ends.write]) await proactor.closeFd(fd);
        }
        assert.equal(ringFds(), rings);
        // Engines have a few for themselves, and do not close the eventfds that a terminated thread had them watch: its
        // doorbell's, and in Deno one for its turns.
        await untilFds(before + 8 + 2 * 5);
        assert.deepEqual(await proactor.close(), { leaked: 0 });
      },
    );
  });
}
