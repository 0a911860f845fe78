import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { alloc, type Pinned, Ring } from "uring";
import * as abi from "uring/abi";
import { pipe } from "./support/harness.ts";
import { entry, LONG, reap, run, text } from "./support/ring.ts";

const ENXIO = 6;
const EFAULT = 14;
const EBUSY = 16;
const EINVAL = 22;
const EOVERFLOW = 75;
const NAMES = {
  [ENXIO]: "ENXIO",
  [EFAULT]: "EFAULT",
  [EBUSY]: "EBUSY",
  [EINVAL]: "EINVAL",
  [EOVERFLOW]: "EOVERFLOW",
};

function refuses(errno: keyof typeof NAMES, call: () => unknown): void {
  assert.throws(call, { name: "UringError", errno, code: NAMES[errno], syscall: "io_uring_register" });
}

function memory(bytes: number, content = ""): Pinned {
  const pinned = alloc(bytes);
  pinned.bytes.set(new TextEncoder().encode(content));
  return pinned;
}

/** Sends `content`, which is in the buffer at `from`, through a pipe into the buffer at `to`, unless that fails; both results. */
function carry(
  ring: Ring,
  from: [number, Pinned | Uint8Array],
  to: [number, Pinned | Uint8Array],
  length: number,
): [number, number] {
  using ends = pipe();
  const written = run(ring, (sqe) => sqe.prepWriteFixed(ends.write, from[1], length, -1, from[0]));
  if (written < 0) return [written, 0];
  return [written, run(ring, (sqe) => sqe.prepReadFixed(ends.read, to[1], length, -1, to[0]))];
}

describe("registered buffers", () => {
  it("are read and written by index, at the address given", () => {
    using ring = new Ring({ entries: 4 });
    const buffers = [memory(4096, "0123456789"), memory(4096), memory(100)] as const;
    ring.registerBuffers(buffers);
    assert.deepEqual(carry(ring, [0, buffers[0]], [2, buffers[2].slice(90)], 10), [10, 10]);
    assert.equal(text(buffers[2].slice(90), 10), "0123456789");
    assert.ok(buffers[1].bytes.every((byte) => byte === 0));
  });

  it("can be the caller's views, small ones too", () => {
    using ring = new Ring({ entries: 4 });
    const from = new TextEncoder().encode("view");
    const to = new Uint8Array(new ArrayBuffer(100_000));
    ring.registerBuffers([from, to.subarray(99_000)]);
    assert.deepEqual(carry(ring, [0, from], [1, to.subarray(99_100)], 4), [4, 4]);
    assert.equal(text(to.subarray(99_100), 4), "view");
  });

  it("are refused beyond their bounds, by another's index, and in empty slots", () => {
    using ring = new Ring({ entries: 4 });
    const whole = memory(8192);
    ring.registerBuffers([whole.slice(0, 4096), null, memory(16)]);
    using ends = pipe();
    const read = (at: Pinned, index: number) =>
      run(ring, (sqe) => sqe.prepReadFixed(ends.read, at, 16, -1, index));
    assert.equal(read(whole.slice(4090), 0), -EFAULT);
    assert.equal(read(whole, 2), -EFAULT);
    assert.equal(read(whole, 1), -EFAULT);
    assert.equal(read(whole, 3), -EFAULT);
  });

  it("are there once: no second table, no second end", () => {
    using ring = new Ring({ entries: 4 });
    refuses(ENXIO, () => ring.unregisterBuffers());
    ring.registerBuffers([memory(10)]);
    refuses(EBUSY, () => ring.registerBuffers([memory(10)]));
    refuses(EBUSY, () => ring.registerBuffersSparse(4));
    ring.unregisterBuffers();
    refuses(ENXIO, () => ring.unregisterBuffers());
    ring.registerBuffersSparse(4);
    ring.unregisterBuffers();
    refuses(EINVAL, () => ring.registerBuffers([]));
    refuses(EINVAL, () => ring.registerBuffersSparse(0));
    refuses(EINVAL, () => ring.registerBuffersSparse(16385));
  });

  it("say what is wrong before the kernel is asked", () => {
    using ring = new Ring({ entries: 4 });
    const wrong = (value: unknown) => value as never;
    assert.throws(() => ring.registerBuffers(wrong("x")), TypeError);
    assert.throws(() => ring.registerBuffers([wrong(4096)]), TypeError);
    assert.throws(() => ring.registerBuffers([wrong({ address: 1, byteLength: 1 })]), TypeError);
    assert.throws(() => ring.registerBuffersTags([memory(8)], []), RangeError);
    assert.throws(() => ring.registerBuffersTags([memory(8)], [-1]), RangeError);
    assert.throws(() => ring.registerBuffersTags([memory(8)], [1n << 64n]), RangeError);
    assert.throws(() => ring.registerBuffersTags([memory(8)], [wrong("1")]), TypeError);
    assert.throws(() => ring.registerBuffersSparse(-1), RangeError);
    assert.throws(() => ring.registerBuffersUpdateTag(0.5, []), RangeError);
    assert.throws(() => ring.cloneBuffers(wrong({})), TypeError);
    assert.throws(() => ring.cloneBuffers(-1), RangeError);
    const gone = memory(8);
    gone[Symbol.dispose]();
    assert.throws(() => ring.registerBuffers([gone]), TypeError);
    refuses(ENXIO, () => ring.unregisterBuffers());
    ring.close();
    assert.throws(() => ring.registerBuffers([memory(8)]), TypeError);
  });

  it("outlive a dispose that comes too early", () => {
    using ring = new Ring({ entries: 4 });
    const early = memory(4096, "early");
    const { address } = early;
    const to = memory(16);
    ring.registerBuffers([early, to]);
    early[Symbol.dispose]();
    using ends = pipe();
    assert.equal(
      run(ring, (sqe) => sqe.prepWriteFixed(ends.write, address, 5, -1, 0)),
      5,
    );
  });

  it("fill a sparse table slot by slot", () => {
    using ring = new Ring({ entries: 4 });
    ring.registerBuffersSparse(4);
    const a = memory(64, "sparse");
    const b = memory(64);
    assert.deepEqual(carry(ring, [1, a], [2, b], 6)[0], -EFAULT);
    assert.equal(ring.registerBuffersUpdateTag(1, [a, b]), 2);
    assert.deepEqual(carry(ring, [1, a], [2, b], 6), [6, 6]);
    assert.equal(text(b, 6), "sparse");
    assert.equal(ring.registerBuffersUpdateTag(1, [undefined]), 1);
    assert.deepEqual(carry(ring, [1, a], [2, b], 6)[0], -EFAULT);
    refuses(EINVAL, () => ring.registerBuffersUpdateTag(4, [a]));
    refuses(EINVAL, () => ring.registerBuffersUpdateTag(3, [a, b]));
    // An empty slot takes no tag: the update ends before it, and says so.
    assert.equal(ring.registerBuffersUpdateTag(0, [a, null, b], [0, 7, 8]), 1);
    assert.equal(
      ring.drain(() => {}),
      0,
    );
  });
});

describe("tags of buffers", () => {
  it("come as completions when the buffer is released", () => {
    using ring = new Ring({ entries: 4 });
    ring.registerBuffersTags([memory(8), memory(8), memory(8), null], [11, 0, 2n ** 53n, 0]);
    assert.equal(ring.inFlight, 2);
    assert.equal(ring.registerBuffersUpdateTag(0, [memory(8), memory(8)], [44, 55]), 2);
    assert.deepEqual(reap(ring, 1), [[11, 0, 0]]);
    ring.unregisterBuffers();
    assert.deepEqual(
      reap(ring, 3).sort(([a], [b]) => a - b),
      [
        [44, 0, 0],
        [55, 0, 0],
        [2 ** 53, 0, 0],
      ],
    );
    assert.equal(ring.inFlight, 0);
  });

  it("have all of 64 bits", () => {
    using ring = new Ring({ entries: 4 });
    ring.registerBuffersTags([memory(8)], [0xfedc_ba98_7654_3210n]);
    ring.unregisterBuffers();
    assert.equal(ring.waitCqe({ timeout: LONG })?.userData64, 0xfedc_ba98_7654_3210n);
    ring.cqAdvance(1);
  });

  it("come after the last operation on the buffer", () => {
    using ring = new Ring({ entries: 4 });
    using ends = pipe();
    const buffer = memory(64);
    ring.registerBuffersTags([buffer], [2]);
    entry(ring).prepReadFixed(ends.read, buffer, 64, -1, 0).setData64(100);
    assert.equal(ring.submit(), 1);
    assert.equal(ring.registerBuffersUpdateTag(0, [null]), 1);
    assert.equal(
      ring.drain(() => {}),
      0,
    );
    entry(ring).prepWrite(ends.write, memory(5, "after"), 5, -1).setData64(1);
    const order = reap(ring, 3).filter(([userData]) => userData !== 1);
    assert.deepEqual(order, [
      [100, 5, 0],
      [2, 0, 0],
    ]);
    assert.equal(text(buffer, 5), "after");
  });

  it("are not promised by a call that failed", () => {
    using ring = new Ring({ entries: 4 });
    refuses(EINVAL, () => ring.registerBuffersTags([memory(8), null], [1, 2]));
    assert.equal(ring.inFlight, 0);
    assert.equal(ring.submitAndWait(1, { timeout: 5 }), -62);
    assert.equal(
      ring.drain(() => {}),
      0,
    );
  });

  it("do not end the hold on what other operations use", () => {
    using ring = new Ring({ entries: 4 });
    using ends = pipe();
    ring.registerBuffersTags([memory(8)], [1]);
    entry(ring).prepRead(ends.read, new Uint8Array(100), 100, -1).setData64(2);
    ring.submit();
    ring.unregisterBuffers();
    assert.deepEqual(reap(ring, 1), [[1, 0, 0]]);
    assert.equal(ring.inFlight, 1);
  });

  it("do not keep a ring from closing", () => {
    const ring = new Ring({ entries: 4 });
    ring.registerBuffersTags([memory(8), memory(8)], [1, 2]);
    assert.deepEqual(ring.close(), { leaked: 0 });
  });
});

const probe = new Ring({ entries: 1 });
const cloning = (() => {
  try {
    probe.cloneBuffers(probe);
  } catch (error) {
    return (error as { code: string }).code === "EINVAL"
      ? { skip: "cloning came with Linux 6.12, ranges with 6.13" }
      : {};
  } finally {
    probe.close();
  }
  return {};
})();

describe("cloned buffers", () => {
  it("are the whole table of another ring", cloning, () => {
    using source = new Ring({ entries: 4 });
    using ring = new Ring({ entries: 4 });
    refuses(ENXIO, () => ring.cloneBuffers(source));
    const a = memory(64, "cloned");
    const b = new Uint8Array(64);
    source.registerBuffersTags([a, null, b], [9, 0, 0]);
    ring.cloneBuffers(source);
    assert.deepEqual(carry(ring, [0, a], [2, b], 6), [6, 6]);
    assert.equal(text(b, 6), "cloned");
    refuses(EBUSY, () => ring.cloneBuffers(source));
    ring.unregisterBuffers();
    assert.equal(carry(ring, [0, a], [2, b], 6)[0], -EFAULT);
    refuses(ENXIO, () => ring.unregisterBuffers());
    assert.deepEqual(carry(source, [0, a], [2, b], 6), [6, 6]);
    // The tag stayed with the source.
    assert.equal(
      ring.drain(() => {}),
      0,
    );
    source.unregisterBuffers();
    assert.deepEqual(reap(source, 1), [[9, 0, 0]]);
  });

  it("outlive their source", cloning, () => {
    using ring = new Ring({ entries: 4 });
    const b = new Uint8Array(100_000);
    {
      using source = new Ring({ entries: 4 });
      source.registerBuffers([memory(64), b]);
      ring.cloneBuffers(source.fd);
      ring.unregisterBuffers();
      ring.cloneBuffers(source);
    }
    b.set(new TextEncoder().encode("still here"));
    assert.deepEqual(carry(ring, [1, b], [1, b.subarray(50_000)], 10), [10, 10]);
    assert.equal(text(b.subarray(50_000), 10), "still here");
  });

  it("are ranges of a table, replaced only where that is asked for", cloning, () => {
    using source = new Ring({ entries: 4 });
    using ring = new Ring({ entries: 4 });
    const buffers = Array.from({ length: 8 }, (_, i) => memory(64, `buffer ${i}`));
    const to = memory(64);
    const at = (i: number) => buffers[i] as Pinned;
    source.registerBuffers(buffers);
    ring.cloneBuffersOffset(source, 0, 4, 4);
    const reads = (index: number, buffer: Pinned) => carry(ring, [index, buffer], [index, buffer], 8)[0];
    assert.equal(reads(0, at(4)), 8);
    assert.equal(reads(3, at(7)), 8);
    assert.equal(reads(4, at(0)), -EFAULT);
    refuses(EBUSY, () => ring.cloneBuffersOffset(source, 0, 0, 1));
    ring.cloneBuffersOffset(source, 2, 0, 8, abi.IORING_REGISTER_DST_REPLACE);
    assert.equal(reads(1, at(5)), 8);
    assert.equal(reads(2, at(0)), 8);
    assert.equal(reads(9, at(7)), 8);
    assert.equal(reads(10, to), -EFAULT);
    ring.cloneBuffersOffset(ring, 1, 0, 1, abi.IORING_REGISTER_DST_REPLACE);
    assert.equal(reads(1, at(4)), 8);
    refuses(EINVAL, () => ring.cloneBuffersOffset(source, 0, 0, 9, abi.IORING_REGISTER_DST_REPLACE));
    refuses(EOVERFLOW, () => ring.cloneBuffersOffset(source, 0, 5, 4, abi.IORING_REGISTER_DST_REPLACE));
    refuses(EOVERFLOW, () =>
      ring.cloneBuffersOffset(source, 0xffff_fffe, 0, 4, abi.IORING_REGISTER_DST_REPLACE),
    );
    refuses(EINVAL, () => ring.cloneBuffers(source, 0x80));
  });

  it("come from a ring that has no fd, too", cloning, () => {
    using source = new Ring({ entries: 4, flags: abi.IORING_SETUP_REGISTERED_FD_ONLY });
    using ring = new Ring({ entries: 4 });
    const a = memory(64, "no fd");
    source.registerBuffers([a]);
    ring.cloneBuffers(source);
    assert.deepEqual(carry(ring, [0, a], [0, a.slice(32)], 5), [5, 5]);
    source.close();
    assert.throws(() => ring.cloneBuffers(source), TypeError);
  });
});
