// What Linux refuses an entry for before it does anything of it: flags it does not know, and fields that go not together.

import * as abi from "../abi/index.ts";
import type { Memory } from "./memory.ts";
import type { SimulatedOperation } from "./operation.ts";

const EINVAL = 22;
const EOPNOTSUPP = 95;

const KNOWN_FLAGS = 2 * abi.IOSQE_CQE_SKIP_SUCCESS - 1;
const NOP_FLAGS = 2 * abi.IORING_NOP_CQE32 - 1;
const CANCEL_FLAGS = 2 * abi.IORING_ASYNC_CANCEL_OP - 1;
const POLL_CHANGES = abi.IORING_POLL_UPDATE_EVENTS | abi.IORING_POLL_UPDATE_USER_DATA;
const TIMEOUT_FLAGS =
  abi.IORING_TIMEOUT_ABS |
  abi.IORING_TIMEOUT_CLOCK_MASK |
  abi.IORING_TIMEOUT_ETIME_SUCCESS |
  abi.IORING_TIMEOUT_MULTISHOT;
const TIMEOUT_CHANGES =
  abi.IORING_TIMEOUT_UPDATE_MASK | abi.IORING_TIMEOUT_CLOCK_MASK | abi.IORING_TIMEOUT_ABS;

/** The operations that take buffers of groups. */
const SELECT: readonly number[] = [
  abi.IORING_OP_READ,
  abi.IORING_OP_READV,
  abi.IORING_OP_READ_MULTISHOT,
  abi.IORING_OP_RECV,
  abi.IORING_OP_RECVMSG,
  abi.IORING_OP_SEND,
  abi.IORING_OP_URING_CMD,
];

/** What an entry is refused for by what every entry has, as a positive errno; 0 for nothing. */
export function checkFlags(operation: SimulatedOperation): number {
  if ((operation.flags & ~KNOWN_FLAGS) !== 0) return EINVAL;
  if (operation.has(abi.IOSQE_BUFFER_SELECT) && !SELECT.includes(operation.opcode)) return EOPNOTSUPP;
  const { personality, ring } = operation;
  return personality === 0 || ring.personalities.has(personality) ? 0 : EINVAL;
}

/** Whether an entry has fields that its operation does not take. */
export function isInvalid(operation: SimulatedOperation, memory: Memory<SimulatedOperation>): boolean {
  const { opcode, opFlags, addr, off, len, fileIndex, fd } = operation;
  const selects = operation.has(abi.IOSQE_BUFFER_SELECT);
  switch (opcode) {
    case abi.IORING_OP_NOP:
      return (opFlags & ~NOP_FLAGS) !== 0;
    case abi.IORING_OP_ASYNC_CANCEL:
      return (
        (opFlags & ~CANCEL_FLAGS) !== 0 ||
        ((opFlags & abi.IORING_ASYNC_CANCEL_ANY) !== 0 &&
          (opFlags & (abi.IORING_ASYNC_CANCEL_FD | abi.IORING_ASYNC_CANCEL_OP)) !== 0)
      );
    case abi.IORING_OP_TIMEOUT:
    case abi.IORING_OP_LINK_TIMEOUT:
      return (
        (opFlags & ~TIMEOUT_FLAGS) !== 0 ||
        (operation.multishot && (opFlags & abi.IORING_TIMEOUT_ABS) !== 0) ||
        badTime(opFlags, addr, memory)
      );
    case abi.IORING_OP_TIMEOUT_REMOVE:
      if ((opFlags & abi.IORING_TIMEOUT_UPDATE_MASK) === 0) return opFlags !== 0;
      return (opFlags & ~TIMEOUT_CHANGES) !== 0 || badTime(opFlags, off, memory);
    case abi.IORING_OP_POLL_REMOVE:
      return (
        (len & ~(POLL_CHANGES | abi.IORING_POLL_ADD_MULTI)) !== 0 ||
        len === abi.IORING_POLL_ADD_MULTI ||
        ((len & abi.IORING_POLL_UPDATE_USER_DATA) === 0 && off !== 0) ||
        ((len & abi.IORING_POLL_UPDATE_EVENTS) === 0 && opFlags !== 0)
      );
    case abi.IORING_OP_MSG_RING:
      return (opFlags & ~(abi.IORING_MSG_RING_CQE_SKIP | abi.IORING_MSG_RING_FLAGS_PASS)) !== 0;
    case abi.IORING_OP_READ_MULTISHOT:
      return !selects || addr !== 0 || len !== 0;
    case abi.IORING_OP_RECV:
    case abi.IORING_OP_RECVMSG:
      return operation.multishot && (!selects || (opFlags & abi.MSG_WAITALL) !== 0);
    // What another program is not to have is an fd: slots it never has.
    case abi.IORING_OP_OPENAT:
    case abi.IORING_OP_PIPE:
      return fileIndex !== 0 && (opFlags & abi.O_CLOEXEC) !== 0;
    case abi.IORING_OP_OPENAT2: {
      const flags = memory.view(off, abi.open_how.sizeof)?.getUint32(abi.open_how.flags, true) ?? 0;
      return fileIndex !== 0 && (flags & abi.O_CLOEXEC) !== 0;
    }
    case abi.IORING_OP_ACCEPT:
      if ((opFlags & ~(abi.SOCK_CLOEXEC | abi.SOCK_NONBLOCK)) !== 0) return true;
      if (operation.multishot && fileIndex !== 0 && fileIndex !== abi.IORING_FILE_INDEX_ALLOC) return true;
      return fileIndex !== 0 && (opFlags & abi.SOCK_CLOEXEC) !== 0;
    case abi.IORING_OP_SOCKET:
      return opFlags !== 0 || (fileIndex !== 0 && (off & abi.SOCK_CLOEXEC) !== 0);
    case abi.IORING_OP_CLOSE:
      return fileIndex !== 0 && fd !== 0;
    default:
      return false;
  }
}

/** Whether a time is none, or is to be of two clocks. */
function badTime(flags: number, address: number, memory: Memory<SimulatedOperation>): boolean {
  if ((flags & abi.IORING_TIMEOUT_CLOCK_MASK) === abi.IORING_TIMEOUT_CLOCK_MASK) return true;
  const time = memory.view(address, abi.__kernel_timespec.sizeof);
  return time !== undefined && (time.getBigInt64(0, true) < 0n || time.getBigInt64(8, true) < 0n);
}
