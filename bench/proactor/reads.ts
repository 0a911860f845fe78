import { readSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { alloc, type Pinned, Proactor } from "uring";

import { BLOCK, Positions, readAll } from "../support/blocks.ts";
import { interleave, type Side, timed, timedAsync } from "../support/measure.ts";
import { cpuLine, heading, line } from "../support/table.ts";
import { buildLine, Twin } from "../support/twin.ts";
import { callbackSide, lanesSide } from "./lanes.ts";

const DEPTH = 64;
const positions = new Positions();

/** The runtimes' own promises differ by more than an order of magnitude, and so does what may be asked for beside them. */
const BUILTIN: { time: number; cpu?: number } =
  process.versions.bun === undefined ? { time: 1 / 15 } : { time: 1 / 1.3, cpu: 0.5 };

/** 4 KiB reads at random places of a file that is in the page cache, a promise each. */
export async function benchReads(): Promise<void> {
  const path = process.execPath;
  const file = await open(path, "r");
  await using proactor = new Proactor();
  const buffers = Array.from({ length: DEPTH }, () => alloc(BLOCK));
  const views = Array.from({ length: DEPTH }, () => new Uint8Array(BLOCK));
  try {
    await readAll(file);
    await benchMany(proactor, file, path, buffers, views);
    await benchOne(proactor, file, buffers[0] as Pinned, views[0] as Uint8Array);
  } finally {
    await file.close();
    for (const buffer of buffers) buffer[Symbol.dispose]();
  }
}

async function benchMany(
  proactor: Proactor,
  file: FileHandle,
  path: string,
  buffers: readonly Pinned[],
  views: readonly Uint8Array[],
): Promise<void> {
  const { fd } = file;
  console.log(`\nC twin: ${buildLine("read")}`);
  heading(`4 KiB reads from the page cache, ${DEPTH} at a time, ns each`);
  const twin = await Twin.start("read", DEPTH, DEPTH, "registered", path);
  const name = "proactor.read, a promise each";
  const awaiting = lanesSide(name, DEPTH, async (lane, operations) => {
    const memory = buffers[lane] as Pinned;
    for (let done = 0; done < operations; done++)
      await proactor.read(fd, memory, { offset: positions.next() });
  });
  const all: Side = {
    name: "proactor.read, Promise.all of them",
    batch: DEPTH,
    round: timedAsync(async (operations) => {
      for (let done = 0; done < operations; done += DEPTH) {
        await Promise.all(buffers.map((memory) => proactor.read(fd, memory, { offset: positions.next() })));
      }
    }),
  };
  const callbacks = callbackSide("proactor.entry, callbacks", proactor, DEPTH, (sqe, lane) => {
    sqe.prepRead(fd, buffers[lane] as Pinned, BLOCK, positions.next());
  });
  const [own, inOne, called, c] = await interleave([
    awaiting,
    all,
    callbacks,
    { name: "C, registered ring fd", batch: DEPTH, round: (operations) => twin.round(operations) },
  ]);
  await twin.stop();
  const [again, builtin] = await interleave([
    { ...awaiting, name: `${name}, again` },
    lanesSide("fs/promises: FileHandle.read", DEPTH, async (lane, operations) => {
      const view = views[lane] as Uint8Array;
      for (let done = 0; done < operations; done++) await file.read(view, 0, BLOCK, positions.next());
    }),
  ]);
  if (!own || !inOne || !called || !c || !again || !builtin) throw new Error("a side is missing");
  line(own, { with: c, bar: 1 / 0.85 });
  line(inOne, { with: c });
  line(called, { with: c, bar: 1 / 0.97 });
  line(c);
  line(again, { with: builtin, bar: BUILTIN.time });
  line(builtin);
  cpuLine(again, { with: builtin, ...(BUILTIN.cpu === undefined ? {} : { bar: BUILTIN.cpu }) });
  cpuLine(builtin);
}

async function benchOne(
  proactor: Proactor,
  file: FileHandle,
  memory: Pinned,
  view: Uint8Array,
): Promise<void> {
  const { fd } = file;
  heading("4 KiB reads from the page cache, one at a time, ns each");
  const [own, sync, builtin] = await interleave([
    lanesSide("proactor.read, a promise each", 1, async (_, operations) => {
      for (let done = 0; done < operations; done++)
        await proactor.read(fd, memory, { offset: positions.next() });
    }),
    {
      name: "fs: readSync",
      batch: 1,
      round: timed((operations) => {
        for (let done = 0; done < operations; done++) readSync(fd, view, 0, BLOCK, positions.next());
      }),
    },
    lanesSide("fs/promises: FileHandle.read", 1, async (_, operations) => {
      for (let done = 0; done < operations; done++) await file.read(view, 0, BLOCK, positions.next());
    }),
  ]);
  if (!own || !sync || !builtin) throw new Error("a side is missing");
  line(own, { with: sync, bar: 1 / 0.6 }, { with: builtin });
  line(sync);
  line(builtin);
}
