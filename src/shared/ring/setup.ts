import { runtime } from "#runtime";
import {
  IORING_FEAT_EXT_ARG,
  IORING_OFF_SQ_RING,
  IORING_OFF_SQES,
  IORING_SETUP_CQE32,
  IORING_SETUP_NO_MMAP,
  IORING_SETUP_NO_SQARRAY,
  IORING_SETUP_R_DISABLED,
  IORING_SETUP_REGISTERED_FD_ONLY,
  IORING_SETUP_SQE128,
  io_cqring_offsets,
  io_sqring_offsets,
  io_uring_params,
} from "../abi/index.ts";
import type { Shim } from "../runtime.ts";
import { Arena, discardPages } from "./arena.ts";
import { setupError, tooOld } from "./diagnosis.ts";
import {
  type CheckedOptions,
  MAX_CQ_ENTRIES,
  MAX_SQ_ENTRIES,
  type RingMemoryKind,
  roundUp,
} from "./options.ts";
import { allocInternal, type Pinned } from "./pinned.ts";

const EINVAL = 22;
const EFAULT = 14;
const EBUSY = 16;
const ENOMEM = 12;
const PAGE = 65536;
const HUGE_PAGE = 2 * 1024 * 1024;
/** More than the kernel's header before the CQEs has ever been; what it says of itself is checked after setup. */
const HEADER = 1024;

/** A ring as the kernel has set it up: its fd, its parameters and its memory. */
export class RingSetup {
  /** The ring's fd, or with `IORING_SETUP_REGISTERED_FD_ONLY` its index in the thread's table of registered rings. */
  readonly fd: number;
  readonly params: RingParams;
  readonly memory: RingMemory;

  constructor(fd: number, params: RingParams, memory: RingMemory) {
    this.fd = fd;
    this.params = params;
    this.memory = memory;
  }
}

/** `struct io_uring_params` as the kernel answered it. Offsets are indices of 32-bit words in the rings' memory. */
export interface RingParams {
  readonly sqEntries: number;
  readonly cqEntries: number;
  readonly flags: number;
  readonly sqThreadCpu: number;
  readonly sqThreadIdle: number;
  readonly features: number;
  readonly wqFd: number;
  readonly sqOff: { head: number; tail: number; flags: number; dropped: number; array: number };
  readonly cqOff: { head: number; tail: number; overflow: number; cqes: number; flags: number };
}

/** The memory that a ring shares with the kernel. */
export interface RingMemory {
  readonly kind: RingMemoryKind;
  readonly rings: Int32Array;
  readonly sqes: Int32Array;
  /** The buffer behind it, where another thread can be given that. */
  readonly shared?: SharedArrayBuffer;
  /** Gives the memory back. The kernel keeps the pages it has pinned or mapped, and may write to those alone. */
  release(): void;
}

/** Memory that the kernel keeps pinned while a ring lives, or a ring of buffers. */
export const ringArena: Arena = new Arena();
const freeShared = new Map<number, SharedArrayBuffer[]>();
let paramsMemory: Pinned | undefined;

/** How long the kernel counts what a closed ring had locked, and how often it is asked again meanwhile, in milliseconds. */
const LINGER_MS = 300;
const AGAIN_MS = 5;

/** When this thread has closed a ring last. */
let lastClosed: number = Number.NEGATIVE_INFINITY;
const nobody = new Int32Array(new SharedArrayBuffer(4));

/** Closes a ring's fd, where it has one, and gives its memory back. */
export function closeRing(shim: Shim, fd: number, memory: RingMemory): void {
  if (fd >= 0) shim.close(fd);
  memory.release();
  lastClosed = performance.now();
}

/**
 * Sets a ring up. Waits a little where the limit of locked memory is used up by rings that were closed just before: who
 * makes and closes them one after the other needs no more than one at a time.
 */
export function setupRing(options: CheckedOptions): RingSetup {
  for (;;) {
    const setup = trySetup(options);
    if (typeof setup !== "number") return setup;
    if (setup !== ENOMEM || performance.now() - lastClosed > LINGER_MS)
      throw setupError(setup, options.flags);
    Atomics.wait(nobody, 0, 0, AGAIN_MS);
  }
}

/**
 * Sets a ring up by trying: in a Worker without an fd first; in owned memory, in mapped memory where the kernel refuses
 * that; without the SQ's indirection array, with it where the kernel is too old. The ring, or a positive errno.
 */
function trySetup(options: CheckedOptions): RingSetup | number {
  const shim = runtime.load();
  let errno = EINVAL;
  for (const { kind, flags } of attempts(options)) {
    const setup =
      kind === "mapped" ? setupMapped(shim, options, flags) : setupOwned(shim, options, flags, kind);
    if (typeof setup !== "number") {
      if ((setup.params.features & IORING_FEAT_EXT_ARG) !== 0) return setup;
      // Without time limits for waits a ring could not even be closed.
      shim.close(setup.fd);
      setup.memory.release();
      throw tooOld("this library's floor");
    }
    errno = -setup;
    // A full table of registered rings is no failure where an fd does as well.
    const tableFull = errno === EBUSY && (flags & ~options.flags & IORING_SETUP_REGISTERED_FD_ONLY) !== 0;
    if (errno !== EINVAL && errno !== EFAULT && !tableFull) break;
  }
  return errno;
}

/** The kinds of memory and the flags to try, in order. */
function attempts(options: CheckedOptions): { kind: RingMemoryKind; flags: number }[] {
  const { flags, memory, fd } = options;
  const disabled = (flags & IORING_SETUP_R_DISABLED) !== 0;
  const ownOnly = (flags & (IORING_SETUP_REGISTERED_FD_ONLY | IORING_SETUP_NO_MMAP)) !== 0;
  // What another thread is to see and is still there after a Worker's end is memory of the kernel's alone.
  const kinds: RingMemoryKind[] =
    memory !== undefined
      ? [memory]
      : ownOnly
        ? ["owned"]
        : disabled && !runtime.mainThread
          ? ["mapped", "owned"]
          : ["owned", "mapped"];
  const withoutFd = fd === undefined && !runtime.mainThread && !disabled;
  return [...(withoutFd ? [IORING_SETUP_REGISTERED_FD_ONLY] : []), 0].flatMap((only) =>
    kinds
      .filter((kind) => kind !== "mapped" || only === 0)
      .flatMap((kind) =>
        [IORING_SETUP_NO_SQARRAY, 0].map((array) => ({
          kind,
          flags: (flags | only | array | (kind === "mapped" ? 0 : IORING_SETUP_NO_MMAP)) >>> 0,
        })),
      ),
  );
}

/** Memory of this process, given to the kernel with `IORING_SETUP_NO_MMAP`. */
function setupOwned(
  shim: Shim,
  options: CheckedOptions,
  flags: number,
  kind: RingMemoryKind,
): RingSetup | number {
  const given = inOwnMemory(shim, options, flags, kind, flags, (params) =>
    shim.setup(options.entries, params),
  );
  return typeof given === "number" ? given : new RingSetup(given.result, given.params, given.memory);
}

/**
 * Finds memory of this process for a ring, and makes the call that gives it to the kernel.
 *
 * @param flags what the ring is
 * @param passed the flags that the call takes
 * @param call the system call, given the address of its `struct io_uring_params`
 * @returns what the kernel answered, or `-errno`; the memory has then been given back
 */
export function inOwnMemory(
  shim: Shim,
  options: CheckedOptions,
  flags: number,
  kind: RingMemoryKind,
  passed: number,
  call: (params: number) => number,
): { result: number; params: RingParams; memory: RingMemory } | number {
  const sqEntries = roundUp(options.entries, MAX_SQ_ENTRIES);
  const cqEntries = roundUp(options.cqEntries === 0 ? 2 * sqEntries : options.cqEntries, MAX_CQ_ENTRIES);
  const cqeSize = (flags & IORING_SETUP_CQE32) !== 0 ? 32 : 16;
  const sqeSize = (flags & IORING_SETUP_SQE128) !== 0 ? 128 : 64;
  const sqArray = (flags & IORING_SETUP_NO_SQARRAY) !== 0 ? 0 : 4 * sqEntries;
  const ringsLength = pages(HEADER + cqEntries * cqeSize + sqArray);
  const sqesLength = pages(sqEntries * sqeSize);

  const { address, ...memory } = ownMemory(shim, kind, ringsLength, sqesLength, flags);
  const words = paramsFor(options, passed);
  putAddress(words, (io_uring_params.cq_off + io_cqring_offsets.user_addr) / 4, address);
  putAddress(words, (io_uring_params.sq_off + io_sqring_offsets.user_addr) / 4, address + ringsLength);
  const result = call(paramsAddress());
  if (result < 0) {
    memory.release();
    return result;
  }
  const params = readParams(words);
  const used = Math.max(
    params.cqOff.cqes + (params.cqEntries * cqeSize) / 4,
    params.sqOff.array + sqArray / 4,
  );
  if (4 * used > ringsLength || params.sqEntries * sqeSize > sqesLength) {
    // The memory is not given back: the kernel was told of it.
    throw new Error(`the kernel laid its rings out over ${4 * used} bytes, where ${ringsLength} were given`);
  }
  return { result, params, memory };
}

function ownMemory(
  shim: Shim,
  kind: RingMemoryKind,
  ringsLength: number,
  sqesLength: number,
  flags: number,
): RingMemory & { address: number } {
  const length = ringsLength + sqesLength;
  if (kind === "huge") {
    const mapped = Math.ceil(length / HUGE_PAGE) * HUGE_PAGE;
    const address = shim.map(-1, mapped, 0);
    if (address < 0) throw setupError(-address, flags, "huge");
    const buffer = viewOrUnmap(shim, address, mapped);
    return {
      ...views(kind, buffer, 0, ringsLength, sqesLength),
      address,
      release: () => unmap(shim, [[buffer, address]]),
    };
  }
  if ((flags & IORING_SETUP_R_DISABLED) !== 0 && runtime.mainThread) {
    const buffer =
      freeShared.get(length)?.pop() ?? (runtime.allocate(length / PAGE, true) as SharedArrayBuffer);
    const bytes = new Uint8Array(buffer);
    const address = shim.address(bytes);
    const release = () => {
      if (!discardPages(bytes, address)) return;
      const list = freeShared.get(length);
      if (list === undefined) freeShared.set(length, [buffer]);
      else list.push(buffer);
    };
    return { ...views(kind, buffer, 0, ringsLength, sqesLength), shared: buffer, address, release };
  }
  const block = ringArena.take(length);
  return {
    ...views(kind, block.buffer, block.offset, ringsLength, sqesLength),
    address: block.address,
    release: () => ringArena.giveRing(block),
  };
}

/** Memory of the kernel's, mapped. Also how a ring that came from another thread is looked at. */
export function setupMapped(shim: Shim, options: CheckedOptions, flags: number): RingSetup | number {
  const words = paramsFor(options, flags);
  const fd = shim.setup(options.entries, paramsAddress());
  if (fd < 0) return fd;
  const params = readParams(words);
  try {
    return new RingSetup(fd, params, mapRing(fd, params));
  } catch (error) {
    shim.close(fd);
    throw error;
  }
}

/** Maps the memory of a ring that was set up without `IORING_SETUP_NO_MMAP`. */
export function mapRing(fd: number, params: RingParams): RingMemory {
  const shim = runtime.load();
  const cqeSize = (params.flags & IORING_SETUP_CQE32) !== 0 ? 32 : 16;
  const sqArray =
    (params.flags & IORING_SETUP_NO_SQARRAY) !== 0 ? 0 : params.sqOff.array * 4 + params.sqEntries * 4;
  const ringsLength = Math.max(params.cqOff.cqes * 4 + params.cqEntries * cqeSize, sqArray);
  const sqesLength = params.sqEntries * ((params.flags & IORING_SETUP_SQE128) !== 0 ? 128 : 64);

  const ringsAddress = shim.map(fd, ringsLength, IORING_OFF_SQ_RING);
  if (ringsAddress < 0) throw setupError(-ringsAddress, params.flags, "mmap");
  const rings = viewOrUnmap(shim, ringsAddress, ringsLength);
  const sqesAddress = shim.map(fd, sqesLength, IORING_OFF_SQES);
  if (sqesAddress < 0) {
    unmap(shim, [[rings, ringsAddress]]);
    throw setupError(-sqesAddress, params.flags, "mmap");
  }
  const sqes = viewOrUnmap(shim, sqesAddress, sqesLength);
  return {
    kind: "mapped",
    rings: new Int32Array(rings),
    sqes: new Int32Array(sqes),
    release: () =>
      unmap(shim, [
        [rings, ringsAddress],
        [sqes, sqesAddress],
      ]),
  };
}

/** Views of memory that holds the rings and, right after them, the entries. */
export function views(
  kind: RingMemoryKind,
  buffer: ArrayBuffer | SharedArrayBuffer,
  offset: number,
  ringsLength: number,
  sqesLength: number,
): Pick<RingMemory, "kind" | "rings" | "sqes"> {
  return {
    kind,
    rings: new Int32Array(buffer, offset, ringsLength / 4),
    sqes: new Int32Array(buffer, offset + ringsLength, sqesLength / 4),
  };
}

/** The memory of a mapping, which is undone where it can not be looked at. */
export function viewOrUnmap(shim: Shim, address: number, length: number): ArrayBuffer {
  try {
    return shim.view(address, length);
  } catch (error) {
    shim.unmap(address, length);
    throw error;
  }
}

/** Unmaps memory after detaching every view of it: a view that outlived its mapping would end the process. */
export function unmap(shim: Shim, mappings: [ArrayBuffer, number][]): void {
  for (const [buffer, address] of mappings) {
    const length = buffer.byteLength;
    buffer.transfer(0);
    shim.unmap(address, length);
  }
}

function pages(bytes: number): number {
  return Math.ceil(bytes / PAGE) * PAGE;
}

/** The address of the `struct io_uring_params` that `paramsFor` fills. */
export function paramsAddress(): number {
  paramsMemory ??= allocInternal(io_uring_params.sizeof);
  return paramsMemory.address;
}

/** Fills the `struct io_uring_params` of the next call; its words. */
export function paramsFor(options: CheckedOptions, flags: number): Uint32Array {
  paramsAddress();
  const bytes = (paramsMemory as Pinned).bytes;
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, io_uring_params.sizeof / 4);
  words.fill(0);
  words[io_uring_params.sq_entries / 4] = options.entries;
  words[io_uring_params.cq_entries / 4] = options.cqEntries;
  words[io_uring_params.flags / 4] = flags;
  words[io_uring_params.sq_thread_cpu / 4] = options.sqThreadCpu;
  words[io_uring_params.sq_thread_idle / 4] = options.sqThreadIdle;
  words[io_uring_params.wq_fd / 4] = options.wqFd;
  return words;
}

/** What the kernel has answered into the `struct io_uring_params`. */
export function readParams(words: Uint32Array): RingParams {
  const at = (offset: number) => words[offset / 4] as number;
  const sq = (offset: number) => at(io_uring_params.sq_off + offset) / 4;
  const cq = (offset: number) => at(io_uring_params.cq_off + offset) / 4;
  return {
    sqEntries: at(io_uring_params.sq_entries),
    cqEntries: at(io_uring_params.cq_entries),
    flags: at(io_uring_params.flags),
    sqThreadCpu: at(io_uring_params.sq_thread_cpu),
    sqThreadIdle: at(io_uring_params.sq_thread_idle),
    features: at(io_uring_params.features),
    wqFd: at(io_uring_params.wq_fd),
    sqOff: {
      head: sq(io_sqring_offsets.head),
      tail: sq(io_sqring_offsets.tail),
      flags: sq(io_sqring_offsets.flags),
      dropped: sq(io_sqring_offsets.dropped),
      array: sq(io_sqring_offsets.array),
    },
    cqOff: {
      head: cq(io_cqring_offsets.head),
      tail: cq(io_cqring_offsets.tail),
      overflow: cq(io_cqring_offsets.overflow),
      cqes: cq(io_cqring_offsets.cqes),
      flags: cq(io_cqring_offsets.flags),
    },
  };
}

function putAddress(words: Uint32Array, at: number, address: number): void {
  words[at] = address;
  words[at + 1] = address / 4294967296;
}
