import assert from "node:assert/strict";
import { alloc, decodeTimespec } from "uring";
import { mustCall } from "../support/system.ts";

/** How long a test waits for what must come: not even on a busy machine does anything take so long that is not broken. */
export const PATIENCE_MS = 20_000;

/** What happens at once takes less, on a busy machine too; it would take much longer if it waited for anything. */
export const SOON_MS = 5000;

export const CLOCK_MONOTONIC = 1;
export const CLOCK_BOOTTIME = 7;

/** What a clock shows, in nanoseconds, as clock_gettime(2) tells it: the runtimes' own clocks start where they like. */
export function clock(id: number): bigint {
  using time = alloc(16);
  mustCall("clock_gettime", id, time.address);
  return decodeTimespec(time);
}

/** Comes back after some milliseconds. */
export function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** How many milliseconds a function takes. */
export function elapsed(body: () => void): number {
  const start = performance.now();
  body();
  return performance.now() - start;
}

/** How often something may be late. */
const TRIES = 8;

/**
 * Makes sure that something takes from `least` to `most` milliseconds. A busy machine may run anything late, so it may
 * be late a few times; it must not be early even once.
 *
 * @param prepare runs before each try, outside of the time
 */
export function takes(least: number, most: number, body: () => void, prepare: () => void = () => {}): void {
  const all: number[] = [];
  while (all.length < TRIES) {
    prepare();
    const time = elapsed(body);
    all.push(time);
    assert.ok(time >= least, `took ${time} ms, less than ${least}`);
    if (time <= most) return;
  }
  assert.fail(`never took ${most} ms or less, but ${all.map(Math.round)}`);
}
