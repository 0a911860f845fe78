import {
  IORING_OP_RECV,
  IORING_OP_RECVMSG,
  IORING_RECV_MULTISHOT,
  IOSQE_BUFFER_SELECT,
  IOSQE_CQE_SKIP_SUCCESS,
  IOSQE_IO_DRAIN,
  io_uring_sqe,
} from "../abi/index.ts";

/**
 * What is in an entry that no kernel takes together, as the sentence to say; `undefined` where there is nothing.
 *
 * @param bytes the entry
 * @param skipped whether an entry before asked for no completion on success
 */
export function refusedCombination(bytes: Uint8Array, skipped: boolean): string | undefined {
  const flags = bytes[io_uring_sqe.flags] as number;
  const opcode = bytes[io_uring_sqe.opcode];
  if ((flags & IOSQE_IO_DRAIN) !== 0 && (skipped || (flags & IOSQE_CQE_SKIP_SUCCESS) !== 0)) {
    return "IOSQE_IO_DRAIN can not wait on a ring where IOSQE_CQE_SKIP_SUCCESS was used: the kernel counts completions";
  }
  // Its flags are low bits.
  const multishot = ((bytes[io_uring_sqe.ioprio] as number) & IORING_RECV_MULTISHOT) !== 0;
  if ((opcode === IORING_OP_RECV || opcode === IORING_OP_RECVMSG) && multishot) {
    if ((flags & IOSQE_BUFFER_SELECT) === 0) {
      return "receiving again and again takes buffers of a group: setBufferGroup() says which";
    }
  }
  return undefined;
}
