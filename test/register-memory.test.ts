import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  alloc,
  Ring,
  type RingOptions,
  registerSyncMsg,
  SignalSet,
  UringError,
  type WaitRegion,
} from "uring";
import * as abi from "uring/abi";
import { pipe, underSignals, writeAtSleep } from "./support/harness.ts";
import { entry, exercise, LONG, reap, ringFds, ringMappings, run } from "./support/ring.ts";
import { withShim } from "./support/runtime.ts";

const EINTR = 4;
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

  it("is mapped by the fd, as buffers of the kernel's are, without which there is none", () => {
    using ring = new Ring({ entries: 4, fd: false });
    const none = { name: "TypeError", message: /mapped by the ring's fd/ };
    assert.throws(() => ring.registerRegion(5000), none);
    const flags = abi.IOU_PBUF_RING_MMAP;
    for (const group of [0, 1]) {
      assert.throws(() => ring.setupBufRing({ group, entries: 4, bufferSize: 64, flags }), none);
    }
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
      assert.ok(passed >= least - 0.5 && passed < least + LONG, `${passed} ms`);
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
    // The memory goes on behind the last slot, to the end of a page.
    for (const beyond of [1, 2, 1000, 100_000]) {
      assert.throws(
        () => made.ring.submitAndWaitReg(1, beyond),
        (error) => error instanceof UringError && error.code === "EFAULT",
      );
    }
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

describe("what a ring and its program share", () => {
  it("is refused where it can be no memory, and on a closed ring", () => {
    const ring = new Ring({ entries: 4 });
    for (const wrong of [undefined, null, "4096", {}, new Uint8Array(65536)]) {
      assert.throws(() => ring.registerRegion(wrong as never), TypeError);
    }
    for (const wrong of [-1, 0.5, 2 ** 31 + 1]) assert.throws(() => ring.registerRegion(wrong), RangeError);
    assert.throws(() => ring.registerRegion(65536, 2 ** 32), RangeError);
    for (const wrong of [0, -1, 1.5, 2 ** 21]) {
      assert.throws(() => ring.registerWaitRegion(wrong), RangeError);
    }
    for (const wrong of [-1, 0.5, 2 ** 21]) assert.throws(() => ring.submitAndWaitReg(1, wrong), RangeError);
    assert.throws(() => ring.submitAndWaitReg(-1, 0), RangeError);
    const gone = alloc(65536);
    gone[Symbol.dispose]();
    assert.throws(() => ring.registerRegion(gone), TypeError);
    ring.close();
    const closed = { name: "TypeError", message: "the ring is closed" };
    assert.throws(() => ring.registerRegion(alloc(65536)), closed);
    assert.throws(() => ring.registerRegion(65536), closed);
    assert.throws(() => ring.registerWaitRegion(1), closed);
    assert.throws(() => ring.submitAndWaitReg(1, 0), closed);
  });

  it("of the kernel's is mapped by the ring's fd", () => {
    using ring = new Ring({ entries: 4, fd: false });
    assert.throws(() => ring.registerRegion(65536), { name: "TypeError", message: /by the ring's fd/ });
    assert.equal(ring.registerRegion(alloc(65536)).bytes.length, 65536);
  });

  it("leaves no mapping behind where the kernel does not take it", () => {
    using ring = new Ring({ entries: 4 });
    const before = ringMappings();
    ring.registerRegion(65536);
    for (let i = 0; i < 5; i++) {
      assert.throws(() => ring.registerRegion(65536), fails("EBUSY", /a region already/));
    }
    assert.equal(ringMappings(), before + 1);
  });

  it("can hold waits of the caller's own making", () => {
    using ring = new Ring({ entries: 4, flags: abi.IORING_SETUP_R_DISABLED });
    const memory = alloc(65536);
    ring.registerRegion(memory, abi.IORING_MEM_REGION_REG_WAIT_ARG);
    ring.enableRings();
    const wait = abi.io_uring_reg_wait;
    const view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset);
    view.setBigInt64(3 * wait.sizeof + wait.ts + 8, 2_000_000n, true);
    view.setUint32(3 * wait.sizeof + wait.flags, abi.IORING_REG_WAIT_TS, true);
    assert.equal(ring.submitAndWaitReg(1, 3), -ETIME);
  });
});

describe("a slot for waits", () => {
  const SIGUSR2 = 1n << 11n;

  function waitsOf(count: number): { ring: Ring; waits: WaitRegion } {
    const ring = new Ring({ entries: 4, flags: abi.IORING_SETUP_R_DISABLED });
    const waits = ring.registerWaitRegion(count);
    ring.enableRings();
    return { ring, waits };
  }

  it("says which signals are blocked meanwhile, each its own", () => {
    const { ring, waits } = waitsOf(2);
    waits.set(0, { timeout: 30, sigmask: SIGUSR2 });
    waits.set(1, { timeout: LONG, sigmask: new SignalSet() });
    underSignals(() => {
      assert.equal(ring.submitAndWaitReg(1, 0), -ETIME);
      assert.equal(ring.submitAndWaitReg(1, 1), -EINTR);
    });
    waits.set(0, { timeout: LONG });
    underSignals(() => assert.equal(ring.submitAndWaitReg(1, 0), -EINTR));
    ring.close();
  });

  it("can gather a batch", () => {
    const { ring, waits } = waitsOf(1);
    waits.set(0, { timeout: LONG, minWait: 5 });
    for (let i = 0; i < 2; i++) entry(ring).prepNop().setData64(i);
    const begin = performance.now();
    assert.equal(ring.submitAndWaitReg(8, 0), 2);
    assert.ok(performance.now() - begin < LONG / 2);
    assert.deepEqual(reap(ring, 2), [
      [0, 0, 0],
      [1, 0, 0],
    ]);
    ring.close();
  });

  it("is one of those there are, and takes what a wait takes", () => {
    const { ring, waits } = waitsOf(2);
    assert.equal(waits.length, 2);
    for (const index of [-1, 2, 0.5]) assert.throws(() => waits.set(index, {}), RangeError);
    for (const wrong of [null, undefined, 5]) assert.throws(() => waits.set(0, wrong as never), TypeError);
    for (const timeout of [-1, Number.NaN, Number.POSITIVE_INFINITY]) {
      assert.throws(() => waits.set(0, { timeout }), RangeError);
    }
    assert.throws(() => waits.set(0, { sigmask: new Uint8Array(128) as never }), TypeError);
    assert.throws(() => waits.set(0, { sigmask: 1n << 64n }), RangeError);
    assert.throws(() => waits.set(0, { minWait: -1 }), RangeError);
    ring.close();
    // The memory is other rings' now, or nobody's: it must not be written to.
    assert.throws(() => waits.set(0, { timeout: 1 }), TypeError);
  });
});

describe("the way to a ring", () => {
  /** A ring, and by what it was entered last: its fd, or its place in the thread's table. */
  function watched(options: RingOptions = {}): { ring: Ring; byIndex: () => boolean } {
    let byIndex = false;
    const ring = withShim(
      (real) => ({
        enter(fd, submit, wait, flags, arg, size) {
          byIndex = (flags & abi.IORING_ENTER_REGISTERED_RING) !== 0;
          return real.enter(fd, submit, wait, flags, arg, size);
        },
      }),
      () => new Ring({ entries: 8, ...options }),
    );
    return {
      ring,
      byIndex() {
        run(ring, (sqe) => sqe.prepNop());
        return byIndex;
      },
    };
  }

  it("is the thread's table at first, the fd without it, and either again", () => {
    const { ring, byIndex } = watched();
    assert.equal(byIndex(), true);
    assert.throws(() => ring.registerRingFd(), fails("EEXIST", /has an index already/));
    for (let i = 0; i < 40; i++) {
      ring.unregisterRingFd();
      assert.equal(byIndex(), false);
      assert.throws(() => ring.unregisterRingFd(), fails("EINVAL", /has no index/));
      ring.registerRingFd();
      assert.equal(byIndex(), true);
    }
    exercise(ring);
    assert.deepEqual(ring.close(), { leaked: 0 });
    assert.throws(() => ring.registerRingFd(), { name: "TypeError", message: "the ring is closed" });
    assert.throws(() => ring.unregisterRingFd(), { name: "TypeError", message: "the ring is closed" });
    assert.throws(() => ring.closeRingFd(), { name: "TypeError", message: "the ring is closed" });
  });

  it("can be the table alone: without an fd all goes on", () => {
    for (const memory of ["owned", "mapped"] as const) {
      const before = ringFds();
      using ends = pipe();
      const { ring, byIndex } = watched({ memory });
      const { fd } = ring;
      const got = alloc(4);
      entry(ring).prepRead(ends.read, got, 4, -1).setData64(3);
      ring.submit();
      ring.closeRingFd();
      assert.equal(ring.fd, -1);
      // What is mapped still refers to it, but no fd does.
      assert.equal(ringFds(), before);
      using other = new Ring({ entries: 2 });
      assert.throws(() => registerSyncMsg(fd === other.fd ? 999 : fd, 1, 2), UringError);
      run(other, (sqe) => sqe.prepWrite(ends.write, alloc(4), 4, -1));
      assert.deepEqual(reap(ring, 1), [[3, 4, 0]]);
      assert.equal(byIndex(), true);
      exercise(ring);
      ring.registerBuffers([alloc(64)]);
      ring.unregisterBuffers();
      assert.throws(() => ring.closeRingFd(), fails("EBADF", /has no fd/));
      assert.throws(() => ring.unregisterRingFd(), fails("EBADF", /nothing would reach it/));
      entry(ring).prepRead(ends.read, got, 4, -1);
      ring.submit();
      assert.deepEqual(ring.close(), { leaked: 0 });
    }
  });

  it("can not be given up where it is the only one", () => {
    const { ring } = watched();
    ring.unregisterRingFd();
    assert.throws(() => ring.closeRingFd(), fails("EINVAL", /registerRingFd\(\) first/));
    exercise(ring);
    ring.close();
    using none = new Ring({ entries: 4, fd: false });
    assert.throws(() => none.unregisterRingFd(), fails("EBADF", /nothing would reach it/));
    assert.throws(() => none.closeRingFd(), fails("EBADF", /has no fd/));
  });

  it("by the table is told to be full", () => {
    const rings = Array.from({ length: 17 }, () => watched());
    const last = rings.at(-1) as (typeof rings)[number];
    // This thread may have had rings before, which are closed: the table was empty.
    assert.equal(last.byIndex(), false);
    assert.throws(
      () => last.ring.registerRingFd(),
      fails("EBUSY", /table of rings is full: it has 16 places/),
    );
    rings[3]?.ring.unregisterRingFd();
    last.ring.registerRingFd();
    assert.equal(last.byIndex(), true);
    for (const { ring } of rings) assert.deepEqual(ring.close(), { leaked: 0 });
  });

  it("needs a feature of the kernel's to be the table alone", () => {
    using ring = withShim(
      (real) => ({
        setup(entries, params) {
          const result = real.setup(entries, params);
          const words = new Uint32Array(real.view(params, abi.io_uring_params.sizeof));
          const at = abi.io_uring_params.features / 4;
          words[at] = (words[at] as number) & ~abi.IORING_FEAT_REG_REG_RING;
          return result;
        },
      }),
      () => new Ring({ entries: 4 }),
    );
    assert.throws(() => ring.closeRingFd(), fails("EINVAL", /IORING_FEAT_REG_REG_RING came with Linux 6\.3/));
    exercise(ring);
  });
});
