import { io_uring_recvmsg_out as layout } from "../abi/index.ts";
import { type ControlMessage, decodeControl } from "./control.ts";
import { bytesOf, type Memory, viewOf, whole } from "./fields.ts";
import { decodeSockaddr, type SocketAddress } from "./sockaddr.ts";

/** A message in a buffer that a multishot recvmsg filled. */
export interface ReceivedMessage {
  /** The address it came from; `null` where there is none or no room was asked for. */
  readonly name: SocketAddress | null;
  /** Control messages; **fds among them are open**, and the receiver's to close. */
  readonly control: ControlMessage[];
  /** The data, in place: it lasts as long as the buffer does. */
  readonly payload: Uint8Array;
  /** How long the data was; more than `payload` holds when it was cut (`MSG_TRUNC`). */
  readonly payloadLength: number;
  /** `MSG_*` flags. */
  readonly flags: number;
}

/**
 * Reads a buffer that a multishot recvmsg filled: head, address, control messages and data. See
 * io_uring_prep_recvmsg_multishot(3).
 *
 * @param buffer the buffer that the completion names
 * @param message the `Msghdr` that was given to the operation: its sizes are those of the parts
 * @param length how many bytes of the buffer are filled: the completion's result
 * @throws RangeError where the parts do not fit the length, or the address did not fit the room for it
 */
export function decodeRecvmsg(
  buffer: Memory,
  message: { readonly nameLength: number; readonly controlLength: number },
  length: number = buffer.byteLength,
): ReceivedMessage {
  whole(length, 0, buffer.byteLength, "the length of a message");
  const bytes = bytesOf(buffer).subarray(0, length);
  const view = viewOf(bytes, layout.sizeof, "io_uring_recvmsg_out");
  const nameAt = layout.sizeof;
  const controlAt = nameAt + whole(message.nameLength, 0, length, "nameLength");
  const payloadAt = controlAt + whole(message.controlLength, 0, length, "controlLength");
  if (payloadAt > length) throw new RangeError(`data at byte ${payloadAt} of a message of ${length} bytes`);
  const nameLength = message.nameLength === 0 ? 0 : view.getUint32(layout.namelen, true);
  const payloadLength = view.getUint32(layout.payloadlen, true);
  return {
    name: decodeSockaddr(bytes.subarray(nameAt, controlAt), nameLength),
    control: decodeControl(bytes.subarray(controlAt, payloadAt), view.getUint32(layout.controllen, true)),
    payload: bytes.subarray(payloadAt, payloadAt + payloadLength),
    payloadLength,
    flags: view.getUint32(layout.flags, true),
  };
}
