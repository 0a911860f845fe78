import type { Target } from "../ring/direct.ts";
import type { Ring } from "../ring/ring.ts";
import type { Sqe } from "../ring/sqe.ts";
import { type Counters, Engine } from "./engine.ts";
import type { Kind, Receiver } from "./operation.ts";
import type { Memory } from "./operations/base.ts";
import { FileOperations } from "./operations/files.ts";
import type { OperationOptions } from "./options.ts";
import { type ProactorOptions, setUp } from "./setup.ts";

/** An operation that was called and has not settled. */
export interface OperationInfo {
  /** The system call it stands for. */
  readonly name: string;
  readonly target: Target;
  /** Milliseconds since it was called, as far as that is recorded: exact with `debug`. */
  readonly age: number;
  /** Where it was called, with `debug`. */
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
export class Proactor extends FileOperations {
  readonly #engine: Engine;

  /**
   * @throws UringUnavailableError where io_uring can not be used; UringError as `new Ring` throws
   */
  constructor(options: ProactorOptions = {}) {
    super();
    this.#engine = new Engine(setUp(options), options.debug ?? false);
  }

  /** @internal */
  static engineOf(proactor: Proactor): Engine {
    return proactor.#engine;
  }

  /** The ring, for what can be asked of it and registered with it. Its queues are the proactor's. */
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
   * An entry to describe an operation on that needs no promise: `receiver` is told of its completions instead.
   *
   * Use the entry at once, before the next call of the proactor. Its `user_data` is the proactor's, and so are
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
   */
  close(options: { deadline?: number } = {}): Promise<{ leaked: number }> {
    return this.#engine.close(options.deadline ?? 1000);
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
