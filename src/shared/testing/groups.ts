// Groups of buffers, from which operations take theirs.

import * as abi from "../abi/index.ts";
import type { SimulatedOperation } from "./operation.ts";
import type { World } from "./world.ts";

const EFAULT = 14;
const ENOBUFS = 105;

/** A buffer of a group. */
export interface PickedBuffer {
  readonly bytes: Uint8Array;
  /** Whether it stays the group's for what of it is not used. */
  readonly incremental: boolean;
  /** Takes so many bytes of it; what a completion's flags say of it. */
  use(count: number): number;
}

/** The buffer that is next in the group that an operation names, or `-errno`. */
export function pick(world: World, operation: SimulatedOperation): PickedBuffer | number {
  const { memory } = world;
  const group = operation.ring.groups.get(operation.bufIndex);
  if (group === undefined) return -ENOBUFS;
  const entries = memory.view(group.ring.address, group.ring.length);
  const tail = entries?.getUint16(abi.io_uring_buf_ring.tail, true) ?? 0;
  if (entries === undefined || ((tail - group.head) & 0xffff) === 0) return -ENOBUFS;
  const at = (group.head & (group.entries - 1)) * abi.io_uring_buf.sizeof;
  const address = Number(entries.getBigUint64(at + abi.io_uring_buf.addr, true));
  const length = entries.getUint32(at + abi.io_uring_buf.len, true);
  const id = entries.getUint16(at + abi.io_uring_buf.bid, true);
  const bytes = memory.bytes(address, length);
  if (bytes === undefined) {
    world.violated(
      "unknown-memory",
      `${operation} picked buffer ${id} of ${length} bytes at ${address}, which are none`,
    );
    return -EFAULT;
  }
  const { incremental } = group;
  return {
    bytes,
    incremental,
    use(count) {
      const more = incremental && count < length;
      if (more) {
        entries.setBigUint64(at + abi.io_uring_buf.addr, BigInt(address + count), true);
        entries.setUint32(at + abi.io_uring_buf.len, length - count, true);
      } else group.head = (group.head + 1) & 0xffff;
      const flags = abi.IORING_CQE_F_BUFFER | (more ? abi.IORING_CQE_F_BUF_MORE : 0);
      return flags | (id << abi.IORING_CQE_BUFFER_SHIFT);
    },
  };
}
