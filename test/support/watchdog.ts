import type { Proactor } from "uring";

/** A completion that is ready is looked at within so many milliseconds, or its wake was lost. */
const LATE_MS = 100;
const TICK_MS = 20;
/** Who sleeps longer than this between two ticks is not idle: the machine or the program is busy. */
const BUSY_MS = 3 * TICK_MS;

interface Sighting {
  readonly since: number;
  readonly done: string;
}

/** Sees completions that are ready while the event loop has nothing to do, and nobody takes. */
export class Watchdog {
  readonly #watched = new Map<Proactor, Sighting | undefined>();
  readonly #fail: (message: string) => never;
  readonly #timer: ReturnType<typeof setInterval>;
  #last: number = performance.now();

  constructor(fail: (message: string) => never) {
    this.#fail = fail;
    this.#timer = setInterval(() => this.#look(), TICK_MS);
  }

  watch(proactor: Proactor): void {
    this.#watched.set(proactor, undefined);
  }

  forget(proactor: Proactor): void {
    this.#watched.delete(proactor);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const now = performance.now();
    const busy = now - this.#last > BUSY_MS;
    this.#last = now;
    for (const [proactor, sighting] of this.#watched) {
      if (proactor.closed || busy || !proactor.ring.pending) {
        this.#watched.set(proactor, undefined);
        continue;
      }
      const { enters, wakes, completed } = proactor.counters;
      const done = `${enters} ${wakes} ${completed}`;
      if (sighting?.done !== done) this.#watched.set(proactor, { since: now, done });
      else if (now - sighting.since > LATE_MS) {
        const ms = Math.round(now - sighting.since);
        this.#fail(`a wake was lost: a completion has been ready for ${ms} ms while the event loop was idle`);
      }
    }
  }
}
