import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { alloc, Ring, registerSyncMsg, UringError } from "uring";
import * as abi from "uring/abi";
import { pipe, writeAtSleep } from "./support/harness.ts";
import { entry, reap, ringMappings } from "./support/ring.ts";

const ETIME = 62;

/** What a `UringError` of a call of io_uring_register says. */
function fails(code: string, hint: RegExp): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof UringError, String(error));
    assert.deepEqual([error.code, error.syscall], [code, "io_uring_register"]);
    assert.match(error.message, hint);
    return true;
  };
}

describe("a region of memory", () => {
  it("is the caller's own, one a ring", () => {
    using ring = new Ring({ entries: 4 });
    const memory = alloc(65536);
    const region = ring.registerRegion(memory);
    assert.equal(region.bytes.length, 65536);
    region.bytes[7] = 9;
    assert.equal(memory.bytes[7], 9);
    assert.throws(() => ring.registerRegion(memory), fails("EBUSY", /a region already/));
  });

  it("or the kernel's, mapped as long as the ring is open", () => {
    const ring = new Ring({ entries: 4 });
    const before = ringMappings();
    const region = ring.registerRegion(5000);
    const { bytes } = region;
    assert.equal(bytes.length, 5000);
    assert.ok(bytes.every((byte) => byte === 0));
    bytes.fill(1);
    assert.equal(ringMappings(), before + 1);
    ring.close();
    assert.equal(bytes.length, 0);
    assert.equal(ringMappings(), before);
  });

  it("has to be whole pages", () => {
    using ring = new Ring({ entries: 4 });
    assert.throws(() => ring.registerRegion(alloc(65536).slice(0, 1000)), fails("EINVAL", /page/));
    assert.throws(() => ring.registerRegion(0), RangeError);
  });
});

describe("registered waits", () => {
  function ringWithWaits(count: number) {
    const ring = new Ring({ entries: 4, flags: abi.IORING_SETUP_R_DISABLED });
    const waits = ring.registerWaitRegion(count);
    ring.enableRings();
    return { ring, waits, [Symbol.dispose]: () => ring.close() };
  }

  it("end when the time of their slot is up", () => {
    using made = ringWithWaits(3);
    const { ring, waits } = made;
    waits.set(0, { timeout: 5 });
    waits.set(2, { timeout: 60 });
    for (const [index, least] of [
      [0, 5],
      [2, 60],
      [0, 5],
    ] as const) {
      const started = performance.now();
      assert.equal(ring.submitAndWaitReg(1, index), -ETIME);
      const passed = performance.now() - started;
      assert.ok(passed >= least - 0.5 && passed < least + 1000, `${passed} ms`);
    }
  });

  it("end with the completion that comes, and submit", () => {
    using made = ringWithWaits(2);
    using ends = pipe();
    made.waits.set(0, { timeout: 10_000 });
    made.waits.set(1, {});
    for (const index of [0, 1]) {
      const memory = alloc(1);
      entry(made.ring).prepRead(ends.read, memory, 1, -1).setData64(index);
      assert.equal(
        writeAtSleep(ends.write, () => made.ring.submitAndWaitReg(1, index)),
        1,
      );
      assert.deepEqual(reap(made.ring, 1), [[index, 1, 0]]);
      assert.equal(String.fromCharCode(memory.bytes[0] as number), "x");
    }
  });

  it("are a slot of the region, which a ring has from before it was enabled", () => {
    using made = ringWithWaits(1);
    assert.throws(
      () => made.ring.submitAndWaitReg(1, 100_000),
      (error) => error instanceof UringError && error.code === "EFAULT",
    );
    using ring = new Ring({ entries: 4 });
    assert.throws(() => ring.registerWaitRegion(1), fails("EINVAL", /IORING_SETUP_R_DISABLED|enabled/));
    assert.throws(() => ring.submitAndWaitReg(1, 0), UringError);
  });
});

describe("a message without a ring", () => {
  it("is a completion with the data and the length given, and the flags", () => {
    using ring = new Ring({ entries: 4 });
    registerSyncMsg(ring, 7, 42);
    registerSyncMsg(ring.fd, 8, 2n ** 53n, 0, 0x10000);
    assert.deepEqual(reap(ring, 2), [
      [42, 7, 0],
      [2 ** 53, 8, 0x10000],
    ]);
  });

  it("goes to rings alone that are enabled", () => {
    using ends = pipe();
    assert.throws(() => registerSyncMsg(ends.read, 1, 2), fails("EBADFD", /no ring/));
    using ring = new Ring({ entries: 4, flags: abi.IORING_SETUP_R_DISABLED });
    assert.throws(() => registerSyncMsg(ring, 1, 2), fails("EBADFD", /disabled/));
  });
});
