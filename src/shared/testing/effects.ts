// What an operation does when it has come to its result: to memory, to files.

import * as abi from "../abi/index.ts";
import { isRead, isWrite, makesFile, pattern, peerAddress } from "./behaviours.ts";
import { SimulatedFile } from "./descriptors.ts";
import { pick } from "./groups.ts";
import type { Outcome, SimulatedOperation } from "./operation.ts";
import { closeSlot, install, updateSlots } from "./slots.ts";
import type { World } from "./world.ts";

const EBADF = 9;
const EFAULT = 14;
const EINVAL = 22;

/** What is written to memory that an operation is about to let go. */
const POISON = 0xdb;

/** The one number that can not be added to an eventfd. */
const NO_COUNT = 2n ** 64n - 1n;

/** The largest offset that is one: -1 stands for none. */
const MAX_OFFSET = 2 ** 53;

/**
 * Does it, as late as can be: what an operation may write to it does write just before it lets go, all of it.
 *
 * @returns what its completion says, `res` and `flags`
 */
export function takeEffect(world: World, operation: SimulatedOperation, outcome: Outcome): [number, number] {
  const flags = outcome.flags ?? 0;
  if (outcome.res < 0) {
    scribble(world, operation, POISON);
    return [outcome.res, flags];
  }
  if (isRead(operation)) {
    if (operation.has(abi.IOSQE_BUFFER_SELECT)) return receive(world, operation, outcome);
    scribble(world, operation, POISON);
    write(world, operation, (outcome.data ?? dataOf(operation, outcome.res)).subarray(0, outcome.res));
    if (operation.opcode === abi.IORING_OP_RECVMSG) endHeader(world, operation);
    return [outcome.res, flags];
  }
  if (isWrite(operation)) {
    if (operation.has(abi.IOSQE_BUFFER_SELECT)) return sendPicked(world, operation, outcome);
    const { file } = operation;
    return [file?.kind === "eventfd" ? signal(world, file, operation) : outcome.res, flags];
  }
  scribble(world, operation, 0);
  if (outcome.data !== undefined) write(world, operation, outcome.data);
  return [filesOf(world, operation, outcome.res), flags];
}

/** What operations on descriptors do; the result. */
function filesOf(world: World, operation: SimulatedOperation, res: number): number {
  const { ring, fileIndex, addr, off } = operation;
  const { memory, descriptors } = world;
  if (makesFile(operation)) {
    // Nobody would be told of it.
    if (ring.closed) return -EBADF;
    if (operation.opcode === abi.IORING_OP_ACCEPT && off !== 0) {
      write(world, operation, peerAddress(operation.id + operation.shots));
      memory.view(off, 4)?.setUint32(0, peerAddress(0).length, true);
    }
    return install(world, ring, new SimulatedFile(operation.name), fileIndex);
  }
  switch (operation.opcode) {
    case abi.IORING_OP_CLOSE:
      if (fileIndex !== 0) return closeSlot(ring, fileIndex - 1);
      if (descriptors.isClosed(operation.fd)) {
        world.violated("closed-fd", `${operation} closes what is closed already`);
      }
      // Linux leaves rings to close(2).
      return descriptors.get(operation.fd)?.kind === "ring" ? -EBADF : descriptors.close(operation.fd);
    case abi.IORING_OP_FIXED_FD_INSTALL:
      return operation.file === undefined ? -EBADF : descriptors.open(operation.file);
    case abi.IORING_OP_FILES_UPDATE: {
      const fds = memory.view(addr, 4 * operation.len);
      return fds === undefined ? -EFAULT : updateSlots(world, ring, off, fds);
    }
    case abi.IORING_OP_PIPE:
      return makePipe(world, operation);
    default:
      return res;
  }
}

/** Makes both ends of a pipe and writes down what they are: fds, or slots one after the other. Both or none. */
function makePipe(world: World, { ring, name, addr, fileIndex }: SimulatedOperation): number {
  const given = fileIndex !== 0 && fileIndex !== abi.IORING_FILE_INDEX_ALLOC;
  const ends: number[] = [];
  for (const end of [0, 1]) {
    const index = given ? fileIndex + end : fileIndex;
    const res = install(world, ring, new SimulatedFile(name), index);
    if (res < 0) {
      for (const slot of ends) closeSlot(ring, slot);
      return res;
    }
    ends.push(given ? index - 1 : res);
  }
  const fds = world.memory.view(addr, 8);
  ends.forEach((fd, end) => void fds?.setInt32(4 * end, fd, true));
  return 0;
}

/** Reads into a buffer of the group that the operation names. */
function receive(world: World, operation: SimulatedOperation, outcome: Outcome): [number, number] {
  const flags = outcome.flags ?? 0;
  if (outcome.res === 0) return [0, flags];
  const buffer = pick(world, operation);
  if (typeof buffer === "number") return [buffer, flags];
  const { bytes, incremental } = buffer;
  const { length } = bytes;
  const head = messageHead(world, operation);
  const payload = (outcome.data ?? dataOf(operation, Math.min(outcome.res, length))).subarray(
    0,
    Math.max(Math.min(outcome.res, length - head.length), 0),
  );
  if (head.length > 0) {
    new DataView(head.buffer).setUint32(abi.io_uring_recvmsg_out.payloadlen, payload.length, true);
  }
  const res = Math.min(head.length + payload.length, length);
  bytes.fill(POISON, 0, incremental ? res : length);
  bytes.set(head.subarray(0, length));
  if (head.length < length) bytes.set(payload, head.length);
  return [res, flags | buffer.use(res)];
}

/** Sends a buffer of the group that the operation names, or, as a bundle, as many as it takes. */
function sendPicked(world: World, operation: SimulatedOperation, outcome: Outcome): [number, number] {
  const bundle = (operation.ioprio & abi.IORING_RECVSEND_BUNDLE) !== 0;
  let sent = 0;
  let flags = 0;
  do {
    const buffer = pick(world, operation);
    if (typeof buffer === "number") {
      if (flags === 0) return [buffer, outcome.flags ?? 0];
      break;
    }
    const count = Math.min(outcome.res - sent, buffer.bytes.length);
    const picked = buffer.use(count);
    // A bundle's completion names its first buffer: the others are those that follow it.
    flags |= flags === 0 ? picked : picked & abi.IORING_CQE_F_BUF_MORE;
    sent += count;
  } while (bundle && sent < outcome.res);
  return [sent, (outcome.flags ?? 0) | flags];
}

/** What precedes the payload in a buffer of a multishot recvmsg: a head, and room for the name and the control data. */
function messageHead(world: World, operation: SimulatedOperation): Uint8Array<ArrayBuffer> {
  const message =
    operation.opcode === abi.IORING_OP_RECVMSG && operation.multishot
      ? world.memory.view(operation.addr, abi.msghdr.sizeof)
      : undefined;
  if (message === undefined) return new Uint8Array(0);
  const name = message.getUint32(abi.msghdr.msg_namelen, true);
  const control = Number(message.getBigUint64(abi.msghdr.msg_controllen, true));
  return new Uint8Array(abi.io_uring_recvmsg_out.sizeof + name + control);
}

/** Adds what is written to an eventfd, a count in each piece of memory; how many bytes, or `-errno` where none is one. */
function signal(world: World, eventfd: SimulatedFile, { targets }: SimulatedOperation): number {
  let written = 0;
  for (const { address, length, data } of targets) {
    if (data !== true) continue;
    const count = length === 8 ? world.memory.view(address, 8)?.getBigUint64(0, true) : undefined;
    if (count === undefined || count === NO_COUNT) return written > 0 ? written : -EINVAL;
    eventfd.signal(count);
    written += 8;
  }
  return written;
}

/** What recvmsg writes to the message's head. */
function endHeader(world: World, operation: SimulatedOperation): void {
  const view = world.memory.view(operation.addr, abi.msghdr.sizeof);
  view?.setUint32(abi.msghdr.msg_namelen, 0, true);
  view?.setBigUint64(abi.msghdr.msg_controllen, 0n, true);
  view?.setUint32(abi.msghdr.msg_flags, 0, true);
}

function dataOf({ off }: SimulatedOperation, length: number): Uint8Array {
  return pattern(off < MAX_OFFSET ? off : 0, length);
}

/** Fills all memory that an operation's data may go to. */
function scribble(world: World, { targets }: SimulatedOperation, value: number): void {
  for (const { address, length, writes, data } of targets) {
    if (writes && data === true && length > 0) world.memory.bytes(address, length)?.fill(value);
  }
}

/** Writes data where the operation's data goes. */
function write(world: World, { targets }: SimulatedOperation, data: Uint8Array): void {
  let at = 0;
  for (const { address, length, writes, data: isData } of targets) {
    if (!writes || isData !== true || length === 0) continue;
    const piece = data.subarray(at, at + length);
    world.memory.bytes(address, piece.length)?.set(piece);
    at += piece.length;
  }
}
