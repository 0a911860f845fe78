// What callers' own code does when a proactor comes upon it in the middle of a call: getters, proxies, properties of their own.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout } from "node:timers/promises";
import { Direct, Proactor, UringError } from "uring";
import { O_RDONLY } from "uring/abi";
import { Alarm } from "../src/shared/proactor/alarm.ts";
import { pipe } from "./support/harness.ts";
import { range } from "./support/ring.ts";

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
