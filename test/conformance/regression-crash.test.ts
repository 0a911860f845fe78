import assert from "node:assert/strict";
import { runProgram } from "./program.ts";
import { allRings, conformance } from "./support.ts";

// ------------------------------------------------------------------------------------------------ liburing/35fa71a030ca

conformance(
  "liburing/35fa71a030ca",
  "two threads that register no buffers at once are both refused, in process after process",
  () => {
    for (let i = 0; i < 5; i++) {
      const { code, output } = runProgram("racing-registrations", ["1000"]);
      assert.equal(code, 42, output);
    }
  },
);

// ------------------------------------------------------------------------------------------------ liburing/917257daa0fe

conformance(
  "liburing/917257daa0fe",
  "a process ends without closing a ring with a bound poller thread",
  () => {
    const { code, output, milliseconds } = runProgram("unclosed-poller");
    assert.equal(code, 42, output);
    assert.ok(milliseconds < 8000, `${milliseconds} ms`);
  },
);

// ------------------------------------------------------------------------------------------------ liburing/a0908ae19763

conformance(
  "liburing/a0908ae19763",
  "a table of one empty slot is registered",
  (bench) => {
    const ring = bench.ring({ entries: 164 });
    assert.equal(ring.params.sqEntries, 256);
    ring.registerFiles([-1]);
    ring.unregisterFiles();
  },
  { rings: allRings },
);
