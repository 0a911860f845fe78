import {
  IORING_ASYNC_CANCEL_OP,
  IORING_ASYNC_CANCEL_USERDATA,
  IORING_REGISTER_SYNC_CANCEL,
  io_uring_sync_cancel_reg,
} from "../../abi/index.ts";
import { bits64 } from "../../structs/fields.ts";
import { encodeTimespec } from "../../structs/timespec.ts";
import { Argument } from "../argument.ts";
import { Cancel } from "../cancel-match.ts";
import { newer, registerError } from "../diagnosis.ts";
import { object } from "./values.ts";
import { WorkerRegistration } from "./workers.ts";

const ENOENT = 2;
const EALREADY = 114;
const ETIME = 62;
const EINTR = 4;
const EINVAL = 22;

const LATER_CRITERIA = "IORING_ASYNC_CANCEL_OP, and IORING_ASYNC_CANCEL_USERDATA beside another criterion,";

/** Cancelling in one call. */
export class CancelRegistration extends WorkerRegistration {
  /**
   * Cancels operations and waits until they have ended, as long as `timeout` says. Their completions come as usual. What
   * is not yet submitted is not looked at.
   *
   * @param options `timeout`: milliseconds to wait at most; without it as long as it takes
   * @returns how many were cancelled as far as the kernel counts, which it does with `any()` and `all()`, else 0; where
   * none was, `-ENOENT` when there is none (with `all()` that is 0 too), `-ETIME` when the time was up and the operation
   * goes on, `-EALREADY` when it can not be cancelled any more, `-EINTR` after a signal
   * @throws UringError for other failures: EBADF for an fd that is none, EINVAL for criteria this kernel does not know.
   * Linux 6.0. See io_uring_register_sync_cancel(3).
   */
  registerSyncCancel(match: Cancel, options: { timeout?: number } = {}): number {
    if (!(match instanceof Cancel)) throw new TypeError("a Cancel is needed, such as Cancel.userData(1)");
    const { timeout } = object(options, "options");
    const { flags, fd, userData, opcode } = match.fields();
    const layout = io_uring_sync_cancel_reg;
    using argument = new Argument(layout.sizeof);
    const { view } = argument;
    view.setBigUint64(layout.addr, bits64(userData, "userData"), true);
    view.setInt32(layout.fd, fd, true);
    view.setUint32(layout.flags, flags, true);
    view.setUint8(layout.opcode, opcode);
    if (timeout === undefined) {
      view.setBigInt64(layout.timeout, -1n, true);
      view.setBigInt64(layout.timeout + 8, -1n, true);
    } else {
      encodeTimespec(timeout, argument.bytes.subarray(layout.timeout, layout.timeout + 16));
    }
    const result = this.attempt(IORING_REGISTER_SYNC_CANCEL, argument.address, 1);
    if (result >= 0 || [-ENOENT, -EALREADY, -ETIME, -EINTR].includes(result)) return result;
    const later = (flags & (IORING_ASYNC_CANCEL_USERDATA | IORING_ASYNC_CANCEL_OP)) !== 0;
    const hint = later && result === -EINVAL ? newer(LATER_CRITERIA, "6.6") : undefined;
    throw registerError(-result, IORING_REGISTER_SYNC_CANCEL, hint);
  }
}
