import type { Engine } from "./engine.ts";
import { tooManyMessages } from "./failure.ts";
import { checkOptions } from "./options.ts";

/** How many messages wait for being taken. */
const ROOM = 65536;

/** The messages that have come for a proactor, until somebody takes them. */
export class Inbox {
  readonly #engine: Engine;
  #messages: number[] = [];
  /** The first of those that were not taken. */
  #first = 0;
  #lost = 0;
  #readers = 0;
  #wakers: (() => void)[] = [];

  constructor(engine: Engine) {
    this.#engine = engine;
    engine.onMessage = (value) => this.#put(value);
    // From now on messages must ring.
    engine.schedule();
  }

  /** Yields messages as they come, until the proactor is closed. Each goes to one reader. */
  async *read(signal: AbortSignal | undefined): AsyncGenerator<number, void, undefined> {
    checkOptions(signal, undefined);
    const aborted = { handleEvent: () => this.wake() };
    signal?.addEventListener("abort", aborted);
    if (this.#readers++ === 0) this.#engine.setListening(true);
    try {
      while (!this.#engine.closed) {
        if (signal?.aborted === true) throw signal.reason;
        if (this.#first < this.#messages.length) yield this.#take();
        else if (this.#lost > 0) throw this.#overrun();
        else await new Promise<void>((resolve) => this.#wakers.push(resolve));
      }
    } finally {
      if (--this.#readers === 0) this.#engine.setListening(false);
      signal?.removeEventListener("abort", aborted);
    }
  }

  /** Has readers look again at what there is. */
  wake(): void {
    const wakers = this.#wakers;
    this.#wakers = [];
    for (const wake of wakers) wake();
  }

  #put(value: number): void {
    if (this.#messages.length - this.#first >= ROOM) {
      this.#lost++;
      return;
    }
    if (this.#first >= ROOM) {
      this.#messages = this.#messages.slice(this.#first);
      this.#first = 0;
    }
    this.#messages.push(value);
    this.wake();
  }

  #take(): number {
    const value = this.#messages[this.#first++] as number;
    if (this.#first === this.#messages.length) {
      this.#messages = [];
      this.#first = 0;
    }
    return value;
  }

  #overrun(): Error {
    const lost = this.#lost;
    this.#lost = 0;
    return tooManyMessages(lost, ROOM);
  }
}
