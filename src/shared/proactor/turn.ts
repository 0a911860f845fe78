const { setImmediate } = globalThis as unknown as { setImmediate(callback: () => void): unknown };

/** Calls back once the event loop has had its turn: timers and sockets that are due come first, or right after. */
export function nextTurn(callback: () => void): void {
  setImmediate(callback);
}

/** How long completions are served before the runtime's timers and sockets have their turn, in milliseconds. */
const TURN_MS = 4;

/** How often the clock is looked at, in milliseconds, and in passes at least. */
const LOOK_MS = 0.5;
const MOST_PASSES = 8;

/**
 * The event loop's present turn, and whether it has been long enough. A look at the clock costs as much as a quarter of a
 * no-op, so it is looked at seldom while passes are short.
 */
export class Turn {
  /** Whether others are to have theirs, as far as was looked. */
  over = false;
  #began = performance.now();
  #looked = this.#began;
  #passes = 1;
  #left = 1;

  /** The event loop has just begun another. The clock is looked at after the next pass: who was waited for comes first. */
  begin(): void {
    this.over = false;
    this.#began = Number.NaN;
    this.#left = 1;
  }

  /** One more pass of the queues is done. */
  pass(): void {
    if (--this.#left > 0) return;
    const now = performance.now();
    if (Number.isNaN(this.#began)) this.#began = this.#looked = now;
    const each = (now - this.#looked) / this.#passes;
    this.#looked = now;
    this.over = now - this.#began > TURN_MS;
    this.#passes = this.#left = each * MOST_PASSES < LOOK_MS ? MOST_PASSES : 1;
  }
}
