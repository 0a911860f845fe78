import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { alloc, type Chain, Proactor, UringError } from "uring";
import { O_RDONLY, O_RDWR } from "uring/abi";
import { type Pipe, pipe } from "./support/harness.ts";
import { code, reason } from "./support/rejections.ts";
import { bytes, openFds, range, Scratch, text } from "./support/ring.ts";
import { mustCall } from "./support/system.ts";

const bench = { timeout: 60_000 };
const KINDS = [{ hard: false }, { hard: true }] as const;
const byte = bytes("x");

/** A few turns of the event loop. */
async function turns(count = 5): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** How many bytes are in a pipe, which are then taken out. */
async function taken(proactor: Proactor, ends: Pipe): Promise<number> {
  await proactor.write(ends.write, byte);
  return (await proactor.read(ends.read, alloc(4096))) - 1;
}

/** Writes a byte to the pipe from outside. */
function put(ends: Pipe): void {
  mustCall("write", ends.write, byte.address, 1);
}

describe("a chain", () => {
  for (const options of KINDS) {
    const name = options.hard ? "hard" : "soft";

    it(`runs its operations one after the other (${name})`, bench, async () => {
      using scratch = new Scratch();
      await using proactor = new Proactor();
      const path = scratch.file("f", "");
      const fd = await proactor.open(path, O_RDWR);
      using got = alloc(8);
      const chain = proactor.chain(options);
      const wrote = chain.write(fd, bytes("some"), { offset: 0 });
      const more = chain.write(fd, bytes("more"), { offset: 4 });
      const read = chain.read(fd, got, { offset: 0 });
      const closed = chain.closeFd(fd);
      assert.equal(chain.length, 4);
      await turns();
      assert.equal(readFileSync(path, "latin1"), "");
      assert.equal(proactor.inFlight, 0);
      await chain.submit();
      assert.deepEqual(await Promise.all([wrote, more, read, closed]), [4, 4, 8, undefined]);
      assert.equal(text(got), "somemore");
      assert.ok(!openFds().some((link) => link.endsWith(path)));
    });

    it(`stays together where the queue is nearly full (${name})`, bench, async () => {
      await using proactor = new Proactor({ entries: 8 });
      using first = pipe();
      using second = pipe();
      const before = range(6).map(() => proactor.nop());
      const chain = proactor.chain(options);
      const members = [
        chain.nop(),
        chain.read(first.read, alloc(1)),
        chain.nop({ timeout: 10_000 }),
        chain.write(second.write, byte),
      ];
      const submitted = chain.submit();
      const after = range(6).map(() => proactor.nop());
      await Promise.all([...before, ...after]);
      await turns();
      assert.equal(proactor.inFlight, 3);
      assert.equal(await taken(proactor, second), 0);
      put(first);
      await submitted;
      assert.deepEqual(await Promise.all(members), [0, 1, 0, 1]);
      assert.equal(await taken(proactor, second), 1);
    });

    it(`can be one of many (${name})`, bench, async () => {
      await using proactor = new Proactor({ entries: 8, cqEntries: 32 });
      const all = range(200).map(async (i) => {
        using ends = pipe();
        const chain = proactor.chain(options);
        const got = alloc(1);
        const members = [
          chain.write(ends.write, byte, i % 2 === 0 ? { timeout: 10_000 } : {}),
          chain.read(ends.read, got),
        ];
        for (let more = i % 4; more > 0; more--) members.push(chain.nop());
        await chain.submit();
        assert.deepEqual((await Promise.all(members)).slice(0, 2), [1, 1]);
        assert.equal(text(got), "x");
      });
      await Promise.all(all);
      assert.equal(proactor.inFlight, 0);
    });

    it(`of which one fails ${options.hard ? "goes on" : "ends there"}`, bench, async () => {
      await using proactor = new Proactor();
      using ends = pipe();
      const chain = proactor.chain(options);
      const first = chain.nop();
      const failing = chain.closeFd(-1);
      const write = chain.write(ends.write, byte);
      const last = chain.nop();
      const error = await reason(chain.submit());
      assert.ok(error instanceof UringError);
      assert.deepEqual([error.code, error.syscall], ["EBADF", "close"]);
      assert.equal(await reason(failing), error);
      assert.equal(await first, 0);
      if (options.hard) {
        assert.deepEqual([await write, await last], [1, 0]);
      } else {
        assert.equal(await code(write), "ECANCELED");
        assert.match(String(await reason(last)), /What comes before it in its chain has failed/);
      }
      assert.equal(await taken(proactor, ends), options.hard ? 1 : 0);
    });

    it(
      `of which one reads less than it was to ${options.hard ? "goes on" : "ends there"}`,
      bench,
      async () => {
        using scratch = new Scratch();
        await using proactor = new Proactor();
        const fd = await proactor.open(scratch.file("f", "abc"), O_RDONLY);
        const chain = proactor.chain(options);
        const read = chain.read(fd, alloc(8), { offset: 0 });
        const last = chain.nop();
        if (options.hard) {
          await chain.submit();
          assert.equal(await last, 0);
        } else {
          assert.equal(await code(chain.submit()), "ECANCELED");
          assert.match(String(await reason(last)), /moved fewer bytes/);
        }
        assert.equal(await read, 3);
        await proactor.closeFd(fd);
      },
    );

    it(`tells of a timeout (${name})`, bench, async () => {
      await using proactor = new Proactor();
      using ends = pipe();
      const chain = proactor.chain(options);
      const members = [
        chain.nop({ timeout: 10_000 }),
        chain.read(ends.read, alloc(1), { timeout: 20 }),
        chain.nop({ timeout: 10_000 }),
      ] as const;
      const error = await reason(chain.submit());
      assert.ok(error instanceof DOMException && error.name === "TimeoutError", String(error));
      assert.equal(await members[0], 0);
      assert.equal(await reason(members[1]), error);
      if (options.hard) assert.equal(await members[2], 0);
      else assert.equal(await code(members[2]), "ECANCELED");
    });

    it(`of which one is aborted in flight ${options.hard ? "goes on" : "ends there"}`, bench, async () => {
      await using proactor = new Proactor();
      using ends = pipe();
      const controller = new AbortController();
      const chain = proactor.chain(options);
      const read = chain.read(ends.read, alloc(1), { signal: controller.signal });
      const last = chain.nop();
      const submitted = chain.submit();
      await turns();
      const why = new Error("enough");
      controller.abort(why);
      assert.equal(await reason(submitted), why);
      assert.equal(await reason(read), why);
      if (options.hard) assert.equal(await last, 0);
      else assert.equal(await code(last), "ECANCELED");
      assert.equal(await taken(proactor, ends), 0);
    });

    it(`aborts one that waits for its turn when that comes (${name})`, bench, async () => {
      await using proactor = new Proactor();
      using first = pipe();
      using second = pipe();
      const controller = new AbortController();
      const chain = proactor.chain(options);
      const read = chain.read(first.read, alloc(1));
      const aborted = chain.read(second.read, alloc(1), { signal: controller.signal });
      const last = chain.nop();
      const submitted = chain.submit();
      await turns();
      const why = new Error("enough");
      controller.abort(why);
      await turns();
      assert.equal(proactor.inFlight, 3);
      put(first);
      assert.equal(await reason(submitted), why);
      assert.equal(await read, 1);
      assert.equal(await reason(aborted), why);
      if (options.hard) assert.equal(await last, 0);
      else assert.equal(await code(last), "ECANCELED");
    });

    it(`never begins what is aborted while it is queued (${name})`, bench, async () => {
      await using proactor = new Proactor();
      using first = pipe();
      using second = pipe();
      const controller = new AbortController();
      const chain = proactor.chain(options);
      const before = chain.write(first.write, byte);
      const aborted = chain.write(second.write, byte, { signal: controller.signal, timeout: 10_000 });
      const last = chain.write(first.write, byte);
      const submitted = chain.submit();
      const why = new Error("enough");
      controller.abort(why);
      controller.abort("twice");
      assert.equal(await reason(submitted), why);
      assert.equal(await reason(aborted), why);
      assert.equal(await before, 1);
      if (options.hard) assert.equal(await last, 1);
      else assert.equal(await code(last), "ECANCELED");
      assert.equal(await taken(proactor, second), 0);
      assert.equal(await taken(proactor, first), options.hard ? 2 : 1);
    });

    it(`that waits for room has a member end at once, which never begins (${name})`, bench, async () => {
      await using proactor = new Proactor({ entries: 8, cqEntries: 16 });
      using blocked = pipe();
      using ends = pipe();
      const reads = range(proactor.ring.params.cqEntries).map(() => proactor.read(blocked.read, alloc(1)));
      const controller = new AbortController();
      const chain = proactor.chain(options);
      const before = chain.write(ends.write, byte);
      const aborted = chain.write(ends.write, byte, { signal: controller.signal });
      const late = chain.write(ends.write, byte, { timeout: 5 });
      const last = chain.write(ends.write, byte);
      const submitted = reason(chain.submit());
      await turns();
      const why = new Error("enough");
      controller.abort(why);
      assert.equal(await reason(aborted), why);
      assert.equal(((await reason(late)) as Error).name, "TimeoutError");
      assert.equal(await Promise.race([before, last, submitted, "waits"]), "waits");
      for (const _ of reads) put(blocked);
      await Promise.all(reads);
      assert.equal(await submitted, why);
      assert.equal(await before, 1);
      if (options.hard) assert.equal(await last, 1);
      else assert.equal(await code(last), "ECANCELED");
      assert.equal(await taken(proactor, ends), options.hard ? 2 : 1);
    });

    it(`ends with its proactor, in flight and queued (${name})`, bench, async () => {
      const before = openFds();
      const proactor = new Proactor();
      using ends = pipe();
      const inFlight = proactor.chain(options);
      const queued = proactor.chain(options);
      const late = proactor.chain(options);
      const members = [inFlight.read(ends.read, alloc(1)), inFlight.read(ends.read, alloc(1))];
      const outcomes = [inFlight.submit()];
      await turns();
      members.push(queued.read(ends.read, alloc(1)), queued.read(ends.read, alloc(1), { timeout: 10_000 }));
      members.push(late.nop());
      outcomes.push(queued.submit());
      const closing = proactor.close();
      outcomes.push(late.submit());
      const codes = await Promise.all([...outcomes, ...members].map(code));
      assert.deepEqual(new Set(codes), new Set(["ECANCELED"]));
      assert.match(String(await reason(late.submit())), /submitted already/);
      assert.deepEqual(await closing, { leaked: 0 });
      assert.equal(proactor.inFlight, 0);
      ends[Symbol.dispose]();
      const fresh = () => openFds().filter((fd) => !before.includes(fd));
      for (let i = 0; i < 1000 && fresh().length > 0; i++) await turns();
      assert.deepEqual(fresh(), []);
    });
  }

  it("is handed over in one call", bench, async () => {
    await using proactor = new Proactor();
    const { enters } = proactor.counters;
    const chain = proactor.chain();
    for (let i = 0; i < 100; i++) void chain.nop();
    await chain.submit();
    assert.equal(proactor.counters.enters, enters + 1);
  });

  it("of which one can not be begun is not begun at all", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    const why = new Error("enough");
    const wrong: [(chain: Chain) => Promise<unknown>, (error: unknown) => boolean][] = [
      [(chain) => chain.nop({ signal: AbortSignal.abort(why) }), (error) => error === why],
      [(chain) => chain.read(0, byte, { length: 2 }), (error) => error instanceof RangeError],
      [(chain) => chain.closeFd("0" as never), (error) => error instanceof TypeError],
    ];
    for (const [call, expected] of wrong) {
      using memory = alloc(1);
      const chain = proactor.chain();
      const first = chain.write(ends.write, memory);
      const failing = call(chain);
      const last = chain.write(ends.write, memory);
      const error = await reason(chain.submit());
      assert.ok(expected(error), String(error));
      assert.equal(await reason(failing), error);
      assert.match(String(await reason(first)), /Its chain was not submitted/);
      assert.equal(await code(last), "ECANCELED");
      assert.equal(proactor.inFlight, 0);
    }
    assert.equal(await taken(proactor, ends), 0);
  });

  it("that is too long is not begun, and says how long one can be", bench, async () => {
    await using proactor = new Proactor({ entries: 8 });
    using ends = pipe();
    const chain = proactor.chain();
    const members = range(8).map(() => chain.write(ends.write, byte));
    members.push(chain.write(ends.write, byte));
    const error = await reason(chain.submit());
    assert.ok(error instanceof RangeError);
    assert.match(
      error.message,
      /a chain of 9 entries is longer than the 8 that can be handed over at a time/,
    );
    for (const member of members) assert.equal(await reason(member), error);
    assert.equal(proactor.inFlight, 0);

    const timed = proactor.chain();
    for (let i = 0; i < 5; i++) void timed.nop({ timeout: 1000 });
    assert.match(String(await reason(timed.submit())), /a chain of 10 entries/);

    const longest = proactor.chain();
    for (let i = 0; i < 4; i++) void longest.nop({ timeout: 1000 });
    await longest.submit();
    assert.equal(await taken(proactor, ends), 0);
  });

  it("is refused where it is empty, and after it was submitted", bench, async () => {
    await using proactor = new Proactor();
    const chain = proactor.chain();
    assert.match(String(await reason(chain.submit())), /TypeError: an empty chain/);
    void chain.nop();
    await chain.submit();
    assert.match(String(await reason(chain.submit())), /TypeError: this chain was submitted already/);
    assert.match(String(await reason(chain.nop())), /TypeError: this chain was submitted already/);
    assert.equal(chain.length, 1);
  });

  it("that is dropped rejects its operations", bench, async () => {
    await using proactor = new Proactor();
    let member: Promise<unknown>;
    {
      using chain = proactor.chain();
      member = chain.nop();
    }
    assert.match(String(await reason(member)), /Its chain was not submitted/);
    using chain = proactor.chain();
    void chain.nop();
    await chain.submit();
  });

  it("whose failures only submit() is asked for leaves none unhandled", bench, async () => {
    await using proactor = new Proactor();
    let unhandled = 0;
    const count = () => unhandled++;
    process.on("unhandledRejection", count);
    const chain = proactor.chain();
    void chain.closeFd(-1);
    void chain.nop();
    assert.equal(await code(chain.submit()), "EBADF");
    await turns(20);
    process.off("unhandledRejection", count);
    assert.equal(unhandled, 0);
  });

  it("holds its memory until the end of each operation", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    const chain = proactor.chain();
    const memory = alloc(64);
    const { address } = memory;
    const read = chain.read(ends.read, memory);
    void chain.nop();
    const submitted = chain.submit();
    memory[Symbol.dispose]();
    await turns();
    using other = alloc(64);
    assert.notEqual(other.address, address);
    put(ends);
    assert.equal(await code(submitted), "ECANCELED");
    assert.equal(await read, 1);
    using again = alloc(64);
    assert.equal(again.address, address);
  });
});
