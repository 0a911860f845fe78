import { IORING_REGISTER_RING_FDS, IORING_UNREGISTER_RING_FDS, io_uring_rsrc_update } from "../abi/index.ts";
import { allocInternal } from "./pinned.ts";

const EINVAL = 22;
const ANY = 0xffffffff;

/** A call of `io_uring_register(2)`; its result or `-errno`. */
type Register = (opcode: number, arg: number, nrArgs: number) => number;

/**
 * Puts a ring into this thread's table of registered rings, which saves each enter the look-up of the fd.
 *
 * @returns the index to enter by, or `-errno`
 */
export function takePlace(fd: number, register: Register): number {
  return call(IORING_REGISTER_RING_FDS, ANY, fd, register);
}

/** Takes a ring out of this thread's table; its index, or `-errno`. */
export function givePlaceBack(index: number, register: Register): number {
  return call(IORING_UNREGISTER_RING_FDS, index, 0, register);
}

/** The index that a call on the table was about, or `-errno`. */
function call(opcode: number, index: number, fd: number, register: Register): number {
  using memory = allocInternal(io_uring_rsrc_update.sizeof);
  const view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset, memory.byteLength);
  view.setUint32(io_uring_rsrc_update.offset, index, true);
  view.setBigUint64(io_uring_rsrc_update.data, BigInt(fd), true);
  const result = register(opcode, memory.address, 1);
  if (result < 0) return result;
  return result === 1 ? view.getUint32(io_uring_rsrc_update.offset, true) : -EINVAL;
}
