// The garbage collector against the kernel: what an operation was given stays, what nobody uses goes.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { account, runChild } from "./support/child.ts";

const parts = {
  views: "views are kept until no operation is in flight, and no longer",
  structs: "memory behind iovecs and message headers is kept as they are",
  claims: "a view that claims another buffer keeps its own",
  calls: "views are kept no longer for calls that the library makes by the ring's fd",
  notifications: "a notification of a send that never began ends nothing else",
  messages: "a completion that another ring has sent ends nothing",
  arrival: "data arrives in views of every size",
  dropped: "rings dropped with operations in flight harm no memory",
  lifecycle: "10,000 rings leave no fds, mappings or memory behind",
};

describe("under forced garbage collection", () => {
  for (const [part, promise] of Object.entries(parts)) {
    it(promise, { timeout: 130_000 }, () => {
      const ended = runChild("gc-child.ts", [part], { timeout: 120_000 });
      assert.ok(ended.status === 0 && ended.stdout.endsWith("done\n"), account(ended));
    });
  }
});
