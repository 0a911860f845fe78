import { io_uring_attr_pi as layout } from "../abi/index.ts";
import { Struct } from "../ring/pinned.ts";
import { addressOf, lengthOf, type Memory, u16, u32, u64 } from "./fields.ts";

/** What protection information is checked against. */
export interface AttrPiOptions {
  /** What the device checks, `IO_INTEGRITY_CHK_*` of linux/fs.h or-ed: 1 the guard, 2 the reference tag, 4 the application tag. */
  readonly flags?: number;
  /** The application tag, 16 bits. */
  readonly appTag?: number;
  /** Where the reference tags begin. */
  readonly seed?: number | bigint;
}

/**
 * A `struct io_uring_attr_pi`: the protection information that a read or write past the page cache takes along, as
 * `setAttrPi` takes it, for devices that keep some with each block. See io_uring_enter(2), `attr_ptr`.
 *
 * It keeps the memory it points to reachable for as long as it lives itself; a caller's view must not be transferred or
 * detached before the last completion of every operation that was given it.
 */
export class AttrPi extends Struct {
  /** The memory of the protection information itself, as it was given. */
  readonly memory: Memory;

  /**
   * @param memory a tuple for each block that is read or written: filled by a read, taken by a write
   * @throws RangeError for numbers that do not fit; TypeError for what is no memory, or memory that can move
   */
  constructor(memory: Memory, { flags = 0, appTag = 0, seed = 0 }: AttrPiOptions = {}) {
    const address = addressOf(memory);
    const length = lengthOf(memory);
    u16(flags, "flags");
    u16(appTag, "appTag");
    const seedBits = u64(seed, "seed");
    super(AttrPi, layout.sizeof, [memory]);
    this.memory = memory;
    const view = this.dataView();
    view.setUint16(layout.flags, flags, true);
    view.setUint16(layout.app_tag, appTag, true);
    view.setUint32(layout.len, u32(length, "length"), true);
    view.setBigUint64(layout.addr, BigInt(address), true);
    view.setBigUint64(layout.seed, seedBits, true);
  }
}
