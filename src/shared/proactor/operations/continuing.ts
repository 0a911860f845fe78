import * as abi from "../../abi/index.ts";
import { UringError } from "../../errors.ts";
import { checkMessageFlags } from "../../ring/combination.ts";
import { Direct, type Target } from "../../ring/direct.ts";
import { Pinned } from "../../ring/pinned.ts";
import type { ControlMessage } from "../../structs/control.ts";
import { bits32, whole } from "../../structs/fields.ts";
import { Msghdr } from "../../structs/msghdr.ts";
import { decodeRecvmsg } from "../../structs/recvmsg.ts";
import { encodeSockaddr, type SocketAddress } from "../../structs/sockaddr.ts";
import { decodeTimespec, encodeTimespec, type Timespec } from "../../structs/timespec.ts";
import { BufferGroup, type BufferGroupOptions } from "../buffer-group.ts";
import type { Engine } from "../engine.ts";
import { closedError, failure } from "../failure.ts";
import type { Lease } from "../lease.ts";
import { END, Multishot, type MultishotOptions, type Source, Stream } from "../multishot.ts";
import type { Kind } from "../operation.ts";
import { NO_OPTIONS } from "../options.ts";
import { Sending, type ZeroCopySend } from "../zero-copy.ts";
import type { Piece } from "./arguments.ts";
import type { Memory } from "./base.ts";
import { MessageArgument } from "./message.ts";
import { MessageOperations } from "./messages.ts";
import { discard } from "./opened.ts";
import type { SendMessageOptions, SocketTransferOptions } from "./sockets.ts";

/** How to accept connections. */
export interface AcceptMultishotOptions extends MultishotOptions {
  /** `SOCK_NONBLOCK`. */
  flags?: number | undefined;
  /** Whether they are closed in programs this one becomes; so unless given. */
  cloexec?: boolean | undefined;
}

/** How to receive again and again. */
export interface RecvMultishotOptions extends MultishotOptions {
  /** Whose buffers to receive into; the proactor's own, which all share, unless given. */
  group?: BufferGroup | undefined;
  /** `MSG_*` flags. */
  flags?: number | undefined;
}

/** How to receive messages. */
export interface RecvmsgMultishotOptions extends RecvMultishotOptions {
  /** How many bytes of control messages there is to be room for in each buffer; 0 unless given. */
  control?: number | undefined;
}

/** How to read again and again. */
export interface ReadMultishotOptions extends MultishotOptions {
  /** Whose buffers to read into; the proactor's own, which all share, unless given. */
  group?: BufferGroup | undefined;
}

/** What to send without a copy. */
export interface SendZcOptions extends SocketTransferOptions {
  /** Where to, for sockets that are not connected. */
  address?: SocketAddress | undefined;
}

/** A message in a lent buffer, which is yours until you give it back, with `using` or `[Symbol.dispose]()`. */
export class LeasedMessage implements Disposable {
  /** The memory that the data is in. */
  readonly lease: Lease;
  /** Who it is from; `null` on a connection. */
  readonly address: SocketAddress | null;
  /** What came beside the data; **fds among it are open**, and yours to close. */
  readonly control: readonly ControlMessage[];
  /** `MSG_*` flags: `MSG_TRUNC` where the message was cut, `MSG_CTRUNC` where there was no room for all of `control`. */
  readonly flags: number;
  /** How many bytes there are; where `MSG_TRUNC` was asked for, how many there were before the message was cut. */
  readonly length: number;

  /** @internal */
  constructor(
    lease: Lease,
    rest: {
      address: SocketAddress | null;
      control: readonly ControlMessage[];
      flags: number;
      length: number;
    },
  ) {
    this.lease = lease;
    this.address = rest.address;
    this.control = rest.control;
    this.flags = rest.flags;
    this.length = rest.length;
  }

  /** The data. Throws a `TypeError` once it is given back. */
  get bytes(): Uint8Array {
    return this.lease.bytes;
  }

  /** Gives the memory back. */
  [Symbol.dispose](): void {
    this.lease[Symbol.dispose]();
  }
}

const ETIME = 62;
/** A timer of a shorter period can be back before a cancellation finds it, again and again: it ends by itself, and is begun anew. */
const SHORT_NS = 1_000_000n;
const FEW_TICKS = 64;
/** More than any buffer of a group holds. */
const MOST_CONTROL = 2 ** 31 - 1;
/** Room for any address in front of each message. */
const ANY_ADDRESS = 128;

const ACCEPT: Kind = {
  name: "multishot accept",
  opcode: abi.IORING_OP_ACCEPT,
  since: "5.19",
  prepare: (sqe, { target, flags }) => sqe.prepMultishotAccept(target, 0, 0, flags),
};

const ACCEPT_DIRECT: Kind = {
  name: "multishot accept",
  opcode: abi.IORING_OP_ACCEPT,
  since: "5.19",
  prepare: (sqe, { target, flags }) => sqe.prepMultishotAcceptDirect(target, 0, 0, flags),
};

const RECV: Kind = {
  name: "multishot recv",
  opcode: abi.IORING_OP_RECV,
  since: "6.0",
  prepare: (sqe, { target, flags, buffer }) =>
    sqe.prepRecvMultishot(target, 0, 0, flags).setBufferGroup(buffer),
};

const RECVMSG: Kind = {
  name: "multishot recvmsg",
  opcode: abi.IORING_OP_RECVMSG,
  since: "6.0",
  prepare: (sqe, { target, flags, buffer, extra }) =>
    sqe.prepRecvmsgMultishot(target, (extra as Msghdr).address, flags).setBufferGroup(buffer),
};

const READ: Kind = {
  name: "multishot read",
  opcode: abi.IORING_OP_READ_MULTISHOT,
  since: "6.7",
  prepare: (sqe, { target, buffer }) => sqe.prepReadMultishot(target, 0, -1, buffer),
};

const POLL: Kind = {
  name: "multishot poll",
  opcode: abi.IORING_OP_POLL_ADD,
  since: "5.13",
  prepare: (sqe, { target, flags }) => sqe.prepPollMultishot(target, flags),
};

const TIMEOUT: Kind = {
  name: "multishot timeout",
  opcode: abi.IORING_OP_TIMEOUT,
  since: "6.4",
  prepare: (sqe, { extra, flags }) =>
    sqe.prepTimeout((extra as Pinned).address, flags, abi.IORING_TIMEOUT_MULTISHOT),
};

const SEND_ZC: Kind = {
  name: "zero-copy send",
  opcode: abi.IORING_OP_SEND_ZC,
  since: "6.0",
  prepare(sqe, { target, address, length, flags, buffer, extra }) {
    if (buffer < 0) sqe.prepSendZc(target, address, length, flags, 0);
    else sqe.prepSendZcFixed(target, address, length, flags, 0, buffer);
    if (extra instanceof Pinned) sqe.prepSendSetAddr(extra.address, extra.byteLength);
  },
};

const SENDMSG_ZC: Kind = {
  name: "zero-copy sendmsg",
  opcode: abi.IORING_OP_SENDMSG_ZC,
  since: "6.1",
  prepare: (sqe, { target, flags, extra }) =>
    sqe.prepSendmsgZc(target, (extra as MessageArgument).address, flags),
};

/** Operations that complete more than once. */
export abstract class ContinuingOperations extends MessageOperations {
  readonly #engine: Engine;
  readonly #debug: boolean;
  readonly #streams = new Set<Stream<unknown>>();
  readonly #groups = new Set<BufferGroup>();
  #group: BufferGroup | undefined;

  /** @internal */
  constructor(engine: Engine, debug: boolean) {
    super();
    this.#engine = engine;
    this.#debug = debug;
  }

  /**
   * Makes a buffer group, for what is not to share the proactor's own.
   *
   * @throws UringError EINVAL where the kernel has none, or for `incremental` before 6.12; RangeError for `entries` that are
   * no power of two. Linux 5.19. See io_uring_setup_buf_ring(3).
   */
  bufferGroup(options: BufferGroupOptions = {}): BufferGroup {
    for (const group of this.#groups) if (group.closed) this.#groups.delete(group);
    const group = new BufferGroup(this.#engine.ring, options, this.#debug);
    this.#groups.add(group);
    return group;
  }

  /** The buffer group that is received into where no other is named: 256 buffers of 16 KiB. It is made by the first use. */
  defaultBufferGroup(): BufferGroup {
    if (this.#group === undefined || this.#group.closed) this.#group = this.bufferGroup();
    return this.#group;
  }

  /**
   * Accepts connections as they come, which programs that this one starts do not inherit. Those that nobody has pulled when
   * it ends are closed.
   *
   * @param options `direct`: accepts into free slots of the ring's table of registered files
   * @returns their fds, with `direct` the slots
   * @throws UringError as accept(2), from `next()`. Linux 5.19. See io_uring_prep_multishot_accept(3).
   */
  acceptMultishot(
    target: Target,
    options?: AcceptMultishotOptions & { direct?: false | undefined },
  ): Multishot<number>;
  acceptMultishot(target: Target, options: AcceptMultishotOptions & { direct: true }): Multishot<Direct>;
  acceptMultishot(
    target: Target,
    options: AcceptMultishotOptions & { direct?: boolean | undefined } = {},
  ): Multishot<Target> {
    const { direct = false, cloexec = true, flags = 0 } = options;
    const all = cloexec && !direct ? bits32(flags, "flags") | abi.SOCK_CLOEXEC : flags;
    const accepted = {
      target,
      flags: all,
      group: null,
      discard: (file: Target) => discard({ canceller: this.#engine }, file),
    };
    if (!direct)
      return this.#start(() => ({ ...accepted, kind: ACCEPT, take: (res: number) => res }), options);
    const source = () => ({ ...accepted, kind: ACCEPT_DIRECT, take: (res: number) => new Direct(res) });
    return this.#start(source, options);
  }

  /**
   * Receives what comes on a socket, each piece in a lent buffer. Ends when the peer has ended its side, and on a datagram
   * socket with an empty datagram: `recvmsgMultishot` tells the two apart.
   *
   * Where there are no buffers left it waits for one to be released. A datagram is cut to what fits a buffer, of an incremental
   * group what is left of one, whatever the flags: `recvmsgMultishot` tells how long it was.
   *
   * @throws UringError as recv(2), TypeError for `MSG_TRUNC` with an incremental group, from `next()`. Linux 6.0. See
   * io_uring_prep_recv_multishot(3).
   */
  recvMultishot(target: Target, options: RecvMultishotOptions = {}): Multishot<Lease> {
    const { group, flags = 0 } = options;
    const source = () => {
      const into = this.#groupFor(RECV, group);
      // The kernel sets aside what it tells of, and not what there is: buffers that no completion names would be lost.
      if (into.incremental && (flags & abi.MSG_TRUNC) !== 0) {
        throw new TypeError("MSG_TRUNC is not for incremental buffer groups");
      }
      return { ...leases(into), kind: RECV, target, flags };
    };
    return this.#start(source, options);
  }

  /**
   * Receives messages, each in a lent buffer, together with who they are from and what came beside the data. Ends when the
   * peer has ended its side: that is an empty message without an address.
   *
   * @throws UringError as recvmsg(2), from `next()`; EFAULT where the buffers have no room for address and control messages;
   * TypeError for an incremental group. Linux 6.0. See io_uring_prep_recvmsg_multishot(3).
   */
  recvmsgMultishot(target: Target, options: RecvmsgMultishotOptions = {}): Multishot<LeasedMessage> {
    const { group, flags = 0, control = 0 } = options;
    const source = () => {
      const into = this.#groupFor(RECVMSG, group);
      // What is left of a buffer may be too short for the address, or for the message.
      checkMessageFlags(flags);
      if (into.incremental) throw new TypeError("messages are not for incremental buffer groups");
      return {
        ...messages(into, whole(control, 0, MOST_CONTROL, "control"), this.#engine),
        kind: RECVMSG,
        target,
        flags: bits32(flags, "flags") | abi.MSG_CMSG_CLOEXEC,
      };
    };
    return this.#start(source, options);
  }

  /**
   * Reads what comes from a pipe, a terminal or whatever else can be polled, each piece in a lent buffer. Ends with the file.
   *
   * @throws UringError as read(2), from `next()`; EBADFD for a regular file. Linux 6.7. See
   * io_uring_prep_read_multishot(3).
   */
  readMultishot(target: Target, options: ReadMultishotOptions = {}): Multishot<Lease> {
    const source = () => ({ ...leases(this.#groupFor(READ, options.group)), kind: READ, target, flags: 0 });
    return this.#start(source, options);
  }

  /**
   * Tells each time a file becomes ready. What was there before and is left alone is not told again; a file that is always ready,
   * as those on disks are, is told of once, and then it ends.
   *
   * @param events `POLLIN` and its like, or-ed
   * @returns the events that are there
   * @throws UringError from `next()`. Linux 5.13. See io_uring_prep_poll_multishot(3).
   */
  pollMultishot(target: Target, events: number, options: MultishotOptions = {}): Multishot<number> {
    const source = () => {
      let begins = true;
      let atOnce = false;
      const take = (res: number, _flags: number, last: boolean) => {
        const before = atOnce;
        // Of a file that has no way to tell, the first completion is the last; or where there was no room for another.
        atOnce = begins && last;
        begins = last;
        return atOnce && before ? END : res;
      };
      return { ...PLAIN, kind: POLL, target, flags: events, take };
    };
    return this.#start(source, options);
  }

  /**
   * Ticks.
   *
   * @param period milliseconds; nanoseconds as a bigint
   * @returns 1, 2, 3 …; after it was paused for want of somebody who pulls, the period begins anew
   * @throws UringError, RangeError for a period of 0 or less, from `next()`. Linux 6.4. See io_uring_prep_timeout(3).
   */
  timeoutMultishot(period: Timespec, options: MultishotOptions = {}): Multishot<number> {
    const source = () => {
      using first = encodeTimespec<Pinned>(period);
      const ns = decodeTimespec(first);
      if (ns === 0n) throw new RangeError("a period must be longer than 0");
      let ticks = 0;
      return {
        ...PLAIN,
        kind: TIMEOUT,
        target: -1,
        flags: ns < SHORT_NS ? FEW_TICKS : 0,
        elusive: true,
        extra: () => encodeTimespec<Pinned>(ns),
        answers: (res: number) => res === -ETIME,
        take: () => ++ticks,
      };
    };
    return this.#start(source, options);
  }

  /**
   * Sends data without copying it, where the device can: the memory is the kernel's until `released`, which is after the peer
   * has acknowledged it.
   *
   * @returns `sent` and `released`
   * @throws UringError as send(2), from `sent`; EOPNOTSUPP on sockets that can not, ENOMEM where the limit of locked memory is
   * too low. Linux 6.0. See io_uring_prep_send_zc(3).
   */
  sendZc(target: Target, memory: Memory, options: SendZcOptions = NO_OPTIONS): ZeroCopySend {
    const { length, flags = 0, address } = options;
    return Sending.start(this.#engine, SEND_ZC, target, memory, length, flags, options, () =>
      address === undefined ? null : encodeSockaddr<Pinned>(address),
    );
  }

  /**
   * Sends a message without copying its data, where the device can. The memory is the kernel's until `released`.
   *
   * @returns `sent` and `released`
   * @throws UringError as `sendZc`, from `sent`. Linux 6.1. See io_uring_prep_sendmsg_zc(3).
   */
  sendmsgZc(
    target: Target,
    parts: Piece | readonly Piece[],
    options: SendMessageOptions = NO_OPTIONS,
  ): ZeroCopySend {
    const { flags = 0 } = options;
    return Sending.start(this.#engine, SENDMSG_ZC, target, null, 0, flags, options, () => {
      checkMessageFlags(flags);
      return MessageArgument.toSend(parts, options);
    });
  }

  /** Ends every iterator, as the proactor is closed. */
  protected endIterators(): void {
    for (const stream of [...this.#streams]) stream.close();
  }

  /** Gives the buffers back, once the proactor is closed. `leaked`: the kernel may still write to them. */
  protected endGroups(leaked: boolean): void {
    for (const group of this.#groups) BufferGroup.ringClosed(group, leaked);
  }

  /** The group that an operation receives into. */
  #groupFor(kind: Kind, group: BufferGroup | undefined): BufferGroup {
    if (this.#engine.closed) throw closedError(kind.name);
    if (group !== undefined) return group;
    try {
      return this.defaultBufferGroup();
    } catch (error) {
      // A kernel without groups has no such operation either, which says more.
      throw error instanceof UringError && error.code === "EINVAL" ? failure(kind, error.errno) : error;
    }
  }

  #start<T>(source: () => Source<T>, options: MultishotOptions): Multishot<T> {
    return new Multishot(new Stream(this.#engine, this.#streams, source, options));
  }
}

/** Sources without buffers, whose items are nothing to give back. */
const PLAIN = { group: null, discard: (): void => {} };

/** What comes in buffers, until there is nothing more. */
function leases(group: BufferGroup): Omit<Source<Lease>, "kind" | "target" | "flags"> {
  return {
    group,
    take(res, flags) {
      if ((flags & abi.IORING_CQE_F_BUFFER) === 0) return END;
      const bytes = BufferGroup.take(group, flags, res);
      try {
        return res > 0 ? BufferGroup.lend(group, flags, bytes) : END;
      } finally {
        BufferGroup.putBack(group, flags);
      }
    },
    discard: (lease) => lease[Symbol.dispose](),
  };
}

/** Messages in buffers. */
function messages(
  group: BufferGroup,
  control: number,
  engine: Engine,
): Omit<Source<LeasedMessage>, "kind" | "target" | "flags"> {
  const room = { nameLength: ANY_ADDRESS, controlLength: control };
  return {
    group,
    // Only its lengths count: the memory for control messages is in the buffers.
    extra: () =>
      new Msghdr({ nameLength: ANY_ADDRESS, ...(control === 0 ? {} : { control: new Uint8Array(control) }) }),
    take(res, flags, last) {
      const buffer = BufferGroup.take(group, flags, res);
      try {
        const { name, control, payload, payloadLength, flags: messageFlags } = decodeRecvmsg(buffer, room);
        // An empty message can carry fds, which are somebody's to close.
        if (payloadLength === 0 && name === null && control.length === 0 && last) return END;
        const lease = BufferGroup.lend(group, flags, payload);
        return new LeasedMessage(lease, {
          address: name,
          control,
          flags: messageFlags & ~abi.MSG_CMSG_CLOEXEC,
          length: payloadLength,
        });
      } finally {
        BufferGroup.putBack(group, flags);
      }
    },
    discard(message) {
      for (const each of message.control) {
        if (each.kind === "rights") for (const fd of each.fds) discard({ canceller: engine }, fd);
      }
      message[Symbol.dispose]();
    },
  };
}
