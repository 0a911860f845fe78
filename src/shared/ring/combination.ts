import {
  IORING_OP_RECV,
  IORING_OP_RECVMSG,
  IORING_RECV_MULTISHOT,
  IOSQE_BUFFER_SELECT,
  IOSQE_CQE_SKIP_SUCCESS,
  IOSQE_IO_DRAIN,
} from "../abi/index.ts";

/** Whether an entry asks for no completion on success. */
export function skipsSuccess(first: number): boolean {
  return (first & (IOSQE_CQE_SKIP_SUCCESS << 8)) !== 0;
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
