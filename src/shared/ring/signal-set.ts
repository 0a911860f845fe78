import { whole } from "../structs/fields.ts";

const MAX_SIGNAL = 64;

/**
 * A set of signals by number, as a wait's `sigmask` takes it: the kernel's own mask of 64 bits, not libc's of 1024.
 *
 * @example
 * ```ts
 * import { Ring, SignalSet } from "uring";
 *
 * using ring = new Ring();
 * ring.submitAndWait(1, { timeout: 10, sigmask: new SignalSet([2, 15]) }); // neither SIGINT nor SIGTERM ends this wait
 * ```
 */
export class SignalSet {
  #mask = 0n;

  /** @throws RangeError for what is no number of a signal, 1 to 64 */
  constructor(signals: Iterable<number> = []) {
    for (const signal of signals) this.add(signal);
  }

  /** The set of every signal. */
  static full(): SignalSet {
    const set = new SignalSet();
    set.#mask = 2n ** 64n - 1n;
    return set;
  }

  /** Adds a signal. */
  add(signal: number): this {
    this.#mask |= bit(signal);
    return this;
  }

  /** Takes a signal out. */
  delete(signal: number): this {
    this.#mask &= ~bit(signal);
    return this;
  }

  /** Whether a signal is in the set. */
  has(signal: number): boolean {
    return (this.#mask & bit(signal)) !== 0n;
  }

  /** The signals' numbers, in order. */
  *[Symbol.iterator](): Generator<number, void> {
    for (let signal = 1; signal <= MAX_SIGNAL; signal++) if (this.has(signal)) yield signal;
  }

  /** The set as the kernel has it: bit 0 is signal 1. */
  get mask(): bigint {
    return this.#mask;
  }
}

function bit(signal: number): bigint {
  return 1n << BigInt(whole(signal, 1, MAX_SIGNAL, "a signal's number") - 1);
}
