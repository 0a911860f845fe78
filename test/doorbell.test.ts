import assert from "node:assert/strict";
import { constants } from "node:os";
import { describe, it } from "node:test";
import * as abi from "uring/abi";
import { BelledRing, DEFERRED, turns } from "./support/belled-ring.ts";
import { account, runChild } from "./support/child.ts";
import { openFds, untilFds } from "./support/ring.ts";
import { withShim } from "./support/runtime.ts";
import { mustCall, writesFromThread } from "./support/system.ts";
import { Thread, type ThreadKind } from "./support/thread.ts";

const { EBUSY, EMFILE, ENFILE } = constants.errno;

const RINGS: Readonly<Record<string, number>> = {
  "that brings completions out on entering alone": DEFERRED,
  "that interrupts nothing": abi.IORING_SETUP_COOP_TASKRUN | abi.IORING_SETUP_TASKRUN_FLAG,
  "without flags": 0,
};

/** What has been opened since, once the event loop has closed what it is about to close. */
async function opened(before: readonly string[]): Promise<string[]> {
  const fresh = () => openFds().filter((fd) => !before.includes(fd));
  for (let i = 0; i < 1000 && fresh().length > 0; i++) await turns();
  return fresh();
}

describe("a doorbell", () => {
  for (const [name, flags] of Object.entries(RINGS)) {
    it(`rings once for a byte that a ring reads, ${name}`, async () => {
      using belled = new BelledRing(flags);
      for (let i = 0; i < 3; i++) {
        belled.read(i);
        assert.equal(belled.doorbell.arm(), true);
        belled.write();
        await belled.rung();
        assert.deepEqual(await belled.next(), [i, 1, 0]);
        await turns();
        assert.equal(belled.doorbell.rings, i + 1);
      }
    });

    it(`rings for a byte that another thread writes, ${name}`, async () => {
      using belled = new BelledRing(flags);
      belled.read(1);
      assert.equal(belled.doorbell.arm(), true);
      const writer = writesFromThread(belled.pipe.write, { pauseMs: 20 });
      await belled.rung();
      assert.deepEqual(await belled.next(), [1, 1, 0]);
      assert.equal(writer.join(), 1);
    });

    it(`is not armed where something is there already, ${name}`, async () => {
      using belled = new BelledRing(flags);
      belled.read(1);
      belled.write();
      assert.equal(belled.doorbell.arm(), false);
      assert.equal(belled.ring.pending, true);
      await turns();
      assert.equal(belled.doorbell.rings, 0);
      assert.deepEqual(await belled.next(), [1, 1, 0]);
      assert.equal(belled.ring.pending, false);
      assert.equal(belled.doorbell.arm(), true);
    });

    it(`rings for nothing while it is silent, ${name}`, async () => {
      using belled = new BelledRing(flags);
      belled.read(1);
      assert.equal(belled.doorbell.arm(), true);
      belled.doorbell.silence();
      belled.write();
      await turns();
      assert.equal(belled.doorbell.rings, 0);
      assert.equal(belled.doorbell.arm(), false);
      assert.deepEqual(await belled.next(), [1, 1, 0]);
      assert.equal(belled.doorbell.rings, 0);
    });
  }

  it("tells nothing of a ring that was under way when it was silenced", async () => {
    using belled = new BelledRing();
    belled.read(1);
    belled.doorbell.arm();
    belled.write();
    belled.doorbell.silence();
    await turns();
    assert.equal(belled.doorbell.rings, 0);
  });

  it("calls nothing back once it is closed, and leaves no fd", async () => {
    const before = openFds();
    for (const rung of [false, true]) {
      using belled = new BelledRing();
      belled.read(1);
      belled.doorbell.arm();
      if (rung) belled.write();
      belled.doorbell.close();
      belled.doorbell.close();
      if (!rung) belled.write();
      await turns();
      assert.equal(belled.doorbell.rings, 0);
      // The ring is as it was before: another may have it.
      assert.deepEqual(await belled.next(), [1, 1, 0]);
      belled.read(2);
      belled.doorbell.arm();
      belled.write();
      assert.deepEqual(await belled.next(), [2, 1, 0]);
    }
    {
      // Never armed.
      using _ = new BelledRing();
    }
    await turns();
    assert.deepEqual(await opened(before), []);
  });

  it("closes though its eventfd was unregistered by others", async () => {
    const before = openFds();
    {
      using belled = new BelledRing();
      assert.equal(belled.doorbell.arm(), true);
      belled.ring.unregisterEventfd();
      belled.doorbell.close();
    }
    assert.deepEqual(await opened(before), []);
  });

  it("leaves no fd where it finds no room", async () => {
    const before = openFds();
    for (const [overrides, errno, syscall] of [
      [{ eventfd: () => -EMFILE }, EMFILE, "eventfd2"],
      [{ eventfd: () => -ENFILE }, ENFILE, "eventfd2"],
    ] as const) {
      using belled = new BelledRing();
      withShim(overrides, () => {
        assert.throws(() => belled.doorbell.arm(), { name: "UringError", errno, syscall });
      });
      belled.read(1);
      assert.equal(belled.doorbell.arm(), true);
      belled.write();
      await belled.rung();
      assert.deepEqual(await belled.next(), [1, 1, 0]);
    }
    {
      using belled = new BelledRing();
      const taken = mustCall("eventfd2", 0, 0);
      belled.ring.registerEventfd(taken);
      assert.throws(() => belled.doorbell.arm(), { name: "UringError", errno: EBUSY });
      mustCall("close", taken);
    }
    await turns();
    assert.deepEqual(await opened(before), []);
  });

  it("rings 20,000 times for 20,000 bytes, whenever they come", () => {
    const ended = runChild("doorbell-child.ts", ["many"]);
    assert.deepEqual([ended.status, ended.stdout], [0, "20000\n20000\n"], account(ended));
  });
});

describe("a process", () => {
  for (const [part, promise, printed] of [
    ["unheld", "ends although a doorbell is armed that is not held", ""],
    ["held", "goes on for one that is held, and ends when it is let go", "rung\n"],
    ["toggled", "goes on for one that is held after many times", "rung\n"],
    ["early", "goes on for one that was held before it was armed", "rung\n"],
    ["other", "is told by one that is not held while something else keeps it running", "rung\n"],
    ["closed", "ends when it is closed", ""],
    ["exit", "can exit at any time", ""],
  ] as const) {
    it(promise, () => {
      const ended = runChild(`doorbell-child.ts`, [part], { timeout: 20_000 });
      assert.deepEqual([ended.status, ended.stdout], [0, printed], account(ended));
    });
  }
});

describe("a thread", () => {
  for (const kind of ["Worker", "node:worker_threads"] satisfies ThreadKind[]) {
    it(`has a doorbell of its own, ${kind}`, async () => {
      await using thread = new Thread("doorbell-thread.ts", kind);
      assert.equal(await thread.call("wakes", 1000), 1000);
      assert.equal(await thread.call("wakes", 100), 100);
    });

    it(`can be terminated with one armed, ${kind}`, async () => {
      const before = openFds().length;
      for (let i = 0; i < 5; i++) {
        const thread = new Thread("doorbell-thread.ts", kind);
        const ends = await thread.call<Record<"read" | "write", number>>("leave");
        await thread.terminate();
        writesFromThread(ends.write).join();
        // Nothing closes what the thread's program has opened itself.
        for (const fd of [ends.read, ends.write]) mustCall("close", fd);
      }
      // Engines leave the eventfd of a thread that is terminated open, and open some fds for themselves.
      await untilFds(before + 8);
    });
  }
});
