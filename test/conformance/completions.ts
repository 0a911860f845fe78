import assert from "node:assert/strict";
import { Ring, type Sqe } from "uring";
import { IORING_CQE_F_MORE, IORING_SETUP_SQPOLL } from "uring/abi";
import { PATIENCE_MS } from "./durations.ts";
import { type Bench, type Completion, ringTypes } from "./support.ts";

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
  let sqe = ring.getSqe();
  if (sqe === null) {
    // A poller thread gives places back after all it has read is done: completions of those entries are there before.
    ring.sqringWait();
    sqe = ring.getSqe();
  }
  assert.ok(sqe, "the submission queue is full");
  return sqe;
}

/** Waits until the poller thread, if the ring has one, has taken every entry. */
export function submitted(ring: Ring): void {
  const end = performance.now() + PATIENCE_MS;
  while (ring.sqReady > 0 && performance.now() < end) ring.submit();
  assert.equal(ring.sqReady, 0);
}

/**
 * Submits, and makes sure that the kernel takes `count` entries, which must be all there are.
 *
 * @param wait how many completions to wait for
 */
export function submitAll(ring: Ring, count: number, wait = 0): void {
  assert.equal(ring.sqReady, count);
  const result = wait === 0 ? ring.submit() : ring.submitAndWait(wait, { timeout: PATIENCE_MS });
  if ((ring.params.flags & IORING_SETUP_SQPOLL) === 0) assert.equal(result, count);
  // A poller thread may have taken some before they were counted.
  else assert.ok(result >= 0 && result <= count, `submit: ${result}`);
  submitted(ring);
}

/**
 * Submits what is queued and collects completions until so many operations have had their last one, which is the one
 * without `IORING_CQE_F_MORE`.
 *
 * @param peer another ring of this thread that must go on meanwhile: deferred task work waits until its ring is entered
 */
export function untilEnded(ring: Ring, operations: number, peer?: Ring): Brief[] {
  const found: Brief[] = [];
  const end = performance.now() + PATIENCE_MS;
  for (let ended = 0; ended < operations; ) {
    assert.ok(
      performance.now() < end,
      `${ended} of ${operations} operations ended: ${JSON.stringify(found)}`,
    );
    ring.submitAndWait(1, { timeout: peer === undefined ? 100 : 1 });
    peer?.getEvents();
    ring.drain((userData, res, flags) => {
      found.push([userData, res, flags]);
      if ((flags & IORING_CQE_F_MORE) === 0) ended++;
    });
  }
  return found;
}

/**
 * A ring of the kind under test for operations with `IOSQE_CQE_SKIP_SUCCESS`: completions that are skipped can not be
 * counted, so closing it reports that something may be left.
 */
export function skippingRing(bench: Bench): Ring {
  const ring = new Ring({ entries: 32, ...ringTypes[bench.type] });
  bench.defer(() => void ring.close());
  return ring;
}
