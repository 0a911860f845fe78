import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  sockaddr,
  sockaddr_in,
  sockaddr_in6,
  sockaddr_storage,
  sockaddr_un,
} from "../abi/index.ts";
import type { Pinned } from "../ring/pinned.ts";
import { bytesOf, type Memory, target, u16, u32, viewOf, whole } from "./fields.ts";
import { formatIPv4, formatIPv6, parseIPv4, parseIPv6 } from "./ip.ts";

/** An IPv4 address and port. */
export interface IPv4Address {
  readonly family: "ipv4";
  /** Dotted decimal, such as `"127.0.0.1"`. */
  readonly address: string;
  readonly port: number;
}

/** An IPv6 address and port. */
export interface IPv6Address {
  readonly family: "ipv6";
  /** Such as `"::1"`, without a zone: that is `scopeId`. */
  readonly address: string;
  readonly port: number;
  /** Traffic class and flow label; 0 unless given. */
  readonly flowInfo?: number;
  /** The interface (by index) of a link-local address; 0 unless given. */
  readonly scopeId?: number;
}

/**
 * An address in the Unix domain: a path, a name in the abstract namespace, or none. Text where it is UTF-8, else bytes.
 */
export interface UnixAddress {
  readonly family: "unix";
  /** A path in the file system, without a NUL. */
  readonly path?: string | Uint8Array;
  /** A name in the abstract namespace, without the NUL it begins with in C. */
  readonly abstract?: string | Uint8Array;
}

/** An address of another family: the bytes after the family, as they are. */
export interface OtherAddress {
  readonly family: "other";
  /** The `AF_*` number. */
  readonly number: number;
  readonly data: Uint8Array;
}

/** A socket's address. */
export type SocketAddress = IPv4Address | IPv6Address | UnixAddress | OtherAddress;

const PATH_MAX = sockaddr_un.sizeof - sockaddr_un.sun_path;
const textOptions = { fatal: true, ignoreBOM: true };

/**
 * Writes a `struct sockaddr`, as `prepConnect`, `prepBind` and `prepSendto` take it.
 *
 * @param address the address; see {@link SocketAddress}
 * @param into memory to write to, 128 bytes for any address; by default new memory
 * @returns exactly the address: its `byteLength` is the `addrlen` to give. It must stay as it is until the operation has
 * been submitted
 * @throws RangeError for text that is no address, a port above 65535, or a name of more than 108 bytes; TypeError for
 * another type, or a path with a NUL
 *
 * @example
 * ```ts
 * import { decodeSockaddr, encodeSockaddr } from "uring";
 *
 * const address = encodeSockaddr({ family: "ipv4", address: "127.0.0.1", port: 8080 });
 * console.log(address.byteLength, decodeSockaddr(address));
 * // 16 { family: "ipv4", address: "127.0.0.1", port: 8080 }
 * ```
 */
export function encodeSockaddr<M extends Memory = Pinned>(address: SocketAddress, into?: M): M {
  switch (address?.family) {
    case "ipv4":
      return encodeIPv4(address, into);
    case "ipv6":
      return encodeIPv6(address, into);
    case "unix":
      return encodeUnix(address, into);
    case "other":
      return encodeOther(address, into);
    default:
      throw new TypeError('an address needs a family: "ipv4", "ipv6", "unix" or "other"');
  }
}

/**
 * Reads a `struct sockaddr`.
 *
 * @param memory where it is
 * @param length its length as the kernel gave it (`addrlen`), by default all of memory
 * @returns the address; `null` for length 0, which is how the kernel says that there is none
 * @throws RangeError for a length beyond memory, or too short for the family
 */
export function decodeSockaddr(memory: Memory, length: number = memory.byteLength): SocketAddress | null {
  const all = bytesOf(memory);
  whole(length, 0, all.byteLength, "an address's length");
  if (length === 0) return null;
  const bytes = all.subarray(0, length);
  const family = viewOf(bytes, 2, "sockaddr").getUint16(sockaddr.sa_family, true);
  switch (family) {
    case AF_INET:
      return decodeIPv4(bytes);
    case AF_INET6:
      return decodeIPv6(bytes);
    case AF_UNIX:
      return decodeUnix(bytes);
    default:
      return { family: "other", number: family, data: bytes.slice(sockaddr.sa_data) };
  }
}

function encodeIPv4<M extends Memory>(address: IPv4Address, into: M | undefined): M {
  const ip = parseIPv4(address.address);
  const port = u16(address.port, "port");
  const memory = target(into, sockaddr_in.sizeof, "sockaddr_in");
  const view = viewOf(memory, sockaddr_in.sizeof, "sockaddr_in");
  view.setUint16(sockaddr_in.sin_family, AF_INET, true);
  view.setUint16(sockaddr_in.sin_port, port);
  bytesOf(memory).set(ip, sockaddr_in.sin_addr);
  return memory;
}

function decodeIPv4(bytes: Uint8Array): IPv4Address {
  const view = viewOf(bytes, sockaddr_in.sizeof, "sockaddr_in");
  return {
    family: "ipv4",
    address: formatIPv4(bytes.subarray(sockaddr_in.sin_addr)),
    port: view.getUint16(sockaddr_in.sin_port),
  };
}

function encodeIPv6<M extends Memory>(address: IPv6Address, into: M | undefined): M {
  const ip = parseIPv6(address.address);
  const port = u16(address.port, "port");
  const flowInfo = u32(address.flowInfo ?? 0, "flowInfo");
  const scopeId = u32(address.scopeId ?? 0, "scopeId");
  const memory = target(into, sockaddr_in6.sizeof, "sockaddr_in6");
  const view = viewOf(memory, sockaddr_in6.sizeof, "sockaddr_in6");
  view.setUint16(sockaddr_in6.sin6_family, AF_INET6, true);
  view.setUint16(sockaddr_in6.sin6_port, port);
  view.setUint32(sockaddr_in6.sin6_flowinfo, flowInfo);
  bytesOf(memory).set(ip, sockaddr_in6.sin6_addr);
  view.setUint32(sockaddr_in6.sin6_scope_id, scopeId, true);
  return memory;
}

function decodeIPv6(bytes: Uint8Array): IPv6Address {
  const view = viewOf(bytes, sockaddr_in6.sizeof, "sockaddr_in6");
  return {
    family: "ipv6",
    address: formatIPv6(bytes.subarray(sockaddr_in6.sin6_addr)),
    port: view.getUint16(sockaddr_in6.sin6_port),
    flowInfo: view.getUint32(sockaddr_in6.sin6_flowinfo),
    scopeId: view.getUint32(sockaddr_in6.sin6_scope_id, true),
  };
}

function encodeUnix<M extends Memory>(address: UnixAddress, into: M | undefined): M {
  if (address.path !== undefined && address.abstract !== undefined) {
    throw new TypeError("a Unix address has a path or an abstract name, not both");
  }
  let name = new Uint8Array(0);
  if (address.path !== undefined) {
    const path = utf8(address.path, "path");
    if (path.length === 0 || path.includes(0))
      throw new TypeError("a path must not be empty and must not hold a NUL");
    // The kernel takes a path that fills the field without a NUL.
    name = new Uint8Array(Math.max(path.length, Math.min(path.length + 1, PATH_MAX)));
    name.set(path);
  } else if (address.abstract !== undefined) {
    const abstract = utf8(address.abstract, "abstract name");
    name = new Uint8Array(abstract.length + 1);
    name.set(abstract, 1);
  }
  if (name.length > PATH_MAX)
    throw new RangeError(`a Unix address takes ${PATH_MAX} bytes, not ${name.length}`);
  const size = sockaddr_un.sun_path + name.length;
  const memory = target(into, size, "sockaddr_un");
  viewOf(memory, size, "sockaddr_un").setUint16(sockaddr_un.sun_family, AF_UNIX, true);
  bytesOf(memory).set(name, sockaddr_un.sun_path);
  return memory;
}

function decodeUnix(bytes: Uint8Array): UnixAddress {
  const name = bytes.subarray(sockaddr_un.sun_path);
  if (name.length === 0) return { family: "unix" };
  if (name[0] === 0) return { family: "unix", abstract: text(name.subarray(1)) };
  const end = name.indexOf(0);
  return { family: "unix", path: text(end < 0 ? name : name.subarray(0, end)) };
}

function encodeOther<M extends Memory>(address: OtherAddress, into: M | undefined): M {
  const family = u16(address.number, "number");
  const data = bytesOf(address.data).slice();
  const size = sockaddr.sa_data + data.byteLength;
  if (size > sockaddr_storage.sizeof) {
    throw new RangeError(`an address takes at most ${sockaddr_storage.sizeof} bytes, not ${size}`);
  }
  const memory = target(into, size, "sockaddr");
  viewOf(memory, size, "sockaddr").setUint16(sockaddr.sa_family, family, true);
  bytesOf(memory).set(data, sockaddr.sa_data);
  return memory;
}

function utf8(value: string | Uint8Array, name: string): Uint8Array {
  if (typeof value === "string") return new TextEncoder().encode(value);
  if (value instanceof Uint8Array) return value;
  throw new TypeError(`a ${name} must be a string or a Uint8Array`);
}

function text(bytes: Uint8Array): string | Uint8Array {
  try {
    return new TextDecoder("utf-8", textOptions).decode(bytes.slice());
  } catch {
    return bytes.slice();
  }
}
