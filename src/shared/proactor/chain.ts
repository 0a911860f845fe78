import { IOSQE_IO_HARDLINK, IOSQE_IO_LINK } from "../abi/index.ts";
import { UringError } from "../errors.ts";
import type { Target } from "../ring/direct.ts";
import type { Engine } from "./engine.ts";
import { closedError, notSubmitted } from "./failure.ts";
import type { Kind, Operation } from "./operation.ts";
import type { Memory } from "./operations/base.ts";
import { MessageOperations } from "./operations/messages.ts";
import type { OperationOptions } from "./options.ts";

/** How operations of a chain depend on each other. */
export interface ChainOptions {
  /** Whether an operation begins even if the one before it has failed. Linux 5.5. */
  hard?: boolean | undefined;
}

/** An operation that is collected: what becomes of it is its promise's. */
interface Member {
  readonly kind: Kind;
  readonly extra: Disposable | null;
  readonly promise: Promise<unknown>;
  prepare(): Operation;
  resolve(value: unknown): void;
  reject(reason: unknown): void;
}

/**
 * Operations that run one after the other without a way back in between: each begins when the one before it is done. Made
 * by `proactor.chain()`; its methods are the proactor's, and nothing happens before `submit()`.
 *
 * Each promise settles for itself. What fails, and a read, write, splice or tee that moves fewer bytes than it was to (a
 * receive only with `MSG_WAITALL`), breaks the chain: what comes after it never begins, and is rejected with `ECANCELED`. In
 * a hard chain all run, whatever becomes of the others.
 *
 * **Not all failures break a chain.** Linux goes on, as of 6.18, after one of `fsync`, `fdatasync`, `syncFileRange`,
 * `fallocate`, `ftruncate`, `madvise`, `statx`, `unlink`, `rename`, `link`, `symlink`, `mkdir` and the extended attributes. What
 * must not happen after such a failure belongs after an `await` of it, not behind it in a chain.
 *
 * A `timeout` counts while the chain waits for room, and stands still from there to the operation's turn, save
 * for work in the kernel's own threads such as `fsync`. An operation that is aborted, or out of time, before the kernel has
 * the chain ends at once and never begins, as if it had failed; one that is while it waits for its turn ends when that comes.
 *
 * Memory is checked and held from `submit()` on, until each operation's end.
 *
 * @example
 * ```ts
 * import { Proactor } from "uring";
 *
 * await using proactor = new Proactor();
 * const chain = proactor.chain();
 * const first = chain.nop();
 * const second = chain.nop();
 * await chain.submit();
 * console.log(await first, await second); // 0 0
 * ```
 */
export class Chain extends MessageOperations {
  readonly #engine: Engine;
  readonly #link: number;
  readonly #members: Member[] = [];
  #state: "open" | "submitted" | "dropped" = "open";

  /** @internal */
  constructor(engine: Engine, options: ChainOptions) {
    super();
    this.#engine = engine;
    this.#link = options.hard === true ? IOSQE_IO_HARDLINK : IOSQE_IO_LINK;
  }

  /** How many operations there are. */
  get length(): number {
    return this.#members.length;
  }

  /**
   * Hands all operations over as one unit.
   *
   * Where one of them can not be begun at all, for memory or options that can not be or a signal that was aborted already,
   * none is. A number that its entry has no room for is found when its turn to be described comes, and breaks the chain there.
   *
   * @throws what the first operation that failed was rejected with, once all have settled; TypeError for a chain that is
   * empty or was submitted already; RangeError for one with more entries than can be handed over at a time, by the room in
   * both queues, a timeout being one more. Linux 5.3. See io_uring_enter(2), IOSQE_IO_LINK.
   */
  async submit(): Promise<void> {
    if (this.#state !== "open") throw this.#over();
    if (this.#members.length === 0)
      throw new TypeError("an empty chain can not be submitted: call operations on it first");
    this.#state = "submitted";
    this.#enqueue();
    const outcomes = await Promise.allSettled(this.#members.map(({ promise }) => promise));
    const reasons = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason] : []));
    // What was cancelled was so for another's sake, which may come after it: the kernel looks at all before it begins.
    if (reasons.length > 0) throw reasons.find((reason) => !isCancelled(reason)) ?? reasons[0];
  }

  /** Gives up a chain that was not submitted: its operations are rejected with `ECANCELED`. */
  [Symbol.dispose](): void {
    if (this.#state !== "open") return;
    this.#state = "dropped";
    for (const member of this.#members) drop(member);
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
    if (this.#state !== "open") {
      extra?.[Symbol.dispose]();
      return Promise.reject(this.#over());
    }
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    // It is submit() that tells of failures nobody looks at.
    promise.catch(() => {});
    this.#members.push({
      kind,
      extra,
      promise,
      prepare: () => this.#engine.prepare(kind, target, memory, length, offset, flags, options, extra),
      resolve: resolve as (value: unknown) => void,
      reject,
    });
    return promise;
  }

  #enqueue(): void {
    const engine = this.#engine;
    const members = this.#members;
    const operations: Operation[] = [];
    let span = 0;
    try {
      for (const member of members) {
        const operation = member.prepare();
        operations.push(operation);
        span += operation.span;
      }
      // A member's options may have closed it.
      if (engine.closed) throw closedError("chain");
    } catch (error) {
      const failed = operations.length;
      for (const operation of operations) engine.drop(operation);
      for (const member of members.slice(0, failed)) member.reject(notSubmitted(member.kind));
      members[failed]?.reject(error);
      for (const member of members.slice(failed + 1)) drop(member);
      return;
    }
    const most = Math.min(engine.ring.params.sqEntries, engine.limit);
    if (span > most) {
      const error = new RangeError(
        `a chain of ${span} entries is longer than the ${most} that can be handed over at a time: make it shorter, or ` +
          "the proactor with more entries, and more cqEntries",
      );
      for (const operation of operations) engine.drop(operation);
      for (const member of members) member.reject(error);
      return;
    }
    for (const [i, { resolve }] of members.entries()) {
      const operation = operations[i] as Operation;
      operation.resolve = resolve;
      operation.plain = false;
      operation.chained = true;
      if (i === 0) operation.span = span;
      operation.leader = operations[i - 1] ?? null;
      operation.follower = operations[i + 1] ?? null;
      if (operation.follower !== null) operation.entryFlags = this.#link;
      engine.enqueue(operation);
    }
  }

  #over(): TypeError {
    return new TypeError(`this chain was ${this.#state} already: make another with proactor.chain()`);
  }
}

/** Ends a member that was not prepared. */
function drop({ kind, extra, reject }: Member): void {
  extra?.[Symbol.dispose]();
  reject(notSubmitted(kind));
}

function isCancelled(reason: unknown): boolean {
  return reason instanceof UringError && reason.code === "ECANCELED";
}
