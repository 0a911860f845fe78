import { runtime } from "#runtime";
import { Alarm } from "./alarm.ts";
import type { Engine } from "./engine.ts";
import { isAborted, listen, unlisten } from "./signals.ts";
import { nextTurn } from "./turn.ts";

/** How long a closing proactor, whose deadline is a timer of the runtime's, is waited for at a time, in milliseconds. */
const CLOSING_MS = 10;

/** How a proactor is driven, and until when. */
export interface RunOptions {
  /** Ends it when the promise settles, a rejection being `run`'s own, or when the signal is aborted. */
  until?: PromiseLike<unknown> | AbortSignal | undefined;
  /**
   * Milliseconds that the thread is blocked at most before the runtime's timers and sockets have their turn; without it
   * they have it after completions alone.
   */
  slice?: number | undefined;
}

/** Drives an engine: blocks in the kernel, and lets what goes on with the results run. */
export async function drive(engine: Engine, { until, slice }: RunOptions): Promise<void> {
  if (engine.driven)
    throw new TypeError("the proactor runs already: run() can not be called within or beside run()");
  if (slice !== undefined && !(slice >= 0)) throw new RangeError(`slice must be milliseconds, not ${slice}`);
  const longest = slice ?? Number.POSITIVE_INFINITY;
  using end = new End(until);
  let served = performance.now();
  engine.driven = true;
  try {
    for (;;) {
      // All that is due has its turn, and promises go on as far as they can, however deep.
      const now = performance.now();
      const due = slice !== undefined && now - served >= slice;
      if (due) served = now;
      await new Promise<void>(due ? (resolve) => runtime.turn(resolve) : nextTurn);
      if (end.reached) return end.check();
      // Alarms are timers of the runtime's, and part of what operations are.
      const most = Math.min(longest, Alarm.next(), engine.closed ? CLOSING_MS : longest);
      if (!engine.block(most)) return;
    }
  } finally {
    engine.driven = false;
    // What is still in flight rings from now on.
    engine.flush();
  }
}

/** What a run goes on until. */
class End implements Disposable {
  reached = false;
  #failure: { readonly reason: unknown } | undefined;
  readonly #signal: AbortSignal | undefined;

  constructor(until: PromiseLike<unknown> | AbortSignal | undefined) {
    if (until instanceof AbortSignal) {
      this.#signal = until;
      this.reached = isAborted(until);
      listen(until, this);
    } else if (until !== undefined) {
      Promise.resolve(until).then(
        () => this.handleEvent(),
        (reason) => {
          this.#failure = { reason };
          this.handleEvent();
        },
      );
    }
  }

  handleEvent(): void {
    this.reached = true;
  }

  /** Throws what the promise was rejected with. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure.reason;
  }

  [Symbol.dispose](): void {
    if (this.#signal !== undefined) unlisten(this.#signal, this);
  }
}
