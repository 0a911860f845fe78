import {
  cmsghdr as header,
  IP_PKTINFO,
  IPV6_PKTINFO,
  SCM_RIGHTS,
  SO_TIMESTAMP_NEW,
  SO_TIMESTAMP_OLD,
  SO_TIMESTAMPING_NEW,
  SO_TIMESTAMPING_OLD,
  SO_TIMESTAMPNS_NEW,
  SO_TIMESTAMPNS_OLD,
  SOL_IP,
  SOL_IPV6,
  SOL_SOCKET,
  SOL_UDP,
  UDP_GRO,
  UDP_SEGMENT,
} from "../abi/index.ts";
import type { Pinned } from "../ring/pinned.ts";
import { bytesOf, type Memory, target, u16, u32, viewOf, whole } from "./fields.ts";
import { formatIPv4, formatIPv6, parseIPv4, parseIPv6 } from "./ip.ts";

/**
 * A control message: what travels beside the data of a socket. See cmsg(3), unix(7), ip(7), ipv6(7), udp(7).
 *
 * - `rights`: fds passed over a Unix socket. **Those received are open**, and the receiver's to close.
 * - `udpSegment`: into datagrams of how many bytes the kernel cuts what is sent (UDP_SEGMENT).
 * - `udpGro`: of how many bytes the datagrams were that the kernel joined (UDP_GRO).
 * - `ipv4PacketInfo`: `interfaceIndex`, the local address (`local`, IP_PKTINFO's `ipi_spec_dst`), and the address in
 *   the packet's header.
 * - `ipv6PacketInfo`: the address and interface a packet came to, or is to leave from.
 * - `timestamp`: when the kernel received the packet, in nanoseconds since 1970; from SO_TIMESTAMP (in whole
 *   microseconds) or SO_TIMESTAMPNS.
 * - `timestamping`: the same by the kernel's clock and the network card's; 0 where there is none (SO_TIMESTAMPING).
 * - `other`: any other, as it is.
 */
export type ControlMessage =
  | { readonly kind: "rights"; readonly fds: readonly number[] }
  | { readonly kind: "udpSegment"; readonly size: number }
  | { readonly kind: "udpGro"; readonly size: number }
  | {
      readonly kind: "ipv4PacketInfo";
      readonly interfaceIndex: number;
      readonly local: string;
      readonly address: string;
    }
  | { readonly kind: "ipv6PacketInfo"; readonly interfaceIndex: number; readonly address: string }
  | { readonly kind: "timestamp"; readonly ns: bigint }
  | { readonly kind: "timestamping"; readonly software: bigint; readonly hardware: bigint }
  | OtherControlMessage;

/** A control message by its numbers. */
export interface OtherControlMessage {
  readonly kind: "other";
  /** `SOL_*` or `IPPROTO_*`. */
  readonly level: number;
  /** `SCM_*`, or the number of the socket option that asked for it. */
  readonly type: number;
  readonly data: Uint8Array;
}

/** The most fds that one message passes. */
const MAX_FDS = 253;
const NSEC = 1_000_000_000n;
const TIMESPEC = 16;

// struct in_pktinfo and struct in6_pktinfo of netinet/in.h.
const inPktinfo = { sizeof: 12, ipi_ifindex: 0, ipi_spec_dst: 4, ipi_addr: 8 } as const;
const in6Pktinfo = { sizeof: 20, ipi6_addr: 0, ipi6_ifindex: 16 } as const;

/**
 * Writes control messages, as a {@link Msghdr} takes them.
 *
 * @param messages any number of them
 * @param into memory to write to, by default new memory
 * @returns exactly the messages; they must stay as they are until the operation has been submitted
 * @throws RangeError for values that the fields do not hold, or more than 253 fds; TypeError for another type
 */
export function encodeControl<M extends Memory = Pinned>(messages: readonly ControlMessage[], into?: M): M {
  const raw = messages.map(encodeMessage);
  const size = raw.reduce((sum, { data }) => sum + header.sizeof + aligned(data.byteLength), 0);
  if (size === 0) throw new RangeError("at least one control message is needed");
  const memory = target(into, size, "array of control messages");
  const view = viewOf(memory, size, "array of control messages");
  const bytes = bytesOf(memory);
  let at = 0;
  for (const { level, type, data } of raw) {
    view.setBigUint64(at + header.cmsg_len, BigInt(header.sizeof + data.byteLength), true);
    view.setInt32(at + header.cmsg_level, level, true);
    view.setInt32(at + header.cmsg_type, type, true);
    bytes.set(data, at + header.__cmsg_data);
    at += header.sizeof + aligned(data.byteLength);
  }
  return memory;
}

/**
 * Reads control messages.
 *
 * @param memory where they are
 * @param length how many bytes of them the kernel wrote (`msg_controllen`), by default all of memory
 * @returns those that are there; one of a known kind that ended with the memory for it (`MSG_CTRUNC`) is an `other`
 * @throws RangeError for bytes that are no control messages, or end within one
 */
export function decodeControl(memory: Memory, length: number = memory.byteLength): ControlMessage[] {
  whole(length, 0, memory.byteLength, "the length of control messages");
  const bytes = bytesOf(memory).subarray(0, length);
  const messages: ControlMessage[] = [];
  let at = 0;
  while (at < length) {
    const view = viewOf(bytes, header.sizeof, "control message", at);
    const size = view.getBigUint64(header.cmsg_len, true);
    if (size < header.sizeof || size > length - at) {
      throw new RangeError(`a control message of ${size} bytes at byte ${at} of ${length}`);
    }
    const data = bytes.slice(at + header.__cmsg_data, at + Number(size));
    messages.push(
      decodeMessage(view.getInt32(header.cmsg_level, true), view.getInt32(header.cmsg_type, true), data),
    );
    at += aligned(Number(size));
  }
  return messages;
}

/** The kernel aligns each message to its word. */
function aligned(size: number): number {
  return Math.ceil(size / 8) * 8;
}

function encodeMessage(message: ControlMessage): Omit<OtherControlMessage, "kind"> {
  switch (message?.kind) {
    case "rights": {
      if (message.fds.length < 1 || message.fds.length > MAX_FDS) {
        throw new RangeError(`a message passes 1 to ${MAX_FDS} fds, not ${message.fds.length}`);
      }
      const fds = message.fds.map((fd) => whole(fd, 0, 0x7fff_ffff, "an fd"));
      return {
        level: SOL_SOCKET,
        type: SCM_RIGHTS,
        data: bytesFrom(4 * fds.length, (view) => setFds(view, fds)),
      };
    }
    case "udpSegment": {
      const size = u16(message.size, "size");
      return {
        level: SOL_UDP,
        type: UDP_SEGMENT,
        data: bytesFrom(2, (view) => view.setUint16(0, size, true)),
      };
    }
    case "udpGro": {
      const size = whole(message.size, 0, 0x7fff_ffff, "size");
      return { level: SOL_UDP, type: UDP_GRO, data: bytesFrom(4, (view) => view.setInt32(0, size, true)) };
    }
    case "ipv4PacketInfo": {
      const index = whole(message.interfaceIndex, 0, 0x7fff_ffff, "interfaceIndex");
      const data = bytesFrom(inPktinfo.sizeof, (view) => view.setInt32(inPktinfo.ipi_ifindex, index, true));
      data.set(parseIPv4(message.local), inPktinfo.ipi_spec_dst);
      data.set(parseIPv4(message.address), inPktinfo.ipi_addr);
      return { level: SOL_IP, type: IP_PKTINFO, data };
    }
    case "ipv6PacketInfo": {
      const index = u32(message.interfaceIndex, "interfaceIndex");
      const data = bytesFrom(in6Pktinfo.sizeof, (view) =>
        view.setUint32(in6Pktinfo.ipi6_ifindex, index, true),
      );
      data.set(parseIPv6(message.address), in6Pktinfo.ipi6_addr);
      return { level: SOL_IPV6, type: IPV6_PKTINFO, data };
    }
    case "timestamp":
      return {
        level: SOL_SOCKET,
        type: SO_TIMESTAMPNS_OLD,
        data: bytesFrom(TIMESPEC, (view) => setTime(view, 0, message.ns)),
      };
    case "timestamping":
      return {
        level: SOL_SOCKET,
        type: SO_TIMESTAMPING_OLD,
        data: bytesFrom(3 * TIMESPEC, (view) => {
          setTime(view, 0, message.software);
          setTime(view, 2 * TIMESPEC, message.hardware);
        }),
      };
    case "other":
      return {
        level: whole(message.level, -(2 ** 31), 2 ** 31 - 1, "level"),
        type: whole(message.type, -(2 ** 31), 2 ** 31 - 1, "type"),
        data: bytesOf(message.data),
      };
    default:
      throw new TypeError(
        `no kind of control message: ${String((message as { kind?: unknown } | null)?.kind)}`,
      );
  }
}

/** How many bytes a message of a known kind has; what has fewer was cut off where the memory for it ended. */
function sizeOf(level: number, type: number): number {
  switch (level) {
    case SOL_SOCKET:
      if (type === SO_TIMESTAMPING_OLD || type === SO_TIMESTAMPING_NEW) return 3 * TIMESPEC;
      return type === SCM_RIGHTS ? 0 : TIMESPEC;
    case SOL_UDP:
      return type === UDP_SEGMENT ? 2 : 4;
    case SOL_IP:
      return inPktinfo.sizeof;
    default:
      return in6Pktinfo.sizeof;
  }
}

function decodeMessage(level: number, type: number, data: Uint8Array): ControlMessage {
  if (data.byteLength < sizeOf(level, type)) return { kind: "other", level, type, data };
  const view = (size: number, name: string): DataView => viewOf(data, size, name);
  switch (level) {
    case SOL_SOCKET:
      switch (type) {
        case SCM_RIGHTS:
          return { kind: "rights", fds: getFds(data) };
        case SO_TIMESTAMP_OLD:
        case SO_TIMESTAMP_NEW:
          return { kind: "timestamp", ns: getTime(view(TIMESPEC, "timeval"), 0, 1000n) };
        case SO_TIMESTAMPNS_OLD:
        case SO_TIMESTAMPNS_NEW:
          return { kind: "timestamp", ns: getTime(view(TIMESPEC, "timespec"), 0, 1n) };
        case SO_TIMESTAMPING_OLD:
        case SO_TIMESTAMPING_NEW: {
          // The second of the three is no longer used.
          const times = view(3 * TIMESPEC, "scm_timestamping");
          return {
            kind: "timestamping",
            software: getTime(times, 0, 1n),
            hardware: getTime(times, 2 * TIMESPEC, 1n),
          };
        }
      }
      break;
    case SOL_UDP:
      if (type === UDP_SEGMENT)
        return { kind: "udpSegment", size: view(2, "UDP_SEGMENT").getUint16(0, true) };
      if (type === UDP_GRO) return { kind: "udpGro", size: view(4, "UDP_GRO").getInt32(0, true) };
      break;
    case SOL_IP:
      if (type === IP_PKTINFO) {
        return {
          kind: "ipv4PacketInfo",
          interfaceIndex: view(inPktinfo.sizeof, "in_pktinfo").getInt32(inPktinfo.ipi_ifindex, true),
          local: formatIPv4(data.subarray(inPktinfo.ipi_spec_dst)),
          address: formatIPv4(data.subarray(inPktinfo.ipi_addr)),
        };
      }
      break;
    case SOL_IPV6:
      if (type === IPV6_PKTINFO) {
        return {
          kind: "ipv6PacketInfo",
          interfaceIndex: view(in6Pktinfo.sizeof, "in6_pktinfo").getUint32(in6Pktinfo.ipi6_ifindex, true),
          address: formatIPv6(data.subarray(in6Pktinfo.ipi6_addr)),
        };
      }
      break;
  }
  return { kind: "other", level, type, data };
}

function bytesFrom(size: number, fill: (view: DataView) => void): Uint8Array {
  const bytes = new Uint8Array(size);
  fill(new DataView(bytes.buffer));
  return bytes;
}

function setFds(view: DataView, fds: readonly number[]): void {
  for (const [i, fd] of fds.entries()) view.setInt32(4 * i, fd, true);
}

function getFds(data: Uint8Array): number[] {
  if (data.byteLength % 4 !== 0) throw new RangeError(`fds take 4 bytes each, not ${data.byteLength} bytes`);
  const view = viewOf(data, data.byteLength, "fds");
  return Array.from({ length: data.byteLength / 4 }, (_, i) => view.getInt32(4 * i, true));
}

function setTime(view: DataView, at: number, ns: bigint): void {
  if (typeof ns !== "bigint") throw new TypeError(`a time in nanoseconds must be a bigint, not ${typeof ns}`);
  if (ns < 0n || ns / NSEC >= 2n ** 63n) throw new RangeError(`no timespec holds ${ns} nanoseconds`);
  view.setBigInt64(at, ns / NSEC, true);
  view.setBigInt64(at + 8, ns % NSEC, true);
}

/** Seconds, and a fraction in units of so many nanoseconds. */
function getTime(view: DataView, at: number, unit: bigint): bigint {
  return view.getBigInt64(at, true) * NSEC + view.getBigInt64(at + 8, true) * unit;
}
