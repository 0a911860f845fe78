import { alloc, Pinned } from "../../ring/pinned.ts";
import { type ControlMessage, encodeControl } from "../../structs/control.ts";
import { Msghdr } from "../../structs/msghdr.ts";
import type { SocketAddress } from "../../structs/sockaddr.ts";
import { Lease } from "../lease.ts";
import { type Piece, Uses } from "./arguments.ts";

/** As many pieces as one message takes. */
const MOST_PIECES = 1024;
/** Room for any address. */
const ANY_ADDRESS = 128;

/** What a message to send has beside its data. */
export interface Envelope {
  address?: SocketAddress | undefined;
  control?: readonly ControlMessage[] | undefined;
}

/** A message's header and all it points to, none of which is given back before the operation's end. */
export class MessageArgument implements Disposable {
  readonly header: Msghdr;
  /** The header's address. Asked for once: what it points to may be disposed of before the operation's turn. */
  readonly address: number;
  readonly #control: Pinned | undefined;
  readonly #uses: Uses;

  private constructor(
    pieces: readonly Piece[],
    control: Pinned | undefined,
    name: { name?: SocketAddress; nameLength?: number },
  ) {
    this.#control = control;
    let header: Msghdr | undefined;
    try {
      header = new Msghdr({
        iov: pieces.map((piece) => (piece instanceof Lease ? piece.bytes : piece)),
        ...name,
        ...(control === undefined ? {} : { control }),
      });
      this.#uses = new Uses(pieces);
    } catch (error) {
      header?.[Symbol.dispose]();
      control?.[Symbol.dispose]();
      throw error;
    }
    this.header = header;
    this.address = header.address;
  }

  /** Throws for what is no message. */
  static toSend(parts: Piece | readonly Piece[], { address, control }: Envelope): MessageArgument {
    const pieces = list(parts);
    const messages = control === undefined || control.length === 0 ? undefined : encodeControl(control);
    return new MessageArgument(pieces, messages, address === undefined ? {} : { name: address });
  }

  /** Throws for what can not be filled. `control` is how many bytes of control messages there is to be room for. */
  static toReceive(parts: Piece | readonly Piece[], control: number): MessageArgument {
    const pieces = list(parts);
    return new MessageArgument(pieces, control === 0 ? undefined : alloc(control), {
      nameLength: ANY_ADDRESS,
    });
  }

  [Symbol.dispose](): void {
    this.#uses[Symbol.dispose]();
    this.header[Symbol.dispose]();
    this.#control?.[Symbol.dispose]();
  }
}

function list(parts: Piece | readonly Piece[]): readonly Piece[] {
  const pieces = isOne(parts) ? [parts] : [...parts];
  if (pieces.length > MOST_PIECES)
    throw new RangeError(`a message takes at most ${MOST_PIECES} pieces of memory, not ${pieces.length}`);
  return pieces;
}

function isOne(parts: Piece | readonly Piece[]): parts is Piece {
  return parts instanceof Pinned || parts instanceof Uint8Array || parts instanceof Lease;
}
