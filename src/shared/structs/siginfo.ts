import { siginfo_t as layout } from "../abi/index.ts";
import { type Memory, viewOf } from "./fields.ts";

/** What waitid reports about a child. */
export interface ChildInfo {
  /** `SIGCHLD`, or 0 when no child had changed (`WNOHANG`). */
  readonly signo: number;
  readonly errno: number;
  /** How the child changed: `CLD_EXITED`, `CLD_KILLED` … */
  readonly code: number;
  readonly pid: number;
  readonly uid: number;
  /** The exit code, or the signal that ended, stopped or continued the child; `code` says which. */
  readonly status: number;
}

/**
 * Reads the `siginfo_t` that `prepWaitid` has filled in. See waitid(2).
 *
 * @param memory the 128 bytes that were given to the operation
 * @throws RangeError for memory of fewer than 128 bytes
 */
export function decodeSiginfo(memory: Memory): ChildInfo {
  const view = viewOf(memory, layout.sizeof, "siginfo_t");
  return {
    signo: view.getInt32(layout.si_signo, true),
    errno: view.getInt32(layout.si_errno, true),
    code: view.getInt32(layout.si_code, true),
    pid: view.getInt32(layout.si_pid, true),
    uid: view.getUint32(layout.si_uid, true),
    status: view.getInt32(layout.si_status, true),
  };
}
