import { alloc, encodeTimespec, Ring, type Sqe } from "uring";

import { interleave, smoke } from "./support/measure.ts";
import { nopSide } from "./support/nops.ts";
import { heading, line } from "./support/table.ts";
import { Twin } from "./support/twin.ts";

const BATCH = 64;
const SIZES = smoke ? [64, 1024] : [64, 1024, 32768];
const IN_FLIGHT = smoke ? [0, 100] : [0, 1000, 30000];

/** The cost of an operation in ever larger rings, and beside ever more operations that do not complete. */
export async function benchFlat(): Promise<void> {
  const rings: Ring[] = [];
  const twins: Twin[] = [];
  try {
    heading(`No-ops in batches of ${BATCH}, by ring size`);
    for (const entries of SIZES) {
      rings.push(new Ring({ entries }));
      twins.push(await Twin.start("nop", entries, BATCH, "registered"));
    }
    const results = await interleave([
      ...rings.map((ring, i) => nopSide(`${SIZES[i]} entries`, ring, BATCH)),
      ...twins.map((twin, i) => ({
        name: `C, ${SIZES[i]} entries`,
        batch: BATCH,
        round: (operations: number) => twin.round(operations),
      })),
    ]);
    const [own, c] = [results.slice(0, SIZES.length), results.slice(SIZES.length)];
    for (const [i, result] of own.entries()) {
      line(
        result,
        ...[own[0], c[i]].flatMap((other) =>
          other === undefined || other === result ? [] : { with: other },
        ),
      );
    }
    for (const [i, result] of c.entries())
      line(result, ...(i > 0 && c[0] !== undefined ? [{ with: c[0] }] : []));
  } finally {
    for (const twin of twins) await twin.stop();
    for (const ring of rings.splice(0)) ring.close();
  }

  using hour = encodeTimespec({ sec: 3600, nsec: 0 }, alloc(16));
  try {
    heading(`No-ops in batches of ${BATCH}, by operations in flight`);
    for (const inFlight of IN_FLIGHT) {
      const ring = new Ring({ entries: 1024, cqEntries: 65536 });
      rings.push(ring);
      for (let i = 0; i < inFlight; i++) {
        if (ring.sqSpaceLeft === 0) ring.submit();
        (ring.getSqe() as Sqe).prepTimeout(hour, 0, 0);
      }
      ring.submit();
      if (ring.inFlight !== inFlight) throw new Error(`${ring.inFlight} operations are in flight`);
    }
    const results = await interleave(
      rings.map((ring, i) => nopSide(`${IN_FLIGHT[i]} in flight`, ring, BATCH)),
    );
    for (const [i, result] of results.entries())
      line(result, ...(i > 0 && results[0] !== undefined ? [{ with: results[0] }] : []));
  } finally {
    for (const ring of rings) ring.close();
  }
}
