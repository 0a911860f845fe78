import { runtime } from "#runtime";
import { Arena, type Block } from "./arena.ts";
import { errnoError } from "./errno.ts";
import { whenReleased } from "./held.ts";
import { checkView } from "./view.ts";

const HUGE_PAGE = 2 * 1024 * 1024;
const MAX_BYTES = 2 ** 31;

const dataArena = new Arena();
/**
 * Structs that hold addresses live apart from data: a write that the kernel makes late, into data memory that has been
 * given back, can then never turn into an address that the kernel follows.
 */
const structArena = new Arena();

/** Without it no Pinned can be made: one with an address of its maker's choice would be a way around every check. */
const KEY: unique symbol = Symbol("Pinned");

/** What several slices share: whether the memory is still theirs, and how many operations under way use it. */
interface Storage {
  live: boolean;
  users: number;
  readonly buffer: ArrayBufferLike;
  /** The address of the buffer's first byte. */
  readonly start: number;
  readonly release: () => void;
}

/**
 * Memory that the kernel can be given: it has one address for life, is never moved or collected, and knows its address
 * so that an operation on it looks nothing up. Made by {@link alloc}.
 *
 * Memory that is dropped without `[Symbol.dispose]()` is never reused. On a `Ring`, dispose it only after the last completion
 * of every operation on it: from then on `alloc` may hand it out again. A proactor sees to that by itself.
 */
export class Pinned {
  readonly #storage: Storage;
  readonly #address: number;
  /** Not the `length` of `bytes`, which is the caller's to have: its properties may say anything. */
  readonly #length: number;
  readonly #bytes: Uint8Array;

  /** @internal */
  constructor(key: typeof KEY, storage: Storage, address: number, length: number) {
    if (key !== KEY) throw new TypeError("pinned memory comes from alloc()");
    this.#storage = storage;
    this.#address = address;
    this.#length = length;
    this.#bytes = new Uint8Array(storage.buffer, address - storage.start, length);
  }

  /** @internal The address, whatever an object's own or inherited properties say: none but the library's has the fields. */
  static addressOf(memory: Pinned): number {
    if (!memory.#storage.live) throw disposed();
    return memory.#address;
  }

  /** @internal As `addressOf`, the length. */
  static lengthOf(memory: Pinned): number {
    return memory.#length;
  }

  /** @internal As `addressOf`, the bytes. */
  static bytesOf(memory: Pinned): Uint8Array {
    if (!memory.#storage.live) throw disposed();
    return memory.#bytes;
  }

  /** @internal The address, for an operation: until `done` the memory is not given back, even if it is disposed of. */
  static use(memory: Pinned): number {
    const storage = memory.#storage;
    if (!storage.live) throw disposed();
    storage.users++;
    return memory.#address;
  }

  /** @internal The operation's end. */
  static done(memory: Pinned): void {
    const storage = memory.#storage;
    if (--storage.users === 0 && !storage.live) storage.release();
  }

  /** The address of the first byte. Throws a `TypeError` once the memory is disposed of. */
  get address(): number {
    return Pinned.addressOf(this);
  }

  /** How many bytes there are. */
  get byteLength(): number {
    return Pinned.lengthOf(this);
  }

  /** The memory itself. Throws a `TypeError` once it is disposed of; views taken before must not be used any more. */
  get bytes(): Uint8Array {
    return Pinned.bytesOf(this);
  }

  /**
   * A part of this memory, sharing its bytes and its lifetime.
   *
   * @param offset first byte of the part
   * @param length how many bytes, by default all that follow
   */
  slice(offset: number, length: number = Pinned.lengthOf(this) - offset): Pinned {
    if (!(Number.isInteger(offset) && Number.isInteger(length) && offset >= 0 && length >= 0)) {
      throw new RangeError(`a slice needs whole numbers >= 0, not offset ${offset} and length ${length}`);
    }
    const whole = Pinned.lengthOf(this);
    if (offset + length > whole) {
      throw new RangeError(`bytes ${offset} to ${offset + length} are not within the memory's ${whole}`);
    }
    return new Pinned(KEY, this.#storage, Pinned.addressOf(this) + offset, length);
  }

  /**
   * Gives the memory, all slices of it included, back for reuse; while a proactor's operations use it, at the end of the
   * last of them. Does nothing the second time.
   */
  [Symbol.dispose](): void {
    if (!this.#storage.live) return;
    this.#storage.live = false;
    if (this.#storage.users === 0) this.#storage.release();
  }
}

function disposed(): TypeError {
  return new TypeError("this memory has been disposed of");
}

/**
 * Allocates memory that the kernel can be given, zeroed; aligned to 64 bytes, from 4096 bytes on to 4096 (enough for
 * O_DIRECT on most disks), from 64 KiB on to 64 KiB.
 *
 * @param bytes how many, 1 to 2^31
 * @param options `huge: true` takes whole 2 MiB huge pages from the kernel's pool (`sysctl vm.nr_hugepages`)
 * @returns the memory, the caller's until it is disposed of
 * @throws RangeError for a size that can not be; UringError ENOMEM where there is not so much
 *
 * @example
 * ```ts
 * import { alloc } from "uring";
 *
 * using buffer = alloc(4096);
 * buffer.bytes.set([1, 2, 3]);
 * console.log(buffer.byteLength, buffer.address % 4096); // 4096 0
 * ```
 */
export function alloc(bytes: number, options: { huge?: boolean } = {}): Pinned {
  checkSize(bytes);
  if (options.huge === true) return allocHuge(bytes);
  return pin(dataArena, dataArena.take(bytes), bytes);
}

/**
 * A string as the kernel reads it: UTF-8 with a NUL at its end, as paths and names of extended attributes are given.
 *
 * @throws TypeError for a string that holds a NUL itself: the kernel would stop there, at another path
 */
export function cstring(text: string): Pinned {
  if (typeof text !== "string") throw new TypeError(`a string is needed, not ${typeof text}`);
  if (text.includes("\0"))
    throw new TypeError(`the string ${JSON.stringify(text)} holds a NUL, where the kernel would end it`);
  const utf8 = new TextEncoder().encode(text);
  const pinned = alloc(utf8.length + 1);
  pinned.bytes.set(utf8);
  return pinned;
}

/** The class that a struct was made by. */
export type StructKind<T extends Struct = Struct> = abstract new (...args: never[]) => T;

/**
 * A C struct that holds addresses the kernel will follow. Its bytes are the library's own, so that no stray write can
 * make an address of them.
 */
export abstract class Struct {
  /** Which struct it is, whatever its prototype says. */
  readonly #kind: StructKind;
  readonly #block: Block;
  readonly #byteLength: number;
  /** What the struct holds addresses of, reachable for as long as it is. */
  readonly #targets: readonly (Struct | Pinned | Uint8Array)[];
  #live = true;

  /**
   * @internal What may be wrong with the caller's arguments is looked for before: a constructor that throws gives no memory
   * back.
   */
  protected constructor(
    kind: StructKind,
    byteLength: number,
    targets: readonly (Struct | Pinned | Uint8Array)[],
  ) {
    checkSize(byteLength);
    this.#kind = kind;
    this.#block = structArena.take(byteLength);
    this.#byteLength = byteLength;
    this.#targets = targets;
  }

  /** @internal Whether something is a struct of this kind: of another the kernel would take data for addresses. */
  static is<T extends Struct>(value: unknown, kind: StructKind<T>): value is T {
    return typeof value === "object" && value !== null && #kind in value && value.#kind === kind;
  }

  /** @internal The address, whatever a subclass or a property says, once it is sure that what it points to is still there. */
  static addressOf(struct: Struct): number {
    if (!struct.#live) throw disposed();
    for (const target of struct.#targets) {
      if (target instanceof Struct) Struct.addressOf(target);
      else if (target instanceof Pinned) Pinned.addressOf(target);
      else checkView(target);
    }
    return struct.#block.address;
  }

  /** @internal Has it kept, and the structs it points to, whose memory must not be another struct's while the kernel reads. */
  static hold(struct: Struct, owner: { hold(memory: object): void }): void {
    owner.hold(struct);
    for (const target of struct.#targets) if (target instanceof Struct) Struct.hold(target, owner);
  }

  /** @internal As `addressOf`, the length. */
  static lengthOf(struct: Struct): number {
    return struct.#byteLength;
  }

  /** The struct's address. Throws a `TypeError` once it, or what it points to, is disposed of or detached. */
  get address(): number {
    return Struct.addressOf(this);
  }

  /** The struct's size. */
  get byteLength(): number {
    return Struct.lengthOf(this);
  }

  /** The struct's memory, for its encoder. */
  protected dataView(): DataView {
    if (!this.#live) throw disposed();
    return new DataView(this.#block.buffer, this.#block.offset, this.#byteLength);
  }

  /**
   * Gives the struct's memory back for reuse, though not while operations on it are in flight: what the kernel writes
   * into a message header must not end up among the addresses of another struct.
   */
  [Symbol.dispose](): void {
    if (!this.#live) return;
    this.#live = false;
    whenReleased(this, () => structArena.give(this.#block));
  }
}

/** The library's own memory for arguments that hold addresses. */
export function allocInternal(bytes: number): Pinned {
  return pin(structArena, structArena.take(bytes), bytes);
}

function pin(arena: Arena, block: Block, bytes: number): Pinned {
  const { buffer, address, offset } = block;
  const storage = { live: true, users: 0, buffer, start: address - offset, release: () => arena.give(block) };
  return new Pinned(KEY, storage, address, bytes);
}

/** Huge pages are mapped for good: like all of this memory they are never given back while the process lives. */
const freeHuge = new Map<number, { readonly buffer: ArrayBuffer; readonly start: number }[]>();

function allocHuge(bytes: number): Pinned {
  const length = Math.ceil(bytes / HUGE_PAGE) * HUGE_PAGE;
  let whole = freeHuge.get(length)?.pop();
  if (whole === undefined) {
    const shim = runtime.load();
    const address = shim.map(-1, length, 0);
    if (address < 0) {
      throw errnoError(-address, "mmap", {
        hint: `${length / HUGE_PAGE} free huge pages are needed: \`sysctl vm.nr_hugepages\` sets how many the system keeps`,
      });
    }
    whole = { buffer: shim.view(address, length), start: address };
  }
  const memory = whole;
  new Uint8Array(memory.buffer).fill(0);
  const release = () => {
    const list = freeHuge.get(length);
    if (list === undefined) freeHuge.set(length, [memory]);
    else list.push(memory);
  };
  return new Pinned(KEY, { live: true, users: 0, ...memory, release }, memory.start, bytes);
}

function checkSize(bytes: number): void {
  if (!Number.isInteger(bytes) || bytes < 1 || bytes > MAX_BYTES) {
    throw new RangeError(`a size of 1 to ${MAX_BYTES} bytes is needed, not ${bytes}`);
  }
}
