// A runtime whose kernel lies. Completions are changed when the library looks for them: at its load of the completion
// queue's tail, which is the one thing every way of reading them begins with, whether a system call came before or not.

import { alloc, Ring } from "uring";
import {
  IORING_CQE_F_32,
  IORING_CQE_F_SKIP,
  IORING_ENTER_ABS_TIMER,
  IORING_ENTER_EXT_ARG,
  IORING_ENTER_EXT_ARG_REG,
  IORING_ENTER_GETEVENTS,
  IORING_OFF_SQ_RING,
  IORING_REGISTER_RESIZE_RINGS,
  IORING_SETUP_CQE_MIXED,
  IORING_SETUP_CQE32,
  IORING_SETUP_NO_MMAP,
  io_cqring_offsets,
  io_uring_getevents_arg,
  io_uring_params,
} from "uring/abi";
import { runtime } from "#runtime";
import type { Shim } from "../../src/shared/runtime.ts";
import type { Change, Mutant } from "./mutants.ts";

/** Ends a test that waits in vain. */
export class OutOfPatience extends Error {
  override name = "OutOfPatience";
  override message = "this test waits for what the mutant runtime does not give";
}

/** What a test that runs now is told and allowed. */
export interface Watch {
  /** By `performance.now()`: a test that still looks for completions then waits for what will not come. */
  readonly deadline: number;
  /** So many milliseconds without a completion are the same, once one was lost. */
  readonly patience: number;
  /** Called when the program has consumed completions that mutants have changed, and when it missed a lost one. */
  touched(mutants: Mutants): void;
}

/** A set of mutants: bit n for the nth. */
type Mutants = number;

/** The watch of the test that runs; what happens between tests is of no interest. */
let watch: Watch | undefined;
/** Whether the test has missed a completion, and when it last got one. */
let missing = false;
let news = 0;
/** How many `close` are under way. What a ring discards at its end is no test's business. */
let closing = 0;
/** Takes note of what was consumed since the last look. */
let settleAll: () => void;

/** Says which test runs from now on. */
export function setWatch(next: Watch | undefined): void {
  settleAll();
  watch = next;
  missing = false;
}

/** Where a ring's completions are, in words of its memory. */
interface Geometry {
  readonly head: number;
  readonly tail: number;
  readonly first: number;
  readonly mask: number;
  readonly size: number;
  readonly mixed: boolean;
}

/** Changes one queue's completions, and knows which of them were consumed. */
class Queue {
  readonly geometry: Geometry;
  readonly #words: Int32Array;
  /** Sequence numbers of the first completion not yet looked at. */
  #seen: number;
  /** How many completions the program is kept from: its sequence numbers are so much behind the kernel's. */
  #lost = 0;
  #number = 0;
  /** The changed completions that are not consumed yet: sequence numbers as the program has them, with the mutants. */
  #marks: { readonly at: number; readonly by: Mutants }[] = [];

  constructor(geometry: Geometry, words: Int32Array) {
    this.geometry = geometry;
    this.#words = words;
    this.#seen = words[geometry.head] as number;
  }

  /** Goes on for a queue that the ring was moved from. */
  succeed(before: Queue): void {
    this.#seen = before.#seen;
    this.#lost = before.#lost;
    this.#number = before.#number;
    this.#marks = before.#marks;
  }

  /** Changes what the kernel has posted since the last time; the tail that the program is to see. */
  look(tail: number, change: Changer): number {
    this.settle();
    if (this.#seen !== tail) news = performance.now();
    const { mask, size, first, mixed } = this.geometry;
    while (((tail - this.#seen) | 0) > 0) {
      const from = first + (this.#seen & mask) * size;
      const cqe = this.#words.subarray(from, from + size);
      const flags = cqe[3] as number;
      const width = mixed && (flags & IORING_CQE_F_32) !== 0 ? 2 : 1;
      if (!mixed || (flags & IORING_CQE_F_SKIP) === 0) this.#change(cqe, change);
      // What was lost leaves a gap, which what follows must close.
      if (this.#lost !== 0) {
        const to = first + ((this.#seen - this.#lost) & mask) * size;
        this.#words.copyWithin(to, from, from + size);
      }
      this.#seen = (this.#seen + width) | 0;
    }
    return (tail - this.#lost) | 0;
  }

  #change(cqe: Int32Array, change: Changer): void {
    const by = change(cqe, this.#number++);
    if (by === LOST) {
      missing = true;
      watch?.touched(ALONE);
      // A filler takes no space from large completions, which must not come to lie across the queue's end.
      if (this.geometry.mixed) cqe[3] = (cqe[3] as number) | IORING_CQE_F_SKIP;
      else this.#lost++;
    } else if (by !== NONE) {
      this.#marks.push({ at: (this.#seen - this.#lost) | 0, by });
    }
  }

  /** Takes note of what the program has consumed. */
  settle(): void {
    if (this.#marks.length === 0) return;
    const head = this.#words[this.geometry.head] ?? 0;
    const open = this.#marks.findIndex(({ at }) => ((at - head) | 0) >= 0);
    const consumed = this.#marks.splice(0, open < 0 ? this.#marks.length : open);
    if (closing > 0) return;
    for (const { by } of consumed) watch?.touched(by);
  }

  /** Makes the head count what is lost as read, or no longer: during a call, as the kernel would not wait for more. */
  shiftHead(on: boolean): void {
    if (this.#lost === 0) return;
    const head = this.#words[this.geometry.head] as number;
    this.#words[this.geometry.head] = on ? head + this.#lost : head - this.#lost;
  }
}

/** Changes a completion; which mutants have to do with it, or that it is lost. */
type Changer = (cqe: Int32Array, number: number) => Mutants | typeof LOST;

const NONE: Mutants = 0;
/** The one mutant there is. */
const ALONE: Mutants = 1;
const LOST = -1;

/** Lets one mutant loose. */
export function mutate(mutant: Mutant): void {
  const results: Readonly<Record<Change, number>> = { none: NONE, changed: ALONE, lost: LOST };
  install((cqe, number) => results[mutant(cqe, number)]);
}

/** Changes nothing, and tells what each mutant would have changed. */
export function record(mutants: readonly Mutant[]): void {
  const copy = new Int32Array(4);
  install((cqe, number) => {
    let by = NONE;
    for (const [bit, mutant] of mutants.entries()) {
      for (let i = 0; i < copy.length; i++) copy[i] = cqe[i] as number;
      if (mutant(copy, number) !== "none") by |= 1 << bit;
    }
    return by;
  });
}

function install(change: Changer): void {
  const real = runtime.load();
  /** Rings' memory by its address. */
  const found = new Map<number, Geometry>();
  const byFd = new Map<number, Geometry>();
  const queues = new WeakMap<Int32Array, Queue | "other">();
  /** The queues of rings that are open. */
  const live = new Set<Queue>();
  /** Where a ring has just been moved to, and the queue it was moved from. */
  let moved: { readonly to: Geometry; from?: Queue } | undefined;

  const learn = (fd: number, params: number): Geometry => {
    const words = new Uint32Array(real.view(params, io_uring_params.sizeof));
    const geometry = geometryOf(words);
    const address = io_uring_params.cq_off + io_cqring_offsets.user_addr;
    if ((word(words, io_uring_params.flags) & IORING_SETUP_NO_MMAP) === 0) byFd.set(fd, geometry);
    else found.set(word(words, address) + word(words, address + 4) * 2 ** 32, geometry);
    return geometry;
  };

  const changed: Shim = {
    ...real,
    setup(entries, params) {
      const fd = real.setup(entries, params);
      if (fd >= 0) learn(fd, params);
      return fd;
    },
    map(fd, length, offset) {
      const address = real.map(fd, length, offset);
      const geometry = byFd.get(fd);
      if (geometry !== undefined && offset === IORING_OFF_SQ_RING && address >= 0)
        found.set(address, geometry);
      return address;
    },
    register(fd, opcode, arg, nrArgs) {
      const result = real.register(fd, opcode, arg, nrArgs);
      if ((opcode & 0x7fffffff) === IORING_REGISTER_RESIZE_RINGS && result >= 0)
        moved = { to: learn(fd, arg) };
      return result;
    },
    enter: patiently(real, (...args) => {
      for (const queue of live) queue.shiftHead(true);
      try {
        return real.enter(...args);
      } finally {
        for (const queue of live) queue.shiftHead(false);
      }
    }),
  };
  runtime.load = () => changed;

  const queueOf = (words: Int32Array): Queue | "other" => {
    const known = queues.get(words);
    if (known !== undefined) return known;
    const address = real.address(new Uint8Array(words.buffer, words.byteOffset, words.byteLength));
    const geometry = found.get(address);
    const queue = geometry === undefined ? "other" : new Queue(geometry, words);
    queues.set(words, queue);
    if (queue !== "other") live.add(queue);
    return queue;
  };

  const { load } = Atomics;
  Atomics.load = ((words: Int32Array, index: number) => {
    const value = load(words, index);
    const queue = words instanceof Int32Array ? queueOf(words) : "other";
    if (queue === "other" || index !== queue.geometry.tail) return value;
    if (moved?.from !== undefined && queue.geometry === moved.to) {
      queue.succeed(moved.from);
      moved = undefined;
    } else if (moved !== undefined) {
      // The first to be looked at after a move is the queue that was moved away from, to be copied.
      moved.from = queue;
      live.delete(queue);
    }
    if (closing > 0) {
      live.delete(queue);
      return queue.look(value, () => NONE);
    }
    const tail = queue.look(value, change);
    assertPatience();
    return tail;
  }) as typeof Atomics.load;

  settleAll = () => {
    for (const queue of live) queue.settle();
  };

  const { close } = Ring.prototype;
  Ring.prototype.close = function (options) {
    settleAll();
    closing++;
    try {
      return close.call(this, options);
    } finally {
      closing--;
    }
  };
}

function geometryOf(params: Uint32Array): Geometry {
  const cq = (offset: number) => word(params, io_uring_params.cq_off + offset) / 4;
  const flags = word(params, io_uring_params.flags);
  return {
    head: cq(io_cqring_offsets.head),
    tail: cq(io_cqring_offsets.tail),
    first: cq(io_cqring_offsets.cqes),
    mask: word(params, io_uring_params.cq_entries) - 1,
    size: (flags & IORING_SETUP_CQE32) !== 0 ? 8 : 4,
    mixed: (flags & IORING_SETUP_CQE_MIXED) !== 0,
  };
}

function word(words: Uint32Array, offset: number): number {
  return words[offset / 4] as number;
}

/** `Shim.enter` that waits no longer than the test may take, so that what is lost stops no run. */
function patiently(real: Shim, enter: Shim["enter"]): Shim["enter"] {
  const layout = io_uring_getevents_arg;
  const memory = alloc(layout.sizeof + 16);
  const view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset, memory.byteLength);
  const otherClocks = IORING_ENTER_EXT_ARG_REG | IORING_ENTER_ABS_TIMER;
  return (fd, toSubmit, minComplete, flags, arg, argSize) => {
    const left = closing > 0 ? Number.POSITIVE_INFINITY : timeLeft();
    const waits = (flags & IORING_ENTER_GETEVENTS) !== 0 && minComplete > 0 && (flags & otherClocks) === 0;
    const extended = (flags & IORING_ENTER_EXT_ARG) !== 0;
    if (!waits || left === Number.POSITIVE_INFINITY || (arg !== 0 && !extended)) {
      return enter(fd, toSubmit, minComplete, flags, arg, argSize);
    }
    memory.bytes.fill(0);
    if (extended) memory.bytes.set(new Uint8Array(real.view(arg, layout.sizeof)));
    if (timeoutAt(real, view.getBigUint64(layout.ts, true)) <= left) {
      return enter(fd, toSubmit, minComplete, flags, arg, argSize);
    }
    view.setBigUint64(layout.ts, BigInt(memory.address + layout.sizeof), true);
    view.setBigInt64(layout.sizeof, BigInt(Math.floor(Math.max(left, 0) / 1000)), true);
    view.setBigInt64(layout.sizeof + 8, BigInt(Math.floor((Math.max(left, 0) % 1000) * 1e6)), true);
    const bounded = (flags | IORING_ENTER_EXT_ARG) >>> 0;
    const result = enter(fd, toSubmit, minComplete, bounded, memory.address, layout.sizeof);
    assertPatience();
    return result;
  };
}

/** The milliseconds in the timespec at an address; for ever at 0. */
function timeoutAt(real: Shim, address: bigint): number {
  if (address === 0n) return Number.POSITIVE_INFINITY;
  const [seconds, nanoseconds] = new BigInt64Array(real.view(Number(address), 16)) as unknown as [
    bigint,
    bigint,
  ];
  return Number(seconds) * 1000 + Number(nanoseconds) / 1e6;
}

function timeLeft(): number {
  if (watch === undefined) return Number.POSITIVE_INFINITY;
  const { deadline, patience } = watch;
  return (missing ? Math.min(deadline, news + patience) : deadline) - performance.now();
}

function assertPatience(): void {
  if (timeLeft() < 0) throw new OutOfPatience();
}
