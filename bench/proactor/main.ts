// What promises cost: the proactor beside C twins, the ring layer and the runtime's own.

import { smoke } from "../support/measure.ts";
import { benchInFlight } from "./in-flight.ts";
import { benchNops } from "./nops.ts";
import { benchReads } from "./reads.ts";
import { benchTurns } from "./turns.ts";

if (smoke) console.log("Smoke run: a few short rounds, whose figures mean little.");
await benchReads();
await benchNops();
await benchInFlight();
await benchTurns();
