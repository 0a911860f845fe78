import { IORING_SETUP_NO_SQARRAY, IORING_SETUP_SQE128, IORING_SETUP_SQPOLL } from "../abi/index.ts";
import { follows, refusedCombination, sendsZeroCopy, skipsSuccess } from "./combination.ts";
import { claimEntries, type EntryOwner } from "./entry.ts";
import type { HeldViews } from "./held.ts";
import type { RingMemory, RingParams } from "./setup.ts";
import { Sqe } from "./sqe.ts";

/** Up to here a loop of stores is faster than a call of the engine's. */
const FEW = 16;

/**
 * The submission queue: hands entries out, and publishes them to the kernel.
 *
 * Sequence numbers run free as 32-bit integers, as the kernel's do; a slot is a number's low bits. In order:
 * the kernel's head, `published`, `tail`.
 */
export class SubmissionQueue implements EntryOwner {
  /** Sequence number of the next entry to hand out. */
  tail = 0;
  /** Sequence number of the first entry not yet published. */
  published = 0;
  /** What makes a slot of a sequence number. */
  readonly mask: number = 0;
  /** How many words an entry has. */
  readonly size: number = 0;
  /** Whether any entry published asked for no completion on success: from then on completions can not be counted. */
  skipped = false;
  /**
   * Whether a zero-copy send followed on another entry: where that fails Linux, as of 6.18, ends the send with two completions
   * that both look like its last.
   */
  miscounted = false;
  /** Whether an entry not yet published is to be looked at before it is. */
  #doubted = false;
  readonly #entries: number = 0;
  /** Sequence number up to which slots are known to be free, and are clear. */
  #limit = 0;
  readonly #poller: boolean = false;
  #words: Int32Array;
  readonly #at: {
    readonly head: number;
    readonly tail: number;
    readonly flags: number;
    readonly dropped: number;
  };
  #slots: Sqe[] = [];
  /** The entries' words, and the same memory as doubles. */
  #sqes: Int32Array;
  #doubles: Float64Array;
  /** log2 of an entry's size in words. */
  readonly #shift: number = 0;
  readonly #held: HeldViews;
  #closed: (() => Error) | undefined;

  constructor(params: RingParams, memory: RingMemory, held: HeldViews) {
    this.#entries = params.sqEntries;
    this.#limit = params.sqEntries;
    this.mask = params.sqEntries - 1;
    this.#poller = (params.flags & IORING_SETUP_SQPOLL) !== 0;
    this.#words = memory.rings;
    this.#at = params.sqOff;
    this.#held = held;
    const shift = (params.flags & IORING_SETUP_SQE128) !== 0 ? 5 : 4;
    const doubles = new Float64Array(
      memory.sqes.buffer,
      memory.sqes.byteOffset,
      (params.sqEntries << shift) >> 1,
    );
    this.#sqes = memory.sqes;
    this.#doubles = doubles;
    this.#shift = shift;
    this.size = 1 << shift;
    this.#slots = Array.from(
      { length: params.sqEntries },
      (_, slot) => new Sqe(this, memory.sqes, doubles, slot, shift),
    );
    if ((params.flags & IORING_SETUP_NO_SQARRAY) === 0) {
      for (let slot = 0; slot < params.sqEntries; slot++) memory.rings[params.sqOff.array + slot] = slot;
    }
  }

  /** The next free entry, cleared; `null` when there is none. */
  get(): Sqe | null {
    const tail = this.tail;
    if (tail === this.#limit && !this.#extend()) return null;
    const sqe = this.#slots[tail & this.mask] as Sqe;
    this.tail = (tail + 1) | 0;
    return sqe;
  }

  /** Says whose the completions of entries are: `claimEntries` of this queue's. */
  claim(claims: Int32Array, count: number, flags: number): void {
    claimEntries(this.#sqes, claims, count, flags);
    // What is still wrong with one the kernel tells the receiver: the others are not to wait for it.
    if (this.#doubted) this.#look(false);
  }

  /** Shows the kernel every entry handed out; how many it has yet to take. */
  publish(): number {
    const tail = this.tail;
    if (tail !== this.published) {
      if (this.#doubted) this.#look(true);
      this.published = tail;
      // The poller thread reads the tail at any time, and after it the flags word must be read: an Atomics store
      // orders both. Without it only this thread's next system call reads the tail, which orders everything by itself.
      if (this.#poller) Atomics.store(this.#words, this.#at.tail, tail);
      else this.#words[this.#at.tail] = tail;
    }
    return (tail - this.head()) | 0;
  }

  /**
   * Looks at entries about to be shown to the kernel.
   *
   * @param refuse whether to throw a `TypeError` for one that no kernel takes: all are still the caller's then, to be set right
   */
  #look(refuse: boolean): void {
    let { skipped, miscounted } = this;
    let before = 0;
    for (let at = this.published; at !== this.tail; at = (at + 1) | 0) {
      const first = this.#sqes[(at & this.mask) << this.#shift] as number;
      const refused = refuse ? refusedCombination(first, skipped) : undefined;
      if (refused !== undefined) {
        throw new TypeError(
          `no kernel takes entry ${(at - this.published) | 0} of those to be submitted: ${refused}`,
        );
      }
      skipped ||= skipsSuccess(first);
      miscounted ||= follows(before) && sendsZeroCopy(first);
      before = first;
    }
    this.skipped = skipped;
    this.miscounted = miscounted;
    this.#doubted = false;
  }

  /** How many entries are handed out and not yet taken by the kernel. */
  ready(): number {
    return (this.tail - this.head()) | 0;
  }

  /** How many entries can be handed out now. */
  spaceLeft(): number {
    return this.#entries - this.ready();
  }

  /** The flags word, where the kernel tells that the poller sleeps, the CQ overflowed or task work waits. */
  flags(): number {
    return Atomics.load(this.#words, this.#at.flags);
  }

  /** How many entries the kernel found invalid indices for: 0, as this queue writes the indices. */
  dropped(): number {
    return this.#words[this.#at.dropped] as number;
  }

  /** Sequence number of the first entry that the kernel has yet to take. */
  head(): number {
    return this.#poller ? Atomics.load(this.#words, this.#at.head) : (this.#words[this.#at.head] as number);
  }

  /**
   * Sequence number of the first entry that nobody has submitted. What the poller thread was shown it takes for sure, and
   * its completions come before the head tells so.
   */
  submitted(): number {
    return this.#poller ? this.published : this.head();
  }

  /** Takes back every entry that the kernel has not taken. What the poller may be reading stays. */
  rewind(): void {
    const used = this.tail;
    this.tail = this.#poller ? this.published : this.head();
    this.published = this.tail;
    if (!this.#poller) this.#words[this.#at.tail] = this.tail;
    // What was written on them makes the slots no longer clear.
    for (let at = this.tail; at !== used; at = (at + 1) | 0) this.#clear(at & this.mask, 1);
  }

  /**
   * Goes on where another queue of the same ring stops: with its numbers, and every entry that the kernel has not taken.
   *
   * The kernel copies those that it was shown. Not all releases do so rightly where entries are large or numbers have
   * wrapped, and what they put in the wrong place must go.
   */
  takeOver(old: SubmissionQueue): void {
    this.tail = old.tail;
    this.published = old.published;
    this.skipped = old.skipped;
    this.miscounted = old.miscounted;
    this.#doubted = old.#doubted;
    const head = this.head();
    this.#limit = (head + this.#entries) | 0;
    this.#doubles.fill(0);
    const size = 1 << (this.#shift - 1);
    for (let at = head; at !== this.tail; at = (at + 1) | 0) {
      const from = (at & old.mask) * size;
      this.#doubles.set(old.#doubles.subarray(from, from + size), (at & this.mask) * size);
    }
  }

  /** Ends the queue: entries are no longer handed out, those that were throw, and the memory is let go. */
  close(error: () => Error): void {
    this.#closed = error;
    this.published = this.tail;
    this.#limit = this.tail;
    this.#slots = [];
    this.#sqes = new Int32Array(0);
    this.#doubles = new Float64Array(0);
    this.#words = new Int32Array(256);
  }

  /** Keeps memory reachable until no operation is in flight. */
  hold(memory: object): void {
    this.#held.hold(memory);
  }

  /** Keeps memory reachable until the ring is closed. */
  holdForGood(memory: object): void {
    this.#held.holdForGood(memory);
  }

  /** Has entries looked at before they are published. */
  doubt(): void {
    this.#doubted = true;
  }

  /** The error for an entry that is no longer the caller's. */
  stale(): Error {
    return (
      this.#closed?.() ??
      new TypeError("this entry has been submitted: it is the kernel's now, getSqe() gives the next")
    );
  }

  /**
   * Looks for slots that the kernel is done with, and clears them: many at once cost a fraction of one at a time.
   * Stores of doubles clear twice as much as stores of words.
   */
  #extend(): boolean {
    if (this.#closed !== undefined) throw this.#closed();
    const limit = (this.head() + this.#entries) | 0;
    if (limit === this.#limit) return false;
    const from = this.#limit & this.mask;
    const count = (limit - this.#limit) | 0;
    const first = Math.min(count, this.#entries - from);
    this.#clear(from, first);
    if (first < count) this.#clear(0, count - first);
    this.#limit = limit;
    return true;
  }

  #clear(slot: number, count: number): void {
    const doubles = this.#doubles;
    const from = (slot << this.#shift) >> 1;
    const to = ((slot + count) << this.#shift) >> 1;
    if (count > FEW) doubles.fill(0, from, to);
    else for (let i = from; i < to; i++) doubles[i] = 0;
  }
}
