import * as abi from "../abi/index.ts";
import {
  failsLink,
  hasName,
  isOperation,
  isRead,
  isWrite,
  isZeroCopy,
  needsFile,
  type Target,
  targetsOf,
  usesRegistered,
  usualOutcome,
} from "./behaviours.ts";
import { checkFlags, isInvalid } from "./checks.ts";
import type { SimulatedFile } from "./descriptors.ts";
import { takeEffect } from "./effects.ts";
import { type Outcome, SimulatedOperation } from "./operation.ts";
import type { SimulatedRing } from "./ring.ts";
import { install } from "./slots.ts";
import type { World } from "./world.ts";

const ENOENT = 2;
const EBADF = 9;
const EAGAIN = 11;
const EFAULT = 14;
const EINVAL = 22;
const ETIME = 62;
const EBADFD = 77;
const EOPNOTSUPP = 95;
const EALREADY = 114;
const ECANCELED = 125;

const LINKED = abi.IOSQE_IO_LINK | abi.IOSQE_IO_HARDLINK;
const POLLIN = 1;
/** The part of a poll's flags that is the events it waits for. */
const POLL_EVENTS = 0xffff;

/** An eventfd's count has so many bytes. */
const EVENTFD_COUNT = 8;

/** Milliseconds that an operation takes at most when nobody says. */
const USUAL_DELAY = 2;

/** Which operations a cancellation is for. */
export interface CancelMatch {
  /** `IORING_ASYNC_CANCEL_*`. */
  readonly flags: number;
  readonly userData: bigint;
  readonly fd: number;
  readonly opcode: number;
}

/** Carries operations out: takes them from the queues, lets time pass for them, posts their completions. */
export class Executor {
  readonly #world: World;
  #operations = 0;
  /** Chains to be begun, after what is going on has come to its end. */
  readonly #chains: SimulatedOperation[][] = [];
  #beginning = false;

  constructor(world: World) {
    this.#world = world;
  }

  // ------------------------------------------------------------------------------------------------ submission

  /** Takes up to so many entries; how many it took. */
  submit(ring: SimulatedRing, count: number): number {
    const goesOn = (ring.flags & abi.IORING_SETUP_SUBMIT_ALL) !== 0;
    let taken = 0;
    let chain: SimulatedOperation[] = [];
    let refused = false;
    while (taken < count && ring.submitted > 0) {
      const entry = ring.take();
      if (entry === undefined) break;
      taken++;
      const operation = new SimulatedOperation(++this.#operations, ring, entry);
      this.#world.record("submit", ring, { operation: operation.id, name: operation.name });
      ring.inFlight.add(operation);
      operation.chain = chain;
      const errno = this.#check(operation, chain.at(-1));
      if (errno !== 0) operation.outcome = { res: -errno };
      refused ||= errno !== 0;
      chain.push(operation);
      // A chain is taken to its end whatever is refused within it: the next call must not begin in its middle.
      if (operation.has(LINKED)) continue;
      this.#queue(chain, refused);
      chain = [];
      refused = false;
      if (errno !== 0 && !goesOn) break;
    }
    if (chain.length > 0) this.#queue(chain, refused);
    return taken;
  }

  /** What an operation is refused for at once, as a positive errno; 0 for nothing. Takes its memory. */
  #check(operation: SimulatedOperation, before: SimulatedOperation | undefined): number {
    const { ring, opcode } = operation;
    if (!isOperation(opcode) || this.#world.options.refuse?.operations?.includes(opcode)) return EINVAL;
    const errno = checkFlags(operation);
    if (errno !== 0) return errno;
    if (operation.has(abi.IOSQE_CQE_SKIP_SUCCESS)) ring.skips = true;
    if (ring.skips && operation.has(abi.IOSQE_IO_DRAIN)) return EOPNOTSUPP;
    if (isInvalid(operation, this.#world.memory)) return EINVAL;
    if (opcode === abi.IORING_OP_LINK_TIMEOUT && !isLimited(before)) return EINVAL;
    this.#name(operation);
    operation.targets = targetsOf(operation, this.#world.memory);
    return operation.targets.every((target) => this.#take(operation, target)) ? 0 : EFAULT;
  }

  #name(operation: SimulatedOperation): void {
    if (!hasName(operation)) return;
    const { names } = operation.ring;
    const other = names.get(operation.userData64);
    if (other !== undefined) {
      this.#world.violated("shared-name", `${operation} was submitted while ${other} is in flight`);
    }
    names.set(operation.userData64, operation);
  }

  #unname(operation: SimulatedOperation): void {
    const { names } = operation.ring;
    if (names.get(operation.userData64) === operation) names.delete(operation.userData64);
  }

  #take(operation: SimulatedOperation, { address, length, writes, copied }: Target): boolean {
    const { memory } = this.#world;
    if (length === 0) return true;
    if (memory.bytes(address, length) === undefined) {
      this.#world.violated(
        "unknown-memory",
        `${operation} was given ${length} bytes at ${address}, which are none`,
      );
      return false;
    }
    if (copied === true) return true;
    const claim = { address, length, writes, owner: operation };
    const clash = memory.claim(claim);
    operation.claims.push(claim);
    // Those of a chain run one after the other.
    if (clash !== undefined && clash.owner.chain !== operation.chain) {
      const verb = writes ? "writes" : "reads";
      this.#world.violated(
        "shared-memory",
        `${operation} ${verb} ${length} bytes at ${address}, which ${clash.owner} is using`,
      );
    }
    return true;
  }

  #queue(chain: SimulatedOperation[], refused: boolean): void {
    const { ring } = chain[0] as SimulatedOperation;
    if (refused) {
      for (const operation of chain.splice(0)) {
        this.#end(operation, operation.outcome?.res ?? -ECANCELED, 0);
      }
      return;
    }
    if (ring.deferred.length === 0 && !chain.some((operation) => operation.has(abi.IOSQE_IO_DRAIN))) {
      this.#begin(chain);
      return;
    }
    ring.deferred.push(chain);
    this.#undefer(ring);
  }

  /** Begins what waited for others to end, as far as they have. */
  #undefer(ring: SimulatedRing): void {
    let drain = false;
    for (let first = true; ring.deferred.length > 0; first = false) {
      const chain = ring.deferred[0] as SimulatedOperation[];
      drain ||= chain.some((operation) => operation.has(abi.IOSQE_IO_DRAIN));
      const waiting = ring.deferred.reduce((sum, { length }) => sum + length, 0);
      if ((drain || first) && ring.inFlight.size !== waiting) return;
      ring.deferred.shift();
      this.#begin(chain);
    }
  }

  /** Begins a chain, though not within what another one has just caused: chains may be long. */
  #begin(chain: SimulatedOperation[]): void {
    this.#chains.push(chain);
    if (this.#beginning) return;
    this.#beginning = true;
    try {
      for (let next = this.#chains.shift(); next !== undefined; next = this.#chains.shift())
        this.#start(next);
    } finally {
      this.#beginning = false;
    }
  }

  #start(chain: SimulatedOperation[]): void {
    const [operation, follower] = chain as [SimulatedOperation, SimulatedOperation | undefined];
    operation.state = "running";
    this.#world.record("start", operation.ring, { operation: operation.id, name: operation.name });
    if (follower?.opcode === abi.IORING_OP_LINK_TIMEOUT) this.#limit(operation, follower);
    this.#hold(operation);
    if (needsFile(operation)) {
      operation.file = this.fileOf(
        operation.ring,
        operation.fd,
        operation.has(abi.IOSQE_FIXED_FILE),
        operation,
      );
      if (operation.file === undefined) {
        this.#fail(operation, EBADF);
        return;
      }
    }
    if (usesRegistered(operation) && !withinRegistered(operation)) {
      this.#fail(operation, EFAULT);
      return;
    }
    this.#perform(operation);
  }

  /** Ends an operation that can not be begun. One that is zero-copy has its second completion even so. */
  #fail(operation: SimulatedOperation, errno: number): void {
    if (isZeroCopy(operation)) this.#notify(operation, { res: -errno });
    else this.#end(operation, -errno, 0);
  }

  /** Keeps what is registered and used by an operation from being gone before that has ended. */
  #hold(operation: SimulatedOperation): void {
    const { ring, fd, bufIndex, resources } = operation;
    const file = operation.has(abi.IOSQE_FIXED_FILE) && needsFile(operation) ? ring.files?.[fd] : undefined;
    const buffer = usesRegistered(operation) ? ring.buffers?.[bufIndex] : undefined;
    for (const resource of [file, buffer]) if (resource !== undefined) resources.push(resource.hold());
  }

  /** The file of an fd or of a slot; `by` is the operation that uses it. */
  fileOf(
    ring: SimulatedRing,
    fd: number,
    fixed: boolean,
    by?: SimulatedOperation,
  ): SimulatedFile | undefined {
    if (fixed) return ring.files?.[fd]?.value;
    const { descriptors } = this.#world;
    if (by !== undefined && descriptors.isClosed(fd))
      this.#world.violated("closed-fd", `${by} uses fd ${fd}, which is closed`);
    return descriptors.get(fd);
  }

  // ------------------------------------------------------------------------------------------------ running

  /** Has an operation come to something, once or, for one with many completions, once more. */
  #perform(operation: SimulatedOperation): void {
    const { random, options } = this.#world;
    if (this.#control(operation)) return;
    const { file } = operation;
    if (file?.kind === "eventfd") {
      const polls = operation.opcode === abi.IORING_OP_POLL_ADD && wantsInput(operation);
      if (polls || isRead(operation)) {
        this.#awaitSignal(operation, file);
        return;
      }
    }
    const outcome =
      file?.kind === "eventfd" && isWrite(operation)
        ? { res: operation.length }
        : (options.policy?.(operation, random) ?? usualOutcome(operation, random));
    this.#schedule(operation, outcome);
  }

  #schedule(operation: SimulatedOperation, outcome: Outcome): void {
    const { random, timeline } = this.#world;
    operation.outcome = outcome;
    const delay = outcome.delay ?? (random.oneIn(4) ? 0 : random.next() * USUAL_DELAY);
    if (delay === 0) this.#finish(operation, outcome);
    else if (delay < Number.POSITIVE_INFINITY)
      operation.next = timeline.after(delay, () => this.#arrive(operation, outcome));
  }

  /** An operation comes to something, of which the program is to be told. */
  #arrive(operation: SimulatedOperation, outcome: Outcome): void {
    operation.next = undefined;
    if (outcome.more !== true && !isZeroCopy(operation)) operation.state = "completing";
    operation.ring.later(() => this.#finish(operation, outcome));
  }

  /**
   * Waits until an eventfd can be read, unless it is told not to; of several who comes first gets it. That an eventfd does
   * not block makes no difference, io_uring waits all the same.
   */
  #awaitSignal(operation: SimulatedOperation, file: SimulatedFile): void {
    const { random, timeline } = this.#world;
    const { multishot: more } = operation;
    const polls = operation.opcode === abi.IORING_OP_POLL_ADD;
    const waits = polls || (operation.opFlags & abi.RWF_NOWAIT) === 0;
    if (!polls && operation.length < EVENTFD_COUNT) {
      this.#schedule(operation, { res: -EINVAL });
      return;
    }
    const look = () => {
      operation.next = undefined;
      if (file.readable) {
        const data = polls ? new Uint8Array(0) : file.take();
        this.#arrive(operation, { res: polls ? POLLIN : data.length, data, more });
      } else if (waits) this.#awaitSignal(operation, file);
      else this.#arrive(operation, { res: -EAGAIN });
    };
    const wake = () => {
      operation.stopWaiting = undefined;
      operation.next = timeline.after(random.next() * USUAL_DELAY, look);
    };
    // A poll that goes on tells of what is new alone.
    const news = file.readable && !(polls && operation.shots > 0);
    if (news || !waits) wake();
    else {
      file.waiters.add(wake);
      operation.stopWaiting = () => file.waiters.delete(wake);
    }
  }

  /** Operations that are about others, or about time; whether this is one. */
  #control(operation: SimulatedOperation): boolean {
    const { ring, opFlags } = operation;
    const done = (res: number) => {
      this.#finish(operation, { res });
      return true;
    };
    switch (operation.opcode) {
      case abi.IORING_OP_TIMEOUT:
        this.#time(operation);
        return true;
      case abi.IORING_OP_ASYNC_CANCEL: {
        const match = { flags: opFlags, userData: operation.addr64, fd: operation.fd, opcode: operation.len };
        return done(this.cancel(ring, match, operation));
      }
      case abi.IORING_OP_TIMEOUT_REMOVE:
      case abi.IORING_OP_POLL_REMOVE:
        return done(this.#change(operation));
      case abi.IORING_OP_MSG_RING:
        return done(this.#message(operation));
      default:
        return false;
    }
  }

  #time(operation: SimulatedOperation): void {
    const { timeline } = this.#world;
    if (operation.off !== 0 && !operation.multishot && operation.turn === Number.POSITIVE_INFINITY) {
      operation.turn = operation.ring.counted + operation.off;
      operation.ring.counting.add(operation);
    }
    operation.next = timeline.after(this.#delayOf(operation, operation.addr), () => {
      operation.ring.expired++;
      const turns = operation.off;
      const more = operation.multishot && (turns === 0 || operation.shots + 1 < turns);
      this.#arrive(operation, { res: -ETIME, more });
    });
  }

  /** The time from now that a timespec says. */
  #delayOf(operation: SimulatedOperation, address: number): number {
    const view = this.#world.memory.view(address, abi.__kernel_timespec.sizeof);
    const time = view === undefined ? 0 : milliseconds(view, 0);
    return (operation.opFlags & abi.IORING_TIMEOUT_ABS) !== 0 ? time - this.#world.timeline.now : time;
  }

  /** Arms the time limit of an operation. */
  #limit(operation: SimulatedOperation, limit: SimulatedOperation): void {
    limit.state = "running";
    operation.limit = limit;
    limit.next = this.#world.timeline.after(this.#delayOf(limit, limit.addr), () => {
      operation.limit = undefined;
      limit.state = "completing";
      limit.next = undefined;
      const result = this.#tryCancel(operation);
      limit.ring.later(() => this.#end(limit, result === 0 ? -ETIME : result, 0));
    });
  }

  /** `TIMEOUT_REMOVE` and `POLL_REMOVE`: ends another operation or changes it. */
  #change(operation: SimulatedOperation): number {
    const timeouts = operation.opcode === abi.IORING_OP_TIMEOUT_REMOVE;
    const limits = (operation.opFlags & abi.IORING_LINK_TIMEOUT_UPDATE) !== 0;
    const timeout = limits ? abi.IORING_OP_LINK_TIMEOUT : abi.IORING_OP_TIMEOUT;
    const wanted = timeouts ? timeout : abi.IORING_OP_POLL_ADD;
    const target = [...operation.ring.inFlight].find(
      ({ opcode, userData64, state }) =>
        userData64 === operation.addr64 && state === "running" && opcode === wanted,
    );
    if (target === undefined) return -ENOENT;
    if (!timeouts) return this.#changePoll(operation, target);
    if ((operation.opFlags & abi.IORING_TIMEOUT_UPDATE_MASK) === 0) return this.#tryCancel(target);
    if (target.next !== undefined) {
      const { timeline } = this.#world;
      const run = target.next.run as () => void;
      timeline.drop(target.next);
      target.next = timeline.after(this.#delayOf(operation, operation.off), run);
    }
    return 0;
  }

  /** What `POLL_REMOVE` does to a poll: ends it, gives it another name, has it wait for something else. */
  #changePoll({ len, opFlags, off64 }: SimulatedOperation, poll: SimulatedOperation): number {
    const renames = (len & abi.IORING_POLL_UPDATE_USER_DATA) !== 0;
    const arms = (len & abi.IORING_POLL_UPDATE_EVENTS) !== 0;
    if (!renames && !arms) return this.#tryCancel(poll);
    if (renames) {
      this.#unname(poll);
      poll.userData64 = off64;
      this.#name(poll);
    }
    if (arms) {
      poll.opFlags = ((poll.opFlags & ~POLL_EVENTS) | (opFlags & POLL_EVENTS)) >>> 0;
      if (poll.next !== undefined) this.#world.timeline.drop(poll.next);
      poll.next = undefined;
      poll.stopWaiting?.();
      this.#perform(poll);
    }
    return 0;
  }

  /** Posts a completion to another ring, or gives it a file. */
  #message(operation: SimulatedOperation): number {
    const { ring, file, opFlags } = operation;
    const target = [...this.#world.everyRing].find((other) => other.file === file);
    if (target === undefined || !target.enabled) return -EBADFD;
    const passed = (opFlags & abi.IORING_MSG_RING_FLAGS_PASS) !== 0 ? operation.fileIndex : 0;
    let res = operation.len;
    if (operation.addr === abi.IORING_MSG_SEND_FD) {
      if (target === ring) return -EINVAL;
      const sent = ring.files?.[operation.addr3]?.value;
      if (sent === undefined) return -EBADF;
      res = install(this.#world, target, sent, operation.fileIndex);
      if (res < 0) return res;
    }
    if ((opFlags & abi.IORING_MSG_RING_CQE_SKIP) === 0) {
      target.later(() => this.#post(target, operation.off64, res, passed | 0));
    }
    return operation.addr === abi.IORING_MSG_SEND_FD ? res : 0;
  }

  // ------------------------------------------------------------------------------------------------ cancelling

  /** Cancels what matches; 0, how many of several, or `-errno`. */
  cancel(ring: SimulatedRing, match: CancelMatch, by?: SimulatedOperation): number {
    const { flags } = match;
    const several = (flags & (abi.IORING_ASYNC_CANCEL_ALL | abi.IORING_ASYNC_CANCEL_ANY)) !== 0;
    const fixed = (flags & abi.IORING_ASYNC_CANCEL_FD_FIXED) !== 0;
    const byFile = (flags & abi.IORING_ASYNC_CANCEL_FD) !== 0;
    if (byFile && this.fileOf(ring, match.fd, fixed) === undefined) return -EBADF;
    let count = 0;
    for (const target of [...ring.inFlight]) {
      if (
        target === by ||
        target.opcode === abi.IORING_OP_LINK_TIMEOUT ||
        !this.#matches(ring, target, match)
      ) {
        continue;
      }
      const result = this.#tryCancel(target);
      if (result === -ENOENT) continue;
      if (!several) return result;
      count++;
    }
    return several ? count : -ENOENT;
  }

  #matches(
    ring: SimulatedRing,
    target: SimulatedOperation,
    { flags, userData, fd, opcode }: CancelMatch,
  ): boolean {
    const has = (flag: number) => (flags & flag) !== 0;
    if (has(abi.IORING_ASYNC_CANCEL_ANY)) return true;
    const byFd = has(abi.IORING_ASYNC_CANCEL_FD);
    const byOpcode = has(abi.IORING_ASYNC_CANCEL_OP);
    if (byFd) {
      const file = this.fileOf(ring, fd, has(abi.IORING_ASYNC_CANCEL_FD_FIXED));
      if (target.file !== file) return false;
    }
    if (byOpcode && target.opcode !== opcode) return false;
    const byName = has(abi.IORING_ASYNC_CANCEL_USERDATA) || !(byFd || byOpcode);
    return !byName || target.userData64 === userData;
  }

  /** Ends an operation if it is in a state to be ended, which the seed may decide: 0 or `-errno`. */
  #tryCancel(operation: SimulatedOperation): number {
    const { random, timeline } = this.#world;
    if (operation.state !== "running") return -ENOENT;
    this.#world.record("cancel", operation.ring, { operation: operation.id, name: operation.name });
    const cancellable = operation.outcome?.cancellable ?? "race";
    if (cancellable === "never") return -EALREADY;
    const { next } = operation;
    const runs = next !== undefined && operation.opcode !== abi.IORING_OP_TIMEOUT;
    if (runs && cancellable === "race") {
      const fate = random.below(3);
      if (fate === 1) return -EALREADY;
      if (fate === 2) {
        // It comes to its end just now.
        const { run } = next;
        timeline.drop(next);
        run?.();
        return -ENOENT;
      }
    }
    if (next !== undefined) timeline.drop(next);
    operation.next = undefined;
    operation.stopWaiting?.();
    operation.state = "completing";
    const cancelled = () => this.#finish(operation, { res: -ECANCELED });
    // Its completion may come before the cancellation's, or some time after it.
    if (random.oneIn(2)) operation.ring.later(cancelled);
    else timeline.after(random.next() * USUAL_DELAY, () => operation.ring.later(cancelled));
    return 0;
  }

  /** A ring was closed: what it had under way is ended, by and by, and its memory written until then. */
  abandon(ring: SimulatedRing): void {
    const { random, timeline } = this.#world;
    if (ring.inFlight.size === 0) this.#world.everyRing.delete(ring);
    ring.deferred.length = 0;
    for (const operation of ring.inFlight) {
      timeline.after(random.next() * 10 * USUAL_DELAY, () => this.#finish(operation, { res: -ECANCELED }));
    }
  }

  // ------------------------------------------------------------------------------------------------ completing

  /** Posts what an operation has come to. */
  #finish(operation: SimulatedOperation, outcome: Outcome): void {
    if (operation.state === "done") return;
    const { ring } = operation;
    if (isZeroCopy(operation) && ((outcome.flags ?? 0) & abi.IORING_CQE_F_NOTIF) === 0) {
      this.#sent(operation, outcome);
      return;
    }
    const [res, flags] = takeEffect(this.#world, operation, outcome);
    const ending = res < 0 && res !== -ETIME;
    // Linux ends what has several completions when there is no room for one of them.
    const more = outcome.more === true && !ending && (ring.hasRoom || operation.state !== "running");
    if (!more) {
      this.#end(operation, res, flags);
      return;
    }
    operation.shots++;
    this.#post(ring, operation.userData64, res, flags | abi.IORING_CQE_F_MORE, operation);
    if (operation.state === "running") this.#perform(operation);
  }

  /** A zero-copy send has sent or failed, then perhaps without a second completion. */
  #sent(operation: SimulatedOperation, outcome: Outcome): void {
    if (outcome.res < 0 && this.#world.random.oneIn(2)) this.#end(operation, outcome.res, outcome.flags ?? 0);
    else this.#notify(operation, outcome);
  }

  /** Posts the first of a zero-copy send's two completions, and the second by and by. */
  #notify(operation: SimulatedOperation, outcome: Outcome): void {
    const { random, timeline } = this.#world;
    operation.state = "completing";
    const flags = outcome.flags ?? 0;
    operation.shots++;
    this.#post(operation.ring, operation.userData64, outcome.res, flags | abi.IORING_CQE_F_MORE, operation);
    const released: Outcome = { res: 0, flags: abi.IORING_CQE_F_NOTIF };
    timeline.after(random.next() * USUAL_DELAY, () =>
      operation.ring.later(() => this.#finish(operation, released)),
    );
    this.#follow(operation, outcome.res);
  }

  /** The last completion, and what comes after it. */
  #end(operation: SimulatedOperation, res: number, flags: number): void {
    const { ring } = operation;
    if (operation.state === "done") return;
    operation.state = "done";
    if (operation.next !== undefined) this.#world.timeline.drop(operation.next);
    operation.stopWaiting?.();
    for (const claim of operation.claims.splice(0)) this.#world.memory.release(claim);
    ring.inFlight.delete(operation);
    ring.counting.delete(operation);
    this.#unname(operation);
    const disarmed = operation.opcode === abi.IORING_OP_LINK_TIMEOUT && res === -ECANCELED;
    const failed = failsLink(operation, res) && !disarmed;
    if (!operation.silent && (failed || !operation.has(abi.IOSQE_CQE_SKIP_SUCCESS))) {
      this.#post(ring, operation.userData64, res, flags, operation);
    }
    for (const resource of operation.resources.splice(0)) resource.release();
    if ((flags & abi.IORING_CQE_F_NOTIF) === 0) this.#follow(operation, res);
    this.#undefer(ring);
    if (ring.closed && ring.inFlight.size === 0) this.#world.everyRing.delete(ring);
  }

  /** Begins or ends what is linked to an operation. */
  #follow(operation: SimulatedOperation, res: number): void {
    const { chain, limit } = operation;
    if (limit !== undefined) {
      operation.limit = undefined;
      this.#end(limit, -ECANCELED, 0);
    }
    if (operation.opcode === abi.IORING_OP_LINK_TIMEOUT || chain[0] !== operation) return;
    chain.shift();
    while (chain[0]?.opcode === abi.IORING_OP_LINK_TIMEOUT || chain[0]?.state === "done") chain.shift();
    if (chain.length === 0) return;
    if (!failsLink(operation, res) || operation.has(abi.IOSQE_IO_HARDLINK)) {
      this.#begin(chain);
      return;
    }
    const silent = operation.has(abi.IOSQE_CQE_SKIP_SUCCESS);
    for (const follower of chain.splice(0)) {
      follower.silent = silent;
      this.#end(follower, -ECANCELED, 0);
    }
  }

  /** Posts a completion that is of no operation. */
  tell(ring: SimulatedRing, userData: bigint): void {
    this.#post(ring, userData, 0, 0);
  }

  #post(
    ring: SimulatedRing,
    userData: bigint,
    res: number,
    flags: number,
    operation?: SimulatedOperation,
  ): void {
    const about = operation === undefined ? {} : { operation: operation.id, name: operation.name };
    this.#world.record("post", ring, { ...about, res, flags });
    ring.post(userData, res, flags);
    for (const timeout of ring.counting) {
      if (ring.counted < timeout.turn || timeout.state !== "running") continue;
      if (timeout.next !== undefined) this.#world.timeline.drop(timeout.next);
      ring.expired++;
      this.#arrive(timeout, { res: 0 });
    }
  }
}

/** What a timespec says. */
export function milliseconds(view: DataView, at: number): number {
  return Number(view.getBigInt64(at, true)) * 1000 + Number(view.getBigInt64(at + 8, true)) / 1e6;
}

/** Whether the memory of an operation is within the registered buffer that it names. */
function withinRegistered({ ring, bufIndex, targets }: SimulatedOperation): boolean {
  const buffer = ring.buffers?.[bufIndex]?.value;
  if (buffer === undefined) return false;
  const end = buffer.address + buffer.length;
  return targets.every(
    ({ address, length, data }) => data !== true || (address >= buffer.address && address + length <= end),
  );
}

/** Whether what follows an operation may be its time limit: it is linked to it, and is no limit itself. */
function isLimited(operation: SimulatedOperation | undefined): boolean {
  return operation?.has(LINKED) === true && operation.opcode !== abi.IORING_OP_LINK_TIMEOUT;
}

function wantsInput({ opFlags }: SimulatedOperation): boolean {
  return opFlags === 0 || (opFlags & POLLIN) !== 0;
}
