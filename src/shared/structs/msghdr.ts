import { iovec, msghdr as layout, sockaddr_storage } from "../abi/index.ts";
import { Pinned, Struct } from "../ring/pinned.ts";
import { type ControlMessage, decodeControl } from "./control.ts";
import { addressOf, bytesOf, lengthOf, type Memory, whole } from "./fields.ts";
import { Iovecs } from "./iovecs.ts";
import { decodeSockaddr, encodeSockaddr, type SocketAddress } from "./sockaddr.ts";

/** What a message is made of. */
export interface MsghdrOptions {
  /** The data: pieces of memory, sent or filled in turn. */
  readonly iov?: Iovecs | readonly Memory[];
  /** The address to send to. It is copied. */
  readonly name?: SocketAddress | Memory;
  /** How many bytes of the sender's address to receive, 0 to 128: 16 for IPv4, 28 for IPv6, 128 for any. */
  readonly nameLength?: number;
  /** Control messages to send, from `encodeControl`; or memory for those to receive. */
  readonly control?: Memory;
}

// The header comes first; the address follows it in the same memory.
const NAME = 64;
const NAME_MAX = sockaddr_storage.sizeof;

/**
 * A `struct msghdr`: a message to send, or room for one to receive, as `prepSendmsg` and `prepRecvmsg` take it. See
 * sendmsg(2).
 *
 * The address is kept in memory of its own, with room for any: the kernel writes an address's real length back into the
 * header, so that a header used twice would otherwise overrun a small buffer. Data and control memory stay reachable for
 * as long as this lives; a caller's view must not be transferred or detached before the last completion.
 *
 * Once a receive has completed, `name`, `control` and `flags` tell what came with the data. Before the same header
 * receives again, call {@link reset}.
 *
 * @example
 * ```ts
 * import { alloc, Msghdr } from "uring";
 *
 * const message = new Msghdr({ iov: [alloc(65536)], nameLength: 128, control: alloc(256) });
 * // sqe.prepRecvmsg(fd, message, 0); and after its completion: message.name, message.control
 * ```
 */
export class Msghdr extends Struct {
  /** Iovecs that were made here, and go with this. */
  readonly #ownIovecs: Iovecs | undefined;
  readonly #control: Memory | undefined;
  readonly #nameLength: number;

  /** @throws RangeError for an address of more than 128 bytes; TypeError for another type, or memory that can move */
  constructor(options: MsghdrOptions) {
    const { iov, name, nameLength = 0, control } = options;
    const from = name === undefined ? undefined : encoded(name);
    const room = from === undefined ? whole(nameLength, 0, NAME_MAX, "nameLength") : from.byteLength;
    if (control !== undefined) addressOf(control);
    const given = Struct.is(iov, Iovecs) ? iov : undefined;
    if (given !== undefined) Struct.addressOf(given);
    // From here on nothing is wrong any more.
    const own =
      given !== undefined || iov === undefined || iov.length === 0
        ? undefined
        : new Iovecs(iov as readonly Memory[]);
    const iovecs = given ?? own;
    super(Msghdr, NAME + NAME_MAX, [
      ...(iovecs === undefined ? [] : [iovecs]),
      ...(control === undefined ? [] : [control]),
    ]);
    this.#ownIovecs = own;
    this.#control = control;
    this.#nameLength = room;
    if (from !== undefined) this.#nameBytes().set(from);
    const view = this.dataView();
    if (room > 0) view.setBigUint64(layout.msg_name, BigInt(Struct.addressOf(this) + NAME), true);
    if (iovecs !== undefined) {
      view.setBigUint64(layout.msg_iov, BigInt(Struct.addressOf(iovecs)), true);
      view.setBigUint64(layout.msg_iovlen, BigInt(Struct.lengthOf(iovecs) / iovec.sizeof), true);
    }
    if (control !== undefined) view.setBigUint64(layout.msg_control, BigInt(addressOf(control)), true);
    this.reset();
  }

  /** How many bytes of an address there is room for: what `decodeRecvmsg` needs to know. */
  get nameLength(): number {
    return this.#nameLength;
  }

  /** How many bytes of control messages there is room for: what `decodeRecvmsg` needs to know. */
  get controlLength(): number {
    return this.#control === undefined ? 0 : lengthOf(this.#control);
  }

  /**
   * The address the data came from, `null` where there is none; before a receive, the address given.
   *
   * @throws RangeError when the address did not fit `nameLength`
   */
  get name(): SocketAddress | null {
    const length = this.dataView().getUint32(layout.msg_namelen, true);
    if (length > this.#nameLength) {
      // With no room at all the caller did not ask.
      if (this.#nameLength === 0) return null;
      throw new RangeError(`an address of ${length} bytes did not fit nameLength ${this.#nameLength}`);
    }
    return decodeSockaddr(this.#nameBytes(), length);
  }

  /** The control messages that came with the data; **fds among them are open**, and the receiver's to close. */
  get control(): ControlMessage[] {
    if (this.#control === undefined) return [];
    return decodeControl(this.#control, Number(this.dataView().getBigUint64(layout.msg_controllen, true)));
  }

  /** `MSG_*` flags of what was received, such as `MSG_TRUNC` and `MSG_CTRUNC`. */
  get flags(): number {
    return this.dataView().getUint32(layout.msg_flags, true);
  }

  /** Makes the header ready to receive again: the kernel has written the lengths of what came into it. */
  reset(): void {
    const view = this.dataView();
    view.setUint32(layout.msg_namelen, this.#nameLength, true);
    view.setBigUint64(layout.msg_controllen, BigInt(this.controlLength), true);
    view.setInt32(layout.msg_flags, 0, true);
  }

  /** Gives the header's memory back for reuse, once every operation that was given it has completed. */
  override [Symbol.dispose](): void {
    this.#ownIovecs?.[Symbol.dispose]();
    super[Symbol.dispose]();
  }

  #nameBytes(): Uint8Array {
    const view = this.dataView();
    return new Uint8Array(view.buffer, view.byteOffset + NAME, NAME_MAX);
  }
}

/** The bytes of an address to send to. */
function encoded(name: SocketAddress | Memory): Uint8Array {
  const memory =
    name instanceof Pinned || name instanceof Uint8Array
      ? name
      : encodeSockaddr(name, new Uint8Array(NAME_MAX));
  const bytes = bytesOf(memory);
  whole(bytes.byteLength, 0, NAME_MAX, "an address's length");
  return bytes;
}
