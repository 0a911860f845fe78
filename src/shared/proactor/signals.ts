// What a signal is asked, past properties of its own or of a subclass: whoever calls the caller in the middle of an operation
// may find another when that returns.

interface Listener {
  handleEvent(): void;
}

function getter<T>(name: "aborted" | "reason"): (this: AbortSignal) => T {
  return Object.getOwnPropertyDescriptor(AbortSignal.prototype, name)?.get as (this: AbortSignal) => T;
}

const aborted = getter<boolean>("aborted");
const reason = getter<unknown>("reason");
const { addEventListener, removeEventListener } = AbortSignal.prototype;

export function isAborted(signal: AbortSignal): boolean {
  return aborted.call(signal);
}

export function reasonOf(signal: AbortSignal): unknown {
  return reason.call(signal);
}

/** Throws where it is not a signal itself, but a proxy of one. */
export function listen(signal: AbortSignal, listener: Listener): void {
  addEventListener.call(signal, "abort", listener);
}

export function unlisten(signal: AbortSignal, listener: Listener): void {
  try {
    removeEventListener.call(signal, "abort", listener);
  } catch {
    // A proxy's own error: the operation is over all the same.
  }
}
