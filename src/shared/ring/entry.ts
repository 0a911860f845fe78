import {
  IORING_SEND_VECTORIZED,
  IOSQE_BUFFER_SELECT,
  IOSQE_CQE_SKIP_SUCCESS,
  IOSQE_FIXED_FILE,
  IOSQE_IO_DRAIN,
} from "../abi/index.ts";
import { keptIoprio, refusedOpFlags } from "./combination.ts";
import { Direct, type Target } from "./direct.ts";
import { Pinned, Struct, type StructKind } from "./pinned.ts";
import { viewAddress, viewBuffer, viewLength } from "./view.ts";

/**
 * Memory that an operation reads or writes: the library's own, a view of the caller's, or a raw address.
 *
 * A view is taken by reference: its bytes must neither be transferred nor detached before the operation's last completion
 * has been read. The ring itself keeps the view reachable until then. A raw address is the caller's to answer for.
 */
export type Mem = Pinned | Uint8Array | number | bigint;

/** A 64-bit argument: exact as a `number` up to 2^53 either way, over the full range as a `bigint`. */
export type Int64 = number | bigint;

/** What an entry needs of the queue it belongs to. */
export interface EntryOwner {
  /** Sequence number of the first entry that the kernel has not been shown. */
  readonly published: number;
  /** Sequence number of the next entry to hand out. */
  readonly tail: number;
  /** What makes a slot of a sequence number. */
  readonly mask: number;
  /** How many words an entry has. */
  readonly size: number;
  /** Has entries looked at before the kernel is shown them: only then is it known what one asks for together. */
  doubt(): void;
  /** Keeps memory reachable until the kernel is done with it. */
  hold(memory: object): void;
  /** Keeps memory reachable until the ring is closed. */
  holdForGood(memory: object): void;
  /** The error for using an entry that is no longer the caller's. */
  stale(): Error;
}

// Places in an entry, as indices of 32-bit words.
const OFF = 2;
const ADDR = 4;
const LEN = 6;
const OP_FLAGS = 7;
const USER_DATA = 8;
const BUF_INDEX = 10;
const FILE_INDEX = 11;
const ADDR3 = 12;
const ATTR_TYPE_MASK = 14;

// What fields start with, each of its final type: having seen `undefined` there, V8 would check at every use.
const NO_WORDS = new Int32Array(0);
const NO_DOUBLES = new Float64Array(0);

/** The largest ring's last word. And-ing with it changes nothing, and shows engines that no index is negative. */
const LAST_WORD = 32768 * 32 - 1;

const { includes } = Uint8Array.prototype;

const FIXED_FILE = IOSQE_FIXED_FILE << 8;
const TWO_32 = 4294967296;

/**
 * One entry of the submission queue: a cursor on its 64 (or 128) bytes of shared memory, with what every family of prep
 * helpers builds on.
 *
 * Written for speed: plain stores of 32-bit words, no BigInt unless the caller gives one, no allocation. An entry belongs
 * to the caller from `getSqe()` to `submit()`; its methods throw afterwards, since the kernel may be reading.
 */
export class Entry {
  readonly #owner: EntryOwner;
  readonly #words: Int32Array = NO_WORDS;
  readonly #doubles: Float64Array = NO_DOUBLES;
  readonly #slot: number = 0;
  /** Index of the entry's first word. */
  readonly #at: number = 0;

  /**
   * Small and never written again: at a thousand entries in flight, the cursors compete with the entries for the cache.
   *
   * @internal
   */
  constructor(owner: EntryOwner, words: Int32Array, doubles: Float64Array, slot: number, shift: number) {
    this.#owner = owner;
    this.#words = words;
    this.#doubles = doubles;
    this.#slot = slot;
    this.#at = slot << shift;
  }

  /**
   * Sets the entry's `IOSQE_*` flags, replacing those it has.
   *
   * @param flags `IOSQE_IO_LINK` and its like, or-ed. `IOSQE_FIXED_FILE` is set by passing a `Direct` to the prep helper. After
   * `IOSQE_CQE_SKIP_SUCCESS` the ring can not tell any more when all has ended: `close()` then says `leaked`, and keeps views.
   * See io_uring_sqe_set_flags(3).
   */
  setFlags(flags: number): this {
    checkBits(flags, 8, "flags");
    const at = this.mine();
    if ((flags & (IOSQE_CQE_SKIP_SUCCESS | IOSQE_IO_DRAIN)) !== 0) this.doubt();
    this.#words[at] = ((this.#words[at] as number) & ~0xff00) | (flags << 8);
    return this;
  }

  /** Adds `IOSQE_*` flags to those the entry has: what a prep helper has set stays. */
  addFlags(flags: number): this {
    checkBits(flags, 8, "flags");
    return this.setFlags((((this.#words[this.mine()] as number) >>> 8) & 0xff) | flags);
  }

  /**
   * Sets the value that the operation's completions will carry as `userData`.
   *
   * @param value a `number` (whole, up to 2^53 either way) or a `bigint` (any 64 bits). Below 2^31 costs least.
   * See io_uring_sqe_set_data64(3).
   */
  setData64(value: Int64): this {
    const at = this.mine();
    if (typeof value === "number" && (value | 0) === value && value >= 0) {
      this.#words[at | USER_DATA] = value;
      this.#words[at | (USER_DATA + 1)] = 0;
    } else {
      this.put64(at | USER_DATA, value);
    }
    return this;
  }

  /** @internal As `setData64`, by halves: a number of more than 31 bits costs some engines an allocation. */
  setDataWords(low: number, high: number): this {
    const at = this.mine();
    this.#words[at | USER_DATA] = low;
    this.#words[at | (USER_DATA + 1)] = high;
    return this;
  }

  /** @internal Where it begins in the queue's memory, in words. */
  get place(): number {
    return this.#at;
  }

  /** @internal Forgets what was written, for another operation to be described instead. */
  reset(): this {
    const at = this.mine();
    this.#words.fill(0, at, at + this.#owner.size);
    return this;
  }

  /**
   * Lets the kernel pick the operation's buffer from a group at the time it needs one, and sets `IOSQE_BUFFER_SELECT`.
   *
   * @param group the buffer group, 0 to 65535. See io_uring_sqe_set_buf_group(3).
   */
  setBufferGroup(group: number): this {
    this.low16(BUF_INDEX, group, "group");
    return this.addFlags(IOSQE_BUFFER_SELECT);
  }

  /** Sets the registered buffer's index, for operations that take `IORING_RECVSEND_FIXED_BUF` or `IORING_URING_CMD_FIXED`. */
  setBufferIndex(index: number): this {
    return this.low16(BUF_INDEX, index, "index");
  }

  /**
   * Runs the operation under registered credentials.
   *
   * @param id what registering the personality returned. See io_uring_register_personality(3).
   */
  setPersonality(id: number): this {
    checkBits(id, 16, "personality");
    const at = this.mine() + BUF_INDEX;
    this.#words[at] = ((this.#words[at] as number) & 0xffff) | (id << 16);
    return this;
  }

  /**
   * Sets the 16-bit field whose meaning depends on the operation: I/O priority for reads and writes,
   * `IORING_RECVSEND_*` and `IORING_ACCEPT_*` flags for sockets. See io_uring_enter(2), `ioprio`.
   *
   * @throws TypeError for `IORING_SEND_VECTORIZED` on a send of anything but `Iovecs`, which have it already: the kernel would
   * follow what is in the memory. Who sends from a raw address sets it before the prep helper.
   */
  setIoprio(value: number): this {
    checkBits(value, 16, "ioprio");
    const first = this.#words[this.mine()] as number;
    return this.ioprio(value | keptIoprio(first, value));
  }

  /**
   * Sets the 4-byte field of flags whose name depends on the operation: `rw_flags`, `msg_flags`, `nop_flags`,
   * `uring_cmd_flags` and so on. After the prep helper, which may set it too. See io_uring_enter(2).
   *
   * @throws TypeError for flags that are looked at by the prep helper alone
   */
  setOpFlags(flags: number): this {
    const refused = refusedOpFlags(this.opcode(), flags);
    if (refused !== undefined) throw new TypeError(refused);
    return this.opFlags(flags);
  }

  /** A copy of the entry's 64 bytes, 128 on rings with large entries. */
  toBytes(): Uint8Array {
    const at = this.mine();
    return new Uint8Array(new Int32Array(this.#words.subarray(at, at + this.#owner.size)).buffer);
  }

  /**
   * Index of the entry's first word, once it is sure that the entry is still the caller's.
   *
   * @throws Error when it has been submitted, or the ring is closed
   */
  protected mine(): number {
    const owner = this.#owner;
    if (((this.#slot - owner.published) & owner.mask) >= ((owner.tail - owner.published) | 0))
      throw owner.stale();
    return this.#at & LAST_WORD;
  }

  /** Has the entry looked at once it is complete. */
  protected doubt(): this {
    this.#owner.doubt();
    return this;
  }

  /** The opcode that the last helper has written; a cleared entry's is that of a NOP. */
  protected opcode(): number {
    return (this.#words[this.mine()] as number) & 0xff;
  }

  /**
   * What helpers start with, as liburing's `io_uring_prep_rw`: opcode, target, offset, address and length. Flags and
   * the other fields stay as they are. All is checked before anything is written: half of one operation on top of
   * another would be neither.
   */
  protected rw(opcode: number, target: Target, address: Int64, length: number, offset: Int64): this {
    if (length >>> 0 !== length) checkWord(length, "length");
    if (typeof offset !== "number" || offset >>> 0 !== offset) check64(offset);
    if (typeof address !== "number" || !(address >= 0) || !Number.isSafeInteger(address)) check64(address);
    const at = this.start(opcode, target);
    const words = this.#words;
    words[at | OFF] = low(offset);
    words[at | (OFF + 1)] = high(offset);
    words[at | ADDR] = low(address);
    words[at | (ADDR + 1)] = high(address);
    words[at | LEN] = length;
    return this;
  }

  /** As `rw` for operations on a target alone: offset, address and length are zero. */
  protected plain(opcode: number, target: Target): this {
    const at = this.start(opcode, target);
    const doubles = this.#doubles;
    doubles[(at >> 1) | (OFF >> 1)] = 0;
    doubles[(at >> 1) | (ADDR >> 1)] = 0;
    this.#words[at | LEN] = 0;
    return this;
  }

  protected start(opcode: number, target: Target): number {
    const at = this.mine();
    const words = this.#words;
    const first = ((words[at] as number) & ~0xff) | opcode;
    if (typeof target === "number" && (target | 0) === target) {
      words[at | 1] = target;
      words[at] = first;
    } else {
      words[at | 1] = slotOf(target);
      words[at] = first | FIXED_FILE;
    }
    return at;
  }

  /** Sets the 4-byte field of flags whose name depends on the operation (`rw_flags`, `msg_flags` …). */
  protected opFlags(flags: number): this {
    return this.word(OP_FLAGS, flags, "flags");
  }

  /** Sets `file_index` (also `splice_fd_in`, `optlen`) to a value as it is. */
  protected fileIndex(value: number): this {
    return this.word(FILE_INDEX, value, "file index");
  }

  /** Sets `file_index` to a slot the way the kernel counts: plus one, all ones meaning any free slot. */
  protected fileSlot(slot: number | Direct): this {
    const index = slot instanceof Direct ? Direct.slotOf(slot) : slot;
    checkWord(index, "slot");
    return this.word(FILE_INDEX, index >>> 0 === 0xffffffff ? index : (index + 1) | 0, "slot");
  }

  /** Sets the 16-bit `ioprio` field. */
  protected ioprio(value: number): this {
    const at = this.mine();
    this.#words[at] = ((this.#words[at] as number) & 0xffff) | (value << 16);
    return this;
  }

  /** Says whether the memory of a send is made of `Iovecs`. */
  protected vectorized(on: boolean): this {
    const at = this.mine();
    const bit = IORING_SEND_VECTORIZED << 16;
    this.#words[at] = on ? (this.#words[at] as number) | bit : (this.#words[at] as number) & ~bit;
    return this;
  }

  /** Or-s bits into the 16-bit `ioprio` field. */
  protected addIoprio(bits: number): this {
    const at = this.mine();
    this.#words[at] = (this.#words[at] as number) | (bits << 16);
    return this;
  }

  /** Sets `attr_ptr` and `attr_type_mask`. */
  protected attributes(address: Int64, mask: number): this {
    this.put64(this.mine() + ATTR_TYPE_MASK, mask);
    return this.addr3(address);
  }

  /** Sets `addr3` (also `optval`, `attr_ptr`). */
  protected addr3(value: Int64): this {
    this.put64(this.mine() + ADDR3, value);
    return this;
  }

  /** Sets `off` (also `addr2`) alone. */
  protected off(value: Int64): this {
    this.put64(this.mine() + OFF, value);
    return this;
  }

  /** Sets `addr` alone as two 32-bit fields: a socket command's level and option name. */
  protected levelAndName(level: number, name: number): this {
    this.word(ADDR, level, "level");
    return this.word(ADDR + 1, name, "option name");
  }

  /** Sets the low 16 bits at the start of `addr_len`'s word. */
  protected addrLen(length: number): this {
    return this.low16(FILE_INDEX, length & 0xffff, "address length");
  }

  /** Sets the registered buffer's index, or the buffer group: the same field, the low 16 bits of an s32 argument. */
  protected bufIndex(index: number): this {
    checkWord(index, "buffer index");
    return this.low16(BUF_INDEX, index & 0xffff, "buffer index");
  }

  /** Sets one 32-bit word. */
  protected word(index: number, value: number, what: string): this {
    checkWord(value, what);
    this.#words[this.mine() + index] = value;
    return this;
  }

  /** Sets the low half of a word. */
  protected low16(index: number, value: number, what: string): this {
    checkBits(value, 16, what);
    const at = this.mine() + index;
    this.#words[at] = ((this.#words[at] as number) & ~0xffff) | value;
    return this;
  }

  /**
   * The address of memory the operation works on.
   *
   * @param length how many bytes of it the kernel may touch
   * @throws RangeError when that is more than there are; TypeError for a view that can not be held still
   */
  protected data(mem: Mem, length: number): Int64 {
    if (mem instanceof Pinned) {
      if (!(length >= 0 && length <= Pinned.lengthOf(mem))) throw beyond(length, Pinned.lengthOf(mem));
      return Pinned.addressOf(mem);
    }
    return this.foreign(mem, length, false);
  }

  /** As `data`, for memory the kernel keeps after the operation's completion: provided buffers. */
  protected dataForGood(mem: Mem, length: number): Int64 {
    if (mem instanceof Pinned) {
      if (!(length >= 0 && length <= Pinned.lengthOf(mem))) throw beyond(length, Pinned.lengthOf(mem));
      return Pinned.addressOf(mem);
    }
    return this.foreign(mem, length, true);
  }

  /** The address of a NUL-terminated string. */
  protected path(mem: Mem): Int64 {
    if (mem instanceof Pinned || mem instanceof Uint8Array) {
      const bytes = mem instanceof Pinned ? Pinned.bytesOf(mem) : mem;
      if (!includes.call(bytes, 0)) throw new TypeError("a path needs a NUL at its end: use cstring()");
    }
    return this.data(mem, 0);
  }

  /** The address of a struct that holds addresses: the library's, or a raw one. Never a view: its bytes could be anything. */
  protected struct<T extends Struct>(value: T | number | bigint, kind: StructKind<T>): Int64 {
    if (Struct.is(value, kind)) {
      const address = Struct.addressOf(value);
      // It points to memory of the caller's in turn, which lives as long as the struct does.
      Struct.hold(value, this.#owner);
      return address;
    }
    if (typeof value === "number" || typeof value === "bigint") return value;
    throw new TypeError(`${kind.name} or a raw address is needed, not ${describe(value)}`);
  }

  protected foreign(mem: Mem, length: number, forGood: boolean): Int64 {
    if (typeof mem === "number" || typeof mem === "bigint") return mem;
    const view = mem as Uint8Array;
    const address = viewAddress(view);
    // What a property of the view says could be anything.
    const bytes = viewLength(view);
    if (!(length >= 0 && length <= bytes)) throw beyond(length, bytes);
    if (forGood) this.#owner.holdForGood(viewBuffer(view));
    else this.#owner.hold(viewBuffer(view));
    return address;
  }

  /** Fills the last 16 bytes of the entry, 80 of a large one, which are a command's own; with zeros where it has fewer. */
  protected cmd(payload: Uint8Array): this {
    const at = this.mine() + ADDR3;
    const words = this.#words.subarray(at, at + this.#owner.size - ADDR3);
    const room = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
    if (payload.length > room.length) {
      throw new RangeError(
        `this entry has room for ${room.length} bytes of a command, not ${payload.length}`,
      );
    }
    room.fill(0);
    room.set(payload);
    return this;
  }

  protected put64(at: number, value: Int64): void {
    check64(value);
    this.#words[at] = low(value);
    this.#words[at | 1] = high(value);
  }
}

/** The low word of 64 bits. A typed array takes a number modulo 2^32 by itself. */
function low(value: Int64): number {
  return typeof value === "number" ? value : Number(BigInt.asIntN(32, value));
}

/** The high word of 64 bits. */
function high(value: Int64): number {
  return typeof value === "number" ? Math.floor(value / TWO_32) : Number(BigInt.asIntN(32, value >> 32n));
}

function slotOf(target: unknown): number {
  if (target instanceof Direct) return Direct.slotOf(target);
  if (typeof target === "number") throw notBits(target, 32, "fd");
  throw new TypeError(`an fd or a Direct is needed, not ${describe(target)}`);
}

const TWO_53 = 9007199254740992;

function check64(value: Int64): void {
  if (typeof value === "bigint") {
    if (value >= -0x8000000000000000n && value <= 0xffffffffffffffffn) return;
    throw new RangeError(`${value} does not fit into 64 bits`);
  }
  if (typeof value !== "number")
    throw new TypeError(`a number or a bigint is needed, not ${describe(value)}`);
  if (Number.isInteger(value) && value >= -TWO_53 && value <= TWO_53) return;
  throw new RangeError(`${value} is not a whole number within 2^53: give larger values as a bigint`);
}

function checkWord(value: number, what: string): void {
  if ((value | 0) !== value && value >>> 0 !== value) throw notBits(value, 32, what);
}

function checkBits(value: number, bits: 8 | 16, what: string): void {
  if (!(value >>> 0 === value && value < 2 ** bits)) throw notBits(value, bits, what);
}

function notBits(value: unknown, bits: number, what: string): Error {
  if (typeof value !== "number") return new TypeError(`${what} must be a number, not ${describe(value)}`);
  return new RangeError(`${what} must be a whole number of ${bits} bits, not ${value}`);
}

function beyond(length: number, byteLength: number): RangeError {
  return new RangeError(`${length} bytes are more than the ${byteLength} of the memory given`);
}

function describe(value: unknown): string {
  if (value === null) return "null";
  return typeof value === "object" ? (value.constructor?.name ?? "an object") : typeof value;
}

/**
 * Says whose the completions of entries are, and takes flags away, whatever was written on them before.
 *
 * @param words the queue's memory
 * @param claims of each entry three words: its `place`, and the `user_data` by halves
 */
export function claimEntries(words: Int32Array, claims: Int32Array, count: number, flags: number): void {
  const kept = ~(flags << 8);
  for (let i = 0; i < 3 * count; i += 3) {
    const at = (claims[i] as number) & LAST_WORD;
    words[at] = (words[at] as number) & kept;
    words[at | USER_DATA] = claims[i + 1] as number;
    words[at | (USER_DATA + 1)] = claims[i + 2] as number;
  }
}
