import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { alloc, Direct, Iovecs, type Pinned, Ring, type Sqe, type Target } from "uring";
import { IORING_OP_READV_FIXED, IORING_SETUP_SQE_MIXED, O_DIRECT, O_RDWR } from "uring/abi";
import { Random } from "../support/random.ts";
import { withShim } from "../support/runtime.ts";
import { type Brief, brief, entry, submitted } from "./completions.ts";
import { eventfd, open, signal } from "./descriptors.ts";
import { PATIENCE_MS } from "./durations.ts";
import { allRings, conformance } from "./support.ts";

const { EAGAIN } = constants.errno;

const SIZE = 8192;
const TRANSFERS = 8;

/** A way to move 8 KiB between a file and memory, which is a registered buffer as well. */
interface Way {
  readonly writes: boolean;
  readonly direct: boolean;
  readonly fixed: boolean;
  readonly vectored: boolean;
}

const eitherWay = [false, true];

/** Every way there is. */
const ways: readonly Way[] = eitherWay.flatMap((writes) =>
  eitherWay.flatMap((direct) =>
    eitherWay.flatMap((fixed) => eitherWay.map((vectored) => ({ writes, direct, fixed, vectored }))),
  ),
);

function prepare(sqe: Sqe, { writes, fixed, vectored }: Way, file: Target, memory: Pinned, i: number): Sqe {
  const offset = i * SIZE;
  if (!vectored) {
    if (fixed) {
      return writes
        ? sqe.prepWriteFixed(file, memory, SIZE, offset, i)
        : sqe.prepReadFixed(file, memory, SIZE, offset, i);
    }
    return writes ? sqe.prepWrite(file, memory, SIZE, offset) : sqe.prepRead(file, memory, SIZE, offset);
  }
  const pieces = new Iovecs([memory.slice(0, SIZE / 2), memory.slice(SIZE / 2)]);
  if (fixed) {
    return writes
      ? sqe.prepWritevFixed(file, pieces, 2, offset, 0, i)
      : sqe.prepReadvFixed(file, pieces, 2, offset, 0, i);
  }
  return writes ? sqe.prepWritev(file, pieces, 2, offset) : sqe.prepReadv(file, pieces, 2, offset);
}

/** What /proc says of a ring: of its queues only while nobody works on them. */
function fdinfo(ring: Ring): string {
  const info = readFileSync(`/proc/self/fdinfo/${ring.fd}`, "utf8");
  assert.match(info, /^pos:\s+0$/m);
  return info;
}

/** The number after a name. */
function numberIn(info: string, name: string): number {
  return Number(info.match(new RegExp(`^${name}:\\s+(\\d+)$`, "m"))?.[1]);
}

// ------------------------------------------------------------------------------------------------ liburing/fdinfo

conformance(
  "liburing/fdinfo",
  "what /proc says of a ring can be read at any time, and disturbs nothing",
  (bench) => {
    let held = false;
    const ring = withShim(
      (real) => ({ enter: (...call) => (held ? -EAGAIN : real.enter(...call)) }),
      () => bench.ring(),
    );
    const path = bench.path("file");
    const content = new Random(1).bytes(TRANSFERS * SIZE);
    writeFileSync(path, content);
    const files = [open(bench, path, O_RDWR), open(bench, path, O_RDWR | O_DIRECT)];
    const memory = Array.from({ length: TRANSFERS }, () => alloc(SIZE));
    const counter = alloc(8);
    const event = eventfd(bench);
    ring.registerFiles(files);
    ring.registerBuffers(memory);
    const poller = bench.type === "sqpoll";
    const vectorsOfBuffers = ring.probe().supports(IORING_OP_READV_FIXED);

    for (const way of ways) {
      if (way.fixed && way.vectored && !vectorsOfBuffers) continue;
      const what = JSON.stringify(way);
      const slot = way.direct ? 1 : 0;
      const file = poller ? new Direct(slot) : (files[slot] as number);
      for (const [i, one] of memory.entries()) {
        if (way.writes) one.bytes.set(content.subarray(i * SIZE, (i + 1) * SIZE));
        else one.bytes.fill(0);
        prepare(entry(ring), way, file, one, i).setData64(i);
      }
      entry(ring).prepRead(event, counter, 8, 0).setData64(TRANSFERS);
      // The kernel is shown the entries, and not told of them. A poller thread may find them.
      held = true;
      assert.ok(ring.submit() === -EAGAIN || poller);
      const info = fdinfo(ring);
      if (!poller) assert.equal(numberIn(info, "SQEs"), TRANSFERS + 1, info);
      held = false;
      submitted(ring);
      fdinfo(ring);
      const found: Brief[] = [];
      const end = performance.now() + PATIENCE_MS;
      while (found.length < TRANSFERS) {
        assert.ok(performance.now() < end, `${what}: ${found}`);
        ring.submitAndWait(1, { timeout: 1000 });
        fdinfo(ring);
        ring.drain((...completion) => found.push(completion));
      }
      assert.deepEqual(
        found.sort(([a], [b]) => a - b),
        memory.map((_, i) => [i, SIZE, 0]),
        what,
      );
      const moved = way.writes ? readFileSync(path) : Buffer.concat(memory.map(({ bytes }) => bytes));
      assert.equal(Buffer.compare(moved, content), 0, what);

      fdinfo(ring);
      signal(event);
      assert.deepEqual(brief(bench.collect(ring, 1)), [[TRANSFERS, 8, 0]], what);
    }
  },
  { rings: allRings },
);

conformance("liburing/fdinfo", "no ring is made whose entries are of mixed sizes", () => {
  assert.throws(() => new Ring({ flags: IORING_SETUP_SQE_MIXED }), TypeError);
});
