import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { alloc, Direct, Iovecs, type Pinned, type Ring, type Sqe, type Target } from "uring";
import {
  IORING_CQE_BUFFER_SHIFT,
  IORING_CQE_F_BUFFER,
  IORING_ENTER_GETEVENTS,
  IORING_SETUP_HYBRID_IOPOLL,
  IORING_SETUP_IOPOLL,
  IORING_SETUP_SUBMIT_ALL,
  O_DIRECT,
  O_RDWR,
} from "uring/abi";
import { Random } from "../support/random.ts";
import { kernelTakes, withShim } from "../support/runtime.ts";
import { mustCall } from "../support/system.ts";
import { type Brief, brief, entry, sorted, submitAll } from "./completions.ts";
import { open } from "./descriptors.ts";
import { PATIENCE_MS } from "./durations.ts";
import { allRings, type Bench, conformance } from "./support.ts";

const { EOPNOTSUPP } = constants.errno;

const BLOCK = 4096;
const BLOCKS = 256;
const TRANSFERS = 32;

/** A file of random content on disk, open for O_DIRECT. */
function directFile(bench: Bench): { fd: number; path: string; content: Uint8Array } {
  const content = new Random(1).bytes(BLOCKS * BLOCK);
  const path = bench.path("file");
  writeFileSync(path, content);
  // What is not yet on disk can not be read around the page cache at once.
  mustCall("fsync", open(bench, path));
  return { fd: open(bench, path, O_RDWR | O_DIRECT), path, content };
}

/** What reading a block gives: its size, or -EOPNOTSUPP where the device of the test's folder can not be polled. */
function resultOfRead(bench: Bench, ring: Ring, fd: number): number {
  const result = bench.run(ring, (sqe) => sqe.prepRead(fd, alloc(BLOCK), BLOCK, 0));
  assert.ok(result === BLOCK || result === -EOPNOTSUPP, `read: ${result}`);
  return result;
}

const GROUP = 5;

/** The ways to transfer a block, to or from memory that is a registered buffer as well, and one to be picked. */
const transfers: Record<
  string,
  { writes?: true; fill(sqe: Sqe, file: Target, memory: Pinned, offset: number, index: number): Sqe }
> = {
  prepWritev: {
    writes: true,
    fill: (sqe, file, memory, offset) => sqe.prepWritev(file, new Iovecs([memory]), 1, offset),
  },
  prepReadv: {
    fill: (sqe, file, memory, offset) => sqe.prepReadv(file, new Iovecs([memory]), 1, offset),
  },
  prepWriteFixed: {
    writes: true,
    fill: (sqe, file, memory, offset, index) => sqe.prepWriteFixed(file, memory, BLOCK, offset, index),
  },
  prepReadFixed: {
    fill: (sqe, file, memory, offset, index) => sqe.prepReadFixed(file, memory, BLOCK, offset, index),
  },
  setBufferGroup: {
    fill: (sqe, file, _memory, offset) => sqe.prepRead(file, 0, BLOCK, offset).setBufferGroup(GROUP),
  },
};

/** Different numbers of blocks, one for each transfer. */
function randomBlocks(random: Random): number[] {
  const blocks = new Set<number>();
  while (blocks.size < TRANSFERS) blocks.add(random.below(BLOCKS));
  return [...blocks];
}

// ------------------------------------------------------------------------------------------------ liburing/iopoll

for (const { hybrid, how } of [
  { hybrid: 0, how: "polled" },
  { hybrid: IORING_SETUP_HYBRID_IOPOLL, how: "polled after a sleep" },
]) {
  const flags = IORING_SETUP_IOPOLL | hybrid;
  const skip = kernelTakes(flags) ? false : "IORING_SETUP_HYBRID_IOPOLL came with Linux 6.13";
  for (const registered of [false, true]) {
    conformance(
      "liburing/iopoll",
      `transfers of ${registered ? "a registered file" : "a file"} are ${how}: each is whole, or -EOPNOTSUPP`,
      (bench) => {
        const ring = bench.ring({ entries: 64, flags });
        const { fd, path, content } = directFile(bench);
        const memory = Array.from({ length: TRANSFERS }, () => alloc(BLOCK));
        ring.registerBuffers(memory);
        ring.registerFiles([fd]);
        const read = resultOfRead(bench, ring, fd);
        // The sleep before polling, one for each transfer, is half as long as the shortest transfer so far took: a first
        // one on a busy machine must not be it.
        for (let i = 0; i < 20; i++) assert.equal(resultOfRead(bench, ring, fd), read);
        const random = new Random(flags);
        for (const [way, { writes = false, fill }] of Object.entries(transfers)) {
          const buffers = ring.setupBufRing({ group: GROUP, buffers: memory });
          for (const { bytes } of memory) bytes.set(random.bytes(BLOCK));
          const blocks = randomBlocks(random);
          for (const [i, block] of blocks.entries()) {
            fill(
              entry(ring),
              registered ? new Direct(0) : fd,
              memory[i] as Pinned,
              block * BLOCK,
              i,
            ).setData64(i);
          }
          submitAll(ring, TRANSFERS);
          const completions = sorted(bench.collect(ring, TRANSFERS));
          assert.deepEqual(
            completions.map(([userData]) => userData),
            [...blocks.keys()],
            way,
          );
          for (const [i, res, cqeFlags] of completions) {
            // File systems poll for no write that leaves them work to do, so that it may do where reads do not.
            if (!writes || res !== BLOCK) assert.equal(res, read, `${way} ${i}`);
            if (res !== BLOCK) continue;
            const picked = (cqeFlags & IORING_CQE_F_BUFFER) !== 0 ? cqeFlags >>> IORING_CQE_BUFFER_SHIFT : i;
            const { bytes } = memory[picked] as Pinned;
            const offset = (blocks[i] as number) * BLOCK;
            if (writes) content.set(bytes, offset);
            else assert.equal(Buffer.compare(bytes, content.subarray(offset, offset + BLOCK)), 0, way);
          }
          buffers.free();
        }
        assert.equal(Buffer.compare(readFileSync(path), content), 0);
      },
      { rings: allRings, skip },
    );
  }
}

/** Not a ring with a poller thread, which does the polling as well. */
const polledByCaller = allRings.filter((type) => type !== "sqpoll");

conformance(
  "liburing/iopoll",
  "to look for completions, and to submit nothing, is a system call that polls",
  (bench) => {
    const calls: [toSubmit: number, flags: number][] = [];
    const ring = withShim(
      (real) => ({
        enter: (fd, toSubmit, minComplete, flags, arg, argSize) => {
          calls.push([toSubmit, flags & IORING_ENTER_GETEVENTS]);
          return real.enter(fd, toSubmit, minComplete, flags, arg, argSize);
        },
      }),
      () => bench.ring({ flags: IORING_SETUP_IOPOLL }),
    );
    const { fd } = directFile(bench);
    const result = resultOfRead(bench, ring, fd);
    for (const look of [() => ring.peekCqe(), () => ring.submit()]) {
      calls.length = 0;
      look();
      assert.deepEqual(calls, [[0, IORING_ENTER_GETEVENTS]]);
    }
    for (const found of [() => ring.peekCqe() !== null, () => ring.submit() === 0 && ring.cqReady > 0]) {
      entry(ring).prepRead(fd, alloc(BLOCK), BLOCK, 0).setData64(7);
      assert.equal(ring.submit(), 1);
      const end = performance.now() + PATIENCE_MS;
      while (!found()) assert.ok(performance.now() < end, "nothing showed up");
      assert.deepEqual(brief(bench.collect(ring, 1)), [[7, result, 0]]);
    }
  },
  { rings: polledByCaller },
);

// ------------------------------------------------------------------------------------------------ liburing/iopoll-overflow

conformance(
  "liburing/iopoll-overflow",
  "reads are taken, and complete, beyond what the completion queue has room for",
  (bench) => {
    const ring = bench.ring({
      entries: 64,
      cqEntries: 64,
      flags: IORING_SETUP_IOPOLL | IORING_SETUP_SUBMIT_ALL,
    });
    assert.deepEqual([ring.params.sqEntries, ring.params.cqEntries], [64, 64]);
    const { fd } = directFile(bench);
    const expected = resultOfRead(bench, ring, fd);
    const memory = Array.from({ length: TRANSFERS }, () => alloc(BLOCK));
    for (let batch = 0; batch < 8; batch++) {
      for (const [i, one] of memory.entries()) {
        const number = batch * TRANSFERS + i;
        entry(ring)
          .prepRead(fd, one, BLOCK, number * BLOCK)
          .setData64(number);
      }
      submitAll(ring, TRANSFERS);
    }
    ring.submitAndWait(256, { timeout: PATIENCE_MS });
    assert.deepEqual(
      sorted(bench.collect(ring, 256)),
      Array.from({ length: 256 }, (_, i): Brief => [i, expected, 0]),
    );
  },
  { rings: allRings },
);
