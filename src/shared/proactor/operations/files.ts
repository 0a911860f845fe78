import * as abi from "../../abi/index.ts";
import { checkAdvice } from "../../ring/advice.ts";
import { Direct, type Target } from "../../ring/direct.ts";
import type { Mem } from "../../ring/entry.ts";
import { alloc, type Pinned } from "../../ring/pinned.ts";
import { u32 } from "../../ring/prep/integers.ts";
import { lengthOf } from "../../structs/fields.ts";
import type { Kind, Operation } from "../operation.ts";
import { NO_OPTIONS, type OperationOptions } from "../options.ts";
import { type Piece, Pieces, Values } from "./arguments.ts";
import { attempt, type Memory, Operations } from "./base.ts";
import { discard, type OpenedOptions, type Slot, slotOf } from "./opened.ts";

/** Where and how to read or write. */
export interface VectorOptions extends OperationOptions {
  /** Where in the file, in bytes; where it is left out, at the current position, as pipes and sockets need it. */
  offset?: number | undefined;
  /** `RWF_*` flags of preadv2(2). */
  flags?: number | undefined;
}

/** Where and how much to read or write. */
export interface TransferOptions extends VectorOptions {
  /** How many bytes of the memory, from its start; all of it where it is left out. */
  length?: number | undefined;
}

/** A part of a file. */
export interface RangeOptions extends OperationOptions {
  /** Where it begins, in bytes; 0 unless given. */
  offset?: number | undefined;
  /** How many bytes it has; 0, which is unless given, for all up to the end. */
  length?: number | undefined;
}

/** How room is reserved for a file. */
export interface FallocateOptions extends OperationOptions {
  /** `FALLOC_FL_*`; 0 unless given, which reserves room and lets the file grow. */
  mode?: number | undefined;
}

/** Which memory advice is for. */
export interface MadviseOptions extends OperationOptions {
  /** How many bytes of the memory, from its start; all of it where it is left out. */
  length?: number | undefined;
}

/** How bytes move from one pipe to another. */
export interface TeeOptions extends OperationOptions {
  /** `SPLICE_F_*`. */
  flags?: number | undefined;
}

/** Where bytes move from, and where to. */
export interface SpliceOptions extends TeeOptions {
  /** Where to read, in bytes; where it is left out, at the current position, as pipes need it. */
  fromOffset?: number | undefined;
  /** Where to write, in bytes; where it is left out, at the current position, as pipes need it. */
  toOffset?: number | undefined;
}

/** How a pipe is made. */
export interface PipeOptions extends OperationOptions {
  /** `O_NONBLOCK`, `O_DIRECT`. */
  flags?: number | undefined;
  /** Whether both ends are closed in programs this one becomes; so unless given. */
  cloexec?: boolean | undefined;
}

/** How a slot's file is given an fd. */
export interface InstallOptions extends OperationOptions {
  /** Whether the fd is closed in programs this one becomes; so unless given. */
  cloexec?: boolean | undefined;
}

/** The two ends of a pipe. */
export interface PipeEnds<T extends Target = number> {
  readonly read: T;
  readonly write: T;
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

const READV: Kind = {
  name: "readv",
  opcode: abi.IORING_OP_READV,
  since: "5.1",
  prepare(sqe, { target, offset, flags, extra }) {
    const { address, length } = extra as Pieces;
    sqe.prepReadv2(target, address, length, offset, flags);
  },
};

const WRITEV: Kind = {
  name: "writev",
  opcode: abi.IORING_OP_WRITEV,
  since: "5.1",
  prepare(sqe, { target, offset, flags, extra }) {
    const { address, length } = extra as Pieces;
    sqe.prepWritev2(target, address, length, offset, flags);
  },
};

const nothing = (): undefined => undefined;

const FSYNC: Kind = {
  name: "fsync",
  opcode: abi.IORING_OP_FSYNC,
  since: "5.1",
  blocks: true,
  prepare: (sqe, { target, flags }) => sqe.prepFsync(target, flags),
  value: nothing,
};

const FDATASYNC: Kind = { ...FSYNC, name: "fdatasync" };

const SYNC_FILE_RANGE: Kind = {
  name: "sync_file_range",
  opcode: abi.IORING_OP_SYNC_FILE_RANGE,
  since: "5.2",
  blocks: true,
  prepare: (sqe, { target, length, offset, flags }) => sqe.prepSyncFileRange(target, length, offset, flags),
  value: nothing,
};

/** A length of more than 32 bits. */
type Length = Values<number>;

const FALLOCATE: Kind = {
  name: "fallocate",
  opcode: abi.IORING_OP_FALLOCATE,
  since: "5.6",
  blocks: true,
  prepare: (sqe, { target, flags, offset, extra }) =>
    sqe.prepFallocate(target, flags, offset, (extra as Length).values),
  value: nothing,
};

const FTRUNCATE: Kind = {
  name: "ftruncate",
  opcode: abi.IORING_OP_FTRUNCATE,
  since: "6.9",
  blocks: true,
  prepare: (sqe, { target, offset }) => sqe.prepFtruncate(target, offset),
  value: nothing,
};

const FADVISE: Kind = {
  name: "fadvise64",
  opcode: abi.IORING_OP_FADVISE,
  since: "5.6",
  blocks: true,
  prepare(sqe, { target, offset, flags, extra }) {
    const length = (extra as Length).values;
    // Kernels before 6.11 know lengths of 32 bits alone.
    if (length > 0xffffffff) sqe.prepFadvise64(target, offset, length, flags);
    else sqe.prepFadvise(target, offset, length, flags);
  },
  value: nothing,
};

const MADVISE: Kind = {
  name: "madvise",
  opcode: abi.IORING_OP_MADVISE,
  since: "5.6",
  blocks: true,
  prepare: (sqe, { address, length, flags }) => sqe.prepMadvise(address, length, flags),
  value: nothing,
};

type Source = Values<{ readonly from: Target; readonly offset: number }>;

const SPLICE: Kind = {
  name: "splice",
  opcode: abi.IORING_OP_SPLICE,
  since: "5.7",
  blocks: true,
  prepare(sqe, { target, offset, length, flags, extra }) {
    const source = (extra as Source).values;
    sqe.prepSplice(source.from, source.offset, target, offset, length, flags);
  },
};

const TEE: Kind = {
  name: "tee",
  opcode: abi.IORING_OP_TEE,
  since: "5.8",
  blocks: true,
  prepare: (sqe, { target, length, flags, extra }) =>
    sqe.prepTee((extra as Source).values.from, target, length, flags),
};

/** Where the kernel writes a pipe's two ends. */
class Ends implements Disposable {
  readonly #slot: Slot;
  readonly #fds: Pinned = alloc(8);

  constructor(slot: Slot) {
    this.#slot = slot;
  }

  get slot(): Slot {
    return this.#slot;
  }

  get address(): number {
    return this.#fds.address;
  }

  get ends(): PipeEnds<Target> {
    const slot = this.#slot;
    // The kernel tells those slots only that it has chosen.
    if (slot !== undefined && slot !== abi.IORING_FILE_INDEX_ALLOC)
      return { read: new Direct(slot), write: new Direct(slot + 1) };
    const { buffer, byteOffset } = this.#fds.bytes;
    const [read = -1, write = -1] = new Int32Array(buffer, byteOffset, 2);
    return slot === undefined ? { read, write } : { read: new Direct(read), write: new Direct(write) };
  }

  [Symbol.dispose](): void {
    this.#fds[Symbol.dispose]();
  }
}

const endsOf = ({ extra }: Operation): PipeEnds<Target> => (extra as Ends).ends;

const PIPE: Kind = {
  name: "pipe2",
  opcode: abi.IORING_OP_PIPE,
  since: "6.16",
  prepare(sqe, { flags, extra }) {
    const { address, slot } = extra as Ends;
    if (slot === undefined) sqe.prepPipe(address, flags);
    else sqe.prepPipeDirect(address, flags, slot);
  },
  value: endsOf,
  discard(operation) {
    const { read, write } = endsOf(operation);
    discard(operation, read);
    discard(operation, write);
  },
};

const INSTALL: Kind = {
  name: "fixed_fd_install",
  opcode: abi.IORING_OP_FIXED_FD_INSTALL,
  since: "6.8",
  prepare: (sqe, { target, flags }) => sqe.prepFixedFdInstall(target, flags),
  discard,
};

const CLOSE: Kind = {
  name: "close",
  opcode: abi.IORING_OP_CLOSE,
  since: "5.6",
  prepare(sqe, { target }) {
    if (target instanceof Direct) sqe.prepCloseDirect(target);
    else sqe.prepClose(target);
  },
  value: nothing,
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
   * Reads into several pieces of memory, filling one after the other.
   *
   * @param pieces at most 1024, which are the kernel's until the promise settles
   * @returns how many bytes were read in all: 0 at the end of the file, and perhaps fewer than there is room for
   * @throws UringError as preadv2(2). Linux 5.1. See io_uring_prep_readv2(3).
   */
  readv(target: Target, pieces: readonly Piece[], options: VectorOptions = NO_OPTIONS): Promise<number> {
    return attempt(() => {
      const { offset = -1, flags = 0 } = options;
      return this.call(READV, target, null, 0, offset, flags, options, new Pieces(pieces));
    });
  }

  /**
   * Writes several pieces of memory, one after the other.
   *
   * @param pieces at most 1024, which must stay as they are until the promise settles
   * @returns how many bytes were written in all, perhaps fewer than there are
   * @throws UringError as pwritev2(2). Linux 5.1. See io_uring_prep_writev2(3).
   */
  writev(target: Target, pieces: readonly Piece[], options: VectorOptions = NO_OPTIONS): Promise<number> {
    return attempt(() => {
      const { offset = -1, flags = 0 } = options;
      return this.call(WRITEV, target, null, 0, offset, flags, options, new Pieces(pieces));
    });
  }

  /**
   * Waits until what was written to a file is on the disk. Writes still in flight are not waited for.
   *
   * @throws UringError EIO and ENOSPC for earlier writes that failed, EINVAL for what is on no disk. Linux 5.1. See
   * io_uring_prep_fsync(3), fsync(2).
   */
  fsync(target: Target, options: OperationOptions = NO_OPTIONS): Promise<void> {
    return this.call(FSYNC, target, null, 0, 0, 0, options, null);
  }

  /**
   * As `fsync`, without what is known of the file that reading it does not need.
   *
   * @throws UringError as `fsync`. Linux 5.1. See io_uring_prep_fsync(3), fdatasync(2).
   */
  fdatasync(target: Target, options: OperationOptions = NO_OPTIONS): Promise<void> {
    return this.call(FDATASYNC, target, null, 0, 0, abi.IORING_FSYNC_DATASYNC, options, null);
  }

  /**
   * Starts writing a part of a file to the disk, or waits for it. What is known of the file stays unwritten: no substitute
   * for `fsync`.
   *
   * @param flags `SYNC_FILE_RANGE_*`
   * @throws UringError ESPIPE for pipes and sockets. Linux 5.2. See io_uring_prep_sync_file_range(3),
   * sync_file_range(2).
   */
  syncFileRange(target: Target, flags: number, options: RangeOptions = NO_OPTIONS): Promise<void> {
    const { offset = 0, length = 0 } = options;
    return this.call(SYNC_FILE_RANGE, target, null, length, offset, flags, options, null);
  }

  /**
   * Reserves, frees, zeroes or moves a part of a file's room on the disk.
   *
   * @param offset where the part begins, in bytes
   * @param length how many bytes it has, more than 0
   * @throws UringError ENOSPC on a full disk, EOPNOTSUPP for a mode that the file system lacks. Linux 5.6. See
   * io_uring_prep_fallocate(3), fallocate(2).
   */
  fallocate(
    target: Target,
    offset: number,
    length: number,
    options: FallocateOptions = NO_OPTIONS,
  ): Promise<void> {
    const { mode = 0 } = options;
    return this.call(FALLOCATE, target, null, 0, offset, mode, options, new Values(length));
  }

  /**
   * Cuts a file, or extends it by zeros, to a length.
   *
   * @param length in bytes
   * @throws UringError EINVAL for what has no length or is not open for writing. Linux 6.9. See
   * io_uring_prep_ftruncate(3), ftruncate(2).
   */
  ftruncate(target: Target, length: number, options: OperationOptions = NO_OPTIONS): Promise<void> {
    return this.call(FTRUNCATE, target, null, 0, length, 0, options, null);
  }

  /**
   * Tells the kernel how a part of a file is going to be used.
   *
   * @param advice one of `POSIX_FADV_*`
   * @param options a length of more than 32 bits takes Linux 6.11
   * @throws UringError ESPIPE for pipes. Linux 5.6. See io_uring_prep_fadvise(3), posix_fadvise(2).
   */
  fadvise(target: Target, advice: number, options: RangeOptions = NO_OPTIONS): Promise<void> {
    const { offset = 0, length = 0 } = options;
    return this.call(FADVISE, target, null, 0, offset, advice, options, new Values(length));
  }

  /**
   * Tells the kernel how memory is going to be used. It has to start at a page, and the kernel rounds its length up to
   * pages.
   *
   * @param memory of `alloc`, where its size is 4096 bytes or more; a raw address needs the option `length`
   * @param advice one of `MADV_*`. Where that takes contents away the length must be a multiple of 65536; what makes memory
   * unusable is taken only with a raw address
   * @throws UringError EINVAL for memory that does not start at a page. Linux 5.6. See io_uring_prep_madvise(3),
   * madvise(2).
   */
  madvise(memory: Mem, advice: number, options: MadviseOptions = NO_OPTIONS): Promise<void> {
    return attempt(() => {
      const { length } = options;
      if (typeof memory !== "number" && typeof memory !== "bigint")
        checkAdvice(advice, length ?? lengthOf(memory));
      return this.call(MADVISE, -1, memory, length, 0, advice, options, null);
    });
  }

  /**
   * Moves bytes between a pipe and another file, or between two pipes, inside the kernel.
   *
   * @param length at most how many bytes
   * @returns how many bytes were moved: 0 at the end of the input, and perhaps fewer than asked for
   * @throws UringError EINVAL where neither is a pipe, ESPIPE for an offset in one. Linux 5.7. See
   * io_uring_prep_splice(3), splice(2).
   */
  splice(from: Target, to: Target, length: number, options: SpliceOptions = NO_OPTIONS): Promise<number> {
    const { fromOffset = -1, toOffset = -1, flags = 0 } = options;
    const source: Source = new Values({ from, offset: fromOffset });
    return this.call(SPLICE, to, null, length, toOffset, flags, options, source);
  }

  /**
   * Copies bytes from one pipe to another, and leaves them in the first.
   *
   * @param length at most how many bytes
   * @returns how many bytes were copied, perhaps fewer than asked for
   * @throws UringError EINVAL unless both are pipes, and not the same. Linux 5.8. See io_uring_prep_tee(3), tee(2).
   */
  tee(from: Target, to: Target, length: number, options: TeeOptions = NO_OPTIONS): Promise<number> {
    const source: Source = new Values({ from, offset: -1 });
    return this.call(TEE, to, null, length, 0, options.flags ?? 0, options, source);
  }

  /**
   * Makes a pipe. Both ends are the caller's to close, by `closeFd`; those of one that was aborted are closed at once.
   *
   * @param options with `direct`, the ends take two slots of the table of registered files: any two, or the one given for
   * reading and the next for writing
   * @throws UringError EMFILE at the limit of open files, ENFILE where no slot is free. Linux 6.16. See
   * io_uring_prep_pipe(3), pipe2(2).
   */
  pipe(options?: PipeOptions & { direct?: undefined }): Promise<PipeEnds>;
  pipe(options: PipeOptions & Required<OpenedOptions>): Promise<PipeEnds<Direct>>;
  pipe(options: PipeOptions & OpenedOptions = NO_OPTIONS): Promise<PipeEnds<Target>> {
    return attempt(() => {
      const { flags = 0, cloexec = true, direct } = options;
      const slot = slotOf(direct);
      const all = slot === undefined && cloexec ? u32(flags, "flags") | abi.O_CLOEXEC : flags;
      return this.call(PIPE, -1, null, 0, 0, all, options, new Ends(slot));
    });
  }

  /**
   * Gives the file in a slot of the table of registered files an fd as well. Either can be closed without the other.
   *
   * @returns the fd, the caller's to close; that of an operation that was aborted is closed at once
   * @throws UringError EBADF for an empty slot, EMFILE at the limit of open files. Linux 6.8. See
   * io_uring_prep_fixed_fd_install(3).
   */
  installFd(direct: Direct, options: InstallOptions = NO_OPTIONS): Promise<number> {
    const flags = options.cloexec === false ? abi.IORING_FIXED_FD_NO_CLOEXEC : 0;
    return this.call(INSTALL, direct, null, 0, 0, flags, options, null);
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
