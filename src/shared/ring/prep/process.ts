import {
  BLOCK_URING_CMD_DISCARD,
  BLOCK_URING_CMD_ZONE_RESET_ALL,
  epoll_event,
  FUTEX2_NUMA,
  FUTEX2_SIZE_U64,
  futex_waitv,
  IORING_OP_EPOLL_CTL,
  IORING_OP_EPOLL_WAIT,
  IORING_OP_FUTEX_WAIT,
  IORING_OP_FUTEX_WAITV,
  IORING_OP_FUTEX_WAKE,
  IORING_OP_URING_CMD,
  IORING_OP_URING_CMD128,
  IORING_OP_WAITID,
  siginfo_t,
} from "../../abi/index.ts";
import { FutexWaitv } from "../../structs/futex-waitv.ts";
import type { Target } from "../direct.ts";
import type { Int64, Mem } from "../entry.ts";
import { Struct } from "../pinned.ts";
import { ControlPrep } from "./control.ts";
import { s32, u32 } from "./integers.ts";

/** The bits of `FUTEX2_*` flags that say how large the word is. */
const SIZE_MASK = FUTEX2_SIZE_U64;

/** Prep helpers for futexes, child processes, epoll, and commands of drivers. */
export class ProcessPrep extends ControlPrep {
  /**
   * Wakes those that wait for a futex.
   *
   * The completion's `res` is how many were woken. Linux 6.7. See io_uring_prep_futex_wake(3).
   *
   * @param futex the word: 4 bytes, aligned
   * @param val how many to wake at most
   * @param mask wakes those only whose mask has a bit in common; `FUTEX_BITSET_MATCH_ANY` wakes all
   * @param futexFlags `FUTEX2_*`: `FUTEX2_SIZE_U32`, and `FUTEX2_PRIVATE` where no other process takes part
   * @param flags 0: none are defined
   */
  prepFutexWake(futex: Mem, val: Int64, mask: Int64, futexFlags: number, flags: number): this {
    return this.futex(IORING_OP_FUTEX_WAKE, futex, val, mask, futexFlags, flags);
  }

  /**
   * Waits until a futex is woken, if its word has the value expected.
   *
   * The completion's `res` is 0 when woken, -EAGAIN when the word had another value. `futex` is the operation's until
   * then. A linked timeout bounds the wait. Linux 6.7. See io_uring_prep_futex_wait(3).
   *
   * @param futex the word: 4 bytes, aligned
   * @param val the value expected
   * @param mask wakes that have no bit of it do not count; `FUTEX_BITSET_MATCH_ANY` for any
   * @param futexFlags `FUTEX2_*`: `FUTEX2_SIZE_U32`, and `FUTEX2_PRIVATE` where no other process takes part
   * @param flags 0: none are defined
   */
  prepFutexWait(futex: Mem, val: Int64, mask: Int64, futexFlags: number, flags: number): this {
    return this.futex(IORING_OP_FUTEX_WAIT, futex, val, mask, futexFlags, flags);
  }

  /**
   * Waits until any of several futexes is woken, if all have the values expected.
   *
   * The completion's `res` is the index of the one woken, -EAGAIN when one had another value. `futexv` and the words
   * are the operation's until then. Linux 6.7. See io_uring_prep_futex_waitv(3).
   *
   * @param nrFutex how many of `futexv` to wait for
   * @param flags 0: none are defined
   */
  prepFutexWaitv(futexv: FutexWaitv | number | bigint, nrFutex: number, flags: number): this {
    const count = u32(nrFutex, "number of futexes");
    const address = this.struct(futexv, FutexWaitv);
    if (futexv instanceof FutexWaitv && count * futex_waitv.sizeof > Struct.lengthOf(futexv)) {
      throw new RangeError(`${count} futexes are more than the ${futexv.length} given`);
    }
    return this.opFlags(flags).rw(IORING_OP_FUTEX_WAITV, 0, address, count, 0);
  }

  /**
   * Waits until a child process changes its state.
   *
   * The completion's `res` is 0, also when with `WNOHANG` there was nothing to tell; -ECHILD without such a child.
   * `infop` is the operation's until then. Linux 6.7. See io_uring_prep_waitid(3), waitid(2).
   *
   * @param idtype what `id` is: `P_PID`, `P_PGID`, `P_PIDFD`, or `P_ALL`
   * @param infop 128 bytes, which `decodeSiginfo` reads; or 0
   * @param options `WEXITED`, `WSTOPPED`, `WCONTINUED`, `WNOHANG`, `WNOWAIT`
   * @param flags 0: none are defined
   */
  prepWaitid(idtype: number, id: number, infop: Mem, options: number, flags: number): this {
    return this.opFlags(flags)
      .fileIndex(options)
      .rw(IORING_OP_WAITID, s32(id, "id"), 0, idtype, this.data(infop, siginfo_t.sizeof));
  }

  /**
   * Waits for the events of an epoll instance.
   *
   * The completion's `res` is how many events `events` has been filled with, which `decodeEpollEvents` reads.
   * `events` is the operation's until then. Linux 6.15. See io_uring_prep_epoll_wait(3), epoll_wait(2).
   *
   * @param fd the epoll instance
   * @param maxevents how many events there is room for
   * @param flags 0: none are defined
   */
  prepEpollWait(fd: Target, events: Mem, maxevents: number, flags: number): this {
    const bytes = u32(maxevents, "number of events") * epoll_event.sizeof;
    return this.opFlags(flags).rw(IORING_OP_EPOLL_WAIT, fd, this.data(events, bytes), maxevents, 0);
  }

  /**
   * Adds a file to an epoll instance, changes what it waits for, or removes it.
   *
   * The completion's `res` is 0; -EEXIST, -ENOENT, -EPERM for files that can not be polled. `ev` is the operation's
   * until it has been submitted. Linux 5.6. See io_uring_prep_epoll_ctl(3), epoll_ctl(2).
   *
   * @param op `EPOLL_CTL_ADD`, `EPOLL_CTL_MOD`, `EPOLL_CTL_DEL`
   * @param ev what `encodeEpollEvent` returns; 0 for `EPOLL_CTL_DEL`
   */
  prepEpollCtl(epfd: number, fd: number, op: number, ev: Mem): this {
    const event = this.data(ev, epoll_event.sizeof);
    return this.rw(IORING_OP_EPOLL_CTL, s32(epfd, "epfd"), event, op, u32(fd, "fd"));
  }

  /**
   * Prepares a command of a file's driver under an opcode of the caller's choice: what `prepUringCmd` and
   * `prepUringCmd128` are made of, internal in liburing as `__io_uring_prep_uring_cmd`.
   *
   * As by `prepRw` nothing is held or bounded: under another opcode the command's number is what that makes of it, be it an
   * address.
   *
   * @param op `IORING_OP_URING_CMD` or `IORING_OP_URING_CMD128`; its low 8 bits count
   * @param cmdOp the driver's number of the command
   */
  prepUringCmdOp(op: number, cmdOp: number, fd: Target): this {
    return this.rw(u32(op, "opcode") & 0xff, fd, 0, 0, u32(cmdOp, "command"));
  }

  /**
   * Runs a command that the file's driver defines.
   *
   * The completion's `res` is the driver's; -EOPNOTSUPP where it has no commands. Rings with large completions get 16
   * more bytes. Linux 5.19. See io_uring_prep_uring_cmd(3).
   *
   * @param cmdOp the driver's number of the command
   */
  prepUringCmd(cmdOp: number, fd: Target): this {
    return this.prepUringCmdOp(IORING_OP_URING_CMD, cmdOp, fd);
  }

  /**
   * As `prepUringCmd`, in a large entry of a ring that has both sizes.
   *
   * The completion is as for `prepUringCmd`. Linux 6.19. See io_uring_prep_uring_cmd128(3).
   */
  prepUringCmd128(cmdOp: number, fd: Target): this {
    return this.prepUringCmdOp(IORING_OP_URING_CMD128, cmdOp, fd);
  }

  /**
   * Gives a driver's command what it takes beside its number: bytes of the driver's own layout, the entry's `cmd`. To be
   * called after the helper.
   *
   * @param payload at most 16 bytes, or 80 with `IORING_SETUP_SQE128`; copied. An address among them is as a raw one: what it
   * points to is the caller's to answer for, for as long as the driver uses it
   * @throws TypeError for an entry of another operation; RangeError for more bytes. Linux 5.19. See io_uring_prep_uring_cmd(3).
   */
  setCmd(payload: Uint8Array): this {
    const opcode = this.opcode();
    if (opcode !== IORING_OP_URING_CMD && opcode !== IORING_OP_URING_CMD128) {
      throw new TypeError(
        "only a driver's command has bytes of its own: call a helper of prepUringCmd's kind first",
      );
    }
    if (!(payload instanceof Uint8Array)) throw new TypeError("a command's bytes are given as a Uint8Array");
    return this.cmd(payload);
  }

  /**
   * Discards a range of a block device: its data is gone. Neither reads nor writes in flight are waited for.
   *
   * The completion's `res` is 0; -EINVAL for a range that is not of whole blocks, -EOPNOTSUPP where the device can
   * not. Linux 6.12. See io_uring_prep_cmd_discard(3).
   *
   * @param offset first byte
   * @param nbytes how many
   */
  prepCmdDiscard(fd: Target, offset: Int64, nbytes: Int64): this {
    return this.addr3(nbytes).rw(IORING_OP_URING_CMD, fd, offset, 0, BLOCK_URING_CMD_DISCARD);
  }

  /**
   * Resets every zone of a zoned block device: its data is gone.
   *
   * The completion's `res` is 0; -EOPNOTSUPP where the device has no zones. Linux 7.x. See
   * io_uring_prep_cmd_zone_reset_all(3).
   */
  prepCmdZoneResetAll(fd: Target): this {
    return this.rw(IORING_OP_URING_CMD, fd, 0, 0, BLOCK_URING_CMD_ZONE_RESET_ALL);
  }

  private futex(
    opcode: number,
    futex: Mem,
    val: Int64,
    mask: Int64,
    futexFlags: number,
    flags: number,
  ): this {
    const kind = s32(futexFlags, "futex flags");
    const word = (kind & SIZE_MASK) === FUTEX2_SIZE_U64 ? 8 : 4;
    // With FUTEX2_NUMA the kernel keeps the node, as large again, behind the word.
    const address = this.data(futex, (kind & FUTEX2_NUMA) === 0 ? word : 2 * word);
    return this.opFlags(flags).addr3(mask).rw(opcode, kind, address, 0, val);
  }
}
