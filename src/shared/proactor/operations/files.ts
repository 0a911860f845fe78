import * as abi from "../../abi/index.ts";
import { Direct, type Target } from "../../ring/direct.ts";
import type { Kind } from "../operation.ts";
import { NO_OPTIONS, type OperationOptions } from "../options.ts";
import { type Memory, Operations } from "./base.ts";

/** Where and how much to read or write. */
export interface TransferOptions extends OperationOptions {
  /** Where in the file, in bytes; where it is left out, at the current position, as pipes and sockets need it. */
  offset?: number | undefined;
  /** How many bytes of the memory, from its start; all of it where it is left out. */
  length?: number | undefined;
  /** `RWF_*` flags of preadv2(2). */
  flags?: number | undefined;
}

const NO_TRANSFER: TransferOptions = NO_OPTIONS;

const NOP: Kind = { name: "nop", opcode: abi.IORING_OP_NOP, since: "5.1", prepare: (sqe) => sqe.prepNop() };

const READ: Kind = {
  name: "read",
  opcode: abi.IORING_OP_READ,
  since: "5.6",
  prepare(sqe, { target, address, length, offset, flags, buffer }) {
    if (buffer < 0) sqe.prepRead(target, address, length, offset);
    else sqe.prepReadFixed(target, address, length, offset, buffer);
    if (flags !== 0) sqe.setOpFlags(flags);
  },
};

const WRITE: Kind = {
  name: "write",
  opcode: abi.IORING_OP_WRITE,
  since: "5.6",
  prepare(sqe, { target, address, length, offset, flags, buffer }) {
    if (buffer < 0) sqe.prepWrite(target, address, length, offset);
    else sqe.prepWriteFixed(target, address, length, offset, buffer);
    if (flags !== 0) sqe.setOpFlags(flags);
  },
};

const CLOSE: Kind = {
  name: "close",
  opcode: abi.IORING_OP_CLOSE,
  since: "5.6",
  prepare(sqe, { target }) {
    if (target instanceof Direct) sqe.prepCloseDirect(target);
    else sqe.prepClose(target);
  },
  value: () => undefined,
};

/** Operations on open files. */
export abstract class FileOperations extends Operations {
  /** Does nothing; 0 once the kernel has done so. Linux 5.1. See io_uring_prep_nop(3). */
  nop(options: OperationOptions = NO_OPTIONS): Promise<number> {
    return this.call(NOP, -1, null, 0, 0, 0, options, null);
  }

  /**
   * Reads into memory.
   *
   * @returns how many bytes were read: 0 at the end of the file, and perhaps fewer than asked for
   * @throws UringError as pread(2). Linux 5.6. See io_uring_prep_read(3).
   */
  read(target: Target, memory: Memory, options: TransferOptions = NO_TRANSFER): Promise<number> {
    const { length, offset = -1, flags = 0 } = options;
    return this.call(READ, target, memory, length, offset, flags, options, null);
  }

  /**
   * Writes from memory, which must stay as it is until the promise settles.
   *
   * @returns how many bytes were written, perhaps fewer than asked for
   * @throws UringError as pwrite(2). Linux 5.6. See io_uring_prep_write(3).
   */
  write(target: Target, memory: Memory, options: TransferOptions = NO_TRANSFER): Promise<number> {
    const { length, offset = -1, flags = 0 } = options;
    return this.call(WRITE, target, memory, length, offset, flags, options, null);
  }

  /**
   * Closes a descriptor, or empties the slot of a direct one. Operations on it that are under way go on.
   *
   * @throws UringError EBADF where there is none. Linux 5.6, direct descriptors 5.15. See io_uring_prep_close(3).
   */
  closeFd(target: Target, options: OperationOptions = NO_OPTIONS): Promise<void> {
    return this.call(CLOSE, target, null, 0, 0, 0, options, null);
  }
}
