// What a program sees of io_uring where it is confined, as one line of JSON.

import { available, Ring, type RingOptions, UringError, UringUnavailableError } from "uring";

function describe(error: unknown): object {
  if (error instanceof UringUnavailableError) {
    const { name, code, reason, remedy, message } = error;
    return { name, code, reason, remedy, message, cause: describe(error.cause) };
  }
  if (error instanceof UringError) {
    const { name, code, syscall, message } = error;
    return { name, code, syscall, message };
  }
  return { name: String(error) };
}

/** Makes so many rings, one after the other. */
function attempt(rings: number, options: RingOptions): object {
  try {
    for (let i = 0; i < rings; i++) new Ring(options).close();
    return { name: "none" };
  } catch (error) {
    return describe(error);
  }
}

/** Rings until no more can be had; the error, how many there were, and whether there is one again once they are closed. */
function exhaust(entries: number, memory: "owned" | "mapped"): object {
  const rings: Ring[] = [];
  let failure: object | undefined;
  while (failure === undefined && rings.length < 10_000) {
    try {
      rings.push(new Ring({ entries, memory }));
    } catch (error) {
      failure = describe(error);
    }
  }
  for (const ring of rings) ring.close();
  // The kernel takes a ring apart a little after it is closed.
  const end = performance.now() + 10_000;
  while (performance.now() < end) {
    try {
      new Ring({ entries, memory }).close();
      return { ...failure, rings: rings.length, again: true };
    } catch {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
    }
  }
  return { ...failure, rings: rings.length, again: false };
}

const [mode, entries, memory] = process.argv.slice(2);
const answer = available();
const availability = answer.ok ? { ok: true } : { ok: false, reason: answer.reason, remedy: answer.remedy };
const size = { entries: Number(entries), memory: memory === "mapped" ? "mapped" : "owned" } as const;
const seen =
  mode === "exhaust"
    ? exhaust(size.entries, size.memory)
    : mode === "turns"
      ? attempt(200, size)
      : attempt(1, { entries: 8 });
console.log(JSON.stringify({ availability, seen }));
