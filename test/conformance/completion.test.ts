import assert from "node:assert/strict";
import { allRings, conformance } from "./support.ts";

conformance(
  "liburing/cq-peek-batch",
  "completions are shown in order, and stay until they are consumed",
  (bench) => {
    const ring = bench.ring();
    const shown = () => {
      const userData: number[] = [];
      ring.forEachCqe((cqe) => userData.push(cqe.userData));
      return userData;
    };
    assert.deepEqual(shown(), []);
    for (let i = 0; i < 4; i++) ring.getSqe()?.prepNop().setData64(i);
    ring.submitAndWait(4, { timeout: 1000 });
    assert.deepEqual(shown(), [0, 1, 2, 3]);
    for (let i = 4; i < 8; i++) ring.getSqe()?.prepNop().setData64(i);
    ring.submitAndWait(8, { timeout: 1000 });
    ring.cqAdvance(4);
    assert.deepEqual(shown(), [4, 5, 6, 7]);
    ring.cqAdvance(4);
  },
  { rings: allRings },
);
