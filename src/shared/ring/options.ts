import {
  IORING_SETUP_ATTACH_WQ,
  IORING_SETUP_CLAMP,
  IORING_SETUP_COOP_TASKRUN,
  IORING_SETUP_CQE_MIXED,
  IORING_SETUP_CQE32,
  IORING_SETUP_CQSIZE,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_HYBRID_IOPOLL,
  IORING_SETUP_IOPOLL,
  IORING_SETUP_NO_MMAP,
  IORING_SETUP_REGISTERED_FD_ONLY,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_SETUP_SQ_AFF,
  IORING_SETUP_SQ_REWIND,
  IORING_SETUP_SQE_MIXED,
  IORING_SETUP_SQE128,
  IORING_SETUP_SQPOLL,
  IORING_SETUP_TASKRUN_FLAG,
} from "../abi/index.ts";

/** How a ring is to be set up; see io_uring_setup(2). */
export interface RingOptions {
  /** Entries of the submission queue, 1 to 32768, rounded up to a power of two. Default 128. */
  entries?: number;
  /**
   * Entries of the completion queue, at least `entries`; default twice as many. Sets `IORING_SETUP_CQSIZE`. With
   * `IORING_SETUP_CQE_MIXED` there are never fewer than 4.
   */
  cqEntries?: number;
  /** `IORING_SETUP_*` flags, or-ed. Default 0. */
  flags?: number;
  /** The CPU to run the poller thread on. Sets `IORING_SETUP_SQ_AFF`; needs `IORING_SETUP_SQPOLL`. */
  sqThreadCpu?: number;
  /** Milliseconds without work after which the poller thread goes to sleep; 0, the default, lets the kernel take one second. */
  sqThreadIdle?: number;
  /** A ring, or a ring's fd, whose worker threads to share. Sets `IORING_SETUP_ATTACH_WQ`. */
  attachWq?: number | { readonly fd: number };
  /**
   * Whether the ring has a file descriptor, by which other rings can send it messages and other threads can name it.
   * `false` sets `IORING_SETUP_REGISTERED_FD_ONLY`: the ring then ends with its thread. By default true, but in a Worker
   * false where the kernel can (Linux 6.5), since nothing closes an fd for a Worker that is terminated.
   */
  fd?: boolean;
  /**
   * Where queues and entries live: `"owned"` (memory of this process handed to the kernel), `"mapped"` (memory of the
   * kernel's, mapped here), `"huge"` (2 MiB huge pages). By default owned, mapped where the kernel refuses that; in a Worker
   * a disabled ring is mapped, so that it can be handed on and outlive that.
   */
  memory?: RingMemoryKind;
}

/** Where a ring's memory comes from. */
export type RingMemoryKind = "owned" | "mapped" | "huge";

/** Options after checking, with every default filled in. */
export interface CheckedOptions {
  readonly entries: number;
  readonly cqEntries: number;
  readonly flags: number;
  readonly sqThreadCpu: number;
  readonly sqThreadIdle: number;
  readonly wqFd: number;
  readonly fd: boolean | undefined;
  readonly memory: RingMemoryKind | undefined;
}

const DEFAULT_ENTRIES = 128;
export const MAX_SQ_ENTRIES = 32768;
export const MAX_CQ_ENTRIES = 65536;
/** In a queue of two slots a filler leaves no room for the large completion that it was put there for. */
const LEAST_MIXED_CQ_ENTRIES = 4;

/**
 * Options with defaults and implied flags, once it is sure that some kernel could take them.
 *
 * @param fdOf what tells the fd of a ring given as `attachWq`
 * @throws RangeError, TypeError for values out of range and flags that every kernel refuses together
 */
export function checkOptions(
  options: RingOptions,
  fdOf: (ring: { readonly fd: number }) => number = ({ fd }) => fd,
): CheckedOptions {
  if (typeof options !== "object" || options === null)
    throw new TypeError("a ring's options must be an object");
  let flags = integer(options.flags ?? 0, 0, 0xffffffff, "flags");
  const clamp = (flags & IORING_SETUP_CLAMP) !== 0;
  const entries = integer(
    options.entries ?? DEFAULT_ENTRIES,
    1,
    clamp ? 0xffffffff : MAX_SQ_ENTRIES,
    "entries",
  );
  let cqEntries = 0;
  if (options.cqEntries !== undefined) {
    cqEntries = integer(options.cqEntries, 1, clamp ? 0xffffffff : MAX_CQ_ENTRIES, "cqEntries");
    flags |= IORING_SETUP_CQSIZE;
    if (roundUp(cqEntries, MAX_CQ_ENTRIES) < roundUp(entries, MAX_SQ_ENTRIES)) {
      throw new RangeError(`cqEntries (${cqEntries}) must be at least entries (${entries})`);
    }
  } else if ((flags & IORING_SETUP_CQSIZE) !== 0) {
    throw new TypeError("IORING_SETUP_CQSIZE needs the option cqEntries, which sets it by itself");
  }
  if ((flags & IORING_SETUP_CQE_MIXED) !== 0 && (cqEntries || 2 * entries) < LEAST_MIXED_CQ_ENTRIES) {
    cqEntries = LEAST_MIXED_CQ_ENTRIES;
    flags |= IORING_SETUP_CQSIZE;
  }

  let sqThreadCpu = 0;
  if (options.sqThreadCpu !== undefined) {
    sqThreadCpu = integer(options.sqThreadCpu, 0, 0xffff, "sqThreadCpu");
    flags |= IORING_SETUP_SQ_AFF;
  }
  const sqThreadIdle = integer(options.sqThreadIdle ?? 0, 0, 0xffffffff, "sqThreadIdle");
  let wqFd = 0;
  if (options.attachWq !== undefined) {
    const target = options.attachWq;
    wqFd = integer(
      typeof target === "object" && target !== null ? fdOf(target) : target,
      0,
      0x7fffffff,
      "attachWq",
    );
    flags |= IORING_SETUP_ATTACH_WQ;
  } else if ((flags & IORING_SETUP_ATTACH_WQ) !== 0) {
    throw new TypeError("IORING_SETUP_ATTACH_WQ needs the option attachWq, which sets it by itself");
  }

  const memory = options.memory;
  if (memory !== undefined && memory !== "owned" && memory !== "mapped" && memory !== "huge") {
    throw new TypeError(`memory must be "owned", "mapped" or "huge", not ${String(memory)}`);
  }
  const fd = options.fd;
  if (fd !== undefined && typeof fd !== "boolean")
    throw new TypeError(`fd must be true or false, not ${String(fd)}`);
  if (fd === false) flags |= IORING_SETUP_REGISTERED_FD_ONLY;
  else if (fd === true && (flags & IORING_SETUP_REGISTERED_FD_ONLY) !== 0) {
    throw new TypeError("fd: true and IORING_SETUP_REGISTERED_FD_ONLY exclude each other");
  }
  flags >>>= 0;
  checkFlags(flags, memory);
  return { entries, cqEntries, flags, sqThreadCpu, sqThreadIdle, wqFd, fd, memory };
}

/** The next power of two, as the kernel rounds sizes, up to a limit. */
export function roundUp(entries: number, limit: number): number {
  let rounded = 1;
  while (rounded < entries && rounded < limit) rounded *= 2;
  return rounded;
}

/** What no kernel takes together, or this library does not do, each as the sentence to say. */
function checkFlags(flags: number, memory: RingMemoryKind | undefined): void {
  const has = (flag: number) => (flags & flag) !== 0;
  const refuse = (sentence: string): never => {
    throw new TypeError(`no kernel sets up a ring like this: ${sentence}`);
  };
  const poller = has(IORING_SETUP_SQPOLL);
  if (has(IORING_SETUP_DEFER_TASKRUN) && !has(IORING_SETUP_SINGLE_ISSUER)) {
    refuse("IORING_SETUP_DEFER_TASKRUN needs IORING_SETUP_SINGLE_ISSUER");
  }
  if (poller && has(IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG)) {
    refuse(
      "with IORING_SETUP_SQPOLL the poller thread runs all task work, so the *_TASKRUN flags can not be given",
    );
  }
  if (has(IORING_SETUP_TASKRUN_FLAG) && !has(IORING_SETUP_COOP_TASKRUN | IORING_SETUP_DEFER_TASKRUN)) {
    refuse("IORING_SETUP_TASKRUN_FLAG needs IORING_SETUP_COOP_TASKRUN or IORING_SETUP_DEFER_TASKRUN");
  }
  if (has(IORING_SETUP_SQ_AFF) && !poller) refuse("IORING_SETUP_SQ_AFF needs IORING_SETUP_SQPOLL");
  if (has(IORING_SETUP_HYBRID_IOPOLL) && !has(IORING_SETUP_IOPOLL)) {
    refuse("IORING_SETUP_HYBRID_IOPOLL needs IORING_SETUP_IOPOLL");
  }
  if (has(IORING_SETUP_CQE_MIXED) && has(IORING_SETUP_CQE32)) {
    refuse("IORING_SETUP_CQE_MIXED and IORING_SETUP_CQE32 exclude each other");
  }
  if (has(IORING_SETUP_SQE_MIXED) && has(IORING_SETUP_SQE128)) {
    refuse("IORING_SETUP_SQE_MIXED and IORING_SETUP_SQE128 exclude each other");
  }
  if (has(IORING_SETUP_SQ_REWIND | IORING_SETUP_SQE_MIXED)) {
    throw new TypeError(
      "IORING_SETUP_SQ_REWIND and IORING_SETUP_SQE_MIXED lay the submission queue out in a way this library does not " +
        "know: use IORING_SETUP_SQE128 for large entries",
    );
  }
  if (has(IORING_SETUP_REGISTERED_FD_ONLY | IORING_SETUP_NO_MMAP) && memory === "mapped") {
    refuse('IORING_SETUP_NO_MMAP and IORING_SETUP_REGISTERED_FD_ONLY exclude memory: "mapped"');
  }
}

function integer(value: unknown, least: number, most: number, what: string): number {
  if (typeof value !== "number")
    throw new TypeError(`${what} must be a number, not ${value === null ? "null" : typeof value}`);
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`${what} must be a whole number from ${least} to ${most}, not ${value}`);
  }
  return value;
}
