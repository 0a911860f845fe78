import { runtime } from "#runtime";
import {
  IORING_OFF_PBUF_RING,
  IORING_OFF_PBUF_SHIFT,
  IORING_REGISTER_PBUF_RING,
  IORING_REGISTER_PBUF_STATUS,
  IORING_UNREGISTER_PBUF_RING,
  IOU_PBUF_RING_INC,
  IOU_PBUF_RING_MMAP,
  io_uring_buf,
  io_uring_buf_reg,
  io_uring_buf_status,
} from "../../abi/index.ts";
import { u16, u32, u64, whole } from "../../structs/fields.ts";
import { Argument } from "../argument.ts";
import { BufferRing, type BufferRingMemory } from "../buffer-ring.ts";
import type { CloseResult } from "../close.ts";
import { setupError } from "../diagnosis.ts";
import type { Int64 } from "../entry.ts";
import { alloc, Pinned } from "../pinned.ts";
import { ringArena, unmap, viewOrUnmap } from "../setup.ts";
import { FileRegistration } from "./files.ts";
import { object } from "./values.ts";

const ENOENT = 2;
const EEXIST = 17;
const EINVAL = 22;

/** A block that `giveRing` takes back: whole pages on every machine. */
const PAGE = 65536;
const MAX_ENTRIES = 32768;
/** Groups beyond have no place in the offset that names a mapping. */
const MAX_MAPPED_GROUP = 2047;

/** What a buffer ring is made of. */
export interface BufferRingOptions {
  /** The group that operations name it by, 0 to 65535; with `IOU_PBUF_RING_MMAP` to 2047. */
  readonly group: number;
  /** How many buffers it has room for: a power of two up to 32768. Unless given, as many as `buffers` need. */
  readonly entries?: number;
  /** Allocates `entries` buffers of so many bytes, which go with the ring. */
  readonly bufferSize?: number;
  /** The buffers themselves, at most `entries`; they stay the caller's to dispose of. */
  readonly buffers?: readonly Pinned[];
  /** The first buffer's id, 0 unless given; the others follow. */
  readonly firstId?: number;
  /**
   * `IOU_PBUF_RING_INC`: operations use up a buffer bit by bit. `IOU_PBUF_RING_MMAP`: the ring's memory is the kernel's.
   */
  readonly flags?: number;
  /** With `IOU_PBUF_RING_INC`: a buffer with less room than so many bytes counts as used up. */
  readonly minLeft?: number;
  /** Whether the kernel gets all buffers at once, by default; `false` leaves that to `add` and `advance`. */
  readonly fill?: boolean;
}

/** What `registerBufRing` tells the kernel. */
export interface BufRingRegistrationOptions {
  /** The address of the ring's memory, page-aligned; 0 with `IOU_PBUF_RING_MMAP`. */
  readonly address: Int64;
  readonly entries: number;
  readonly group: number;
  readonly flags?: number;
  readonly minLeft?: number;
}

/** The registration calls for rings of buffers that the kernel picks from. */
export class BufRingRegistration extends FileRegistration {
  /** What this ring has by `setupBufRing`, and the memory that goes with each. */
  readonly #bufferRings = new Map<BufferRing, Pinned | undefined>();

  /**
   * Makes a ring of buffers, and registers it. Its own memory is out of the program's reach, since the kernel follows the
   * addresses in it. Linux 5.19; `IOU_PBUF_RING_MMAP` 6.4, `IOU_PBUF_RING_INC` 6.12, `minLeft` 7.1 and later releases of
   * 6.18. See io_uring_setup_buf_ring(3).
   *
   * A ring can have several groups, say one for each size of buffer.
   *
   * @throws UringError EEXIST when the group has buffers already; UringUnavailableError for `IOU_PBUF_RING_MMAP` in Deno
   * under a path-scoped `--allow-ffi`; TypeError and RangeError for options that can not be
   */
  setupBufRing(options: BufferRingOptions): BufferRing {
    const { group, entries, bufferSize, buffers, firstId, flags, minLeft, fill } = checked(options);
    const own = bufferSize === undefined ? undefined : alloc(entries * bufferSize);
    const list =
      own === undefined || bufferSize === undefined
        ? buffers
        : Array.from({ length: entries }, (_, i) => own.slice(i * bufferSize, bufferSize));
    let bufferRing: BufferRing;
    try {
      // The options may have disposed of it.
      for (const buffer of list) Pinned.addressOf(buffer);
      const memory = this.#memory(group, entries, flags, minLeft);
      bufferRing = new BufferRing(this, group, entries, firstId, list, memory);
    } catch (error) {
      own?.[Symbol.dispose]();
      throw error;
    }
    this.#bufferRings.set(bufferRing, own);
    if (fill) {
      for (let i = 0; i < list.length; i++) bufferRing.add(firstId + i);
      bufferRing.advance();
    }
    return bufferRing;
  }

  /**
   * Unregisters a buffer ring. It can not be used any more; buffers that it allocated are given back once no operation is
   * in flight, and their views must not be used any more then. See io_uring_free_buf_ring(3).
   */
  freeBufRing(bufferRing: BufferRing): void {
    if (!this.#bufferRings.has(bufferRing)) throw new TypeError("a BufferRing of this ring is needed");
    this.unregisterBufRing(bufferRing.group);
  }

  /**
   * Registers a ring of buffers in memory of the caller's, who answers for the addresses in it: `setupBufRing` does so by
   * itself. Linux 5.19. See io_uring_register_buf_ring(3).
   *
   * @throws UringError EEXIST when the group has buffers already, EINVAL for `entries` other than a power of two up to
   * 32768
   */
  registerBufRing(options: BufRingRegistrationOptions): void {
    const { address, entries, group, flags = 0, minLeft = 0 } = object(options, "options");
    const layout = io_uring_buf_reg;
    using argument = new Argument(layout.sizeof);
    const { view } = argument;
    view.setBigUint64(layout.ring_addr, u64(address, "address"), true);
    view.setUint32(layout.ring_entries, u32(entries, "entries"), true);
    view.setUint16(layout.bgid, u16(group, "group"), true);
    view.setUint16(layout.flags, u16(flags, "flags"), true);
    view.setUint32(layout.min_left, u32(minLeft, "minLeft"), true);
    this.register(IORING_REGISTER_PBUF_RING, argument.address, 1, {
      [EEXIST]:
        "The group has buffers already; or the ring, with IORING_SETUP_SINGLE_ISSUER, belongs to another thread",
      [EINVAL]:
        "Entries must be a power of two up to 32768 and the address a page's; IOU_PBUF_RING_MMAP came with Linux 6.4, " +
        "IOU_PBUF_RING_INC with 6.12, minLeft with 7.1 and some releases before",
    });
  }

  /**
   * Unregisters the ring of buffers of a group. Buffers that operations have picked stay with those. Linux 5.19. See
   * io_uring_unregister_buf_ring(3).
   *
   * @throws UringError ENOENT for a group that has no buffers, EINVAL for one that has no ring of them
   */
  unregisterBufRing(group: number): void {
    const layout = io_uring_buf_reg;
    using argument = new Argument(layout.sizeof);
    argument.view.setUint16(layout.bgid, u16(group, "group"), true);
    this.register(IORING_UNREGISTER_PBUF_RING, argument.address, 1, {
      [ENOENT]: `There are no buffers in group ${group}`,
      [EINVAL]: `The buffers of group ${group} are not in a ring`,
    });
    for (const [bufferRing, own] of this.#bufferRings) {
      if (bufferRing.group !== group) continue;
      this.#bufferRings.delete(bufferRing);
      bufferRing.end();
      if (own !== undefined) this.whenIdle(() => own[Symbol.dispose]());
    }
  }

  /**
   * Position, of 16 bits, of the buffer that the kernel will pick next from a group's ring. Linux 6.8. See
   * io_uring_buf_ring_head(3).
   */
  bufRingHead(group: number): number {
    const layout = io_uring_buf_status;
    using argument = new Argument(layout.sizeof);
    argument.view.setUint32(layout.buf_group, u16(group, "group"), true);
    this.register(IORING_REGISTER_PBUF_STATUS, argument.address, 1, {
      [ENOENT]: `There are no buffers in group ${group}`,
      [EINVAL]: `The buffers of group ${group} are not in a ring`,
    });
    return argument.view.getUint32(layout.head, true) & 0xffff;
  }

  /**
   * Shows added buffers to the kernel, and consumes completions: `bufferRing.advance` and `cqAdvance` in one. See
   * io_uring_buf_ring_cq_advance(3).
   *
   * @param slots how many slots of the completion queue to consume
   * @param count how many buffers, as many as slots unless given
   */
  bufRingCqAdvance(bufferRing: BufferRing, slots: number, count: number = slots): void {
    if (!this.#bufferRings.has(bufferRing)) throw new TypeError("a BufferRing of this ring is needed");
    whole(slots, 0, this.cqReady, "completions to consume");
    bufferRing.advance(count);
    this.cqAdvance(slots);
  }

  override close(options?: { deadline?: number }): CloseResult {
    const wasOpen = !this.closed;
    const result = super.close(options);
    if (wasOpen) this.endBufRings(result.leaked);
    return result;
  }

  /** Gives back what the buffer rings are made of, once the ring is closed, but no buffers where operations are leaked. */
  protected endBufRings(leaked: number): void {
    for (const [bufferRing, own] of this.#bufferRings) {
      bufferRing.end();
      if (leaked === 0) own?.[Symbol.dispose]();
    }
    this.#bufferRings.clear();
  }

  /** Registers a ring of buffers in memory of the library's own or, if asked to, the kernel's; that memory. */
  #memory(group: number, entries: number, flags: number, minLeft: number): BufferRingMemory {
    const length = entries * io_uring_buf.sizeof;
    if ((flags & IOU_PBUF_RING_MMAP) === 0) {
      const block = ringArena.take(Math.max(length, PAGE));
      const release = () => ringArena.giveRing(block);
      try {
        this.registerBufRing({ address: block.address, entries, group, flags, minLeft });
      } catch (error) {
        release();
        throw error;
      }
      return { buffer: block.buffer, offset: block.offset, release };
    }
    if (this.ownFd < 0)
      throw new TypeError("memory of the kernel's is mapped by the ring's fd, and this ring has none");
    this.registerBufRing({ address: 0, entries, group, flags, minLeft });
    try {
      const shim = runtime.load();
      const offset = IORING_OFF_PBUF_RING + group * 2 ** IORING_OFF_PBUF_SHIFT;
      const address = shim.map(this.ownFd, length, offset);
      if (address < 0) throw setupError(-address, this.params.flags, "mmap");
      const buffer = viewOrUnmap(shim, address, length);
      return { buffer, offset: 0, release: () => unmap(shim, [[buffer, address]]) };
    } catch (error) {
      this.unregisterBufRing(group);
      throw error;
    }
  }
}

/** Options with what goes without saying, once it is sure that they can be. */
function checked(
  options: BufferRingOptions,
): Required<Omit<BufferRingOptions, "bufferSize">> & { bufferSize: number | undefined } {
  const { group, bufferSize, firstId = 0, flags = 0, minLeft = 0, fill = true } = object(options, "options");
  const buffers = options.buffers === undefined ? [] : Array.from(options.buffers);
  if ((bufferSize === undefined) === (options.buffers === undefined)) {
    throw new TypeError("either bufferSize is needed or buffers");
  }
  // Memory that is disposed of has no address, and says so.
  if (!buffers.every((buffer) => buffer instanceof Pinned && Pinned.addressOf(buffer) > 0)) {
    throw new TypeError("buffers must be Pinned");
  }
  const entries = whole(options.entries ?? roundUp(buffers.length), 1, MAX_ENTRIES, "entries");
  if ((entries & (entries - 1)) !== 0) throw new RangeError(`entries must be a power of two, not ${entries}`);
  if (buffers.length > entries) {
    throw new RangeError(`${buffers.length} buffers do not fit into a ring of ${entries} entries`);
  }
  const count = bufferSize === undefined ? buffers.length : entries;
  if ((u16(flags, "flags") & IOU_PBUF_RING_MMAP) !== 0) {
    whole(group, 0, MAX_MAPPED_GROUP, "group with IOU_PBUF_RING_MMAP");
  }
  if (u32(minLeft, "minLeft") !== 0 && (flags & IOU_PBUF_RING_INC) === 0) {
    throw new TypeError("minLeft is for buffers that are used bit by bit: it needs IOU_PBUF_RING_INC");
  }
  return {
    group: u16(group, "group"),
    entries,
    bufferSize: bufferSize === undefined ? undefined : whole(bufferSize, 1, 2 ** 31, "bufferSize"),
    buffers,
    firstId: whole(firstId, 0, 0x10000 - count, "firstId"),
    flags,
    minLeft,
    fill,
  };
}

function roundUp(count: number): number {
  let entries = 1;
  while (entries < count) entries *= 2;
  return entries;
}
