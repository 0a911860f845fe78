import type { Shim } from "../runtime.ts";
import { Descriptors } from "./descriptors.ts";
import { Memory } from "./memory.ts";
import type { Outcome, SimulatedOperation } from "./operation.ts";
import { Random } from "./random.ts";
import type { SimulatedRing } from "./ring.ts";
import { Timeline } from "./timeline.ts";

/** What an operation comes to; nothing leaves it to the kernel, which mostly lets it succeed. */
export type Policy = (operation: SimulatedOperation, random: Random) => Outcome | undefined;

/** How a simulated kernel is to be. */
export interface KernelOptions {
  /** Decides everything that is left open: orders, times, short transfers, races. A whole number, 0 unless given. */
  readonly seed?: number;
  /** Says what operations come to. */
  readonly policy?: Policy;
  /**
   * Whether time passes by itself, some completions each turn of the event loop, as it must for code that waits for
   * promises. `true` unless given. Without, only `step`, `run`, `advance` and calls that wait let it pass.
   */
  readonly automatic?: boolean;
  /**
   * Whether operations complete while the thread runs, as other processors make them: between any two looks at what it
   * shares with the kernel. `true` unless given, with `automatic: false` `false`.
   */
  readonly preempt?: boolean;
  /**
   * Whether `IORING_SQ_TASKRUN` is set after the work it tells of was done, and stays: so it can be on Linux where a processor is
   * interrupted between the two. `false` unless given.
   */
  readonly lateFlags?: boolean;
  /** What an older kernel has not: set-up flags, features, operations, registrations. It answers `EINVAL` to them. */
  readonly refuse?: {
    readonly setup?: number;
    readonly features?: number;
    readonly operations?: readonly number[];
    readonly registrations?: readonly number[];
  };
  /** Makes calls of `io_uring_enter(2)` fail before they do anything: `-errno`, or 0 for those that shall not. */
  readonly enterFails?: (random: Random) => number;
  /** Whether to write down a trace. `true` unless given. */
  readonly trace?: boolean;
}

/** Something that happened. The same seed and the same calls give the same, to the last of them. */
export interface TraceEvent {
  /** Milliseconds of simulated time. */
  readonly at: number;
  readonly event: "enter" | "submit" | "start" | "cancel" | "post";
  /** Which ring, counted from 1. */
  readonly ring: number;
  /** Which operation, counted from 1, and what it is. */
  readonly operation?: number;
  readonly name?: string;
  /** The result of a call or a completion. */
  readonly res?: number;
  /** `IORING_CQE_F_*`, or `IORING_ENTER_*`. */
  readonly flags?: number;
}

/** Something a program must never do. */
export interface Violation {
  /**
   * - `"unknown-memory"`: an operation was given an address at which no memory is known that is as long and still lives
   * - `"shared-memory"`: an operation was given memory that another one is using, and one of them writes it
   * - `"shared-name"`: two operations in flight have the same `user_data`
   * - `"closed-fd"`: a descriptor was used or closed that is closed already
   */
  readonly kind: "unknown-memory" | "shared-memory" | "shared-name" | "closed-fd";
  readonly message: string;
}

/** What all parts of a simulated kernel share. */
export class World {
  readonly options: KernelOptions;
  readonly random: Random;
  readonly timeline: Timeline;
  readonly memory: Memory<SimulatedOperation>;
  readonly descriptors: Descriptors = new Descriptors();
  readonly trace: TraceEvent[] = [];
  readonly violations: Violation[] = [];
  readonly rings: Map<number, SimulatedRing> = new Map();
  /** Rings that have not been closed, or were closed with operations left. */
  readonly everyRing: Set<SimulatedRing> = new Set();
  /** Where the memory of rings is to be mapped, by fd. */
  readonly mappings: Map<number, { readonly rings: number; readonly sqes: number }> = new Map();
  /** The thread's table of registered rings. */
  readonly registered: (SimulatedRing | undefined)[] = [];

  constructor(options: KernelOptions, real: Shim | undefined) {
    this.options = options;
    this.random = new Random(options.seed ?? 0);
    this.timeline = new Timeline(this.random);
    this.memory = new Memory(real);
  }

  record(event: TraceEvent["event"], ring: SimulatedRing, detail: Partial<TraceEvent>): void {
    if (this.options.trace === false) return;
    this.trace.push({ at: this.timeline.now, event, ring: ring.id, ...detail });
  }

  violated(kind: Violation["kind"], message: string): void {
    this.violations.push({ kind, message });
  }

  /** Gives a ring a place in the thread's table; which, or -1 where there is none. */
  placeFor(ring: SimulatedRing, places: number): number {
    const place = Array.from({ length: places }, (_, i) => this.registered[i]).indexOf(undefined);
    if (place < 0) return -1;
    ring.file.references++;
    this.registered[place] = ring;
    return place;
  }

  /** The ring of an fd, or of an index into the table of registered rings. */
  ringOf(fd: number, registered: boolean): SimulatedRing | undefined {
    return registered ? this.registered[fd] : this.rings.get(fd);
  }
}
