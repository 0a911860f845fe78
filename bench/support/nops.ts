import type { Ring, Sqe } from "uring";

import type { Side } from "./measure.ts";
import { timed } from "./measure.ts";

let sum = 0;

/** What every benchmark does with a completion. `| 0` keeps the sum an integer: V8 allocates for other numbers. */
export function count(userData: number, res: number, _flags: number): void {
  sum = (sum + userData + res) | 0;
}

/** No-ops, so many a system call. */
export function runNops(ring: Ring, batch: number, operations: number): void {
  for (let done = 0; done < operations; done += batch) {
    for (let i = 0; i < batch; i++) (ring.getSqe() as Sqe).prepNop().setData64(i);
    ring.submitAndWait(batch);
    ring.drain(count);
  }
}

/** The smallest ring for a batch, on both sides. */
export function entriesFor(batch: number): number {
  return Math.max(8, batch);
}

export function nopSide(name: string, ring: Ring, batch: number): Side {
  return { name, batch, round: timed((operations) => runNops(ring, batch, operations)) };
}

export function describeRing(ring: Ring): string {
  const { flags, sqEntries } = ring.params;
  return `flags 0x${flags.toString(16)} (${ring.memory} memory), ${sqEntries} entries`;
}
