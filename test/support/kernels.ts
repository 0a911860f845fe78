import data from "../data/kernels.json" with { type: "json" };

/** The first kernel of each thing, such as `"6.1"`. */
type FirstKernels = Readonly<Record<string, string>>;

/**
 * What io_uring and liburing consist of, each with the first kernel that has it. A function's entry also names its
 * counterpart in this library, and the registration that it makes, if it does make one.
 */
export interface Kernels {
  readonly operations: FirstKernels;
  readonly helpers: FirstKernels;
  readonly registrations: FirstKernels;
  readonly functions: Readonly<
    Record<string, readonly [kernel: string, counterpart: string, registration?: string]>
  >;
  /** Functions that have no counterpart, each with the reason. */
  readonly withoutCounterpart: Readonly<Record<string, string>>;
  /** Flags and values, by the field that they stand in. */
  readonly flags: Readonly<Record<string, FirstKernels>>;
  /** Constants that are masks, shifts, offsets, or ends of a list. */
  readonly noFlags: readonly string[];
}

export const kernels: Kernels = data as unknown as Kernels;

/** Whether a kernel release such as `"6.1.0-13-amd64"` comes before a version. */
export function isOlder(release: string, version: string): boolean {
  const [has = 0, hasMinor = 0] = release.split(/[.-]/).map(Number);
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return has < major || (has === major && hasMinor < minor);
}
