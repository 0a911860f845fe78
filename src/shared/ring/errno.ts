import { runtime } from "#runtime";
import { type ErrnoName, UringError } from "../errors.ts";

const names = new Map<number, ErrnoName>();
const scratch = new Uint8Array(new ArrayBuffer(128));

/** Name and meaning of an errno, as the C library has them. */
export function errnoName(errno: number): ErrnoName {
  let name = names.get(errno);
  if (name === undefined) {
    const text = shimText(runtime.load().errnoName(errno, scratch, scratch.length));
    const [code = "", meaning = ""] = text === "" ? [`E${errno}`, "unknown error"] : text.split(": ", 2);
    name = { errno, code, text: meaning };
    names.set(errno, name);
  }
  return name;
}

/** The error for a system call that returned `-errno`. */
export function errnoError(
  errno: number,
  syscall: string,
  detail?: ConstructorParameters<typeof UringError>[2],
): UringError {
  return new UringError(errnoName(errno), syscall, detail);
}

/**
 * The error for a completion's result below zero, as `drain` hands it out.
 *
 * @param res the result, `-errno`
 * @param syscall what to call the operation in the message, such as `"openat"`
 * @param about the path or socket address it was on
 *
 * @example
 * ```ts
 * import { uringError } from "uring";
 *
 * const error = uringError(-2, "openat", { path: "/nowhere" });
 * console.log(error.message); // ENOENT: no such file or directory, openat '/nowhere'
 * ```
 */
export function uringError(
  res: number,
  syscall: string,
  about: { path?: string; address?: string } = {},
): UringError {
  if (!Number.isInteger(res) || res >= 0) throw new RangeError(`a result below zero is needed, not ${res}`);
  return errnoError(-res, syscall, { path: about.path, address: about.address });
}

/** The running kernel's release, such as `"6.18.44"`. */
export function kernelRelease(): string {
  return shimText(runtime.load().kernelRelease(scratch, scratch.length));
}

/** The text a shim call has just written into the scratch buffer. */
function shimText(length: number): string {
  return length <= 0 ? "" : String.fromCharCode(...scratch.subarray(0, Math.min(length, scratch.length - 1)));
}
