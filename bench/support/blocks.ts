import type { FileHandle } from "node:fs/promises";

export const BLOCK = 4096;
/** 64 MiB: less than a runtime's own executable, which is the file read from. */
const BLOCKS = 16384;

/** The next of a series of random numbers, the same as the twin's. */
export function next(random: number): number {
  return (Math.imul(random, 1664525) + 1013904223) | 0;
}

/** Which block of the file a random number stands for, as its first byte's offset. */
export function position(random: number): number {
  return ((random >>> 8) & (BLOCKS - 1)) * BLOCK;
}

/** Random offsets of blocks, a series for each of several loops. In an array, as V8 allocates for large numbers elsewhere. */
export class Positions {
  readonly #random: Int32Array;

  constructor(series: number) {
    this.#random = Int32Array.from({ length: series }, (_, i) => i + 1);
  }

  next(series: number): number {
    const random = next(this.#random[series] as number);
    this.#random[series] = random;
    return position(random);
  }
}

/** Brings the file into the page cache. */
export async function readAll(file: FileHandle): Promise<void> {
  const view = new Uint8Array(1 << 20);
  for (let offset = 0; offset < BLOCKS * BLOCK; offset += view.length) {
    const { bytesRead } = await file.read(view, 0, view.length, offset);
    if (bytesRead < view.length) throw new Error("the file is too small to read at random from");
  }
}
