import {
  IORING_OP_MADVISE,
  IORING_OP_RECV,
  IORING_OP_RECVMSG,
  IORING_OP_SEND,
  IORING_OP_SEND_ZC,
  IORING_OP_SENDMSG,
  IORING_OP_SENDMSG_ZC,
  IORING_RECV_MULTISHOT,
  IORING_SEND_VECTORIZED,
  IOSQE_BUFFER_SELECT,
  IOSQE_CQE_SKIP_SUCCESS,
  IOSQE_IO_DRAIN,
  IOSQE_IO_HARDLINK,
  IOSQE_IO_LINK,
} from "../abi/index.ts";

/** Whether an entry asks for no completion on success. */
export function skipsSuccess(first: number): boolean {
  return (first & (IOSQE_CQE_SKIP_SUCCESS << 8)) !== 0;
}

/** Whether the entry after this one begins when this one has ended. */
export function follows(first: number): boolean {
  return (first & ((IOSQE_IO_LINK | IOSQE_IO_HARDLINK) << 8)) !== 0;
}

/** Whether an entry has a notification to come beside its completion. */
export function sendsZeroCopy(first: number): boolean {
  const opcode = first & 0xff;
  return opcode === IORING_OP_SEND_ZC || opcode === IORING_OP_SENDMSG_ZC;
}

/**
 * What is in an entry that no kernel takes together, as the sentence to say; `undefined` where there is nothing.
 *
 * @param first the entry's first word: opcode, flags and ioprio
 * @param skipped whether an entry before asked for no completion on success
 */
export function refusedCombination(first: number, skipped: boolean): string | undefined {
  const opcode = first & 0xff;
  const flags = first >> 8;
  if ((flags & IOSQE_IO_DRAIN) !== 0 && (skipped || skipsSuccess(first))) {
    return "IOSQE_IO_DRAIN can not wait on a ring where IOSQE_CQE_SKIP_SUCCESS was used: the kernel counts completions";
  }
  const multishot = ((first >> 16) & IORING_RECV_MULTISHOT) !== 0;
  if ((opcode === IORING_OP_RECV || opcode === IORING_OP_RECVMSG) && multishot) {
    if ((flags & IOSQE_BUFFER_SELECT) === 0) {
      return "receiving again and again takes buffers of a group: setBufferGroup() says which";
    }
  }
  return undefined;
}

/** Bit 31 of a message's flags: the kernel then takes `struct msghdr` for that of a 32-bit program, and writes across it. */
const MSG_CMSG_COMPAT = 0x80000000;

/** Why an operation's own flags can not be set to these behind its prep helper's back; `undefined` where they can. */
export function refusedOpFlags(opcode: number, flags: number): string | undefined {
  switch (opcode) {
    case IORING_OP_MADVISE:
      return "advice is prepMadvise's to set, which looks at what it does to the memory";
    case IORING_OP_SENDMSG:
    case IORING_OP_SENDMSG_ZC:
    case IORING_OP_RECVMSG:
      return refusedMessageFlags(flags);
    default:
      return undefined;
  }
}

/** Throws a `TypeError` for flags that a message can not be sent or received with. */
export function checkMessageFlags(flags: number): void {
  const refused = refusedMessageFlags(flags);
  if (refused !== undefined) throw new TypeError(refused);
}

/** Why a message can not be sent or received with these flags. */
function refusedMessageFlags(flags: number): string | undefined {
  return (flags & MSG_CMSG_COMPAT) === 0
    ? undefined
    : "MSG_CMSG_COMPAT, bit 31 of a message's flags, is for the headers of 32-bit programs, which a Msghdr is none of";
}

/**
 * What setting the `ioprio` field must leave in it: whether a send's memory holds addresses is for its prep helper to say.
 *
 * @param first the entry's first word
 * @throws TypeError where memory that does not is to be taken for such
 */
export function keptIoprio(first: number, value: number): number {
  const opcode = first & 0xff;
  if (opcode !== IORING_OP_SEND && opcode !== IORING_OP_SEND_ZC) return 0;
  const kept = (first >> 16) & IORING_SEND_VECTORIZED;
  if ((value & IORING_SEND_VECTORIZED & ~kept) === 0) return kept;
  throw new TypeError("Iovecs and IORING_SEND_VECTORIZED need each other: prepare the send of Iovecs");
}
