import { runtime } from "#runtime";
import {
  IORING_CQE_F_MORE,
  IORING_CQE_F_NOTIF,
  IORING_SETUP_SQPOLL,
  IOSQE_CQE_SKIP_SUCCESS,
  IOSQE_IO_DRAIN,
} from "../abi/index.ts";
import type { CompletionReader } from "../ring/completion.ts";
import type { Target } from "../ring/direct.ts";
import type { Mem } from "../ring/entry.ts";
import type { Sqe } from "../ring/sqe.ts";
import { Alarm } from "./alarm.ts";
import { Cancellations, NOBODY } from "./cancellations.ts";
import { Deadlines } from "./deadlines.ts";
import { Doorbell } from "./doorbell.ts";
import { type DrivenRing, queues } from "./driven-ring.ts";
import { ENTRY, Entries } from "./entries.ts";
import { closedError, unsupported } from "./failure.ts";
import type { Lease } from "./lease.ts";
import { giveBack, lend, movedError } from "./memory.ts";
import {
  type Canceller,
  DEAD,
  type Kind,
  type Listed,
  type Observer,
  Operation,
  QUEUED,
  type Receiver,
  randomWord,
  SUBMITTED,
} from "./operation.ts";
import { checkNumbers, checkOptions, checkTarget, type OperationOptions } from "./options.ts";
import { deliver, settle } from "./outcome.ts";
import { listen, unlisten } from "./signals.ts";
import { nextTurn, Turn } from "./turn.ts";

const F_MORE = IORING_CQE_F_MORE;
const F_NOTIF = IORING_CQE_F_NOTIF;
const SKIP_OR_DRAIN = IOSQE_CQE_SKIP_SUCCESS | IOSQE_IO_DRAIN;
const ECANCELED = 125;

/** Marks the `user_data` of the timer that is linked to an operation. */
const TIMER = 1 << 24;
const INDEX = TIMER - 1;
const FIRST_ENTRY = ENTRY;
/** The low word of messages from other rings; the high one is the receiver's token. */
export const MESSAGE = -2;

/** How often a ring is looked at that can not ring, in milliseconds. */
const BLIND_MS = 10;

/** How many turns of the event loop a ring is believed for that says it has something, and has nothing. */
const PATIENCE = 8;

/** How many operations that have ended may stay in the queue, where more than these wait. */
const MOST_DEAD = 64;

/** How often a cancellation of everything is repeated, which may have missed what was just on its way, in milliseconds. */
const RETRY_MS = 20;

/** How many entries are kept for cancellations and their like beside the operations that fill the completion queue. */
const RESERVE = 16;

/** What a proactor has done so far. */
export interface Counters {
  /** Entries handed to the kernel; those that a poller thread is slow to take may count again. */
  submitted: number;
  /** Completions that were read. */
  completed: number;
  /** Calls that handed entries over, or showed a poller thread that there were some. */
  enters: number;
  /** Turns of the event loop that a completion caused. */
  wakes: number;
  /** How often the queue was full, and the kernel was seen to keep completions aside. */
  overflow: number;
  /** Completions that belonged to no operation. */
  stale: number;
  /** How often operations were left waiting for room. */
  spilled: number;
}

/** The operation called last: where the promise being made leaves what resolves it. */
let latest: Operation | null = null;
// One function for all engines, which V8 knows when it compiles: with one for each a promise costs it 10 ns more.
const executor = (resolve: (value: never) => void): void => {
  (latest as Operation).resolve = resolve as (value: unknown) => void;
};

/** Engines with operations the kernel may still work on: what these point to must stay reachable. */
const living = new Set<Engine>();

/**
 * What drives a proactor: takes operations, hands them to the kernel in batches, and settles them as they complete, on the
 * runtime's own event loop.
 */
export class Engine implements Canceller, CompletionReader {
  readonly ring: DrivenRing;
  readonly counters: Counters = {
    submitted: 0,
    completed: 0,
    enters: 0,
    wakes: 0,
    overflow: 0,
    stale: 0,
    spilled: 0,
  };
  /** Called for messages of other rings; where it is set, those wake this thread. */
  onMessage: ((value: number) => void) | null = null;
  /** Whether the end that receivers are told of is not the kernel's: it may go on, and their memory is not free. */
  gaveUp = false;
  /** Whether `block` is called again and again, so that nothing needs to ring. */
  driven = false;
  /** What only those know who may send messages: the high word of these. */
  readonly token: number = randomWord();
  /** What nobody else knows: the high word of completions that end no operation. */
  readonly #secret: number = randomWord();
  /** Whether other rings may put completions into this one. */
  readonly addressable: boolean;
  readonly #debug: boolean;
  #observer: Observer | null = null;
  /** Whether more of each operation is kept than it needs, for `operations` or an observer. */
  #recorded: boolean;
  readonly #supported: readonly boolean[];
  readonly #poller: boolean;
  /** How many operations may be the kernel's at a time: as many as completions fit. */
  readonly #limit: number;
  readonly #operations: Operation[] = [];
  #free: Operation | null = null;
  #head: Operation | null = null;
  #tail: Operation | null = null;
  /** Operations called and not settled. */
  #inFlight = 0;
  /** Last completions that the kernel owes. */
  #inKernel = 0;
  /** Those of them that are not waited for with room kept: operations that stay, and complete again and again. */
  #standing = 0;
  /** Operations in the queue. */
  #waiting = 0;
  /** Those among them that ended before their turn. */
  #dead = 0;
  /** Operations ever called, to tell whether more are coming. */
  #started = 0;
  #seen = 0;
  private readonly entries = new Entries();
  readonly #cancellations: Cancellations;
  readonly #deadlines: Deadlines = new Deadlines(this);
  #doorbell: Doorbell | null = null;
  #ref = true;
  /** Whether somebody waits for messages, which are no operations. */
  #listening = false;
  /** Whether a flush is on its way. */
  #scheduled = false;
  #flushing = false;
  /** Whether the ring will be looked at by a timer. */
  #blind: Alarm | null = null;
  /** How many passes in a row have found nothing, though the ring said there was something. */
  #stuck = 0;
  /** Whether it will be seen when the event loop goes on. */
  #marked = false;
  readonly #turn = new Turn();
  #state: "open" | "closing" | "closed" = "open";
  #closing: Promise<{ leaked: number }> | null = null;
  readonly #whenReady: (() => void)[] = [];
  #whenIdle: (() => void) | null = null;
  readonly #onMicrotask = (): void => {
    // Others may be about to call theirs, a microtask later: what comes together goes together.
    if (this.#seen !== this.#started && this.#waiting < this.#limit) {
      this.#seen = this.#started;
      queueMicrotask(this.#onMicrotask);
      return;
    }
    this.#scheduled = false;
    this.flush();
  };
  readonly #onTurn = (): void => {
    this.#scheduled = false;
    this.flush(true);
  };
  readonly #onRing = (): void => {
    if (this.#state === "closed") return;
    this.counters.wakes++;
    this.#observer?.woken();
    this.flush(true);
  };

  readonly #onLook = (): void => {
    this.#blind = null;
    this.#onRing();
  };
  /** The event loop has gone on by itself, as it does not while one microtask follows the other. */
  readonly #onMark = (): void => {
    this.#marked = false;
    if (!this.#scheduled) this.#turn.begin();
  };

  /** @param addressable whether other rings may put completions into this one */
  constructor(ring: DrivenRing, debug: boolean, addressable = false) {
    this.ring = ring;
    this.#debug = this.#recorded = debug;
    this.addressable = addressable;
    this.#cancellations = new Cancellations(ring, this.#secret, () => this.schedule());
    const probe = ring.probe();
    this.#supported = Array.from({ length: 256 }, (_, opcode) => probe.supports(opcode));
    this.#poller = (ring.params.flags & IORING_SETUP_SQPOLL) !== 0;
    const { cqEntries } = ring.params;
    this.#limit = cqEntries - Math.min(RESERVE, cqEntries >> 1);
    living.add(this);
  }

  // ---------------------------------------------------------------------------------------------------- operations

  /** Operations called and not settled. */
  get inFlight(): number {
    return this.#inFlight;
  }

  get closed(): boolean {
    return this.#state !== "open";
  }

  /** How many operations can be the kernel's at a time. */
  get limit(): number {
    return this.#limit;
  }

  /** Has somebody told of what goes on, and of each operation's end. */
  observe(observer: Observer | null): void {
    this.#observer = observer;
    this.#recorded = this.#debug || observer !== null;
    if (!this.#recorded) this.entries.forgetRecords();
    // Else those without anything special would end without being seen.
    else for (const operation of this.#called()) operation.plain = false;
  }

  get observed(): boolean {
    return this.#observer !== null;
  }

  /** The operations called and not settled. */
  *operations(): Iterable<Listed> {
    yield* this.#called();
    for (const [low] of this.entries) yield this.entries.listed(low);
  }

  /** Those of them that are no entries of callers. */
  *#called(): Iterable<Operation> {
    for (const operation of this.#operations) {
      if (operation.state === QUEUED || operation.state === SUBMITTED) yield operation;
    }
  }

  /**
   * Calls an operation; a promise of what its kind makes of the result. Never throws: what is wrong with the arguments the
   * promise is rejected with.
   *
   * @param extra structs made for it, disposed of at its end in any case
   */
  call<T>(
    kind: Kind,
    target: Target,
    memory: Mem | Lease | null,
    length: number | undefined,
    offset: number,
    flags: number,
    options: OperationOptions,
    extra: Disposable | null,
  ): Promise<T> {
    try {
      return this.begin(kind, target, memory, length, offset, flags, options, extra, true) as Promise<T>;
    } catch (error) {
      return refused(error, extra);
    }
  }

  /**
   * An operation that is not in the queue yet. Throws for wrong arguments, an operation the kernel does not have, a signal
   * that was aborted already, and a closed proactor; `extra` is disposed of then.
   */
  prepare(
    kind: Kind,
    target: Target,
    memory: Mem | Lease | null,
    length: number | undefined,
    offset: number,
    flags: number,
    options: OperationOptions,
    extra: Disposable | null,
  ): Operation {
    try {
      this.begin(kind, target, memory, length, offset, flags, options, extra, false);
      return latest as Operation;
    } catch (error) {
      extra?.[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * What `call` and `prepare` have in common. One long function: with a step between, an operation costs 10 ns more in Bun.
   *
   * @param queue whether it is to be queued at once, with a promise; without, the operation is `latest`
   */
  private begin<T>(
    kind: Kind,
    target: Target,
    memory: Mem | Lease | null,
    length: number | undefined,
    offset: number,
    flags: number,
    options: OperationOptions,
    extra: Disposable | null,
    queue: boolean,
  ): Promise<T> | null {
    // These may be getters, which call what they like: they come first.
    const { signal, timeout } = options;
    if (this.#state !== "open") throw closedError(kind.name);
    if (!this.#supported[kind.opcode]) throw unsupported(kind);
    const rare = extra !== null || signal !== undefined || timeout !== undefined || this.#recorded;
    if (rare) checkOptions(signal, timeout);
    checkTarget(target);
    checkNumbers(offset, flags);
    // It stays among the free until nothing can be wrong any more.
    const operation = this.#free ?? this.grow();
    if (memory === null) {
      // What needs none says how long it is.
      if (length === undefined) throw new TypeError("memory is needed, or a length where there is none");
      operation.address = 0;
      operation.length = length;
    } else {
      lend(operation, memory, length, this.ring);
    }
    this.#free = operation.next;
    operation.next = null;
    operation.kind = kind;
    operation.target = target;
    operation.offset = offset;
    operation.flags = flags;
    this.#inFlight++;
    if (rare) this.#dress(operation, signal, timeout, extra);
    if (!queue) {
      latest = operation;
      return null;
    }
    const promise = this.promise<T>(operation);
    this.enqueue(operation);
    return promise;
  }

  /** A promise that settles with an operation. */
  promise<T>(operation: Operation): Promise<T> {
    latest = operation;
    return new Promise<T>(executor);
  }

  /** Gives an operation what most have not; `extra` only where nothing is wrong. */
  #dress(
    operation: Operation,
    signal: AbortSignal | undefined,
    timeout: number | undefined,
    extra: Disposable | null,
  ): void {
    operation.plain = false;
    if (this.#recorded) operation.started = performance.now();
    if (this.#debug) operation.stack = new Error(operation.kind.name).stack;
    if (timeout !== undefined) {
      operation.deadline = performance.now() + timeout;
      if (operation.kind.blocks !== true) operation.span = 2;
    }
    if (signal !== undefined) this.#heed(operation, signal);
    operation.extra = extra;
  }

  #heed(operation: Operation, signal: AbortSignal): void {
    try {
      listen(signal, operation);
      operation.signal = signal;
      // It may be a proxy, and have closed this.
      if (this.#state !== "open") throw closedError(operation.kind.name);
    } catch (error) {
      this.drop(operation);
      throw error;
    }
  }

  private grow(): Operation {
    if (this.#operations.length > INDEX) throw new RangeError(`${INDEX} operations are in flight`);
    const operation = new Operation(this.#operations.length, this);
    // Who knows the ring's fd can send completions: what others make up, small numbers first, must not be an operation's.
    operation.generation = randomWord();
    this.#operations.push(operation);
    this.#free = operation;
    return operation;
  }

  /** Puts an operation, and those after it in a chain, at the end of the queue, and sees to it that the queue is served. */
  enqueue(operation: Operation): void {
    operation.state = QUEUED;
    if (this.#tail === null) this.#head = operation;
    else this.#tail.next = operation;
    this.#tail = operation;
    this.#waiting++;
    this.#started++;
    if (!operation.plain && operation.deadline > 0) this.#deadlines.add(operation);
    if (!this.#scheduled) this.schedule();
  }

  /** Gives back an operation that was prepared, and is not to be enqueued. */
  drop(operation: Operation): void {
    operation.res = -ECANCELED;
    this.end(operation);
  }

  /** Has a flush done at the end of this turn, or where the runtime has waited for long enough at the next. */
  schedule(): void {
    if (this.#scheduled || this.#flushing) return;
    this.#scheduled = true;
    this.#seen = this.#started;
    if (this.#turn.over) runtime.turn(this.#onTurn);
    else queueMicrotask(this.#onMicrotask);
  }

  /** Resolves when the queue is empty: all that was called is the kernel's. */
  ready(): Promise<void> {
    if (this.#waiting === 0 || this.#state !== "open") return Promise.resolve();
    return new Promise((resolve) => this.#whenReady.push(resolve));
  }

  /**
   * A free entry for a caller who fills it himself and wants no promise; `null` where as many operations are in flight as
   * there is room for.
   */
  entry(receiver: Receiver): Sqe | null {
    if (this.#state !== "open") throw closedError("entry");
    if (typeof receiver?.complete !== "function")
      throw new TypeError("a receiver with a method complete is needed");
    if (!this.hasRoom(1)) return null;
    let sqe = queues.getSqe(this.ring);
    if (sqe === null) {
      this.handOver();
      sqe = queues.getSqe(this.ring);
      if (sqe === null) return null;
    }
    this.entries.add(sqe, receiver);
    if (this.#recorded) this.entries.record();
    this.#inFlight++;
    this.#inKernel++;
    this.#started++;
    if (!this.#scheduled) this.schedule();
    return sqe;
  }

  // ---------------------------------------------------------------------------------------------------- cancelling

  /**
   * Asks for an operation's end. One that is still queued ends at once; another when its completion says how it ended, which
   * may be with success.
   */
  cancel(operation: Operation, reason: unknown): void {
    if (operation.cancelled) return;
    if (operation.state === QUEUED && !operation.chained) {
      operation.state = DEAD;
      operation.res = -ECANCELED;
      this.#waiting--;
      operation.reject(reason);
      this.letGo(operation);
      if (++this.#dead > Math.max(this.#waiting, MOST_DEAD)) this.#bury();
      // Somebody may wait for the queue to be empty.
      this.schedule();
      return;
    }
    if (operation.state !== SUBMITTED && operation.state !== QUEUED) return;
    operation.plain = false;
    operation.cancelled = true;
    operation.reason = reason;
    if (operation.state === SUBMITTED) {
      this.#cancellations.ask(operation);
    } else {
      // A member of a chain keeps its place, where what is linked to it fails.
      operation.reject(reason);
      operation.resolve = null;
    }
  }

  /** Takes what has ended out of the queue, of which its head may be a long time in coming. */
  #bury(): void {
    let operation = this.#head;
    this.#head = this.#tail = null;
    this.#dead = 0;
    for (let next: Operation | null; operation !== null; operation = next) {
      next = operation.next;
      if (operation.state === DEAD) {
        this.recycle(operation);
        continue;
      }
      operation.next = null;
      if (this.#tail === null) this.#head = operation;
      else this.#tail.next = operation;
      this.#tail = operation;
    }
  }

  // ---------------------------------------------------------------------------------------------------- the loop

  // No `#` for methods that every operation goes through: V8 checks the brand of `this` at each call of a `#` method.

  /**
   * Hands over what is queued and settles what has completed, until there is nothing to do or others must have a turn.
   *
   * @param begun whether the event loop has just begun a turn
   */
  flush(begun = false): void {
    if (this.#flushing || this.#state === "closed") return;
    this.#flushing = true;
    let again = false;
    try {
      this.#doorbell?.silence();
      for (;;) {
        const filled = this.fill();
        const handed = this.handOver();
        const reaped = this.reap();
        if (begun) this.#turn.begin();
        else this.#turn.pass();
        if (!this.hasMore()) {
          // Continuations come first: what they call is handed over with the next look, and nothing has to ring before.
          again = reaped > 0 && !this.driven && (this.#inKernel > 0 || this.#doorbell?.held === true);
          if (again || this.quiet() || (this.#stuck > PATIENCE && this.#rest())) break;
        }
        // Nothing went in and nothing came out: the kernel is short of something, and others may have it.
        const stuck = filled === 0 && handed <= 0 && reaped === 0;
        this.#stuck = stuck ? this.#stuck + 1 : 0;
        if (stuck || this.#turn.over) {
          this.#scheduled = true;
          runtime.turn(this.#onTurn);
          break;
        }
        begun = false;
      }
    } finally {
      this.#flushing = false;
    }
    if (again) this.schedule();
    else this.#hold();
    if (this.#turn.over && !this.#scheduled && !this.#marked) {
      this.#marked = true;
      nextTurn(this.#onMark);
    }
    if (this.#waiting === 0 && this.#whenReady.length > 0) {
      for (const resolve of this.#whenReady.splice(0)) resolve();
    }
    if (this.#inKernel === 0) this.#whenIdle?.();
  }

  /** Whether there is something to hand over, and room for it. */
  private hasMore(): boolean {
    // A signal, or want of memory, can keep the kernel from taking what it was shown.
    if (!this.#poller && this.ring.sqReady > 0) return true;
    if (this.entries.described > 0 || this.#cancellations.waiting) return true;
    return this.#head !== null && this.hasRoom(this.#head.span);
  }

  /** Whether there is nothing to do until a completion rings. */
  private quiet(): boolean {
    if (this.driven || (this.#inKernel === 0 && this.onMessage === null)) return true;
    this.#doorbell ??= new Doorbell(this.ring, this.#onRing);
    try {
      return this.#doorbell.arm();
    } catch {
      // There is no room for an eventfd, and perhaps nobody to tell: the ring is looked at now and then until there is.
      this.#blind ??= new Alarm(BLIND_MS, this.#onLook, this.#holds);
      return true;
    }
  }

  /**
   * Waits although the ring says that it has something, which was nothing again and again; whether it is still nothing.
   *
   * Linux sets `IORING_SQ_TASKRUN` after it has added work. Work that was done between the two leaves the flag behind, until there
   * is more of it: an event loop that went by the flag alone would turn and turn.
   */
  #rest(): boolean {
    this.#doorbell?.armBlindly();
    // From here on it rings for what comes. What came before is brought out now.
    this.handOver();
    if (this.reap() > 0) {
      this.#doorbell?.silence();
      this.#stuck = 0;
      return false;
    }
    this.#blind ??= new Alarm(BLIND_MS, this.#onLook);
    return true;
  }

  /** Gives queued operations entries, as far as there is room; how many entries. */
  private fill(): number {
    let filled = 0;
    if (this.#cancellations.waiting) {
      filled = this.#cancellations.fill();
      this.#inKernel += filled;
    }
    for (let operation = this.#head; operation !== null; operation = this.#head) {
      if (operation.state === DEAD) {
        this.shift(operation);
        this.recycle(operation);
        this.#dead--;
        continue;
      }
      const { span } = operation;
      if (!this.hasRoom(span) || (span > 1 && this.ring.sqSpaceLeft < span)) break;
      const sqe = queues.getSqe(this.ring);
      if (sqe === null) break;
      this.shift(operation);
      this.#waiting--;
      this.describe(sqe, operation);
      filled++;
    }
    if (this.#head !== null && filled > 0) this.counters.spilled++;
    if (this.#deadlines.waiting) this.#deadlines.watch();
    return filled;
  }

  /** Whether so many completions more will fit into their queue. */
  private hasRoom(span: number): boolean {
    const owed = this.#inKernel - this.#standing;
    return owed + span <= this.#limit || owed === 0;
  }

  private shift(operation: Operation): void {
    this.#head = operation.next;
    if (this.#head === null) this.#tail = null;
  }

  private describe(sqe: Sqe, operation: Operation): void {
    try {
      // A member of a chain: whoever waits for it was told.
      if (operation.cancelled) throw operation.reason;
      operation.kind.prepare(sqe, operation);
    } catch (error) {
      // The entry is taken, and what is linked to it must fail.
      sqe.reset().prepClose(-1).setFlags(operation.entryFlags).setDataWords(NOBODY, this.#secret);
      this.#inKernel++;
      operation.res = -ECANCELED;
      operation.reject(error);
      this.end(operation);
      return;
    }
    sqe.setDataWords(operation.index, operation.generation);
    operation.state = SUBMITTED;
    this.#inKernel++;
    if (operation.plain) return;
    if (operation.standing) this.#standing++;
    if (operation.deadline > 0 && operation.kind.blocks !== true) {
      this.#inKernel++;
      // There is room for it: the operation's span says so.
      const timer = queues.getSqe(this.ring) as Sqe;
      this.#deadlines.link(sqe, operation, timer);
      timer.setDataWords(operation.index | TIMER, operation.generation);
      return;
    }
    if (operation.entryFlags !== 0) sqe.addFlags(operation.entryFlags);
    if (operation.deadline > 0) this.#deadlines.setAlarm(operation);
  }

  /** Shows the kernel every entry; how many it took, or `-errno` where it can take none for now. */
  private handOver(): number {
    // Only now is it sure that the caller does not set another `user_data`, nor ask for no completion.
    if (this.entries.described > 0) this.entries.claim(this.ring, SKIP_OR_DRAIN);
    const handed = queues.submit(this.ring);
    if (handed > 0) {
      this.counters.enters++;
      this.counters.submitted += handed;
      this.#observer?.entered(handed);
      if (this.#poller) queues.sqringWait(this.ring);
    }
    return handed;
  }

  /** Settles what has completed; how many completions there were. */
  private reap(): number {
    const count = queues.drainWords(this.ring, this);
    this.counters.completed += count;
    if (count >= this.#limit && this.ring.cqHasOverflow) this.counters.overflow++;
    return count;
  }

  /** One completion, whosever it is. */
  completion(low: number, high: number, res: number, flags: number): void {
    if (low >= FIRST_ENTRY) {
      this.completeEntry(low, high, res, flags);
      return;
    }
    const operation = this.#operations[low & INDEX];
    if (
      low < 0 ||
      operation === undefined ||
      operation.generation !== high ||
      operation.state !== SUBMITTED
    ) {
      this.#stray(low, high, res);
      return;
    }
    const last = (flags & F_MORE) === 0;
    if (operation.receiver !== null && (low & TIMER) === 0) {
      const { receiver } = operation;
      // That memory is free is no result.
      if ((flags & F_NOTIF) === 0) operation.res = res;
      if (last) {
        this.#inKernel--;
        if (operation.standing) this.#standing--;
      }
      // A receiver may ask why the operation was cancelled. Of a plain one there is nothing to ask, and what the receiver
      // calls next finds the slot warm.
      const { plain } = operation;
      if (last && plain) this.end(operation);
      deliver(receiver, res, flags, last);
      if (last && !plain) this.end(operation);
      return;
    }
    if (operation.plain) {
      if (!last) return;
      this.#inKernel--;
      settle(operation, res);
      this.end(operation);
      return;
    }
    if (last) this.#inKernel--;
    if ((low & TIMER) !== 0) {
      if (Deadlines.ranOut(res)) operation.timedOut = true;
    } else if (last) {
      operation.res = res;
    }
    // The timer may be the last to come.
    if (!last || --operation.pending > 0) return;
    const moved = this.#debug ? movedError(operation) : null;
    if (moved === null) settle(operation, operation.res);
    else operation.reject(moved);
    this.end(operation);
  }

  private completeEntry(low: number, high: number, res: number, flags: number): void {
    const last = (flags & F_MORE) === 0;
    const receiver = this.entries.take(low, high, last);
    if (receiver === null) {
      this.#stray(low, high, res);
      return;
    }
    if (last) {
      this.#inKernel--;
      this.#inFlight--;
      if (this.#recorded) this.#observer?.ended(this.entries.listed(low), res);
    }
    deliver(receiver, res, flags, last);
  }

  #stray(low: number, high: number, res: number): void {
    if (low === NOBODY && high === this.#secret) this.#inKernel--;
    else if (low === MESSAGE && high === this.token && this.onMessage !== null) this.onMessage(res);
    else this.counters.stale++;
  }

  /** The kernel is done with an operation: everything of it is given back. */
  private end(operation: Operation): void {
    this.letGo(operation);
    this.recycle(operation);
  }

  private letGo(operation: Operation): void {
    if (operation.memory !== null) giveBack(operation.memory);
    this.#inFlight--;
    if (operation.plain) return;
    if (operation.chained) this.#cancellations.pass(operation);
    this.#observer?.ended(operation, operation.res);
    if (operation.signal !== null) unlisten(operation.signal, operation);
    operation.extra?.[Symbol.dispose]();
    operation.timer?.[Symbol.dispose]();
    operation.alarm?.[Symbol.dispose]();
  }

  private recycle(operation: Operation): void {
    operation.clear();
    operation.next = this.#free;
    this.#free = operation;
  }

  // ---------------------------------------------------------------------------------------------------- the process

  /** Whether operations in flight keep the process running. */
  setRef(ref: boolean): void {
    this.#ref = ref;
    this.#hold();
  }

  /** Whether somebody waits for messages: that keeps the process running as operations in flight do. */
  setListening(listening: boolean): void {
    this.#listening = listening;
    this.#hold();
  }

  #hold(): void {
    this.#doorbell?.hold(this.#holds);
  }

  get #holds(): boolean {
    return this.#ref && (this.#inFlight > 0 || this.#listening);
  }

  /** How often a completion rang for this thread. */
  get rings(): number {
    return this.#doorbell?.rings ?? 0;
  }

  /**
   * Blocks the thread until something completes, for so many milliseconds at most, and settles it.
   *
   * @returns whether something was in flight, or somebody waits for messages
   */
  block(timeout: number): boolean {
    if (this.#state === "closed" || (this.#inFlight === 0 && !this.#listening)) return false;
    this.#flushing = true;
    try {
      this.#doorbell?.silence();
      this.fill();
      this.handOver();
      if (this.reap() === 0 && !this.hasMore() && (this.#inKernel > 0 || this.#listening)) {
        queues.submitAndWait(this.ring, 1, timeout);
      }
    } finally {
      this.#flushing = false;
    }
    this.flush(true);
    return true;
  }

  /**
   * Ends everything: takes no more operations, cancels those under way, waits for the last of them, closes the ring.
   *
   * @param deadline milliseconds to wait for what can not be cancelled
   * @returns how many operations may still be running
   */
  close(deadline: number): Promise<{ leaked: number }> {
    this.#closing ??= this.#close(deadline).catch((error: unknown) => {
      // It can be asked for again.
      this.#closing = null;
      throw error;
    });
    return this.#closing;
  }

  async #close(deadline: number): Promise<{ leaked: number }> {
    this.#state = "closing";
    // The queues are being read, and the last of them may be the caller's.
    if (this.#flushing) await null;
    for (const operation of this.#called()) this.cancel(operation, closedError(operation.kind.name));
    const end = performance.now() + deadline;
    while (this.#inKernel > 0 && performance.now() < end) {
      this.#cancellations.askAll();
      this.flush();
      if (this.#inKernel > 0) await this.#idleOr(Math.min(RETRY_MS, Math.max(end - performance.now(), 0)));
    }
    this.flush();
    this.#doorbell?.close();
    // What completes while the ring is being closed is settled like all else, once that can not disturb it.
    const late: [low: number, high: number, res: number, flags: number][] = [];
    const { leaked } = queues.close(this.ring, Math.max(end - performance.now(), 0), {
      completion: (...words) => void late.push(words),
    });
    this.#state = "closed";
    for (const words of late) this.completion(...words);
    queues.endBufRings(this.ring, leaked);
    this.gaveUp = leaked > 0;
    for (const operation of this.#called()) {
      if (operation.receiver === null) operation.reject(closedError(operation.kind.name));
      else deliver(operation.receiver, -ECANCELED, 0, true);
      // The ring's own close has seen the last of it.
      if (leaked === 0) this.end(operation);
    }
    for (const [low, receiver] of this.entries) {
      deliver(receiver, -ECANCELED, 0, true);
      if (leaked > 0) continue;
      this.#inFlight--;
      this.entries.release(low & INDEX);
    }
    for (const resolve of this.#whenReady.splice(0)) resolve();
    // It may be one of these, and would keep the engine reachable.
    latest = null;
    // What is leaked stays reachable through this object.
    if (leaked === 0) living.delete(this);
    return { leaked };
  }

  #idleOr(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#whenIdle = () => {
        this.#whenIdle = null;
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

function refused(error: unknown, extra: Disposable | null): Promise<never> {
  extra?.[Symbol.dispose]();
  return Promise.reject(error);
}
