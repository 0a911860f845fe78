// Speed, one table: each side's rounds alternate with its C twin's in one run.

import { benchFlat } from "./flat.ts";
import { benchNops } from "./nops.ts";
import { benchReads } from "./reads.ts";
import { smoke } from "./support/measure.ts";

if (smoke) console.log("Smoke run: a few short rounds, whose figures mean little.");
await benchNops();
await benchReads();
await benchFlat();
