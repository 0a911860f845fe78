import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { alloc, defaultProactor, Proactor } from "uring";
import { account, runChild } from "./support/child.ts";
import { pipe } from "./support/harness.ts";
import { code, reason } from "./support/rejections.ts";
import { bytes, range } from "./support/ring.ts";
import { mustCall, writesFromThread } from "./support/system.ts";

const bench = { timeout: 60_000 };
const byte = bytes("x");

describe("run()", () => {
  it("ends when nothing is in flight", bench, async () => {
    await using proactor = new Proactor();
    await proactor.run();
    let done = 0;
    for (let i = 0; i < 1000; i++) void proactor.nop().then(() => done++);
    await proactor.run();
    assert.equal(done, 1000);
  });

  it("waits in the kernel, where nothing rings", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    const got = alloc(1);
    let reads = 0;
    const serve = async () => {
      for (; reads < 100; reads++) assert.equal(await proactor.read(ends.read, got), 1);
    };
    const served = serve();
    const writer = writesFromThread(ends.write, { count: 100, pauseMs: 1 });
    await proactor.run();
    assert.equal(reads, 100);
    await served;
    assert.equal(writer.join(), 100);
    assert.equal(proactor.counters.wakes, 0);
  });

  it("lets promises go on however deep they are", bench, async () => {
    await using proactor = new Proactor();
    const deep = async (depth: number): Promise<number> => {
      if (depth === 0) return await proactor.nop();
      await Promise.resolve();
      return (await deep(depth - 1)) + 1;
    };
    let result = 0;
    const all = (async () => {
      for (let i = 0; i < 10; i++) {
        await proactor.nop();
        result += await deep(100);
      }
    })();
    await proactor.run();
    assert.equal(result, 1000);
    await all;
  });

  it("ends when a promise settles, as that does", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    const read = proactor.read(ends.read, alloc(1));
    assert.equal(await proactor.run({ until: proactor.nop() }), undefined);
    assert.equal(proactor.inFlight, 1);
    const why = new Error("enough");
    assert.equal(await reason(proactor.run({ until: proactor.nop().then(() => Promise.reject(why)) })), why);
    await proactor.run({ until: Promise.resolve() });
    // What is in flight goes on as ever.
    mustCall("write", ends.write, byte.address, 1);
    assert.equal(await read, 1);
    assert.equal(proactor.counters.wakes, 1);
  });

  it("ends when a signal is aborted", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    const read = proactor.read(ends.read, alloc(1));
    await proactor.run({ until: AbortSignal.abort() });
    const controller = new AbortController();
    void proactor.nop().then(() => controller.abort());
    await proactor.run({ until: controller.signal });
    assert.equal(proactor.inFlight, 1);
    mustCall("write", ends.write, byte.address, 1);
    await read;
  });

  it("serves the runtime's timers at least each slice", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    const read = proactor.read(ends.read, alloc(1));
    const begun = performance.now();
    let late = 0;
    const ticks = range(5).map(
      (i) =>
        new Promise<void>((resolve) => {
          setTimeout(
            () => {
              late = Math.max(late, performance.now() - begun - 20 * (i + 1));
              resolve();
            },
            20 * (i + 1),
          );
        }),
    );
    await proactor.run({ until: Promise.all(ticks), slice: 5 });
    assert.ok(late < 1000, `${late} ms late`);
    setTimeout(() => mustCall("write", ends.write, byte.address, 1), 10);
    await proactor.run({ slice: 5 });
    assert.equal(await read, 1);
  });

  it("is refused within and beside itself", bench, async () => {
    await using proactor = new Proactor();
    let within: unknown;
    void proactor.nop().then(async () => {
      within = await reason(proactor.run());
    });
    const first = proactor.run();
    assert.match(String(await reason(proactor.run())), /TypeError: the proactor runs already/);
    await first;
    assert.match(String(within), /TypeError: the proactor runs already/);
    await proactor.run();
    for (const slice of [-1, Number.NaN])
      assert.ok((await reason(proactor.run({ slice }))) instanceof RangeError);
  });

  it("ends when the proactor is closed", bench, async () => {
    const proactor = new Proactor();
    using ends = pipe();
    const read = proactor.read(ends.read, alloc(1));
    let closing: Promise<unknown> | undefined;
    void proactor.nop().then(() => {
      closing = proactor.close();
    });
    const rejected = code(read);
    await proactor.run();
    assert.equal(await rejected, "ECANCELED");
    assert.deepEqual(await closing, { leaked: 0 });
    await proactor.run();
  });

  it("serves callers who need no promises, whatever they call meanwhile", bench, async () => {
    await using proactor = new Proactor();
    let left = 1000;
    const receiver = {
      complete() {
        if (--left <= 0) return;
        proactor.entry(receiver)?.prepNop();
        proactor.flush();
      },
    };
    proactor.entry(receiver)?.prepNop();
    await proactor.run();
    assert.equal(left, 0);
  });

  for (const [part, status, printed] of [
    ["driven", 0, "served\nwakes 0\n"],
    ["exit", 3, ""],
  ] as const) {
    it(`in a process of its own: ${part}`, () => {
      const ended = runChild("run-child.ts", [part], { timeout: 20_000 });
      assert.deepEqual([ended.status, ended.stdout], [status, printed], account(ended));
    });
  }
});

describe("the default proactor", () => {
  it("is one, until it is closed", bench, async () => {
    const proactor = defaultProactor();
    assert.equal(defaultProactor(), proactor);
    assert.equal(await proactor.nop(), 0);
    await proactor.close();
    const next = defaultProactor();
    assert.notEqual(next, proactor);
    assert.equal(await next.nop(), 0);
    await next.close();
  });
});
