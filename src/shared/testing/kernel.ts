import { runtime } from "#runtime";
import * as abi from "../abi/index.ts";
import { UringUnavailableError } from "../errors.ts";
import { Pinned } from "../ring/pinned.ts";
import type { Runtime, Shim, Watch } from "../runtime.ts";
import { SimulatedFile } from "./descriptors.ts";
import { ERRNOS } from "./errnos.ts";
import { Executor, milliseconds } from "./executor.ts";
import type { SimulatedOperation } from "./operation.ts";
import { register } from "./registration.ts";
import { replace } from "./replace.ts";
import { type SimulatedRing, setUpRing } from "./ring.ts";
import { type KernelOptions, type TraceEvent, type Violation, World } from "./world.ts";

const EBADF = 9;
const ENOMEM = 12;
const EFAULT = 14;
const EBUSY = 16;
const EINVAL = 22;
const ETIME = 62;
const EBADFD = 77;
const EOPNOTSUPP = 95;

/** A thread's table of registered rings has so many places. */
const PLACES = 16;

const RELEASE = "6.18.0-simulated";

const KNOWN_ENTER_FLAGS = 2 * abi.IORING_ENTER_NO_IOWAIT - 1;

/** What a ring that defers its task work does of it in one call, if no more is waited for. */
const FEW_TASKS = 20;

/** `run` takes what has not ended after so many completions for something without an end. */
const MANY_STEPS = 1_000_000;

/** Node's, which both runtimes have; as late as timers, without their pauses. */
const { setImmediate, setInterval, clearInterval } = globalThis as unknown as {
  setImmediate(run: () => void): unknown;
  setInterval(run: () => void, ms: number): unknown;
  clearInterval(timer: unknown): void;
};

/** The longest interval there is. */
const LONG = 2 ** 31 - 1;

/**
 * An io_uring of this library's own in place of the kernel's, for tests. Made by {@link simulateKernel}.
 *
 * Rings and proactors made while it is installed run on it for life. Operations complete in an order, after times and with
 * results that a seed and a policy decide; none of them does anything outside.
 */
export class SimulatedKernel {
  readonly #world: World;
  readonly #executor: Executor;
  readonly #shim: Shim;
  readonly #real: Shim | undefined;
  /** The memory of its rings. */
  readonly #shared = new WeakSet<object>();
  #rings = 0;
  /** Whether the kernel itself is running, which then does not interrupt itself. */
  #busy = false;
  #driven = false;
  readonly #restore: () => void;

  /** @internal */
  constructor(options: KernelOptions) {
    this.#real = nativeLibrary();
    this.#world = new World(options, this.#real);
    this.#executor = new Executor(this.#world);
    this.#shim = this.#makeShim();
    this.#restore = this.#install();
  }

  // ------------------------------------------------------------------------------------------------ looking at it

  /** Simulated time: milliseconds since the kernel was made, which is also what its clocks say. */
  get now(): number {
    return this.#world.timeline.now;
  }

  /** The operations that have not had their last completion posted, on all rings that are open or were closed with some left. */
  get inFlight(): readonly SimulatedOperation[] {
    return [...this.#all].flatMap((ring) => [...ring.inFlight]);
  }

  /** The simulated file descriptors that are open, and what each is: `"eventfd"`, `"ring"`, or the operation that made it. */
  get openFds(): ReadonlyMap<number, string> {
    return this.#world.descriptors.list();
  }

  /** What the program did that it must not. */
  get violations(): readonly Violation[] {
    return this.#world.violations;
  }

  /** Whether nothing is going to happen without the program's doing: who still waits then waits for ever. */
  get idle(): boolean {
    return this.#world.timeline.next === Number.POSITIVE_INFINITY && !this.#interrupts;
  }

  /** Everything that happened, in order. */
  get trace(): readonly TraceEvent[] {
    return this.#world.trace;
  }

  /** The operations that may still use a piece of memory: as long as there are any it must not be given back. */
  usersOf(memory: Uint8Array | Pinned): SimulatedOperation[] {
    const span =
      memory instanceof Pinned
        ? { address: memory.address, length: memory.byteLength }
        : { address: this.#world.memory.address(memory), length: memory.byteLength };
    return [...new Set(this.#world.memory.claims(span).map(({ owner }) => owner))];
  }

  // ------------------------------------------------------------------------------------------------ letting time pass

  /** Lets the next thing happen, mostly a completion, however late; whether there was one. */
  step(): boolean {
    return this.#alone(() => {
      const stepped = this.#world.timeline.turn();
      return this.#interrupt() || stepped;
    });
  }

  /**
   * Lets everything happen that can without the program's doing.
   *
   * @returns how many things that were
   * @throws Error after a million, when something goes on for ever
   */
  run(): number {
    for (let steps = 0; steps < MANY_STEPS; steps++) if (!this.step()) return steps;
    throw new Error(
      `${MANY_STEPS} things happened and there is no end to it: is a timeout repeated for ever?`,
    );
  }

  /** Lets so many milliseconds pass, and all that happens in them. */
  advance(ms: number): void {
    const { timeline } = this.#world;
    const end = timeline.now + ms;
    this.#alone(() => {
      while (timeline.next <= end) {
        timeline.turn();
        this.#interrupt();
      }
      timeline.now = Math.max(timeline.now, end);
    });
  }

  /** Puts the real kernel back in its place for rings that are made from now on. */
  [Symbol.dispose](): void {
    this.#restore();
  }

  get #all(): Set<SimulatedRing> {
    return this.#world.everyRing;
  }

  get #interrupts(): boolean {
    for (const ring of this.#all) if (ring.interrupts) return true;
    return false;
  }

  /** Does what would interrupt the thread: work of rings that do not defer it. Whether there was any. */
  #interrupt(): boolean {
    let any = false;
    for (const ring of this.#all) {
      if (!ring.interrupts) continue;
      any = true;
      ring.runTasks();
    }
    return any;
  }

  /** Runs something that is the kernel's own doing. */
  #alone<T>(run: () => T): T {
    if (this.#busy) return run();
    this.#busy = true;
    try {
      return run();
    } finally {
      this.#busy = false;
      this.#drive();
    }
  }

  /** Sees to it that time goes on with the event loop while something is to happen. */
  #drive(): void {
    if (this.#driven || this.#world.options.automatic === false || this.idle) return;
    this.#driven = true;
    setImmediate(() => {
      this.#driven = false;
      this.#alone(() => {
        const { random, timeline } = this.#world;
        for (let left = 1 + random.below(4); left > 0; left--) timeline.turn();
        this.#interrupt();
      });
    });
  }

  // ------------------------------------------------------------------------------------------------ in place of the kernel

  #install(): () => void {
    const { allocate, watch } = runtime;
    const restore = replace<Runtime, "load" | "allocate" | "watch">(runtime, {
      load: () => this.#shim,
      watch: (eventfd, onSignal) => this.#watch(eventfd, onSignal) ?? watch.call(runtime, eventfd, onSignal),
      allocate(pages, shared) {
        try {
          return allocate.call(runtime, pages, shared);
        } catch (error) {
          // Only a runtime that this library does not know has none.
          if (!(error instanceof UringUnavailableError)) throw error;
          return shared ? new SharedArrayBuffer(pages * 65536) : new ArrayBuffer(pages * 65536);
        }
      },
    });
    const { automatic = true, preempt = automatic } = this.#world.options;
    const restoreAtomics = preempt ? this.#interleave() : () => {};
    return () => {
      restoreAtomics();
      restore();
    };
  }

  /** Lets things happen before any look at the rings' memory: with one seed often, with another seldom. */
  #interleave(): () => void {
    const { load, store } = Atomics;
    const { random } = this.#world;
    const seldom = 2 ** (1 + random.below(6));
    const happen = (words: ArrayBufferView) => {
      if (this.#busy || !this.#shared.has(words.buffer) || !random.oneIn(seldom)) return;
      this.#alone(() => this.#world.timeline.turn());
    };
    return replace<Atomics, "load" | "store">(Atomics, {
      load: ((words: Int32Array, at: number) => {
        happen(words);
        return load(words, at);
      }) as typeof load,
      store: ((words: Int32Array, at: number, value: number) => {
        happen(words);
        return store(words, at, value);
      }) as typeof store,
    });
  }

  #makeShim(): Shim {
    const { memory, descriptors } = this.#world;
    const real = this.#real;
    return {
      address: (view) => memory.address(view),
      setup: (entries, params) => this.#alone(() => this.#setUp(entries, params)),
      enter: (...call) => this.#alone(() => this.#enter(...call)),
      register: (fd, opcode, arg, count) => this.#alone(() => this.#register(fd, opcode, arg, count)),
      map: (fd, length, offset) => this.#map(fd, length, offset),
      unmap: (address, length) => (memory.unmap(address) ? 0 : (real?.unmap(address, length) ?? -EINVAL)),
      retire: (address, length) => (memory.unmap(address) ? 0 : (real?.retire(address, length) ?? -EINVAL)),
      discard(address, length) {
        if (real !== undefined) return real.discard(address, length);
        return memory.bytes(address, length)?.fill(0) === undefined ? -EINVAL : 0;
      },
      keep: (length) => real?.keep(length) ?? -ENOMEM,
      close: (fd) => this.#alone(() => this.#close(fd)),
      eventfd: () => descriptors.open(new SimulatedFile("eventfd", "eventfd")),
      signal(eventfd) {
        const file = descriptors.get(eventfd);
        if (file === undefined) return real?.signal(eventfd) ?? -EBADF;
        file.signal();
        return 8;
      },
      errnoName: (errno, out, size) =>
        real?.errnoName(errno, out, size) ?? text(ERRNOS[errno] ?? "", out, size),
      kernelRelease: (out, size) => text(RELEASE, out, size),
      sysctlDisabled: () => 0,
      describe: (out, count) => real?.describe(out, count) ?? 0,
      view(address, length) {
        const mapped = memory.mapped(address);
        if (mapped !== undefined) return mapped;
        if (real !== undefined) return real.view(address, length);
        throw new RangeError(`the simulated kernel has mapped nothing at ${address}`);
      },
    };
  }

  #setUp(entries: number, address: number): number {
    const world = this.#world;
    const params = world.memory.view(address, abi.io_uring_params.sizeof);
    if (params === undefined) return -EFAULT;
    const { setup = 0, features = 0 } = world.options.refuse ?? {};
    const { lateFlags = false } = world.options;
    const made = setUpRing(this.#rings + 1, entries, params, world.memory, setup, lateFlags);
    if (typeof made === "number") return made;
    const { ring, mapped } = made;
    if ((ring.flags & abi.IORING_SETUP_REGISTERED_FD_ONLY) !== 0) {
      const place = world.placeFor(ring, PLACES);
      if (place < 0) return -EBUSY;
      return this.#begin(ring, params, features, place);
    }
    const fd = world.descriptors.open(ring.file);
    world.rings.set(fd, ring);
    if (mapped !== undefined) world.mappings.set(fd, mapped);
    return this.#begin(ring, params, features, fd);
  }

  #begin(ring: SimulatedRing, params: DataView, refused: number, result: number): number {
    const { features } = abi.io_uring_params;
    params.setUint32(features, params.getUint32(features, true) & ~refused, true);
    this.#rings++;
    this.#all.add(ring);
    this.#shared.add(ring.memory);
    ring.file.onClose = () => {
      this.#executor.abandon(ring);
      ring.close();
    };
    return result;
  }

  #map(fd: number, length: number, offset: number): number {
    if (fd < 0) return this.#real?.map(fd, length, offset) ?? -ENOMEM;
    const mapped = this.#world.mappings.get(fd);
    if (mapped === undefined) return this.#real?.map(fd, length, offset) ?? -EBADF;
    if (offset === abi.IORING_OFF_SQES) return mapped.sqes;
    return offset === abi.IORING_OFF_SQ_RING ? mapped.rings : -EINVAL;
  }

  #close(fd: number): number {
    const world = this.#world;
    if (world.descriptors.isClosed(fd)) world.violated("closed-fd", `fd ${fd} is closed a second time`);
    world.mappings.delete(fd);
    world.rings.delete(fd);
    return world.descriptors.close(fd);
  }

  #register(fd: number, opcode: number, arg: number, count: number): number {
    const registered = opcode >>> 0 >= abi.IORING_REGISTER_USE_REGISTERED_RING;
    const ring = this.#world.ringOf(fd, registered);
    // Without a ring there are calls as well, of which none is simulated.
    if (ring === undefined) return registered || fd === -1 ? -EINVAL : -EBADF;
    return register(this.#world, this.#executor, ring, opcode & 0x7fffffff, arg, count);
  }

  #enter(fd: number, toSubmit: number, count: number, flags: number, arg: number, argSize: number): number {
    const { random, options } = this.#world;
    const registered = (flags & abi.IORING_ENTER_REGISTERED_RING) !== 0;
    const ring = this.#world.ringOf(fd, registered);
    if ((flags & ~KNOWN_ENTER_FLAGS) !== 0) return -EINVAL;
    if (ring === undefined)
      return registered ? -EINVAL : this.#world.descriptors.get(fd) ? -EOPNOTSUPP : -EBADF;
    if (!ring.enabled) return -EBADFD;
    const failure = options.enterFails?.(random) ?? 0;
    const result = failure < 0 ? failure : this.#serve(ring, toSubmit, count, flags, arg, argSize);
    this.#world.record("enter", ring, { res: result, flags });
    return result;
  }

  #serve(
    ring: SimulatedRing,
    toSubmit: number,
    count: number,
    flags: number,
    arg: number,
    argSize: number,
  ): number {
    const wakes = (flags & (abi.IORING_ENTER_SQ_WAKEUP | abi.IORING_ENTER_SQ_WAIT)) !== 0;
    const taken =
      !ring.polled || wakes ? this.#executor.submit(ring, ring.polled ? ring.submitted : toSubmit) : 0;
    const submitted = ring.polled ? toSubmit : taken;
    this.#interrupt();
    if ((flags & abi.IORING_ENTER_GETEVENTS) === 0) return submitted;
    const limits = this.#limits(flags, arg, argSize);
    if (typeof limits === "number") return submitted > 0 ? submitted : limits;
    const waited = this.#wait(ring, Math.min(count, ring.cqEntries), limits);
    return submitted > 0 ? submitted : waited;
  }

  /** Until when a wait is to go on: at most, and while there is nothing at all. */
  #limits(flags: number, arg: number, argSize: number): { end: number; gather: number } | number {
    const { memory, timeline } = this.#world;
    const none = { end: Number.POSITIVE_INFINITY, gather: Number.POSITIVE_INFINITY };
    if ((flags & abi.IORING_ENTER_EXT_ARG_REG) !== 0) return -EINVAL;
    if ((flags & abi.IORING_ENTER_EXT_ARG) === 0) return none;
    const layout = abi.io_uring_getevents_arg;
    if (argSize !== layout.sizeof) return -EINVAL;
    const argument = memory.view(arg, layout.sizeof);
    if (argument === undefined) return -EFAULT;
    const gathered = argument.getUint32(layout.min_wait_usec, true) / 1000;
    const gather = gathered === 0 ? none.gather : timeline.now + gathered;
    const address = Number(argument.getBigUint64(layout.ts, true));
    if (address === 0) return { end: none.end, gather };
    const time = memory.view(address, abi.__kernel_timespec.sizeof);
    if (time === undefined) return -EFAULT;
    const from = (flags & abi.IORING_ENTER_ABS_TIMER) !== 0 ? 0 : timeline.now;
    return { end: from + milliseconds(time, 0), gather };
  }

  /** Lets time pass until there are so many completions, or a timeout has run out, few as they may be; 0 or `-ETIME`. */
  #wait(ring: SimulatedRing, count: number, { end, gather }: { end: number; gather: number }): number {
    const { timeline } = this.#world;
    const { expired } = ring;
    for (;;) {
      ring.runTasks(Math.max(FEW_TASKS, count));
      ring.flushOverflow();
      if (ring.ready >= count || ring.expired !== expired) return 0;
      if (ring.ready > 0 && timeline.now >= gather) return 0;
      const next = Math.min(timeline.next, end, ring.ready > 0 ? gather : end);
      if (next === Number.POSITIVE_INFINITY) {
        throw new Error(
          `this wait would never end: ${ring.ready} of ${count} completions are there, and of the operations in flight ` +
            `none completes by itself (${[...ring.inFlight].slice(0, 8).join(", ") || "there are none"})`,
        );
      }
      if (next === timeline.next) timeline.turn();
      else {
        timeline.now = Math.max(timeline.now, next);
        if (timeline.now >= end) return ring.ready > 0 ? 0 : -ETIME;
      }
      this.#interrupt();
    }
  }

  /** `Runtime.watch` of a simulated eventfd; `undefined` for a real one. */
  #watch(eventfd: number, onSignal: () => void): Watch | undefined {
    const { descriptors } = this.#world;
    const file = descriptors.get(eventfd);
    if (file?.kind !== "eventfd") return undefined;
    let closed = false;
    let keepAlive: unknown;
    const later = () => setImmediate(read);
    const read = () => {
      if (closed) return;
      // Before it is told: what comes while it is told is signalled again.
      file.waiters.add(later);
      if (!file.readable) return;
      file.take();
      onSignal();
    };
    const ref = () => {
      if (!closed) keepAlive ??= setInterval(() => {}, LONG);
    };
    const unref = () => {
      if (keepAlive !== undefined) clearInterval(keepAlive);
      keepAlive = undefined;
    };
    ref();
    later();
    return {
      ref,
      unref,
      close() {
        if (closed) return;
        unref();
        closed = true;
        file.waiters.delete(later);
        descriptors.close(eventfd);
      },
    };
  }
}

/**
 * Puts a simulated kernel in the place of the real one, until it is disposed of.
 *
 * Rings and proactors that are made meanwhile run on it for good, those made before stay on the real kernel. It is this
 * thread's alone, and needs neither a kernel with io_uring nor the native library. Nothing leaves it: what is read is a
 * pattern or what the policy says, and what is written goes nowhere.
 *
 * @returns the kernel, to let time pass by, and to look at: what is in flight and open, what happened, what was done wrong
 *
 * @example
 * ```ts
 * import { alloc, Ring } from "uring";
 * import { simulateKernel } from "uring/testing";
 *
 * using kernel = simulateKernel({ seed: 7, policy: ({ name }) => (name === "FSYNC" ? { res: -5 } : undefined) });
 * using buffer = alloc(16);
 * using ring = new Ring();
 * ring.getSqe()?.prepRead(0, buffer, 16, 0).setData64(1);
 * ring.getSqe()?.prepFsync(0, 0).setData64(2);
 * ring.submitAndWait(2);
 * const results = new Map<number, number>();
 * ring.drain((userData, res) => results.set(userData, res));
 * console.log(results.get(2), kernel.inFlight.length, kernel.violations.length); // -5 0 0
 * ```
 */
export function simulateKernel(options: KernelOptions = {}): SimulatedKernel {
  return new SimulatedKernel(options);
}

function nativeLibrary(): Shim | undefined {
  try {
    return runtime.load();
  } catch (error) {
    if (error instanceof UringUnavailableError) return undefined;
    throw error;
  }
}

function text(value: string, out: Uint8Array, size: number): number {
  const bytes = new TextEncoder().encode(value).subarray(0, Math.max(size - 1, 0));
  out.set(bytes);
  out[bytes.length] = 0;
  return bytes.length;
}
