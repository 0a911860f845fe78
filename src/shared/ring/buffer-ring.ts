import {
  IORING_CQE_BUFFER_SHIFT,
  IORING_CQE_F_BUF_MORE,
  IORING_CQE_F_BUFFER,
  io_uring_buf,
  io_uring_buf_ring,
} from "../abi/index.ts";
import { whole } from "../structs/fields.ts";
import { Pinned } from "./pinned.ts";

const F_BUFFER = IORING_CQE_F_BUFFER;
const F_BUF_MORE = IORING_CQE_F_BUF_MORE;

/** Stands for the position of a buffer that is the caller's, and for the one that follows it when none does. */
const NONE = -1;

// Places in an entry: of 32-bit words, of 16-bit ones.
const ADDR = io_uring_buf.addr / 4;
const LEN = io_uring_buf.len / 4;
const BID = io_uring_buf.bid / 2;
const TAIL = io_uring_buf_ring.tail / 2;

const TWO_32 = 4294967296;

/** The memory of a buffer ring that the kernel reads. */
export interface BufferRingMemory {
  readonly buffer: ArrayBufferLike;
  readonly offset: number;
  release(): void;
}

/** What a buffer ring needs of the ring it is registered with. */
export interface BufferRingOwner {
  bufRingHead(group: number): number;
  freeBufRing(bufferRing: BufferRing): void;
}

/** What a completion brought into one buffer. */
export interface BufferPiece {
  /** The buffer. */
  readonly id: number;
  /** The bytes, in the buffer's own memory. */
  readonly bytes: Uint8Array;
  /** Whether the kernel is done with the buffer, so that it can be recycled; `false` in incremental mode while room is left. */
  readonly done: boolean;
}

/**
 * A ring of buffers from which the kernel picks one at the moment an operation has data: what `setBufferGroup` and the
 * multishot receives name by group. Made by `Ring.setupBufRing`.
 *
 * A buffer is the kernel's from `add` and `advance` (or `recycle`) until a completion names it. `bytes` or `pieces` take
 * that completion, once, and give its data; then the buffer is the caller's, until it is recycled. What the kernel has
 * can not be added again, so that no two reads ever share a buffer.
 *
 * @example
 * ```ts
 * import { Ring } from "uring";
 *
 * using ring = new Ring();
 * const pool = ring.setupBufRing({ group: 1, entries: 64, bufferSize: 4096 });
 * ring.getSqe()?.prepReadMultishot(0, 0, -1, pool.group).setData64(1);
 * ring.submitAndWait(1, { timeout: 100 });
 * ring.drain((userData, res, flags) => {
 *   if (res <= 0) return; // 0 at the end, -ENOBUFS (-105) when the pool is empty
 *   console.log(pool.bytes(flags, res));
 *   pool.recycle(flags >>> 16);
 * });
 * ```
 */
export class BufferRing {
  /** The group that operations name. */
  readonly group: number;
  /** How many buffers the ring has room for, a power of two. */
  readonly entries: number;
  /** `entries - 1`. See io_uring_buf_ring_mask(3). */
  readonly mask: number;
  /** The ids are this and the numbers that follow, one for each buffer. */
  readonly firstId: number;
  /** How many buffers there are. */
  readonly count: number;
  readonly #owner: BufferRingOwner;
  readonly #release: () => void;
  #words: Int32Array;
  #halves: Uint16Array;
  #live = true;
  readonly #bytes: readonly Uint8Array[];
  readonly #buffers: readonly Pinned[];
  /** By buffer: how much of it the kernel was given, from its start. */
  readonly #given: Float64Array;
  /** By buffer: how much of that it has used, which is where the next bytes will be. */
  readonly #used: Float64Array;
  /** By buffer: its position among all that were ever added, `NONE` when it is the caller's. */
  readonly #places: Float64Array;
  /** By buffer: the one that was added after it. */
  readonly #followers: Int32Array;
  #last = NONE;
  /** Position up to which the kernel may pick buffers. It knows the low 16 bits. */
  #tail = 0;
  /** Position of the next buffer to add. */
  #next = 0;

  /** @internal */
  constructor(
    owner: BufferRingOwner,
    group: number,
    entries: number,
    firstId: number,
    buffers: readonly Pinned[],
    memory: BufferRingMemory,
  ) {
    this.#owner = owner;
    this.group = group;
    this.entries = entries;
    this.mask = entries - 1;
    this.firstId = firstId;
    this.count = buffers.length;
    this.#release = () => memory.release();
    this.#words = new Int32Array(memory.buffer, memory.offset, (entries * io_uring_buf.sizeof) / 4);
    this.#halves = new Uint16Array(memory.buffer, memory.offset, (entries * io_uring_buf.sizeof) / 2);
    this.#bytes = buffers.map(Pinned.bytesOf);
    this.#buffers = buffers;
    this.#given = new Float64Array(buffers.length);
    this.#used = new Float64Array(buffers.length);
    this.#places = new Float64Array(buffers.length).fill(NONE);
    this.#followers = new Int32Array(buffers.length).fill(NONE);
    // What it says of itself is what the kernel is told.
    Object.freeze(this);
  }

  /**
   * Puts a buffer at the end of the ring; `advance` then shows it to the kernel. See io_uring_buf_ring_add(3).
   *
   * @param length how much of the buffer the kernel may use: what is to be sent, or room to receive; all of it unless given
   * @throws Error when the kernel has the buffer already, or its completion was not taken by `bytes` or `pieces`; TypeError for
   * memory that was disposed of
   */
  add(id: number, length?: number): this {
    const i = this.#index(id);
    if (this.#places[i] !== NONE) {
      throw new Error(
        `buffer ${id} is not the caller's: it was added before, and no completion of it has been taken since`,
      );
    }
    const buffer = this.#buffers[i] as Pinned;
    const size = Pinned.lengthOf(buffer);
    const given = length === undefined ? size : whole(length, 1, size, "length");
    const address = Pinned.addressOf(buffer);
    const slot = this.#next & this.mask;
    const words = this.#words;
    words[4 * slot + ADDR] = address;
    words[4 * slot + ADDR + 1] = address / TWO_32;
    words[4 * slot + LEN] = given;
    // The entry's last two bytes are not written: in the first entry they are the ring's tail.
    this.#halves[8 * slot + BID] = id;
    this.#places[i] = this.#next++;
    this.#followers[i] = NONE;
    if (this.#last !== NONE) this.#followers[this.#last] = i;
    this.#last = i;
    this.#given[i] = given;
    this.#used[i] = 0;
    return this;
  }

  /**
   * Shows added buffers to the kernel. See io_uring_buf_ring_advance(3).
   *
   * @param count how many, all that have been added unless given
   * @throws RangeError for more than have been added
   */
  advance(count?: number): void {
    if (!this.#live) throw freed();
    const added = this.#next - this.#tail;
    this.#tail += count === undefined ? added : whole(count, 0, added, "count");
    // A store the kernel sees after those of the entries; the array takes the low 16 bits.
    Atomics.store(this.#halves, TAIL, this.#tail);
  }

  /** Gives a buffer back to the kernel, and any that have been added before: `add` and `advance` in one. */
  recycle(id: number, length?: number): void {
    this.add(id, length).advance();
  }

  /**
   * A view of a buffer from its start, whoever's it is: to fill it before it is added.
   *
   * @param length how many bytes, all unless given
   */
  get(id: number, length?: number): Uint8Array {
    const bytes = this.#bytes[this.#index(id)] as Uint8Array;
    return length === undefined ? bytes : bytes.subarray(0, whole(length, 0, bytes.length, "length"));
  }

  /**
   * Takes a completion whose data is in one buffer, and gives the data. The buffer is `flags >>> 16`, and the caller's
   * from then on, unless it is used incrementally and `flags` have `IORING_CQE_F_BUF_MORE`.
   *
   * To be called once for each completion with `IORING_CQE_F_BUFFER`, in the order of completions where buffers are used
   * incrementally.
   *
   * @param flags the completion's
   * @param res the completion's; below 0 as 0
   * @param asked for incremental use: how many bytes the operation asked for, where it got fewer and the file can not be
   * polled, as a regular one's end, or it had `IOSQE_ASYNC`. The kernel has then set aside as much as was asked for, and
   * goes on behind it.
   * @throws RangeError for more bytes than the buffer has, as bundles bring: use `pieces`. Error for a buffer that the
   * kernel did not have
   */
  bytes(flags: number, res: number, asked?: number): Uint8Array {
    const i = this.#picked(flags);
    if (asked !== undefined) whole(asked, 0, 0xffff_ffff, "asked");
    const start = this.#used[i] as number;
    const end = start + Math.max(res | 0, 0);
    const given = this.#given[i] as number;
    if (end > given) {
      throw new RangeError(
        `${res} bytes are more than are in one buffer: pieces() has all that a bundle brought`,
      );
    }
    if ((flags & F_BUF_MORE) === 0) this.#places[i] = NONE;
    else this.#used[i] = asked === undefined ? end : Math.min(Math.max(end, start + asked), given);
    return (this.#bytes[i] as Uint8Array).subarray(start, end);
  }

  /**
   * As `bytes`, for data that may be in several buffers: with `IORING_RECVSEND_BUNDLE` the completion names the first,
   * and those that follow in the order of the ring have the rest.
   *
   * @returns the pieces in the order of the data, at least one
   */
  pieces(flags: number, res: number): BufferPiece[] {
    const pieces: BufferPiece[] = [];
    let i = this.#picked(flags);
    for (let left = Math.max(res | 0, 0); ; ) {
      const start = this.#used[i] as number;
      const length = Math.min(left, (this.#given[i] as number) - start);
      left -= length;
      pieces.push({
        id: this.firstId + i,
        bytes: (this.#bytes[i] as Uint8Array).subarray(start, start + length),
        done: left > 0 || (flags & F_BUF_MORE) === 0,
      });
      if (left === 0) break;
      const place = (this.#places[i] as number) + 1;
      i = this.#followers[i] as number;
      if (i === NONE || this.#places[i] !== place || place >= this.#tail) {
        throw new RangeError(`${res} bytes are more than are in the buffers that the kernel had`);
      }
    }
    for (const { id, bytes, done } of pieces) {
      const piece = id - this.firstId;
      if (done) this.#places[piece] = NONE;
      else this.#used[piece] = (this.#used[piece] as number) + bytes.length;
    }
    return pieces;
  }

  /**
   * How many buffers the kernel has yet to pick. A system call; Linux 6.8. See io_uring_buf_ring_available(3).
   */
  available(): number {
    return (this.#tail - this.head()) & 0xffff;
  }

  /**
   * Position, of 16 bits, of the next buffer that the kernel will pick. A system call; Linux 6.8. See
   * io_uring_buf_ring_head(3).
   */
  head(): number {
    if (!this.#live) throw freed();
    return this.#owner.bufRingHead(this.group);
  }

  /** Whether it was freed, or its ring closed. */
  get freed(): boolean {
    return !this.#live;
  }

  /** Unregisters the buffer ring, as `Ring.freeBufRing` does. Does nothing once it is freed, or its ring closed. */
  free(): void {
    if (this.#live) this.#owner.freeBufRing(this);
  }

  /** Unregisters the buffer ring. */
  [Symbol.dispose](): void {
    this.free();
  }

  /** @internal Ends it, once the kernel knows it no longer. */
  end(): void {
    if (!this.#live) return;
    this.#live = false;
    this.#words = new Int32Array(0);
    this.#halves = new Uint16Array(0);
    this.#release();
  }

  #index(id: number): number {
    if (!this.#live) throw freed();
    return whole(id, this.firstId, this.firstId + this.count - 1, "buffer id") - this.firstId;
  }

  /** The buffer that a completion names, which must be one the kernel had. */
  #picked(flags: number): number {
    if ((flags & F_BUFFER) === 0) throw new TypeError("the completion's flags name no buffer");
    const id = flags >>> IORING_CQE_BUFFER_SHIFT;
    const i = this.#index(id);
    const place = this.#places[i] as number;
    if (place === NONE || place >= this.#tail) {
      throw new Error(`the kernel did not have buffer ${id}: this completion was taken before`);
    }
    return i;
  }
}

function freed(): TypeError {
  return new TypeError("the buffer ring is freed");
}
