import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { constants } from "node:os";
import { setTimeout } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { alloc, cstring, Direct, Ring, type RingOptions } from "uring";
import {
  AT_FDCWD,
  IORING_FILE_INDEX_ALLOC,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_IOPOLL,
  IORING_SETUP_SINGLE_ISSUER,
  O_RDONLY,
} from "uring/abi";
import { pipe } from "../support/harness.ts";
import { brief, entry, submitAll } from "./completions.ts";
import { open, textOf, write } from "./descriptors.ts";
import { PATIENCE_MS } from "./durations.ts";
import { outcome } from "./outcome.ts";
import type { RingResult, RingTask } from "./ring-worker.ts";
import { allRings, type Bench, conformance } from "./support.ts";

const { EBADF, ENXIO } = constants.errno;

const everywhere = { rings: allRings };
const DEFER = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;

/** The rings that messages go to, as options. What they come from is the kind of ring under test. */
const targets: Record<string, RingOptions> = {
  "a default ring": {},
  "a ring that defers its work": { flags: DEFER },
};

/** A ring that messages go to. */
function target(bench: Bench, options: RingOptions): Ring {
  const ring = new Ring({ entries: 8, ...options });
  bench.defer(() => assert.deepEqual(ring.close({ deadline: PATIENCE_MS }), { leaked: 0 }));
  return ring;
}

// Deno opens what it loads Workers with at the first one, and keeps it: no test has leaked it.
await new Promise((resolve) => new Worker(new URL("./outcome.ts", import.meta.url)).once("exit", resolve));

/** A ring of another thread, which is waiting for completions, and what will have become of it. */
async function waitingRing(
  bench: Bench,
  task: RingTask,
): Promise<{ fd: number; result: Promise<RingResult> }> {
  const worker = new Worker(new URL("./ring-worker.ts", import.meta.url), { workerData: task });
  bench.defer(() => void worker.terminate());
  const message = <T>() =>
    new Promise<T>((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
    });
  const fd = await message<number>();
  const result = message<RingResult>();
  // It has told its fd before it waits.
  await setTimeout(50);
  return { fd, result };
}

// ------------------------------------------------------------------------------------------------ liburing/fd-pass

const PATTERN = "0123456789abcdef".repeat(8);

/** Reads the pattern through a slot; how many bytes came. */
function readPattern(bench: Bench, ring: Ring, slot: number): number {
  const memory = alloc(PATTERN.length);
  entry(ring).prepRead(new Direct(slot), memory, PATTERN.length, 0).setData64(9);
  const { res } = bench.one(ring);
  if (res === PATTERN.length) assert.equal(textOf(memory), PATTERN);
  return res;
}

for (const [to, options] of Object.entries(targets)) {
  for (const any of [false, true]) {
    conformance(
      "liburing/fd-pass",
      `a registered file is passed into ${any ? "any free" : "a given"} slot of ${to}, and closed by itself`,
      (bench) => {
        const ring = bench.ring();
        const other = target(bench, options);
        const path = bench.path("file");
        writeFileSync(path, PATTERN);
        ring.registerFilesSparse(8);
        other.registerFilesSparse(8);
        if (any) other.registerFileAllocRange(1, 1);
        entry(ring).prepOpenatDirect(AT_FDCWD, cstring(path), O_RDONLY, 0, 0).setData64(1);
        assert.deepEqual(brief(bench.complete(ring, 1)), [[1, 0, 0]]);
        assert.equal(readPattern(bench, ring, 0), 128);

        const slot = any ? 1 : 2;
        const res = any ? 1 : 0;
        entry(ring)
          .prepMsgRingFd(other.fd, 0, any ? IORING_FILE_INDEX_ALLOC : slot, 0x89, 0)
          .setData64(2);
        assert.deepEqual(brief(bench.complete(ring, 1)), [[2, res, 0]]);
        assert.deepEqual(brief(bench.collect(other, 1)), [[0x89, res, 0]]);
        assert.equal(readPattern(bench, other, slot), 128);

        entry(ring).prepCloseDirect(0).setData64(3);
        assert.deepEqual(brief(bench.complete(ring, 1)), [[3, 0, 0]]);
        assert.equal(readPattern(bench, ring, 0), -EBADF);
        assert.equal(readPattern(bench, other, slot), 128);
      },
      everywhere,
    );
  }
}

// ------------------------------------------------------------------------------------------------ liburing/msg-ring-fd

const CONTENT = "thirty-two bytes of a pipe's data";

for (const [to, options] of Object.entries(targets)) {
  conformance(
    "liburing/msg-ring-fd",
    `a pipe passed to ${to} is read there`,
    (bench) => {
      const ring = bench.ring();
      const other = target(bench, options);
      using ends = pipe();
      ring.registerFiles([ends.read]);
      other.registerFilesSparse(1);
      entry(ring).prepMsgRingFd(other.fd, 0, new Direct(0), 10, 0).setData64(1);
      assert.deepEqual(brief(bench.complete(ring, 1)), [[1, 0, 0]]);
      assert.deepEqual(brief(bench.collect(other, 1)), [[10, 0, 0]]);
      write(ends.write, CONTENT.slice(0, 32));
      const memory = alloc(32);
      entry(other).prepRead(new Direct(0), memory, 32, -1).setData64(2);
      assert.deepEqual(brief(bench.complete(other, 1)), [[2, 32, 0]]);
      assert.equal(textOf(memory), CONTENT.slice(0, 32));
    },
    everywhere,
  );

  conformance(
    "liburing/msg-ring-fd",
    `a pipe passed to ${to} of another thread, which is waiting, is read there`,
    async (bench) => {
      const ring = bench.ring();
      const flags = options.flags ?? 0;
      const { fd, result } = await waitingRing(bench, { flags, count: 1, read: 32 });
      using ends = pipe();
      write(ends.write, CONTENT.slice(0, 32));
      ring.registerFiles([ends.read]);
      entry(ring).prepMsgRingFd(fd, 0, new Direct(0), 10, 0).setData64(1);
      assert.deepEqual(brief(bench.complete(ring, 1)), [[1, 0, 0]]);
      const { completions, text } = await result;
      assert.deepEqual(completions, [
        [10, 0, 0],
        [99, 32, 0],
      ]);
      assert.equal(text, CONTENT.slice(0, 32));
    },
    everywhere,
  );
}

// ------------------------------------------------------------------------------------------------ liburing/msg-ring-flags

const DATA = 0x5aa5;
const FLAGS = 0x42;

for (const [to, options] of Object.entries(targets)) {
  conformance(
    "liburing/msg-ring-flags",
    `a message to ${to} carries flags, eight in a row more than its queue holds`,
    (bench) => {
      const ring = bench.ring();
      const other = target(bench, { entries: 2, ...options });
      const send = (userData: number) =>
        entry(ring).prepMsgRingCqeFlags(other.fd, 0x20, DATA, 0, FLAGS).setData64(userData);
      send(1);
      assert.deepEqual(brief(bench.complete(ring, 1)), [[1, 0, 0]]);
      assert.deepEqual(brief(bench.collect(other, 1)), [[DATA, 0x20, FLAGS]]);

      const eight = [0, 1, 2, 3, 4, 5, 6, 7];
      for (const i of eight) send(i);
      assert.deepEqual(
        brief(bench.complete(ring, 8)),
        eight.map((i) => [i, 0, 0]),
      );
      assert.deepEqual(
        brief(bench.collect(other, 8)),
        eight.map(() => [DATA, 0x20, FLAGS]),
      );
    },
    everywhere,
  );

  conformance(
    "liburing/msg-ring-flags",
    `a message to ${to} of another thread, which is waiting, carries flags`,
    async (bench) => {
      const ring = bench.ring();
      const flags = options.flags ?? 0;
      const { fd, result } = await waitingRing(bench, { flags, count: 8, read: 0 });
      for (let i = 0; i < 8; i++) {
        entry(ring)
          .prepMsgRingCqeFlags(fd, 0x20 + i, DATA, 0, FLAGS)
          .setData64(i);
      }
      assert.deepEqual(
        brief(bench.complete(ring, 8)),
        Array.from({ length: 8 }, (_, i) => [i, 0, 0]),
      );
      const { completions } = await result;
      assert.deepEqual(
        completions,
        Array.from({ length: 8 }, (_, i) => [DATA, 0x20 + i, FLAGS]),
      );
    },
    everywhere,
  );
}

// ------------------------------------------------------------------------------------------------ liburing/msg-ring-overflow

for (const [to, flags] of [
  ["a default ring", 0],
  ["a ring that polls devices", IORING_SETUP_IOPOLL],
  ["a ring that defers its work", DEFER],
  ["a ring that polls devices and defers its work", IORING_SETUP_IOPOLL | DEFER],
] as const) {
  conformance(
    "liburing/msg-ring-overflow",
    `eight messages arrive at ${to} whose queue holds four`,
    (bench) => {
      const ring = bench.ring();
      const other = target(bench, { entries: 2, cqEntries: 4, flags });
      for (let i = 0; i < 8; i++) entry(ring).prepMsgRing(other.fd, 0x10, 0x1234, 0).setData64(i);
      submitAll(ring, 8);
      assert.deepEqual(
        brief(bench.collect(ring, 8)),
        Array.from({ length: 8 }, (_, i) => [i, 0, 0]),
      );
      assert.deepEqual(
        brief(bench.collect(other, 8)),
        Array.from({ length: 8 }, () => [0x1234, 0x10, 0]),
      );
      assert.equal(other.cqOverflow, 0);
    },
    everywhere,
  );
}

// ------------------------------------------------------------------------------------------------ tokio/queue/test_msg_ring_send_fd

conformance(
  "tokio/queue/test_msg_ring_send_fd",
  "a registered file is sent to another ring and back, and each has its own table",
  (bench) => {
    const ring = bench.ring();
    const other = target(bench, {});
    const path = bench.path("file");
    writeFileSync(path, PATTERN);
    ring.registerFiles([open(bench, path, O_RDONLY), -1, -1, -1]);
    other.registerFilesSparse(2);
    entry(ring).prepMsgRingFd(other.fd, 0, 1, 22, 0).setData64(1);
    assert.deepEqual(brief(bench.complete(ring, 1)), [[1, 0, 0]]);
    assert.deepEqual(brief(bench.collect(other, 1)), [[22, 0, 0]]);
    entry(other).prepMsgRingFd(ring.fd, 1, 2, 44, 0).setData64(2);
    assert.deepEqual(brief(bench.complete(other, 1)), [[2, 0, 0]]);
    assert.deepEqual(brief(bench.collect(ring, 1)), [[44, 0, 0]]);
    assert.equal(readPattern(bench, ring, 2), 128);
    for (const each of [ring, other]) {
      assert.equal(
        outcome(() => each.unregisterFiles()),
        0,
      );
      assert.equal(
        outcome(() => each.unregisterFiles()),
        -ENXIO,
      );
    }
  },
  everywhere,
);
