import type { Target } from "../ring/direct.ts";
import { Alarm } from "./alarm.ts";
import type { Engine } from "./engine.ts";
import { closedError, failure, timeoutError } from "./failure.ts";
import type { Kind, Operation, Receiver } from "./operation.ts";
import type { Memory } from "./operations/base.ts";
import { checkOptions, type OperationOptions } from "./options.ts";

const EINTR = 4;
const ECANCELED = 125;

/** A send without a copy, which is done twice. */
export interface ZeroCopySend {
  /** How many bytes were taken; rejected where the send failed. */
  readonly sent: Promise<number>;
  /**
   * Resolves when the memory is free again, also where the send failed: until then it must stay as it is. Rejected only where
   * the proactor was closed before.
   */
  readonly released: Promise<void>;
}

/** Waits for both completions of a send without a copy. */
export class Sending implements ZeroCopySend, Receiver {
  readonly sent: Promise<number>;
  readonly released: Promise<void>;
  readonly #kind: Kind;
  readonly #resolve: (bytes: number) => void;
  readonly #reject: (reason: unknown) => void;
  readonly #engine: Engine;
  readonly #release: () => void;
  readonly #keep: (reason: unknown) => void;
  #operation: Operation | null = null;
  #alarm: Alarm | undefined;

  private constructor(engine: Engine, kind: Kind) {
    this.#engine = engine;
    this.#kind = kind;
    const sent = Promise.withResolvers<number>();
    const released = Promise.withResolvers<void>();
    this.sent = sent.promise;
    this.released = released.promise;
    this.#resolve = sent.resolve;
    this.#reject = sent.reject;
    this.#release = released.resolve;
    this.#keep = released.reject;
    // Nobody has to wait for it.
    released.promise.catch(() => {});
  }

  /** Calls the operation. Never throws: what is wrong with the arguments `sent` is rejected with. */
  static start(
    engine: Engine,
    kind: Kind,
    target: Target,
    memory: Memory | null,
    length: number | undefined,
    flags: number,
    options: OperationOptions,
    extra: () => Disposable | null,
  ): ZeroCopySend {
    const sending = new Sending(engine, kind);
    try {
      const { signal, timeout } = options;
      checkOptions(signal, timeout);
      const operation = engine.prepare(kind, target, memory, length, 0, flags, { signal }, extra());
      operation.receiver = sending;
      operation.plain = false;
      operation.refuse = (reason) => sending.#end(() => sending.#reject(reason), true);
      sending.#operation = operation;
      if (timeout !== undefined) sending.#limit(engine, operation, timeout);
      engine.enqueue(operation);
    } catch (error) {
      sending.#reject(error);
      sending.#release();
    }
    return { sent: sending.sent, released: sending.released };
  }

  complete(res: number, _flags: number, last: boolean): void {
    const operation = this.#operation;
    if (operation === null) this.#over();
    else if (res >= 0) this.#end(() => this.#resolve(res), last);
    else this.#end(() => this.#reject(this.#failure(operation, res)), last);
  }

  /** No timer of the kernel's: that would be linked to the send, whose end it would wait for. */
  #limit(engine: Engine, operation: Operation, timeout: number): void {
    this.#alarm = new Alarm(timeout, () => engine.cancel(operation, timeoutError(this.#kind)));
  }

  /** The send is over; the memory may not be free yet. */
  #end(settle: () => void, last: boolean): void {
    this.#alarm?.[Symbol.dispose]();
    this.#operation = null;
    settle();
    if (last) this.#over();
  }

  #over(): void {
    if (this.#engine.gaveUp) this.#keep(closedError(this.#kind.name));
    else this.#release();
  }

  #failure(operation: Operation, res: number): unknown {
    if ((res === -ECANCELED || res === -EINTR) && operation.cancelled) return operation.reason;
    return failure(this.#kind, -res, this.#kind.about?.(operation));
  }
}
