import { whole } from "../structs/fields.ts";

/** More CPUs than Linux can be built for. */
const MAX_CPU = 16383;

/**
 * A set of CPUs by number.
 *
 * @example
 * ```ts
 * import { CpuSet, Ring } from "uring";
 *
 * using ring = new Ring();
 * ring.registerIowqAff(new CpuSet([0]));
 * ```
 */
export class CpuSet {
  readonly #cpus = new Set<number>();

  /** @throws RangeError for what is no number of a CPU, 0 to 16383 */
  constructor(cpus: Iterable<number> = []) {
    for (const cpu of cpus) this.add(cpu);
  }

  /** Adds a CPU. */
  add(cpu: number): this {
    this.#cpus.add(whole(cpu, 0, MAX_CPU, "a CPU's number"));
    return this;
  }

  /** Takes a CPU out. */
  delete(cpu: number): this {
    this.#cpus.delete(cpu);
    return this;
  }

  /** Whether a CPU is in the set. */
  has(cpu: number): boolean {
    return this.#cpus.has(cpu);
  }

  /** How many CPUs are in the set. */
  get size(): number {
    return this.#cpus.size;
  }

  /** The CPUs' numbers, in order. */
  [Symbol.iterator](): IterableIterator<number> {
    return [...this.#cpus].sort((a, b) => a - b).values();
  }

  /** The set as the kernel's `cpu_set_t`: one bit a CPU, whole 64-bit words, as many as it takes and at least one. */
  toBytes(): Uint8Array {
    const highest = Math.max(0, ...this.#cpus);
    const bytes = new Uint8Array(8 * (Math.floor(highest / 64) + 1));
    for (const cpu of this.#cpus) bytes[cpu >> 3] = (bytes[cpu >> 3] as number) | (1 << (cpu & 7));
    return bytes;
  }
}
