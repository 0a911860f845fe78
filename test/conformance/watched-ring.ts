import assert from "node:assert/strict";
import type { Ring, RingOptions } from "uring";
import type { RingView } from "../support/ring-view.ts";
import { withShim } from "../support/runtime.ts";
import { type WatchedRings, watchRings } from "../support/watched-rings.ts";
import type { Bench } from "./support.ts";

/** A ring, and its memory as the kernel sees it, without the library looking at it. Until the ring is closed. */
export function watchedRing(bench: Bench, options: RingOptions = {}): { ring: Ring; view: RingView } {
  let rings: WatchedRings | undefined;
  const ring = withShim(
    (real) => {
      rings = watchRings(real);
      return rings.shim;
    },
    () => bench.ring(options),
  );
  const view = rings?.ringOf(ring.fd, false);
  assert.ok(view?.visible);
  return { ring, view };
}
