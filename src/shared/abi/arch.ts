/**
 * What differs between x64 and arm64. A constant under the kernel's name must have the value of the machine
 * it runs on: x64's `O_DIRECT` means `O_DIRECTORY` to an arm64 kernel, which no error would tell.
 */

const arm64 = (globalThis as { process?: { arch?: string } }).process?.arch === "arm64";

// Flags of open.
export const O_DIRECT: number = arm64 ? 0o200000 : 0o40000;
export const O_LARGEFILE: number = arm64 ? 0o400000 : 0o100000;
export const O_DIRECTORY: number = arm64 ? 0o40000 : 0o200000;
export const O_NOFOLLOW: number = arm64 ? 0o100000 : 0o400000;
export const O_TMPFILE: number = arm64 ? 0o20040000 : 0o20200000;

/** An event of epoll; x64 packs it, so that `data` is not aligned there. */
export const epoll_event: { readonly sizeof: number; readonly events: number; readonly data: number } = {
  sizeof: arm64 ? 16 : 12,
  events: 0,
  data: arm64 ? 8 : 4,
};
