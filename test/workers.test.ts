// Rings of threads: made there, spoken to from others, handed over, and ended with their thread.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Ring, type RingOptions, type RingTransfer } from "uring";
import * as abi from "uring/abi";
import { account, runChild } from "./support/child.ts";
import { type Completion, exercise, ringFds, Scratch } from "./support/ring.ts";
import type { RingFacts } from "./support/ring-thread.ts";
import { kernelTakes } from "./support/runtime.ts";
import { Thread, type ThreadKind } from "./support/thread.ts";

const KINDS: readonly ThreadKind[] = ["Worker", "node:worker_threads"];
const DEFER = abi.IORING_SETUP_SINGLE_ISSUER | abi.IORING_SETUP_DEFER_TASKRUN;
const ownFdless = kernelTakes(abi.IORING_SETUP_NO_MMAP)
  ? {}
  : { skip: "this kernel has no rings without an fd" };

const range = (count: number, from = 0) => Array.from({ length: count }, (_, i) => from + i);

function ringThread(kind?: ThreadKind): Thread {
  return new Thread("ring-thread.ts", kind);
}

for (const kind of KINDS) {
  describe(`a ring made in a thread (${kind})`, () => {
    it("works there, and has no fd", ownFdless, async () => {
      const before = ringFds();
      await using thread = ringThread(kind);
      for (const options of [{}, { flags: DEFER }, { entries: 1 }]) {
        const { index, fd, flags, memory } = await thread.call<RingFacts>("make", options);
        assert.equal(fd, -1);
        assert.ok((flags & abi.IORING_SETUP_REGISTERED_FD_ONLY) !== 0);
        assert.equal(memory, "owned");
        await thread.call("exercise", index);
        assert.deepEqual(await thread.call("close", index), { leaked: 0 });
      }
      assert.equal(ringFds(), before);
    });

    it("has one where it is asked for, or the memory needs it", async () => {
      await using thread = ringThread(kind);
      for (const options of [{ fd: true }, { memory: "mapped" }, { fd: true, flags: DEFER }]) {
        const { index, fd, flags } = await thread.call<RingFacts>("make", options);
        assert.ok(fd >= 0);
        assert.equal(flags & abi.IORING_SETUP_REGISTERED_FD_ONLY, 0);
        await thread.call("exercise", index);
        assert.deepEqual(await thread.call("close", index), { leaked: 0 });
      }
    });

    it("goes on with an fd when the thread's table of rings is full", ownFdless, async () => {
      await using thread = ringThread(kind);
      const made: RingFacts[] = [];
      for (let i = 0; i < 20; i++) made.push(await thread.call<RingFacts>("make", { entries: 4 }));
      assert.deepEqual(
        made.map(({ fd }) => fd >= 0),
        range(20).map((i) => i >= 16),
      );
      for (const { index } of made) await thread.call("exercise", index);
      for (const { index } of made) assert.deepEqual(await thread.call("close", index), { leaked: 0 });
    });
  });
}

describe("messages between rings of two threads", () => {
  const targets: Record<string, RingOptions> = {
    "a default ring": {},
    "a ring that defers its work": { flags: DEFER },
    "a ring in mapped memory": { memory: "mapped" },
  };
  for (const [name, options] of Object.entries(targets)) {
    it(`carry data to ${name}, which waits for them, and back`, async () => {
      await using one = ringThread();
      await using two = ringThread("node:worker_threads");
      const a = await one.call<RingFacts>("make", { entries: 16, fd: true, flags: options.flags ?? 0 });
      const b = await two.call<RingFacts>("make", { entries: 16, cqEntries: 256, fd: true, ...options });
      const count = 200;
      const arriving = two.call<Completion[]>("receive", b.index, count);
      const sent = await one.call<Completion[]>("send", a.index, b.fd, count, 1000);
      assert.deepEqual(
        sent.map(([, res]) => res),
        range(count).map(() => 0),
      );
      assert.deepEqual(
        await arriving,
        range(count, 1000).map((i) => [2 ** 40 + i, i, 0]),
      );
      const back = one.call<Completion[]>("receive", a.index, 3);
      await two.call("send", b.index, a.fd, 3, 5);
      assert.deepEqual(
        await back,
        [5, 6, 7].map((i) => [2 ** 40 + i, i, 0]),
      );
      assert.deepEqual(await one.call("close", a.index), { leaked: 0 });
      assert.deepEqual(await two.call("close", b.index), { leaked: 0 });
    });

    it(`carry a file to ${name}, which outlives the ring it came from`, async () => {
      using scratch = new Scratch();
      await using one = ringThread();
      await using two = ringThread();
      const a = await one.call<RingFacts>("make", {});
      const b = await two.call<RingFacts>("make", { fd: true, ...options });
      await two.call("fileSlots", b.index, 4);
      const arriving = two.call<Completion[]>("receive", b.index, 1);
      assert.equal(await one.call("sendFile", a.index, b.fd, scratch.file("f", "handed over"), 2), 0);
      assert.deepEqual(await arriving, [[77, 0, 0]]);
      assert.deepEqual(await one.call("close", a.index), { leaked: 0 });
      assert.equal(await two.call("readSlot", b.index, 2), "handed over");
      assert.equal(await two.call("readSlot", b.index, 1), "-9");
      assert.deepEqual(await two.call("close", b.index), { leaked: 0 });
    });
  }
});

describe("a disabled ring that is handed over", () => {
  const rings: Record<string, RingOptions> = {
    "by default": {},
    "with one issuer": { flags: abi.IORING_SETUP_SINGLE_ISSUER },
    "with its work deferred": { flags: DEFER },
    "in mapped memory": { flags: DEFER, memory: "mapped" },
    "with large entries and completions": { flags: abi.IORING_SETUP_SQE128 | abi.IORING_SETUP_CQE32 },
    "with the indirection array and 64 completions": { entries: 2, cqEntries: 64 },
  };
  for (const [name, options] of Object.entries(rings)) {
    for (const kind of KINDS) {
      it(`belongs to the thread that enables it, ${name} (${kind})`, async () => {
        const before = ringFds();
        await using thread = ringThread(kind);
        const flags = (options.flags ?? 0) | abi.IORING_SETUP_R_DISABLED;
        const ring = new Ring({ entries: 8, ...options, flags });
        const transfer = ring.detach();
        assert.equal(ring.closed, true);
        assert.throws(() => ring.getSqe(), { name: "TypeError", message: "the ring is detached" });
        assert.deepEqual(ring.close(), { leaked: 0 });
        const { index, fd } = await thread.call<RingFacts>("adopt", transfer);
        assert.equal(fd, transfer.fd);
        // Another can not have it too, neither there nor here.
        await assert.rejects(thread.call("adopt", transfer), /has been adopted already/);
        assert.throws(() => Ring.adopt(transfer), { name: "TypeError", message: /has been adopted already/ });
        await thread.call("enable", index);
        await thread.call("exercise", index);
        assert.deepEqual(await thread.call("close", index), { leaked: 0 });
        assert.equal(ringFds(), before);
      });
    }

    it(`comes from a thread, which may have ended, ${name}`, async () => {
      const transfer = await (async () => {
        await using thread = ringThread();
        return await thread.call<RingTransfer>("detached", { entries: 8, ...options });
      })();
      using ring = Ring.adopt(transfer);
      ring.enableRings();
      exercise(ring);
    });

    it(`goes from one thread to another, ${name}`, async () => {
      await using one = ringThread();
      await using two = ringThread();
      const transfer = await one.call<RingTransfer>("detached", { entries: 8, ...options });
      const { index } = await two.call<RingFacts>("adopt", transfer);
      await two.call("enable", index);
      await two.call("exercise", index);
      assert.deepEqual(await two.call("close", index), { leaked: 0 });
    });
  }

  it("can be given on, as long as nobody has enabled it", async () => {
    await using thread = ringThread();
    const flags = DEFER | abi.IORING_SETUP_R_DISABLED;
    const first = Ring.adopt(new Ring({ entries: 8, flags }).detach());
    const { index } = await thread.call<RingFacts>("adopt", first.detach());
    await thread.call("enable", index);
    await thread.call("exercise", index);
    assert.deepEqual(await thread.call("close", index), { leaked: 0 });
  });

  it("is refused to leave once it is enabled, in use, or without an fd", () => {
    using enabled = new Ring({ entries: 4 });
    assert.throws(() => enabled.detach(), { name: "TypeError", message: /not yet enabled/ });
    using used = new Ring({ entries: 4, flags: abi.IORING_SETUP_R_DISABLED });
    used.getSqe();
    assert.throws(() => used.detach(), { name: "TypeError", message: /have been handed out/ });
    used.enableRings();
    assert.throws(() => used.detach(), { name: "TypeError", message: /not yet enabled/ });
    const closed = new Ring({ entries: 4, flags: abi.IORING_SETUP_R_DISABLED });
    closed.close();
    assert.throws(() => closed.detach(), { name: "TypeError", message: "the ring is closed" });
  });

  it("made in a thread is in memory that outlives it, or can not leave", ownFdless, async () => {
    await using thread = ringThread();
    const flags = abi.IORING_SETUP_R_DISABLED;
    const { memory, index } = await thread.call<RingFacts>("make", { entries: 4, flags });
    assert.equal(memory, "mapped");
    await thread.call("close", index);
    await assert.rejects(
      thread.call("detached", { entries: 4, memory: "owned" }),
      /own memory can not be handed on: one with memory: "mapped" can/,
    );
  });

  it("without an fd can not leave", ownFdless, () => {
    using ring = new Ring({ entries: 4, fd: false, flags: abi.IORING_SETUP_R_DISABLED });
    assert.throws(() => ring.detach(), { name: "TypeError", message: /without an fd/ });
  });

  it("is not what something else is taken for", () => {
    const good = new Ring({ entries: 4, flags: abi.IORING_SETUP_R_DISABLED }).detach();
    for (const bad of [undefined, null, 3, "ring", {}, { ...good, fd: -1 }, { ...good, claim: undefined }]) {
      assert.throws(() => Ring.adopt(bad as RingTransfer), { name: "TypeError", message: /RingTransfer/ });
    }
    const params = { ...good.params, sqEntries: 2 ** 20 };
    assert.throws(() => Ring.adopt({ ...good, params }), TypeError);
    assert.throws(() => Ring.adopt({ ...good, memory: new SharedArrayBuffer(64) }), TypeError);
    using ring = Ring.adopt(good);
    ring.enableRings();
    exercise(ring);
  });
});

describe("threads that are terminated with operations in flight", () => {
  const parts = {
    rings: "ten of them with ten rings each leave no fd, and nothing is written to memory that was theirs",
    writes: "data that arrives all the while harms nobody",
    adopted: "a ring that was handed to one can be closed by its fd, and writes nowhere any more",
    memory: "what was theirs goes to the next",
  };
  for (const kind of KINDS) {
    for (const [part, promise] of Object.entries(parts)) {
      it(`${promise} (${kind})`, { timeout: 130_000 }, () => {
        const ended = runChild("workers-end-child.ts", [part, kind], { timeout: 120_000 });
        assert.ok(ended.status === 0 && ended.stdout.endsWith("done\n"), account(ended));
      });
    }
  }
});
