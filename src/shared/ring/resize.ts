import { runtime } from "#runtime";
import {
  IORING_REGISTER_RESIZE_RINGS,
  IORING_SETUP_CLAMP,
  IORING_SETUP_CQE_MIXED,
  IORING_SETUP_CQE32,
  IORING_SETUP_NO_SQARRAY,
  IORING_SETUP_SQE128,
} from "../abi/index.ts";
import { registerError, setupError } from "./diagnosis.ts";
import { errnoError } from "./errno.ts";
import { checkOptions, MAX_SQ_ENTRIES, roundUp } from "./options.ts";
import {
  inOwnMemory,
  mapRing,
  paramsAddress,
  paramsFor,
  type RingParams,
  RingSetup,
  readParams,
  setupMapped,
} from "./setup.ts";

const EINVAL = 22;
const EOVERFLOW = 75;

/** The flags that a ring's size depends on. */
const SIZE_FLAGS =
  IORING_SETUP_SQE128 | IORING_SETUP_CQE32 | IORING_SETUP_CQE_MIXED | IORING_SETUP_NO_SQARRAY;

/** The sizes a ring is to have from now on. */
export interface ResizeOptions {
  /** Entries of the submission queue, rounded up to a power of two. As many as before unless given. */
  entries?: number;
  /** Entries of the completion queue, at least `entries`; default twice as many. */
  cqEntries?: number;
  /** `IORING_SETUP_CLAMP` takes the most there can be where more is asked for; else 0. */
  flags?: number;
}

/** Sizes that are numbers, in an object of the library's. */
export type Sizes = Readonly<Record<"entries" | "cqEntries" | "flags", number | undefined>>;

/** What a caller asks for, of which nothing is a getter any more that could change the ring meanwhile. */
export function sizesOf(options: ResizeOptions): Sizes {
  if (typeof options !== "object" || options === null) throw new TypeError("sizes must be an object");
  const { entries, cqEntries, flags } = options;
  const sizes = { entries, cqEntries, flags };
  for (const [name, size] of Object.entries(sizes)) {
    if (size !== undefined && typeof size !== "number")
      throw new TypeError(`${name} must be a number, not ${typeof size}`);
  }
  return sizes;
}

/** What resizing needs to know of a ring. */
export interface ResizableRing {
  readonly setup: RingSetup;
  /** -1 without. */
  readonly fd: number;
  /** How many entries the kernel has not taken. */
  readonly pending: number;
  register(opcode: number, arg: number, nrArgs: number): number;
  /** Ends the ring: the kernel has moved it to where it can not be seen. */
  lost(): void;
}

/**
 * Has the kernel move a ring to memory of another size, of the same kind as before.
 *
 * @returns the ring in its new memory; the old memory is still there to be copied from. Where this throws, the ring is as
 * before, unless it is lost
 */
export function resizeRing(ring: ResizableRing, sizes: Sizes): RingSetup {
  const { setup } = ring;
  const { entries = setup.params.sqEntries, cqEntries, flags = 0 } = sizes;
  if ((flags & ~IORING_SETUP_CLAMP) !== 0) {
    throw new TypeError("a ring is resized with no other flag than IORING_SETUP_CLAMP: it stays what it is");
  }
  const { memory, params } = setup;
  const mixed = params.flags & IORING_SETUP_CQE_MIXED;
  const checked = checkOptions({
    entries,
    flags: flags | mixed,
    ...(cqEntries === undefined ? {} : { cqEntries }),
  });
  const asked = checked.flags & ~mixed;
  if (ring.pending > roundUp(entries, MAX_SQ_ENTRIES)) {
    throw errnoError(EOVERFLOW, "io_uring_register", {
      hint: `${ring.pending} entries wait to be submitted, more than the ${entries} there would be room for`,
    });
  }
  const shim = runtime.load();
  const resize = (address: number) => ring.register(IORING_REGISTER_RESIZE_RINGS, address, 1);
  if (memory.kind !== "mapped") {
    const given = inOwnMemory(shim, checked, params.flags, memory.kind, asked, resize);
    if (typeof given === "number") throw resizeError(-given);
    return new RingSetup(setup.fd, resized(params, given.params), given.memory);
  }

  if (ring.fd < 0) throw new TypeError("the new memory is mapped by the ring's fd, and this ring has none");
  // The kernel moves first, and only then can be mapped. A ring of that size shows whether there is room.
  const flagsOfSize = (params.flags & SIZE_FLAGS) | asked;
  const rehearsal = setupMapped(shim, checked, flagsOfSize);
  if (typeof rehearsal === "number") throw setupError(-rehearsal, flagsOfSize);
  rehearsal.memory.release();
  shim.close(rehearsal.fd);
  const words = paramsFor(checked, asked);
  const result = resize(paramsAddress());
  if (result < 0) throw resizeError(-result);
  const answered = resized(params, readParams(words));
  try {
    return new RingSetup(setup.fd, answered, mapRing(ring.fd, answered));
  } catch (error) {
    ring.lost();
    throw error;
  }
}

/** A ring's parameters with what has changed. */
function resized(before: RingParams, { sqEntries, cqEntries, sqOff, cqOff }: RingParams): RingParams {
  return { ...before, sqEntries, cqEntries, sqOff, cqOff };
}

function resizeError(errno: number): Error {
  const hints: Readonly<Record<number, string>> = {
    [EINVAL]: "A ring can be resized that was set up with IORING_SETUP_DEFER_TASKRUN",
    [EOVERFLOW]: "More completions wait to be read, or entries to be submitted, than there would be room for",
  };
  return registerError(errno, IORING_REGISTER_RESIZE_RINGS, hints[errno]);
}
