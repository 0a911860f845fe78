import type { Sqe } from "../ring/sqe.ts";
import { type DrivenRing, queues } from "./driven-ring.ts";
import { type Kind, type Listed, MAX_GENERATION, type Receiver, randomWord } from "./operation.ts";

/** Marks the `user_data` of entries that callers fill themselves: above that of all others. */
export const ENTRY = 0x2000000;
const SLOT = ENTRY - 1;
const FEWEST = 64;

const KIND: Kind = { name: "entry", opcode: 0, since: "5.1", prepare: () => {} };

/**
 * The operations that callers describe themselves. Each has a slot, which with a generation is its `user_data` as an
 * operation's index is, and a receiver. There is nothing else to be known of them, so that arrays do: of these a batch touches
 * a tenth of the memory that it would of objects, for which the kernel's copying leaves little room in the caches.
 */
export class Entries {
  // No `#` for what every entry goes through, as in the engine.
  private readonly receivers: (Receiver | null)[] = [];
  private generations: Int32Array<ArrayBuffer> = new Int32Array(0);
  /** The free slots, the one given back last at the end. */
  private free: Int32Array<ArrayBuffer> = new Int32Array(0);
  private left = 0;
  /** Of each entry that was not handed over yet three words: its place in the queue, and its `user_data` by halves. */
  private claims: Int32Array<ArrayBuffer> = new Int32Array(0);
  /** How many these are. */
  described: number = 0;
  /** When those began that were recorded, by slot. */
  readonly #started = new Map<number, number>();

  /** Makes an entry a receiver's. */
  add(sqe: Sqe, receiver: Receiver): void {
    if (this.left === 0) this.#grow();
    const slot = this.free[--this.left] as number;
    this.receivers[slot] = receiver;
    const at = 3 * this.described++;
    this.claims[at] = sqe.place;
    this.claims[at + 1] = slot | ENTRY;
    this.claims[at + 2] = this.generations[slot] as number;
  }

  #grow(): void {
    const before = this.receivers.length;
    const count = Math.max(2 * before, FEWEST);
    this.generations = longer(this.generations, count);
    this.free = longer(this.free, count);
    this.claims = longer(this.claims, 3 * count);
    for (let slot = count - 1; slot >= before; slot--) {
      this.generations[slot] = randomWord();
      this.free[this.left++] = slot;
    }
    for (let slot = before; slot < count; slot++) this.receivers.push(null);
  }

  /** Writes whose the completions will be, of all that is about to be handed over, and takes such flags away. */
  claim(ring: DrivenRing, flags: number): void {
    queues.claim(ring, this.claims, this.described, flags);
    this.described = 0;
  }

  /** Who is told of a completion; `null` for one that is nobody's. With the last one the slot is free. */
  take(low: number, high: number, last: boolean): Receiver | null {
    const slot = low & SLOT;
    if (this.generations[slot] !== high) return null;
    const receiver = this.receivers[slot] as Receiver | null;
    if (last && receiver !== null) this.release(slot);
    return receiver;
  }

  release(slot: number): void {
    this.generations[slot] = ((this.generations[slot] as number) + 1) & MAX_GENERATION;
    this.receivers[slot] = null;
    this.free[this.left++] = slot;
  }

  /** Keeps the time at which the entry that was added last began. */
  record(): void {
    this.#started.set((this.claims[3 * this.described - 2] as number) & SLOT, performance.now());
  }

  forgetRecords(): void {
    this.#started.clear();
  }

  /** What is told of an entry. */
  listed(low: number): Listed {
    const started = this.#started.get(low & SLOT) ?? Number.NaN;
    return { kind: KIND, target: -1, length: 0, about: undefined, started, stack: undefined };
  }

  /** Those that were not released. */
  *[Symbol.iterator](): IterableIterator<[low: number, receiver: Receiver]> {
    for (const [slot, receiver] of this.receivers.entries()) {
      if (receiver !== null) yield [slot | ENTRY, receiver];
    }
  }
}

function longer(words: Int32Array<ArrayBuffer>, length: number): Int32Array<ArrayBuffer> {
  const all = new Int32Array(length);
  all.set(words);
  return all;
}
