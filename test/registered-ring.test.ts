import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Ring } from "uring";
import * as abi from "uring/abi";
import { exercise, nops, range, reap } from "./support/ring.ts";
import { withShim } from "./support/runtime.ts";

describe("the thread's table of rings", () => {
  /** Rings, and how many of them enter through the table. */
  function open(count: number): { rings: Ring[]; registered: number } {
    const registered = new Set<number>();
    const rings = range(count).map((number) =>
      withShim(
        (real) => ({
          enter(fd, submit, wait, flags, arg, size) {
            if ((flags & abi.IORING_ENTER_REGISTERED_RING) !== 0) registered.add(number);
            return real.enter(fd, submit, wait, flags, arg, size);
          },
        }),
        () => new Ring({ entries: 4 }),
      ),
    );
    for (const [i, ring] of rings.entries()) {
      nops(ring, 1, i);
      assert.deepEqual(reap(ring, 1), [[i, 0, 0]]);
    }
    return { rings, registered: registered.size };
  }

  it("has 16 places, and more rings than that work at once", () => {
    const { rings, registered } = open(20);
    assert.ok(registered > 0 && registered <= 16, `${registered} are registered`);
    for (const ring of rings) exercise(ring);
    for (const ring of rings) assert.deepEqual(ring.close(), { leaked: 0 });
  });

  it("gets the place of a closed ring back", () => {
    const { rings, registered } = open(20);
    for (let i = 0; i < 100; i++) {
      rings.shift()?.close();
      const next = open(1);
      rings.push(...next.rings);
      // The first rings had the places, and each passes its own on.
      if (i < registered) assert.equal(next.registered, 1, `ring ${i}`);
    }
    for (const ring of rings) ring.close();
    const again = open(20);
    assert.equal(again.registered, registered);
    for (const ring of again.rings) ring.close();
  });
});
