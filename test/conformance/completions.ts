import assert from "node:assert/strict";
import type { Ring, Sqe } from "uring";
import type { Completion } from "./support.ts";

/** A completion in short: `[userData, res, flags]`. */
export type Brief = [userData: number, res: number, flags: number];

/** Completions in short, in the order they came. */
export function brief(completions: readonly Completion[]): Brief[] {
  return completions.map(({ userData, res, flags }) => [userData, res, flags]);
}

/** Completions in short, in the order of their `userData`, for operations that may complete in any order. */
export function sorted(completions: readonly Completion[]): Brief[] {
  return brief(completions).sort(([a], [b]) => a - b);
}

/** The next free entry, where there must be one. */
export function entry(ring: Ring): Sqe {
  const sqe = ring.getSqe();
  assert.ok(sqe, "the submission queue is full");
  return sqe;
}

/** Waits until the poller thread, if the ring has one, has taken every entry. */
export function submitted(ring: Ring): void {
  const end = performance.now() + 5000;
  while (ring.sqReady > 0 && performance.now() < end) ring.submit();
  assert.equal(ring.sqReady, 0);
}
