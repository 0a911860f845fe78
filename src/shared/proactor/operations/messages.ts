import { runtime } from "#runtime";
import { IORING_OP_MSG_RING } from "../../abi/index.ts";
import { errnoError } from "../../ring/errno.ts";
import { MESSAGE } from "../engine.ts";
import { type Kind, MAX_GENERATION } from "../operation.ts";
import { NO_OPTIONS, type OperationOptions } from "../options.ts";
import { attempt } from "./base.ts";
import { WaitOperations } from "./waiting.ts";

/** By what other proactors, in other threads too, can send one messages. It can be cloned, as by `postMessage`. */
export interface ProactorAddress {
  /** The ring's fd. */
  readonly fd: number;
  /** What messages are told by from those that were meant for another ring that had the fd. */
  readonly token: number;
}

/**
 * Closes the ring's fd of a proactor that ended with its Worker, where the Worker was terminated before the proactor was
 * closed: nothing else does, and the kernel refuses it as an operation.
 *
 * @param address of a proactor that is no more; the fd of another, or of a file that has the number since, is not to be
 * closed under it
 * @throws UringError EBADF where there is no such fd
 */
export function closeAddress(address: ProactorAddress): void {
  const { fd } = address;
  if (!Number.isInteger(fd) || fd < 0) throw new TypeError(`an address has an fd, not ${String(fd)}`);
  const result = runtime.load().close(fd);
  if (result < 0) throw errnoError(-result, "close");
}

const POST: Kind = {
  name: "msg_ring",
  opcode: IORING_OP_MSG_RING,
  since: "5.18",
  prepare: (sqe, { target, length, offset }) => sqe.prepMsgRing(target, length, offset, 0),
  value: () => undefined,
};

/** Operations between proactors. */
export abstract class MessageOperations extends WaitOperations {
  /**
   * Sends a number to another proactor, or to this one; it comes out of that one's `messages()`.
   *
   * @param address the other's `address`
   * @param value a whole number from -2^31 to 2^31 - 1
   * @throws UringError EBADF, EBADFD where the address is no ring's any more, EOVERFLOW where the other has no room for
   * completions. Linux 5.18. See io_uring_prep_msg_ring(3).
   */
  post(address: ProactorAddress, value: number, options: OperationOptions = NO_OPTIONS): Promise<void> {
    return attempt(() => {
      const { fd, token } = address;
      if ((value | 0) !== value) {
        throw new RangeError(`a message is a whole number of 32 bits, not ${value}`);
      }
      if (!Number.isInteger(token) || token < 0 || token > MAX_GENERATION) {
        throw new TypeError("an address is what a proactor's `address` says, and nothing else");
      }
      const userData = token * 2 ** 32 + (MESSAGE >>> 0);
      return this.call(POST, fd, null, value >>> 0, userData, 0, options, null);
    });
  }
}
