// The ring beneath a proactor: how it is set up, what of it is the caller's, and what its end gives back.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Proactor } from "uring";
import { IORING_ENTER_GETEVENTS, IOU_PBUF_RING_MMAP } from "uring/abi";
import { ringArena } from "../src/shared/ring/setup.ts";
import { pipe } from "./support/harness.ts";
import { turns } from "./support/proactor-sockets.ts";
import { reason } from "./support/rejections.ts";
import { bytes, ringMappings, text } from "./support/ring.ts";
import { withShim } from "./support/runtime.ts";
import { mustCall } from "./support/system.ts";

const bench = { timeout: 60_000 };

/** How many blocks that rings live in are taken and not given back, once something has been done. */
async function blocksKept(work: () => Promise<void>): Promise<number> {
  const { take, giveRing } = ringArena;
  let kept = 0;
  ringArena.take = (length) => {
    kept++;
    return take.call(ringArena, length);
  };
  ringArena.giveRing = (block) => {
    kept--;
    giveRing.call(ringArena, block);
  };
  try {
    await work();
  } finally {
    Object.assign(ringArena, { take, giveRing });
  }
  return kept;
}

describe("the close of a proactor", () => {
  it("gives back what its buffer groups are made of", bench, async () => {
    const kept = await blocksKept(async () => {
      const proactor = new Proactor();
      proactor.bufferGroup({ entries: 4, bufferSize: 64 });
      proactor.ring.setupBufRing({ group: 1, entries: 4, bufferSize: 64 });
      assert.deepEqual(await proactor.close(), { leaked: 0 });
    });
    assert.equal(kept, 0);
  });

  it("ends buffer rings that are registered with its ring", bench, async () => {
    const before = ringMappings();
    const proactor = new Proactor({ memory: "owned" });
    const flags = IOU_PBUF_RING_MMAP;
    const pool = proactor.ring.setupBufRing({ group: 1, entries: 4, bufferSize: 64, flags });
    assert.equal(ringMappings(), before + 1);
    assert.deepEqual(await proactor.close(), { leaked: 0 });
    assert.equal(ringMappings(), before);
    assert.throws(() => pool.recycle(0), /is freed/);
    pool.free();
  });

  for (const [order, close] of [
    ["before", (proactor: Proactor, close: () => Promise<void>) => [close(), proactor.close()]],
    ["after", (proactor: Proactor, close: () => Promise<void>) => [proactor.close(), close()]],
  ] as const) {
    it(`takes a group along that is closed right ${order} it`, bench, async () => {
      const kept = await blocksKept(async () => {
        const proactor = new Proactor();
        using ends = pipe();
        const group = proactor.bufferGroup({ entries: 4, bufferSize: 64 });
        const pulled = reason(proactor.readMultishot(ends.read, { group }).next());
        await turns();
        await Promise.all(close(proactor, () => group.close()));
        assert.match(String(await pulled), /ECANCELED|group is closed/);
        assert.equal(group.closed, true);
      });
      assert.equal(kept, 0);
    });
  }

  it("lends what is received at the very end", bench, async () => {
    using ends = pipe();
    using late = bytes("late");
    let closing = false;
    const proactor = withShim(
      (real) => ({
        enter(fd, toSubmit, count, flags, ...rest) {
          // The ring is being closed: the read completes before its cancellation is handed over.
          if (closing) {
            closing = false;
            mustCall("write", ends.write, late.address, late.byteLength);
            mustCall("io_uring_enter", proactor.ring.fd, 0, 0, IORING_ENTER_GETEVENTS, 0, 0);
          }
          return real.enter(fd, toSubmit, count, flags, ...rest);
        },
      }),
      () => new Proactor(),
    );
    const group = proactor.bufferGroup({ entries: 4, bufferSize: 64 });
    const told = new Promise<string>((resolve) => {
      const complete = (res: number, flags: number) => {
        using lease = group.lease(flags, res);
        resolve(text(lease.bytes));
      };
      proactor.entry({ complete })?.prepRead(ends.read, 0, 64, -1).setBufferGroup(group.id);
    });
    proactor.flush();
    closing = true;
    await proactor.close({ deadline: 0 });
    assert.equal(await told, "late");
  });
});
