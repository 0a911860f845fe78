import {
  IORING_SETUP_CLAMP,
  IORING_SETUP_COOP_TASKRUN,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_IOPOLL,
  IORING_SETUP_R_DISABLED,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_SETUP_SUBMIT_ALL,
  IORING_SETUP_TASKRUN_FLAG,
} from "../abi/index.ts";
import { UringError } from "../errors.ts";
import type { RingMemoryKind } from "../ring/options.ts";
import type { MaxWorkers } from "../ring/register/workers.ts";
import { DrivenRing, queues } from "./driven-ring.ts";

/** How a proactor is made. */
export interface ProactorOptions {
  /**
   * Entries of the submission queue, which is how many operations go to the kernel in one call; unless given 256, or as many
   * as `cqEntries` where those are fewer; 2 at least.
   */
  entries?: number | undefined;
  /**
   * Entries of the completion queue, which is how many operations can be in flight at a time: the others wait in order, even
   * if what is in flight waits for them. Multishot operations do not count. Unless given 4096, or as many as `entries` where
   * those are more; 2 at least, 65536 at most.
   */
  cqEntries?: number | undefined;
  /**
   * `IORING_SETUP_*` flags instead of those chosen for this kernel, the best of which are `SINGLE_ISSUER`, `DEFER_TASKRUN`,
   * `TASKRUN_FLAG`, `SUBMIT_ALL` and `CLAMP`. `DEFER_TASKRUN` sets `TASKRUN_FLAG`, by which a proactor knows when to enter
   * the kernel.
   */
  flags?: number | undefined;
  /** Milliseconds until an idle poller thread sleeps, with `IORING_SETUP_SQPOLL`. */
  sqThreadIdle?: number | undefined;
  /** Where the ring's memory comes from. */
  memory?: RingMemoryKind | undefined;
  /**
   * How many kernel threads may work on what blocks: `bounded` on files, `unbounded` on everything else. 128 unbounded ones
   * unless given, where the kernel's own limit is that of the user's processes.
   */
  workers?: { bounded?: number; unbounded?: number } | undefined;
  /**
   * Whether other proactors can send this one messages, by its `address`. In a Worker the ring then has an fd that nothing
   * closes where the Worker is terminated: whoever has the address can, with `closeAddress`.
   */
  addressable?: boolean | undefined;
  /** Records where each operation was called, and poisons memory that was given back. */
  debug?: boolean | undefined;
}

const ENTRIES = 256;
const CQ_ENTRIES = 4096;
const WORKERS = { unbounded: 128 };

/** What to try, the best first: each kernel takes the first that it knows. */
const LADDER = [
  // 6.1
  IORING_SETUP_SINGLE_ISSUER |
    IORING_SETUP_DEFER_TASKRUN |
    IORING_SETUP_TASKRUN_FLAG |
    IORING_SETUP_SUBMIT_ALL,
  // 5.19
  IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
  // 5.18
  IORING_SETUP_SUBMIT_ALL,
  0,
].map((flags) => (flags | IORING_SETUP_CLAMP) >>> 0);

/**
 * Sets a proactor's ring up with the best flags that the kernel takes.
 *
 * @param begin makes what drives the ring, which is closed where that can not be
 */
export function setUp<T>(options: ProactorOptions, begin: (ring: DrivenRing) => T): T {
  const {
    cqEntries = Math.max(CQ_ENTRIES, options.entries ?? ENTRIES),
    entries = Math.min(ENTRIES, cqEntries),
    flags,
    sqThreadIdle,
    memory,
    workers = WORKERS,
    addressable,
  } = options;
  if (flags !== undefined && (flags & (IORING_SETUP_IOPOLL | IORING_SETUP_R_DISABLED)) !== 0) {
    throw new TypeError(
      "a proactor waits for completions to ring, which they do not with IORING_SETUP_IOPOLL, nor on a ring that is " +
        "IORING_SETUP_R_DISABLED: use a Ring",
    );
  }
  const rest = {
    entries: roomForTimer(entries),
    cqEntries: roomForTimer(cqEntries),
    ...(sqThreadIdle === undefined ? {} : { sqThreadIdle }),
    ...(memory === undefined ? {} : { memory }),
    ...(addressable === true ? { fd: true } : {}),
  };
  const ring = firstOf(
    flags === undefined ? LADDER : [withTaskrunFlag(flags)],
    (each) => new DrivenRing({ ...rest, flags: each }),
  );
  try {
    limitWorkers(ring, workers);
    return begin(ring);
  } catch (error) {
    queues.close(ring, 0, { completion() {} });
    throw error;
  }
}

/**
 * Deferred work is done by entering the kernel alone, and only the flag tells when that is due. With
 * `IORING_SETUP_COOP_TASKRUN` any system call does the work, as the event loop makes them.
 */
function withTaskrunFlag(flags: number): number {
  return (flags & IORING_SETUP_DEFER_TASKRUN) === 0 ? flags : (flags | IORING_SETUP_TASKRUN_FLAG) >>> 0;
}

/** An operation with a timeout and its timer take two entries at once, or would wait for ever. */
function roomForTimer(entries: number): number {
  return entries === 1 ? 2 : entries;
}

function limitWorkers(ring: DrivenRing, workers: Partial<MaxWorkers>): void {
  try {
    ring.registerIowqMaxWorkers(workers);
  } catch (error) {
    // Before 5.15 the kernel's own limits stay.
    if (!(error instanceof UringError && error.code === "EINVAL")) throw error;
  }
}

function firstOf(ladder: readonly number[], make: (flags: number) => DrivenRing): DrivenRing {
  for (const flags of ladder.slice(0, -1)) {
    try {
      return make(flags);
    } catch (error) {
      if (!(error instanceof UringError && error.code === "EINVAL")) throw error;
    }
  }
  return make(ladder.at(-1) as number);
}
