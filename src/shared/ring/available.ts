import { runtime } from "#runtime";
import { UringError, UringUnavailableError } from "../errors.ts";
import { Ring } from "./ring.ts";

/** Whether io_uring can be used here, and if not why. */
export type Availability =
  | { readonly ok: true; readonly features: number }
  | { readonly ok: false; readonly reason: string; readonly remedy: string; readonly error: Error };

/**
 * Tells whether io_uring can be used here, without throwing: sets up the smallest ring and closes it.
 *
 * @returns `{ ok: true, features }`, or `{ ok: false, reason, remedy, error }` with what a constructor would throw
 *
 * @example
 * ```ts
 * import { available } from "uring";
 *
 * const io = available();
 * if (!io.ok) console.error(io.remedy);
 * ```
 */
export function available(): Availability {
  try {
    runtime.load();
    using ring = new Ring({ entries: 1 });
    return { ok: true, features: ring.features };
  } catch (error) {
    if (error instanceof UringUnavailableError) {
      return { ok: false, reason: error.reason, remedy: error.remedy, error };
    }
    if (error instanceof UringError) {
      return { ok: false, reason: error.code, remedy: error.message, error };
    }
    throw error;
  }
}
