// The short forms of `npm run stress`, and that they find what they are for.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { account, runChild } from "./support/child.ts";

const SEED = "1";

function stress(...args: string[]): ReturnType<typeof runChild> {
  return runChild("proactor-stress.ts", ["--seed", SEED, ...args], { timeout: 110_000 });
}

describe("under stress", () => {
  it("every promise settles once, memory is its owner's, and everything is given back", () => {
    const ended = stress("--operations", "20000");
    assert.equal(ended.status, 0, account(ended));
    const { operations, ...counts } = JSON.parse(ended.stdout) as Record<string, number>;
    assert.ok(Number(operations) >= 20_000);
    for (const what of ["resolved", "aborted", "timedOut", "closed", "entries", "forged", "poisoned"]) {
      assert.ok(Number(counts[what]) > 0, `${what}: ${ended.stdout}`);
    }
  });

  it("no wake is lost or late", () => {
    const ended = stress("--doorbell", "50000");
    assert.equal(ended.status, 0, account(ended));
    const { doorbell } = JSON.parse(ended.stdout) as { doorbell: { wakes: number } };
    assert.ok(doorbell.wakes >= 50_000);
  });
});

describe("the stress finds", () => {
  const bugs: Record<string, [promise: string, symptom: RegExp]> = {
    "early-release": ["memory that is given back one completion early", /byte \d+/],
    "no-recheck": ["a doorbell that does not look again", /a wake was lost/],
    "no-generation": [
      "completions taken for those of another operation",
      /gave|byte|were made up|settled|ended twice/,
    ],
  };
  for (const [bug, [promise, symptom]] of Object.entries(bugs)) {
    it(promise, () => {
      const ended = stress("--operations", "20000", "--doorbell", "50000", "--plant", bug);
      assert.equal(ended.status, 1, account(ended));
      assert.match(ended.stderr, symptom);
    });
  }
});
