import assert from "node:assert/strict";

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
 */
export function takes(least: number, most: number, body: () => void): void {
  const all: number[] = [];
  while (all.length < TRIES) {
    const time = elapsed(body);
    all.push(time);
    assert.ok(time >= least, `took ${time} ms, less than ${least}`);
    if (time <= most) return;
  }
  assert.fail(`never took ${most} ms or less, but ${all.map(Math.round)}`);
}
