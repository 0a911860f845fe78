// The end of a proactor, a thread and a process in the middle of everything.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate, setTimeout } from "node:timers/promises";
import { alloc, Proactor, UringError } from "uring";
import { account, runChild } from "./support/child.ts";
import { DirectFile } from "./support/direct-file.ts";
import { pipe } from "./support/harness.ts";
import { LONG, openFds, untilFds } from "./support/ring.ts";
import type { ThreadKind } from "./support/thread.ts";

const bench = { timeout: 100_000 };
const PATTERN = 0x5a;

/** What a promise was rejected with, as an errno's name; "value" where it was not. */
async function word(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "value";
  } catch (error) {
    return error instanceof UringError ? error.code : String(error);
  }
}

describe("a close with a read past the page cache under way", () => {
  it("lets no write land in memory that was given back", bench, async () => {
    const before = openFds().length;
    {
      const size = 1 << 20;
      using file = new DirectFile(size);
      let underWay = 0;
      let again = 0;
      for (let i = 0; i < 100; i++) {
        const proactor = new Proactor({ entries: 8, cqEntries: 64 });
        const memory = alloc(size);
        const { address } = memory;
        const read = word(proactor.read(file.fd, memory, { offset: 0 }));
        proactor.flush();
        underWay += proactor.inFlight;
        assert.deepEqual(await proactor.close({ deadline: LONG }), { leaked: 0 });
        memory[Symbol.dispose]();
        using other = alloc(size);
        again += Number(other.address === address);
        other.bytes.fill(PATTERN);
        assert.match(await read, /^(value|ECANCELED)$/);
        await setTimeout(2);
        assert.ok(
          other.bytes.every((byte) => byte === PATTERN),
          `round ${i}`,
        );
      }
      assert.ok(underWay > 50, `${underWay} reads were under way`);
      assert.equal(again, 100);
    }
    await untilFds(before);
  });

  it("and no time to wait tells of it, and keeps the memory for good", bench, async () => {
    const size = 64 << 20;
    using file = new DirectFile(size);
    let leaks = 0;
    for (let i = 0; i < 3; i++) {
      const proactor = new Proactor({ entries: 8, cqEntries: 64 });
      const memory = alloc(size);
      const { address, bytes } = memory;
      const read = word(proactor.read(file.fd, memory, { offset: 0 }));
      proactor.flush();
      const { leaked } = await proactor.close({ deadline: 0 });
      memory[Symbol.dispose]();
      using other = alloc(size);
      if (leaked === 0) continue;
      leaks++;
      assert.equal(await read, "ECANCELED");
      assert.notEqual(other.address, address);
      other.bytes.fill(PATTERN);
      // The kernel goes on: what it writes is seen where nobody else looks.
      for (let j = 0; j < LONG && bytes[size - 1] !== DirectFile.BYTE; j++) await setTimeout(1);
      assert.equal(bytes[size - 1], DirectFile.BYTE);
      assert.ok(other.bytes.every((byte) => byte === PATTERN));
    }
    assert.ok(leaks > 0);
  });
});

describe("a close", () => {
  it("whose receivers throw ends everything", bench, () => {
    const ended = runChild("proactor-close-child.ts", ["throwing"], { timeout: 30_000 });
    assert.equal(ended.stdout, "10 caught, leaked 0\ndone\n", account(ended));
    assert.equal(ended.status, 0);
  });

  it("asked for again, even from a continuation of what it ends, is the same", bench, async () => {
    const before = openFds().length;
    const ends = pipe();
    const proactor = new Proactor();
    const { ring } = proactor;
    using memory = alloc(8);
    const again = word(proactor.read(ends.read, memory)).then(async (why) => {
      const closed = await proactor.close();
      return { why, closed, open: !ring.closed };
    });
    await setImmediate();
    const first = proactor.close();
    assert.deepEqual(await proactor.close(), { leaked: 0 });
    assert.ok(ring.closed);
    assert.deepEqual(await again, { why: "ECANCELED", closed: { leaked: 0 }, open: false });
    assert.deepEqual(await first, { leaked: 0 });
    ends[Symbol.dispose]();
    await untilFds(before);
  });
});

describe("in the middle of everything a process", () => {
  for (const [program, what, status, signal] of [
    ["exit", "ends with its exit code", 7, null],
    ["interrupted", "is ended by SIGINT", null, "SIGINT"],
    ["uncaught", "ends with what nobody catches", 1, null],
  ] as const) {
    it(what, bench, () => {
      const ended = runChild("proactor-close-child.ts", [program], { timeout: 60_000 });
      assert.deepEqual([ended.status, ended.signal], [status, signal], account(ended));
    });
  }

  for (const kind of ["Worker", "node:worker_threads"] as readonly ThreadKind[]) {
    it(`terminates threads, which leave no rings and no writes behind (${kind})`, bench, () => {
      const ended = runChild("proactor-close-child.ts", ["threads", kind], { timeout: 90_000 });
      assert.ok(ended.status === 0 && ended.stdout.endsWith("done\n"), account(ended));
    });
  }
});

describe("a proactor that was closed", () => {
  it("is let go of", bench, () => {
    const ended = runChild("proactor-close-child.ts", ["closed"], { timeout: 60_000 });
    assert.ok(ended.status === 0 && ended.stdout.endsWith("done\n"), account(ended));
  });
});

describe("promises that nobody keeps", () => {
  it("settle, and hold what they were given until then", bench, () => {
    const ended = runChild("proactor-close-child.ts", ["dropped"], { timeout: 60_000 });
    assert.ok(ended.status === 0 && ended.stdout.endsWith("done\n"), account(ended));
  });
});
