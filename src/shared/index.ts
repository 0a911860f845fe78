/**
 * All of Linux io_uring: rings, operations, completions, and the memory they work on.
 *
 * @module
 */
export { type UnavailableReason, UringError, UringUnavailableError } from "./errors.ts";
export { BufferGroup, type BufferGroupOptions } from "./proactor/buffer-group.ts";
export { Chain, type ChainOptions } from "./proactor/chain.ts";
export { defaultProactor } from "./proactor/default.ts";
export type { Counters } from "./proactor/engine.ts";
export { Lease } from "./proactor/lease.ts";
export { Multishot, type MultishotOptions } from "./proactor/multishot.ts";
export type { Receiver } from "./proactor/operation.ts";
export type { Path, Piece } from "./proactor/operations/arguments.ts";
export type { Memory } from "./proactor/operations/base.ts";
export {
  type AcceptMultishotOptions,
  LeasedMessage,
  type ReadMultishotOptions,
  type RecvMultishotOptions,
  type RecvmsgMultishotOptions,
  type SendZcOptions,
} from "./proactor/operations/continuing.ts";
export type {
  FallocateOptions,
  InstallOptions,
  MadviseOptions,
  PipeEnds,
  PipeOptions,
  RangeOptions,
  SpliceOptions,
  TeeOptions,
  TransferOptions,
  VectorOptions,
} from "./proactor/operations/files.ts";
export { closeAddress, type ProactorAddress } from "./proactor/operations/messages.ts";
export type { OpenedOptions } from "./proactor/operations/opened.ts";
export type {
  GetxattrOptions,
  MkdirOptions,
  Open2Options,
  OpenOptions,
  PathOptions,
  SetxattrOptions,
  StatxOptions,
  TwoPathsOptions,
  UnlinkOptions,
} from "./proactor/operations/paths.ts";
export type {
  Accepted,
  AcceptOptions,
  Received,
  ReceiveMessageOptions,
  SendMessageOptions,
  SocketOptionOptions,
  SocketOptions,
  SocketTransferOptions,
} from "./proactor/operations/sockets.ts";
export type {
  EpollWaitOptions,
  FilesUpdateOptions,
  FutexOptions,
  MsgRingFdOptions,
  MsgRingOptions,
  TimeoutOptions,
  UringCmdOptions,
  WaitidOptions,
} from "./proactor/operations/waiting.ts";
export type { OperationOptions } from "./proactor/options.ts";
export { BufferPool, type BufferPoolOptions } from "./proactor/pool.ts";
export { type OperationInfo, Proactor } from "./proactor/proactor.ts";
export type { RunOptions } from "./proactor/run.ts";
export type { ProactorOptions } from "./proactor/setup.ts";
export { Trace, type TraceEvent, type TraceFile, type TraceOptions } from "./proactor/trace.ts";
export type { ZeroCopySend } from "./proactor/zero-copy.ts";
export { type Availability, available } from "./ring/available.ts";
export { type BpfFilter, type BpfInstruction, registerBpfFilterTask } from "./ring/bpf-filter.ts";
export type { BufferPiece, BufferRing } from "./ring/buffer-ring.ts";
export { Cancel } from "./ring/cancel-match.ts";
export type { CloseResult } from "./ring/close.ts";
export type { CompletionCallback } from "./ring/completion.ts";
export { CpuSet } from "./ring/cpu-set.ts";
export { Cqe } from "./ring/cqe.ts";
export { Direct, type Target } from "./ring/direct.ts";
export type { Int64, Mem } from "./ring/entry.ts";
export { uringError } from "./ring/errno.ts";
export type { RingMemoryKind, RingOptions } from "./ring/options.ts";
export { alloc, cstring, Pinned } from "./ring/pinned.ts";
export { Probe } from "./ring/probe.ts";
export { type KernelQuery, query } from "./ring/query.ts";
export { Region } from "./ring/region.ts";
export type { BufferRingOptions, BufRingRegistrationOptions } from "./ring/register/buf-rings.ts";
export type { BufferSlot } from "./ring/register/buffers.ts";
export type { ZcrxOptions, ZcrxQueue } from "./ring/register/newer.ts";
export type { Napi } from "./ring/register/notification.ts";
export type { MaxWorkers } from "./ring/register/workers.ts";
export type { ResizeOptions } from "./ring/resize.ts";
export { type Restriction, Restrictions } from "./ring/restrictions.ts";
export { Ring } from "./ring/ring.ts";
export { SignalSet } from "./ring/signal-set.ts";
export { Sqe } from "./ring/sqe.ts";
export { registerSyncMsg } from "./ring/sync-msg.ts";
export type { RingTransfer } from "./ring/transfer.ts";
export type { WaitOptions } from "./ring/wait.ts";
export { type RegisteredWait, WaitRegion } from "./ring/wait-region.ts";
export * from "./structs/index.ts";
