import { runtime } from "#runtime";
import {
  IORING_ENTER_GETEVENTS,
  IORING_ENTER_REGISTERED_RING,
  IORING_ENTER_SQ_WAIT,
  IORING_ENTER_SQ_WAKEUP,
  IORING_REGISTER_ENABLE_RINGS,
  IORING_REGISTER_USE_REGISTERED_RING,
  IORING_SETUP_IOPOLL,
  IORING_SETUP_R_DISABLED,
  IORING_SETUP_REGISTERED_FD_ONLY,
  IORING_SETUP_SQPOLL,
  IORING_SQ_CQ_OVERFLOW,
  IORING_SQ_NEED_WAKEUP,
  IORING_SQ_TASKRUN,
} from "../abi/index.ts";
import type { Shim } from "../runtime.ts";
import { type CloseResult, checkDeadline, quiesce } from "./close.ts";
import { type CompletionCallback, CompletionQueue, type CompletionReader } from "./completion.ts";
import type { Cqe } from "./cqe.ts";
import { enterError, registerError } from "./diagnosis.ts";
import { HeldViews } from "./held.ts";
import { checkOptions, type RingMemoryKind, type RingOptions } from "./options.ts";
import { type Probe, probeRing } from "./probe.ts";
import { type ResizableRing, type ResizeOptions, resizeRing, sizesOf } from "./resize.ts";
import { closeRing, RingSetup, setupRing } from "./setup.ts";
import type { Sqe } from "./sqe.ts";
import { SubmissionQueue } from "./submission.ts";
import { givePlaceBack, takePlace } from "./table.ts";
import { adoptSetup, type RingTransfer, transferOf } from "./transfer.ts";
import { WaitArgument, type WaitOptions } from "./wait.ts";

const EINTR = 4;
const EAGAIN = 11;
const EBUSY = 16;
const ETIME = 62;

const ENABLE_HINT = "Only a ring set up with IORING_SETUP_R_DISABLED can be enabled, once";

const CQ_NEEDS_ENTER = IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN;

/**
 * What every ring is: its queues, its life, and the way to the kernel that the families of registration calls build on.
 */
export class RingBase {
  readonly #shim: Shim;
  #setup: RingSetup;
  #sq: SubmissionQueue;
  #cq: CompletionQueue;
  readonly #held: HeldViews;
  readonly #wait = new WaitArgument();
  readonly #poller: boolean;
  readonly #iopoll: boolean;
  /** The ring's file descriptor, -1 without one. */
  #fd: number;
  /**
   * Whether anyone may know the fd, and by it send completions here that end no operation of this ring. Those can not be
   * told from the ring's own, so from then on nothing is idle by count.
   */
  #addressable = false;
  /** What `io_uring_enter` takes, an fd or a registered index, and the flag that says which. */
  #enterFd: number;
  #enterFlags = 0;
  #enabled: boolean;
  #state: "open" | "closing" | "closed" | "detached" = "open";
  readonly #whenClosed: (() => void)[] = [];
  /** How many callbacks are being given completions, one inside the other. */
  #reading = 0;

  /**
   * Sets a ring up.
   *
   * @param options without any: flags 0 and 128 entries, plus what is free, which is memory of this process where the
   * kernel takes that, no indirection array, and a registered ring fd
   * @throws UringUnavailableError where io_uring can not be used; UringError with the cause where this ring can not be
   * made (ENOMEM: locked memory, EMFILE: file descriptors, EINVAL: a flag this kernel does not know); TypeError or
   * RangeError for what no kernel takes. See io_uring_setup(2).
   */
  constructor(options?: RingOptions);
  /** @internal */
  constructor(setup: RingSetup);
  constructor(options: RingOptions | RingSetup = {}) {
    const adopted = options instanceof RingSetup;
    const setup = adopted ? options : setupRing(checkOptions(options, RingBase.#fdOf));
    const { params, memory } = setup;
    this.#shim = runtime.load();
    this.#setup = setup;
    this.#held = new HeldViews();
    this.#sq = new SubmissionQueue(params, memory, this.#held);
    this.#cq = new CompletionQueue(params, memory);
    this.#poller = (params.flags & IORING_SETUP_SQPOLL) !== 0;
    this.#iopoll = (params.flags & IORING_SETUP_IOPOLL) !== 0;
    this.#enabled = (params.flags & IORING_SETUP_R_DISABLED) === 0;
    const registeredOnly = (params.flags & IORING_SETUP_REGISTERED_FD_ONLY) !== 0;
    this.#fd = registeredOnly ? -1 : setup.fd;
    // The transfer that the ring came by has told its fd.
    this.#addressable = adopted;
    this.#enterFd = setup.fd;
    if (registeredOnly) this.#enterFlags = IORING_ENTER_REGISTERED_RING;
    // The table of registered rings is the thread's, and a disabled ring may yet go to another thread.
    else if (this.#enabled) this.registerIndex();
  }

  /**
   * Takes over a disabled ring that another thread has detached. Enable it with `enableRings()`: with
   * `IORING_SETUP_SINGLE_ISSUER` the thread that does so becomes its owner.
   *
   * @throws TypeError for what is no transfer, or one that was adopted already
   */
  static adopt<T extends RingBase>(this: new (setup: RingSetup) => T, transfer: RingTransfer): T {
    return new this(adoptSetup(transfer));
  }

  // ---------------------------------------------------------------------------------------------------- what it is

  /**
   * The ring's file descriptor; -1 with `IORING_SETUP_REGISTERED_FD_ONLY`, which leaves none, after `closeRingFd()`, and
   * once closed.
   *
   * Whoever has it can send messages to the ring, whose completions end none of its operations. So once it has been asked
   * for, views that operations were given are kept until the ring is closed; memory from `alloc` is not concerned.
   */
  get fd(): number {
    this.#addressable = true;
    return this.#fd;
  }

  /** The fd of a ring whose workers are to be shared, which makes no use of it that the ring must know of. */
  static #fdOf(this: void, ring: { readonly fd: number }): number {
    return ring instanceof RingBase ? ring.#fd : ring.fd;
  }

  /** The setup as the kernel answered it: sizes, and the `IORING_SETUP_*` flags it runs with. */
  get params(): Readonly<
    Record<"sqEntries" | "cqEntries" | "flags" | "sqThreadCpu" | "sqThreadIdle", number>
  > {
    const { sqEntries, cqEntries, flags, sqThreadCpu, sqThreadIdle } = this.#setup.params;
    return { sqEntries, cqEntries, flags, sqThreadCpu, sqThreadIdle };
  }

  /** The kernel's `IORING_FEAT_*` features. */
  get features(): number {
    return this.#setup.params.features;
  }

  /** Where the ring's memory came from. */
  get memory(): RingMemoryKind {
    return this.#setup.memory.kind;
  }

  /** Whether the ring can no longer be used. */
  get closed(): boolean {
    return this.#state !== "open";
  }

  /** Entries handed out by `getSqe` and not yet taken by the kernel. */
  get sqReady(): number {
    return this.#open().#sq.ready();
  }

  /** Entries that `getSqe` can still hand out. */
  get sqSpaceLeft(): number {
    return this.#open().#sq.spaceLeft();
  }

  /** Entries that the kernel refused to look at. 0 with this library. */
  get sqDropped(): number {
    return this.#open().#sq.dropped();
  }

  /** Slots of the completion queue that hold completions not yet consumed. */
  get cqReady(): number {
    return this.#open().#cq.ready();
  }

  /** Completions that are lost, for want of memory to keep what did not fit into the queue. */
  get cqOverflow(): number {
    return this.#open().#cq.overflow();
  }

  /**
   * Whether the kernel keeps completions aside that did not fit into the queue; the next wait or `getEvents` moves
   * them over. See io_uring_cq_has_overflow(3).
   */
  get cqHasOverflow(): boolean {
    return (this.#open().#sq.flags() & IORING_SQ_CQ_OVERFLOW) !== 0;
  }

  /**
   * Whether a system call that waits for nothing, as `drain` and `getEvents` make, would bring completions out, or some are
   * there to read. With `IORING_SETUP_DEFER_TASKRUN` this can be told with `IORING_SETUP_TASKRUN_FLAG` alone.
   */
  get pending(): boolean {
    const sq = this.#open().#sq;
    return this.#cq.ready() !== 0 || (sq.flags() & CQ_NEEDS_ENTER) !== 0;
  }

  /**
   * Operations submitted that have not had their last completion read, as far as completions can be counted. A zero-copy send
   * whose chain was broken before it counts as two that have.
   */
  get inFlight(): number {
    const sq = this.#open().#sq;
    return (sq.submitted() - this.#cq.finished) | 0;
  }

  /** Asks the kernel which operations it has. See io_uring_get_probe_ring(3). */
  probe(): Probe {
    this.#open();
    return probeRing((opcode, arg, nrArgs) => this.tryRegister(opcode, arg, nrArgs));
  }

  // ---------------------------------------------------------------------------------------------------- submitting

  /**
   * The next free entry, cleared, for a prep helper to fill; `null` when the queue is full, `submit` then makes room.
   * The entry is the caller's until it is submitted. See io_uring_get_sqe(3).
   */
  getSqe(): Sqe | null {
    return this.#sq.get();
  }

  /**
   * Hands every entry from `getSqe` to the kernel. No system call where there is none to hand over, nor with
   * `IORING_SETUP_SQPOLL` while the poller thread is awake.
   *
   * @returns how many entries the kernel took, or with a poller thread how many that had yet to take; or `-EAGAIN` or
   * `-EBUSY` when it took none for now (read completions, submit again), `-EINTR` after a signal
   * @throws UringError for every other failure. See io_uring_submit(3).
   */
  submit(): number {
    return this.submitWith(0, 0, 0, 0);
  }

  /**
   * As `submit`, and waits until completions are there. A timeout operation of the ring that expires ends the wait, too, however
   * few there are.
   *
   * @param count how many completions to wait for, at most what the queue holds; in one of mixed sizes two fewer
   * @param options `timeout` and `minWait` in milliseconds, `absolute`, `sigmask`
   * @returns how many entries the kernel took; where it took none, `-ETIME` when the time was up, `-EINTR` after a signal,
   * `-EAGAIN` or `-EBUSY`
   * @throws UringError for every other failure. See io_uring_submit_and_wait_timeout(3).
   */
  submitAndWait(count: number, options?: WaitOptions): number {
    if (count >>> 0 !== count) throw new RangeError(`a whole number of completions is needed, not ${count}`);
    if (options === undefined) return this.submitWith(count, IORING_ENTER_GETEVENTS, 0, 0);
    this.#open();
    const arg = this.#wait.set(options);
    return this.submitWith(count, IORING_ENTER_GETEVENTS | this.#wait.flags, arg, this.#wait.size);
  }

  /**
   * Hands every entry over and lets the kernel post what is pending, overflow included, without waiting.
   * See io_uring_submit_and_get_events(3).
   */
  submitAndGetEvents(): number {
    return this.submitWith(0, IORING_ENTER_GETEVENTS, 0, 0);
  }

  /** Lets the kernel post what is pending, overflow included; submits and waits for nothing. See io_uring_get_events(3). */
  getEvents(): number {
    this.#open();
    return this.enter(0, 0, IORING_ENTER_GETEVENTS, 0, 0);
  }

  /** Waits until the poller thread has made room in a full submission queue. See io_uring_sqring_wait(3). */
  sqringWait(): number {
    if (!this.#open().#poller) return 0;
    const sq = this.#sq;
    let result = 0;
    // The kernel's wait ends when the poller has read an entry, which is some time before it gives its place back. What was
    // not submitted it does not wait for at all.
    while (result >= 0 && sq.published === sq.tail && sq.spaceLeft() === 0) {
      result = this.enter(0, 0, IORING_ENTER_SQ_WAIT, 0, 0);
    }
    return result;
  }

  // No `#` from here on where every batch goes through: V8 checks the brand of `this` at each call of a `#` method.

  /** Hands every entry over, with the flags and the argument of `io_uring_enter(2)`, and what the queues' state adds to them. */
  protected submitWith(count: number, enterFlags: number, arg: number, argSize: number): number {
    if (this.#state !== "open") throw this.#closedError();
    const toSubmit = this.#sq.publish();
    let flags = enterFlags;
    if (this.#poller) {
      const sqFlags = this.#sq.flags();
      if ((sqFlags & IORING_SQ_NEED_WAKEUP) !== 0 && toSubmit !== 0) flags |= IORING_ENTER_SQ_WAKEUP;
      else if (flags === 0 && !this.#iopoll && (sqFlags & CQ_NEEDS_ENTER) === 0) return toSubmit;
      if ((sqFlags & CQ_NEEDS_ENTER) !== 0) flags |= IORING_ENTER_GETEVENTS;
    } else if (flags === 0) {
      if (this.#iopoll || (this.#sq.flags() & CQ_NEEDS_ENTER) !== 0) flags = IORING_ENTER_GETEVENTS;
      else if (toSubmit === 0) return 0;
    }
    return this.enter(toSubmit, count, flags, arg, argSize);
  }

  private enter(toSubmit: number, count: number, flags: number, arg: number, argSize: number): number {
    const cq = this.#cq;
    cq.publish();
    const wait = Math.min(count, cq.most);
    const result = this.#shim.enter(this.#enterFd, toSubmit, wait, flags | this.#enterFlags, arg, argSize);
    if (result >= 0) return result;
    if (result === -ETIME || result === -EINTR || result === -EAGAIN || result === -EBUSY) return result;
    if (this.#state !== "open") throw this.#closedError();
    throw enterError(-result, flags);
  }

  // ---------------------------------------------------------------------------------------------------- completing

  /**
   * Reads every completion that is ready, and consumes it. `res` is the operation's result, `-errno` for failure;
   * `flags` are `IORING_CQE_F_*` as a signed 32-bit integer; `userData` is exact up to 2^53 (`copyCqes` and
   * `forEachCqe` give all 64 bits).
   *
   * The callback may throw (completions handed out are consumed, the others stay), and may use the ring in any way: what
   * it submits, drains or closes takes effect at once.
   *
   * @returns how many completions there were
   */
  drain(callback: CompletionCallback): number {
    if (typeof callback !== "function") throw new TypeError("a function is needed to drain completions into");
    const cq = this.#cq;
    this.#reading++;
    try {
      const count = cq.drain(callback);
      return count === 0 && this.refill() ? cq.drain(callback) : count;
    } finally {
      this.#reading--;
      this.releaseViews();
    }
  }

  /**
   * Copies ready completions as they are, four words each: `user_data` low, `user_data` high, `res`, `flags`.
   *
   * @param out room for `out.length / 4` completions
   * @returns how many were copied, and consumed
   */
  copyCqes(out: Int32Array): number {
    if (!(out instanceof Int32Array)) throw new TypeError("an Int32Array is needed to copy completions into");
    let count = this.#cq.copy(out);
    if (count === 0 && this.refill()) count = this.#cq.copy(out);
    this.releaseViews();
    return count;
  }

  /** @internal Says whose the completions of entries are, whatever their callers have set: see `claimEntries`. */
  claimSqes(claims: Int32Array, count: number, flags: number): void {
    this.#sq.claim(claims, count, flags);
  }

  /** @internal As `drain`, each `user_data` by halves. */
  drainWords(reader: CompletionReader): number {
    const cq = this.#cq;
    this.#reading++;
    try {
      const count = cq.drainWords(reader);
      return count === 0 && this.refill() ? cq.drainWords(reader) : count;
    } finally {
      this.#reading--;
      this.releaseViews();
    }
  }

  /** The next completion, as a copy; `null` when none is ready. `cqAdvance(1)` consumes it. See io_uring_peek_cqe(3). */
  peekCqe(): Cqe | null {
    return this.#cq.peek() ?? (this.refill() ? this.#cq.peek() : null);
  }

  /**
   * Waits for a completion; the next one, as a copy. `cqAdvance(1)` consumes it. Submits nothing.
   *
   * @returns `null` when the time was up or a signal came. See io_uring_wait_cqe_timeout(3).
   */
  waitCqe(options?: WaitOptions): Cqe | null {
    const ready = this.peekCqe();
    if (ready !== null) return ready;
    const arg = options === undefined ? 0 : this.#wait.set(options);
    const flags = IORING_ENTER_GETEVENTS | (options === undefined ? 0 : this.#wait.flags);
    this.enter(0, 1, flags, arg, options === undefined ? 0 : this.#wait.size);
    return this.#cq.peek();
  }

  /**
   * Looks at every ready completion without consuming any. The `Cqe` is the same object each time.
   *
   * @returns how many slots they take, to give to `cqAdvance`: one each, two for large ones in a ring of mixed sizes.
   * See io_uring_for_each_cqe(3).
   */
  forEachCqe(callback: (cqe: Cqe) => void): number {
    if (typeof callback !== "function") throw new TypeError("a function is needed to show completions to");
    const cq = this.#open().#cq;
    this.#reading++;
    try {
      const slots = cq.each(callback);
      return slots === 0 && this.#state === "open" && this.refill() ? cq.each(callback) : slots;
    } finally {
      this.#reading--;
    }
  }

  /** Consumes completions that `peekCqe`, `waitCqe` or `forEachCqe` showed. See io_uring_cq_advance(3). */
  cqAdvance(slots: number): void {
    this.#open().#cq.advance(slots);
    this.releaseViews();
  }

  /** Looks for completions that need a system call to come out: task work, overflow, polled devices. */
  private refill(): boolean {
    this.#open();
    if (!this.#iopoll && (this.#sq.flags() & CQ_NEEDS_ENTER) === 0) return false;
    this.enter(0, 0, IORING_ENTER_GETEVENTS, 0, 0);
    return this.#cq.ready() > 0;
  }

  /** With every operation ended, what callers gave them is the callers' own again. */
  private releaseViews(): void {
    const sq = this.#sq;
    if (this.#cq.finished === sq.tail && this.#state === "open" && !this.#addressable && !sq.miscounted) {
      this.#held.releaseIdle();
    }
  }

  // ---------------------------------------------------------------------------------------------------- beginning and end

  /**
   * Enables a ring that was set up with `IORING_SETUP_R_DISABLED`. With `IORING_SETUP_SINGLE_ISSUER` this thread becomes
   * its owner. See io_uring_enable_rings(3).
   */
  enableRings(): void {
    const result = this.attempt(IORING_REGISTER_ENABLE_RINGS, 0, 0);
    if (result < 0) throw registerError(-result, IORING_REGISTER_ENABLE_RINGS, ENABLE_HINT);
    this.#enabled = true;
    if (!this.hasIndex) this.registerIndex();
  }

  /**
   * Gives a disabled ring up for another thread to adopt. This object is closed, the ring is not.
   *
   * @returns a plain object to post to a Worker
   * @throws TypeError for a ring that is enabled, has entries handed out, or has no fd or memory another thread could use
   */
  detach(): RingTransfer {
    this.#open();
    if (this.#enabled)
      throw new TypeError("only a ring with IORING_SETUP_R_DISABLED that is not yet enabled can be detached");
    if (this.#fd < 0) throw new TypeError("a ring without an fd can not leave the thread that made it");
    if (this.#sq.tail !== 0) throw new TypeError("entries of this ring have been handed out");
    const transfer = transferOf(this.#setup);
    if (this.hasIndex) this.unregisterIndex();
    this.#end("detached");
    return transfer;
  }

  /**
   * Closes the ring by the protocol that keeps the kernel from writing into memory given back: takes no more entries,
   * cancels every operation, waits for the last one to end, closes. Completions not yet read are discarded. Does nothing
   * the second time.
   *
   * @param options `deadline`: milliseconds to wait for operations that can not be cancelled (reads and writes of
   * files under way), 1000 unless given
   * @returns `leaked: 0` when the kernel is done with everything
   * @throws UringError EEXIST on a thread that does not own the ring
   */
  close(options: { deadline?: number } = {}): CloseResult {
    const { deadline = 1000 } = options;
    checkDeadline(deadline);
    return this.closeSeeing(deadline, { completion() {} });
  }

  /** @internal As `close`. `seen` is told of what completes meanwhile; it must not throw, nor use the ring. */
  protected closeSeeing(deadline: number, seen: CompletionReader): CloseResult {
    if (this.#state !== "open") return { leaked: 0 };
    this.#state = "closing";
    let leaked = 0;
    if (this.#enabled) {
      try {
        leaked = quiesce({
          sq: this.#sq,
          cq: this.#cq,
          wait: this.#wait,
          poller: this.#poller,
          deadline,
          seen,
          register: (opcode, arg, nrArgs) => this.tryRegister(opcode, arg, nrArgs),
          enter: (toSubmit, count, flags, arg, argSize) =>
            this.#shim.enter(this.#enterFd, toSubmit, count, flags | this.#enterFlags, arg, argSize),
        });
      } catch (error) {
        this.#state = "open";
        throw error;
      }
    }
    this.#shut();
    if (leaked === 0) {
      this.#held.releaseAll();
      for (const release of this.#whenClosed) release();
    }
    return { leaked };
  }

  /** Closes the ring, waiting up to a second for what can not be cancelled. */
  [Symbol.dispose](): void {
    this.close();
  }

  #shut(): void {
    if (this.hasIndex) this.unregisterIndex();
    const fd = this.#fd;
    this.#end("closed");
    closeRing(this.#shim, fd, this.#setup.memory);
  }

  #end(state: "closed" | "detached"): void {
    this.#state = state;
    this.#fd = -1;
    this.#sq.close(() => this.#closedError());
    this.#cq.close();
    this.#wait.release();
  }

  #open(): this {
    if (this.#state !== "open") throw this.#closedError();
    return this;
  }

  #closedError(): TypeError {
    return new TypeError(`the ring is ${this.#state}`);
  }

  // ---------------------------------------------------------------------------------------------------- registering

  /** Throws a `TypeError` when the ring is closed. */
  protected assertOpen(): void {
    this.#open();
  }

  /** Makes a call of `io_uring_register(2)` on the open ring; its result or `-errno`. */
  protected attempt(opcode: number, arg: number, nrArgs: number): number {
    return this.#open().tryRegister(opcode, arg, nrArgs);
  }

  /** Makes a call of `io_uring_register(2)` on the open or closing ring; its result or `-errno`. */
  protected tryRegister(opcode: number, arg: number, nrArgs: number): number {
    if (this.#fd >= 0) return this.#shim.register(this.#fd, opcode, arg, nrArgs);
    const byIndex = (opcode | IORING_REGISTER_USE_REGISTERED_RING) >>> 0;
    return this.#shim.register(this.#enterFd, byIndex, arg, nrArgs);
  }

  /** Gives every `io_uring_enter(2)` from now on a flag, or no longer. */
  protected setEnterFlag(flag: number, on: boolean): void {
    this.#open();
    this.#enterFlags = on ? this.#enterFlags | flag : this.#enterFlags & ~flag;
  }

  /** The flags that this side tells the kernel beside the completion queue, `IORING_CQ_*`. */
  protected get cqFlags(): number {
    const { memory, params } = this.#open().#setup;
    return Atomics.load(memory.rings, params.cqOff.flags);
  }

  protected set cqFlags(flags: number) {
    const { memory, params } = this.#open().#setup;
    Atomics.store(memory.rings, params.cqOff.flags, flags);
  }

  /** The fd, for calls that hand it to nobody: the views of operations are kept no longer for it. -1 for none. */
  protected get ownFd(): number {
    return this.#fd;
  }

  /** How a registration call on another ring names this one: by its fd, or its index in the thread's table of rings. */
  protected get reference(): { readonly fd: number; readonly registered: boolean } {
    const fd = this.#open().#fd;
    return fd >= 0 ? { fd, registered: false } : { fd: this.#enterFd, registered: true };
  }

  /** Announces completions that no operation of this ring causes, so that none is taken for an operation's end. */
  protected expectCompletions(count: number): void {
    this.#cq.finished = (this.#cq.finished - count) | 0;
  }

  /** Keeps memory reachable until no operation is in flight: what operations under way may still use. */
  protected hold(memory: object): void {
    this.#held.hold(memory);
  }

  /** Keeps memory reachable until the ring is closed. */
  protected holdForGood(memory: object): void {
    this.#held.holdForGood(memory);
  }

  /** Calls back once no operation is in flight, at once if none is; never for a ring that is closed with some left. */
  protected whenIdle(release: () => void): void {
    this.#held.whenIdle(release);
    this.releaseViews();
  }

  /** Calls back once the ring is closed and the kernel is done with it, which is never where operations are leaked. */
  protected whenClosed(release: () => void): void {
    this.#whenClosed.push(release);
  }

  /** Moves the ring to memory of another size. */
  protected resize(options: ResizeOptions): void {
    const sizes = sizesOf(options);
    this.#open();
    if (this.#reading > 0)
      throw new TypeError("a ring can not be resized from a callback that reads its completions");
    this.#cq.publish();
    const before = this.#setup;
    const ring: ResizableRing = {
      setup: before,
      fd: this.#fd,
      pending: this.#sq.ready(),
      register: (opcode, arg, nrArgs) => this.tryRegister(opcode, arg, nrArgs),
      lost: () => this.#shut(),
    };
    const setup = resizeRing(ring, sizes);
    const sq = new SubmissionQueue(setup.params, setup.memory, this.#held);
    sq.takeOver(this.#sq);
    const cq = new CompletionQueue(setup.params, setup.memory);
    cq.takeOver(this.#cq);
    this.#sq.close(
      () => new TypeError("the ring was resized, which has moved this entry: fill entries before"),
    );
    this.#cq.close();
    this.#setup = setup;
    this.#sq = sq;
    this.#cq = cq;
    before.memory.release();
  }

  /** Whether enters go by an index into the thread's table of rings. */
  protected get hasIndex(): boolean {
    return (this.#enterFlags & IORING_ENTER_REGISTERED_RING) !== 0;
  }

  /**
   * Saves each enter the look-up of the fd. A thread has 16 places: without one the fd itself does.
   *
   * @returns 1 or `-errno`
   */
  protected registerIndex(): number {
    const index = takePlace(this.#fd, (...call) => this.tryRegister(...call));
    if (index < 0) return index;
    this.#enterFd = index;
    this.#enterFlags |= IORING_ENTER_REGISTERED_RING;
    return 1;
  }

  /** Gives the thread's place for a ring back; 1 or `-errno`. */
  protected unregisterIndex(): number {
    const result = givePlaceBack(this.#enterFd, (...call) => this.tryRegister(...call));
    if (result < 0) return result;
    this.#enterFd = this.#fd;
    this.#enterFlags &= ~IORING_ENTER_REGISTERED_RING;
    return 1;
  }

  /** Closes the fd of a ring that has an index. */
  protected closeFd(): void {
    this.#shim.close(this.#fd);
    this.#fd = -1;
  }
}
