import { __kernel_timespec as layout } from "../abi/index.ts";
import type { Pinned } from "../ring/pinned.ts";
import { type Memory, target, u64, viewOf, whole } from "./fields.ts";

/**
 * A duration, or a point in time since the clock's start: milliseconds as a `number` (fractions count), nanoseconds as
 * a `bigint`, or both parts of the kernel's struct.
 */
export type Timespec = number | bigint | { readonly sec: number | bigint; readonly nsec: number };

const NSEC = 1_000_000_000;
const MAX_SEC = 2n ** 63n - 1n;

/**
 * Writes a `struct __kernel_timespec`, as `prepTimeout` and its like take it.
 *
 * @param time milliseconds (number), nanoseconds (bigint) or `{ sec, nsec }`
 * @param into 16 bytes to write to, by default new memory
 * @returns the 16 bytes; they must stay as they are until the operation has been submitted
 * @throws RangeError for a negative or infinite time, or `nsec` from 10^9 on; TypeError for another type
 *
 * @example
 * ```ts
 * import { decodeTimespec, encodeTimespec } from "uring";
 *
 * console.log(decodeTimespec(encodeTimespec(1500))); // 1500000000n
 * ```
 */
export function encodeTimespec<M extends Memory = Pinned>(time: Timespec, into?: M): M {
  const { sec, nsec } = parts(time);
  const memory = target(into, layout.sizeof, "timespec");
  const view = viewOf(memory, layout.sizeof, "timespec");
  view.setBigInt64(layout.tv_sec, sec, true);
  view.setBigInt64(layout.tv_nsec, BigInt(nsec), true);
  return memory;
}

/**
 * Reads a `struct __kernel_timespec`.
 *
 * @returns nanoseconds, exact whatever the struct holds
 * @throws RangeError for memory of fewer than 16 bytes
 */
export function decodeTimespec(memory: Memory): bigint {
  const view = viewOf(memory, layout.sizeof, "timespec");
  return view.getBigInt64(layout.tv_sec, true) * BigInt(NSEC) + view.getBigInt64(layout.tv_nsec, true);
}

function parts(time: Timespec): { sec: bigint; nsec: number } {
  if (typeof time === "number") return fromMilliseconds(time);
  if (typeof time === "bigint") {
    if (time < 0n || time / BigInt(NSEC) > MAX_SEC)
      throw new RangeError(`no timespec holds ${time} nanoseconds`);
    return { sec: time / BigInt(NSEC), nsec: Number(time % BigInt(NSEC)) };
  }
  if (typeof time !== "object" || time === null) {
    throw new TypeError("a time must be milliseconds as a number, nanoseconds as a bigint, or { sec, nsec }");
  }
  const sec = u64(time.sec, "sec");
  if (sec > MAX_SEC) throw new RangeError(`no timespec holds ${sec} seconds`);
  return { sec, nsec: whole(time.nsec, 0, NSEC - 1, "nsec") };
}

function fromMilliseconds(time: number): { sec: bigint; nsec: number } {
  const sec = Math.floor(time / 1000);
  if (!(sec >= 0 && sec < 2 ** 63)) throw new RangeError(`no timespec holds ${time} milliseconds`);
  const nsec = Math.round((time - sec * 1000) * 1e6);
  // What rounds up to a whole second belongs to the next one.
  return nsec < NSEC ? { sec: BigInt(sec), nsec } : { sec: BigInt(sec) + 1n, nsec: 0 };
}
