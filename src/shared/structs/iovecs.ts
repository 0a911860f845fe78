import { iovec as layout } from "../abi/index.ts";
import { Struct } from "../ring/pinned.ts";
import { addressOf, lengthOf, type Memory } from "./fields.ts";

// As many as one registration of buffers takes; reads and writes take 1024.
const MAX = 16384;

/** The pieces as they are now, once each is sure to be memory. */
function checked(buffers: readonly Memory[]): readonly Memory[] {
  if (!Array.isArray(buffers)) throw new TypeError("iovecs are made from an array of memory");
  // A plain array, whose methods are nobody's.
  const pieces: readonly Memory[] = Array.from(buffers);
  if (pieces.length < 1 || pieces.length > MAX) {
    throw new RangeError(`1 to ${MAX} pieces of memory are needed, not ${pieces.length}`);
  }
  for (const piece of pieces) addressOf(piece);
  return pieces;
}

/**
 * An array of `struct iovec`: the pieces of memory that one read, write, send or receive fills or takes in turn, as
 * `prepReadv` and its like take it. See readv(2).
 *
 * It keeps the memory it points to reachable for as long as it lives itself; a caller's view must not be transferred or
 * detached before the last completion of every operation that was given it.
 *
 * @example
 * ```ts
 * import { alloc, Iovecs } from "uring";
 *
 * const iovecs = new Iovecs([alloc(16), new Uint8Array(4096)]);
 * console.log(iovecs.length, iovecs.totalBytes); // 2 4112
 * ```
 */
export class Iovecs extends Struct {
  /** How many pieces there are. */
  readonly length: number;
  /** The sum of their sizes in bytes. */
  readonly totalBytes: number;
  readonly #buffers: readonly Memory[];

  /**
   * @param buffers 1 to 16384 pieces of memory; an empty view is a piece without memory
   * @throws RangeError for another number of them; TypeError for what is no memory, or memory that can move
   */
  constructor(buffers: readonly Memory[]) {
    const pieces = checked(buffers);
    super(Iovecs, pieces.length * layout.sizeof, pieces);
    this.#buffers = pieces;
    const view = this.dataView();
    let totalBytes = 0;
    for (const [i, buffer] of pieces.entries()) {
      const length = lengthOf(buffer);
      view.setBigUint64(i * layout.sizeof + layout.iov_base, BigInt(addressOf(buffer)), true);
      view.setBigUint64(i * layout.sizeof + layout.iov_len, BigInt(length), true);
      totalBytes += length;
    }
    this.length = pieces.length;
    this.totalBytes = totalBytes;
  }

  /** One of the pieces, as it was given. */
  at(index: number): Memory | undefined {
    return this.#buffers.at(index);
  }
}
