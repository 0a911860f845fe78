import type { Int64, Mem } from "../entry.ts";

/** An argument of 32 bits, signed or not, as C converts it to `unsigned`. Lengths go through here before they bound memory. */
export function u32(value: number, what: string): number {
  if ((value | 0) !== value && value >>> 0 !== value) throw wrong(value, 32, what);
  return value >>> 0;
}

/** An argument of 32 bits, signed or not, as C converts it to `int`: what sign-extends, or stands in place of an fd. */
export function s32(value: number, what: string): number {
  return u32(value, what) | 0;
}

/** An argument of 16 bits. */
export function u16(value: number, what: string): number {
  if (!(value >>> 0 === value && value <= 0xffff)) throw wrong(value, 16, what);
  return value;
}

/**
 * A `size_t` as the 32 bits an entry has for it: for a raw address modulo 2^32, as in C; memory that knows its length is
 * never given less than was asked for.
 */
export function size(length: Int64, mem: Mem | object): number {
  if (typeof length === "number" && length >>> 0 === length) return length;
  if (typeof length === "number") {
    if (!Number.isInteger(length) || Math.abs(length) > 2 ** 53) throw wrong(length, 53, "length");
  } else if (typeof length !== "bigint") {
    throw wrong(length, 53, "length");
  }
  const exact = BigInt(length);
  if (typeof mem === "number" || typeof mem === "bigint") {
    if (exact < -(1n << 63n) || exact >> 64n > 0n) throw wrong(length, 64, "length");
    return Number(BigInt.asUintN(32, exact));
  }
  if (exact < 0n || exact >> 32n > 0n) throw wrong(length, 32, "length");
  return Number(exact);
}

function wrong(value: unknown, bits: number, what: string): Error {
  if (typeof value !== "number" && typeof value !== "bigint") {
    return new TypeError(`${what} must be a number, not ${value === null ? "null" : typeof value}`);
  }
  return new RangeError(`${what} must be a whole number of ${bits} bits, not ${value}`);
}
