// What an operation leaves on the JavaScript heap: nothing. Run without garbage collection (scripts/bench.mjs sees to
// that), so that the heap's size only grows, by whatever is allocated.

import { open } from "node:fs/promises";
import { alloc, Ring, type Sqe } from "uring";
import { IOSQE_BUFFER_SELECT } from "uring/abi";

import { smoke } from "./support/measure.ts";
import { count, runNops } from "./support/nops.ts";

const COUNTS = smoke ? [50_000, 100_000] : [250_000, 1_000_000, 4_000_000];
const BATCH = 64;
const LARGEST = 2 ** 31 - 1;
const BLOCK = 64;
const GROUP = 1;

let kept: unknown;

/** Proves the meter: an object an operation, which must show. */
function runObjects(operations: number): void {
  for (let i = 0; i < operations; i++) kept = { i };
}

function runLargestUserData(ring: Ring, operations: number): void {
  for (let done = 0; done < operations; done += BATCH) {
    for (let i = 0; i < BATCH; i++) (ring.getSqe() as Sqe).prepNop().setData64(LARGEST - i);
    ring.submitAndWait(BATCH);
    ring.drain(count);
  }
}

const memory = alloc(BATCH * BLOCK);
const out = new Int32Array(4 * BATCH);

/** Reads into buffers the kernel picks, from number 32768 on: the number is the upper half of the completion's flags. */
function runPickedBuffers(ring: Ring, fd: number, operations: number): void {
  const half = BATCH / 2;
  for (let done = 0; done < operations; done += BATCH) {
    (ring.getSqe() as Sqe).prepProvideBuffers(memory, BLOCK, half, GROUP, 0x8000).setData64(0);
    for (let i = 1; i < half; i++) (ring.getSqe() as Sqe).prepNop().setData64(i);
    for (let i = 0; i < half; i++) {
      (ring.getSqe() as Sqe)
        .prepRead(fd, 0, BLOCK, 0)
        .setFlags(IOSQE_BUFFER_SELECT)
        .setBufferGroup(GROUP)
        .setData64(i);
    }
    ring.submitAndWait(BATCH);
    ring.drain(countPicked);
  }
}

let picked = 0;

function countPicked(userData: number, res: number, flags: number): void {
  if (flags < 0) picked = (picked + 1) | 0;
  count(userData, res, flags);
}

function runReads(ring: Ring, fd: number, operations: number): void {
  for (let done = 0; done < operations; done += BATCH) {
    for (let i = 0; i < BATCH; i++)
      (ring.getSqe() as Sqe).prepRead(fd, memory, BLOCK, i * BLOCK).setData64(i);
    ring.submitAndWait(BATCH);
    ring.drain(count);
  }
}

function runCopies(ring: Ring, operations: number): void {
  for (let done = 0; done < operations; done += BATCH) {
    for (let i = 0; i < BATCH; i++) (ring.getSqe() as Sqe).prepNop().setData64(i);
    ring.submitAndWait(BATCH);
    ring.copyCqes(out);
  }
}

function heapUsed(): number {
  return process.memoryUsage().heapUsed;
}

/** Bytes that the heap grows by, the least of several tries: the engine's own compilers allocate now and then. */
function growth(run: (operations: number) => void, operations: number): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 5; i++) {
    const before = heapUsed();
    run(operations);
    least = Math.min(least, heapUsed() - before);
  }
  return least;
}

using ring = new Ring({ entries: BATCH });
const file = await open(process.execPath, "r");
const workloads: [name: string, run: (operations: number) => void][] = [
  ["nothing: what looking at the heap takes", () => {}],
  ["no-ops, batch 64", (n) => runNops(ring, BATCH, n)],
  ["no-ops, batch 1", (n) => runNops(ring, 1, n)],
  ["no-ops, user_data just below 2^31", (n) => runLargestUserData(ring, n)],
  ["no-ops, copyCqes", (n) => runCopies(ring, n)],
  ["reads into Pinned memory", (n) => runReads(ring, file.fd, n)],
  ["reads, flags with bit 31 (buffer >= 32768)", (n) => runPickedBuffers(ring, file.fd, n)],
];

console.log(
  `\n${"Heap growth in bytes, by number of operations".padEnd(46)}${COUNTS.map((n) => n.toLocaleString("en").padStart(14)).join("")}   a million`,
);
for (const [, run] of workloads) run(100_000);
for (const [name, run] of workloads) print(name, run, COUNTS);
runObjects(100_000);
print("meter check: one object each, kept by none", runObjects, COUNTS.slice(0, 2));
if (picked === 0) throw new Error("no completion had bit 31 of its flags set");
if (kept === undefined) throw new Error("no object was made");
await file.close();

function print(name: string, run: (operations: number) => void, counts: readonly number[]): void {
  const bytes = counts.map((operations) => growth(run, operations));
  const [first, last] = [bytes[0] as number, bytes.at(-1) as number];
  const slope = ((last - first) * 1e6) / ((counts.at(-1) as number) - (counts[0] as number));
  const columns = COUNTS.map((_, i) => (bytes[i] === undefined ? "" : String(bytes[i])).padStart(14)).join(
    "",
  );
  console.log(`  ${name.padEnd(44)}${columns}${Math.round(slope).toLocaleString("en").padStart(12)}`);
}
