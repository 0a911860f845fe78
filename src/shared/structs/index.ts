/** Encoders and decoders of the structs that io_uring's operations take and fill in. */

export { AttrPi, type AttrPiOptions } from "./attr-pi.ts";
export { type ControlMessage, decodeControl, encodeControl, type OtherControlMessage } from "./control.ts";
export { decodeEpollEvents, type EpollEvent, encodeEpollEvent } from "./epoll-event.ts";
export type { Memory } from "./fields.ts";
export { type Futex, FutexWaitv } from "./futex-waitv.ts";
export { Iovecs } from "./iovecs.ts";
export { Msghdr, type MsghdrOptions } from "./msghdr.ts";
export { decodeOpenHow, encodeOpenHow, type OpenHow } from "./open-how.ts";
export { decodeRecvmsg, type ReceivedMessage } from "./recvmsg.ts";
export { type ChildInfo, decodeSiginfo } from "./siginfo.ts";
export {
  decodeSockaddr,
  encodeSockaddr,
  type IPv4Address,
  type IPv6Address,
  type OtherAddress,
  type SocketAddress,
  type UnixAddress,
} from "./sockaddr.ts";
export { decodeStatx, type Statx } from "./statx.ts";
export { decodeTimespec, encodeTimespec, type Timespec } from "./timespec.ts";
