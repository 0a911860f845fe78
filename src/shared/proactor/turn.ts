const { setImmediate } = globalThis as unknown as { setImmediate(callback: () => void): unknown };

/** Calls back once the event loop has had its turn: timers and sockets that are due come first, or right after. */
export function nextTurn(callback: () => void): void {
  setImmediate(callback);
}
