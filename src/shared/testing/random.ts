/** Random numbers that one seed decides: the same seed gives the same numbers on every machine and runtime. */
export class Random {
  #state: number;

  /** @param seed a whole number; its low 32 bits count */
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A number from 0 up to, not including, 1. */
  next(): number {
    // Mulberry32: 32 bits of state, one multiplication a step more than the least that passes tests of randomness.
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  }

  /** A whole number from 0 up to, not including, `end`. */
  below(end: number): number {
    return Math.floor(this.next() * end);
  }

  /** Whether something happens that does so in one of `n` cases. */
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }
}
