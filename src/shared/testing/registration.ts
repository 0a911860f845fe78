import * as abi from "../abi/index.ts";
import { OPERATIONS } from "./behaviours.ts";
import { type Executor, milliseconds } from "./executor.ts";
import type { SimulatedRing } from "./ring.ts";
import { updateSlots } from "./slots.ts";
import type { World } from "./world.ts";

const ENOENT = 2;
const ENXIO = 6;
const EBADF = 9;
const EFAULT = 14;
const EBUSY = 16;
const EEXIST = 17;
const EINVAL = 22;
const ETIME = 62;
const EBADFD = 77;
const EALREADY = 114;

/** A thread's table of registered rings has so many places. */
const PLACES = 16;

/** What a call of `io_uring_register(2)` is about. */
interface Call {
  readonly world: World;
  readonly executor: Executor;
  readonly ring: SimulatedRing;
  readonly arg: number;
  readonly count: number;
  /** The memory that the argument points to, so long. */
  view(length: number): DataView;
}

/** Thrown where an argument points to no memory. */
class BadAddress extends Error {}

const calls: Readonly<Record<number, (call: Call) => number>> = {
  [abi.IORING_REGISTER_EVENTFD]: registerEventfd,
  [abi.IORING_REGISTER_EVENTFD_ASYNC]: registerEventfd,
  [abi.IORING_UNREGISTER_EVENTFD]: ({ ring }) => {
    if (ring.eventfd === undefined) return -ENXIO;
    ring.eventfd.release();
    ring.eventfd = undefined;
    return 0;
  },
  [abi.IORING_REGISTER_PROBE]: probe,
  [abi.IORING_REGISTER_ENABLE_RINGS]: ({ ring }) => {
    if (ring.enabled) return -EBADFD;
    ring.enabled = true;
    return 0;
  },
  [abi.IORING_REGISTER_RING_FDS]: registerRing,
  [abi.IORING_UNREGISTER_RING_FDS]: unregisterRing,
  [abi.IORING_REGISTER_IOWQ_AFF]: () => 0,
  [abi.IORING_UNREGISTER_IOWQ_AFF]: () => 0,
  [abi.IORING_REGISTER_IOWQ_MAX_WORKERS]: ({ ring, view }) => {
    const limits = view(8);
    for (const i of [0, 1]) {
      const before = ring.workers[i] as number;
      const given = limits.getUint32(4 * i, true);
      if (given !== 0) ring.workers[i] = given;
      limits.setUint32(4 * i, before, true);
    }
    return 0;
  },
  [abi.IORING_REGISTER_FILES]: ({ world, ring, count, view }) => {
    if (ring.files !== undefined) return -EBUSY;
    return makeTable(world, ring, count, view(4 * count));
  },
  [abi.IORING_REGISTER_FILES2]: ({ world, ring, view }) => {
    if (ring.files !== undefined) return -EBUSY;
    const layout = abi.io_uring_rsrc_register;
    const head = view(layout.sizeof);
    const count = head.getUint32(layout.nr, true);
    const sparse = (head.getUint32(layout.flags, true) & abi.IORING_RSRC_REGISTER_SPARSE) !== 0;
    const data = Number(head.getBigUint64(layout.data, true));
    return makeTable(world, ring, count, sparse ? undefined : at(world, data, 4 * count));
  },
  [abi.IORING_UNREGISTER_FILES]: ({ ring }) => {
    if (ring.files === undefined) return -ENXIO;
    for (const file of ring.files) file?.release();
    ring.files = undefined;
    return 0;
  },
  [abi.IORING_REGISTER_FILES_UPDATE]: ({ world, ring, count, view }) => {
    const head = view(abi.io_uring_rsrc_update.sizeof);
    const data = Number(head.getBigUint64(abi.io_uring_rsrc_update.data, true));
    const offset = head.getUint32(abi.io_uring_rsrc_update.offset, true);
    return updateSlots(world, ring, offset, at(world, data, 4 * count));
  },
  [abi.IORING_REGISTER_FILE_ALLOC_RANGE]: ({ ring, view }) => {
    const range = view(abi.io_uring_file_index_range.sizeof);
    const from = range.getUint32(abi.io_uring_file_index_range.off, true);
    const end = from + range.getUint32(abi.io_uring_file_index_range.len, true);
    if (ring.files === undefined || end > ring.files.length) return -EINVAL;
    ring.slots = [from, end];
    return 0;
  },
  [abi.IORING_REGISTER_BUFFERS]: ({ world, ring, count, view }) => {
    if (ring.buffers !== undefined) return -EBUSY;
    return registerBuffers(world, ring, count, view(count * abi.iovec.sizeof));
  },
  [abi.IORING_REGISTER_BUFFERS2]: ({ world, ring, view }) => {
    if (ring.buffers !== undefined) return -EBUSY;
    const layout = abi.io_uring_rsrc_register;
    const head = view(layout.sizeof);
    const count = head.getUint32(layout.nr, true);
    const sparse = (head.getUint32(layout.flags, true) & abi.IORING_RSRC_REGISTER_SPARSE) !== 0;
    const data = Number(head.getBigUint64(layout.data, true));
    return registerBuffers(
      world,
      ring,
      count,
      sparse ? undefined : at(world, data, count * abi.iovec.sizeof),
    );
  },
  [abi.IORING_REGISTER_BUFFERS_UPDATE]: ({ world, ring, view }) => {
    const layout = abi.io_uring_rsrc_update2;
    const head = view(layout.sizeof);
    const count = head.getUint32(layout.nr, true);
    const offset = head.getUint32(layout.offset, true);
    if (ring.buffers === undefined) return -ENXIO;
    if (offset + count > ring.buffers.length) return -EINVAL;
    const data = at(world, Number(head.getBigUint64(layout.data, true)), count * abi.iovec.sizeof);
    ring.buffers.splice(offset, count, ...spans(data, count));
    return count;
  },
  [abi.IORING_UNREGISTER_BUFFERS]: ({ ring }) => {
    if (ring.buffers === undefined) return -ENXIO;
    ring.buffers = undefined;
    return 0;
  },
  [abi.IORING_REGISTER_PBUF_RING]: registerGroup,
  [abi.IORING_UNREGISTER_PBUF_RING]: ({ ring, view }) => {
    const group = view(abi.io_uring_buf_reg.sizeof).getUint16(abi.io_uring_buf_reg.bgid, true);
    return ring.groups.delete(group) ? 0 : -ENOENT;
  },
  [abi.IORING_REGISTER_PBUF_STATUS]: ({ ring, view }) => {
    const status = view(abi.io_uring_buf_status.sizeof);
    const group = ring.groups.get(status.getUint32(abi.io_uring_buf_status.buf_group, true));
    if (group === undefined) return -ENOENT;
    status.setUint32(abi.io_uring_buf_status.head, group.head, true);
    return 0;
  },
  [abi.IORING_REGISTER_SYNC_CANCEL]: cancel,
};

/** `io_uring_register(2)`; the result or `-errno`. */
export function register(
  world: World,
  executor: Executor,
  ring: SimulatedRing,
  opcode: number,
  arg: number,
  count: number,
): number {
  const call = calls[opcode];
  if (call === undefined || world.options.refuse?.registrations?.includes(opcode)) return -EINVAL;
  try {
    return call({ world, executor, ring, arg, count, view: (length) => at(world, arg, length) });
  } catch (error) {
    if (error instanceof BadAddress) return -EFAULT;
    throw error;
  }
}

function at(world: World, address: number, length: number): DataView {
  const view = world.memory.view(address, length);
  if (view === undefined) throw new BadAddress();
  return view;
}

function registerEventfd({ world, ring, view }: Call): number {
  if (ring.eventfd !== undefined) return -EBUSY;
  const file = world.descriptors.get(view(4).getInt32(0, true));
  if (file === undefined) return -EBADF;
  if (file.kind !== "eventfd") return -EINVAL;
  file.references++;
  ring.eventfd = file;
  return 0;
}

function probe({ world, count, view }: Call): number {
  const { io_uring_probe: layout, io_uring_probe_op: op } = abi;
  const answer = view(layout.sizeof + count * op.sizeof);
  answer.setUint8(layout.last_op, OPERATIONS - 1);
  answer.setUint8(layout.ops_len, Math.min(OPERATIONS, count));
  for (let i = 0; i < Math.min(OPERATIONS, count); i++) {
    const supported = world.options.refuse?.operations?.includes(i) !== true;
    answer.setUint8(layout.ops + i * op.sizeof, i);
    answer.setUint16(layout.ops + i * op.sizeof + op.flags, supported ? abi.IO_URING_OP_SUPPORTED : 0, true);
  }
  return 0;
}

function registerRing({ world, view }: Call): number {
  const update = view(abi.io_uring_rsrc_update.sizeof);
  const ring = world.rings.get(Number(update.getBigUint64(abi.io_uring_rsrc_update.data, true)));
  if (ring === undefined) return -EBADF;
  const place = world.placeFor(ring, PLACES);
  if (place < 0) return -EBUSY;
  update.setUint32(abi.io_uring_rsrc_update.offset, place, true);
  return 1;
}

function unregisterRing({ world, view }: Call): number {
  const place = view(abi.io_uring_rsrc_update.sizeof).getUint32(abi.io_uring_rsrc_update.offset, true);
  const ring = world.registered[place];
  if (ring === undefined) return -EINVAL;
  world.registered[place] = undefined;
  ring.file.release();
  return 1;
}

function makeTable(world: World, ring: SimulatedRing, count: number, fds: DataView | undefined): number {
  if (count === 0) return -EINVAL;
  ring.files = new Array(count).fill(undefined);
  ring.slots = [0, count];
  const put = fds === undefined ? count : updateSlots(world, ring, 0, fds);
  if (put === count) return 0;
  for (const file of ring.files) file?.release();
  ring.files = undefined;
  return -EBADF;
}

function registerBuffers(
  world: World,
  ring: SimulatedRing,
  count: number,
  vectors: DataView | undefined,
): number {
  if (count === 0) return -EINVAL;
  const buffers = vectors === undefined ? [] : spans(vectors, count);
  if (
    buffers.some(({ address, length }) => length > 0 && world.memory.bytes(address, length) === undefined)
  ) {
    world.violated("unknown-memory", "a buffer was registered where no memory is known");
    return -EFAULT;
  }
  ring.buffers = vectors === undefined ? new Array(count).fill(undefined) : buffers;
  return 0;
}

function spans(vectors: DataView, count: number): { address: number; length: number }[] {
  return Array.from({ length: count }, (_, i) => ({
    address: Number(vectors.getBigUint64(i * abi.iovec.sizeof + abi.iovec.iov_base, true)),
    length: Number(vectors.getBigUint64(i * abi.iovec.sizeof + abi.iovec.iov_len, true)),
  }));
}

function registerGroup({ world, ring, view }: Call): number {
  const layout = abi.io_uring_buf_reg;
  const argument = view(layout.sizeof);
  const id = argument.getUint16(layout.bgid, true);
  const flags = argument.getUint16(layout.flags, true);
  const entries = argument.getUint32(layout.ring_entries, true);
  const address = Number(argument.getBigUint64(layout.ring_addr, true));
  if (ring.groups.has(id)) return -EEXIST;
  if ((flags & ~abi.IOU_PBUF_RING_INC) !== 0 || entries === 0 || (entries & (entries - 1)) !== 0)
    return -EINVAL;
  if (entries > 32768 || address % 4096 !== 0) return -EINVAL;
  const length = entries * abi.io_uring_buf.sizeof;
  at(world, address, length);
  ring.groups.set(id, {
    ring: { address, length },
    entries,
    incremental: (flags & abi.IOU_PBUF_RING_INC) !== 0,
    head: 0,
  });
  return 0;
}

function cancel({ world, executor, ring, view }: Call): number {
  const layout = abi.io_uring_sync_cancel_reg;
  const argument = view(layout.sizeof);
  const match = {
    flags: argument.getUint32(layout.flags, true),
    userData: argument.getBigUint64(layout.addr, true),
    fd: argument.getInt32(layout.fd, true),
    opcode: argument.getUint8(layout.opcode),
  };
  const seconds = argument.getBigInt64(layout.timeout, true);
  const { timeline } = world;
  const end = seconds < 0n ? Number.POSITIVE_INFINITY : timeline.now + milliseconds(argument, layout.timeout);
  for (;;) {
    const result = executor.cancel(ring, match);
    if (result !== -EALREADY) return result;
    if (timeline.next > end) return -ETIME;
    timeline.turn();
  }
}
