// Random values of every kind for the whole public API: errors may come of it, nothing else. Each seed runs in a process
// of its own, so that a crash is a failed test. `URING_FUZZ_SEEDS=200` runs as many seeds, `URING_FUZZ_FROM=7` starts with
// that one, and `URING_FUZZ_TRACE=1` prints which errors there were.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { account, runChild } from "./support/child.ts";
import { Scratch } from "./support/ring.ts";

const SEEDS = Number(process.env.URING_FUZZ_SEEDS ?? 6);
const FROM = Number(process.env.URING_FUZZ_FROM ?? 1);
/** How many calls of the ring's API a seed makes; about as many structs are made besides. */
const ROUNDS = 2500;

describe("fuzz of the public API", () => {
  for (let seed = FROM; seed < FROM + SEEDS; seed++) {
    it(`seed ${seed} gives errors, and leaves rings and memory as they were`, () => {
      using scratch = new Scratch();
      const ended = runChild("fuzz-child.ts", [String(seed), String(ROUNDS), scratch.path("")]);
      assert.ok(ended.status === 0 && ended.stdout.endsWith("done\n"), account(ended));
      if (process.env.URING_FUZZ_TRACE !== undefined) console.log(ended.stdout);
    });
  }
});
