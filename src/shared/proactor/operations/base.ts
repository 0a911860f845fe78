import type { Target } from "../../ring/direct.ts";
import type { Mem } from "../../ring/entry.ts";
import type { Lease } from "../lease.ts";
import type { Kind } from "../operation.ts";
import type { OperationOptions } from "../options.ts";

/** Memory that an operation reads or writes, which is the kernel's from the call until the promise settles. */
export type Memory = Mem | Lease;

/**
 * What the families of operations build on: a proactor, which queues each for itself, or a chain, which collects them.
 */
export abstract class Operations {
  /**
   * Calls an operation.
   *
   * @param length how many bytes of the memory, all of it where undefined
   * @param extra structs made for it, disposed of at its end
   */
  protected abstract call<T>(
    kind: Kind,
    target: Target,
    memory: Memory | null,
    length: number | undefined,
    offset: number,
    flags: number,
    options: OperationOptions,
    extra: Disposable | null,
  ): Promise<T>;
}

/** What a call gives, or a promise that is rejected with what it throws: arguments that are wrong. */
export function attempt<T>(call: () => Promise<T>): Promise<T> {
  try {
    return call();
  } catch (error) {
    return Promise.reject(error);
  }
}
