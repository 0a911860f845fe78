import { FUTEX_WAITV_MAX, FUTEX2_NUMA, FUTEX2_SIZE_U32, futex_waitv as layout } from "../abi/index.ts";
import { Struct } from "../ring/pinned.ts";
import { addressOf, bits32, lengthOf, type Memory, u64 } from "./fields.ts";

/** One futex to wait for. */
export interface Futex {
  /** The futex word's memory, aligned to its size. */
  readonly futex: Memory;
  /** The value the word has unless something happened already. */
  readonly value: number | bigint;
  /** `FUTEX2_*` flags, by default `FUTEX2_SIZE_U32`; `FUTEX2_PRIVATE` where no other process takes part. */
  readonly flags?: number;
}

/** The bits of the flags that are log2 of the word's size. */
const SIZE_MASK = 3;

/** What the kernel is to be told of each, once it is sure that it can be. */
function checked(
  futexes: readonly Futex[],
): { futex: Memory; address: number; value: bigint; bits: number }[] {
  if (!Array.isArray(futexes)) throw new TypeError("an array of futexes is needed");
  // A plain array, whose methods are nobody's.
  const all: readonly Futex[] = Array.from(futexes);
  if (all.length < 1 || all.length > FUTEX_WAITV_MAX) {
    throw new RangeError(`1 to ${FUTEX_WAITV_MAX} futexes are needed, not ${all.length}`);
  }
  return all.map(({ futex, value, flags = FUTEX2_SIZE_U32 }) => {
    const address = addressOf(futex);
    const bits = bits32(flags, "flags");
    const word = 1 << (bits & SIZE_MASK);
    // With FUTEX2_NUMA the kernel keeps the node, as large again, behind the word.
    const size = (bits & FUTEX2_NUMA) === 0 ? word : 2 * word;
    const length = lengthOf(futex);
    if (length < size || address % size !== 0) {
      throw new RangeError(`a futex takes ${size} aligned bytes, not ${length} at ${address}`);
    }
    return { futex, address, value: u64(value, "value"), bits };
  });
}

/**
 * An array of `struct futex_waitv`: the futexes of which `prepFutexWaitv` waits for any. See futex_waitv(2).
 *
 * It keeps the memory of the futexes reachable for as long as it lives itself; a caller's view must not be transferred or
 * detached before the operation's completion.
 */
export class FutexWaitv extends Struct {
  /** How many futexes there are. */
  readonly length: number;
  readonly #memory: readonly Memory[];

  /**
   * @param futexes 1 to 128 of them
   * @throws RangeError for another number of them, a word that is too short or not aligned, or a value that 64 bits do not
   * hold; TypeError for what is no memory, or memory that can move
   */
  constructor(futexes: readonly Futex[]) {
    const words = checked(futexes);
    const memory = words.map(({ futex }) => futex);
    super(FutexWaitv, words.length * layout.sizeof, memory);
    this.length = words.length;
    this.#memory = memory;
    const view = this.dataView();
    for (const [i, { address, value, bits }] of words.entries()) {
      const at = i * layout.sizeof;
      view.setBigUint64(at + layout.val, value, true);
      view.setBigUint64(at + layout.uaddr, BigInt(address), true);
      view.setUint32(at + layout.flags, bits, true);
    }
  }

  /** The memory of one of the futexes, as it was given. */
  at(index: number): Memory | undefined {
    return this.#memory.at(index);
  }
}
