import * as abi from "../../abi/index.ts";
import { checkMessageFlags } from "../../ring/combination.ts";
import type { Direct, Target } from "../../ring/direct.ts";
import { alloc, type Pinned } from "../../ring/pinned.ts";
import type { ControlMessage } from "../../structs/control.ts";
import { bits32, whole } from "../../structs/fields.ts";
import { decodeSockaddr, encodeSockaddr, type SocketAddress } from "../../structs/sockaddr.ts";
import type { Kind, Operation, Subject } from "../operation.ts";
import { NO_OPTIONS, type OperationOptions } from "../options.ts";
import { type Piece, Values } from "./arguments.ts";
import { attempt, type Memory } from "./base.ts";
import { MessageArgument } from "./message.ts";
import { discard, type OpenedOptions, opened, type Slot, slotOf } from "./opened.ts";
import { PathOperations } from "./paths.ts";

/** How to make a socket. */
export interface SocketOptions extends OperationOptions {
  /** `IPPROTO_*`; 0 unless given, which is the type's own. */
  protocol?: number | undefined;
  /** Whether it is closed in programs this one becomes; so unless given. */
  cloexec?: boolean | undefined;
}

/** How to accept a connection. */
export interface AcceptOptions extends OperationOptions {
  /** `SOCK_NONBLOCK`. */
  flags?: number | undefined;
  /** Whether it is closed in programs this one becomes; so unless given. */
  cloexec?: boolean | undefined;
}

/** A connection, and who it is with. */
export interface Accepted<T extends Target = number> {
  readonly fd: T;
  /** `null` where the peer has none. */
  readonly address: SocketAddress | null;
}

/** How much to send or receive, and how. */
export interface SocketTransferOptions extends OperationOptions {
  /** How many bytes of the memory, from its start; all of it where it is left out. */
  length?: number | undefined;
  /** `MSG_*` flags. */
  flags?: number | undefined;
}

/** What a message to send has beside its data. */
export interface SendMessageOptions extends OperationOptions {
  /** Where to, for sockets that are not connected. */
  address?: SocketAddress | undefined;
  /** What goes beside the data: fds, say. */
  control?: readonly ControlMessage[] | undefined;
  /** `MSG_*` flags. */
  flags?: number | undefined;
}

/** How to receive a message. */
export interface ReceiveMessageOptions extends OperationOptions {
  /** How many bytes of control messages there is to be room for; 0 unless given. */
  control?: number | undefined;
  /** `MSG_*` flags; `MSG_CMSG_CLOEXEC` goes without saying. */
  flags?: number | undefined;
}

/** A message that has come. */
export interface Received {
  /** How many bytes of the memory it has filled, piece by piece. */
  readonly length: number;
  /** Who it is from; `null` on a connection. */
  readonly address: SocketAddress | null;
  /** What came beside the data; **fds among it are open**, and yours to close. */
  readonly control: ControlMessage[];
  /** `MSG_*` flags: `MSG_TRUNC` where the message was longer, `MSG_CTRUNC` where there was no room for all of `control`. */
  readonly flags: number;
}

/** How to read an option of a socket. */
export interface SocketOptionOptions extends OperationOptions {
  /** How many bytes it takes at most, for one that is no number. */
  length?: number | undefined;
}

const NO_TRANSFER: SocketTransferOptions = NO_OPTIONS;

const NUMBER = 4;
const ADDRESS = abi.sockaddr_storage.sizeof;

interface SocketValues {
  readonly domain: number;
  readonly type: number;
  readonly protocol: number;
  readonly slot: Slot;
}

const SOCKET: Kind = {
  name: "socket",
  opcode: abi.IORING_OP_SOCKET,
  since: "5.19",
  prepare(sqe, operation) {
    const { domain, type, protocol, slot } = valuesOf<SocketValues>(operation);
    if (slot === undefined) sqe.prepSocket(domain, type, protocol, 0);
    else sqe.prepSocketDirect(domain, type, protocol, slot, 0);
  },
  value: (operation, res) => opened(valuesOf<SocketValues>(operation).slot, res),
  discard: (operation, res) => discard(operation, opened(valuesOf<SocketValues>(operation).slot, res)),
};

/** Room for an address that the kernel writes, and behind it for its length. */
class AddressRoom implements Disposable {
  readonly memory: Pinned;
  readonly #length: DataView;

  constructor() {
    this.memory = alloc(ADDRESS + 4);
    const { bytes } = this.memory;
    this.#length = new DataView(bytes.buffer, bytes.byteOffset + ADDRESS, 4);
    this.#length.setUint32(0, ADDRESS, true);
  }

  get lengthAddress(): number {
    return this.memory.address + ADDRESS;
  }

  decode(): SocketAddress | null {
    return decodeSockaddr(this.memory, Math.min(this.#length.getUint32(0, true), ADDRESS));
  }

  [Symbol.dispose](): void {
    this.memory[Symbol.dispose]();
  }
}

class AcceptArgument implements Disposable {
  readonly slot: Slot;
  readonly room: AddressRoom | null;

  constructor(slot: Slot, address: boolean) {
    this.slot = slot;
    this.room = address ? new AddressRoom() : null;
  }

  [Symbol.dispose](): void {
    this.room?.[Symbol.dispose]();
  }
}

const ACCEPT: Kind = {
  name: "accept",
  opcode: abi.IORING_OP_ACCEPT,
  since: "5.5",
  prepare(sqe, { target, flags, extra }) {
    const { slot, room } = extra as AcceptArgument;
    const address = room === null ? 0 : room.memory.address;
    const length = room === null ? 0 : room.lengthAddress;
    if (slot === undefined) sqe.prepAccept(target, address, length, flags);
    else sqe.prepAcceptDirect(target, address, length, flags, slot);
  },
  value({ extra }, res) {
    const { slot, room } = extra as AcceptArgument;
    const fd = opened(slot, res);
    return room === null ? fd : { fd, address: room.decode() };
  },
  discard: (operation, res) => discard(operation, opened((operation.extra as AcceptArgument).slot, res)),
};

const CONNECT: Kind = {
  name: "connect",
  opcode: abi.IORING_OP_CONNECT,
  since: "5.5",
  prepare(sqe, { target, extra }) {
    const { address, byteLength } = extra as Pinned;
    sqe.prepConnect(target, address, byteLength);
  },
  value: () => undefined,
  about: addressOf,
};

const BIND: Kind = {
  name: "bind",
  opcode: abi.IORING_OP_BIND,
  since: "6.11",
  prepare(sqe, { target, extra }) {
    const { address, byteLength } = extra as Pinned;
    sqe.prepBind(target, address, byteLength);
  },
  value: () => undefined,
  about: addressOf,
};

const LISTEN: Kind = {
  name: "listen",
  opcode: abi.IORING_OP_LISTEN,
  since: "6.11",
  prepare: (sqe, { target, length }) => sqe.prepListen(target, length),
  value: () => undefined,
};

const SHUTDOWN: Kind = {
  name: "shutdown",
  opcode: abi.IORING_OP_SHUTDOWN,
  since: "5.11",
  prepare: (sqe, { target, flags }) => sqe.prepShutdown(target, flags),
  value: () => undefined,
};

const SEND: Kind = {
  name: "send",
  opcode: abi.IORING_OP_SEND,
  since: "5.6",
  prepare: (sqe, { target, address, length, flags }) => sqe.prepSend(target, address, length, flags),
};

const RECV: Kind = {
  name: "recv",
  opcode: abi.IORING_OP_RECV,
  since: "5.6",
  prepare: (sqe, { target, address, length, flags }) => sqe.prepRecv(target, address, length, flags),
};

const SENDTO: Kind = {
  name: "sendto",
  opcode: abi.IORING_OP_SEND,
  since: "6.1",
  prepare(sqe, { target, address, length, flags, extra }) {
    const to = extra as Pinned;
    sqe.prepSendto(target, address, length, flags, to.address, to.byteLength);
  },
  about: addressOf,
};

const SENDMSG: Kind = {
  name: "sendmsg",
  opcode: abi.IORING_OP_SENDMSG,
  since: "5.3",
  prepare: (sqe, { target, flags, extra }) =>
    sqe.prepSendmsg(target, (extra as MessageArgument).address, flags),
};

const RECVMSG: Kind = {
  name: "recvmsg",
  opcode: abi.IORING_OP_RECVMSG,
  since: "5.3",
  prepare: (sqe, { target, flags, extra }) =>
    sqe.prepRecvmsg(target, (extra as MessageArgument).address, flags | abi.MSG_CMSG_CLOEXEC),
  value({ extra }, length): Received {
    const { name, control, flags } = (extra as MessageArgument).header;
    return { length, address: name, control, flags: flags & ~abi.MSG_CMSG_CLOEXEC };
  },
};

/** A socket's option: which, and the memory that its value is in. */
class OptionArgument implements Disposable {
  readonly level: number;
  readonly name: number;
  readonly memory: Pinned;
  readonly isNumber: boolean;

  constructor(level: number, name: number, length: number, isNumber: boolean) {
    this.level = level;
    this.name = name;
    this.memory = alloc(Math.max(whole(length, 0, 0x7fff_ffff, "length"), NUMBER));
    this.isNumber = isNumber;
  }

  [Symbol.dispose](): void {
    this.memory[Symbol.dispose]();
  }
}

const GETSOCKOPT: Kind = {
  name: "getsockopt",
  opcode: abi.IORING_OP_URING_CMD,
  since: "6.7",
  prepare(sqe, { target, length, extra }) {
    const { level, name, memory } = extra as OptionArgument;
    // The memory itself and no address: for some options it is looked at whether there is enough.
    sqe.prepCmdSock(abi.SOCKET_URING_OP_GETSOCKOPT, target, level, name, memory, length);
  },
  value({ extra }, res) {
    const { memory, isNumber } = extra as OptionArgument;
    const { bytes } = memory;
    return isNumber ? numberIn(bytes) : bytes.slice(0, res);
  },
};

const SETSOCKOPT: Kind = {
  name: "setsockopt",
  opcode: abi.IORING_OP_URING_CMD,
  since: "6.7",
  prepare(sqe, { target, length, extra }) {
    const { level, name, memory } = extra as OptionArgument;
    sqe.prepCmdSock(abi.SOCKET_URING_OP_SETSOCKOPT, target, level, name, memory, length);
  },
  value: () => undefined,
};

function nameKind(name: string, peer: number): Kind {
  return {
    name,
    opcode: abi.IORING_OP_URING_CMD,
    since: "6.19",
    prepare(sqe, { target, extra }) {
      const room = extra as AddressRoom;
      sqe.prepCmdGetsockname(target, room.memory.address, room.lengthAddress, peer);
    },
    value: ({ extra }) => (extra as AddressRoom).decode(),
  };
}

const GETSOCKNAME = nameKind("getsockname", 0);
const GETPEERNAME = nameKind("getpeername", 1);

/** Operations on sockets. */
export abstract class SocketOperations extends PathOperations {
  /**
   * Makes a socket, which programs that this one starts do not inherit.
   *
   * @param domain `AF_*`
   * @param type `SOCK_STREAM` and its like, with `SOCK_NONBLOCK` if need be
   * @returns its fd; with `direct` the slot it is in
   * @throws UringError as socket(2). Linux 5.19. See io_uring_prep_socket(3).
   */
  socket(domain: number, type: number, options?: SocketOptions & { direct?: undefined }): Promise<number>;
  socket(domain: number, type: number, options: SocketOptions & Required<OpenedOptions>): Promise<Direct>;
  socket(domain: number, type: number, options: SocketOptions & OpenedOptions = NO_OPTIONS): Promise<Target> {
    return attempt(() => {
      const { protocol = 0, cloexec = true, direct } = options;
      const slot = slotOf(direct);
      const all = slot === undefined && cloexec ? bits32(type, "type") | abi.SOCK_CLOEXEC : type;
      const extra = new Values<SocketValues>({ domain, type: all, protocol, slot });
      return this.call(SOCKET, -1, null, 0, 0, 0, options, extra);
    });
  }

  /**
   * Gives a socket an address of its own.
   *
   * @throws UringError as bind(2). Linux 6.11. See io_uring_prep_bind(3).
   */
  bind(target: Target, address: SocketAddress, options: OperationOptions = NO_OPTIONS): Promise<void> {
    return attempt(() => this.call(BIND, target, null, 0, 0, 0, options, encodeSockaddr<Pinned>(address)));
  }

  /**
   * Has a socket wait for connections.
   *
   * @param backlog how many may wait to be accepted, 511 unless given
   * @throws UringError as listen(2). Linux 6.11. See io_uring_prep_listen(3).
   */
  listen(target: Target, backlog = 511, options: OperationOptions = NO_OPTIONS): Promise<void> {
    return attempt(() =>
      this.call(LISTEN, target, null, whole(backlog, 0, 0x7fff_ffff, "backlog"), 0, 0, options, null),
    );
  }

  /**
   * Accepts a connection, which programs that this one starts do not inherit.
   *
   * @returns its fd, with `direct` the slot it is in; with `address` that and the peer's address. One that comes when
   * nobody waits any more is closed
   * @throws UringError as accept(2). Linux 5.5, `direct` 5.15. See io_uring_prep_accept(3).
   */
  accept(target: Target, options?: AcceptOptions & { direct?: undefined; address?: false }): Promise<number>;
  accept(target: Target, options: AcceptOptions & { direct?: undefined; address: true }): Promise<Accepted>;
  accept(
    target: Target,
    options: AcceptOptions & Required<OpenedOptions> & { address?: false },
  ): Promise<Direct>;
  accept(
    target: Target,
    options: AcceptOptions & Required<OpenedOptions> & { address: true },
  ): Promise<Accepted<Direct>>;
  accept(
    target: Target,
    options: AcceptOptions & OpenedOptions & { address?: boolean } = NO_OPTIONS,
  ): Promise<Target | Accepted<Target>> {
    return attempt(() => {
      const { address = false, cloexec = true, direct, flags = 0 } = options;
      const slot = slotOf(direct);
      const all = slot === undefined && cloexec ? bits32(flags, "flags") | abi.SOCK_CLOEXEC : flags;
      return this.call(ACCEPT, target, null, 0, 0, all, options, new AcceptArgument(slot, address));
    });
  }

  /**
   * Connects a socket.
   *
   * @throws UringError as connect(2). Linux 5.5. See io_uring_prep_connect(3).
   */
  connect(target: Target, address: SocketAddress, options: OperationOptions = NO_OPTIONS): Promise<void> {
    return attempt(() => this.call(CONNECT, target, null, 0, 0, 0, options, encodeSockaddr<Pinned>(address)));
  }

  /**
   * Sends data on a connection.
   *
   * @returns how many bytes were taken, which may be fewer than there are without `MSG_WAITALL`
   * @throws UringError as send(2). Linux 5.6. See io_uring_prep_send(3).
   */
  send(target: Target, memory: Memory, options: SocketTransferOptions = NO_TRANSFER): Promise<number> {
    const { length, flags = 0 } = options;
    return this.call(SEND, target, memory, length, 0, flags, options, null);
  }

  /**
   * Receives data into memory.
   *
   * @returns how many bytes came: 0 when the peer has ended its side
   * @throws UringError as recv(2). Linux 5.6. See io_uring_prep_recv(3).
   */
  recv(target: Target, memory: Memory, options: SocketTransferOptions = NO_TRANSFER): Promise<number> {
    const { length, flags = 0 } = options;
    return this.call(RECV, target, memory, length, 0, flags, options, null);
  }

  /**
   * Sends a datagram to an address.
   *
   * @returns how many bytes were taken
   * @throws UringError as sendto(2). Linux 6.1. See io_uring_prep_sendto(3).
   */
  sendTo(
    target: Target,
    memory: Memory,
    address: SocketAddress,
    options: SocketTransferOptions = NO_TRANSFER,
  ): Promise<number> {
    return attempt(() => {
      const { length, flags = 0 } = options;
      return this.call(SENDTO, target, memory, length, 0, flags, options, encodeSockaddr<Pinned>(address));
    });
  }

  /**
   * Sends a message: data from several pieces of memory, perhaps to an address, perhaps with fds and their like beside it.
   *
   * @returns how many bytes were taken
   * @throws UringError as sendmsg(2). Linux 5.3. See io_uring_prep_sendmsg(3).
   */
  sendmsg(
    target: Target,
    parts: Piece | readonly Piece[],
    options: SendMessageOptions = NO_OPTIONS,
  ): Promise<number> {
    return attempt(() => {
      const { flags = 0 } = options;
      checkMessageFlags(flags);
      return this.call(SENDMSG, target, null, 0, 0, flags, options, MessageArgument.toSend(parts, options));
    });
  }

  /**
   * Receives a message into several pieces of memory.
   *
   * @returns how long it is, who it is from, and what came beside it
   * @throws UringError as recvmsg(2). Linux 5.3. See io_uring_prep_recvmsg(3).
   */
  recvmsg(
    target: Target,
    parts: Piece | readonly Piece[],
    options: ReceiveMessageOptions = NO_OPTIONS,
  ): Promise<Received> {
    return attempt(() => {
      const { flags = 0, control = 0 } = options;
      checkMessageFlags(flags);
      const extra = MessageArgument.toReceive(parts, control);
      return this.call(RECVMSG, target, null, 0, 0, flags, options, extra);
    });
  }

  /**
   * Ends one side of a connection, or both.
   *
   * @param how `SHUT_RD`, `SHUT_WR` or `SHUT_RDWR`, which it is unless given
   * @throws UringError as shutdown(2). Linux 5.11. See io_uring_prep_shutdown(3).
   */
  shutdown(
    target: Target,
    how: number = abi.SHUT_RDWR,
    options: OperationOptions = NO_OPTIONS,
  ): Promise<void> {
    return this.call(SHUTDOWN, target, null, 0, 0, how, options, null);
  }

  /**
   * Reads an option of a socket.
   *
   * @param level `SOL_SOCKET`: the kernel knows no other here
   * @param name `SO_*`
   * @returns a number; with `length` the bytes it has, so many at most
   * @throws UringError as getsockopt(2). Linux 6.7. See io_uring_prep_cmd_sock(3).
   */
  getsockopt(
    target: Target,
    level: number,
    name: number,
    options: SocketOptionOptions & { length: number },
  ): Promise<Uint8Array>;
  getsockopt(
    target: Target,
    level: number,
    name: number,
    options?: SocketOptionOptions & { length?: undefined },
  ): Promise<number>;
  getsockopt(
    target: Target,
    level: number,
    name: number,
    options: SocketOptionOptions = NO_OPTIONS,
  ): Promise<number | Uint8Array> {
    return attempt(() => {
      const { length = NUMBER } = options;
      const extra = new OptionArgument(level, name, length, options.length === undefined);
      return this.call(GETSOCKOPT, target, null, length, 0, 0, options, extra);
    });
  }

  /**
   * Sets an option of a socket.
   *
   * @param level `SOL_*` or `IPPROTO_*`
   * @param name the option's number
   * @param value a number of 32 bits, or the bytes; an address among these is as a raw one
   * @throws UringError as setsockopt(2). Linux 6.7. See io_uring_prep_cmd_sock(3).
   */
  setsockopt(
    target: Target,
    level: number,
    name: number,
    value: number | Uint8Array,
    options: OperationOptions = NO_OPTIONS,
  ): Promise<void> {
    return attempt(() => {
      const length = typeof value === "number" ? NUMBER : value.byteLength;
      const extra = new OptionArgument(level, name, length, false);
      try {
        fill(extra.memory.bytes, value);
      } catch (error) {
        extra[Symbol.dispose]();
        throw error;
      }
      return this.call(SETSOCKOPT, target, null, length, 0, 0, options, extra);
    });
  }

  /**
   * The address a socket has.
   *
   * @throws UringError as getsockname(2). Linux 6.19. See io_uring_prep_cmd_getsockname(3).
   */
  sockname(target: Target, options: OperationOptions = NO_OPTIONS): Promise<SocketAddress | null> {
    return attempt(() => this.call(GETSOCKNAME, target, null, 0, 0, 0, options, new AddressRoom()));
  }

  /**
   * The address of a socket's peer.
   *
   * @throws UringError as getpeername(2). Linux 6.19. See io_uring_prep_cmd_getsockname(3).
   */
  peername(target: Target, options: OperationOptions = NO_OPTIONS): Promise<SocketAddress | null> {
    return attempt(() => this.call(GETPEERNAME, target, null, 0, 0, 0, options, new AddressRoom()));
  }
}

function valuesOf<T>({ extra }: Operation): T {
  return (extra as Values<T>).values;
}

function numberIn(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset, NUMBER).getInt32(0, true);
}

function fill(bytes: Uint8Array, value: number | Uint8Array): void {
  if (typeof value !== "number") {
    bytes.set(value);
    return;
  }
  const bits = whole(value, -0x8000_0000, 0xffff_ffff, "an option's value") | 0;
  new DataView(bytes.buffer, bytes.byteOffset, NUMBER).setInt32(0, bits, true);
}

/** The address that an operation is about, as people write it. */
function addressOf({ extra }: Operation): Subject {
  return { address: formatAddress(decodeSockaddr(extra as Pinned)) };
}

function formatAddress(address: SocketAddress | null): string {
  switch (address?.family) {
    case "ipv4":
      return `${address.address}:${address.port}`;
    case "ipv6":
      return `[${address.address}]:${address.port}`;
    case "unix":
      return address.abstract === undefined ? `${address.path ?? ""}` : `@${address.abstract}`;
    default:
      return `family ${address?.number}`;
  }
}
