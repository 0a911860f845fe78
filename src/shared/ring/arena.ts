import { runtime } from "#runtime";
import { errnoError } from "./errno.ts";

const PAGE = 65536;
const FIRST_CHUNK_PAGES = 256;
const LAST_CHUNK_PAGES = 65536;
const SMALLEST = 6;
const ENOMEM = 12;

/** Every chunk of every arena, so that none is collected while the kernel may know it. */
const chunks: { readonly address: number; readonly buffer: ArrayBuffer }[] = [];

/** The memory of an arena that an address is in. */
export function arenaChunk(address: number): (typeof chunks)[number] | undefined {
  return chunks.find(
    (chunk) => address >= chunk.address && address < chunk.address + chunk.buffer.byteLength,
  );
}

/** A piece of an arena's memory, a power of two bytes long and aligned to its length up to 64 KiB. */
export interface Block {
  /** Whether the memory is known to be all zero. */
  readonly clean: boolean;
  readonly buffer: ArrayBuffer | SharedArrayBuffer;
  readonly offset: number;
  /** log2 of the length. */
  readonly order: number;
  readonly address: number;
}

/**
 * Memory the kernel may be given, cut from a few large WebAssembly memories.
 *
 * The kernel writes to memory after a call has returned. So nothing here ever goes back to the engine: a block that is
 * given back waits for the next one of its size, and a block that is never given back stays. Few and large because each
 * WebAssembly memory reserves gigabytes of address space in V8.
 */
export class Arena {
  #chunk: ArrayBuffer | undefined;
  #chunkAddress = 0;
  #used = 0;
  #nextChunkPages = FIRST_CHUNK_PAGES;
  readonly #free: Block[][] = [];

  /** A zeroed block of at least so many bytes. Throws `UringError` ENOMEM when the engine has no more memory. */
  take(bytes: number): Block {
    let order = SMALLEST;
    while (2 ** order < bytes) order++;
    const recycled = this.#free[order]?.pop();
    if (recycled !== undefined) {
      if (!recycled.clean) new Uint8Array(recycled.buffer, recycled.offset, 2 ** order).fill(0);
      return recycled;
    }
    // What is smaller than a page is cut from one, by halves, so that alignment comes by itself.
    if (order < 16) {
      const whole = this.take(2 ** (order + 1));
      const half = 2 ** order;
      this.#keep({ ...whole, offset: whole.offset + half, order, address: whole.address + half });
      return { ...whole, order };
    }
    return this.#cut(order);
  }

  /** Gives a block back for reuse. The caller vouches that the kernel is done with it. */
  give(block: Block): void {
    this.#keep({ ...block, clean: false });
  }

  /**
   * Gives a block of whole pages back that a ring lived in. The kernel goes on writing into the pages it has pinned, as
   * late as 20 ms after the ring is closed, so the block gets others. Where that can not be, it is never used again.
   */
  giveRing(block: Block): void {
    if (discardPages(new Uint8Array(block.buffer, block.offset, 2 ** block.order), block.address)) {
      this.#keep({ ...block, clean: true });
    }
  }

  #keep(block: Block): void {
    let list = this.#free[block.order];
    if (list === undefined) this.#free[block.order] = list = [];
    list.push(block);
  }

  #cut(order: number): Block {
    const length = 2 ** order;
    if (this.#chunk === undefined || this.#used + length > this.#chunk.byteLength) {
      const pages = Math.min(Math.max(this.#nextChunkPages, length / PAGE + 1), LAST_CHUNK_PAGES);
      this.#chunk = allocate(pages);
      this.#chunkAddress = runtime.load().address(new Uint8Array(this.#chunk));
      chunks.push({ address: this.#chunkAddress, buffer: this.#chunk });
      // Engines align to the machine's pages, which are smaller than these.
      this.#used = (PAGE - (this.#chunkAddress % PAGE)) % PAGE;
      this.#nextChunkPages = Math.min(2 * this.#nextChunkPages, LAST_CHUNK_PAGES);
    }
    const offset = this.#used;
    this.#used += length;
    return { clean: true, buffer: this.#chunk, offset, order, address: this.#chunkAddress + offset };
  }
}

/** Exchanges the pages of memory for new ones; whether that has worked, which one byte tells. */
export function discardPages(bytes: Uint8Array, address: number): boolean {
  bytes[0] = 1;
  return runtime.load().discard(address, bytes.length) === 0 && bytes[0] === 0;
}

function allocate(pages: number): ArrayBuffer {
  try {
    return runtime.allocate(pages, false) as ArrayBuffer;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw errnoError(ENOMEM, "alloc", { hint: `The engine has no ${pages * PAGE} bytes of memory left` });
  }
}
