// What callers' own code does when a proactor comes upon it in the middle of a call: getters, proxies, properties of their own.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout } from "node:timers/promises";
import { alloc, Direct, Lease, Proactor, UringError } from "uring";
import { O_RDONLY, SOCK_DGRAM } from "uring/abi";
import { Alarm } from "../src/shared/proactor/alarm.ts";
import { pipe } from "./support/harness.ts";
import { Sockets } from "./support/proactor-sockets.ts";
import { bytes, range, text } from "./support/ring.ts";

const bench = { timeout: 60_000 };

/** What became of a promise, in a word. */
async function word(promise: Promise<unknown>): Promise<string> {
  try {
    return `${await promise}`;
  } catch (error) {
    return error instanceof UringError ? error.code : (error as Error).name;
  }
}

describe("a view with a byteLength of its own", () => {
  it("is taken for what it is, and nobody asks it", bench, async () => {
    await using proactor = new Proactor({ entries: 8, debug: true });
    const zero = await proactor.open("/dev/zero", O_RDONLY);
    const nested: Promise<unknown>[] = [];
    class View extends Uint8Array {
      override get byteLength(): number {
        nested.push(proactor.nop());
        return super.byteLength;
      }
    }
    const { submitted } = proactor.counters;
    const view = new View(8).fill(1);
    assert.equal(await proactor.read(zero, view), 8);
    assert.ok(view.every((byte) => byte === 0));
    assert.equal(proactor.counters.submitted, submitted + 1);
    assert.equal(nested.length, 0);
    await proactor.closeFd(zero);
  });
});

describe("options with a getter that closes the proactor", () => {
  for (const [name, value] of [
    ["a limit of time", 50],
    ["none", undefined],
  ] as const) {
    it(`end the operation with it: ${name}`, bench, async () => {
      const proactor = new Proactor();
      await proactor.nop();
      let closing: Promise<unknown> | undefined;
      const options = {
        get timeout(): number | undefined {
          closing ??= proactor.close();
          return value;
        },
      };
      assert.equal(await word(proactor.nop(options)), "ECANCELED");
      await closing;
      assert.equal(proactor.inFlight, 0);
    });

    it(`end a chain with it: ${name}`, bench, async () => {
      const proactor = new Proactor();
      let closing: Promise<unknown> | undefined;
      const options = {
        get timeout(): number | undefined {
          closing ??= proactor.close();
          return value;
        },
      };
      const chain = proactor.chain();
      const members = [chain.nop(), chain.nop(options)].map(word);
      assert.equal(await word(chain.submit()), "ECANCELED");
      assert.deepEqual(await Promise.all(members), ["ECANCELED", "ECANCELED"]);
      await closing;
      assert.equal(proactor.inFlight, 0);
    });
  }
});

describe("a proxy of a signal", () => {
  const proxy = (signal: AbortSignal) =>
    new Proxy(signal, { get: (target, key) => Reflect.get(target, key, target) });

  it("is refused or heeded, as the runtime has it, and leaves nothing behind", bench, async () => {
    await using proactor = new Proactor();
    const { signal } = new AbortController();
    for (const _ of range(3))
      assert.match(await word(proactor.nop({ signal: proxy(signal) })), /^(0|TypeError)$/);
    const ticks = proactor.timeoutMultishot(5, { signal: proxy(signal) });
    assert.match(await word(ticks.next().then(({ value }) => value)), /^(1|TypeError)$/);
    await ticks.return?.();
    assert.equal(proactor.inFlight, 0);
  });

  it("that closes the proactor ends the operation with it", bench, async () => {
    const proactor = new Proactor();
    const { signal } = new AbortController();
    let closing: Promise<unknown> | undefined;
    const closer = new Proxy(signal, {
      get(target, key) {
        closing ??= proactor.close();
        return Reflect.get(target, key, target);
      },
    });
    assert.match(await word(proactor.nop({ signal: closer })), /^(ECANCELED|TypeError)$/);
    await (closing ?? proactor.close());
    assert.equal(proactor.inFlight, 0);
  });
});

describe("a signal with methods of its own", () => {
  it("is asked what it is, past them", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    const controller = new AbortController();
    const refuse = () => assert.fail("was asked");
    for (const name of ["addEventListener", "removeEventListener"]) {
      Object.defineProperty(controller.signal, name, { value: refuse });
    }
    const read = word(proactor.read(ends.read, new Uint8Array(1), { signal: controller.signal }));
    proactor.flush();
    controller.abort();
    assert.equal(await read, "AbortError");
  });
});

describe("a Direct with a slot of its own", () => {
  it("is the slot it was made with", bench, async () => {
    await using proactor = new Proactor({ entries: 2, cqEntries: 64 });
    proactor.ring.registerFilesSparse(4);
    const slot = (await proactor.open("/dev/zero", O_RDONLY, { direct: 1 })) as Direct;
    Object.defineProperty(slot, "slot", { get: () => assert.fail("was asked") });
    assert.equal(await proactor.read(slot, new Uint8Array(4), { timeout: 10_000 }), 4);
    const none = new Proxy(new Direct(1), {});
    assert.equal(await word(proactor.read(none, new Uint8Array(4), { timeout: 10_000 })), "TypeError");
  });
});

describe("a period with a getter that ends the ticking", () => {
  it("leaves nothing behind", bench, async () => {
    await using proactor = new Proactor();
    const ticks = proactor.timeoutMultishot({
      sec: 0,
      get nsec() {
        void ticks.return?.();
        return 5_000_000;
      },
    });
    assert.equal((await ticks.next()).done, true);
    await setTimeout(1);
    assert.equal(proactor.inFlight, 0);
    assert.equal(Alarm.next(), Number.POSITIVE_INFINITY);
  });
});

describe("memory that is disposed of right after the call", () => {
  it("is the operation's until its end: messages, futexes, pieces", bench, async () => {
    await using proactor = new Proactor();
    using sockets = new Sockets(proactor);
    const [from, to] = sockets.pair(SOCK_DGRAM);
    const sent = [bytes("ab"), bytes("cd")];
    const sending = proactor.sendmsg(from, sent);
    const got = [alloc(2), alloc(8)];
    const seen = got.map((memory) => memory.bytes);
    const receiving = proactor.recvmsg(to, got);
    const word32 = alloc(4);
    const waiting = proactor.futexWaitv([{ futex: word32, value: 0 }], { timeout: 10 });
    for (const memory of [...sent, ...got, word32]) memory[Symbol.dispose]();
    assert.equal(await sending, 4);
    assert.equal((await receiving).length, 4);
    assert.deepEqual(
      seen.map((memory) => text(memory, 2)),
      ["ab", "cd"],
    );
    assert.equal(await word(waiting), "TimeoutError");
  });
});

describe("a message for a 32-bit program", () => {
  it("is refused, sent or received", bench, async () => {
    await using proactor = new Proactor();
    const flags = 0x80000000;
    assert.equal(await word(proactor.sendmsg(0, alloc(8), { flags })), "TypeError");
    assert.equal(await word(proactor.recvmsg(0, alloc(8), { flags, control: 64 })), "TypeError");
    assert.equal(await word(proactor.recvmsgMultishot(0, { flags, control: 64 }).next()), "TypeError");
    const { sent } = proactor.sendmsgZc(0, alloc(8), { flags });
    assert.equal(await word(sent), "TypeError");
  });
});

describe("a lease of buffers that are registered no more", () => {
  it("can be released, and the memory goes back", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    const group = proactor.bufferGroup({ entries: 4, bufferSize: 64 });
    const reads = proactor.readMultishot(ends.read, { group });
    await proactor.write(ends.write, bytes("x"));
    const { value } = await reads.next();
    await reads.return?.();
    proactor.ring.unregisterBufRing(group.id);
    assert.ok(value instanceof Lease);
    value[Symbol.dispose]();
    assert.equal(group.lent, 0);
    assert.throws(() => Object.assign(group, { id: 1 }), TypeError);
  });
});
