import { checkDeadline } from "../ring/close.ts";
import type { Target } from "../ring/direct.ts";
import type { Ring } from "../ring/ring.ts";
import type { Sqe } from "../ring/sqe.ts";
import { Chain, type ChainOptions } from "./chain.ts";
import { type Counters, Engine } from "./engine.ts";
import { Inbox } from "./messages.ts";
import type { Kind, Receiver } from "./operation.ts";
import type { Memory } from "./operations/base.ts";
import { ContinuingOperations } from "./operations/continuing.ts";
import type { ProactorAddress } from "./operations/messages.ts";
import type { OperationOptions } from "./options.ts";
import { BufferPool } from "./pool.ts";
import { drive, type RunOptions } from "./run.ts";
import { type ProactorOptions, setUp } from "./setup.ts";
import { Trace, type TraceOptions } from "./trace.ts";

/** An operation that was called and has not settled. */
export interface OperationInfo {
  /** The system call it stands for. */
  readonly name: string;
  readonly target: Target;
  /** Milliseconds since it was called; `NaN` unless `debug` or a trace has recorded when that was. */
  readonly age: number;
  /** Where it was called, with `debug`; of a chain's member where that was submitted. */
  readonly stack: string | undefined;
}

/**
 * io_uring as promises, on the runtime's own event loop: each operation is a method whose promise settles when the kernel
 * is done with it.
 *
 * Operations called in one turn go to the kernel in one system call. Nothing polls: while nothing completes no time is
 * used. Operations in flight keep the process running. A proactor is for the thread that made it.
 *
 * Memory given to an operation is the kernel's until its promise settles, and must not be transferred or detached before.
 *
 * @example
 * ```ts
 * import { alloc, Proactor } from "uring";
 *
 * await using proactor = new Proactor();
 * using memory = alloc(64);
 * console.log(await proactor.read(0, memory, { length: 0 })); // 0
 * ```
 */
export class Proactor extends ContinuingOperations {
  readonly #engine: Engine;
  readonly #debug: boolean;
  #inbox: Inbox | undefined;
  #pool: BufferPool | undefined;

  /**
   * @throws UringUnavailableError where io_uring can not be used; UringError as `new Ring` throws
   */
  constructor(options: ProactorOptions = {}) {
    const { debug = false, addressable = false } = options;
    const engine = setUp(options, (ring) => new Engine(ring, debug, addressable));
    super(engine, debug);
    this.#debug = debug;
    this.#engine = engine;
  }

  /** @internal */
  static engineOf(proactor: Proactor): Engine {
    return proactor.#engine;
  }

  /** The ring, for what can be asked of it and registered with it. Its queues and eventfd are the proactor's. */
  get ring(): Ring {
    return this.#engine.ring;
  }

  /** Operations called and not settled. */
  get inFlight(): number {
    return this.#engine.inFlight;
  }

  /** What has been done so far. */
  get counters(): Readonly<Counters> {
    return { ...this.#engine.counters };
  }

  /** Whether `close` was called. */
  get closed(): boolean {
    return this.#engine.closed;
  }

  /** The operations called and not settled. */
  operations(): OperationInfo[] {
    const now = performance.now();
    return Array.from(this.#engine.operations(), ({ kind, target, started, stack }) => {
      return { name: kind.name, target, age: now - started, stack };
    });
  }

  /** Hands what was called so far to the kernel now, instead of at the end of this turn. */
  flush(): void {
    this.#engine.flush();
  }

  /** Resolves when all that was called is the kernel's: for callers who would rather wait than queue without end. */
  ready(): Promise<void> {
    return this.#engine.ready();
  }

  /** Has operations in flight keep the process running, as they do from the start. */
  ref(): this {
    this.#engine.setRef(true);
    return this;
  }

  /** Lets the process end although operations are in flight. */
  unref(): this {
    this.#engine.setRef(false);
    return this;
  }

  /**
   * A chain to collect operations in, which then run one after the other.
   *
   * @param options `hard`: whether an operation begins even if the one before it has failed
   */
  chain(options: ChainOptions = {}): Chain {
    return new Chain(this.#engine, options);
  }

  /** Buffers to lend, registered with the ring as far as that can be. */
  get pool(): BufferPool {
    if (this.#pool === undefined) {
      this.#pool = new BufferPool({ ring: this.#engine.ring, debug: this.#debug });
      if (this.closed) this.#pool[Symbol.dispose]();
    }
    return this.#pool;
  }

  /**
   * By what other proactors can send this one messages. It can be given to other threads of this process.
   *
   * Messages that come before `messages()` is iterated are kept, up to 65,536 of them.
   *
   * @throws TypeError for a proactor that was made without `addressable`, or is closed
   */
  get address(): ProactorAddress {
    const engine = this.#engine;
    if (engine.closed) throw new TypeError("the proactor is closed: it has no address any more");
    if (!engine.addressable)
      throw new TypeError("only a proactor made with addressable: true has an address");
    this.#inbox ??= new Inbox(engine);
    return { fd: engine.ring.fd, token: engine.token };
  }

  /**
   * The messages that other proactors `post` to this one's `address`, as they come, until it is closed. Each goes to one
   * iteration, where there are several.
   *
   * A message is no operation: it is the iteration that keeps the process running, from its first step until it is left,
   * as operations in flight do and as far as `unref()` lets it. Several `next()` may be pending; `return()` and `throw()`
   * end the iteration at once, also for those who wait.
   *
   * @param options `signal`: ends the iteration with the signal's reason
   * @throws TypeError as `address`; UringError ENOBUFS from the iteration where messages were lost, since 65,536 waited
   */
  messages(options: { signal?: AbortSignal } = {}): AsyncGenerator<number, void, undefined> {
    this.address;
    return (this.#inbox as Inbox).read(options.signal);
  }

  /**
   * Records what the proactor does, until the trace is disposed of. There is one at a time.
   *
   * @param options `limit`: how much is kept, the latest
   */
  trace(options: TraceOptions = {}): Trace {
    return new Trace(this.#engine, options);
  }

  /**
   * Drives the proactor by blocking the thread in the kernel, for programs that do nothing else: a server that waits here
   * is woken without a way through the runtime's event loop. Ends when nothing is in flight, and nobody waits for messages.
   *
   * The runtime's timers, sockets and signals have their turn after completions alone, or at least each `slice`
   * milliseconds. So a promise as `until` that depends on these needs a `slice`.
   *
   * @throws what `until` was rejected with; TypeError while the proactor runs already
   *
   * @example
   * ```ts
   * import { Proactor } from "uring";
   *
   * await using proactor = new Proactor();
   * const done = proactor.nop();
   * await proactor.run({ until: done });
   * console.log(await done); // 0
   * ```
   */
  run(options: RunOptions = {}): Promise<void> {
    return drive(this.#engine, options);
  }

  /**
   * An entry to describe an operation on that needs no promise: `receiver` is told of its completions instead.
   *
   * Use the entry at once, before the next call of the proactor. One that is linked to the next may be handed over before that
   * is described: chains are what `chain()` is for. Its `user_data` is the proactor's, and so are
   * `IOSQE_CQE_SKIP_SUCCESS` and `IOSQE_IO_DRAIN`, which are taken away. Memory given to it must be kept by the caller until
   * the last completion.
   *
   * @returns `null` while as many operations are in flight as fit: go on when one has completed
   */
  entry(receiver: Receiver): Sqe | null {
    return this.#engine.entry(receiver);
  }

  /**
   * Ends everything: takes no more operations, cancels those under way, waits for the last of them and closes the ring.
   * What is cancelled is rejected with `ECANCELED`.
   *
   * @param options `deadline`: milliseconds to wait for what can not be cancelled, 1000 unless given
   * @returns `leaked`: how many operations may still be running, whose memory is then kept for good
   * @throws RangeError for a deadline that is no number of milliseconds: the proactor stays open
   */
  async close(options: { deadline?: number } = {}): Promise<{ leaked: number }> {
    const { deadline = 1000 } = options;
    checkDeadline(deadline);
    this.endIterators();
    const closed = this.#engine.close(deadline);
    this.#inbox?.close();
    try {
      const result = await closed;
      if (this.#engine.ring.closed) this.endGroups(result.leaked > 0);
      return result;
    } finally {
      this.#pool?.[Symbol.dispose]();
    }
  }

  /** As `close()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  protected override call<T>(
    kind: Kind,
    target: Target,
    memory: Memory | null,
    length: number | undefined,
    offset: number,
    flags: number,
    options: OperationOptions,
    extra: Disposable | null,
  ): Promise<T> {
    return this.#engine.call(kind, target, memory, length, offset, flags, options, extra);
  }
}
