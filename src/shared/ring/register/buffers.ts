import {
  IORING_REGISTER_BUFFERS,
  IORING_REGISTER_BUFFERS_UPDATE,
  IORING_REGISTER_BUFFERS2,
  IORING_REGISTER_CLONE_BUFFERS,
  IORING_REGISTER_SRC_REGISTERED,
  IORING_RSRC_REGISTER_SPARSE,
  IORING_UNREGISTER_BUFFERS,
  io_uring_clone_buffers,
  io_uring_rsrc_register,
  io_uring_rsrc_update2,
  iovec,
} from "../../abi/index.ts";
import { bits32, u32, u64, whole } from "../../structs/fields.ts";
import { Argument } from "../argument.ts";
import type { Int64 } from "../entry.ts";
import { Pinned } from "../pinned.ts";
import { viewAddress, viewBuffer, viewLength } from "../view.ts";
import { Registration } from "./registration.ts";

const ENOMEM = 12;
const EFAULT = 14;
const EBUSY = 16;
const EINVAL = 22;
const ENXIO = 6;
const EOVERFLOW = 75;

const HINTS = {
  [EBUSY]: "The ring has a table of buffers already: unregister it first, or update its slots",
  [ENXIO]: "The ring has no table of buffers",
  [EFAULT]: "A buffer is larger than 1 GiB, or memory that can not be pinned",
  [ENOMEM]:
    "Registered memory counts against the user's limit of locked memory (`ulimit -l`): raise it or register less",
};

const SPARSE_HINT = "Tables of empty slots came with Linux 5.19";

const CLONE_HINTS = {
  [EBUSY]:
    "This ring has a table of buffers already: unregister it first, or pass IORING_REGISTER_DST_REPLACE",
  [ENXIO]: "The source has no table of buffers",
  [EINVAL]:
    "The range is larger than the source's table, or the kernel too old: 6.12 clones tables, 6.13 ranges",
  [EOVERFLOW]: "The range ends beyond the source's table, or beyond what a table can hold",
};

/** Memory to register as a buffer; `null` or `undefined` leaves the slot empty. */
export type BufferSlot = Pinned | Uint8Array | null | undefined;

/** The registration calls for buffers that the kernel maps once instead of for each operation. */
export class BufferRegistration extends Registration {
  /**
   * Views of callers that the kernel may use, by slot. Memory from `alloc` is not among them: it stays what it is for as
   * long as the process lives.
   */
  readonly #views = new Map<number, ArrayBufferLike>();

  /**
   * Registers buffers, for `prepReadFixed`, `prepWriteFixed` and all that take a buffer's index. The kernel pins their
   * memory, which counts against the user's limit of locked memory.
   *
   * The buffers are the kernel's until they are replaced or unregistered and the operations on them have ended, or the
   * ring is closed. A view must not be transferred or detached before, and `alloc`'s memory not be disposed of.
   *
   * @param buffers 1 to 16384, each up to 1 GiB; an index is the place in this array
   * @throws UringError EBUSY when there are registered buffers already, ENOMEM beyond the limit of locked memory.
   * See io_uring_register_buffers(3).
   *
   * @example
   * ```ts
   * import { alloc, Ring } from "uring";
   *
   * using ring = new Ring();
   * const buffers = [alloc(4096), alloc(4096)];
   * ring.registerBuffers(buffers);
   * // ring.getSqe()?.prepReadFixed(fd, buffers[1], 4096, 0, 1);
   * ```
   */
  registerBuffers(buffers: readonly BufferSlot[]): void {
    using iovecs = new BufferArray(buffers);
    this.register(IORING_REGISTER_BUFFERS, iovecs.address, iovecs.count, HINTS);
    this.#set(0, iovecs.views);
  }

  /**
   * As `registerBuffers`, with a tag for each: once a buffer has been replaced or unregistered and no operation uses it
   * any more, a completion comes with the tag as `userData`, `res` 0 and `flags` 0. A tag of 0 stands for none.
   *
   * Until then the ring does not count as idle. Linux 5.13. See io_uring_register_buffers_tags(3).
   *
   * @param tags one for each buffer; 0 for an empty slot
   */
  registerBuffersTags(buffers: readonly BufferSlot[], tags: readonly Int64[]): void {
    using iovecs = new BufferArray(buffers);
    using words = new TagArray(tags, iovecs.count);
    this.registerResources(
      IORING_REGISTER_BUFFERS2,
      iovecs.count,
      0,
      iovecs.address,
      words.addressOrNone,
      HINTS,
    );
    this.expectCompletions(words.used(iovecs.count));
    this.#set(0, iovecs.views);
  }

  /**
   * Makes a table of empty slots, for `registerBuffersUpdateTag` to fill. Linux 5.19. See
   * io_uring_register_buffers_sparse(3).
   *
   * @param nr how many, up to 16384
   */
  registerBuffersSparse(nr: number): void {
    const count = u32(nr, "number of buffers");
    this.registerResources(IORING_REGISTER_BUFFERS2, count, IORING_RSRC_REGISTER_SPARSE, 0, 0, HINTS);
  }

  /**
   * Replaces the buffers of some slots. Operations under way go on with those they have. Linux 5.13. See
   * io_uring_register_buffers_update_tag(3).
   *
   * @param offset the first slot
   * @param buffers what to put there; `null` or `undefined` clears a slot
   * @param tags one for each buffer, as for `registerBuffersTags`; none unless given
   * @returns how many slots were updated: all, or those before the first that failed
   */
  registerBuffersUpdateTag(offset: number, buffers: readonly BufferSlot[], tags?: readonly Int64[]): number {
    const first = u32(offset, "offset");
    using iovecs = new BufferArray(buffers);
    using words = new TagArray(tags, iovecs.count);
    const opcode = IORING_REGISTER_BUFFERS_UPDATE;
    const done = this.updateResources(opcode, first, iovecs.count, iovecs.address, words.addressOrNone, {
      ...HINTS,
      [EINVAL]: "The slots end beyond the table, or an empty slot was given a tag",
    });
    this.expectCompletions(words.used(done));
    this.#set(first, iovecs.views.slice(0, done));
    return done;
  }

  /**
   * Unregisters all buffers. Operations under way go on with theirs. See io_uring_unregister_buffers(3).
   *
   * @throws UringError ENXIO when there are none
   */
  unregisterBuffers(): void {
    this.register(IORING_UNREGISTER_BUFFERS, 0, 0, HINTS);
    for (const view of this.#views.values()) this.hold(view);
    this.#views.clear();
  }

  /**
   * Takes over the whole table of another ring: its buffers are registered here as well, without pinning or counting
   * them anew. Tags stay with the source. Linux 6.12. See io_uring_clone_buffers(3).
   *
   * @param src the ring, whose buffers stay reachable for as long as either ring may use them; or the fd of a ring that
   * this thread has no `Ring` of, then the caller keeps the buffers
   * @param flags `IORING_REGISTER_DST_REPLACE` to replace buffers this ring has, `IORING_REGISTER_SRC_REGISTERED` where
   * `src` is not an fd but an index of a registered ring
   */
  cloneBuffers(src: BufferRegistration | number, flags = 0): void {
    this.cloneBuffersOffset(src, 0, 0, 0, flags);
  }

  /**
   * As `cloneBuffers`, for some slots of the table. Linux 6.13. See io_uring_clone_buffers_offset(3).
   *
   * @param dstOff the first slot to fill
   * @param srcOff the first slot to take
   * @param nr how many; 0 for the whole table
   * @throws UringError EBUSY when this ring has buffers and `flags` lack `IORING_REGISTER_DST_REPLACE`
   */
  cloneBuffersOffset(
    src: BufferRegistration | number,
    dstOff: number,
    srcOff: number,
    nr: number,
    flags = 0,
  ): void {
    const source = sourceOf(src, (ring) => ring.reference);
    const dst = u32(dstOff, "destination offset");
    const from = u32(srcOff, "source offset");
    const count = u32(nr, "number of buffers");
    const registered = source.registered ? IORING_REGISTER_SRC_REGISTERED : 0;
    const layout = io_uring_clone_buffers;
    using argument = new Argument(layout.sizeof);
    const { view } = argument;
    view.setUint32(layout.src_fd, source.fd, true);
    view.setUint32(layout.flags, bits32(flags, "flags") | registered, true);
    view.setUint32(layout.src_off, from, true);
    view.setUint32(layout.dst_off, dst, true);
    view.setUint32(layout.nr, count, true);
    this.register(IORING_REGISTER_CLONE_BUFFERS, argument.address, 1, CLONE_HINTS);
    if (typeof src === "number") return;
    // The kernel copies with the table unchanged, also where source and destination are one and the same.
    const end = count === 0 ? Number.POSITIVE_INFINITY : from + count;
    for (const [slot, buffer] of [...src.#views]) {
      if (slot >= from && slot < end) this.#set(dst + slot - from, [buffer]);
    }
  }

  /** Makes a call that takes a `struct io_uring_rsrc_register`. */
  protected registerResources(
    opcode: number,
    nr: number,
    flags: number,
    data: number,
    tags: number,
    hints: Readonly<Record<number, string>>,
  ): void {
    const layout = io_uring_rsrc_register;
    using argument = new Argument(layout.sizeof);
    const { view } = argument;
    view.setUint32(layout.nr, nr, true);
    view.setUint32(layout.flags, flags, true);
    view.setBigUint64(layout.data, BigInt(data), true);
    view.setBigUint64(layout.tags, BigInt(tags), true);
    const sparse = (flags & IORING_RSRC_REGISTER_SPARSE) !== 0 ? { [EINVAL]: SPARSE_HINT } : {};
    this.register(opcode, argument.address, layout.sizeof, { ...sparse, ...hints });
  }

  /** Makes a call that takes a `struct io_uring_rsrc_update2`; how many slots it has updated. */
  protected updateResources(
    opcode: number,
    offset: number,
    nr: number,
    data: number,
    tags: number,
    hints: Readonly<Record<number, string>>,
  ): number {
    const layout = io_uring_rsrc_update2;
    using argument = new Argument(layout.sizeof);
    const { view } = argument;
    view.setUint32(layout.offset, offset, true);
    view.setBigUint64(layout.data, BigInt(data), true);
    view.setBigUint64(layout.tags, BigInt(tags), true);
    view.setUint32(layout.nr, nr, true);
    return this.register(opcode, argument.address, layout.sizeof, hints);
  }

  /** Notes whose memory is in which slot; what was there before stays reachable while operations may use it. */
  #set(first: number, views: readonly (ArrayBufferLike | undefined)[]): void {
    this.holdForGood(this.#views);
    for (const [i, view] of views.entries()) {
      const before = this.#views.get(first + i);
      if (before !== undefined) this.hold(before);
      if (view === undefined) this.#views.delete(first + i);
      else this.#views.set(first + i, view);
    }
  }
}

type Reference = { readonly fd: number; readonly registered: boolean };

function sourceOf(
  src: BufferRegistration | number,
  reference: (ring: BufferRegistration) => Reference,
): Reference {
  if (src instanceof BufferRegistration) return reference(src);
  if (typeof src !== "number")
    throw new TypeError("a Ring, or the fd of one, is needed to clone buffers from");
  return { fd: whole(src, 0, 0x7fff_ffff, "fd"), registered: false };
}

/** An array of `struct iovec` for one call. */
class BufferArray extends Argument {
  readonly count: number;
  /** The memory that is the engine's, by place: that of views. */
  readonly views: readonly (ArrayBufferLike | undefined)[];

  constructor(buffers: readonly BufferSlot[]) {
    if (!Array.isArray(buffers)) throw new TypeError("an array of buffers is needed");
    const pieces = Array.from(buffers, pieceOf);
    super(Math.max(pieces.length * iovec.sizeof, 1));
    this.count = pieces.length;
    this.views = pieces.map(({ view }) => view);
    for (const [i, { address, length }] of pieces.entries()) {
      this.view.setBigUint64(i * iovec.sizeof + iovec.iov_base, BigInt(address), true);
      this.view.setBigUint64(i * iovec.sizeof + iovec.iov_len, BigInt(length), true);
    }
  }
}

function pieceOf(buffer: BufferSlot): { address: number; length: number; view?: ArrayBufferLike } {
  if (buffer === null || buffer === undefined) return { address: 0, length: 0 };
  if (buffer instanceof Pinned) return { address: Pinned.addressOf(buffer), length: Pinned.lengthOf(buffer) };
  if (!(buffer instanceof Uint8Array)) {
    throw new TypeError("a buffer must be a Pinned, a Uint8Array, or null for an empty slot");
  }
  return { address: viewAddress(buffer), length: viewLength(buffer), view: viewBuffer(buffer) };
}

/** An array of 64-bit tags for one call. */
export class TagArray extends Argument {
  /** Where it is; 0 where no tags are given. */
  readonly addressOrNone: number;
  readonly #tags: readonly bigint[];

  /** @param count how many there must be */
  constructor(tags: readonly Int64[] | undefined, count: number) {
    if (tags !== undefined && !Array.isArray(tags)) throw new TypeError("an array of tags is needed");
    const checked = Array.from(tags ?? [], (tag) => u64(tag, "tag"));
    if (tags !== undefined && checked.length !== count) {
      throw new RangeError(`${count} tags are needed, one for each slot, not ${checked.length}`);
    }
    super(Math.max(count * 8, 1));
    this.#tags = checked;
    this.addressOrNone = tags === undefined ? 0 : this.address;
    for (const [i, tag] of checked.entries()) this.view.setBigUint64(i * 8, tag, true);
  }

  /** How many of the first tags stand for a completion to come. */
  used(count: number): number {
    return this.#tags.slice(0, count).filter((tag) => tag !== 0n).length;
  }
}
