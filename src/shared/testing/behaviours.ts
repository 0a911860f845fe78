// What each operation is, as far as the simulated kernel knows: the memory it uses, whether it needs a file, what it comes
// to when nobody says.

import * as abi from "../abi/index.ts";
import type { Memory, Span } from "./memory.ts";
import type { Outcome, SimulatedOperation } from "./operation.ts";
import type { Random } from "./random.ts";

/** Memory of an operation. */
export interface Target extends Span {
  readonly writes: boolean;
  /** Whether what is read or received goes there. */
  readonly data?: boolean;
  /** Whether it is read while the operation is being submitted, and its caller's own from then on. */
  readonly copied?: boolean;
}

/** The operations of Linux 6.18 are those below. */
export const OPERATIONS: number = abi.IORING_OP_PIPE + 1;

/** Of those, the operations that are not simulated. */
const MISSING: readonly number[] = [
  abi.IORING_OP_PROVIDE_BUFFERS,
  abi.IORING_OP_REMOVE_BUFFERS,
  abi.IORING_OP_RECV_ZC,
];

/** Whether there is such an operation here. */
export const isOperation = (opcode: number): boolean => opcode < OPERATIONS && !MISSING.includes(opcode);

/** How much comes into a buffer that the kernel picks, at most, where the policy says nothing. */
const USUAL_TRANSFER = 65536;

const ETIME = 62;
const MSG_WAITALL = 0x100;
const SOCKADDR_IN = 16;
const POLLIN = 1;

const READS: readonly number[] = [
  abi.IORING_OP_READ,
  abi.IORING_OP_READ_FIXED,
  abi.IORING_OP_READV,
  abi.IORING_OP_READV_FIXED,
  abi.IORING_OP_READ_MULTISHOT,
  abi.IORING_OP_RECV,
  abi.IORING_OP_RECVMSG,
];

const WRITES: readonly number[] = [
  abi.IORING_OP_WRITE,
  abi.IORING_OP_WRITE_FIXED,
  abi.IORING_OP_WRITEV,
  abi.IORING_OP_WRITEV_FIXED,
  abi.IORING_OP_SEND,
  abi.IORING_OP_SENDMSG,
  abi.IORING_OP_SEND_ZC,
  abi.IORING_OP_SENDMSG_ZC,
];

const VECTORS: readonly number[] = [
  abi.IORING_OP_READV,
  abi.IORING_OP_READV_FIXED,
  abi.IORING_OP_WRITEV,
  abi.IORING_OP_WRITEV_FIXED,
];

const FIXED: readonly number[] = [
  abi.IORING_OP_READ_FIXED,
  abi.IORING_OP_READV_FIXED,
  abi.IORING_OP_WRITE_FIXED,
  abi.IORING_OP_WRITEV_FIXED,
];

const MESSAGES: readonly number[] = [abi.IORING_OP_SENDMSG, abi.IORING_OP_RECVMSG, abi.IORING_OP_SENDMSG_ZC];

const SOCKET_TRANSFERS: readonly number[] = [
  abi.IORING_OP_SEND,
  abi.IORING_OP_RECV,
  abi.IORING_OP_SEND_ZC,
  ...MESSAGES,
];

const ON_FILES: readonly number[] = [
  ...READS,
  ...WRITES,
  abi.IORING_OP_FSYNC,
  abi.IORING_OP_POLL_ADD,
  abi.IORING_OP_SYNC_FILE_RANGE,
  abi.IORING_OP_ACCEPT,
  abi.IORING_OP_CONNECT,
  abi.IORING_OP_FALLOCATE,
  abi.IORING_OP_FADVISE,
  abi.IORING_OP_EPOLL_CTL,
  abi.IORING_OP_SPLICE,
  abi.IORING_OP_TEE,
  abi.IORING_OP_SHUTDOWN,
  abi.IORING_OP_MSG_RING,
  abi.IORING_OP_FSETXATTR,
  abi.IORING_OP_FGETXATTR,
  abi.IORING_OP_URING_CMD,
  abi.IORING_OP_FIXED_FD_INSTALL,
  abi.IORING_OP_FTRUNCATE,
  abi.IORING_OP_BIND,
  abi.IORING_OP_LISTEN,
  abi.IORING_OP_EPOLL_WAIT,
];

/** The operations that make a file descriptor. */
const MAKERS: readonly number[] = [
  abi.IORING_OP_OPENAT,
  abi.IORING_OP_OPENAT2,
  abi.IORING_OP_ACCEPT,
  abi.IORING_OP_SOCKET,
];

/** Operations whose completions nobody need tell apart, so that they may share one `user_data`. */
const NAMELESS: readonly number[] = [abi.IORING_OP_ASYNC_CANCEL, abi.IORING_OP_CLOSE, abi.IORING_OP_MSG_RING];

export const isRead = ({ opcode }: SimulatedOperation): boolean => READS.includes(opcode);
export const isWrite = ({ opcode }: SimulatedOperation): boolean => WRITES.includes(opcode);
export const isMessage = ({ opcode }: SimulatedOperation): boolean => MESSAGES.includes(opcode);
export const needsFile = ({ opcode }: SimulatedOperation): boolean => ON_FILES.includes(opcode);
export const makesFile = ({ opcode }: SimulatedOperation): boolean => MAKERS.includes(opcode);
export const hasName = ({ opcode, userData64 }: SimulatedOperation): boolean =>
  userData64 !== 0n && !NAMELESS.includes(opcode);

/** Whether its memory must be of a registered buffer. */
export function usesRegistered({ opcode, ioprio }: SimulatedOperation): boolean {
  return (
    FIXED.includes(opcode) ||
    (opcode === abi.IORING_OP_SEND_ZC && (ioprio & abi.IORING_RECVSEND_FIXED_BUF) !== 0)
  );
}

/** Whether it tells of a second time when the network is done with its memory. */
export function isZeroCopy({ opcode }: SimulatedOperation): boolean {
  return opcode === abi.IORING_OP_SEND_ZC || opcode === abi.IORING_OP_SENDMSG_ZC;
}

/** The memory an operation uses, by what its entry and the structs it points to say now. */
export function targetsOf(operation: SimulatedOperation, memory: Memory<SimulatedOperation>): Target[] {
  const { opcode, addr, off, len, fileIndex } = operation;
  const writes = isRead(operation);
  if (isMessage(operation)) return messageTargets(operation, memory);
  if (VECTORS.includes(opcode) || (operation.ioprio & vectorized(operation)) !== 0) {
    return [copied(addr, len * abi.iovec.sizeof), ...vectors(memory, addr, len, writes)];
  }
  if (operation.has(abi.IOSQE_BUFFER_SELECT)) return [];
  const destination = opcode === abi.IORING_OP_SEND || opcode === abi.IORING_OP_SEND_ZC;
  if (writes || isWrite(operation)) {
    const to = destination && off !== 0 ? [copied(off, fileIndex & 0xffff)] : [];
    return [{ address: addr, length: len, writes, data: true }, ...to];
  }
  const written = (address: number, length: number) => ({ address, length, writes: true, data: true });
  switch (opcode) {
    case abi.IORING_OP_ACCEPT: {
      const length = addr === 0 || off === 0 ? 0 : (memory.view(off, 4)?.getUint32(0, true) ?? 0);
      return [written(addr, length), { address: off, length: off === 0 ? 0 : 4, writes: true }];
    }
    case abi.IORING_OP_STATX:
      return [written(off, abi.statx.sizeof)];
    case abi.IORING_OP_FGETXATTR:
    case abi.IORING_OP_GETXATTR:
      return [written(off, len)];
    case abi.IORING_OP_WAITID:
      return [written(off, off === 0 ? 0 : abi.siginfo_t.sizeof)];
    case abi.IORING_OP_PIPE:
      return [written(addr, 8)];
    case abi.IORING_OP_FILES_UPDATE:
      return [{ address: addr, length: 4 * len, writes: true }];
    case abi.IORING_OP_EPOLL_WAIT:
      return [written(addr, len * 12)];
    case abi.IORING_OP_URING_CMD:
      return operation.off % 2 ** 32 === abi.SOCKET_URING_OP_GETSOCKOPT
        ? [written(operation.addr3, fileIndex)]
        : [];
    case abi.IORING_OP_CONNECT:
    case abi.IORING_OP_BIND:
      return [copied(addr, off)];
    case abi.IORING_OP_TIMEOUT:
    case abi.IORING_OP_LINK_TIMEOUT:
      return [copied(addr, abi.__kernel_timespec.sizeof)];
    case abi.IORING_OP_TIMEOUT_REMOVE: {
      const updates = (operation.opFlags & abi.IORING_TIMEOUT_UPDATE_MASK) !== 0;
      return updates ? [copied(off, abi.__kernel_timespec.sizeof)] : [];
    }
    case abi.IORING_OP_OPENAT2:
      return [copied(addr, 1), copied(off, abi.open_how.sizeof)];
    case abi.IORING_OP_OPENAT:
    case abi.IORING_OP_UNLINKAT:
    case abi.IORING_OP_MKDIRAT:
      return [copied(addr, 1)];
    case abi.IORING_OP_RENAMEAT:
    case abi.IORING_OP_LINKAT:
    case abi.IORING_OP_SYMLINKAT:
      return [copied(addr, 1), copied(off, 1)];
    default:
      return [];
  }
}

function vectorized({ opcode }: SimulatedOperation): number {
  const sends = opcode === abi.IORING_OP_SEND || opcode === abi.IORING_OP_SEND_ZC;
  return sends ? abi.IORING_SEND_VECTORIZED : 0;
}

function messageTargets(operation: SimulatedOperation, memory: Memory<SimulatedOperation>): Target[] {
  const { addr } = operation;
  const writes = operation.opcode === abi.IORING_OP_RECVMSG;
  const header = { address: addr, length: abi.msghdr.sizeof, writes };
  const view = memory.view(addr, abi.msghdr.sizeof);
  if (view === undefined) return [header];
  const u64 = (at: number) => Number(view.getBigUint64(at, true));
  const part = (at: number, length: number) => ({ address: at, length: at === 0 ? 0 : length, writes });
  const pieces = operation.has(abi.IOSQE_BUFFER_SELECT)
    ? []
    : vectors(memory, u64(abi.msghdr.msg_iov), u64(abi.msghdr.msg_iovlen), writes);
  if (operation.multishot) return [header];
  return [
    header,
    part(u64(abi.msghdr.msg_name), view.getUint32(abi.msghdr.msg_namelen, true)),
    part(u64(abi.msghdr.msg_control), u64(abi.msghdr.msg_controllen)),
    ...pieces,
  ];
}

function vectors(
  memory: Memory<SimulatedOperation>,
  address: number,
  count: number,
  writes: boolean,
): Target[] {
  const view = memory.view(address, count * abi.iovec.sizeof);
  if (view === undefined) return [];
  return Array.from({ length: count }, (_, i) => {
    const u64 = (at: number) => Number(view.getBigUint64(i * abi.iovec.sizeof + at, true));
    return { address: u64(abi.iovec.iov_base), length: u64(abi.iovec.iov_len), writes, data: true };
  });
}

function copied(address: number, length: number): Target {
  return { address, length, writes: false, copied: true };
}

/** What an operation comes to when the policy says nothing: success, now and then with fewer bytes than were asked for. */
export function usualOutcome(operation: SimulatedOperation, random: Random): Outcome {
  const { opcode, multishot, length } = operation;
  const more = multishot && !random.oneIn(5);
  switch (opcode) {
    case abi.IORING_OP_SPLICE:
    case abi.IORING_OP_TEE:
      return { res: operation.len };
    case abi.IORING_OP_FGETXATTR:
    case abi.IORING_OP_GETXATTR:
      return { res: length };
    case abi.IORING_OP_POLL_ADD:
      return { res: operation.opFlags === 0 ? POLLIN : operation.opFlags & 0xffff, more };
    case abi.IORING_OP_FILES_UPDATE:
      return { res: operation.len };
    case abi.IORING_OP_NOP:
      return { res: (operation.opFlags & abi.IORING_NOP_INJECT_RESULT) !== 0 ? operation.len | 0 : 0 };
    default:
      if (!isRead(operation) && !isWrite(operation)) return { res: 0, more };
  }
  if (multishot && !more) return { res: 0 };
  const most = Math.min(length, USUAL_TRANSFER);
  const short = length > 1 && random.oneIn(8);
  return {
    res: short ? 1 + random.below(most - 1) : operation.has(abi.IOSQE_BUFFER_SELECT) ? most : length,
    more,
  };
}

/** Whether a result fails what is linked to the operation. */
export function failsLink(operation: SimulatedOperation, res: number): boolean {
  const { length } = operation;
  if (res < 0) {
    const expected = (operation.opFlags & abi.IORING_TIMEOUT_ETIME_SUCCESS) !== 0;
    return !(operation.opcode === abi.IORING_OP_TIMEOUT && expected && res === -ETIME);
  }
  if (SOCKET_TRANSFERS.includes(operation.opcode)) {
    return (operation.opFlags & MSG_WAITALL) !== 0 && res < length;
  }
  return (isRead(operation) || isWrite(operation)) && !operation.multishot && res < length;
}

/** What reads give unless the policy says otherwise: a byte's value follows from its place in the file. */
export function pattern(offset: number, length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, i) => patternByte(offset + i));
}

function patternByte(place: number): number {
  return (place + 31 * Math.floor(place / 251)) & 0xff;
}

/** The address of a peer, as accept gives it: 127.0.0.1, and a port by number. */
export function peerAddress(number: number): Uint8Array {
  const bytes = new Uint8Array(SOCKADDR_IN);
  const port = 1024 + (number % 60_000);
  bytes.set([2, 0, port >> 8, port & 0xff, 127, 0, 0, 1]);
  return bytes;
}
