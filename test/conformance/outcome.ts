import { UringError } from "uring";

/** What a call gives, 0 for nothing; `-errno` where it throws a `UringError`. */
export function outcome(call: () => unknown): number {
  try {
    const result = call();
    return typeof result === "number" ? result : 0;
  } catch (error) {
    if (error instanceof UringError) return -error.errno;
    throw error;
  }
}
