import { Ring } from "uring";

import { interleave } from "./support/measure.ts";
import { describeRing, entriesFor, nopSide } from "./support/nops.ts";
import { heading, line } from "./support/table.ts";
import { buildLine, Twin } from "./support/twin.ts";

const BARS: Readonly<Record<number, number>> = { 1: 1.15, 8: 1.15, 64: 1.12, 1024: 1.12 };
const BATCH_1_OF_DEFAULTS = 1;

/** No-ops: what the library costs, since the kernel does next to nothing. */
export async function benchNops(): Promise<void> {
  console.log(`\nC twin: ${buildLine("nop")}`);
  heading("No-ops, ns each");
  for (const [batch, bar] of Object.entries(BARS).map(([text, ratio]) => [Number(text), ratio] as const)) {
    const entries = entriesFor(batch);
    using ring = new Ring({ entries });
    const plain = await Twin.start("nop", entries, batch, "default");
    const registered = await Twin.start("nop", entries, batch, "registered");
    const [own, c, cRegistered] = await interleave([
      nopSide(`batch ${batch}`, ring, batch),
      { name: "C, liburing's defaults", batch, round: (operations) => plain.round(operations) },
      { name: "C, registered ring fd", batch, round: (operations) => registered.round(operations) },
    ]);
    if (own === undefined || c === undefined || cRegistered === undefined)
      throw new Error("a side is missing");
    line(own, { with: cRegistered, bar }, batch === 1 ? { with: c, bar: BATCH_1_OF_DEFAULTS } : { with: c });
    line(cRegistered);
    line(c);
    console.log(`    set-up: ${describeRing(ring)}; C: ${registered.setup}; ${plain.setup}`);
    await plain.stop();
    await registered.stop();
  }
}
