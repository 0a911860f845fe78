import {
  __kernel_timespec,
  IORING_ASYNC_CANCEL_FD,
  IORING_ASYNC_CANCEL_FD_FIXED,
  IORING_FILE_INDEX_ALLOC,
  IORING_MSG_DATA,
  IORING_MSG_RING_FLAGS_PASS,
  IORING_MSG_SEND_FD,
  IORING_OP_ASYNC_CANCEL,
  IORING_OP_FILES_UPDATE,
  IORING_OP_FIXED_FD_INSTALL,
  IORING_OP_LINK_TIMEOUT,
  IORING_OP_MSG_RING,
  IORING_OP_POLL_ADD,
  IORING_OP_POLL_REMOVE,
  IORING_OP_PROVIDE_BUFFERS,
  IORING_OP_REMOVE_BUFFERS,
  IORING_OP_TIMEOUT,
  IORING_OP_TIMEOUT_REMOVE,
  IORING_POLL_ADD_MULTI,
  IORING_TIMEOUT_IMMEDIATE_ARG,
  IORING_TIMEOUT_UPDATE,
  IOSQE_FIXED_FILE,
} from "../../abi/index.ts";
import { Cancel } from "../cancel-match.ts";
import { Direct, type Target } from "../direct.ts";
import type { Int64, Mem } from "../entry.ts";
import { s32, u32 } from "./integers.ts";
import { SocketsPrep } from "./sockets.ts";

const FD = 4;

/**
 * Prep helpers for waiting, and for what works on other operations, on rings and on what is registered with them.
 *
 * Operations are named by their `userData`: the value given to `setData64`, in all its 64 bits.
 */
export class ControlPrep extends SocketsPrep {
  /**
   * Waits until a file is ready.
   *
   * The completion's `res` is the events that are there, or-ed. Linux 5.1. See io_uring_prep_poll_add(3), poll(2).
   *
   * @param pollMask `POLLIN` and its like, or-ed
   */
  prepPollAdd(fd: Target, pollMask: number): this {
    return this.poll(fd, pollMask, 0);
  }

  /**
   * Tells each time a file becomes ready. Data that was there before and is left unread gives no further completion.
   *
   * Each completion's `res` is the events that are there, or-ed; without `IORING_CQE_F_MORE` it is the last. Linux
   * 5.13. See io_uring_prep_poll_multishot(3).
   *
   * @param pollMask `POLLIN` and its like, or-ed
   */
  prepPollMultishot(fd: Target, pollMask: number): this {
    return this.poll(fd, pollMask, IORING_POLL_ADD_MULTI);
  }

  /**
   * Ends a poll, which then completes with -ECANCELED.
   *
   * The completion's `res` is 0; -ENOENT when there is no such poll, -EALREADY when it is just completing. Linux 5.1.
   * See io_uring_prep_poll_remove(3).
   */
  prepPollRemove(userData: Int64): this {
    return this.rw(IORING_OP_POLL_REMOVE, -1, userData, 0, 0);
  }

  /**
   * Changes what a poll waits for, the `userData` of its completions, or both.
   *
   * The completion's `res` is 0; -ENOENT when there is no such poll, -EALREADY when it is just completing. Linux
   * 5.13. See io_uring_prep_poll_update(3).
   *
   * @param pollMask the new events
   * @param flags `IORING_POLL_UPDATE_EVENTS`, `IORING_POLL_UPDATE_USER_DATA`, and `IORING_POLL_ADD_MULTI` for a poll
   * that is to go on
   */
  prepPollUpdate(oldUserData: Int64, newUserData: Int64, pollMask: number, flags: number): this {
    return this.opFlags(pollMask).rw(IORING_OP_POLL_REMOVE, -1, oldUserData, flags, newUserData);
  }

  /**
   * Completes after a time, or once a number of other operations have completed.
   *
   * The completion's `res` is -ETIME when the time is over, 0 when `count` was reached, -ECANCELED when it was
   * removed. With `IORING_TIMEOUT_MULTISHOT` (6.4) there is one each time, the last without `IORING_CQE_F_MORE`. `ts`
   * is the operation's until it has been submitted. Linux 5.4. See io_uring_prep_timeout(3).
   *
   * @param ts 16 bytes, from `encodeTimespec`; with `IORING_TIMEOUT_IMMEDIATE_ARG` (7.1) the nanoseconds themselves
   * @param count how many completions to wait for, 0 for the time alone; with `IORING_TIMEOUT_MULTISHOT` how many
   * times to complete, 0 for no end
   * @param flags `IORING_TIMEOUT_*`; the clock is `CLOCK_MONOTONIC` unless they say otherwise
   */
  prepTimeout(ts: Mem, count: number, flags: number): this {
    const completions = u32(count, "count");
    return this.opFlags(flags).rw(IORING_OP_TIMEOUT, -1, this.time(ts, flags), 1, completions);
  }

  /**
   * Ends a timeout, which then completes with -ECANCELED.
   *
   * The completion's `res` is 0; -ENOENT when there is no such timeout, -EALREADY when it is just completing. Linux
   * 5.5. See io_uring_prep_timeout_remove(3).
   *
   * @param flags 0: none are defined
   */
  prepTimeoutRemove(userData: Int64, flags: number): this {
    return this.opFlags(flags).rw(IORING_OP_TIMEOUT_REMOVE, -1, userData, 0, 0);
  }

  /**
   * Gives a timeout another time, which counts from now.
   *
   * The completion's `res` is 0; -ENOENT when there is no such timeout, -EALREADY when it is just completing. `ts` is
   * the operation's until it has been submitted. Linux 5.11. See io_uring_prep_timeout_update(3).
   *
   * @param ts as for `prepTimeout`
   * @param flags `IORING_TIMEOUT_ABS` and clocks; `IORING_LINK_TIMEOUT_UPDATE` when it is a linked one
   */
  prepTimeoutUpdate(ts: Mem, userData: Int64, flags: number): this {
    const bits = u32(flags, "flags") | IORING_TIMEOUT_UPDATE;
    return this.opFlags(bits).rw(IORING_OP_TIMEOUT_REMOVE, -1, userData, 0, this.time(ts, bits));
  }

  /**
   * Bounds the time of the operation prepared just before, which needs `IOSQE_IO_LINK`; over time that is cancelled.
   *
   * The completion's `res` is -ETIME when the time was over, -ECANCELED when the operation completed before, -ENOENT
   * when it did so meanwhile. `ts` is the operation's until it has been submitted. Linux 5.5. See
   * io_uring_prep_link_timeout(3).
   *
   * @param ts as for `prepTimeout`
   * @param flags `IORING_TIMEOUT_ABS`, clocks, `IORING_TIMEOUT_ETIME_SUCCESS`
   */
  prepLinkTimeout(ts: Mem, flags: number): this {
    return this.opFlags(flags).rw(IORING_OP_LINK_TIMEOUT, -1, this.time(ts, flags), 1, 0);
  }

  /**
   * Cancels an operation, or with `IORING_ASYNC_CANCEL_ALL` (5.19) every one that matches. What is cancelled
   * completes by itself, mostly with -ECANCELED, and its memory is its own until then.
   *
   * The completion's `res` is 0, or how many were found where several may be; -ENOENT for none, -EALREADY when it can
   * only be waited for. Linux 5.5. See io_uring_prep_cancel64(3).
   *
   * @param flags `IORING_ASYNC_CANCEL_*`
   * @param opcode which operations match, with `IORING_ASYNC_CANCEL_OP` (6.6)
   */
  prepCancel64(userData: Int64, flags: number, opcode = 0): this {
    return this.opFlags(flags).rw(IORING_OP_ASYNC_CANCEL, -1, userData, opcode, 0);
  }

  /** The same as `prepCancel64`: C has another for operations named by a pointer. See io_uring_prep_cancel(3). */
  prepCancel(userData: Int64, flags: number, opcode = 0): this {
    return this.prepCancel64(userData, flags, opcode);
  }

  /**
   * Cancels an operation on a file, or with `IORING_ASYNC_CANCEL_ALL` every one. Operations given the fd match an fd,
   * those given a `Direct` match a `Direct`.
   *
   * The completion's `res` is as for `prepCancel64`. Linux 5.19, for `Direct` 6.0. See io_uring_prep_cancel_fd(3).
   *
   * @param flags `IORING_ASYNC_CANCEL_*`
   * @param opcode as for `prepCancel64`
   */
  prepCancelFd(fd: Target, flags: number, opcode = 0): this {
    const fixed = fd instanceof Direct;
    const by = fixed ? IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_FD_FIXED : IORING_ASYNC_CANCEL_FD;
    return this.opFlags(u32(flags, "flags") | by).rw(
      IORING_OP_ASYNC_CANCEL,
      fixed ? Direct.slotOf(fd) : fd,
      0,
      opcode,
      0,
    );
  }

  /**
   * Cancels what matches: `prepCancelMatch(Cancel.fd(fd).op(IORING_OP_READ).all())`. The C helpers are special cases.
   *
   * The completion's `res` is as for `prepCancel64`. See io_uring_prep_cancel64(3).
   */
  prepCancelMatch(match: Cancel): this {
    if (!(match instanceof Cancel)) throw new TypeError("a Cancel is needed, such as Cancel.userData(1)");
    const { flags, fd, userData, opcode } = match.fields();
    return this.opFlags(flags).rw(IORING_OP_ASYNC_CANCEL, fd, userData, opcode, 0);
  }

  /**
   * Posts a completion to another ring, or to this one.
   *
   * The other's completion has `data` as its `userData` and `len` as its `res`; here `res` is 0, -EBADFD when `fd` is
   * no ring or a disabled one, -EOVERFLOW when its queue is full. Linux 5.18. See io_uring_prep_msg_ring(3).
   *
   * @param fd the other ring's fd
   * @param flags `IORING_MSG_RING_CQE_SKIP` for no completion there
   */
  prepMsgRing(fd: Target, len: number, data: Int64, flags: number): this {
    return this.opFlags(flags).rw(IORING_OP_MSG_RING, fd, IORING_MSG_DATA, len, data);
  }

  /**
   * As `prepMsgRing`, with the flags that the other's completion has.
   *
   * Completions are as for `prepMsgRing`. Linux 6.3. See io_uring_prep_msg_ring_cqe_flags(3).
   *
   * @param cqeFlags taken as they are: what reads the other ring must not mistake them for the kernel's
   */
  prepMsgRingCqeFlags(fd: Target, len: number, data: Int64, flags: number, cqeFlags: number): this {
    const bits = u32(flags, "flags") | IORING_MSG_RING_FLAGS_PASS;
    return this.fileIndex(cqeFlags).prepMsgRing(fd, len, data, bits);
  }

  /**
   * Puts a file of this ring's table into another ring's table too.
   *
   * Here `res` is 0, or the slot where any free one was asked for; the other's completion has `data` as its
   * `userData` and the same `res`. -EBADF for an empty slot, -EINVAL when the rings are the same. Linux 6.0. See
   * io_uring_prep_msg_ring_fd(3).
   *
   * @param fd the other ring's fd
   * @param sourceFd the slot here
   * @param targetFd the slot there, or `IORING_FILE_INDEX_ALLOC` for any free one
   * @param flags `IORING_MSG_RING_CQE_SKIP` for no completion there
   */
  prepMsgRingFd(
    fd: Target,
    sourceFd: number | Direct,
    targetFd: number | Direct,
    data: Int64,
    flags: number,
  ): this {
    const source = sourceFd instanceof Direct ? Direct.slotOf(sourceFd) : s32(sourceFd, "slot");
    return this.opFlags(flags)
      .fileSlot(targetFd)
      .addr3(source)
      .rw(IORING_OP_MSG_RING, fd, IORING_MSG_SEND_FD, 0, data);
  }

  /**
   * As `prepMsgRingFd`, into any free slot of the other ring's table.
   *
   * Both completions have the slot as their `res`; -ENFILE when none is free. Linux 6.0. See
   * io_uring_prep_msg_ring_fd_alloc(3).
   */
  prepMsgRingFdAlloc(fd: Target, sourceFd: number | Direct, data: Int64, flags: number): this {
    return this.prepMsgRingFd(fd, sourceFd, IORING_FILE_INDEX_ALLOC, data, flags);
  }

  /**
   * Puts files into the ring's table of registered files, or takes them out.
   *
   * The completion's `res` is how many slots were set; -EBADF for an fd that is not open, -ENXIO without a table.
   * `fds` is the operation's until then. Linux 5.6. See io_uring_prep_files_update(3).
   *
   * @param fds `nrFds` 32-bit fds; -1 empties a slot, `IORING_REGISTER_FILES_SKIP` leaves it
   * @param offset the first slot, or `IORING_FILE_INDEX_ALLOC` for any free ones, which then replace the fds in `fds`
   * (5.19)
   */
  prepFilesUpdate(fds: Mem, nrFds: number, offset: number): this {
    const count = u32(nrFds, "number of fds");
    return this.rw(IORING_OP_FILES_UPDATE, -1, this.data(fds, count * FD), count, s32(offset, "offset"));
  }

  /**
   * Gives the kernel buffers to pick from, for operations with `setBufferGroup`. A ring of buffers does it faster.
   *
   * The completion's `res` is 0 or more; -EINVAL when the group is a ring of buffers. The memory stays the kernel's:
   * each buffer until an operation has used it, all of them until they are removed or the ring is closed. Linux 5.7.
   * See io_uring_prep_provide_buffers(3).
   *
   * @param addr memory of at least `nr * len` bytes
   * @param len bytes in each buffer
   * @param bgid the group
   * @param bid number of the first buffer, 0 to 65535; the others follow
   */
  prepProvideBuffers(addr: Mem, len: number, nr: number, bgid: number, bid: number): this {
    const bytes = u32(len, "length") * u32(nr, "number of buffers");
    const first = s32(bid, "buffer");
    return this.bufIndex(bgid).rw(
      IORING_OP_PROVIDE_BUFFERS,
      s32(nr, "number of buffers"),
      this.dataForGood(addr, bytes),
      len,
      first,
    );
  }

  /**
   * Takes buffers back that the kernel was given by `prepProvideBuffers` and has not used.
   *
   * The completion's `res` is how many; -ENOENT when there is no such group. Linux 5.7. See
   * io_uring_prep_remove_buffers(3).
   *
   * @param nr how many at most
   * @param bgid the group
   */
  prepRemoveBuffers(nr: number, bgid: number): this {
    return this.bufIndex(bgid).rw(IORING_OP_REMOVE_BUFFERS, s32(nr, "number of buffers"), 0, 0, 0);
  }

  /**
   * Gives a file of the ring's table an fd as well. Either can be closed without the other.
   *
   * The completion's `res` is the fd, with `O_CLOEXEC`; -EBADF for an empty slot. Replaces what `setFlags` has set.
   * Linux 6.8. See io_uring_prep_fixed_fd_install(3).
   *
   * @param fd the slot
   * @param flags 0 or `IORING_FIXED_FD_NO_CLOEXEC`
   */
  prepFixedFdInstall(fd: number | Direct, flags: number): this {
    return this.opFlags(flags).rw(IORING_OP_FIXED_FD_INSTALL, fd, 0, 0, 0).setFlags(IOSQE_FIXED_FILE);
  }

  private poll(fd: Target, pollMask: number, command: number): this {
    return this.opFlags(pollMask).rw(IORING_OP_POLL_ADD, fd, 0, command, 0);
  }

  /** Where the kernel finds a time: the address of a timespec, or the nanoseconds in its place. */
  private time(ts: Mem, flags: number): Int64 {
    if ((flags & IORING_TIMEOUT_IMMEDIATE_ARG) === 0) return this.data(ts, __kernel_timespec.sizeof);
    if (typeof ts === "number" || typeof ts === "bigint") return ts;
    throw new TypeError("with IORING_TIMEOUT_IMMEDIATE_ARG the time is nanoseconds, a number or a bigint");
  }
}
