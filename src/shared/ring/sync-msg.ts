import { runtime } from "#runtime";
import {
  IORING_MSG_DATA,
  IORING_MSG_RING_FLAGS_PASS,
  IORING_OP_MSG_RING,
  IORING_REGISTER_SEND_MSG_RING,
  io_uring_sqe,
} from "../abi/index.ts";
import { bits32, bits64 } from "../structs/fields.ts";
import { Argument } from "./argument.ts";
import { registerError } from "./diagnosis.ts";
import type { Int64 } from "./entry.ts";

const EBADF = 9;
const EOVERFLOW = 75;
const EBADFD = 77;

const HINTS: Readonly<Record<number, string>> = {
  [EBADF]: "There is no such fd",
  [EOVERFLOW]: "The other ring's completion queue is full",
  [EBADFD]: "The fd is no ring's, or the ring is disabled",
};

/**
 * Posts a completion to a ring without having a ring oneself: `data` is its `userData`, `len` its `res`.
 *
 * @param target a ring, or a ring's fd; the ring may be another thread's or process's
 * @param flags 0; `IORING_MSG_RING_FLAGS_PASS` is set by giving `cqeFlags`
 * @param cqeFlags flags of the completion, taken as they are
 * @throws UringError EBADFD for what is no ring or a disabled one, EOVERFLOW when its queue is full, EBADF. Linux 6.13.
 * See io_uring_register_sync_msg(3).
 *
 * @example
 * ```ts
 * import { registerSyncMsg, Ring } from "uring";
 *
 * using ring = new Ring();
 * registerSyncMsg(ring, 7, 42);
 * ring.drain((userData, res) => console.log(userData, res)); // 42 7
 * ```
 */
export function registerSyncMsg(
  target: number | { readonly fd: number },
  len: number,
  data: Int64,
  flags = 0,
  cqeFlags?: number,
): void {
  const fd = typeof target === "object" && target !== null ? target.fd : target;
  using argument = new Argument(io_uring_sqe.sizeof);
  const { view } = argument;
  view.setUint8(io_uring_sqe.opcode, IORING_OP_MSG_RING);
  view.setInt32(io_uring_sqe.fd, bits32(fd, "fd") | 0, true);
  view.setBigUint64(io_uring_sqe.addr, BigInt(IORING_MSG_DATA), true);
  view.setUint32(io_uring_sqe.len, bits32(len, "len"), true);
  view.setBigUint64(io_uring_sqe.off, bits64(data, "data"), true);
  const pass = cqeFlags === undefined ? 0 : IORING_MSG_RING_FLAGS_PASS;
  view.setUint32(io_uring_sqe.msg_ring_flags, bits32(flags, "flags") | pass, true);
  view.setUint32(io_uring_sqe.file_index, bits32(cqeFlags ?? 0, "cqeFlags"), true);
  const result = runtime.load().register(-1, IORING_REGISTER_SEND_MSG_RING, argument.address, 1);
  if (result < 0) throw registerError(-result, IORING_REGISTER_SEND_MSG_RING, HINTS[-result]);
}
