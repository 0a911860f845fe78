import {
  IORING_OP_FADVISE,
  IORING_OP_FALLOCATE,
  IORING_OP_FSYNC,
  IORING_OP_FTRUNCATE,
  IORING_OP_MADVISE,
  IORING_OP_NOP,
  IORING_OP_NOP128,
  IORING_OP_PIPE,
  IORING_OP_READ,
  IORING_OP_READ_FIXED,
  IORING_OP_READ_MULTISHOT,
  IORING_OP_READV,
  IORING_OP_READV_FIXED,
  IORING_OP_SPLICE,
  IORING_OP_SYNC_FILE_RANGE,
  IORING_OP_TEE,
  IORING_OP_WRITE,
  IORING_OP_WRITE_FIXED,
  IORING_OP_WRITEV,
  IORING_OP_WRITEV_FIXED,
  IORING_RW_ATTR_FLAG_PI,
  IOSQE_BUFFER_SELECT,
  iovec,
  SPLICE_F_FD_IN_FIXED,
} from "../../abi/index.ts";
import { AttrPi } from "../../structs/attr-pi.ts";
import { Iovecs } from "../../structs/iovecs.ts";
import { checkAdvice } from "../advice.ts";
import { Direct, type Target } from "../direct.ts";
import { Entry, type Int64, type Mem } from "../entry.ts";
import { Struct } from "../pinned.ts";

// A constant of the module's own is folded into the code; an imported binding is read anew each time.
const NOP = IORING_OP_NOP;
const READ = IORING_OP_READ;
const WRITE = IORING_OP_WRITE;

/** What can have attributes. */
const TRANSFERS: ReadonlySet<number> = new Set([
  IORING_OP_READ,
  IORING_OP_READ_FIXED,
  IORING_OP_READV,
  IORING_OP_READV_FIXED,
  IORING_OP_WRITE,
  IORING_OP_WRITE_FIXED,
  IORING_OP_WRITEV,
  IORING_OP_WRITEV_FIXED,
]);

/** Two fds, as the kernel writes them for a pipe. */
const PIPE_FDS_SIZE = 8;

/**
 * Prep helpers for reading, writing and what else is done to open files and to memory.
 *
 * All helpers store the first word, with the opcode, last: one that throws leaves a fresh entry a no-op, never an
 * operation with half of its arguments.
 */
export class IoPrep extends Entry {
  /**
   * Writes opcode, target, address, length and offset as they are, for operations that have no helper.
   *
   * Nothing is held or bounded: `addr`, and `offset` where the opcode makes an address of it, are raw addresses that the
   * caller answers for until the last completion. See io_uring_enter(2).
   *
   * @param op `IORING_OP_*`, of which the low 8 bits count
   */
  prepRw(op: number, fd: Target, addr: Int64, len: number, offset: Int64): this {
    if ((op | 0) !== op) {
      if (typeof op !== "number") throw new TypeError(`op must be a number, not ${typeof op}`);
      throw new RangeError(`op must be a whole number of 32 bits, not ${op}`);
    }
    return this.rw(op & 0xff, fd, addr, len, offset);
  }

  /**
   * Does nothing but complete.
   *
   * The completion's `res` is 0. Linux 5.1. See io_uring_prep_nop(3).
   */
  prepNop(): this {
    return this.plain(NOP, -1);
  }

  /**
   * Does nothing but complete, in an entry of 128 bytes.
   *
   * The completion's `res` is 0; -EINVAL in a ring without large entries. Linux 6.19. See io_uring_prep_nop128(3).
   */
  prepNop128(): this {
    return this.rw(IORING_OP_NOP128, -1, 0, 0, 0);
  }

  /**
   * Reads from a file into memory.
   *
   * @param nbytes at most how many bytes; 0x7ffff000 of them at a time is the kernel's limit
   * @param offset where in the file; -1 for the file's own position, which moves on, and for pipes and sockets
   *
   * The completion's `res` is the bytes read, 0 at the end of the file. `buf` is the operation's until then.
   * Linux 5.6. See io_uring_prep_read(3), pread(2).
   */
  prepRead(fd: Target, buf: Mem, nbytes: number, offset: Int64): this {
    return this.transfer(READ, fd, buf, nbytes, offset);
  }

  /**
   * Reads from a file into a registered buffer, which saves the kernel mapping the memory each time.
   *
   * @param buf memory within the registered buffer
   * @param offset as for `prepRead`
   * @param bufIndex the registered buffer's index
   *
   * The completion's `res` is the bytes read; -EFAULT where `buf` is not within that buffer. `buf` is the operation's
   * until then. Linux 5.1. See io_uring_prep_read_fixed(3).
   */
  prepReadFixed(fd: Target, buf: Mem, nbytes: number, offset: Int64, bufIndex: number): this {
    return this.bufIndex(bufIndex).transfer(IORING_OP_READ_FIXED, fd, buf, nbytes, offset);
  }

  /**
   * Reads from a file into several pieces of memory, filling one after the other.
   *
   * @param nrVecs how many of the iovecs to use, at most 1024
   * @param offset as for `prepRead`
   *
   * The completion's `res` is the bytes read in all, 0 at the end of the file. The iovecs and their memory are the
   * operation's until then. Linux 5.1. See io_uring_prep_readv(3), preadv(2).
   */
  prepReadv(fd: Target, iovecs: Iovecs | number | bigint, nrVecs: number, offset: Int64): this {
    return this.transferVectors(IORING_OP_READV, fd, iovecs, nrVecs, offset);
  }

  /**
   * Reads like `prepReadv`, with flags for this one read.
   *
   * @param flags `RWF_*`
   *
   * The completion's `res` is the bytes read in all; -EAGAIN with `RWF_NOWAIT` where it would have to wait, -EOPNOTSUPP
   * for a flag that the file does not know. The iovecs and their memory are the operation's until then.
   * Linux 5.1. See io_uring_prep_readv2(3), preadv2(2).
   */
  prepReadv2(
    fd: Target,
    iovecs: Iovecs | number | bigint,
    nrVecs: number,
    offset: Int64,
    flags: number,
  ): this {
    return this.opFlags(flags).transferVectors(IORING_OP_READV, fd, iovecs, nrVecs, offset);
  }

  /**
   * Reads like `prepReadv2` into pieces of a registered buffer.
   *
   * @param flags `RWF_*`
   * @param bufIndex the registered buffer's index
   *
   * The completion's `res` is the bytes read in all; -EFAULT where a piece is not within that buffer. The iovecs and
   * their memory are the operation's until then. Linux 6.15. See io_uring_prep_readv_fixed(3).
   */
  prepReadvFixed(
    fd: Target,
    iovecs: Iovecs | number | bigint,
    nrVecs: number,
    offset: Int64,
    flags: number,
    bufIndex: number,
  ): this {
    this.opFlags(flags).bufIndex(bufIndex);
    return this.transferVectors(IORING_OP_READV_FIXED, fd, iovecs, nrVecs, offset);
  }

  /**
   * Reads again and again, into a buffer of a group each time the file has something to read.
   *
   * Replaces the entry's `IOSQE_*` flags: set further ones afterwards, by `addFlags`.
   *
   * @param nbytes 0, since a buffer's own length counts
   * @param offset -1 or 0
   * @param bufGroup the group the kernel takes buffers from
   *
   * Each completion's `res` is the bytes read, its `bufferId` says where they are; `more` is false on the last.
   * -ENOBUFS when the group is empty, -EBADFD for files that can not be polled, like regular ones, -EINVAL for
   * another `nbytes`. Linux 6.7. See io_uring_prep_read_multishot(3).
   */
  prepReadMultishot(fd: Target, nbytes: number, offset: Int64, bufGroup: number): this {
    this.setFlags(IOSQE_BUFFER_SELECT).bufIndex(bufGroup);
    return this.rw(IORING_OP_READ_MULTISHOT, fd, 0, nbytes, offset);
  }

  /**
   * Writes memory to a file.
   *
   * @param nbytes at most how many bytes; 0x7ffff000 of them at a time is the kernel's limit
   * @param offset where in the file; -1 for the file's own position, which moves on, and for pipes and sockets
   *
   * The completion's `res` is the bytes written, which may be fewer. `buf` is the operation's until then: bytes
   * changed meanwhile may be written either way. Linux 5.6. See io_uring_prep_write(3), pwrite(2).
   */
  prepWrite(fd: Target, buf: Mem, nbytes: number, offset: Int64): this {
    return this.transfer(WRITE, fd, buf, nbytes, offset);
  }

  /**
   * Writes a registered buffer to a file, which saves the kernel mapping the memory each time.
   *
   * @param buf memory within the registered buffer
   * @param offset as for `prepWrite`
   * @param bufIndex the registered buffer's index
   *
   * The completion's `res` is the bytes written; -EFAULT where `buf` is not within that buffer. `buf` is the
   * operation's until then. Linux 5.1. See io_uring_prep_write_fixed(3).
   */
  prepWriteFixed(fd: Target, buf: Mem, nbytes: number, offset: Int64, bufIndex: number): this {
    return this.bufIndex(bufIndex).transfer(IORING_OP_WRITE_FIXED, fd, buf, nbytes, offset);
  }

  /**
   * Writes several pieces of memory to a file, one after the other.
   *
   * @param nrVecs how many of the iovecs to use, at most 1024
   * @param offset as for `prepWrite`
   *
   * The completion's `res` is the bytes written in all. The iovecs and their memory are the operation's until then.
   * Linux 5.1. See io_uring_prep_writev(3), pwritev(2).
   */
  prepWritev(fd: Target, iovecs: Iovecs | number | bigint, nrVecs: number, offset: Int64): this {
    return this.transferVectors(IORING_OP_WRITEV, fd, iovecs, nrVecs, offset);
  }

  /**
   * Writes like `prepWritev`, with flags for this one write.
   *
   * @param flags `RWF_*`
   *
   * The completion's `res` is the bytes written in all; -EAGAIN with `RWF_NOWAIT` where it would have to wait,
   * -EOPNOTSUPP for a flag that the file does not know. The iovecs and their memory are the operation's until then.
   * Linux 5.1. See io_uring_prep_writev2(3), pwritev2(2).
   */
  prepWritev2(
    fd: Target,
    iovecs: Iovecs | number | bigint,
    nrVecs: number,
    offset: Int64,
    flags: number,
  ): this {
    return this.opFlags(flags).transferVectors(IORING_OP_WRITEV, fd, iovecs, nrVecs, offset);
  }

  /**
   * Writes like `prepWritev2` from pieces of a registered buffer.
   *
   * @param flags `RWF_*`
   * @param bufIndex the registered buffer's index
   *
   * The completion's `res` is the bytes written in all; -EFAULT where a piece is not within that buffer. The iovecs and
   * their memory are the operation's until then. Linux 6.15. See io_uring_prep_writev_fixed(3).
   */
  prepWritevFixed(
    fd: Target,
    iovecs: Iovecs | number | bigint,
    nrVecs: number,
    offset: Int64,
    flags: number,
    bufIndex: number,
  ): this {
    this.opFlags(flags).bufIndex(bufIndex);
    return this.transferVectors(IORING_OP_WRITEV_FIXED, fd, iovecs, nrVecs, offset);
  }

  /**
   * Moves bytes between a pipe and another file, or between two pipes, inside the kernel.
   *
   * @param offIn where to read in `fdIn`; -1 for its own position, as pipes need
   * @param offOut where to write in `fdOut`; -1 for its own position, as pipes need
   * @param flags `SPLICE_F_*`; `SPLICE_F_FD_IN_FIXED` is set by passing a `Direct` as `fdIn`
   *
   * The completion's `res` is the bytes moved, 0 at the end of the input; -EINVAL where neither side is a pipe, -ESPIPE
   * for an offset on a pipe. Linux 5.7. See io_uring_prep_splice(3), splice(2).
   */
  prepSplice(fdIn: Target, offIn: Int64, fdOut: Target, offOut: Int64, nbytes: number, flags: number): this {
    return this.from(fdIn, flags).rw(IORING_OP_SPLICE, fdOut, offIn, nbytes, offOut);
  }

  /**
   * Copies bytes from one pipe to another and leaves them in the first.
   *
   * @param flags `SPLICE_F_*`; `SPLICE_F_FD_IN_FIXED` is set by passing a `Direct` as `fdIn`
   *
   * The completion's `res` is the bytes copied; -EINVAL unless both sides are pipes, and not the same.
   * Linux 5.8. See io_uring_prep_tee(3), tee(2).
   */
  prepTee(fdIn: Target, fdOut: Target, nbytes: number, flags: number): this {
    return this.from(fdIn, flags).rw(IORING_OP_TEE, fdOut, 0, nbytes, 0);
  }

  /**
   * Makes a pipe.
   *
   * @param fds 8 bytes for two 32-bit fds, the reading end's first; the operation's until its completion
   * @param flags `O_CLOEXEC`, `O_NONBLOCK`, `O_DIRECT`
   *
   * The completion's `res` is 0, and both fds are the caller's to close; -EMFILE at the limit of open files.
   * Linux 6.16. See io_uring_prep_pipe(3), pipe2(2).
   */
  prepPipe(fds: Mem, flags: number): this {
    return this.opFlags(flags).rw(IORING_OP_PIPE, 0, this.data(fds, PIPE_FDS_SIZE), 0, 0);
  }

  /**
   * Makes a pipe in the ring's table of registered files.
   *
   * @param fds 8 bytes for two 32-bit slots, the reading end's first; the operation's until its completion
   * @param flags `O_NONBLOCK`, `O_DIRECT`
   * @param slot the reading end's, the writing end's being the next; `IORING_FILE_INDEX_ALLOC` for any two free ones
   *
   * The completion's `res` is 0; -ENFILE when no slot is free, -EINVAL with `O_CLOEXEC`.
   * Linux 6.16. See io_uring_prep_pipe_direct(3).
   */
  prepPipeDirect(fds: Mem, flags: number, slot: number | Direct): this {
    this.opFlags(flags).fileSlot(slot);
    return this.rw(IORING_OP_PIPE, 0, this.data(fds, PIPE_FDS_SIZE), 0, 0);
  }

  /**
   * Waits until what was written to a file is on the disk. Writes still in flight are not waited for: link them.
   *
   * @param flags `IORING_FSYNC_DATASYNC` to leave out metadata that reading does not need
   *
   * The completion's `res` is 0; -EIO and -ENOSPC tell of earlier writes that failed, -EINVAL of a file that is on no
   * disk. Linux 5.1. See io_uring_prep_fsync(3), fsync(2).
   */
  prepFsync(fd: Target, flags: number): this {
    return this.opFlags(flags).rw(IORING_OP_FSYNC, fd, 0, 0, 0);
  }

  /**
   * Starts writing a part of a file to the disk, or waits for it. Metadata stays unwritten: no substitute for fsync.
   *
   * @param len how many bytes, 0 for all up to the end
   * @param flags `SYNC_FILE_RANGE_*`
   *
   * The completion's `res` is 0; -ESPIPE for pipes and sockets.
   * Linux 5.2. See io_uring_prep_sync_file_range(3), sync_file_range(2).
   */
  prepSyncFileRange(fd: Target, len: number, offset: Int64, flags: number): this {
    return this.opFlags(flags).rw(IORING_OP_SYNC_FILE_RANGE, fd, 0, len, offset);
  }

  /**
   * Reserves, frees, zeroes or moves a part of a file's room on the disk.
   *
   * @param mode `FALLOC_FL_*`, 0 to reserve and grow the file
   * @param len how many bytes, more than 0
   *
   * The completion's `res` is 0; -ENOSPC on a full disk, -EOPNOTSUPP for a mode that the file system lacks.
   * Linux 5.6. See io_uring_prep_fallocate(3), fallocate(2).
   */
  prepFallocate(fd: Target, mode: number, offset: Int64, len: Int64): this {
    return this.rw(IORING_OP_FALLOCATE, fd, len, mode, offset);
  }

  /**
   * Cuts a file, or extends it by zeros, to a length.
   *
   * @param len the new length in bytes
   *
   * The completion's `res` is 0; -EINVAL for files that have no length or are not open for writing.
   * Linux 6.9. See io_uring_prep_ftruncate(3), ftruncate(2).
   */
  prepFtruncate(fd: Target, len: Int64): this {
    return this.rw(IORING_OP_FTRUNCATE, fd, 0, 0, len);
  }

  /**
   * Tells the kernel how a part of a file is going to be used.
   *
   * @param len how many bytes, 0 for all up to the end
   * @param advice one of `POSIX_FADV_*`
   *
   * The completion's `res` is 0; -ESPIPE for pipes. Linux 5.6. See io_uring_prep_fadvise(3), posix_fadvise(2).
   */
  prepFadvise(fd: Target, offset: Int64, len: number, advice: number): this {
    return this.opFlags(advice).rw(IORING_OP_FADVISE, fd, 0, len, offset);
  }

  /**
   * As `prepFadvise`, with a length of 64 bits.
   *
   * The completion's `res` is 0; -ESPIPE for pipes. Linux 6.11. See io_uring_prep_fadvise64(3), posix_fadvise(2).
   */
  prepFadvise64(fd: Target, offset: Int64, len: Int64, advice: number): this {
    return this.opFlags(advice).rw(IORING_OP_FADVISE, fd, len, 0, offset);
  }

  /**
   * Tells the kernel how memory is going to be used. The kernel wants a page's start and rounds the length up to pages.
   *
   * @param length how many bytes; a multiple of 65536 for advice that discards contents, as `MADV_DONTNEED` does, or
   * keeps them from forked processes: neighbours on the last page would lose theirs
   * @param advice one of `MADV_*`; such as makes touching the memory fatal is taken only with a raw address
   *
   * The completion's `res` is 0; -EINVAL where the memory does not start at a page or is of a kind the advice does not
   * suit. Linux 5.6. See io_uring_prep_madvise(3), madvise(2).
   * @throws RangeError for advice refused as above
   */
  prepMadvise(addr: Mem, length: number, advice: number): this {
    const address = this.advised(addr, length >>> 0, advice);
    return this.opFlags(advice).rw(IORING_OP_MADVISE, -1, address, length, 0);
  }

  /**
   * As `prepMadvise`, with a length of 64 bits.
   *
   * The completion's `res` is 0; -EINVAL as there. Linux 6.11. See io_uring_prep_madvise64(3), madvise(2).
   * @throws RangeError for advice refused as by `prepMadvise`
   */
  prepMadvise64(addr: Mem, length: Int64, advice: number): this {
    const address = this.advised(addr, Number(length), advice);
    return this.opFlags(advice).rw(IORING_OP_MADVISE, -1, address, 0, length);
  }

  /**
   * Has a read or write take protection information along. To be called after the helper.
   *
   * @param attr kept, with its memory, until no operation is in flight; a raw address, and what it points to, is the caller's to
   * answer for
   * @throws TypeError for an entry of another operation
   *
   * The completion's `res` is -EINVAL for a file whose device keeps no such information, -EOPNOTSUPP without `O_DIRECT`.
   * Linux 6.14 (`IORING_FEAT_RW_ATTR`); older kernels do not look at it. See io_uring_enter(2), `attr_ptr`.
   */
  setAttrPi(attr: AttrPi | number | bigint): this {
    if (!TRANSFERS.has(this.opcode()))
      throw new TypeError("only reads and writes have attributes: call a helper of prepRead's kind first");
    return this.attributes(this.struct(attr, AttrPi), IORING_RW_ATTR_FLAG_PI);
  }

  /** `>>> 0` is how many bytes the kernel makes of a length; what is no such number `rw` refuses. */
  private transfer(opcode: number, fd: Target, buf: Mem, nbytes: number, offset: Int64): this {
    return this.rw(opcode, fd, this.data(buf, nbytes >>> 0), nbytes, offset);
  }

  private transferVectors(
    opcode: number,
    fd: Target,
    iovecs: Iovecs | number | bigint,
    nrVecs: number,
    offset: Int64,
  ): this {
    if (iovecs instanceof Iovecs && (nrVecs >>> 0) * iovec.sizeof > Struct.lengthOf(iovecs)) {
      throw new RangeError(`${nrVecs} iovecs are more than the ${iovecs.length} given`);
    }
    return this.rw(opcode, fd, this.struct(iovecs, Iovecs), nrVecs, offset);
  }

  /** Sets the input of splice and tee, which has a flag of its own for slots of the file table. */
  private from(fdIn: Target, flags: number): this {
    this.opFlags(flags);
    if (!(fdIn instanceof Direct)) return this.fileIndex(fdIn);
    return this.opFlags(flags | SPLICE_F_FD_IN_FIXED).fileIndex(Direct.slotOf(fdIn));
  }

  /** The address of memory that advice is given on, once it is sure that nobody's memory suffers from it. */
  private advised(addr: Mem, length: number, advice: number): Int64 {
    if (length < 0) throw new RangeError(`a length can not be ${length}`);
    const address = this.data(addr, length);
    if (typeof addr !== "number" && typeof addr !== "bigint") checkAdvice(advice, length);
    return address;
  }
}
