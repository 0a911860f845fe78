import * as abi from "../../abi/index.ts";
import { Direct, type Target } from "../../ring/direct.ts";
import type { Int64 } from "../../ring/entry.ts";
import { alloc, type Pinned } from "../../ring/pinned.ts";
import { u32 } from "../../ring/prep/integers.ts";
import { decodeEpollEvents, type EpollEvent, encodeEpollEvent } from "../../structs/epoll-event.ts";
import { whole } from "../../structs/fields.ts";
import { type Futex, FutexWaitv } from "../../structs/futex-waitv.ts";
import { type ChildInfo, decodeSiginfo } from "../../structs/siginfo.ts";
import { encodeTimespec, type Timespec } from "../../structs/timespec.ts";
import type { Kind, Operation } from "../operation.ts";
import { NO_OPTIONS, type OperationOptions } from "../options.ts";
import { type Piece, Uses, Values } from "./arguments.ts";
import { attempt, type Memory } from "./base.ts";
import { discard, opened, slotOf } from "./opened.ts";
import { SocketOperations } from "./sockets.ts";

/** How to count the time. */
export interface TimeoutOptions extends OperationOptions {
  /** Whether the time is a point on the clock, not a duration. */
  absolute?: boolean | undefined;
  /** `CLOCK_MONOTONIC`, which is unless given, `CLOCK_BOOTTIME` or `CLOCK_REALTIME`; the latter two since Linux 5.15. */
  clock?: number | undefined;
}

/** How to wait for events. */
export interface EpollWaitOptions extends OperationOptions {
  /** How many events are taken at most; 64 unless given. */
  maxEvents?: number | undefined;
}

/** Which waiters, and what kind of futex. */
export interface FutexOptions extends OperationOptions {
  /** Waits and wakes meet only where their masks have a bit in common; `FUTEX_BITSET_MATCH_ANY` unless given. */
  mask?: number | undefined;
  /** `FUTEX2_*`; `FUTEX2_SIZE_U32` unless given. `FUTEX2_PRIVATE` where no other process takes part. */
  flags?: number | undefined;
}

/** What to wait for of a child. */
export interface WaitidOptions extends OperationOptions {
  /** `WEXITED`, which is unless given, `WSTOPPED`, `WCONTINUED`, `WNOHANG`, `WNOWAIT`. */
  flags?: number | undefined;
}

/** What a message to another ring brings beside its result. */
export interface MsgRingOptions extends OperationOptions {
  /** `IORING_MSG_RING_*`. */
  flags?: number | undefined;
  /** The flags of the other's completion. Linux 6.3. */
  cqeFlags?: number | undefined;
}

/** Where another ring is to put a file. */
export interface MsgRingFdOptions extends OperationOptions {
  /** The slot there; any free one unless given. */
  slot?: number | Direct | undefined;
  /** `IORING_MSG_RING_*`. */
  flags?: number | undefined;
}

/** Which slots files are put into. */
export interface FilesUpdateOptions extends OperationOptions {
  /** The first slot, the others following; any free ones unless given, since Linux 5.19. */
  slot?: number | Direct | undefined;
}

/** What a driver's command works on. */
export interface UringCmdOptions extends OperationOptions {
  /** Memory of the command, where it takes some. */
  memory?: Memory | undefined;
  /** How many bytes of the memory, from its start; all of it where it is left out. */
  length?: number | undefined;
  /** `IORING_URING_CMD_*`. */
  flags?: number | undefined;
  /**
   * What the command takes in the entry itself, in the driver's own layout: at most 16 bytes, 80 with `IORING_SETUP_SQE128`.
   * They are copied; what addresses among them point to is the caller's to answer for until the promise settles.
   */
  payload?: Uint8Array | undefined;
}

const nothing = (): undefined => undefined;

const POLL: Kind = {
  name: "poll",
  opcode: abi.IORING_OP_POLL_ADD,
  since: "5.1",
  prepare: (sqe, { target, flags }) => sqe.prepPollAdd(target, flags),
};

const ETIME = 62;

const TIMEOUT: Kind = {
  name: "timeout",
  opcode: abi.IORING_OP_TIMEOUT,
  since: "5.4",
  prepare(sqe, { flags, extra, chained }) {
    // In a chain the time being over is no failure: what comes next is to begin then.
    const all = chained ? flags | abi.IORING_TIMEOUT_ETIME_SUCCESS : flags;
    sqe.prepTimeout((extra as Pinned).address, 0, all);
  },
  answers: (res) => res === -ETIME,
  value: nothing,
};

const CLOCKS: ReadonlyMap<number, number> = new Map([
  [abi.CLOCK_MONOTONIC, 0],
  [abi.CLOCK_BOOTTIME, abi.IORING_TIMEOUT_BOOTTIME],
  [abi.CLOCK_REALTIME, abi.IORING_TIMEOUT_REALTIME],
]);

const EPOLL_WAIT: Kind = {
  name: "epoll_wait",
  opcode: abi.IORING_OP_EPOLL_WAIT,
  since: "6.15",
  prepare: (sqe, { target, length, extra }) =>
    sqe.prepEpollWait(target, (extra as Pinned).address, length, 0),
  value: ({ extra }, res) => decodeEpollEvents(extra as Pinned, res),
};

const EPOLL_CTL: Kind = {
  name: "epoll_ctl",
  opcode: abi.IORING_OP_EPOLL_CTL,
  since: "5.6",
  prepare: (sqe, { target, length, flags, extra }) =>
    sqe.prepEpollCtl(target as number, length, flags, extra === null ? 0 : (extra as Pinned).address),
  value: nothing,
};

type Mask = Values<number>;

const FUTEX_WAIT: Kind = {
  name: "futex_wait",
  opcode: abi.IORING_OP_FUTEX_WAIT,
  since: "6.7",
  prepare: (sqe, { address, offset, flags, extra }) =>
    sqe.prepFutexWait(address, offset, (extra as Mask).values, flags, 0),
  value: nothing,
};

const FUTEX_WAKE: Kind = {
  name: "futex_wake",
  opcode: abi.IORING_OP_FUTEX_WAKE,
  since: "6.7",
  prepare: (sqe, { address, offset, flags, extra }) =>
    sqe.prepFutexWake(address, offset, (extra as Mask).values, flags, 0),
};

/** Several futexes, in use until the operation's end. */
class Futexes implements Disposable {
  /** Of the array. Asked for once: what it points to may be disposed of before the operation's turn. */
  readonly address: number;
  readonly length: number;
  readonly #struct: FutexWaitv;
  readonly #uses: Uses;

  constructor(futexes: readonly Futex[]) {
    const struct = new FutexWaitv(futexes);
    this.#struct = struct;
    this.address = struct.address;
    this.length = struct.length;
    this.#uses = new Uses(Array.from({ length: struct.length }, (_, i) => struct.at(i) as Piece));
  }

  [Symbol.dispose](): void {
    this.#uses[Symbol.dispose]();
    this.#struct[Symbol.dispose]();
  }
}

const FUTEX_WAITV: Kind = {
  name: "futex_waitv",
  opcode: abi.IORING_OP_FUTEX_WAITV,
  since: "6.7",
  prepare(sqe, { extra }) {
    const { address, length } = extra as Futexes;
    sqe.prepFutexWaitv(address, length, 0);
  },
};

const WAITID: Kind = {
  name: "waitid",
  opcode: abi.IORING_OP_WAITID,
  since: "6.7",
  prepare: (sqe, { length, offset, flags, extra }) =>
    sqe.prepWaitid(length, offset, (extra as Pinned).address, flags, 0),
  value: ({ extra }) => decodeSiginfo(extra as Pinned),
};

type Message = Values<{ readonly data: Int64; readonly cqeFlags: number | undefined }>;

const MSG_RING: Kind = {
  name: "msg_ring",
  opcode: abi.IORING_OP_MSG_RING,
  since: "5.18",
  prepare(sqe, { target, length, flags, extra }) {
    const { data, cqeFlags } = (extra as Message).values;
    if (cqeFlags === undefined) sqe.prepMsgRing(target, length, data, flags);
    else sqe.prepMsgRingCqeFlags(target, length, data, flags, cqeFlags);
  },
  value: nothing,
};

type Sending = Values<{ readonly data: Int64; readonly source: Direct; readonly slot: number }>;

const MSG_RING_FD: Kind = {
  name: "msg_ring",
  opcode: abi.IORING_OP_MSG_RING,
  since: "6.0",
  prepare(sqe, { target, flags, extra }) {
    const { data, source, slot } = (extra as Sending).values;
    sqe.prepMsgRingFd(target, source, slot, data, flags);
  },
  value: ({ extra }, res) => opened((extra as Sending).values.slot, res),
};

/** The fds that slots are given, where the kernel writes the slots it has chosen. */
class Fds implements Disposable {
  readonly memory: Pinned;
  readonly slot: number;

  constructor(fds: readonly number[], slot: number) {
    if (!Array.isArray(fds) || fds.length === 0) throw new TypeError("an array of fds is needed");
    for (const fd of fds) whole(fd, -0x8000_0000, 0x7fff_ffff, "an fd");
    this.memory = alloc(4 * fds.length);
    this.slot = slot;
    this.words.set(fds);
  }

  get words(): Int32Array {
    const { buffer, byteOffset, length } = this.memory.bytes;
    return new Int32Array(buffer, byteOffset, length / 4);
  }

  /** The slots that were gone through. */
  slots(count: number): Direct[] {
    const any = this.slot === abi.IORING_FILE_INDEX_ALLOC;
    return Array.from(this.words.subarray(0, count), (word, i) => new Direct(any ? word : this.slot + i));
  }

  /** Those of them that something was put into. */
  filled(count: number): Direct[] {
    // The kernel writes over an fd the slot that it has found for it.
    return this.slots(count).filter((_, i) => (this.words[i] as number) >= 0);
  }

  [Symbol.dispose](): void {
    this.memory[Symbol.dispose]();
  }
}

const filled = ({ extra }: Operation, res: number): Direct[] => (extra as Fds).slots(res);

const FILES_UPDATE: Kind = {
  name: "files_update",
  opcode: abi.IORING_OP_FILES_UPDATE,
  since: "5.6",
  prepare(sqe, { extra }) {
    const { memory, words, slot } = extra as Fds;
    sqe.prepFilesUpdate(memory.address, words.length, slot);
  },
  value: filled,
  discard(operation, res) {
    for (const slot of (operation.extra as Fds).filled(res)) discard(operation, slot);
  },
};

const URING_CMD: Kind = {
  name: "uring_cmd",
  opcode: abi.IORING_OP_URING_CMD,
  since: "5.19",
  prepare(sqe, { target, address, length, offset, flags, buffer, extra }) {
    sqe.prepRw(abi.IORING_OP_URING_CMD, target, address, length, offset).setOpFlags(flags);
    if (extra !== null) sqe.setCmd((extra as Values<Uint8Array>).values);
    if (buffer >= 0 && (flags & abi.IORING_URING_CMD_FIXED) !== 0) sqe.setBufferIndex(buffer);
  },
};

const DISCARD: Kind = {
  name: "block_discard",
  opcode: abi.IORING_OP_URING_CMD,
  since: "6.12",
  prepare: (sqe, { target, offset, extra }) =>
    sqe.prepCmdDiscard(target, offset, (extra as Values<number>).values),
  value: nothing,
};

/** Operations that wait for something, and those on rings and drivers. */
export abstract class WaitOperations extends SocketOperations {
  /**
   * Waits until a file is ready.
   *
   * @param mask `POLLIN` and its like, or-ed
   * @returns the events that are there, or-ed: `POLLERR` and `POLLHUP` too, which need not be asked for
   * @throws UringError EBADF. Linux 5.1. See io_uring_prep_poll_add(3), poll(2).
   */
  poll(target: Target, mask: number, options: OperationOptions = NO_OPTIONS): Promise<number> {
    return this.call(POLL, target, null, 0, 0, mask, options, null);
  }

  /**
   * Resolves after a time. In a chain, what comes next begins then (Linux 5.16).
   *
   * @param time milliseconds as a number (fractions count), nanoseconds as a bigint, or a timespec's parts
   * @throws RangeError for a time that is negative or infinite. Linux 5.4. See io_uring_prep_timeout(3).
   *
   * @example
   * ```ts
   * import { Proactor } from "uring";
   *
   * await using proactor = new Proactor();
   * await proactor.timeout(0.25); // a quarter of a millisecond
   * ```
   */
  timeout(time: Timespec, options: TimeoutOptions = NO_OPTIONS): Promise<void> {
    return attempt(() => {
      const { absolute = false, clock = abi.CLOCK_MONOTONIC } = options;
      const bits = CLOCKS.get(clock);
      if (bits === undefined)
        throw new RangeError(
          `clock must be CLOCK_MONOTONIC, CLOCK_BOOTTIME or CLOCK_REALTIME, not ${String(clock)}`,
        );
      const flags = absolute ? bits | abi.IORING_TIMEOUT_ABS : bits;
      const struct: Pinned = encodeTimespec(time);
      return this.call(TIMEOUT, -1, null, 0, 0, flags, options, struct);
    });
  }

  /**
   * Waits for events of an epoll instance.
   *
   * @returns at least one; `data` is what it was added with
   * @throws UringError EINVAL for what is no epoll instance. Linux 6.15. See io_uring_prep_epoll_wait(3), epoll_wait(2).
   */
  epollWait(
    target: Target,
    options: EpollWaitOptions = NO_OPTIONS,
  ): Promise<{ events: number; data: bigint }[]> {
    return attempt(() => {
      const count = whole(options.maxEvents ?? 64, 1, 0xffff, "maxEvents");
      const events = alloc(count * abi.epoll_event.sizeof);
      return this.call(EPOLL_WAIT, target, null, count, 0, 0, options, events);
    });
  }

  /**
   * Adds a file to an epoll instance, changes what it waits for, or removes it.
   *
   * @param epfd the epoll instance's fd
   * @param op `EPOLL_CTL_ADD`, `EPOLL_CTL_MOD`, `EPOLL_CTL_DEL`
   * @param event `null` for `EPOLL_CTL_DEL`
   * @throws UringError EEXIST, ENOENT, EPERM for files that can not be polled. Linux 5.6. See io_uring_prep_epoll_ctl(3),
   * epoll_ctl(2).
   */
  epollCtl(
    epfd: number,
    op: number,
    fd: number,
    event: EpollEvent | null,
    options: OperationOptions = NO_OPTIONS,
  ): Promise<void> {
    return attempt(() => {
      const struct: Pinned | null = event === null ? null : encodeEpollEvent(event);
      return this.call(EPOLL_CTL, epfd, null, fd, 0, op, options, struct);
    });
  }

  /**
   * Waits until a futex is woken, if its word has the value expected.
   *
   * @param futex the word: 4 bytes, aligned, which are the operation's until the promise settles
   * @param value 32 bits, signed or not
   * @throws UringError EAGAIN where the word has another value. Linux 6.7. See io_uring_prep_futex_wait(3), futex(2).
   */
  futexWait(futex: Memory, value: number, options: FutexOptions = NO_OPTIONS): Promise<void> {
    return this.#futex(FUTEX_WAIT, futex, value, options);
  }

  /**
   * Wakes those that wait for a futex, in any thread, and in any process where memory is shared.
   *
   * @param futex the word: 4 bytes, aligned
   * @param count how many at most
   * @returns how many were woken
   * @throws UringError EINVAL for an empty mask. Linux 6.7. See io_uring_prep_futex_wake(3), futex(2).
   */
  futexWake(futex: Memory, count: number, options: FutexOptions = NO_OPTIONS): Promise<number> {
    return this.#futex(FUTEX_WAKE, futex, count, options);
  }

  /**
   * Waits until any of several futexes is woken, if all have the values expected.
   *
   * @param futexes 1 to 128 of them; the words are the operation's until the promise settles
   * @returns the index of the one that was woken
   * @throws UringError EAGAIN where one has another value. Linux 6.7. See io_uring_prep_futex_waitv(3), futex_waitv(2).
   */
  futexWaitv(futexes: readonly Futex[], options: OperationOptions = NO_OPTIONS): Promise<number> {
    return attempt(() => this.call(FUTEX_WAITV, -1, null, 0, 0, 0, options, new Futexes(futexes)));
  }

  /**
   * Waits until a child process changes its state.
   *
   * @param idType what `id` is: `P_PID`, `P_PGID`, `P_PIDFD`, or `P_ALL`
   * @returns what has become of it; all zero where, with `WNOHANG`, there is nothing to tell
   * @throws UringError ECHILD without such a child. Linux 6.7. See io_uring_prep_waitid(3), waitid(2).
   */
  waitid(idType: number, id: number, options: WaitidOptions = NO_OPTIONS): Promise<ChildInfo> {
    return attempt(() => {
      const { flags = abi.WEXITED } = options;
      return this.call(WAITID, -1, null, idType, id, flags, options, alloc(abi.siginfo_t.sizeof));
    });
  }

  /**
   * Posts a completion to another ring, or to this one.
   *
   * @param ring the other ring's fd
   * @param res the completion's `res`
   * @param userData the completion's `userData`. A proactor counts what is none of its own as stale
   * @throws UringError EBADFD where it is no ring or a disabled one, EOVERFLOW where its queue is full. Linux 5.18. See
   * io_uring_prep_msg_ring(3).
   */
  msgRing(ring: Target, res: number, userData: Int64, options: MsgRingOptions = NO_OPTIONS): Promise<void> {
    return attempt(() => {
      const { flags = 0, cqeFlags } = options;
      const message: Message = new Values({ data: userData, cqeFlags });
      return this.call(MSG_RING, ring, null, u32(res, "res"), 0, flags, options, message);
    });
  }

  /**
   * Puts a file of this ring's table into another ring's table too, and posts a completion there unless the flags say not
   * to.
   *
   * @param ring the other ring's fd
   * @param source the slot here
   * @param userData the completion's `userData`; its `res` is 0, or the slot where any was asked for
   * @returns the slot there, which is the other ring's
   * @throws UringError EBADF for an empty slot, ENFILE where none is free there, EINVAL where the rings are the same. Linux
   * 6.0. See io_uring_prep_msg_ring_fd(3).
   */
  msgRingFd(
    ring: Target,
    source: Direct,
    userData: Int64,
    options: MsgRingFdOptions = NO_OPTIONS,
  ): Promise<Direct> {
    return attempt(() => {
      const { slot = true, flags = 0 } = options;
      const sending: Sending = new Values({ data: userData, source, slot: slotOf(slot) });
      return this.call(MSG_RING_FD, ring, null, 0, 0, flags, options, sending);
    });
  }

  /**
   * Puts files into the ring's table of registered files, or takes them out. The fds stay the caller's: the table has its
   * own hold on the files.
   *
   * @param fds -1 empties a slot, `IORING_REGISTER_FILES_SKIP` leaves it
   * @returns the slots that were gone through, perhaps fewer than there are fds; what an operation that was aborted has filled
   * is emptied
   * @throws UringError EBADF for an fd that is not open, ENFILE where no slot is free, ENXIO without a table. Linux 5.6. See
   * io_uring_prep_files_update(3).
   */
  filesUpdate(fds: readonly number[], options: FilesUpdateOptions = NO_OPTIONS): Promise<Direct[]> {
    return attempt(() => {
      const { slot = true } = options;
      return this.call(FILES_UPDATE, -1, null, 0, 0, 0, options, new Fds(fds, slotOf(slot)));
    });
  }

  /**
   * Runs a command that the file's driver defines, such as `SOCKET_URING_OP_SIOCINQ` of sockets.
   *
   * @param command the driver's number of it
   * @param options `memory` is the kernel's until the promise settles
   * @returns what the driver makes of it
   * @throws RangeError for a `payload` that the entry has no room for; UringError EOPNOTSUPP where the file has no commands.
   * Linux 5.19. See io_uring_prep_uring_cmd(3).
   */
  uringCmd(target: Target, command: number, options: UringCmdOptions = NO_OPTIONS): Promise<number> {
    return attempt(() => {
      const { memory = null, length, flags = 0, payload } = options;
      if (payload !== undefined && !(payload instanceof Uint8Array))
        throw new TypeError("payload must be a Uint8Array");
      const extra = payload === undefined ? null : new Values(new Uint8Array(payload));
      const size = memory === null ? (length ?? 0) : length;
      return this.call<number>(URING_CMD, target, memory, size, command, flags, options, extra);
    });
  }

  /**
   * Discards a range of a block device: its data is gone. Neither reads nor writes under way are waited for.
   *
   * @param offset where it begins, in bytes
   * @param length how many bytes it has; both are of whole blocks
   * @throws UringError EINVAL for other ranges, EOPNOTSUPP where the device can not. Linux 6.12. See
   * io_uring_prep_cmd_discard(3).
   */
  cmdDiscard(
    target: Target,
    offset: number,
    length: number,
    options: OperationOptions = NO_OPTIONS,
  ): Promise<void> {
    return this.call(DISCARD, target, null, 0, offset, 0, options, new Values(length));
  }

  #futex<T>(kind: Kind, futex: Memory, value: number, options: FutexOptions): Promise<T> {
    return attempt(() => {
      const { mask = abi.FUTEX_BITSET_MATCH_ANY, flags = abi.FUTEX2_SIZE_U32 } = options;
      const word = 1 << (flags & abi.FUTEX2_SIZE_U64);
      // With FUTEX2_NUMA the kernel keeps the node, as large again, behind the word.
      const length = (flags & abi.FUTEX2_NUMA) === 0 ? word : 2 * word;
      const bits: Mask = new Values(u32(mask, "mask"));
      return this.call(kind, -1, futex, length, u32(value, "value"), flags, options, bits);
    });
  }
}
