import { runtime } from "#runtime";
import {
  IORING_REGISTER_PROBE,
  IORING_SETUP_CQE32,
  IORING_SETUP_SQE128,
  io_uring_probe,
} from "../abi/index.ts";
import { MAX_CQ_ENTRIES, MAX_SQ_ENTRIES } from "./options.ts";
import { mapRing, type RingMemory, type RingParams, RingSetup, views } from "./setup.ts";

/**
 * A disabled ring on its way to another thread, made by `Ring.detach()`: post it to a Worker and give it to
 * `Ring.adopt()` there. A plain object that structured cloning copies.
 */
export interface RingTransfer {
  readonly fd: number;
  readonly params: RingParams;
  /** The memory shared with the kernel; none where that is mapped, to be mapped again from the fd. */
  readonly memory: SharedArrayBuffer | undefined;
  /** How many bytes of it are the rings; the entries follow. */
  readonly ringsLength: number;
  /** One 32-bit word that says whether the ring has been adopted: it can be once. */
  readonly claim: SharedArrayBuffer;
}

const EINVAL = 22;
const PROBE_HEADER = io_uring_probe.sizeof;

/**
 * Memory of rings that were handed over, held here for good: a Worker that is terminated takes its own references along
 * before the kernel is done with the ring.
 */
const handedOver: SharedArrayBuffer[] = [];

/** Describes a ring for another thread. Throws a `TypeError` for memory that no other thread can see. */
export function transferOf(setup: RingSetup): RingTransfer {
  const { fd, params, memory } = setup;
  if (memory.kind === "huge") throw new TypeError("a ring in huge pages can not be handed to another thread");
  if (memory.kind === "owned") {
    if (memory.shared === undefined)
      throw new TypeError(
        'a ring in a Worker\'s own memory can not be handed on: one with memory: "mapped" can',
      );
    handedOver.push(memory.shared);
  }
  return {
    fd,
    params,
    memory: memory.shared,
    ringsLength: memory.rings.byteLength,
    claim: new SharedArrayBuffer(4),
  };
}

/** What another thread has detached, as a setup. Throws a `TypeError` for what is no such thing or taken already. */
export function adoptSetup(transfer: RingTransfer): RingSetup {
  if (!isTransfer(transfer)) throw new TypeError("a RingTransfer is needed, as Ring.detach() makes it");
  const { fd, params, memory, ringsLength } = transfer;
  const claim = new Int32Array(transfer.claim);
  if (Atomics.compareExchange(claim, 0, 0, 1) !== 0) {
    throw new TypeError("this ring has been adopted already: a ring belongs to one thread");
  }
  try {
    return new RingSetup(fd, params, memory === undefined ? mapped(fd, params) : shared(memory, ringsLength));
  } catch (error) {
    Atomics.store(claim, 0, 0);
    throw error;
  }
}

/** Maps a ring's memory, once it is sure that there is as much as the transfer says: touching more would be fatal. */
function mapped(fd: number, params: RingParams): RingMemory {
  const memory = mapRing(fd, params);
  if (reachesEnd(fd, memory.rings) && reachesEnd(fd, memory.sqes)) return memory;
  memory.release();
  throw new TypeError("the transfer's numbers are not those of its ring");
}

/**
 * Whether `fd` is a ring, and the last bytes of a mapping are there. The call asks the kernel for no more than the probe's
 * empty header, which it reads from there first: it answers a touch that would end this process with an errno.
 */
function reachesEnd(fd: number, words: Int32Array): boolean {
  const end = new Uint8Array(words.buffer, words.byteOffset + words.byteLength - PROBE_HEADER, PROBE_HEADER);
  const shim = runtime.load();
  const result = shim.register(fd, IORING_REGISTER_PROBE, shim.address(end), 0);
  if (result === 0) end.fill(0);
  return result === 0 || result === -EINVAL;
}

function shared(buffer: SharedArrayBuffer, ringsLength: number): RingMemory {
  return {
    ...views("owned", buffer, 0, ringsLength, buffer.byteLength - ringsLength),
    shared: buffer,
    // The thread that made the ring holds the memory, whatever becomes of this one.
    release: () => {},
  };
}

/** Whether every number in a transfer is one that a ring could have. */
function isTransfer(value: unknown): value is RingTransfer {
  if (typeof value !== "object" || value === null) return false;
  const { fd, params, memory, ringsLength, claim } = value as Partial<RingTransfer>;
  if (!(claim instanceof SharedArrayBuffer && claim.byteLength === 4)) return false;
  if (!natural(fd) || !natural(ringsLength) || typeof params !== "object" || params === null) return false;
  const { sqEntries, cqEntries, flags, sqOff, cqOff } = params;
  if (!natural(flags) || !power(sqEntries, MAX_SQ_ENTRIES) || !power(cqEntries, MAX_CQ_ENTRIES)) return false;
  if (typeof sqOff !== "object" || sqOff === null || typeof cqOff !== "object" || cqOff === null)
    return false;
  const offsets = [sqOff.head, sqOff.tail, sqOff.flags, sqOff.dropped, sqOff.array];
  offsets.push(cqOff.head, cqOff.tail, cqOff.overflow, cqOff.cqes, cqOff.flags);
  if (!offsets.every(natural)) return false;
  if (memory === undefined) return true;
  if (!(memory instanceof SharedArrayBuffer)) return false;
  const sqeSize = (flags & IORING_SETUP_SQE128) !== 0 ? 128 : 64;
  const cqeSize = (flags & IORING_SETUP_CQE32) !== 0 ? 32 : 16;
  return (
    ringsLength % 8 === 0 &&
    cqOff.cqes * 4 + cqEntries * cqeSize <= ringsLength &&
    ringsLength + sqEntries * sqeSize <= memory.byteLength &&
    offsets.every((offset) => offset * 4 < ringsLength)
  );
}

function natural(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 0xffffffff;
}

function power(value: unknown, limit: number): value is number {
  return natural(value) && value > 0 && value <= limit && (value & (value - 1)) === 0;
}
