import { IORING_CQE_F_BUFFER } from "../abi/index.ts";
import type { Target } from "../ring/direct.ts";
import { whole } from "../structs/fields.ts";
import { BufferGroup, type BufferUser } from "./buffer-group.ts";
import type { Engine } from "./engine.ts";
import { closedError, failure } from "./failure.ts";
import type { Kind, Operation, Receiver } from "./operation.ts";
import { checkSignal, NO_OPTIONS } from "./options.ts";
import { isAborted, listen, reasonOf, unlisten } from "./signals.ts";

const EINTR = 4;
const ENOBUFS = 105;
const ECANCELED = 125;

/** How many items wait before the kernel is asked to bring no more. */
const HIGH_WATER_MARK = 64;

/** What every multishot operation can be given. */
export interface MultishotOptions {
  /**
   * Ends the operation and the iteration: `next()` is then rejected with the signal's reason. So it is where the operation
   * has ended by itself, and its items, or its end, were not pulled: they are given back.
   */
  signal?: AbortSignal | undefined;
  /**
   * How many items may wait to be pulled, 64 unless given. Where there are more the operation is ended, and begun again
   * when they have been pulled.
   */
  highWaterMark?: number | undefined;
}

/** What a `Source` says when there is nothing more to come. */
export const END: unique symbol = Symbol("end");

/** What one multishot operation is, and what its completions bring. */
export interface Source<T> {
  readonly kind: Kind;
  readonly target: Target;
  readonly flags: number;
  readonly group: BufferGroup | null;
  /** Whether the kernel does not find it to cancel just while it completes, as a timer that fires. */
  readonly elusive?: boolean;
  /** Structs for one arming. */
  extra?(): Disposable;
  /** Whether a result below zero is no failure. */
  answers?(res: number): boolean;
  /** What a completion brings. */
  take(res: number, flags: number, last: boolean): T | typeof END;
  /** Gives back what nobody has pulled. */
  discard(item: T): void;
}

interface Waiter<T> {
  /** Kept while this waits: who has the promise alone still waits for what comes. */
  readonly handle: Multishot<T>;
  resolve(result: IteratorResult<T, undefined>): void;
  reject(reason: unknown): void;
}

/** Why an iteration ends. */
export interface Cause {
  readonly error: unknown;
}

/**
 * An operation that completes again and again, as an iterator of what it brings. It begins with the first `next()`.
 *
 * `break`, `return` and `throw` in a loop over it end the operation, and resolve when the kernel is done with it; what was
 * brought and not pulled is given back: descriptors are closed, buffers go back to their group. One that is dropped is
 * ended when it is collected.
 *
 * @example
 * ```ts
 * import { Proactor } from "uring";
 *
 * await using proactor = new Proactor();
 * for await (const tick of proactor.timeoutMultishot(10)) {
 *   console.log(tick);
 *   if (tick === 3) break;
 * }
 * ```
 */
export class Multishot<T> implements AsyncIterableIterator<T, undefined> {
  readonly #stream: Stream<T>;

  /** @internal */
  constructor(stream: Stream<T>) {
    this.#stream = stream;
  }

  /**
   * What comes next, in the order of calls; several may be pending.
   *
   * @throws UringError once, where the operation failed; the reason of its signal. It is done then
   */
  next(): Promise<IteratorResult<T, undefined>> {
    return this.#stream.next(this);
  }

  /** Ends the operation; resolves when the kernel is done with it. */
  async return(): Promise<IteratorReturnResult<undefined>> {
    await this.#stream.finish();
    return { done: true, value: undefined };
  }

  /** As `return()`, and then throws what it is given. */
  async throw(error: unknown): Promise<IteratorReturnResult<undefined>> {
    await this.#stream.finish();
    throw error;
  }

  /** As `return()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stream.finish();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

/** Ends the operations of iterators that nobody has any more. */
const dropped = new FinalizationRegistry<Stream<unknown>>((stream) => {
  void stream.finish();
});

/**
 * The operation behind an iterator, and what waits on either side. The engine knows this and not the iterator, which can so
 * be collected while the operation goes on; it is kept only while a `next()` is pending.
 */
export class Stream<T> implements Receiver, BufferUser {
  readonly #engine: Engine;
  readonly #makeSource: () => Source<T>;
  readonly #signal: AbortSignal | undefined;
  readonly #mark: number;
  /** All of the proactor's that have begun and not ended. */
  readonly #live: Set<Stream<unknown>>;
  readonly #queue: T[] = [];
  readonly #waiters: Waiter<T>[] = [];
  readonly #finishers: (() => void)[] = [];
  /** `null` before it has begun. */
  #source: Source<T> | null = null;
  #state: "new" | "open" | "ending" | "ended" = "new";
  /** What the next to pull is told, once. */
  #cause: Cause | null = null;
  /** What is the kernel's, or in the engine's queue. */
  #operation: Operation | null = null;
  /** Whether the operation was asked to end because nobody pulls. */
  #pausing = false;
  /** Whether there are no buffers. */
  #starving = false;
  /** How often a buffer had come back when the operation began. */
  #returns = 0;
  readonly #onRefusal = (reason: unknown): void => {
    this.#operation = null;
    this.#cause ??= this.#state === "ending" ? null : { error: reason };
    this.#over();
  };

  /** @param makeSource called when it begins; what it throws is told by the first `next()` */
  constructor(
    engine: Engine,
    live: Set<Stream<unknown>>,
    makeSource: () => Source<T>,
    options: MultishotOptions,
  ) {
    const { signal, highWaterMark = HIGH_WATER_MARK } = options;
    checkSignal(signal);
    this.#mark = whole(highWaterMark, 1, 2 ** 31, "highWaterMark");
    this.#engine = engine;
    this.#live = live;
    this.#makeSource = makeSource;
    this.#signal = signal;
  }

  next(handle: Multishot<T>): Promise<IteratorResult<T, undefined>> {
    if (this.#state === "new") this.#begin(handle);
    if (this.#queue.length > 0) {
      const value = this.#queue.shift() as T;
      if (this.#queue.length === 0) this.#arm();
      return Promise.resolve({ done: false, value });
    }
    if (this.#state === "ended") return this.#afterwards();
    const promise = new Promise<IteratorResult<T, undefined>>((resolve, reject) => {
      this.#waiters.push({ resolve, reject, handle });
    });
    this.#arm();
    return promise;
  }

  /** Ends it for somebody who wants no more. */
  async finish(): Promise<void> {
    if (this.#signal !== undefined) unlisten(this.#signal, this);
    await this.end(null);
    this.#cause = null;
  }

  /** Asks the kernel for its end, and gives back what was not pulled; resolves when the kernel is done with it. */
  end(cause: Cause | null): Promise<void> {
    for (const item of this.#queue.splice(0)) this.#source?.discard(item);
    if (this.#state === "ended") return Promise.resolve();
    const finished = new Promise<void>((resolve) => {
      this.#finishers.push(resolve);
    });
    if (this.#state === "ending") return finished;
    this.#state = "ending";
    this.#cause = cause;
    if (this.#operation === null) this.#over();
    else this.#engine.cancel(this.#operation, cause?.error);
    return finished;
  }

  /** The signal's abort, which says more than what has ended it before. */
  handleEvent(): void {
    const cause = { error: this.#signal && reasonOf(this.#signal) };
    if (this.#state !== "open") this.#cause = cause;
    void this.end(cause);
  }

  /** The proactor is closed. */
  close(): void {
    void this.end({ error: closedError(this.#source?.kind.name ?? "multishot") });
  }

  buffersBack(): void {
    this.#starving = false;
    this.#arm();
  }

  complete(res: number, flags: number, last: boolean): void {
    const operation = this.#operation as Operation;
    const source = this.#source as Source<T>;
    if (last) this.#operation = null;
    const more = res >= 0 || source.answers?.(res) === true;
    if (more) this.#bring(source, res, flags, last);
    else if ((flags & IORING_CQE_F_BUFFER) !== 0 && source.group !== null) {
      BufferGroup.take(source.group, flags, 0);
      BufferGroup.putBack(source.group, flags);
    }
    if (!last) {
      if (source.elusive === true && operation.cancelled) this.#cancelAgain(operation);
      if (this.#queue.length >= this.#mark) this.#pause(operation);
      return;
    }
    const paused = this.#pausing;
    this.#pausing = false;
    if (this.#state === "ending") this.#over();
    else if (more) this.#arm();
    else if (res === -ENOBUFS && source.group !== null) this.#starve(source.kind, source.group);
    else if (paused && (res === -ECANCELED || res === -EINTR)) this.#arm();
    else this.#fail(source.kind, operation, res);
  }

  #begin(handle: Multishot<T>): void {
    this.#state = "open";
    const signal = this.#signal;
    try {
      if (signal !== undefined && isAborted(signal)) throw reasonOf(signal);
      this.#source = this.#makeSource();
      if (signal !== undefined) listen(signal, this);
      if (this.#source.group !== null) BufferGroup.join(this.#source.group, this, this.#engine.ring);
    } catch (error) {
      this.#cause = { error };
      this.#over();
      return;
    }
    this.#live.add(this);
    dropped.register(handle, this);
  }

  /** Begins the operation, also again, where there is room for what it brings. */
  #arm(): void {
    if (this.#state !== "open" || this.#operation !== null || this.#starving) return;
    if (this.#queue.length >= this.#mark) return;
    const source = this.#source as Source<T>;
    const { kind, target, flags, group } = source;
    try {
      const extra = source.extra?.() ?? null;
      const memory = group === null ? null : BufferGroup.memoryOf(group);
      const operation = this.#engine.prepare(kind, target, memory, 0, -1, flags, NO_OPTIONS, extra);
      operation.plain = false;
      operation.standing = true;
      operation.receiver = this;
      operation.refuse = this.#onRefusal;
      if (group !== null) {
        operation.buffer = group.id;
        this.#returns = BufferGroup.returnsOf(group);
      }
      this.#operation = operation;
      this.#engine.enqueue(operation);
    } catch (error) {
      this.#cause = { error };
      this.#over();
    }
  }

  #bring(source: Source<T>, res: number, flags: number, last: boolean): void {
    let item: T | typeof END;
    try {
      item = source.take(res, flags, last);
    } catch (error) {
      this.#stop({ error });
      return;
    }
    if (item === END) {
      this.#stop(null);
      return;
    }
    if (this.#state !== "open") {
      source.discard(item);
      return;
    }
    const waiter = this.#waiters.shift();
    if (waiter === undefined) {
      this.#queue.push(item);
      return;
    }
    waiter.resolve({ done: false, value: item });
  }

  /** Ends it because of what a completion has brought: what came before can still be pulled. */
  #stop(cause: Cause | null): void {
    if (this.#state !== "open") return;
    this.#state = "ending";
    this.#cause = cause;
    if (this.#operation !== null) this.#engine.cancel(this.#operation, undefined);
  }

  #pause(operation: Operation): void {
    if (this.#state !== "open" || this.#pausing) return;
    this.#pausing = true;
    this.#engine.cancel(operation, undefined);
  }

  #cancelAgain(operation: Operation): void {
    operation.cancelled = false;
    this.#engine.cancel(operation, operation.reason);
  }

  /** There was no buffer. Never asks again before one has come back, since the answer would be the same. */
  #starve(kind: Kind, group: BufferGroup): void {
    if (BufferGroup.returnsOf(group) !== this.#returns && group.available > 0) this.#arm();
    else if (BufferGroup.wait(group, this)) this.#starving = true;
    else {
      this.#cause = { error: failure(kind, ENOBUFS) };
      this.#over();
    }
  }

  #fail(kind: Kind, operation: Operation, res: number): void {
    const asked = operation.cancelled && (res === -ECANCELED || res === -EINTR);
    this.#cause = { error: asked ? operation.reason : failure(kind, -res) };
    this.#over();
  }

  /** The kernel is done with it, and nothing more will be asked of it. */
  #over(): void {
    this.#state = "ended";
    this.#live.delete(this);
    const group = this.#source?.group ?? null;
    if (group !== null) BufferGroup.leave(group, this);
    for (const { resolve, reject } of this.#waiters.splice(0)) this.#afterwards().then(resolve, reject);
    for (const finish of this.#finishers.splice(0)) finish();
  }

  /** What those are told who pull when it is over. */
  #afterwards(): Promise<IteratorReturnResult<undefined>> {
    if (this.#signal !== undefined) unlisten(this.#signal, this);
    const cause = this.#cause;
    this.#cause = null;
    return cause === null ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(cause.error);
  }
}
