import { release } from "node:os";

/** Whether this kernel is of a release or later. */
export function kernelFrom(major: number, minor: number): boolean {
  const [ours = 0, oursMinor = 0] = release().split(".").map(Number);
  return ours > major || (ours === major && oursMinor >= minor);
}

/** Why what came with a release of the kernel can not be shown here; `false` where it can. */
export function lacking(major: number, minor: number): string | false {
  return kernelFrom(major, minor) ? false : `it came with Linux ${major}.${minor}`;
}
