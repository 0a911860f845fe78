import { Direct, type Target } from "../ring/direct.ts";
import { isAborted, reasonOf } from "./signals.ts";

/** What every operation can be given. */
export interface OperationOptions {
  /**
   * Ends the operation early: the promise is then rejected with the signal's reason. An operation that was quicker
   * delivers its result; descriptors that it opened are closed instead.
   */
  signal?: AbortSignal | undefined;
  /** Milliseconds after which the operation is ended: the promise is then rejected with a `TimeoutError`. */
  timeout?: number | undefined;
}

/** What an operation without options has: one object, so that it is quick to recognise. */
export const NO_OPTIONS: OperationOptions = Object.freeze({});

/** Throws for options that are none, and the reason of a signal that was aborted already. */
export function checkOptions(signal: AbortSignal | undefined, timeout: number | undefined): void {
  checkSignal(signal);
  if (signal !== undefined && isAborted(signal)) throw reasonOf(signal);
  if (timeout === undefined) return;
  if (typeof timeout !== "number") throw new TypeError(`timeout must be milliseconds, not ${typeof timeout}`);
  if (!(timeout >= 0 && timeout < 2 ** 53))
    throw new RangeError(`timeout must be milliseconds, not ${timeout}`);
}

export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal === undefined || signal instanceof AbortSignal) return;
  throw new TypeError("signal must be an AbortSignal");
}

export function checkTarget(target: Target): void {
  if ((typeof target === "number" && (target | 0) === target) || target instanceof Direct) return;
  throw new TypeError(`an fd or a Direct is needed, not ${describe(target)}`);
}

export function checkNumbers(offset: number, flags: number): void {
  if (flags >>> 0 !== flags && (flags | 0) !== flags)
    throw new RangeError(`flags must be 32 bits, not ${flags}`);
  if (typeof offset !== "number") throw new TypeError(`offset must be a number, not ${typeof offset}`);
}

/** How many bytes of memory an operation is on: those asked for, or all. */
export function checkLength(length: number | undefined, most: number): number {
  if (length === undefined) return most;
  if (!Number.isInteger(length) || length < 0)
    throw new RangeError(`length must be a whole number, not ${length}`);
  if (length > most) throw new RangeError(`${length} bytes are more than the ${most} of the memory given`);
  return length;
}

function describe(value: unknown): string {
  return typeof value === "number" ? String(value) : value === null ? "null" : typeof value;
}
