import * as abi from "../abi/index.ts";
import { isOperation, OPERATIONS } from "./behaviours.ts";
import { type Executor, milliseconds } from "./executor.ts";
import type { Span } from "./memory.ts";
import { Resource, type Tags, UNTAGGED } from "./resource.ts";
import type { SimulatedRing } from "./ring.ts";
import { dropFiles, updateSlots } from "./slots.ts";
import type { World } from "./world.ts";

const ENOENT = 2;
const ENXIO = 6;
const EBADF = 9;
const EFAULT = 14;
const EBUSY = 16;
const EEXIST = 17;
const EINVAL = 22;
const EMFILE = 24;
const ETIME = 62;
const EOVERFLOW = 75;
const EBADFD = 77;
const EALREADY = 114;

/** A thread's table of registered rings has so many places. */
const PLACES = 16;

/** Tables are of so many files and buffers at most. */
const MAX_FILES = 2 ** 20;
const MAX_BUFFERS = 2 ** 14;

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
  [abi.IORING_REGISTER_PERSONALITY]: ({ ring }) => {
    ring.personalities.add(++ring.lastPersonality);
    return ring.lastPersonality;
  },
  [abi.IORING_UNREGISTER_PERSONALITY]: ({ ring, count }) => (ring.personalities.delete(count) ? 0 : -EINVAL),
  // Simulated time is that of all clocks.
  [abi.IORING_REGISTER_CLOCK]: ({ view }) => {
    const clock = view(abi.io_uring_clock_register.sizeof).getInt32(
      abi.io_uring_clock_register.clockid,
      true,
    );
    return clock === abi.CLOCK_MONOTONIC || clock === abi.CLOCK_BOOTTIME ? 0 : -EINVAL;
  },
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
  [abi.IORING_REGISTER_FILES]: (call) => {
    if (call.ring.files !== undefined) return -EBUSY;
    return makeTable(call, { count: call.count, data: call.arg, tags: UNTAGGED });
  },
  [abi.IORING_REGISTER_FILES2]: (call) => {
    if (call.ring.files !== undefined) return -EBUSY;
    return makeTable(call, resourcesOf(call));
  },
  [abi.IORING_UNREGISTER_FILES]: ({ ring }) => {
    if (ring.files === undefined) return -ENXIO;
    dropFiles(ring);
    return 0;
  },
  [abi.IORING_REGISTER_FILES_UPDATE]: ({ world, ring, count, view }) => {
    const head = view(abi.io_uring_rsrc_update.sizeof);
    const data = Number(head.getBigUint64(abi.io_uring_rsrc_update.data, true));
    const offset = head.getUint32(abi.io_uring_rsrc_update.offset, true);
    return updateSlots(world, ring, offset, at(world, data, 4 * count));
  },
  [abi.IORING_REGISTER_FILES_UPDATE2]: (call) => {
    const { world, ring } = call;
    const { offset, count, data, tags } = updateOf(call);
    return updateSlots(world, ring, offset, at(world, data, 4 * count), tags);
  },
  [abi.IORING_REGISTER_FILE_ALLOC_RANGE]: ({ ring, view }) => {
    const range = view(abi.io_uring_file_index_range.sizeof);
    const from = range.getUint32(abi.io_uring_file_index_range.off, true);
    const end = from + range.getUint32(abi.io_uring_file_index_range.len, true);
    if (end >= 2 ** 32) return -EOVERFLOW;
    if (end > (ring.files?.length ?? 0)) return -EINVAL;
    ring.slots = [from, end];
    return 0;
  },
  [abi.IORING_REGISTER_BUFFERS]: (call) => {
    if (call.ring.buffers !== undefined) return -EBUSY;
    return registerBuffers(call, { count: call.count, data: call.arg, tags: UNTAGGED });
  },
  [abi.IORING_REGISTER_BUFFERS2]: (call) => {
    if (call.ring.buffers !== undefined) return -EBUSY;
    return registerBuffers(call, resourcesOf(call));
  },
  [abi.IORING_REGISTER_BUFFERS_UPDATE]: (call) => {
    const { world, ring } = call;
    const { offset, count, data, tags } = updateOf(call);
    if (ring.buffers === undefined) return -ENXIO;
    if (offset + count > ring.buffers.length) return -EINVAL;
    const buffers = spans(at(world, data, count * abi.iovec.sizeof), count);
    const tagged = buffers.findIndex(({ address }, i) => address === 0 && tags.of(i) !== 0n);
    if (tagged === 0) return -EINVAL;
    const done = tagged < 0 ? count : tagged;
    const replaced = ring.buffers.splice(offset, done, ...buffers.slice(0, done).map(resource(tags)));
    for (const buffer of replaced) buffer?.release();
    return done;
  },
  [abi.IORING_UNREGISTER_BUFFERS]: ({ ring }) => {
    if (ring.buffers === undefined) return -ENXIO;
    for (const buffer of ring.buffers.reverse()) buffer?.release();
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
    const supported = isOperation(i) && world.options.refuse?.operations?.includes(i) !== true;
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

/** Resources that are to be registered: how many, where what they are is written down, and their tags. */
interface Resources {
  readonly count: number;
  /** `undefined` for a table that is to be empty. */
  readonly data: number | undefined;
  readonly tags: Tags;
}

function resourcesOf(call: Call): Resources {
  const layout = abi.io_uring_rsrc_register;
  const head = call.view(layout.sizeof);
  const count = head.getUint32(layout.nr, true);
  const sparse = (head.getUint32(layout.flags, true) & abi.IORING_RSRC_REGISTER_SPARSE) !== 0;
  const data = sparse ? undefined : Number(head.getBigUint64(layout.data, true));
  return { count, data, tags: tagsAt(call, head.getBigUint64(layout.tags, true), count) };
}

function updateOf(call: Call): { offset: number; count: number; data: number; tags: Tags } {
  const layout = abi.io_uring_rsrc_update2;
  const head = call.view(layout.sizeof);
  const count = head.getUint32(layout.nr, true);
  return {
    offset: head.getUint32(layout.offset, true),
    count,
    data: Number(head.getBigUint64(layout.data, true)),
    tags: tagsAt(call, head.getBigUint64(layout.tags, true), count),
  };
}

function tagsAt({ world, executor, ring }: Call, address: bigint, count: number): Tags {
  if (address === 0n) return UNTAGGED;
  const tags = at(world, Number(address), 8 * count);
  return {
    of: (i) => tags.getBigUint64(8 * i, true),
    tell: (tag) => {
      if (tag !== 0n) executor.tell(ring, tag);
    },
  };
}

function makeTable({ world, ring }: Call, { count, data, tags }: Resources): number {
  if (count === 0) return -EINVAL;
  if (count > MAX_FILES) return -EMFILE;
  const fds = data === undefined ? undefined : at(world, data, 4 * count);
  const all = Array.from({ length: fds === undefined ? 0 : count }, (_, i) => fds?.getInt32(4 * i, true));
  if (all.some((fd, i) => fd === -1 && tags.of(i) !== 0n)) return -EINVAL;
  if (all.some((fd = -1) => fd !== -1 && (fd < 0 || world.descriptors.get(fd) === undefined))) return -EBADF;
  ring.files = new Array(count).fill(undefined);
  ring.slots = [0, count];
  if (fds !== undefined) updateSlots(world, ring, 0, fds, tags);
  return 0;
}

function registerBuffers({ world, ring }: Call, { count, data, tags }: Resources): number {
  if (count === 0 || count > MAX_BUFFERS) return -EINVAL;
  const buffers = data === undefined ? [] : spans(at(world, data, count * abi.iovec.sizeof), count);
  if (buffers.some(({ address }, i) => address === 0 && tags.of(i) !== 0n)) return -EINVAL;
  if (
    buffers.some(({ address, length }) => length > 0 && world.memory.bytes(address, length) === undefined)
  ) {
    world.violated("unknown-memory", "a buffer was registered where no memory is known");
    return -EFAULT;
  }
  ring.buffers = data === undefined ? new Array(count).fill(undefined) : buffers.map(resource(tags));
  return 0;
}

/** What buffers are once they are registered. */
function resource(tags: Tags): (buffer: Span, i: number) => Resource<Span> {
  return (buffer, i) => {
    const tag = tags.of(i);
    return new Resource(buffer, () => tags.tell(tag));
  };
}

function spans(vectors: DataView, count: number): Span[] {
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
