import * as abi from "../abi/index.ts";
import { SimulatedFile } from "./descriptors.ts";
import type { Memory, Span } from "./memory.ts";
import type { SimulatedOperation } from "./operation.ts";
import type { Resource } from "./resource.ts";
import { dropFiles } from "./slots.ts";

const EFAULT = 14;
const EINVAL = 22;

const MAX_SQ_ENTRIES = 32768;
const MAX_CQ_ENTRIES = 65536;
const PAGE = 4096;

/** What lies where in the rings' memory, in words, as in Linux. */
const HEAD = { sq: 0, cq: 2 };
const TAIL = { sq: 1, cq: 3 };
const MASK = { sq: 4, cq: 5 };
const ENTRIES = { sq: 6, cq: 7 };
const DROPPED = 8;
const FLAGS = { sq: 9, cq: 10 };
const OVERFLOW = 11;
const CQES = 16;

const {
  IORING_SETUP_CQE32: CQE32,
  IORING_SETUP_CQE_MIXED: CQE_MIXED,
  IORING_SETUP_SQE128: SQE128,
  IORING_SETUP_SQPOLL: SQPOLL,
  IORING_SETUP_NO_MMAP: NO_MMAP,
  IORING_SETUP_NO_SQARRAY: NO_SQARRAY,
  IORING_SETUP_COOP_TASKRUN: COOP_TASKRUN,
  IORING_SETUP_DEFER_TASKRUN: DEFER_TASKRUN,
  IORING_SETUP_TASKRUN_FLAG: TASKRUN_FLAG,
} = abi;

/** The flags that Linux 6.18 takes. */
const KNOWN_FLAGS = 2 * CQE_MIXED - 1;

/** The features of Linux 6.18. */
const FEATURES = 2 * abi.IORING_FEAT_NO_IOWAIT - 1;

/** A group of buffers that operations take theirs from. */
export interface BufferGroup {
  readonly ring: Span;
  readonly entries: number;
  /** Whether buffers are used bit by bit. */
  readonly incremental: boolean;
  /** How many buffers were used up. */
  head: number;
}

interface Completion {
  readonly userData: bigint;
  readonly res: number;
  readonly flags: number;
}

/** One ring, as the kernel has it: its queues in shared memory, and what is registered with it. */
export class SimulatedRing {
  /** Counts the rings of a kernel, from 1. */
  readonly id: number;
  readonly flags: number;
  readonly sqEntries: number;
  readonly cqEntries: number;
  closed = false;
  enabled: boolean;
  eventfd: SimulatedFile | undefined;
  files: (Resource<SimulatedFile> | undefined)[] | undefined;
  /** The slots that the kernel picks from when it is to find a free one: from, and up to. */
  slots: [number, number] = [0, 0];
  buffers: (Resource<Span> | undefined)[] | undefined;
  /** The ids of credentials that it has been given. */
  readonly personalities: Set<number> = new Set();
  lastPersonality = 0;
  readonly groups: Map<number, BufferGroup> = new Map();
  /** Operations that have not had their last completion, in the order they were submitted. */
  readonly inFlight: Set<SimulatedOperation> = new Set();
  /** The same by their `user_data`, as far as they have one that is theirs alone. */
  readonly names: Map<bigint, SimulatedOperation> = new Map();
  /** Timeouts that a number of completions ends. */
  readonly counting: Set<SimulatedOperation> = new Set();
  /** How many workers it may have, of the two kinds. */
  readonly workers: number[] = [64, 1024];
  /** What its fd, and its place in the thread's table, stand for: it lives as long as either. */
  readonly file: SimulatedFile = new SimulatedFile("ring", "ring");
  /** Chains that wait for all before them, for `IOSQE_IO_DRAIN`. */
  readonly deferred: SimulatedOperation[][] = [];
  /** Whether any operation asked for no completion: from then on `IOSQE_IO_DRAIN` is refused. */
  skips = false;
  /** How many timeouts have run out, or were ended by a number of completions. */
  expired = 0;
  /** How many completions there were. */
  posted = 0;
  readonly #tasks: (() => void)[] = [];
  /** Whether the flag that work waits comes after it was done. */
  readonly lateFlags: boolean;
  readonly #overflow: Completion[] = [];
  readonly #words: Int32Array;
  readonly #sqes: Uint8Array;
  #signalled = 0;

  constructor(id: number, params: DataView, rings: Uint8Array, sqes: Uint8Array, lateFlags: boolean) {
    this.id = id;
    this.lateFlags = lateFlags && (params.getUint32(abi.io_uring_params.flags, true) & TASKRUN_FLAG) !== 0;
    this.flags = params.getUint32(abi.io_uring_params.flags, true);
    this.sqEntries = params.getUint32(abi.io_uring_params.sq_entries, true);
    this.cqEntries = params.getUint32(abi.io_uring_params.cq_entries, true);
    this.enabled = (this.flags & abi.IORING_SETUP_R_DISABLED) === 0;
    const words = new Int32Array(rings.buffer, rings.byteOffset, rings.byteLength / 4);
    this.#words = words;
    this.#sqes = sqes;
    words.fill(0, 0, CQES);
    words[MASK.sq] = this.sqEntries - 1;
    words[MASK.cq] = this.cqEntries - 1;
    words[ENTRIES.sq] = this.sqEntries;
    words[ENTRIES.cq] = this.cqEntries;
    // The poller thread sleeps whenever it is not working: each submission wakes it.
    if (this.polled) words[FLAGS.sq] = abi.IORING_SQ_NEED_WAKEUP;
  }

  get polled(): boolean {
    return (this.flags & SQPOLL) !== 0;
  }

  /** The memory that both sides see, by which accesses of it can be told. */
  get memory(): ArrayBufferLike {
    return this.#words.buffer;
  }

  // ------------------------------------------------------------------------------------------------ submission

  /** How many entries are there to be taken. */
  get submitted(): number {
    return (this.#word(TAIL.sq) - this.#word(HEAD.sq)) | 0;
  }

  /** Takes the next entry; a copy. `undefined` where its index is none. */
  take(): DataView | undefined {
    const head = this.#word(HEAD.sq);
    let slot = head & (this.sqEntries - 1);
    if ((this.flags & NO_SQARRAY) === 0) slot = this.#word(arrayAt(this) + slot);
    this.#words[HEAD.sq] = head + 1;
    if (slot >>> 0 >= this.sqEntries) {
      this.#words[DROPPED] = this.#word(DROPPED) + 1;
      return undefined;
    }
    const size = sqeSize(this.flags);
    return new DataView(this.#sqes.slice(slot * size, (slot + 1) * size).buffer);
  }

  // ------------------------------------------------------------------------------------------------ completion

  /** What timeouts that wait for a number of completions count: all but timeouts that have ended by themselves. */
  get counted(): number {
    return this.posted - this.expired;
  }

  /** How many completions are there to be read. */
  get ready(): number {
    return (this.#word(TAIL.cq) - this.#word(HEAD.cq)) | 0;
  }

  /** Whether the next completion finds room in the queue. */
  get hasRoom(): boolean {
    return this.#overflow.length === 0 && this.ready < this.cqEntries;
  }

  /** Posts a completion, or keeps it aside where the queue is full. */
  post(userData: bigint, res: number, flags: number): void {
    if (this.closed) return;
    this.posted++;
    if (this.hasRoom) this.#write({ userData, res, flags });
    else {
      this.#overflow.push({ userData, res, flags });
      this.#setFlag(abi.IORING_SQ_CQ_OVERFLOW, true);
    }
    // What the queue has not shown since the last time is told of but once.
    if (this.#signalled === this.#word(TAIL.cq)) return;
    this.#signalled = this.#word(TAIL.cq);
    this.#signal();
  }

  /** Moves completions that were kept aside to where there is room now. */
  flushOverflow(): void {
    while (this.#overflow.length > 0 && this.ready < this.cqEntries) {
      this.#write(this.#overflow.shift() as Completion);
    }
    if (this.#overflow.length === 0) this.#setFlag(abi.IORING_SQ_CQ_OVERFLOW, false);
  }

  /** Does what a completion takes at the time at which a ring with these flags does it. */
  later(task: () => void): void {
    if (this.closed || (this.flags & (DEFER_TASKRUN | COOP_TASKRUN)) === 0) {
      task();
      return;
    }
    this.#tasks.push(task);
    if ((this.flags & TASKRUN_FLAG) !== 0) this.#setFlag(abi.IORING_SQ_TASKRUN, true);
    if (this.#tasks.length === 1 && (this.flags & DEFER_TASKRUN) !== 0) this.#signal();
  }

  /** Whether work waits for the thread to be in the kernel, by whatever call, or asleep. */
  get interrupts(): boolean {
    return this.#tasks.length > 0 && (this.flags & DEFER_TASKRUN) === 0;
  }

  /** Does up to so much of what waits for the thread. */
  runTasks(most: number = Number.POSITIVE_INFINITY): void {
    if (this.#tasks.length === 0) return;
    for (let done = 0; done < most && this.#tasks.length > 0; done++) this.#tasks.shift()?.();
    if (this.#tasks.length === 0) this.#setFlag(abi.IORING_SQ_TASKRUN, this.lateFlags);
  }

  /** The fd was closed: nothing is written to its memory any more. What was under way goes on. */
  close(): void {
    this.closed = true;
    this.runTasks();
    dropFiles(this);
    this.eventfd?.release();
    this.eventfd = undefined;
  }

  #write({ userData, res, flags }: Completion): void {
    const tail = this.#word(TAIL.cq);
    const at = CQES + ((tail & (this.cqEntries - 1)) * cqeSize(this.flags)) / 4;
    this.#words.fill(0, at, at + cqeSize(this.flags) / 4);
    this.#words[at] = Number(BigInt.asIntN(32, userData));
    this.#words[at + 1] = Number(BigInt.asIntN(32, userData >> 32n));
    this.#words[at + 2] = res;
    this.#words[at + 3] = flags;
    this.#words[TAIL.cq] = tail + 1;
  }

  #signal(): void {
    if ((this.#word(FLAGS.cq) & abi.IORING_CQ_EVENTFD_DISABLED) === 0) this.eventfd?.signal();
  }

  #setFlag(flag: number, on: boolean): void {
    if (this.closed) return;
    const flags = this.#word(FLAGS.sq);
    this.#words[FLAGS.sq] = on ? flags | flag : flags & ~flag;
  }

  #word(at: number): number {
    return this.#words[at] ?? 0;
  }
}

/**
 * `io_uring_setup(2)`.
 *
 * @param refused flags that this kernel does not know
 * @param lateFlags whether it tells of work after that was done
 * @returns the ring or `-errno`, and the addresses of its memory where that is to be mapped
 */
export function setUpRing<Owner>(
  id: number,
  entries: number,
  params: DataView,
  memory: Memory<Owner>,
  refused: number,
  lateFlags: boolean,
): { ring: SimulatedRing; mapped: { rings: number; sqes: number } | undefined } | number {
  const layout = abi.io_uring_params;
  const flags = params.getUint32(layout.flags, true);
  const has = (flag: number) => (flags & flag) !== 0;
  const clamp = has(abi.IORING_SETUP_CLAMP);
  if ((flags & ~(KNOWN_FLAGS & ~refused)) !== 0 || contradictory(has)) return -EINVAL;
  const given = has(abi.IORING_SETUP_CQSIZE) ? params.getUint32(layout.cq_entries, true) : undefined;
  if (entries === 0 || given === 0) return -EINVAL;
  if (!clamp && (entries > MAX_SQ_ENTRIES || (given ?? 0) > MAX_CQ_ENTRIES)) return -EINVAL;
  const sqEntries = roundUp(Math.min(entries, MAX_SQ_ENTRIES));
  const cqEntries = given === undefined ? 2 * sqEntries : roundUp(Math.min(given, MAX_CQ_ENTRIES));
  if (cqEntries < sqEntries) return -EINVAL;

  const ringsLength = 4 * CQES + cqEntries * cqeSize(flags) + (has(NO_SQARRAY) ? 0 : 4 * sqEntries);
  const sqesLength = sqEntries * sqeSize(flags);
  const address = (at: number) => Number(params.getBigUint64(at, true));
  const at = has(NO_MMAP)
    ? {
        rings: address(layout.cq_off + abi.io_cqring_offsets.user_addr),
        sqes: address(layout.sq_off + abi.io_sqring_offsets.user_addr),
      }
    : { rings: memory.map(ringsLength), sqes: memory.map(sqesLength) };
  const rings = memory.bytes(at.rings, ringsLength);
  const sqes = memory.bytes(at.sqes, sqesLength);
  if (rings === undefined || sqes === undefined) return -EFAULT;
  if (at.rings % PAGE !== 0 || at.sqes % PAGE !== 0) return -EINVAL;

  params.setUint32(layout.sq_entries, sqEntries, true);
  params.setUint32(layout.cq_entries, cqEntries, true);
  params.setUint32(layout.features, FEATURES, true);
  const ring = new SimulatedRing(id, params, rings, sqes, lateFlags);
  const put = (part: number, offset: number, word: number) => params.setUint32(part + offset, 4 * word, true);
  const { sq_off, cq_off } = layout;
  const { io_sqring_offsets: sq, io_cqring_offsets: cq } = abi;
  put(sq_off, sq.head, HEAD.sq);
  put(sq_off, sq.tail, TAIL.sq);
  put(sq_off, sq.ring_mask, MASK.sq);
  put(sq_off, sq.ring_entries, ENTRIES.sq);
  put(sq_off, sq.flags, FLAGS.sq);
  put(sq_off, sq.dropped, DROPPED);
  put(sq_off, sq.array, has(NO_SQARRAY) ? 0 : arrayAt(ring));
  put(cq_off, cq.head, HEAD.cq);
  put(cq_off, cq.tail, TAIL.cq);
  put(cq_off, cq.ring_mask, MASK.cq);
  put(cq_off, cq.ring_entries, ENTRIES.cq);
  put(cq_off, cq.overflow, OVERFLOW);
  put(cq_off, cq.cqes, CQES);
  put(cq_off, cq.flags, FLAGS.cq);
  return { ring, mapped: has(NO_MMAP) ? undefined : at };
}

/** Whether flags are together that no kernel takes. */
function contradictory(has: (flag: number) => boolean): boolean {
  return (
    (has(TASKRUN_FLAG) && !has(COOP_TASKRUN | DEFER_TASKRUN)) ||
    (has(SQPOLL) && has(COOP_TASKRUN | TASKRUN_FLAG | DEFER_TASKRUN)) ||
    (has(DEFER_TASKRUN) && !has(abi.IORING_SETUP_SINGLE_ISSUER)) ||
    (has(abi.IORING_SETUP_SQ_AFF) && !has(SQPOLL)) ||
    (has(abi.IORING_SETUP_REGISTERED_FD_ONLY) && !has(NO_MMAP)) ||
    (has(abi.IORING_SETUP_HYBRID_IOPOLL) && !has(abi.IORING_SETUP_IOPOLL)) ||
    (has(CQE32) && has(CQE_MIXED))
  );
}

function arrayAt(ring: SimulatedRing): number {
  return CQES + (ring.cqEntries * cqeSize(ring.flags)) / 4;
}

function cqeSize(flags: number): number {
  return (flags & CQE32) !== 0 ? 32 : 16;
}

function sqeSize(flags: number): number {
  return (flags & SQE128) !== 0 ? 128 : 64;
}

function roundUp(count: number): number {
  return 2 ** Math.ceil(Math.log2(count));
}
