/** As long as the runtimes' timers can wait, in milliseconds: almost 25 days. */
const LONGEST_MS = 2 ** 31 - 1;

/** A timer of the runtime's own, for what the kernel's can not do. */
export class Alarm implements Disposable {
  static readonly #set = new Set<Alarm>();
  readonly #onRing: () => void;
  readonly #hold: boolean;
  /** When it is to ring, as `performance.now()` counts. */
  readonly #due: number;
  #timer: ReturnType<typeof setTimeout>;

  /**
   * @param ms milliseconds until `onRing` is called
   * @param hold whether it keeps the process running, which mostly the operation that it is for does
   */
  constructor(ms: number, onRing: () => void, hold = false) {
    this.#onRing = onRing;
    this.#hold = hold;
    this.#due = performance.now() + ms;
    this.#timer = this.#wait(ms);
    Alarm.#set.add(this);
  }

  /** Milliseconds until the first of this thread's rings, for who blocks the thread; infinite where there is none. */
  static next(): number {
    let first = Number.POSITIVE_INFINITY;
    for (const alarm of Alarm.#set) first = Math.min(first, alarm.#due);
    return Math.max(first - performance.now(), 0);
  }

  #wait(ms: number): ReturnType<typeof setTimeout> {
    const timer = setTimeout(() => this.#ring(ms - LONGEST_MS), Math.min(ms, LONGEST_MS));
    // An object in both runtimes, whatever their declarations say; a number where a test has put its own clock in place.
    if (!this.#hold) (timer as { unref?(): void }).unref?.();
    return timer;
  }

  #ring(left: number): void {
    if (left > 0) {
      this.#timer = this.#wait(left);
    } else {
      Alarm.#set.delete(this);
      this.#onRing();
    }
  }

  [Symbol.dispose](): void {
    Alarm.#set.delete(this);
    clearTimeout(this.#timer);
  }
}
