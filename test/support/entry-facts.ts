import * as abi from "uring/abi";
import { kernels } from "./kernels.ts";

const constants = abi as unknown as Readonly<Record<string, number>>;
const { io_uring_sqe: sqe } = abi;

interface Field {
  /** The group of flags in `kernels.flags`. */
  readonly group: string;
  /** The operations whose field it is; all of them where there is no list. */
  readonly operations?: readonly number[];
  /** Whether the field holds one of the values, not some of the flags. */
  readonly exact?: boolean;
  read(entry: DataView): number;
}

const opFlags = (entry: DataView): number => entry.getUint32(sqe.rw_flags, true);
const ioprio = (entry: DataView): number => entry.getUint16(sqe.ioprio, true);
const length = (entry: DataView): number => entry.getUint32(sqe.len, true);
const commandOp = (entry: DataView): number => entry.getUint32(sqe.cmd_op, true);

const transfers = [
  abi.IORING_OP_SEND,
  abi.IORING_OP_SENDMSG,
  abi.IORING_OP_SEND_ZC,
  abi.IORING_OP_SENDMSG_ZC,
  abi.IORING_OP_RECV,
  abi.IORING_OP_RECVMSG,
  abi.IORING_OP_RECV_ZC,
];

const fields: readonly Field[] = [
  { group: "entry", read: (entry) => entry.getUint8(sqe.flags) },
  { group: "fsync", operations: [abi.IORING_OP_FSYNC], read: opFlags },
  {
    group: "timeout",
    operations: [abi.IORING_OP_TIMEOUT, abi.IORING_OP_TIMEOUT_REMOVE, abi.IORING_OP_LINK_TIMEOUT],
    read: opFlags,
  },
  { group: "splice", operations: [abi.IORING_OP_SPLICE, abi.IORING_OP_TEE], read: opFlags },
  { group: "poll", operations: [abi.IORING_OP_POLL_ADD, abi.IORING_OP_POLL_REMOVE], read: length },
  { group: "cancel", operations: [abi.IORING_OP_ASYNC_CANCEL], read: opFlags },
  { group: "transfer", operations: transfers, read: ioprio },
  { group: "accept", operations: [abi.IORING_OP_ACCEPT], read: ioprio },
  { group: "message", operations: [abi.IORING_OP_MSG_RING], read: opFlags },
  {
    group: "messageKind",
    operations: [abi.IORING_OP_MSG_RING],
    exact: true,
    read: (entry) => entry.getUint32(sqe.addr, true),
  },
  { group: "install", operations: [abi.IORING_OP_FIXED_FD_INSTALL], read: opFlags },
  { group: "nop", operations: [abi.IORING_OP_NOP], read: opFlags },
  { group: "command", operations: [abi.IORING_OP_URING_CMD], read: opFlags },
  { group: "socketCommand", operations: [abi.IORING_OP_URING_CMD], exact: true, read: commandOp },
  { group: "blockCommand", operations: [abi.IORING_OP_URING_CMD], exact: true, read: commandOp },
  {
    group: "attributes",
    operations: [abi.IORING_OP_READ, abi.IORING_OP_WRITE, abi.IORING_OP_READV, abi.IORING_OP_WRITEV],
    read: (entry) => entry.getUint32(sqe.attr_type_mask, true),
  },
  {
    group: "fileIndex",
    operations: [
      abi.IORING_OP_OPENAT,
      abi.IORING_OP_OPENAT2,
      abi.IORING_OP_ACCEPT,
      abi.IORING_OP_SOCKET,
      abi.IORING_OP_PIPE,
    ],
    exact: true,
    read: (entry) => entry.getUint32(sqe.file_index, true),
  },
];

const operationNames = Object.keys(kernels.operations);

/** The names of an entry's operation and of every flag that is set in it. */
export function entryFacts(entry: DataView): string[] {
  const opcode = entry.getUint8(sqe.opcode);
  const operation = operationNames[opcode];
  const own = fields.filter(({ operations }) => operations?.includes(opcode) ?? true);
  return [
    ...(operation === undefined ? [] : [operation]),
    ...own.flatMap(({ group, exact, read }) =>
      exact === true ? valueFacts(group, read(entry)) : flagFacts(group, read(entry)),
    ),
  ];
}

/** The names of a group's flags that are set. */
export function flagFacts(group: string, bits: number): string[] {
  return Object.keys(kernels.flags[group] ?? {}).filter((name) => ((constants[name] as number) & bits) !== 0);
}

/** The names of a group's value. */
export function valueFacts(group: string, value: number): string[] {
  return Object.keys(kernels.flags[group] ?? {}).filter((name) => constants[name] === value);
}
