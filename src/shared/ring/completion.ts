import {
  IORING_CQE_F_32,
  IORING_CQE_F_MORE,
  IORING_CQE_F_SKIP,
  IORING_SETUP_CQE_MIXED,
  IORING_SETUP_CQE32,
} from "../abi/index.ts";
import { Cqe, userDataNumber } from "./cqe.ts";
import type { RingMemory, RingParams } from "./setup.ts";

// Engines read an imported binding anew each time; a constant of the module's own is folded into the code.
const F_MORE = IORING_CQE_F_MORE;
const F_32 = IORING_CQE_F_32;
const F_SKIP = IORING_CQE_F_SKIP;

/** Whether the machine makes stores visible only after the loads before them. */
const LOADS_FIRST = (globalThis as { process?: { arch?: string } }).process?.arch === "x64";

/** Stands for a closed ring's memory: as long as the header, all zero, never written. */
const NO_WORDS = new Int32Array(256);

/** What `drain` calls for each completion. */
export type CompletionCallback = (userData: number, res: number, flags: number) => void;

/** Who is told of completions, with both words of the user_data. */
export interface CompletionReader {
  completion(low: number, high: number, res: number, flags: number): void;
}

/**
 * The completion queue: reads what the kernel has posted, and tells it what has been read.
 *
 * A completion counts as consumed from the moment it is handed out, so a callback may throw, submit, drain further or
 * close. The head in memory follows in one store a batch, and before every system call.
 */
export class CompletionQueue {
  /** Sequence number of the next completion to read, in slots. */
  #head = 0;
  /** The kernel's tail when it was last looked at. */
  #tail = 0;
  /** The head as the kernel knows it. */
  #published = 0;
  /** How many operations have completed for good, as a 32-bit integer. */
  finished = 0;
  #words: Int32Array = NO_WORDS;
  /** The slots, within `#words`. */
  #cqes: Int32Array = NO_WORDS;
  readonly #at: {
    readonly head: number;
    readonly tail: number;
    readonly overflow: number;
    readonly flags: number;
  };
  readonly #mask: number = 0;
  /** log2 of a slot's size in words. */
  readonly #shift: number = 0;
  readonly #ring32: boolean = false;
  /** Flags of completions that are not one slot: none but in rings with mixed sizes. */
  readonly #odd: number = 0;
  readonly #cursor = new Cqe();
  /**
   * How many completions one call may wait for. In a queue of mixed sizes these must fit with two slots left over: where a
   * large one waits for two and there are fewer, Linux 6.18 waits for more without sleeping, and no signal ends it.
   */
  readonly most: number = 0;

  constructor(params: RingParams, memory: RingMemory) {
    this.#words = memory.rings;
    this.#at = params.cqOff;
    this.#mask = params.cqEntries - 1;
    this.#ring32 = (params.flags & IORING_SETUP_CQE32) !== 0;
    this.#shift = this.#ring32 ? 3 : 2;
    const first = params.cqOff.cqes;
    this.#cqes = memory.rings.subarray(first, first + (params.cqEntries << this.#shift));
    const mixed = (params.flags & IORING_SETUP_CQE_MIXED) !== 0;
    this.#odd = mixed ? F_32 | F_SKIP : 0;
    this.most = mixed ? Math.max(params.cqEntries - 2, 1) : params.cqEntries;
  }

  /** How many slots hold completions that have not been read. */
  ready(): number {
    return (this.load() - this.#head) | 0;
  }

  /** How many completions the kernel could not post nor keep. */
  overflow(): number {
    return this.#words[this.#at.overflow] as number;
  }

  /** Calls back for every completion that is there now; how many there were. */
  drain(callback: CompletionCallback): number {
    const cqes = this.#cqes;
    // `| 0` here, or V8 unpacks each of them anew for every completion.
    const mask = this.#mask | 0;
    const shift = this.#shift | 0;
    const odd = this.#odd | 0;
    let count = 0;
    let more = 0;
    let tail = this.load();
    try {
      for (let head = this.#head; head !== tail; ) {
        // A slot begins at a multiple of four words: or-ing adds, and can not overflow.
        const at = (head & mask) << shift;
        const low = cqes[at] as number;
        const high = cqes[at | 1] as number;
        const res = cqes[at | 2] as number;
        const flags = cqes[at | 3] as number;
        head = (head + 1) | 0;
        if ((flags & odd) !== 0) {
          if ((flags & F_32) !== 0) head = (head + 1) | 0;
          if ((flags & F_SKIP) !== 0) {
            this.#head = head;
            continue;
          }
        }
        this.#head = head;
        if ((flags & F_MORE) !== 0) more = (more + 1) | 0;
        count = (count + 1) | 0;
        // Two calls: a value that is now and then no small integer would cost V8 a heap number for every one.
        if (high === 0 && low >= 0) callback(low, res, flags);
        else callback(userDataNumber(low, high), res, flags);
        // Only a callback that drained or closed has moved it.
        if (this.#head !== head) {
          head = this.#head;
          tail = this.#tail;
        }
      }
    } finally {
      this.finished = (this.finished + count - more) | 0;
      this.publish();
    }
    return count;
  }

  /**
   * As `drain`, each `user_data` by halves: a number of more than 31 bits costs some engines an allocation. Written out once
   * more, since a step between the two would cost every completion. A method and not a function is called, because V8 takes
   * the methods of two objects for the same, and two closures not: with a second ring each completion would cost 10 ns more.
   */
  drainWords(reader: CompletionReader): number {
    const cqes = this.#cqes;
    const mask = this.#mask | 0;
    const shift = this.#shift | 0;
    const odd = this.#odd | 0;
    let count = 0;
    let more = 0;
    let tail = this.load();
    try {
      for (let head = this.#head; head !== tail; ) {
        const at = (head & mask) << shift;
        const flags = cqes[at | 3] as number;
        head = (head + 1) | 0;
        if ((flags & odd) !== 0) {
          if ((flags & F_32) !== 0) head = (head + 1) | 0;
          if ((flags & F_SKIP) !== 0) {
            this.#head = head;
            continue;
          }
        }
        this.#head = head;
        if ((flags & F_MORE) !== 0) more = (more + 1) | 0;
        count = (count + 1) | 0;
        reader.completion(cqes[at] as number, cqes[at | 1] as number, cqes[at | 2] as number, flags);
        // Only a callback that closed has moved it.
        if (this.#head !== head) {
          head = this.#head;
          tail = this.#tail;
        }
      }
    } finally {
      this.finished = (this.finished + count - more) | 0;
      this.publish();
    }
    return count;
  }

  /** Copies the words user_data low, user_data high, res, flags of each completion; how many completions. */
  copy(out: Int32Array): number {
    const cqes = this.#cqes;
    const room = out.length >> 2;
    let count = 0;
    this.load();
    while (count < room && this.#head !== this.#tail) {
      const at = this.slot(this.#head);
      const flags = cqes[at | 3] as number;
      this.#head = (this.#head + 1) | 0;
      if ((flags & this.#odd) !== 0 && this.oddSlot(flags)) continue;
      if ((flags & F_MORE) === 0) this.finished = (this.finished + 1) | 0;
      const to = count << 2;
      out[to] = cqes[at] as number;
      out[to + 1] = cqes[at | 1] as number;
      out[to + 2] = cqes[at | 2] as number;
      out[to + 3] = flags;
      count++;
    }
    this.publish();
    return count;
  }

  /** The next completion, copied and not consumed; `null` when there is none. */
  peek(): Cqe | null {
    const tail = this.load();
    while (this.#head !== tail) {
      if (!this.#isFiller(this.#head)) return this.#read(new Cqe(), this.#head);
      this.#head = (this.#head + 1) | 0;
    }
    return null;
  }

  /** Calls back for every completion that is there now without consuming any; how many slots they take. */
  each(callback: (cqe: Cqe) => void): number {
    const cqes = this.#cqes;
    const tail = this.load();
    let head = this.#head;
    while (((tail - head) | 0) > 0) {
      const at = head;
      head = (head + this.#width(head)) | 0;
      if (this.#isFiller(at)) {
        // What comes first belongs to no completion that is still to be consumed.
        if (at === this.#head) this.#head = head;
        continue;
      }
      callback(this.#read(this.#cursor, at));
      // The callback may have closed the queue, or consumed more than it was shown.
      if (this.#cqes !== cqes) return 0;
      if (((this.#head - head) | 0) > 0) head = this.#head;
    }
    return (head - this.#head) | 0;
  }

  /** Consumes slots. Throws a `RangeError` for more than are ready, and for half of a large completion. */
  advance(slots: number): void {
    const ready = this.ready();
    if ((slots | 0) !== slots || slots < 0 || slots > ready) {
      throw new RangeError(`${slots} completions can not be consumed: ${ready} are ready`);
    }
    const end = (this.#head + slots) | 0;
    let head = this.#head;
    let finished = this.finished;
    while (head !== end) {
      const width = this.#width(head);
      if (width > ((end - head) | 0)) throw new RangeError("a large completion takes two slots");
      const more = (this.#cqes[this.slot(head) | 3] as number) & F_MORE;
      if (more === 0 && !this.#isFiller(head)) finished = (finished + 1) | 0;
      head = (head + width) | 0;
    }
    this.#head = head;
    this.finished = finished;
    this.publish();
  }

  /** Tells the kernel what has been read. */
  publish(): void {
    if (this.#published === this.#head) return;
    if (this.#odd !== 0) this.#markFirstSlot();
    this.#published = this.#head;
    // All that counts is that the slots are read before. Engines keep to that, as both are elements of a buffer; and an
    // Atomics store is a full barrier on x64, 10 ns a batch.
    if (LOADS_FIRST) this.#words[this.#at.head] = this.#head;
    else Atomics.store(this.#words, this.#at.head, this.#head);
  }

  /**
   * Goes on where another queue of the same ring stops. The kernel has copied what was not yet read; not all releases do so
   * rightly where completions are large or numbers have wrapped.
   */
  takeOver(old: CompletionQueue): void {
    this.#head = this.#published = old.#head;
    this.finished = old.finished;
    if (this.#odd !== 0) this.#cqes[3] = F_SKIP;
    const end = old.tail();
    const size = 1 << this.#shift;
    for (let at = this.#head; at !== end; at = (at + 1) | 0) {
      const from = old.slot(at);
      this.#cqes.set(old.#cqes.subarray(from, from + size), this.slot(at));
      // One more than there are slots is counted, not written: see `#settle`.
      if (((at - this.#head) | 0) > old.#mask) this.#cqes[this.slot(at) | 3] = F_SKIP;
    }
  }

  /** Ends the queue: it is empty from now on, and the memory is let go. */
  close(): void {
    // A number that a drain under way does not have: it looks again, and finds nothing.
    const end = (this.#head + 1) | 0;
    this.#words = new Int32Array(NO_WORDS.length).fill(end, this.#at.tail, this.#at.tail + 1);
    this.#cqes = NO_WORDS;
    this.#head = this.#tail = this.#published = end;
  }

  private load(): number {
    const tail = this.tail();
    this.#tail = this.#odd === 0 ? tail : this.#settle(tail);
    return this.#tail;
  }

  /** The kernel's tail. */
  private tail(): number {
    return Atomics.load(this.#words, this.#at.tail);
  }

  /**
   * How far a queue of mixed sizes can be read, given the kernel's tail.
   *
   * A large completion needs two slots side by side: where the last slot alone is left the kernel puts a filler there. If
   * it then finds the first slots taken, it (Linux 6.18) goes on as if there were no filler: it counts that, puts the next
   * plain completion in its place, and counts it as well. The first slot is then counted without having been written, and
   * holds what was there a turn before, or still is. So
   *
   * - a filler that is the last thing in the queue is not read yet: it may turn into a completion;
   * - never are more slots read than there are;
   * - the first slot is made a filler when it has been read, by `#markFirstSlot`.
   */
  #settle(tail: number): number {
    const most = (this.#head + this.#mask + 1) | 0;
    const end = ((tail - most) | 0) > 0 ? most : tail;
    const last = (end - 1) | 0;
    if ((end & this.#mask) !== 0 || end === this.#head || !this.#isFiller(last)) return end;
    // The second half of a large completion may look like anything.
    let head = this.#head;
    while (((last - head) | 0) > 0) head = (head + this.#width(head)) | 0;
    return head === last ? last : end;
  }

  /** Loads the completion at a sequence number. */
  #read(into: Cqe, head: number): Cqe {
    const at = this.slot(head);
    // Once a ring was resized, the two slots of a large completion may be its last and its first.
    const more = this.#ring32 ? at + 4 : this.#width(head) === 2 ? this.slot(head + 1) : -1;
    return into.load(this.#cqes, at, more);
  }

  /** How many slots the completion at a sequence number takes. */
  #width(head: number): number {
    return ((this.#cqes[this.slot(head) | 3] as number) & this.#odd & F_32) !== 0 ? 2 : 1;
  }

  /** Whether what is at a sequence number is there only to be stepped over. */
  #isFiller(head: number): boolean {
    return ((this.#cqes[this.slot(head) | 3] as number) & this.#odd & F_SKIP) !== 0;
  }

  /** Makes the first slot a filler if it is among those that are about to be published as read. */
  #markFirstSlot(): void {
    const last = (this.#head - 1) | 0;
    if ((last & this.#mask) < ((this.#head - this.#published) | 0)) this.#cqes[3] = F_SKIP;
  }

  private slot(head: number): number {
    return (head & this.#mask) << this.#shift;
  }

  /** Steps over the second slot of a large completion; true for a filler, which is no completion at all. */
  private oddSlot(flags: number): boolean {
    if ((flags & F_32) !== 0) this.#head = (this.#head + 1) | 0;
    return (flags & F_SKIP) !== 0;
  }
}
