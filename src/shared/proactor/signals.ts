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

/** Who waits for one signal. The runtimes' own lists take the longer to leave the longer they are. */
class Waiters extends Set<Listener> {
  handleEvent(): void {
    for (const waiter of this) waiter.handleEvent();
  }
}

const waiting = new WeakMap<AbortSignal, Waiters>();

/** Has a listener told of a signal's abort. Throws where it is not a signal itself, but a proxy of one. */
export function listen(signal: AbortSignal, listener: Listener): void {
  let waiters = waiting.get(signal);
  if (waiters === undefined) {
    waiters = new Waiters();
    waiting.set(signal, waiters);
  }
  if (waiters.size === 0) addEventListener.call(signal, "abort", waiters);
  waiters.add(listener);
}

export function unlisten(signal: AbortSignal, listener: Listener): void {
  const waiters = waiting.get(signal);
  if (waiters === undefined || !waiters.delete(listener) || waiters.size > 0) return;
  try {
    // A signal that somebody listens to may keep the process running.
    removeEventListener.call(signal, "abort", waiters);
  } catch {
    // A proxy's own error: the operation is over all the same.
  }
}
