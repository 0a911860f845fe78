import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Ring, type RingOptions } from "uring";
import {
  IORING_NOP_CQE32,
  IORING_SETUP_CQE_MIXED,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_SETUP_SQPOLL,
} from "uring/abi";
import { Random } from "./support/random.ts";
import { LONG, nop } from "./support/ring.ts";
import { kernelTakes } from "./support/runtime.ts";

const QUEUE = 8;
const TOTAL = 1_000_000;

interface Kind {
  readonly what: string;
  readonly options: RingOptions;
}

const kinds: readonly Kind[] = [
  { what: "of default flags", options: {} },
  {
    what: "that defers its work",
    options: { flags: IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN },
  },
  { what: "with a poller thread", options: { flags: IORING_SETUP_SQPOLL } },
  { what: "with completions of both sizes", options: { flags: IORING_SETUP_CQE_MIXED } },
];

/** Has a ring whose queues are of 8 complete many operations, most of which do not fit: each must come once, in order. */
function overflow({ options }: Kind): void {
  const random = new Random(1);
  using ring = new Ring({ entries: QUEUE, cqEntries: QUEUE, ...options });
  const { flags } = ring.params;
  const polled = (flags & IORING_SETUP_SQPOLL) !== 0;
  const mixed = (flags & IORING_SETUP_CQE_MIXED) !== 0;
  let sent = 0;
  let seen = 0;
  let wrong = 0;
  let overflows = 0;
  const came = new Uint8Array(TOTAL);
  // Every second one is large in a ring of both sizes.
  const step = mixed ? 2 : 1;
  let next = step - 1;
  const take = (userData: number, res: number) => {
    if (came[userData] !== 0 || res !== 0) wrong++;
    came[userData] = 1;
    seen++;
    // In a ring of both sizes a plain one may take the last slot, which was no room for a large one before it.
    if (mixed && (userData & 1) === 0) return;
    if (userData !== next) wrong++;
    next = userData + step;
  };
  while (seen < TOTAL) {
    // A number of queues before anything is read, so that all but the first of them have no room.
    for (let queues = 1 + random.below(32); queues > 0 && sent < TOTAL; queues--) {
      const count = Math.min(QUEUE, TOTAL - sent);
      for (let i = 0; i < count; i++) {
        const sqe = ring.getSqe();
        if (sqe === null) break;
        if (mixed && (sent & 1) === 1) nop(sqe, IORING_NOP_CQE32);
        else sqe.prepNop();
        sqe.setData64(sent++);
      }
      const taken = ring.submit();
      if (!polled) assert.equal(taken, count);
      else ring.sqringWait();
    }
    if (ring.cqHasOverflow) overflows++;
    const end = performance.now() + LONG;
    while (seen < sent && wrong === 0) {
      assert.ok(performance.now() < end, `${sent - seen} of ${sent} are missing`);
      if (ring.drain(take) === 0) ring.submitAndWait(1, { timeout: 100 });
      // At times some stay, and those that follow must wait behind them.
      if (sent < TOTAL && random.below(64) === 0) break;
    }
    assert.equal(wrong, 0);
  }
  assert.deepEqual([seen, wrong], [TOTAL, 0]);
  assert.equal(ring.cqOverflow, 0);
  assert.ok(overflows > 100, `${overflows} overflows`);
}

describe("a completion queue of 8", () => {
  for (const kind of kinds) {
    const missing = !kernelTakes(kind.options.flags ?? 0);
    it(
      `loses none of a million completions, and keeps the kernel's order, on a ring ${kind.what}`,
      {
        timeout: 60_000,
        skip: missing && "this kernel has no such rings",
      },
      () => overflow(kind),
    );
  }
});
