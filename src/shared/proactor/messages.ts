import type { Engine } from "./engine.ts";
import { tooManyMessages } from "./failure.ts";
import type { Cause } from "./multishot.ts";
import { checkSignal } from "./options.ts";
import { isAborted, listen, reasonOf, unlisten } from "./signals.ts";

/** How many messages wait for being taken. */
const ROOM = 65536;

/** A `next()` that is pending. */
interface Waiter {
  resolve(result: IteratorResult<number, void>): void;
  reject(reason: unknown): void;
}

/** The messages that have come for a proactor, until somebody takes them. */
export class Inbox {
  readonly #engine: Engine;
  #messages: number[] = [];
  /** The first of those that were not taken. */
  #first = 0;
  #lost = 0;
  /** Those that have begun and not ended. */
  readonly #readers = new Set<Reader>();
  /** Those of them that somebody waits for, the next to be given a message first. There are none while messages wait. */
  readonly #waiting = new Set<Reader>();

  constructor(engine: Engine) {
    this.#engine = engine;
    engine.onMessage = (value) => this.#put(value);
    // From now on messages must ring.
    engine.schedule();
  }

  /** Iterates over messages as they come, until the proactor is closed. Each goes to one reader. */
  read(signal: AbortSignal | undefined): AsyncGenerator<number, void, undefined> {
    return new Reader(this, signal);
  }

  /** Whether nothing more comes. */
  get closed(): boolean {
    return this.#engine.closed;
  }

  /** The proactor is closed. */
  close(): void {
    for (const reader of this.#readers) reader.end(null);
  }

  /** A reader begins. */
  enter(reader: Reader): void {
    this.#readers.add(reader);
    this.#engine.setListening(true);
  }

  /** A reader has ended. */
  leave(reader: Reader): void {
    this.#waiting.delete(reader);
    if (this.#readers.delete(reader) && this.#readers.size === 0) this.#engine.setListening(false);
  }

  /** Has a reader given the message that comes when those have theirs who wait already. */
  wait(reader: Reader): void {
    this.#waiting.add(reader);
  }

  /** The next message, if there is one. */
  take(): number | undefined {
    if (this.#first === this.#messages.length) return undefined;
    const value = this.#messages[this.#first++] as number;
    if (this.#first === this.#messages.length) {
      this.#messages = [];
      this.#first = 0;
    }
    return value;
  }

  /** What is to be said of messages that were lost, once. */
  overrun(): Error | null {
    const lost = this.#lost;
    this.#lost = 0;
    return lost === 0 ? null : tooManyMessages(lost, ROOM);
  }

  #put(value: number): void {
    const [reader] = this.#waiting;
    if (reader !== undefined) {
      this.#waiting.delete(reader);
      reader.give(value);
      return;
    }
    if (this.#messages.length - this.#first >= ROOM) {
      this.#lost++;
      return;
    }
    if (this.#first >= ROOM) {
      this.#messages = this.#messages.slice(this.#first);
      this.#first = 0;
    }
    this.#messages.push(value);
  }
}

/** One iteration over messages. No generator function, whose `return()` would wait for the `next()` that is pending. */
class Reader implements AsyncGenerator<number, void, undefined> {
  readonly #inbox: Inbox;
  readonly #signal: AbortSignal | undefined;
  readonly #waiters: Waiter[] = [];
  #state: "new" | "open" | "ended" = "new";
  /** What the next to pull is told, once. */
  #cause: Cause | null = null;

  constructor(inbox: Inbox, signal: AbortSignal | undefined) {
    checkSignal(signal);
    this.#inbox = inbox;
    this.#signal = signal;
  }

  next(): Promise<IteratorResult<number, void>> {
    if (this.#state === "new") this.#begin();
    if (this.#state === "ended") return this.#afterwards();
    const value = this.#inbox.take();
    if (value !== undefined) return Promise.resolve({ done: false, value });
    const error = this.#inbox.overrun();
    if (error !== null) {
      this.end({ error });
      return this.#afterwards();
    }
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      this.#inbox.wait(this);
    });
  }

  async return(): Promise<IteratorReturnResult<void>> {
    this.end(null);
    return { done: true, value: undefined };
  }

  async throw(error: unknown): Promise<IteratorReturnResult<void>> {
    this.end(null);
    throw error;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.end(null);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** A message for who has waited longest. */
  give(value: number): void {
    this.#waiters.shift()?.resolve({ done: false, value });
    if (this.#waiters.length > 0) this.#inbox.wait(this);
  }

  /** The signal's abort. */
  handleEvent(): void {
    this.end({ error: this.#signal && reasonOf(this.#signal) });
  }

  /** Ends it, also for those who wait. */
  end(cause: Cause | null): void {
    this.#cause = cause;
    if (this.#state === "ended") return;
    this.#state = "ended";
    this.#inbox.leave(this);
    if (this.#signal !== undefined) unlisten(this.#signal, this);
    for (const { resolve, reject } of this.#waiters.splice(0)) this.#afterwards().then(resolve, reject);
  }

  #begin(): void {
    const signal = this.#signal;
    if (signal !== undefined && isAborted(signal)) this.end({ error: reasonOf(signal) });
    else if (this.#inbox.closed) this.end(null);
    else {
      if (signal !== undefined) listen(signal, this);
      this.#state = "open";
      this.#inbox.enter(this);
    }
  }

  /** What those are told who pull when it is over. */
  #afterwards(): Promise<IteratorReturnResult<void>> {
    const cause = this.#cause;
    this.#cause = null;
    return cause === null ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(cause.error);
  }
}
