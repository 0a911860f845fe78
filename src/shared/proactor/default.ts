import { Proactor } from "./proactor.ts";

let proactor: Proactor | undefined;

/**
 * This thread's own proactor, made at the first call with the default options; once it is closed the next call makes
 * another.
 *
 * @throws UringUnavailableError where io_uring can not be used; UringError as `new Ring` throws
 *
 * @example
 * ```ts
 * import { defaultProactor } from "uring";
 *
 * console.log(await defaultProactor().nop()); // 0
 * ```
 */
export function defaultProactor(): Proactor {
  if (proactor === undefined || proactor.closed) proactor = new Proactor();
  return proactor;
}
