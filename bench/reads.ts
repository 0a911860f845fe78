import { readSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { alloc, type Pinned, Ring, type Sqe } from "uring";

import { BLOCK, Positions, readAll } from "./support/blocks.ts";
import { interleave, type Side, timed, timedAsync } from "./support/measure.ts";
import { count, describeRing, entriesFor } from "./support/nops.ts";
import { heading, line } from "./support/table.ts";
import { buildLine, Twin } from "./support/twin.ts";

const positions = new Positions();
const BARS: Readonly<Record<number, number | undefined>> = { 1: undefined, 64: 1.03 };

/** 4 KiB reads at random places of a file that is in the page cache. */
export async function benchReads(): Promise<void> {
  const path = process.execPath;
  const file = await open(path, "r");
  try {
    await readAll(file);
    console.log(`\nC twin: ${buildLine("read")}`);
    heading("4 KiB reads from the page cache, ns each");
    for (const depth of Object.keys(BARS).map(Number)) await benchDepth(file, path, depth);
  } finally {
    await file.close();
  }
}

async function benchDepth(file: FileHandle, path: string, depth: number): Promise<void> {
  const entries = entriesFor(depth);
  using ring = new Ring({ entries });
  const buffers = Array.from({ length: depth }, () => alloc(BLOCK));
  const views = Array.from({ length: depth }, () => new Uint8Array(BLOCK));
  const twin = await Twin.start("read", entries, depth, "registered", path);
  const side: Side = {
    name: `depth ${depth}`,
    batch: depth,
    round: timed((operations) => runReads(ring, file.fd, buffers, operations)),
  };
  const builtins: Side[] = [
    {
      name: "fs/promises: FileHandle.read",
      batch: depth,
      round: timedAsync((operations) => runPromises(file, views, operations)),
    },
  ];
  if (depth === 1) {
    const view = views[0] as Uint8Array;
    builtins.push({ name: "fs: readSync", batch: 1, round: timed((n) => runSync(file.fd, view, n)) });
  }
  const [own, c] = await interleave([
    side,
    { name: "C, registered ring fd", batch: depth, round: (operations) => twin.round(operations) },
  ]);
  // Apart from the twin: what promises leave to collect would be collected during the rounds that follow.
  const [again, ...others] = await interleave([{ ...side, name: `depth ${depth}, again` }, ...builtins]);
  if (own === undefined || c === undefined || again === undefined) throw new Error("a side is missing");
  const bar = BARS[depth];
  line(own, bar === undefined ? { with: c } : { with: c, bar });
  line(c);
  line(again);
  for (const other of others) line(other, { with: again });
  console.log(`    set-up: ${describeRing(ring)}; C: ${twin.setup}`);
  await twin.stop();
  for (const buffer of buffers) buffer[Symbol.dispose]();
}

function runReads(ring: Ring, fd: number, buffers: readonly Pinned[], operations: number): void {
  const depth = buffers.length;
  for (let done = 0; done < operations; done += depth) {
    for (let i = 0; i < depth; i++) {
      (ring.getSqe() as Sqe).prepRead(fd, buffers[i] as Pinned, BLOCK, positions.next()).setData64(i);
    }
    ring.submitAndWait(depth);
    ring.drain(count);
  }
}

async function runPromises(
  file: FileHandle,
  views: readonly Uint8Array[],
  operations: number,
): Promise<void> {
  const depth = views.length;
  for (let done = 0; done < operations; done += depth) {
    await Promise.all(views.map((view) => file.read(view, 0, BLOCK, positions.next())));
  }
}

function runSync(fd: number, view: Uint8Array, operations: number): void {
  for (let done = 0; done < operations; done++) {
    readSync(fd, view, 0, BLOCK, positions.next());
  }
}
