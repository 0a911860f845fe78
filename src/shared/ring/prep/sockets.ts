import {
  IORING_ACCEPT_MULTISHOT,
  IORING_FILE_INDEX_ALLOC,
  IORING_OP_ACCEPT,
  IORING_OP_BIND,
  IORING_OP_CONNECT,
  IORING_OP_LISTEN,
  IORING_OP_NOP,
  IORING_OP_RECV,
  IORING_OP_RECVMSG,
  IORING_OP_SEND,
  IORING_OP_SEND_ZC,
  IORING_OP_SENDMSG,
  IORING_OP_SENDMSG_ZC,
  IORING_OP_SHUTDOWN,
  IORING_OP_SOCKET,
  IORING_OP_URING_CMD,
  IORING_RECV_MULTISHOT,
  IORING_RECVSEND_BUNDLE,
  IORING_RECVSEND_FIXED_BUF,
  IORING_SEND_VECTORIZED,
  iovec,
  SO_ATTACH_FILTER,
  SOCKET_URING_OP_GETSOCKNAME,
  SOCKET_URING_OP_GETSOCKOPT,
  sockaddr_storage,
} from "../../abi/index.ts";
import { Iovecs } from "../../structs/iovecs.ts";
import { Msghdr } from "../../structs/msghdr.ts";
import { checkMessageFlags } from "../combination.ts";
import type { Direct, Target } from "../direct.ts";
import type { Int64, Mem } from "../entry.ts";
import { Struct } from "../pinned.ts";
import { FilesPrep } from "./files.ts";
import { s32, size, u16, u32 } from "./integers.ts";

/** The most that the kernel writes of an address, whatever the length it finds in memory. */
const ADDRESS = sockaddr_storage.sizeof;
const SOCKLEN = 4;
/** `struct sock_filter`: `SO_GET_FILTER` counts these, not bytes. */
const SOCK_FILTER = 8;

/** Operations on sockets. Wherever one takes a `Direct`, it works on the slot of that number of the file table. */
export class SocketsPrep extends FilesPrep {
  /**
   * Sends data on a connected socket.
   *
   * The completion's `res` is the bytes sent, which may be fewer than `len` without `MSG_WAITALL`; -EPIPE,
   * -ECONNRESET. `buf` stays the operation's until its completion. With `setBufferGroup` the data comes from provided
   * buffers (6.10). Linux 5.6. See io_uring_prep_send(3).
   *
   * @param buf memory of at least `len` bytes, or 0 with provided buffers; or the
   * `Iovecs` to send, `len` of them, with which `IORING_SEND_VECTORIZED` is set (6.17)
   * @param flags `MSG_*`
   */
  prepSend(sockfd: Target, buf: Mem | Iovecs, len: Int64, flags: number): this {
    const bytes = size(len, buf);
    return this.opFlags(flags).rw(IORING_OP_SEND, sockfd, this.payload(buf, bytes), bytes, 0).pieces(buf);
  }

  /**
   * Sends from as many buffers of a ring of provided buffers as are ready; `setBufferGroup` names it.
   *
   * Each completion's `res` is the bytes sent, and its `bufferId` the first buffer; those that follow in the ring were
   * sent too, up to 256 at a time. Without `IORING_CQE_F_MORE` it is the last; -ENOBUFS when there is no buffer. The
   * buffers are the operation's until the completion that has them. Linux 6.10. See io_uring_prep_send_bundle(3).
   *
   * @param len must be 0 on kernels to date
   */
  prepSendBundle(sockfd: Target, len: Int64, flags: number): this {
    return this.prepSend(sockfd, 0, len, flags).addIoprio(IORING_RECVSEND_BUNDLE);
  }

  /**
   * Gives a send that has been prepared (`prepSend`, `prepSendZc`, `prepSendZcFixed`) the address to send to.
   *
   * `destAddr` is the operation's until it has been submitted. Linux 6.0, for `prepSend` 6.1. See
   * io_uring_prep_send_set_addr(3).
   *
   * @param addrLen length of the address in bytes, at most those of `destAddr`
   * @throws TypeError on an entry prepared for anything else, where the address would mean something else
   */
  prepSendSetAddr(destAddr: Mem, addrLen: number): this {
    const opcode = this.opcode();
    if (opcode !== IORING_OP_SEND && opcode !== IORING_OP_SEND_ZC && opcode !== IORING_OP_NOP) {
      throw new TypeError("an address to send to belongs to a send, prepared before it");
    }
    u16(addrLen, "address length");
    return this.off(this.data(destAddr, addrLen)).addrLen(addrLen);
  }

  /**
   * Sends data to an address, as a datagram socket takes it.
   *
   * The completion's `res` is the bytes sent; -EMSGSIZE for more than a datagram holds. `buf` is the operation's
   * until its completion, `addr` until it has been submitted. Linux 6.1. See io_uring_prep_sendto(3).
   *
   * @param addrlen length of the address in bytes, at most those of `addr`
   */
  prepSendto(sockfd: Target, buf: Mem | Iovecs, len: Int64, flags: number, addr: Mem, addrlen: number): this {
    const bytes = size(len, buf);
    const to = this.data(addr, u32(addrlen, "address length"));
    return this.opFlags(flags)
      .addrLen(addrlen)
      .rw(IORING_OP_SEND, sockfd, this.payload(buf, bytes), bytes, to)
      .pieces(buf);
  }

  /**
   * Sends data without copying it, where the network device can.
   *
   * The completion's `res` is the bytes sent. If that completion has `IORING_CQE_F_MORE`, a second one with
   * `IORING_CQE_F_NOTIF` follows when the memory is free again: **`buf` is the operation's until the notification**.
   * -ENOMEM when the limit of locked memory is too low; -EOPNOTSUPP on sockets that can not. Linux 6.0. See
   * io_uring_prep_send_zc(3).
   *
   * @param zcFlags `IORING_SEND_ZC_REPORT_USAGE`, with which the notification's result says whether data was copied
   * after all; `IORING_SEND_VECTORIZED`, with which `buf` is `Iovecs` and `len` their number. Replaces what
   * `setIoprio` has set.
   */
  prepSendZc(sockfd: Target, buf: Mem | Iovecs, len: Int64, flags: number, zcFlags: number): this {
    const bytes = size(len, buf);
    const vectorized = (u32(zcFlags, "zero-copy flags") & IORING_SEND_VECTORIZED) !== 0;
    if (typeof buf === "object" && Struct.is(buf, Iovecs) !== vectorized) {
      throw new TypeError("Iovecs and IORING_SEND_VECTORIZED need each other");
    }
    return this.opFlags(flags)
      .ioprio(zcFlags & 0xffff)
      .rw(IORING_OP_SEND_ZC, sockfd, this.payload(buf, bytes), bytes, 0)
      .doubt();
  }

  /**
   * As `prepSendZc`, from within a registered buffer, which saves the kernel looking the memory up.
   *
   * Completions and memory are as for `prepSendZc`; -EFAULT when `buf` is not within the buffer. Linux 6.0. See
   * io_uring_prep_send_zc_fixed(3).
   *
   * @param bufIndex the registered buffer
   */
  prepSendZcFixed(
    sockfd: Target,
    buf: Mem | Iovecs,
    len: Int64,
    flags: number,
    zcFlags: number,
    bufIndex: number,
  ): this {
    const bits = u32(zcFlags, "zero-copy flags") | IORING_RECVSEND_FIXED_BUF;
    return this.bufIndex(bufIndex).prepSendZc(sockfd, buf, len, flags, bits);
  }

  /**
   * Receives data from a socket.
   *
   * The completion's `res` is the bytes received, 0 when the peer has ended its side; `IORING_CQE_F_SOCK_NONEMPTY`
   * when more is waiting (5.19). With `setBufferGroup` the kernel picks the buffer, and the completion names it.
   * `buf` is the operation's until its completion. Linux 5.6. See io_uring_prep_recv(3).
   *
   * @param buf memory of at least `len` bytes, or 0 with provided buffers
   * @param flags `MSG_*`
   */
  prepRecv(sockfd: Target, buf: Mem, len: Int64, flags: number): this {
    const bytes = size(len, buf);
    return this.opFlags(flags).rw(IORING_OP_RECV, sockfd, this.data(buf, bytes), bytes, 0);
  }

  /**
   * Receives again and again, each time into a provided buffer: needs `setBufferGroup`, and no `MSG_WAITALL`.
   *
   * Each completion has the bytes received and the buffer they are in; without `IORING_CQE_F_MORE` it is the last: 0
   * when the peer has ended its side, -ENOBUFS when the group has run out of buffers. Linux 6.0. See
   * io_uring_prep_recv_multishot(3).
   *
   * @param buf 0: the buffers are the group's
   * @param len most bytes at a time, 0 for as many as a buffer holds
   */
  prepRecvMultishot(sockfd: Target, buf: Mem, len: Int64, flags: number): this {
    return this.prepRecv(sockfd, buf, len, flags).addIoprio(IORING_RECV_MULTISHOT).doubt();
  }

  /**
   * Sets the most bytes that a multishot receive brings in all, the entry's `optlen`: once it has, it ends, and its last
   * completion has no `IORING_CQE_F_MORE`. 0, as without this, is no limit. Linux 6.17. See
   * io_uring_prep_recv_multishot(3).
   *
   * @throws TypeError on an entry prepared for anything else, where the field would mean something else
   */
  setOptlen(length: number): this {
    if (this.opcode() !== IORING_OP_RECV) {
      throw new TypeError("a total length belongs to a multishot receive, prepared before it");
    }
    return this.fileIndex(length);
  }

  /**
   * Sends a message: data from several pieces, an address, control messages.
   *
   * The completion's `res` is the bytes sent. `msg` and the memory it points to are the operation's until its
   * completion. Linux 5.3. See io_uring_prep_sendmsg(3).
   *
   * @param flags `MSG_*`
   */
  prepSendmsg(fd: Target, msg: Msghdr | number | bigint, flags: number): this {
    return this.message(IORING_OP_SENDMSG, fd, msg, flags);
  }

  /**
   * Sends a message without copying its data, where the network device can.
   *
   * The completion's `res` is the bytes sent; if that completion has `IORING_CQE_F_MORE`, one with
   * `IORING_CQE_F_NOTIF` follows. **The data is the operation's until the notification**, `msg` itself until the
   * first completion. Linux 6.1. See io_uring_prep_sendmsg_zc(3).
   */
  prepSendmsgZc(fd: Target, msg: Msghdr | number | bigint, flags: number): this {
    return this.message(IORING_OP_SENDMSG_ZC, fd, msg, flags).doubt();
  }

  /**
   * As `prepSendmsgZc`, with all data within one registered buffer.
   *
   * Completions and memory are as for `prepSendmsgZc`; -EFAULT when data is not within the buffer. Linux 6.15. See
   * io_uring_prep_sendmsg_zc_fixed(3).
   *
   * @param bufIndex the registered buffer
   */
  prepSendmsgZcFixed(fd: Target, msg: Msghdr | number | bigint, flags: number, bufIndex: number): this {
    return this.bufIndex(bufIndex).prepSendmsgZc(fd, msg, flags).addIoprio(IORING_RECVSEND_FIXED_BUF);
  }

  /**
   * Receives a message: data into several pieces, the sender's address, control messages.
   *
   * The completion's `res` is the bytes received, 0 when the peer has ended its side; `msg` tells the rest. It and
   * the memory it points to are the operation's until its completion. Linux 5.3. See io_uring_prep_recvmsg(3).
   *
   * @param flags `MSG_*`
   */
  prepRecvmsg(fd: Target, msg: Msghdr | number | bigint, flags: number): this {
    return this.message(IORING_OP_RECVMSG, fd, msg, flags);
  }

  /**
   * Receives messages again and again, each into a provided buffer: needs `setBufferGroup`, and no `MSG_WAITALL`.
   *
   * Each completion has the bytes filled and the buffer, which `decodeRecvmsg` takes apart; without
   * `IORING_CQE_F_MORE` it is the last: -ENOBUFS when the group has run out of buffers. `msg` is the operation's
   * until then. Linux 6.0. See io_uring_prep_recvmsg_multishot(3).
   *
   * @param msg only its lengths count: the room each buffer has for the address and control messages
   */
  prepRecvmsgMultishot(fd: Target, msg: Msghdr | number | bigint, flags: number): this {
    return this.prepRecvmsg(fd, msg, flags).addIoprio(IORING_RECV_MULTISHOT).doubt();
  }

  /**
   * Accepts a connection.
   *
   * The completion's `res` is the new fd; -EMFILE, -ECONNABORTED. `addr` and `addrlen` are the operation's until its
   * completion. Linux 5.5. See io_uring_prep_accept(3).
   *
   * @param addr 128 bytes for the peer's address, or 0
   * @param addrlen 4 bytes that say how much of `addr` may be filled, and then how long the address is; or 0
   * @param flags `SOCK_NONBLOCK`, `SOCK_CLOEXEC`
   */
  prepAccept(fd: Target, addr: Mem, addrlen: Mem, flags: number): this {
    return this.opFlags(flags).rw(
      IORING_OP_ACCEPT,
      fd,
      this.data(addr, ADDRESS),
      0,
      this.data(addrlen, SOCKLEN),
    );
  }

  /**
   * Accepts a connection into a slot of the file table, whose file, if it has one, is closed.
   *
   * The completion's `res` is 0, or the slot where any free one was asked for; -ENFILE when none is free, -EINVAL
   * with `SOCK_CLOEXEC`. `addr` and `addrlen` are as for `prepAccept`. Linux 5.15. See
   * io_uring_prep_accept_direct(3).
   *
   * @param fileIndex the slot, or `IORING_FILE_INDEX_ALLOC` for any free one (5.19)
   */
  prepAcceptDirect(fd: Target, addr: Mem, addrlen: Mem, flags: number, fileIndex: number | Direct): this {
    return this.fileSlot(fileIndex).prepAccept(fd, addr, addrlen, flags);
  }

  /**
   * Accepts connections again and again.
   *
   * Each completion has a new fd; without `IORING_CQE_F_MORE` it is the last, and says why. `addr` and `addrlen`, if
   * given, are the operation's until then, and every connection overwrites them. Linux 5.19. See
   * io_uring_prep_multishot_accept(3).
   */
  prepMultishotAccept(fd: Target, addr: Mem, addrlen: Mem, flags: number): this {
    return this.prepAccept(fd, addr, addrlen, flags).addIoprio(IORING_ACCEPT_MULTISHOT);
  }

  /**
   * Accepts connections again and again, each into a free slot of the file table.
   *
   * Each completion has a slot; without `IORING_CQE_F_MORE` it is the last: -ENFILE when no slot is free. Memory is
   * as for `prepMultishotAccept`. Linux 5.19. See io_uring_prep_multishot_accept_direct(3).
   */
  prepMultishotAcceptDirect(fd: Target, addr: Mem, addrlen: Mem, flags: number): this {
    return this.fileSlot(IORING_FILE_INDEX_ALLOC).prepMultishotAccept(fd, addr, addrlen, flags);
  }

  /**
   * Connects a socket.
   *
   * The completion's `res` is 0; -ECONNREFUSED, -ETIMEDOUT. `addr` is the operation's until it has been submitted.
   * Linux 5.5. See io_uring_prep_connect(3).
   *
   * @param addrlen length of the address in bytes, at most those of `addr`
   */
  prepConnect(fd: Target, addr: Mem, addrlen: number): this {
    return this.address(IORING_OP_CONNECT, fd, addr, addrlen);
  }

  /**
   * Binds a socket to a local address.
   *
   * The completion's `res` is 0; -EADDRINUSE, -EACCES. `addr` is the operation's until it has been submitted. Linux
   * 6.11. See io_uring_prep_bind(3).
   *
   * @param addrlen length of the address in bytes, at most those of `addr`
   */
  prepBind(fd: Target, addr: Mem, addrlen: number): this {
    return this.address(IORING_OP_BIND, fd, addr, addrlen);
  }

  /**
   * Makes a socket listen for connections.
   *
   * The completion's `res` is 0; -EADDRINUSE. Linux 6.11. See io_uring_prep_listen(3).
   *
   * @param backlog how many connections may wait to be accepted
   */
  prepListen(fd: Target, backlog: number): this {
    return this.rw(IORING_OP_LISTEN, fd, 0, backlog, 0);
  }

  /**
   * Ends one side of a connection, or both.
   *
   * The completion's `res` is 0; -ENOTCONN. Linux 5.11. See io_uring_prep_shutdown(3).
   *
   * @param how `SHUT_RD`, `SHUT_WR` or `SHUT_RDWR`
   */
  prepShutdown(fd: Target, how: number): this {
    return this.rw(IORING_OP_SHUTDOWN, fd, 0, how, 0);
  }

  /**
   * Makes a socket.
   *
   * The completion's `res` is its fd; -EAFNOSUPPORT, -EMFILE. Linux 5.19. See io_uring_prep_socket(3).
   *
   * @param type `SOCK_STREAM` and its like, with `SOCK_NONBLOCK`, `SOCK_CLOEXEC`
   * @param flags 0: none are defined
   */
  prepSocket(domain: number, type: number, protocol: number, flags: number): this {
    return this.opFlags(flags).rw(IORING_OP_SOCKET, s32(domain, "domain"), 0, protocol, s32(type, "type"));
  }

  /**
   * Makes a socket in a slot of the file table, whose file, if it has one, is closed.
   *
   * The completion's `res` is 0, or the slot where any free one was asked for; -ENFILE when none is free, -EINVAL
   * with `SOCK_CLOEXEC`. Linux 5.19. See io_uring_prep_socket_direct(3).
   *
   * @param fileIndex the slot, or `IORING_FILE_INDEX_ALLOC` for any free one
   */
  prepSocketDirect(
    domain: number,
    type: number,
    protocol: number,
    fileIndex: number | Direct,
    flags: number,
  ): this {
    return this.fileSlot(fileIndex).prepSocket(domain, type, protocol, flags);
  }

  /**
   * Makes a socket in a free slot of the file table.
   *
   * The completion's `res` is the slot; -ENFILE when none is free. Linux 5.19. See
   * io_uring_prep_socket_direct_alloc(3).
   */
  prepSocketDirectAlloc(domain: number, type: number, protocol: number, flags: number): this {
    return this.prepSocketDirect(domain, type, protocol, IORING_FILE_INDEX_ALLOC, flags);
  }

  /**
   * Runs a socket command.
   *
   * `SOCKET_URING_OP_GETSOCKOPT` completes with the option's length, `_SETSOCKOPT` with 0, `_SIOCINQ` and `_SIOCOUTQ`
   * with bytes waiting in the queue; `_TX_TIMESTAMP` (6.17) again and again, with `IORING_CQE_F_MORE`, on rings with
   * large completions. -EOPNOTSUPP for levels other than `SOL_SOCKET`, when getting. `optval` is the operation's
   * until its completion. Linux 6.7. See io_uring_prep_cmd_sock(3).
   *
   * @param optval memory of at least `optlen` bytes (8 each for `SO_GET_FILTER`); 0 for commands without an option. An
   * address among an option's bytes is as a raw one
   * @throws RangeError for `SOCKET_URING_OP_GETSOCKNAME`, which has a helper of its own
   */
  prepCmdSock(cmdOp: number, fd: Target, level: number, optname: number, optval: Mem, optlen: number): this {
    const command = u32(cmdOp, "command");
    // The kernel would take level and name for one address.
    if (command === SOCKET_URING_OP_GETSOCKNAME) {
      throw new RangeError("prepCmdGetsockname is for SOCKET_URING_OP_GETSOCKNAME");
    }
    u32(level, "level");
    const filter = u32(optname, "option name") === SO_ATTACH_FILTER && command === SOCKET_URING_OP_GETSOCKOPT;
    const value = this.data(optval, u32(optlen, "option length") * (filter ? SOCK_FILTER : 1));
    return this.fileIndex(optlen)
      .addr3(value)
      .rw(IORING_OP_URING_CMD, fd, 0, 0, command)
      .levelAndName(level, optname);
  }

  /**
   * Gets the address a socket is bound to, or its peer's.
   *
   * The completion's `res` is 0; -ENOTCONN without a peer. `sockaddr` and `sockaddrLen` are the operation's until its
   * completion. Linux 6.19. See io_uring_prep_cmd_getsockname(3).
   *
   * @param sockaddr 128 bytes for the address
   * @param sockaddrLen 4 bytes that say how much of `sockaddr` may be filled, and then how long the address is
   * @param peer 0 for the socket's own address, 1 for its peer's
   */
  prepCmdGetsockname(fd: Target, sockaddr: Mem, sockaddrLen: Mem, peer: number): this {
    const address = this.data(sockaddr, ADDRESS);
    return this.fileIndex(peer)
      .addr3(this.data(sockaddrLen, SOCKLEN))
      .rw(IORING_OP_URING_CMD, fd, address, 0, SOCKET_URING_OP_GETSOCKNAME);
  }

  /** Says what the memory of a send is: a caller's raw address may be either. */
  private pieces(buf: Mem | Iovecs): this {
    return typeof buf === "object" ? this.vectorized(Struct.is(buf, Iovecs)) : this;
  }

  private message(opcode: number, fd: Target, msg: Msghdr | number | bigint, flags: number): this {
    // What is at a raw address is the caller's to know.
    if (typeof msg === "object") checkMessageFlags(flags);
    return this.opFlags(flags).rw(opcode, fd, this.struct(msg, Msghdr), 1, 0);
  }

  /** The address of what is to be sent: bytes, or `length` pieces of them. */
  private payload(buf: Mem | Iovecs, length: number): Int64 {
    if (!Struct.is(buf, Iovecs)) return this.data(buf, length);
    if (length * iovec.sizeof > Struct.lengthOf(buf))
      throw new RangeError(`${length} pieces are more than the ${buf.length} given`);
    return this.struct(buf, Iovecs);
  }

  /** An operation that takes an address and its length. */
  private address(opcode: number, fd: Target, addr: Mem, addrlen: number): this {
    const length = u32(addrlen, "address length");
    return this.rw(opcode, fd, this.data(addr, length), 0, length);
  }
}
