import { runtime } from "#runtime";
import { Direct, type Target } from "../ring/direct.ts";
import type { Engine } from "./engine.ts";
import type { Listed, Observer } from "./operation.ts";

const KEPT = 100_000;

const CATEGORY = "io_uring";

/** An event of the Chrome trace format. */
export interface TraceEvent {
  /** The system call that an operation stands for, `"enter"` or `"wake"`. */
  readonly name: string;
  readonly cat: string;
  /** `"b"` and `"e"`: an operation's beginning and end. `"i"`: something that takes no time. */
  readonly ph: "b" | "e" | "i";
  /** Microseconds since 1970. */
  readonly ts: number;
  readonly pid: number;
  /** The thread: the first one's is the process's number. */
  readonly tid: number;
  /** What an operation's two events have in common. */
  readonly id?: string;
  /** `"t"`: what takes no time concerns one thread. */
  readonly s?: "t";
  /** Of an operation `target`, `bytes` and at its end `result`; of an enter how many `entries` it handed over. */
  readonly args: Readonly<Record<string, string | number>>;
}

/** What a trace is in JSON. */
export interface TraceFile {
  readonly traceEvents: readonly TraceEvent[];
  readonly displayTimeUnit: "ns";
  /** `dropped`: how many operations, enters and wakes are missing, the oldest ones. */
  readonly otherData: { readonly dropped: number };
}

/** How a trace is kept. */
export interface TraceOptions {
  /** How many operations, enters and wakes are kept, the latest; 100,000 unless given. */
  limit?: number | undefined;
}

/** Something that was recorded; times are as `performance.now()` tells them. */
interface Entry {
  readonly name: string;
  readonly from: number;
  /** `undefined` for what takes no time. */
  readonly to?: number;
  readonly args: Readonly<Record<string, string | number>>;
  readonly outcome?: Readonly<Record<string, string | number>>;
}

/**
 * A record of what a proactor does, which Perfetto (ui.perfetto.dev) and chrome://tracing open as a file. Made by
 * `proactor.trace()`; it goes on until it is disposed of.
 *
 * Operations that were in flight when it began are in it from when they were called as far as that is known, and those
 * still in flight as far as they have come, with the result `"in flight"`.
 *
 * @example
 * ```ts
 * import { Proactor } from "uring";
 *
 * await using proactor = new Proactor();
 * using trace = proactor.trace();
 * await proactor.nop();
 * const { traceEvents } = trace.toJSON();
 * console.log(traceEvents.filter(({ name }) => name === "nop").map(({ ph }) => ph)); // [ "b", "e" ]
 * ```
 */
export class Trace implements Observer, Disposable {
  readonly #engine: Engine;
  readonly #limit: number;
  readonly #begun: number = performance.now();
  #kept: Entry[] = [];
  /** Where the oldest is, once there are as many as are kept. */
  #oldest = 0;
  #dropped = 0;
  /** What was in flight at the end. */
  #left: Entry[] | undefined;

  /** @internal */
  constructor(engine: Engine, { limit = KEPT }: TraceOptions) {
    if (!Number.isInteger(limit) || limit < 1) throw new RangeError(`limit must be at least 1, not ${limit}`);
    if (engine.observed) throw new TypeError("the proactor is being traced: dispose of that trace first");
    this.#engine = engine;
    this.#limit = limit;
    engine.observe(this);
  }

  /** @internal */
  ended(operation: Listed, res: number): void {
    this.#keep(this.#entry(operation, res));
  }

  /** @internal */
  entered(entries: number): void {
    this.#keep({ name: "enter", from: performance.now(), args: { entries } });
  }

  /** @internal */
  woken(): void {
    this.#keep({ name: "wake", from: performance.now(), args: {} });
  }

  /** The record so far, in the Chrome trace event format. `JSON.stringify(trace)` makes use of it. */
  toJSON(): TraceFile {
    const entries = [
      ...this.#kept.slice(this.#oldest),
      ...this.#kept.slice(0, this.#oldest),
      ...(this.#left ?? this.#inFlight()),
    ];
    const traceEvents = entries.flatMap(eventsOf).sort((a, b) => a.ts - b.ts);
    return { traceEvents, displayTimeUnit: "ns", otherData: { dropped: this.#dropped } };
  }

  /** Ends the record; what it holds can still be had. */
  [Symbol.dispose](): void {
    if (this.#left !== undefined) return;
    this.#left = this.#inFlight();
    this.#engine.observe(null);
  }

  #inFlight(): Entry[] {
    return Array.from(this.#engine.operations(), (operation) => this.#entry(operation, "in flight"));
  }

  #entry({ kind, target, length, about, started }: Listed, result: number | string): Entry {
    return {
      name: kind.name,
      from: Number.isNaN(started) ? this.#begun : started,
      to: performance.now(),
      args: { target: nameOf(target), bytes: length, ...about },
      outcome: { result },
    };
  }

  #keep(entry: Entry): void {
    if (this.#kept.length < this.#limit) {
      this.#kept.push(entry);
      return;
    }
    this.#kept[this.#oldest] = entry;
    this.#oldest = (this.#oldest + 1) % this.#limit;
    this.#dropped++;
  }
}

/** The events of what was recorded at a place. */
function eventsOf({ name, from, to, args, outcome }: Entry, place: number): TraceEvent[] {
  const common = { name, cat: CATEGORY, ...thread };
  if (to === undefined || outcome === undefined) {
    return [{ ...common, ph: "i", ts: microseconds(from), s: "t", args }];
  }
  const id = `0x${(place + 1).toString(16)}`;
  return [
    { ...common, ph: "b", ts: microseconds(from), id, args },
    { ...common, ph: "e", ts: microseconds(to), id, args: outcome },
  ];
}

/** Whole ones: as many as there have been since 1970 leave a number little room for parts. */
function microseconds(milliseconds: number): number {
  return Math.round((performance.timeOrigin + milliseconds) * 1000);
}

function nameOf(target: Target): string | number {
  return target instanceof Direct ? `direct ${Direct.slotOf(target)}` : target;
}

// Importing works where there is no process, too.
const pid = (globalThis as unknown as { process?: { pid: number } }).process?.pid ?? 0;

/** Workers are not told their number: the time of their birth tells one from the other. */
const thread = {
  pid,
  tid: runtime.mainThread ? pid : microseconds(0) % 2 ** 31,
};
