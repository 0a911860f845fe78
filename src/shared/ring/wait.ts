import { IORING_ENTER_ABS_TIMER, IORING_ENTER_EXT_ARG, io_uring_getevents_arg } from "../abi/index.ts";
import { allocInternal, type Pinned } from "./pinned.ts";
import { SignalSet } from "./signal-set.ts";

/** How long, and under which signal mask, to wait for completions. */
export interface WaitOptions {
  /** Milliseconds to wait at most; fractions count down to nanoseconds. */
  timeout?: number;
  /**
   * Whether `timeout` is a point in time instead, by the ring's clock: `CLOCK_MONOTONIC` unless `registerClock` has chosen
   * another. Linux 6.12.
   */
  absolute?: boolean;
  /**
   * Milliseconds to gather a whole batch in: the wait ends after them as soon as there is any completion. Linux 6.12,
   * feature `IORING_FEAT_MIN_TIMEOUT`.
   */
  minWait?: number;
  /** The signals to block while waiting, in place of the thread's own mask; as a bigint bit 0 is signal 1. */
  sigmask?: SignalSet | bigint;
}

/** The kernel's `sigset_t` is 8 bytes long; libc's size, 128, is refused. */
export const SIGSET_SIZE = 8;
const MAX_TIMEOUT = 2 ** 53 / 1e6;
const MAX_MIN_WAIT = 4_294_967;

/**
 * A signal mask's 64 bits. Throws a `TypeError` for what is none, such as bytes of libc's `sigset_t`; a `RangeError` for
 * a bigint of more bits.
 */
export function signalMask(sigmask: SignalSet | bigint): bigint {
  if (sigmask instanceof SignalSet) return sigmask.mask;
  if (typeof sigmask !== "bigint") throw new TypeError("sigmask must be a SignalSet or a bigint of 64 bits");
  if (BigInt.asUintN(64, sigmask) !== sigmask) throw new RangeError("sigmask must be a bigint of 64 bits");
  return sigmask;
}

/** A ring's `struct io_uring_getevents_arg` with the timespec and signal mask that it points to. */
export class WaitArgument {
  readonly size: number = io_uring_getevents_arg.sizeof;
  /** The flags that the argument last written goes with. */
  flags: number = IORING_ENTER_EXT_ARG;
  #memory: Pinned | undefined;
  #view: DataView | undefined;

  /** Writes the options down; the address to give to `io_uring_enter(2)`. */
  set(options: WaitOptions): number {
    if (typeof options !== "object" || options === null)
      throw new TypeError("wait options must be an object");
    const { timeout, absolute = false, minWait = 0 } = options;
    checkTimes(timeout, minWait);
    if (typeof absolute !== "boolean") throw new TypeError("absolute must be true or false");
    const sigmask = options.sigmask === undefined ? undefined : signalMask(options.sigmask);
    this.flags = absolute ? IORING_ENTER_EXT_ARG | IORING_ENTER_ABS_TIMER : IORING_ENTER_EXT_ARG;
    const arg = io_uring_getevents_arg;
    const memory = this.#load();
    const view = this.#view as DataView;
    const timespec = arg.sizeof;
    const mask = arg.sizeof + 16;
    view.setBigUint64(arg.sigmask, sigmask === undefined ? 0n : BigInt(memory.address + mask), true);
    view.setUint32(arg.sigmask_sz, sigmask === undefined ? 0 : SIGSET_SIZE, true);
    view.setUint32(arg.min_wait_usec, Math.ceil(minWait * 1000), true);
    view.setBigUint64(arg.ts, timeout === undefined ? 0n : BigInt(memory.address + timespec), true);
    if (timeout !== undefined) putTimeout(view, timespec, timeout);
    if (sigmask !== undefined) view.setBigUint64(mask, sigmask, true);
    return memory.address;
  }

  /** Gives the memory back. */
  release(): void {
    this.#memory?.[Symbol.dispose]();
    this.#memory = this.#view = undefined;
  }

  #load(): Pinned {
    if (this.#memory === undefined) {
      this.#memory = allocInternal(io_uring_getevents_arg.sizeof + 16 + SIGSET_SIZE);
      const { buffer, byteOffset, byteLength } = this.#memory.bytes;
      this.#view = new DataView(buffer, byteOffset, byteLength);
    }
    return this.#memory;
  }
}

/** Throws a `TypeError` or `RangeError` for what can be no wait's times. */
export function checkTimes(timeout: unknown, minWait: unknown): void {
  if (timeout !== undefined) checkDuration(timeout, MAX_TIMEOUT, "timeout");
  checkDuration(minWait, MAX_MIN_WAIT, "minWait");
}

/** Writes milliseconds as a `struct __kernel_timespec`, rounded up: a wait must not end before its time. */
export function putTimeout(view: DataView, at: number, timeout: number): void {
  const seconds = Math.floor(timeout / 1000);
  const nanoseconds = Math.min(Math.ceil((timeout - seconds * 1000) * 1e6), 999_999_999);
  view.setBigInt64(at, BigInt(seconds), true);
  view.setBigInt64(at + 8, BigInt(nanoseconds), true);
}

function checkDuration(ms: unknown, most: number, what: string): void {
  if (typeof ms !== "number")
    throw new TypeError(`${what} must be a number of milliseconds, not ${typeof ms}`);
  if (!(ms >= 0 && ms <= most)) throw new RangeError(`${what} must be 0 to ${most} milliseconds, not ${ms}`);
}
