import type { Random } from "./random.ts";

/** Something that is to happen. */
export interface Happening {
  readonly at: number;
  /** Decides, drawn by seed, between what is to happen at one time. */
  readonly tie: number;
  /** Nothing once it was dropped. */
  run: (() => void) | undefined;
}

/** Simulated time, which stands still until something lets it pass, and what is to happen in it. */
export class Timeline {
  /** Milliseconds since the kernel was made. */
  now = 0;
  readonly #random: Random;
  /** A binary heap: what comes first is at its top. */
  readonly #heap: Happening[] = [];

  constructor(random: Random) {
    this.#random = random;
  }

  /** Has something happen in so many milliseconds. */
  after(delay: number, run: () => void): Happening {
    const happening = { at: this.now + Math.max(delay, 0), tie: this.#random.next(), run };
    const heap = this.#heap;
    let at = heap.push(happening) - 1;
    for (let parent = (at - 1) >> 1; at > 0 && before(happening, heap[parent]); parent = (at - 1) >> 1) {
      heap[at] = heap[parent] as Happening;
      at = parent;
    }
    heap[at] = happening;
    return happening;
  }

  /** Has something not happen after all. */
  drop(happening: Happening): void {
    happening.run = undefined;
  }

  /** When something happens next; `Infinity` when nothing is to. */
  get next(): number {
    while (this.#heap[0] !== undefined && this.#heap[0].run === undefined) this.#pop();
    return this.#heap[0]?.at ?? Number.POSITIVE_INFINITY;
  }

  /** Lets the next thing happen; whether there was one. */
  turn(): boolean {
    if (this.next === Number.POSITIVE_INFINITY) return false;
    const { at, run } = this.#pop();
    this.now = Math.max(this.now, at);
    run?.();
    return true;
  }

  #pop(): Happening {
    const heap = this.#heap;
    const first = heap[0] as Happening;
    const last = heap.pop() as Happening;
    if (heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (before(heap[child + 1], heap[child])) child++;
      if (!before(heap[child], last)) break;
      heap[at] = heap[child] as Happening;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function before(a: Happening | undefined, b: Happening | undefined): boolean {
  if (a === undefined || b === undefined) return false;
  return a.at === b.at ? a.tie < b.tie : a.at < b.at;
}
