import { alloc, Pinned } from "../ring/pinned.ts";
import { viewAddress, viewLength } from "../ring/view.ts";

/** Memory that a struct is written to or read from: the library's own, or a view of the caller's. */
export type Memory = Pinned | Uint8Array;

/** The bytes of a struct's memory. Throws a `TypeError` for what is no memory. */
export function bytesOf(memory: Memory): Uint8Array {
  if (memory instanceof Pinned) return Pinned.bytesOf(memory);
  if (memory instanceof Uint8Array) return memory;
  throw new TypeError("memory must be a Pinned or a Uint8Array");
}

/** The address of memory that a struct is to point to. Throws a `TypeError` where memory can move or vanish. */
export function addressOf(memory: Memory): number {
  return memory instanceof Pinned ? Pinned.addressOf(memory) : viewAddress(memory);
}

/** The size of memory that a struct is to point to. */
export function lengthOf(memory: Memory): number {
  return memory instanceof Pinned ? Pinned.lengthOf(memory) : viewLength(memory);
}

/** Exactly the bytes of a struct. Throws a `RangeError` where memory ends before the struct does. */
export function viewOf(memory: Memory, size: number, struct: string, offset = 0): DataView {
  const bytes = bytesOf(memory);
  if (bytes.byteLength < offset + size) {
    throw new RangeError(
      `a ${struct} at byte ${offset} takes ${size} bytes, more than the memory's ${bytes.byteLength}`,
    );
  }
  return new DataView(bytes.buffer, bytes.byteOffset + offset, size);
}

/** The memory that an encoder writes to: what the caller gave or new memory, `size` bytes of it and zeroed. */
export function target<M extends Memory>(into: M | undefined, size: number, struct: string): M {
  const memory = into ?? alloc(size);
  const bytes = bytesOf(memory);
  if (bytes.byteLength < size) {
    throw new RangeError(`a ${struct} takes ${size} bytes, more than the memory's ${bytes.byteLength}`);
  }
  bytes.fill(0, 0, size);
  if (bytes.byteLength === size) return memory as M;
  return (memory instanceof Pinned ? memory.slice(0, size) : bytes.subarray(0, size)) as M;
}

/** A whole number within bounds. */
export function whole(value: unknown, min: number, max: number, name: string): number {
  if (typeof value !== "number") throw new TypeError(`${name} must be a number, not ${typeof value}`);
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`${name} must be a whole number from ${min} to ${max}, not ${value}`);
  }
  return value;
}

export function u16(value: unknown, name: string): number {
  return whole(value, 0, 0xffff, name);
}

/** 32 flag bits: also as the negative number that JavaScript's `|` makes of bit 31. */
export function bits32(value: unknown, name: string): number {
  return whole(value, -0x8000_0000, 0xffff_ffff, name) >>> 0;
}

export function u32(value: unknown, name: string): number {
  return whole(value, 0, 0xffff_ffff, name);
}

/** An unsigned 64-bit value: a bigint, or a number where that is exact. */
export function u64(value: unknown, name: string): bigint {
  if (typeof value === "number") return BigInt(whole(value, 0, Number.MAX_SAFE_INTEGER, name));
  if (typeof value !== "bigint")
    throw new TypeError(`${name} must be a number or a bigint, not ${typeof value}`);
  if (value < 0n || value >= 1n << 64n)
    throw new RangeError(`${name} must be from 0 to 2^64 - 1, not ${value}`);
  return value;
}

/** 64 bits, from a number where that is exact or from a bigint, signed or not. */
export function bits64(value: unknown, name: string): bigint {
  if (typeof value === "number") {
    return BigInt.asUintN(64, BigInt(whole(value, -Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, name)));
  }
  if (typeof value === "bigint" && value < 0n && value >= -(1n << 63n)) return BigInt.asUintN(64, value);
  return u64(value, name);
}
