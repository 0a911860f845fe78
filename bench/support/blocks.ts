import type { FileHandle } from "node:fs/promises";

export const BLOCK = 4096;
/** 64 MiB: less than a runtime's own executable, which is the file read from. */
const BLOCKS = 16384;

/**
 * Random offsets of blocks, the same as the twin's. It goes on from round to round: a round that began anew would find in the
 * processor's caches what the one before has read.
 */
export class Positions {
  // In an array, as V8 allocates for large numbers elsewhere.
  readonly #random = Int32Array.of(1);

  next(): number {
    const random = (Math.imul(this.#random[0] as number, 1664525) + 1013904223) | 0;
    this.#random[0] = random;
    return ((random >>> 8) & (BLOCKS - 1)) * BLOCK;
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
