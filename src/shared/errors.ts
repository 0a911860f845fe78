/**
 * What a failed system call throws. Shaped like Node's system errors, so `catch (e) { if (e.code === "ENOENT") … }`
 * works as elsewhere.
 */
export class UringError extends Error {
  override readonly name: string = "UringError";
  /** The errno's name, such as `"EINVAL"`. */
  readonly code: string;
  /** The errno as a positive number, such as 22. */
  readonly errno: number;
  /** The call that failed, such as `"io_uring_setup"` or `"openat"`. */
  readonly syscall: string;
  /** The path the operation was about, where it had one. */
  declare readonly path?: string;
  /** The other path, where it had two: the new one. */
  declare readonly dest?: string;
  /** The socket address the operation was about, where it had one. */
  declare readonly address?: string;

  /**
   * @param failure the errno's number, name and meaning
   * @param syscall the call that failed
   * @param detail `hint` is a sentence on the cause and the remedy; `path`, `dest` and `address` say what it was about
   */
  constructor(
    failure: ErrnoName,
    syscall: string,
    detail: {
      hint?: string | undefined;
      path?: string | undefined;
      dest?: string | undefined;
      address?: string | undefined;
    } = {},
  ) {
    const about = detail.path ?? detail.address;
    const other = detail.dest === undefined ? "" : ` -> '${detail.dest}'`;
    const subject = about === undefined ? "" : ` '${about}'${other}`;
    const hint = detail.hint === undefined ? "" : `. ${detail.hint}`;
    super(`${failure.code}: ${failure.text}, ${syscall}${subject}${hint}`);
    this.code = failure.code;
    this.errno = failure.errno;
    this.syscall = syscall;
    if (detail.path !== undefined) this.path = detail.path;
    if (detail.dest !== undefined) this.dest = detail.dest;
    if (detail.address !== undefined) this.address = detail.address;
  }
}

/** An errno with its name and what it means. */
export interface ErrnoName {
  readonly errno: number;
  readonly code: string;
  readonly text: string;
}

/**
 * Why io_uring can not be used here:
 *
 * - `"platform"`: not Linux on x64 or arm64, or not a runtime this library knows
 * - `"shim"`: the native library was not found or did not load
 * - `"mismatch"`: the native library is of another version than the TypeScript beside it
 * - `"permission"`: Deno was not started with `--allow-ffi`
 * - `"kernel"`: the kernel has no io_uring, or is older than this library's floor
 * - `"sysctl"`: the administrator switched it off with `kernel.io_uring_disabled`
 * - `"seccomp"`: a filter refuses the calls, as the default profiles of Docker and containerd do
 */
export type UnavailableReason =
  | "platform"
  | "shim"
  | "mismatch"
  | "permission"
  | "kernel"
  | "sysctl"
  | "seccomp";

/** Thrown where io_uring can not be used at all: `reason` says why, `remedy` what to do about it. */
export class UringUnavailableError extends Error {
  override readonly name = "UringUnavailableError";
  readonly code = "ERR_URING_UNAVAILABLE";
  readonly reason: UnavailableReason;
  /** One or two sentences to show to whoever runs the program. */
  readonly remedy: string;

  constructor(reason: UnavailableReason, what: string, remedy: string, cause?: unknown) {
    super(`io_uring is not available: ${what}. ${remedy}`, cause === undefined ? undefined : { cause });
    this.reason = reason;
    this.remedy = remedy;
  }
}
