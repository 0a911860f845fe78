// The races of a proactor on a simulated kernel, each won by either side under some seed.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate } from "node:timers/promises";
import { alloc, type Proactor, type ProactorOptions, Ring, UringError } from "uring";
import type { Outcome, SimulatedOperation } from "uring/testing";
import { type Fate, fateOf, type Race, replay } from "./support/replay.ts";
import { LONG } from "./support/ring.ts";
import { shim, withShim } from "./support/runtime.ts";

const bench = { timeout: 100_000 };

const EINTR = 4;
const EAGAIN = 11;
const EBUSY = 16;
const ECANCELED = 125;

/** What became of an operation, in a word. */
function word(fate: Fate): string {
  if ("value" in fate) return "value";
  const { reason } = fate;
  if (reason instanceof UringError) return reason.code;
  return reason instanceof Error || reason instanceof DOMException ? reason.name : String(reason);
}

/** The different words, in order. */
function outcomes(fates: Iterable<Fate | Fate[]>): string[] {
  return [...new Set([...fates].flat().map(word))].sort();
}

/** A read that is aborted after a while. */
async function abortedRead(race: Race, proactor: Proactor, options: object = {}): Promise<Fate> {
  const controller = new AbortController();
  const read = race.read(proactor, { ...options, signal: controller.signal });
  await race.pause();
  controller.abort("aborted");
  if (race.random.oneIn(2)) controller.abort("again");
  return read;
}

const reads =
  (outcome: (operation: SimulatedOperation, race: number) => Outcome | undefined) =>
  (operation: SimulatedOperation) =>
    operation.name === "READ" ? outcome(operation, operation.id) : undefined;

/** Everything at once: reads aborted, limited in time, or left alone, and operations without a promise. */
async function everything(race: Race, proactor: Proactor, count = 30): Promise<Fate[]> {
  const fates: Promise<Fate>[] = [];
  let entries = 0;
  for (let i = 0; i < count && !proactor.closed; i++) {
    const { random } = race;
    const timeout = random.oneIn(3) ? { timeout: random.below(3) } : {};
    const kind = random.below(8);
    if (kind < 4) fates.push(abortedRead(race, proactor, timeout));
    else if (kind < 6) fates.push(race.read(proactor, timeout));
    else if (kind < 7) fates.push(fateOf(proactor.nop(timeout)));
    else {
      const entry = proactor.entry({
        complete(_res, _flags, last) {
          assert.ok(last);
          entries--;
        },
      });
      if (entry !== null) entries++;
      entry?.prepNop();
    }
    if (random.oneIn(4)) await race.pause();
    if (random.oneIn(10)) proactor.flush();
  }
  const all = await Promise.all(fates);
  while (entries > 0) await setImmediate();
  return all;
}

describe("a race between an operation's end and", () => {
  it("an abort is won by either, and ends in one of the two", bench, async () => {
    const fates = await replay({}, (race) => abortedRead(race, race.proactor()));
    assert.deepEqual(outcomes(fates), ["aborted", "value"]);
  });

  it("an abort of what can not be cancelled any more gives the result", bench, async () => {
    const policy = reads(() => ({ res: 64, delay: 5, cancellable: "never" }));
    const fates = await replay({ kernel: { policy } }, async (race) => {
      const proactor = race.proactor();
      const controller = new AbortController();
      const read = race.read(proactor, { signal: controller.signal });
      proactor.flush();
      await race.pause(1);
      controller.abort("aborted");
      return read;
    });
    assert.deepEqual(outcomes(fates), ["value"]);
  });

  it("an abort of what would never end is won by the abort", bench, async () => {
    const policy = reads(() => ({ res: 64, delay: Number.POSITIVE_INFINITY }));
    const fates = await replay({ kernel: { policy } }, (race) => abortedRead(race, race.proactor()));
    assert.deepEqual(outcomes(fates), ["aborted"]);
  });

  it("its limit of time at the very same moment is won by either", bench, async () => {
    // Less than any time that passes, and more than what is done at once.
    const policy = reads(() => ({ res: 64, delay: Number.MIN_VALUE }));
    const fates = await replay({ kernel: { policy } }, async (race) => {
      const proactor = race.proactor();
      race.kernel.advance(1);
      return race.read(proactor, { timeout: 0 });
    });
    assert.deepEqual(outcomes(fates), ["TimeoutError", "value"]);
  });

  it("its limit of time, when it ends some time after that, is a TimeoutError", bench, async () => {
    // As a worker thread of the kernel does it: the timer only finds that it is under way, or does not find it at all.
    const policy = reads(() => ({ res: -ECANCELED, delay: 5 }));
    const fates = await replay({ seeds: 30, kernel: { policy } }, (race) => {
      return race.read(race.proactor(), { timeout: 1 });
    });
    assert.deepEqual(outcomes(fates), ["TimeoutError"]);
  });

  it("its limit of time and an abort ends in one of the three", bench, async () => {
    const fates = await replay({}, (race) => {
      return abortedRead(race, race.proactor(), { timeout: race.random.below(3) });
    });
    assert.deepEqual(outcomes(fates), ["TimeoutError", "aborted", "value"]);
  });

  it("that of others is for each its own", bench, async () => {
    // The later it was submitted the sooner it ends.
    const policy = reads(({ id }) => ({ res: 1 + (id % 64), delay: 1000 - id }));
    await replay({ seeds: 30, kernel: { policy } }, async (race) => {
      const proactor = race.proactor();
      const order: number[] = [];
      const all = Array.from({ length: 100 }, (_, i) => race.read(proactor).then(() => order.push(i)));
      await Promise.all(all);
      assert.deepEqual(
        order,
        order.map((_, i) => 99 - i),
      );
    });
  });
});

describe("a proactor of which much is asked at once", () => {
  const settings: Record<string, ProactorOptions> = {
    "on the best ring there is": {},
    "on short queues": { entries: 2, cqEntries: 32 },
    "on a ring that is interrupted": { flags: 0, entries: 8 },
  };
  for (const [where, proactor] of Object.entries(settings)) {
    it(`${where} settles each once`, bench, async () => {
      const fates = await replay({ proactor }, (race) => everything(race, race.proactor()));
      assert.deepEqual(outcomes(fates), ["TimeoutError", "aborted", "value"]);
    });
  }

  it("goes on when calls fail for a while", bench, async () => {
    const errnos = [EINTR, EAGAIN, EBUSY];
    const enterFails = (random: Race["random"]) =>
      random.oneIn(2) ? -(errnos[random.below(3)] as number) : 0;
    const fates = await replay({ kernel: { enterFails } }, (race) => everything(race, race.proactor()));
    assert.deepEqual(outcomes(fates), ["TimeoutError", "aborted", "value"]);
  });

  it("goes on when the kernel takes a part of what it is shown", bench, async () => {
    const fates = await replay({}, (race) => {
      const proactor = withShim(
        (real) => ({
          enter: (fd, toSubmit, ...rest) =>
            real.enter(fd, toSubmit === 0 ? 0 : race.random.below(toSubmit + 1), ...rest),
        }),
        () => race.proactor(),
      );
      return everything(race, proactor);
    });
    assert.deepEqual(outcomes(fates), ["TimeoutError", "aborted", "value"]);
  });
});

describe("completions that are nobody's", () => {
  /** Sends a proactor completions under names of its own choice. */
  function forge(race: Race, proactor: Proactor, names: readonly bigint[]): void {
    using ring = new Ring({ entries: 256 });
    for (const name of names) ring.getSqe()?.prepMsgRing(proactor.ring.fd, 64, name, 0);
    ring.submitAndWait(names.length);
    race.forged += names.length;
  }

  /** Waits until they have come. */
  async function arrived(race: Race, proactor: Proactor): Promise<void> {
    for (let i = 0; i < 1000 && proactor.counters.stale < race.forged; i++) {
      await proactor.nop();
      await setImmediate();
    }
  }

  it("because they come twice, end nothing", bench, async () => {
    const names: bigint[] = [];
    const policy = ({ name, userData64 }: SimulatedOperation) => {
      if (name === "READ" || name === "NOP") names.push(userData64);
      return undefined;
    };
    await replay({ seeds: 100, kernel: { policy } }, async (race) => {
      names.length = 0;
      const proactor = race.proactor();
      await everything(race, proactor);
      // The timers of those that had one as well.
      const twice = [...new Set(names)].flatMap((name) => [name, name | (1n << 24n)]).slice(0, 100);
      const more = everything(race, proactor);
      for (let i = 0; i < twice.length; i += 10) {
        forge(race, proactor, twice.slice(i, i + 10));
        await race.pause();
      }
      await more;
      await arrived(race, proactor);
    });
  });

  it("and more than the queue holds, take nobody's place", bench, async () => {
    await replay({ seeds: 50, proactor: { entries: 4, cqEntries: 32 } }, async (race) => {
      const proactor = race.proactor();
      const more = everything(race, proactor);
      for (let i = 0; i < 4; i++) {
        const names = Array.from({ length: 60 }, () => BigInt(race.random.below(2 ** 31)) << 32n);
        forge(race, proactor, names);
        await race.pause();
      }
      await more;
      await arrived(race, proactor);
    });
  });
});

describe("a ring that says it has work, and has none", () => {
  it("keeps the event loop turning for a few turns only", bench, async () => {
    const policy = reads((operation) => ({
      res: 64,
      delay: operation.off === 1 ? Number.POSITIVE_INFINITY : 0.1,
    }));
    await replay({ seeds: 30, kernel: { policy, lateFlags: true, trace: true } }, async (race) => {
      const proactor = race.proactor();
      const controller = new AbortController();
      const memory = alloc(64);
      await proactor.read(0, memory, { offset: 0 });
      const waiting = fateOf(proactor.read(0, memory, { offset: 1, signal: controller.signal }));
      for (let turns = 0; turns < 400; turns++) await setImmediate();
      const entered = race.kernel.trace.filter(({ event }) => event === "enter").length;
      assert.ok(entered < 100, `${entered} enters`);
      controller.abort("aborted");
      assert.equal(word(await waiting), "aborted");
      memory[Symbol.dispose]();
    });
  });

  it("loses nothing", bench, async () => {
    await replay({ kernel: { lateFlags: true } }, async (race) => {
      const proactor = race.proactor();
      const all = everything(race, proactor);
      await race.pause(20);
      for (let i = 0; i < 5; i++) assert.ok("value" in (await race.read(proactor)));
      await all;
    });
  });
});

describe("a close", () => {
  it("at every step ends everything once", bench, async () => {
    const words = new Set<string>();
    for (let step = 0; step < 24; step++) {
      const fates = await replay({ seeds: 12 }, async (race) => {
        const proactor = race.proactor();
        const all = everything(race, proactor);
        for (let i = 0; i < step; i++) await (i % 2 === 0 ? undefined : setImmediate());
        const { leaked } = await proactor.close();
        assert.equal(leaked, 0);
        return all;
      });
      for (const each of outcomes(fates)) words.add(each);
    }
    assert.deepEqual([...words].sort(), ["ECANCELED", "TimeoutError", "aborted", "value"]);
  });

  it("with a proactor made anew each time leaves nothing to the next", bench, async () => {
    await replay({ seeds: 40 }, async (race) => {
      for (let i = 0; i < 4; i++) {
        const proactor = race.proactor();
        const all = everything(race, proactor, 12);
        await race.pause(6);
        await proactor.close();
        await all;
      }
    });
  });

  it("of what can not be cancelled waits for its end", bench, async () => {
    const policy = reads(() => ({ res: 64, delay: 30, cancellable: "never" }));
    const fates = await replay({ seeds: 30, kernel: { policy } }, async (race) => {
      const proactor = race.proactor();
      const read = race.read(proactor);
      proactor.flush();
      const { leaked } = await proactor.close();
      assert.equal(leaked, 0);
      return read;
    });
    assert.deepEqual(outcomes(fates), ["value"]);
  });

  it("with hardly any time gives everything back, unless it tells of what is left", bench, async () => {
    const leaks = new Set<boolean>();
    for (const outcome of [{}, { cancellable: "never" }] as const) {
      const policy = reads(() => ({ res: 64, delay: Number.POSITIVE_INFINITY, ...outcome }));
      const told = await replay({ kernel: { policy } }, async (race) => {
        const proactor = race.proactor();
        const all = Array.from({ length: 3 }, () => race.read(proactor));
        proactor.flush();
        const { leaked } = await proactor.close({ deadline: 0.01 });
        await Promise.all(all);
        race.leaks = leaked > 0;
        if (leaked === 0) assert.equal(proactor.inFlight, 0);
        return leaked > 0;
      });
      for (const each of told) leaks.add(each);
    }
    assert.deepEqual(leaks, new Set([false, true]));
  });

  for (const [what, outcome, deadline, left] of [
    ["its end", {}, LONG, 0],
    ["that it was given up", { cancellable: "never" }, 0.01, 1],
  ] as const) {
    it(`tells whoever described an operation himself of ${what}`, bench, async () => {
      const policy = reads(() => ({ res: 64, delay: Number.POSITIVE_INFINITY, ...outcome }));
      await replay({ kernel: { policy } }, async (race) => {
        const proactor = race.proactor();
        const told: [number, boolean][] = [];
        const complete = (res: number, _: number, last: boolean) => void told.push([res, last]);
        proactor.entry({ complete })?.prepRead(0, alloc(64), 64, 0);
        proactor.flush();
        const { leaked } = await proactor.close({ deadline });
        race.leaks = leaked > 0;
        assert.deepEqual(told, [[-ECANCELED, true]]);
        assert.equal(proactor.inFlight, left);
      });
    });
  }

  it("in the moment of which a connection comes leaves it open to nobody", bench, async () => {
    const policy = (operation: SimulatedOperation): Outcome | undefined =>
      operation.name === "ACCEPT" ? { res: 0, delay: (operation.id % 5) / 50 } : undefined;
    const fates = await replay({ kernel: { policy } }, async (race) => {
      const proactor = race.proactor();
      const accepted = Array.from({ length: 3 }, () => fateOf(proactor.accept(0)));
      await race.pause(1);
      const { leaked } = await proactor.close({ deadline: 0 });
      race.leaks = leaked > 0;
      const all = await Promise.all(accepted);
      // What was delivered is the caller's to close.
      for (const fate of all) if ("value" in fate) shim().close(fate.value as number);
      return all;
    });
    assert.deepEqual(outcomes(fates), ["ECANCELED", "value"]);
  });

  it("in the moment of which the kernel lets a send's memory go says so", bench, async () => {
    const policy = (operation: SimulatedOperation): Outcome | undefined =>
      operation.name === "SEND_ZC" ? { res: 5, delay: (operation.id % 5) / 50 } : undefined;
    const all = await replay({ kernel: { policy } }, async (race) => {
      const proactor = race.proactor();
      const sends = Array.from({ length: 3 }, () => {
        const memory = alloc(64);
        const { sent, released } = proactor.sendZc(0, memory);
        return [fateOf(sent), fateOf(released)] as const;
      });
      await race.pause(1);
      const { leaked } = await proactor.close({ deadline: 0 });
      race.leaks = leaked > 0;
      const fates: Fate[] = [];
      for (const [sent, released] of sends) {
        await sent;
        fates.push(await released);
      }
      const kept = fates.filter((fate) => "reason" in fate).length;
      assert.ok(kept <= leaked, `${kept} sends' memory is kept, and ${leaked} operations go on`);
      return fates;
    });
    assert.deepEqual(outcomes(all), ["ECANCELED", "value"]);
  });

  it("that calls fail for a while ends everything", bench, async () => {
    const enterFails = (random: Race["random"]) => (random.oneIn(3) ? -EINTR : 0);
    await replay({ seeds: 50, kernel: { enterFails } }, async (race) => {
      const proactor = race.proactor();
      const all = everything(race, proactor);
      await race.pause(8);
      await proactor.close();
      await all;
    });
  });
});

it("a seed that fails is named", async () => {
  const failing = replay({ seeds: 5 }, async ({ seed }) => assert.notEqual(seed, 3));
  await assert.rejects(failing, /^Error: seed 3: /);
});
