import type { Target } from "../ring/direct.ts";
import type { Ring } from "../ring/ring.ts";
import type { Sqe } from "../ring/sqe.ts";
import { reasonOf } from "./signals.ts";

/**
 * What there is to know of one kind of operation, declared once: how to describe it to the kernel, and what its result
 * means.
 */
export interface Kind {
  /** What errors and listings call it: the system call it stands for. */
  readonly name: string;
  /** Its `IORING_OP_*`. */
  readonly opcode: number;
  /** The first kernel that has it. */
  readonly since: string;
  /** Writes the entry; `user_data` and link flags are the engine's. */
  prepare(sqe: Sqe, operation: Operation): void;
  /** The promise's value; the bare result unless given. */
  value?(operation: Operation, res: number): unknown;
  /** Gives back what a result stands for that nobody waits for any more. */
  discard?(operation: Operation, res: number): void;
  /** Whether a failure is the answer itself, of which `value` makes what it is: a timeout that ran out. */
  answers?(res: number): boolean;
  /**
   * Whether it works in a thread of the kernel's, and may wait there for something that never comes: a timer linked to it
   * would not begin.
   */
  readonly blocks?: boolean;
  /** What it was on, which its errors name. */
  about?(operation: Operation): Subject;
}

/** What an operation is on, where that is no descriptor. */
export interface Subject {
  readonly path?: string;
  readonly dest?: string;
  readonly address?: string;
}

/** Who is told of an operation's completions, instead of a promise. */
export interface Receiver {
  /**
   * One completion: `res` is the result or `-errno`, `flags` are `IORING_CQE_F_*`. `last` where the kernel is done with the
   * operation. What it throws nobody catches.
   */
  complete(res: number, flags: number, last: boolean): void;
}

/** What an operation can be asked to end early by. */
export interface Canceller {
  /** Whose tables have what operations open. */
  readonly ring: Ring;
  cancel(operation: Operation, reason: unknown): void;
}

/** What listings and records tell of an operation. */
export interface Listed {
  readonly kind: Kind;
  readonly target: Target;
  readonly length: number;
  readonly about: Subject | undefined;
  /** When it was called, as `performance.now()` counts; not a number where that was not recorded. */
  readonly started: number;
  readonly stack: string | undefined;
}

/** Who keeps a record of what goes on. */
export interface Observer {
  /** An operation has ended, and is about to be forgotten. */
  ended(operation: Listed, res: number): void;
  /** So many entries were handed over. */
  entered(count: number): void;
  /** A completion has woken the event loop. */
  woken(): void;
}

export const FREE = 0;
/** Waits for its entry. */
export const QUEUED = 1;
/** Ended before it got an entry: it only waits for its turn to be skipped. */
export const DEAD = 2;
/** The kernel's. */
export const SUBMITTED = 3;

type Settle = (value: unknown) => void;

/** Stands where there is no kind yet. */
const NONE: Kind = { name: "none", opcode: 0, since: "5.1", prepare: () => {} };

/**
 * An operation from its call until the kernel's last completion: what was asked for, what its memory is, and who waits.
 * The objects are pooled. An index and a generation name one use of one object, and are its `user_data`: a completion of
 * an earlier use finds another generation and is counted, not delivered.
 */
export class Operation {
  readonly index: number;
  readonly canceller: Canceller;
  generation = 0;
  state: number = FREE;
  kind: Kind = NONE;
  target: Target = -1;
  // Numbers that do not fit 31 bits, from the start: engines keep what was once a small integer in another form.
  address: number = Number.NaN;
  offset: number = Number.NaN;
  length = 0;
  flags = 0;
  /** The registered buffer or the buffer group, -1 for none. */
  buffer = -1;
  /** What the kernel may read or write: reachable while the operation lives. */
  memory: object | null = null;
  /** Structs and strings made for the operation, disposed of at its end. */
  extra: Disposable | null = null;
  /** `IOSQE_*` flags beside those that the entry's helper sets: links. */
  entryFlags = 0;
  /** How many entries must be handed over together, this one first. */
  span = 1;
  /** Whether it stays with the kernel: what it brings is bounded by its buffers, or by who takes it. */
  standing = false;
  /** Whether it is a member of a chain, the order of which must stay. */
  chained = false;
  /** The member of its chain that has to end before this one begins, as long as that has not ended. */
  leader: Operation | null = null;
  /** The member of its chain whose `leader` this one is. */
  follower: Operation | null = null;
  /** Milliseconds until the operation is to be ended, as `performance.now()` counts; 0 for no limit. */
  deadline: number = Number.NaN;
  /** The timer linked to it, from `alloc`. */
  timer: Disposable | null = null;
  /** The runtime's own timer, where the kernel's does not do. */
  alarm: Disposable | null = null;
  /** How many of the operation's and its timer's last completions are still to come. */
  pending = 1;
  /** The result, once it is there. */
  res = 0;
  /** Whether the limit of time has ended it. */
  timedOut = false;
  /** Whether somebody has asked for its end. */
  cancelled = false;
  /** Why: what the promise is then rejected with. */
  reason: unknown = undefined;
  signal: AbortSignal | null = null;
  resolve: Settle | null = null;
  /** What is told of a failure in the promise's place, where there is none. */
  refuse: Settle | null = null;
  receiver: Receiver | null = null;
  /** When it was called, where that is recorded. */
  started: number = Number.NaN;
  stack: string | undefined = undefined;
  /** The next in the queue, or among the free. */
  next: Operation | null = null;

  constructor(index: number, canceller: Canceller) {
    this.index = index;
    this.canceller = canceller;
  }

  /** The `user_data` as a number, for requests that name the operation. */
  get userData(): number {
    return this.generation * 4294967296 + this.index;
  }

  /** What its errors name. */
  get about(): Subject | undefined {
    return this.kind.about?.(this);
  }

  /** An abort of the signal. An operation is its own listener, so that one with a signal costs no closure. */
  handleEvent(): void {
    if (this.signal !== null) this.canceller.cancel(this, reasonOf(this.signal));
  }

  /** Fails what waits for it. */
  reject(reason: unknown): void {
    if (this.refuse !== null) this.refuse(reason);
    // To keep the function that rejects a promise would cost every operation more than this one costs the few that fail.
    else if (this.resolve !== null) this.resolve(Promise.reject(reason));
  }

  /** Forgets all but who it is, for the next use. */
  clear(): void {
    this.generation = (this.generation + 1) & MAX_GENERATION;
    this.state = FREE;
    this.memory = null;
    this.resolve = null;
    this.receiver = null;
    if (this.plain) return;
    this.plain = true;
    this.pending = 1;
    this.refuse = null;
    this.buffer = -1;
    this.extra = null;
    this.entryFlags = 0;
    this.span = 1;
    this.chained = false;
    this.standing = false;
    this.leader = null;
    this.follower = null;
    this.deadline = Number.NaN;
    this.timer = null;
    this.alarm = null;
    this.timedOut = false;
    this.cancelled = false;
    this.reason = undefined;
    this.signal = null;
    this.started = Number.NaN;
    this.stack = undefined;
  }

  /** Whether none of the rarer fields has been set: most operations need nothing of them. */
  plain = true;
}

/** A number with an index below 2^32 and a generation stays below 2^53. */
export const MAX_GENERATION = 0x1fffff;

/** A number other than 0 that nobody guesses, as large as a generation. */
export function randomWord(): number {
  return 1 + Math.floor(Math.random() * MAX_GENERATION);
}
