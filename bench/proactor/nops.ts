import { Proactor, Ring } from "uring";
import {
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_SETUP_SUBMIT_ALL,
  IORING_SETUP_TASKRUN_FLAG,
} from "uring/abi";

import { interleave } from "../support/measure.ts";
import { nopSide } from "../support/nops.ts";
import { heading, line, single } from "../support/table.ts";
import { Floor } from "./floor.ts";
import { callbackSide, lanesSide } from "./lanes.ts";

const DEPTH = 64;
const OVERHEAD_NS = 40;

/** As a proactor's ring is set up on a recent kernel. */
const FLAGS =
  IORING_SETUP_SINGLE_ISSUER |
  IORING_SETUP_DEFER_TASKRUN |
  IORING_SETUP_TASKRUN_FLAG |
  IORING_SETUP_SUBMIT_ALL;

/** What the promise layer costs beyond the ring layer, and beyond what any promise an operation does. */
export async function benchNops(): Promise<void> {
  await using proactor = new Proactor();
  using ring = new Ring({ entries: 256, cqEntries: 4096, flags: FLAGS });
  heading(`No-ops, ${DEPTH} at a time, ns each`);
  const floor = new Floor(DEPTH);
  const [own, called, layer, bare] = await interleave([
    lanesSide("proactor.nop, a promise each", DEPTH, async (_, operations) => {
      for (let done = 0; done < operations; done++) await proactor.nop();
    }),
    callbackSide("proactor.entry, callbacks", proactor, DEPTH, (sqe) => sqe.prepNop()),
    nopSide("the ring layer", ring, DEPTH),
    lanesSide("promises alone", DEPTH, async (_, operations) => {
      for (let done = 0; done < operations; done++) await floor.call();
    }),
  ]);
  if (!own || !called || !layer || !bare) throw new Error("a side is missing");
  line(own, { with: layer });
  line(called, { with: layer });
  line(layer);
  line(bare);
  single("the promise layer: the first less the last two", own.min - layer.min - bare.min, OVERHEAD_NS);
}
