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
  readonly #iovecs: Iovecs | undefined;
  /** Iovecs that were made here, and go with this. */
  readonly #ownIovecs: Iovecs | undefined;
  readonly #control: Memory | undefined;
  readonly #nameLength: number;

  /** @throws RangeError for an address of more than 128 bytes; TypeError for another type, or memory that can move */
  constructor(options: MsghdrOptions) {
    super(NAME + NAME_MAX);
    const { iov, name, nameLength = 0, control } = options;
    this.#nameLength =
      name === undefined ? whole(nameLength, 0, NAME_MAX, "nameLength") : this.#copyName(name);
    if (iov instanceof Iovecs) this.#iovecs = iov;
    else if (iov !== undefined && iov.length !== 0) this.#iovecs = this.#ownIovecs = new Iovecs(iov);
    this.#control = control;
    const view = this.dataView();
    if (this.#nameLength > 0) view.setBigUint64(layout.msg_name, BigInt(super.address + NAME), true);
    if (this.#iovecs !== undefined) {
      view.setBigUint64(layout.msg_iov, BigInt(Struct.addressOf(this.#iovecs)), true);
      view.setBigUint64(layout.msg_iovlen, BigInt(Struct.lengthOf(this.#iovecs) / iovec.sizeof), true);
    }
    if (control !== undefined) view.setBigUint64(layout.msg_control, BigInt(addressOf(control)), true);
    this.reset();
  }

  /** The struct's address. Throws a `TypeError` once it, or the iovecs it points to, are disposed of. */
  override get address(): number {
    // Its memory may be another struct's by now.
    void this.#iovecs?.address;
    return super.address;
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

  #copyName(name: SocketAddress | Memory): number {
    if (!(name instanceof Pinned || name instanceof Uint8Array)) {
      return encodeSockaddr(name, this.#nameBytes()).byteLength;
    }
    const bytes = bytesOf(name);
    whole(bytes.byteLength, 0, NAME_MAX, "an address's length");
    this.#nameBytes().set(bytes);
    return bytes.byteLength;
  }
}
