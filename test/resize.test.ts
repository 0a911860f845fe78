// Rings that change their size in the middle of everything.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { alloc, encodeTimespec, Ring, type RingOptions, UringError } from "uring";
import * as abi from "uring/abi";
import { pipe, writeFromThread } from "./support/harness.ts";
import { Random } from "./support/random.ts";
import {
  bytes,
  type Completion,
  entry,
  exercise,
  LONG,
  mappings,
  reap,
  ringFds,
  run,
  submitAll,
  text,
} from "./support/ring.ts";
import { kernelTakes, withShim } from "./support/runtime.ts";

const EINVAL = 22;
const ENOMEM = 12;
const EOVERFLOW = 75;
const NAMES = { [EINVAL]: "EINVAL", [ENOMEM]: "ENOMEM", [EOVERFLOW]: "EOVERFLOW" };

const DEFER = abi.IORING_SETUP_SINGLE_ISSUER | abi.IORING_SETUP_DEFER_TASKRUN;

const canResize = (() => {
  using ring = new Ring({ entries: 2, flags: DEFER });
  try {
    ring.resizeRings({ entries: 4 });
    return {};
  } catch (error) {
    if (error instanceof UringError && error.code === "EINVAL")
      return { skip: "resizing came with Linux 6.13" };
    throw error;
  }
})();

const kinds: Record<string, RingOptions> = {
  "in memory of the process": { memory: "owned" },
  "in mapped memory": { memory: "mapped" },
  "with large entries": { memory: "owned", flags: abi.IORING_SETUP_SQE128 },
  "with large completions, mapped": { memory: "mapped", flags: abi.IORING_SETUP_CQE32 },
  "with large entries and completions": {
    memory: "owned",
    flags: abi.IORING_SETUP_SQE128 | abi.IORING_SETUP_CQE32,
  },
  ...(kernelTakes(abi.IORING_SETUP_CQE_MIXED)
    ? { "with completions of mixed sizes": { memory: "owned" as const, flags: abi.IORING_SETUP_CQE_MIXED } }
    : {}),
  ...(kernelTakes(abi.IORING_SETUP_NO_MMAP) ? { "without an fd": { fd: false } } : {}),
};

function resizable(options: RingOptions, entries: number, cqEntries?: number): Ring {
  return new Ring({
    ...options,
    entries,
    ...(cqEntries === undefined ? {} : { cqEntries }),
    flags: (options.flags ?? 0) | DEFER,
  });
}

function refuses(errno: keyof typeof NAMES, call: () => unknown, message = /./): void {
  assert.throws(call, {
    name: "UringError",
    errno,
    code: NAMES[errno],
    syscall: "io_uring_register",
    message,
  });
}

const range = (count: number, from = 0) => Array.from({ length: count }, (_, i) => from + i);

function nops(ring: Ring, count: number, from: number): void {
  for (let i = 0; i < count; i++)
    entry(ring)
      .prepNop()
      .setData64(from + i);
}

/** The `userData` of every completion that is ready. */
function drained(ring: Ring): number[] {
  const seen: number[] = [];
  ring.drain((userData) => seen.push(userData));
  return seen;
}

for (const [name, options] of Object.entries(kinds)) {
  describe(`a ring that is resized, ${name}`, canResize, () => {
    it("has the sizes asked for, and works as before", () => {
      using ring = resizable(options, 8);
      const { flags } = ring.params;
      const features = ring.features;
      // A large completion and the filler before it have to fit into a queue of mixed sizes.
      const least = (flags & abi.IORING_SETUP_CQE_MIXED) !== 0 ? 4 : 2;
      const sizes: [entries: number | undefined, cqEntries: number | undefined, number, number][] = [
        [64, undefined, 64, 128],
        [64, 1024, 64, 1024],
        [undefined, 256, 64, 256],
        [1, undefined, 1, least],
        [5, 100, 8, 128],
        [undefined, undefined, 8, 16],
        [4096, 8192, 4096, 8192],
        [2, 2, 2, least],
      ];
      for (const [entries, cqEntries, sq, cq] of sizes) {
        ring.resizeRings({
          ...(entries === undefined ? {} : { entries }),
          ...(cqEntries === undefined ? {} : { cqEntries }),
        });
        const { params } = ring;
        assert.deepEqual([params.sqEntries, params.cqEntries], [sq, cq]);
        assert.equal(params.flags, flags);
        assert.equal(ring.features, features);
        assert.equal(ring.memory, options.memory ?? "owned");
        assert.deepEqual([ring.sqReady, ring.sqSpaceLeft, ring.cqReady, ring.inFlight], [0, sq, 0, 0]);
        exercise(ring);
      }
    });

    it("keeps what is in flight, what waits to be read, and what waits to be submitted", () => {
      for (const [from, to] of [
        [8, 64],
        [64, 8],
        [16, 16],
      ] as const) {
        using ends = pipe();
        using others = pipe();
        using ring = resizable(options, from, 64);
        // Somewhere in the middle of both queues.
        for (let i = 0; i < 5; i++) run(ring, (sqe) => sqe.prepNop());
        const memory = alloc(64);
        const view = new Uint8Array(2000);
        entry(ring).prepRead(ends.read, memory, 4, -1).setData64(1000);
        entry(ring).prepRead(others.read, view, 2000, -1).setData64(1001);
        entry(ring).prepTimeout(encodeTimespec(1), 0, 0).setData64(1002);
        nops(ring, 3, 0);
        assert.equal(ring.submit(), 6);
        nops(ring, 4, 10);
        const { sqReady, cqReady, inFlight } = ring;
        ring.resizeRings({ entries: to, cqEntries: 128 });
        assert.deepEqual([ring.sqReady, ring.cqReady, ring.inFlight], [sqReady, cqReady, inFlight]);
        assert.equal(ring.submit(), 4);
        using other = new Ring({ entries: 2 });
        assert.equal(
          run(other, (sqe) => sqe.prepWrite(ends.write, bytes("four"), 4, -1)),
          4,
        );
        assert.equal(
          run(other, (sqe) => sqe.prepWrite(others.write, bytes("and more"), 8, -1)),
          8,
        );
        const all = reap(ring, 10);
        const at = (userData: number) => all.find(([each]) => each === userData);
        assert.deepEqual(
          all.map(([userData]) => userData).filter((userData) => userData < 1000),
          [0, 1, 2, 10, 11, 12, 13],
        );
        assert.deepEqual(at(1000), [1000, 4, 0]);
        assert.deepEqual(at(1001), [1001, 8, 0]);
        assert.deepEqual(at(1002), [1002, -62, 0]);
        assert.equal(text(memory, 4), "four");
        assert.equal(text(view, 8), "and more");
      }
    });

    it("goes on through any number of sizes, and loses nothing", () => {
      const random = new Random(17);
      using ring = resizable(options, 16, 256);
      let prepared = 0;
      let submitted = 0;
      const expected: number[] = [];
      const seen: number[] = [];
      for (let step = 0; step < 400; step++) {
        const choice = random.below(4);
        if (choice === 0) {
          const count = random.below(Math.min(ring.sqSpaceLeft, 8) + 1);
          nops(ring, count, prepared);
          expected.push(...range(count, prepared));
          prepared += count;
        } else if (choice === 1 && prepared - seen.length < 200) {
          submitted += ring.submit();
        } else if (choice === 2) {
          const count = random.below(ring.cqReady + 1);
          ring.forEachCqe(({ userData }) => seen.length < submitted && userData);
          for (let i = 0; i < count; i++) {
            seen.push(ring.peekCqe()?.userData as number);
            ring.cqAdvance(1);
          }
        } else {
          const entries = 1 << (4 + random.below(4));
          ring.resizeRings({ entries, cqEntries: 256 << random.below(2) });
        }
      }
      ring.submit();
      seen.push(...drained(ring));
      assert.deepEqual(seen, expected);
    });

    it("ends with what is in flight", () => {
      using ends = pipe();
      const ring = resizable(options, 8);
      for (let i = 0; i < 4; i++) {
        entry(ring).prepRead(ends.read, new Uint8Array(100), 100, -1);
        ring.submit();
        ring.resizeRings({ entries: 16 << i });
      }
      assert.deepEqual(ring.close(), { leaked: 0 });
    });

    it("leaves no fd and no mapping behind", () => {
      using ring = resizable(options, 8);
      ring.resizeRings({ entries: 16 });
      const before = [ringFds(), mappings()] as const;
      for (let i = 0; i < 50; i++) ring.resizeRings({ entries: 16 << (i % 3) });
      assert.equal(ringFds(), before[0]);
      assert.ok(mappings() < before[1] + 25, `${before[1]} mappings before, ${mappings()} after`);
      exercise(ring);
    });

    it("is as it was where there would not be room", () => {
      using ring = resizable(options, 16, 64);
      nops(ring, 12, 0);
      refuses(EOVERFLOW, () => ring.resizeRings({ entries: 8 }), /12 entries wait to be submitted/);
      assert.equal(ring.submit(), 12);
      refuses(EOVERFLOW, () => ring.resizeRings({ entries: 4, cqEntries: 8 }), /More completions wait/);
      assert.deepEqual([ring.params.sqEntries, ring.params.cqEntries], [16, 64]);
      nops(ring, 2, 12);
      assert.equal(ring.submit(), 2);
      assert.deepEqual(drained(ring), range(14));
      exercise(ring);
    });
  });
}

describe("an entry handed out before", canResize, () => {
  it("can not be used any more, and is submitted as it was", () => {
    using ring = resizable({}, 4);
    const sqe = entry(ring).prepNop().setData64(5);
    ring.resizeRings({ entries: 8 });
    assert.throws(() => sqe.setData64(6), { name: "TypeError", message: /the ring was resized/ });
    assert.throws(() => sqe.prepNop(), { name: "TypeError", message: /the ring was resized/ });
    assert.equal(ring.sqReady, 1);
    assert.equal(ring.submit(), 1);
    assert.deepEqual(drained(ring), [5]);
  });
});

describe("resizing", canResize, () => {
  it("is for rings that defer their work", () => {
    for (const flags of [0, abi.IORING_SETUP_SINGLE_ISSUER, abi.IORING_SETUP_SQPOLL]) {
      for (const memory of ["owned", "mapped"] as const) {
        using ring = new Ring({ entries: 4, flags, memory });
        refuses(EINVAL, () => ring.resizeRings({ entries: 8 }), /set up with IORING_SETUP_DEFER_TASKRUN/);
        exercise(ring);
      }
    }
  });

  it("is refused from a callback that is given completions", () => {
    using ring = resizable({}, 8);
    nops(ring, 3, 0);
    ring.submit();
    const resize = () => ring.resizeRings({ entries: 16 });
    const refused = { name: "TypeError", message: /from a callback that reads its completions/ };
    ring.forEachCqe(() => assert.throws(resize, refused));
    ring.drain(() => assert.throws(resize, refused));
    resize();
    exercise(ring);
  });

  it("keeps messages and multishot operations coming", () => {
    using ends = pipe();
    using ring = resizable({}, 8);
    using other = new Ring({ entries: 8 });
    entry(ring).prepPollMultishot(ends.read, abi.POLLIN).setData64(1);
    submitAll(ring);
    for (let i = 0; i < 6; i++) {
      writeFromThread(ends.write);
      entry(other).prepMsgRing(ring.fd, i, 2, 0);
      reap(other, 1);
      ring.resizeRings({ entries: 8 << (i % 2) });
      const all: Completion[] = [];
      const end = performance.now() + LONG;
      while (all.length < 2 && performance.now() < end) {
        ring.submitAndWait(1, { timeout: LONG });
        ring.drain((...completion) => all.push(completion));
      }
      assert.deepEqual(
        all.sort(([a], [b]) => a - b),
        [
          [1, abi.POLLIN, abi.IORING_CQE_F_MORE],
          [2, i, 0],
        ],
      );
    }
  });

  it("keeps what is registered", () => {
    using ends = pipe();
    using ring = resizable({}, 8);
    const memory = bytes("registered");
    ring.registerBuffers([memory]);
    ring.registerFiles([ends.write]);
    ring.resizeRings({ entries: 32 });
    assert.equal(
      run(ring, (sqe) => sqe.prepWriteFixed(ends.write, memory, 10, -1, 0)),
      10,
    );
    ring.unregisterBuffers();
    ring.unregisterFiles();
  });

  it("takes as much as there can be where it is to be clamped", () => {
    using ring = resizable({}, 8);
    ring.resizeRings({ entries: 1_000_000, flags: abi.IORING_SETUP_CLAMP });
    assert.deepEqual([ring.params.sqEntries, ring.params.cqEntries], [32768, 65536]);
    exercise(ring);
    assert.throws(() => ring.resizeRings({ entries: 1_000_000 }), RangeError);
  });

  it("refuses what can be no sizes before the kernel is asked", () => {
    using ring = withShim(
      (real) => ({
        register(fd, opcode, arg, count) {
          assert.notEqual(opcode & 0xff, abi.IORING_REGISTER_RESIZE_RINGS);
          return real.register(fd, opcode, arg, count);
        },
      }),
      () => resizable({}, 8),
    );
    const wrong: [unknown, string][] = [
      [undefined, "TypeError"],
      [8, "TypeError"],
      [{ entries: "8" }, "TypeError"],
      [{ entries: 0 }, "RangeError"],
      [{ entries: 1.5 }, "RangeError"],
      [{ entries: 65536 }, "RangeError"],
      [{ entries: 16, cqEntries: 8 }, "RangeError"],
      [{ cqEntries: 4 }, "RangeError"],
      [{ flags: abi.IORING_SETUP_SQE128 }, "TypeError"],
      [{ flags: abi.IORING_SETUP_CQSIZE }, "TypeError"],
    ];
    for (const [sizes, name] of wrong) {
      assert.throws(() => ring.resizeRings(sizes as object), { name }, JSON.stringify(sizes));
    }
    exercise(ring);
  });

  it("needs the fd where the memory is mapped by it", () => {
    using ring = resizable({ memory: "mapped" }, 8);
    ring.closeRingFd();
    assert.throws(() => ring.resizeRings({ entries: 16 }), { name: "TypeError", message: /has none/ });
    exercise(ring);
  });

  it("leaves the ring as it was where the kernel has no memory, owned or mapped", () => {
    for (const memory of ["owned", "mapped"] as const) {
      using ring = withShim(
        (real) => ({
          register: (fd, opcode, arg, count) =>
            (opcode & 0xff) === abi.IORING_REGISTER_RESIZE_RINGS
              ? -ENOMEM
              : real.register(fd, opcode, arg, count),
        }),
        () => resizable({ memory }, 8),
      );
      nops(ring, 3, 0);
      refuses(ENOMEM, () => ring.resizeRings({ entries: 16 }), /limit of locked memory/);
      assert.equal(ring.submit(), 3);
      assert.deepEqual(drained(ring), [0, 1, 2]);
      exercise(ring);
    }
  });

  it("of a ring that is not yet enabled waits until it is", () => {
    using ring = resizable({ flags: abi.IORING_SETUP_R_DISABLED }, 8);
    try {
      ring.resizeRings({ entries: 16 });
    } catch (error) {
      assert.ok(error instanceof UringError);
    }
    ring.enableRings();
    ring.resizeRings({ entries: 32 });
    exercise(ring);
  });

  it("is explained to a kernel before 6.13", () => {
    using ring = withShim(
      (real) => ({
        register: (fd, opcode, arg, count) =>
          (opcode & 0xff) === abi.IORING_REGISTER_RESIZE_RINGS
            ? -EINVAL
            : real.register(fd, opcode, arg, count),
      }),
      () => resizable({}, 8),
    );
    withShim(
      {
        kernelRelease(out) {
          out.set(new TextEncoder().encode("6.12.1\0"));
          return 6;
        },
      },
      () =>
        refuses(
          EINVAL,
          () => ring.resizeRings({ entries: 16 }),
          /IORING_REGISTER_RESIZE_RINGS came with Linux 6\.13, and this kernel is 6\.12\.1/,
        ),
    );
  });
});
