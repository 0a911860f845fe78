/**
 * All of Linux io_uring: rings, operations, completions, and the memory they work on.
 *
 * @module
 */
export { type UnavailableReason, UringError, UringUnavailableError } from "./errors.ts";
export { type Availability, available } from "./ring/available.ts";
export type { CompletionCallback } from "./ring/completion.ts";
export { Cqe } from "./ring/cqe.ts";
export { Direct, type Target } from "./ring/direct.ts";
export type { Int64, Mem } from "./ring/entry.ts";
export type { RingMemoryKind, RingOptions } from "./ring/options.ts";
export { alloc, cstring, Pinned } from "./ring/pinned.ts";
export { Probe } from "./ring/probe.ts";
export type { CloseResult } from "./ring/base.ts";
export { Ring } from "./ring/ring.ts";
export { Sqe } from "./ring/sqe.ts";
export type { RingTransfer } from "./ring/transfer.ts";
export type { WaitOptions } from "./ring/wait.ts";
export * from "./structs/index.ts";
