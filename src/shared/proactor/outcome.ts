import { brokenChain, failure, timeoutError } from "./failure.ts";
import type { Operation, Receiver } from "./operation.ts";

const EINTR = 4;
const ECANCELED = 125;
/** What the kernel should keep to itself: threads of its own that were interrupted while they waited. */
const ERESTARTSYS = 512;

/** Settles an operation's promise with what its result means. */
export function settle(operation: Operation, res: number): void {
  const { kind } = operation;
  if (res < 0 && kind.answers?.(res) !== true) {
    operation.reject(reasonOf(operation, res));
  } else if (operation.cancelled && kind.discard !== undefined) {
    kind.discard(operation, res);
    operation.reject(operation.reason);
  } else if (kind.value === undefined) {
    operation.resolve?.(res);
  } else {
    try {
      const value = kind.value(operation, res);
      operation.resolve?.(value);
    } catch (error) {
      operation.reject(error);
    }
  }
}

function reasonOf(operation: Operation, res: number): unknown {
  if (res === -ECANCELED || res === -EINTR || res === -ERESTARTSYS) {
    if (operation.timedOut) return timeoutError(operation.kind);
    if (operation.cancelled) return operation.reason;
  }
  if (res === -ECANCELED && operation.chained) return brokenChain(operation.kind);
  return failure(operation.kind, -res, operation.about);
}

/** Tells a receiver of a completion. */
export function deliver(receiver: Receiver, res: number, flags: number, last: boolean): void {
  try {
    receiver.complete(res, flags, last);
  } catch (error) {
    // The caller's own: it goes where errors go that nobody catches, and others' completions are not held up by it.
    queueMicrotask(() => {
      throw error;
    });
  }
}
