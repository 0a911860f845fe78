import { open_how as layout } from "../abi/index.ts";
import type { Pinned } from "../ring/pinned.ts";
import { type Memory, target, u64, viewOf } from "./fields.ts";

/** How openat2 opens a file. */
export interface OpenHow {
  /** `O_*` flags. */
  readonly flags: number | bigint;
  /** Permission bits of a file that is created; must be 0 without `O_CREAT` and `O_TMPFILE`. */
  readonly mode?: number | bigint;
  /** `RESOLVE_*` flags. */
  readonly resolve?: number | bigint;
}

/**
 * Writes a `struct open_how`, as `prepOpenat2` takes it. See openat2(2).
 *
 * @param how flags, and mode and resolve where they are not 0
 * @param into 24 bytes to write to, by default new memory
 * @returns the 24 bytes; they must stay as they are until the operation has been submitted
 * @throws RangeError for a value that 64 bits do not hold; TypeError for another type
 */
export function encodeOpenHow<M extends Memory = Pinned>(how: OpenHow, into?: M): M {
  const flags = u64(how.flags, "flags");
  const mode = u64(how.mode ?? 0, "mode");
  const resolve = u64(how.resolve ?? 0, "resolve");
  const memory = target(into, layout.sizeof, "open_how");
  const view = viewOf(memory, layout.sizeof, "open_how");
  view.setBigUint64(layout.flags, flags, true);
  view.setBigUint64(layout.mode, mode, true);
  view.setBigUint64(layout.resolve, resolve, true);
  return memory;
}

/**
 * Reads a `struct open_how`.
 *
 * @throws RangeError for memory of fewer than 24 bytes
 */
export function decodeOpenHow(memory: Memory): { flags: bigint; mode: bigint; resolve: bigint } {
  const view = viewOf(memory, layout.sizeof, "open_how");
  return {
    flags: view.getBigUint64(layout.flags, true),
    mode: view.getBigUint64(layout.mode, true),
    resolve: view.getBigUint64(layout.resolve, true),
  };
}
