// The ring beneath a proactor: how it is set up, what of it is the caller's, and what its end gives back.

import assert from "node:assert/strict";
import { constants } from "node:os";
import { describe, it } from "node:test";
import { alloc, Proactor, type Ring } from "uring";
import {
  IORING_ENTER_GETEVENTS,
  IORING_REGISTER_PROBE,
  IORING_SETUP_COOP_TASKRUN,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_SINGLE_ISSUER,
  IOU_PBUF_RING_MMAP,
} from "uring/abi";
import { ringArena } from "../src/shared/ring/setup.ts";
import { pipe } from "./support/harness.ts";
import { turns } from "./support/proactor-sockets.ts";
import { reason } from "./support/rejections.ts";
import { bytes, range, ringFds, ringMappings, text } from "./support/ring.ts";
import { withShim } from "./support/runtime.ts";
import { mustCall } from "./support/system.ts";

const { ENOMEM } = constants.errno;

const bench = { timeout: 20_000 };

/**
 * What of a proactor's ring is its caller's. What reaches the queues or the eventfd, or has completions come that are no
 * operation's, is not.
 */
const ACCESS: Readonly<Record<keyof Ring, "open" | "refused" | "without tags">> = {
  fd: "open",
  params: "open",
  features: "open",
  memory: "open",
  closed: "open",
  sqReady: "open",
  sqSpaceLeft: "open",
  sqDropped: "open",
  cqReady: "open",
  cqOverflow: "open",
  cqHasOverflow: "open",
  pending: "open",
  inFlight: "open",
  probe: "open",
  getSqe: "refused",
  submit: "refused",
  submitAndWait: "refused",
  submitAndGetEvents: "refused",
  getEvents: "open",
  sqringWait: "open",
  drain: "refused",
  copyCqes: "refused",
  claimSqes: "refused",
  drainWords: "refused",
  peekCqe: "refused",
  waitCqe: "refused",
  forEachCqe: "refused",
  cqAdvance: "refused",
  enableRings: "open",
  detach: "refused",
  close: "refused",
  registerBuffers: "open",
  registerBuffersTags: "refused",
  registerBuffersSparse: "open",
  registerBuffersUpdateTag: "without tags",
  unregisterBuffers: "open",
  cloneBuffers: "open",
  cloneBuffersOffset: "open",
  registerFiles: "open",
  registerFilesTags: "refused",
  registerFilesSparse: "open",
  registerFilesUpdate: "open",
  registerFilesUpdateTag: "without tags",
  unregisterFiles: "open",
  registerFileAllocRange: "open",
  setupBufRing: "open",
  freeBufRing: "open",
  registerBufRing: "open",
  unregisterBufRing: "open",
  bufRingHead: "open",
  bufRingCqAdvance: "refused",
  registerEventfd: "refused",
  registerEventfdAsync: "refused",
  unregisterEventfd: "refused",
  cqEventfdEnabled: "open",
  cqEventfdToggle: "refused",
  setIowait: "open",
  registerNapi: "open",
  unregisterNapi: "open",
  registerClock: "open",
  registerIowqAff: "open",
  unregisterIowqAff: "open",
  registerIowqMaxWorkers: "open",
  registerPersonality: "open",
  unregisterPersonality: "open",
  registerRestrictions: "open",
  registerSyncCancel: "open",
  registerRingFd: "open",
  unregisterRingFd: "open",
  closeRingFd: "open",
  resizeRings: "refused",
  registerRegion: "open",
  registerWaitRegion: "open",
  submitAndWaitReg: "refused",
  registerIfq: "open",
  registerZcrxCtrl: "open",
  registerBpfFilter: "open",
  [Symbol.dispose]: "refused",
};

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

describe("the queues of a proactor", () => {
  for (const [sizes, sqEntries, cqEntries] of [
    [{}, 256, 4096],
    [{ entries: 8 }, 8, 4096],
    [{ entries: 8192 }, 8192, 8192],
    [{ cqEntries: 64 }, 64, 64],
    [{ cqEntries: 8192 }, 256, 8192],
    [{ entries: 8, cqEntries: 16 }, 8, 16],
  ] as const) {
    it(`have ${sqEntries} and ${cqEntries} entries for ${JSON.stringify(sizes)}`, bench, async () => {
      await using proactor = new Proactor(sizes);
      const { params } = proactor.ring;
      assert.deepEqual([params.sqEntries, params.cqEntries], [sqEntries, cqEntries]);
      assert.deepEqual(await Promise.all(range(100).map(() => proactor.nop())), new Array(100).fill(0));
    });
  }

  for (const sizes of [{ entries: 1 }, { cqEntries: 1 }, { entries: 1, cqEntries: 1 }]) {
    it(`have room for an operation with its timeout for ${JSON.stringify(sizes)}`, bench, async () => {
      await using proactor = new Proactor(sizes);
      using ends = pipe();
      using memory = alloc(1);
      const late = reason(proactor.read(ends.read, memory, { timeout: 1 }));
      const next = proactor.nop({ timeout: 20_000 });
      assert.equal(((await late) as Error).name, "TimeoutError");
      assert.deepEqual([await next, await proactor.nop()], [0, 0]);
    });
  }

  it("can not complete less than is submitted", () => {
    assert.throws(() => new Proactor({ entries: 64, cqEntries: 8 }), RangeError);
    assert.throws(() => new Proactor({ entries: 0 }), RangeError);
    assert.throws(() => new Proactor({ cqEntries: 0 }), RangeError);
  });
});

describe("a proactor that can not be made", () => {
  for (const [why, make] of Object.entries({
    "for its workers": () => assert.throws(() => new Proactor({ workers: { unbounded: -1 } }), RangeError),
    "where the kernel says nothing of its operations": () => {
      withShim(
        (real) => ({
          register: (fd, opcode, ...rest) =>
            opcode === IORING_REGISTER_PROBE ? -ENOMEM : real.register(fd, opcode, ...rest),
        }),
        () => assert.throws(() => new Proactor(), { name: "UringError", code: "ENOMEM" }),
      );
    },
  })) {
    it(`leaves no ring, ${why}`, () => {
      const before = ringFds();
      make();
      assert.equal(ringFds(), before);
    });
  }
});

describe("the ring of a proactor", () => {
  for (const [name, flags] of Object.entries({
    "that defers its work": IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
    "that interrupts nothing": IORING_SETUP_COOP_TASKRUN,
  })) {
    it(
      `tells of what completes, ${name}, though nobody asked for IORING_SETUP_TASKRUN_FLAG`,
      bench,
      async () => {
        await using proactor = new Proactor({ flags });
        using ends = pipe();
        using memory = alloc(1);
        for (let i = 0; i < 10; i++) {
          const read = proactor.read(ends.read, memory);
          await proactor.timeout(1);
          await proactor.write(ends.write, memory);
          assert.equal(await read, 1);
        }
      },
    );
  }

  for (const name of Reflect.ownKeys(ACCESS) as (keyof Ring)[]) {
    if (ACCESS[name] !== "refused") continue;
    it(`refuses ${String(name)}`, bench, async () => {
      await using proactor = new Proactor();
      await proactor.timeout(1);
      const method = proactor.ring[name] as () => unknown;
      assert.throws(() => method.call(proactor.ring), { name: "TypeError", message: /are a proactor's/ });
      // It rings as before.
      await proactor.timeout(1);
    });
  }

  it("is a ring like any other for the rest", bench, async () => {
    await using proactor = new Proactor();
    const { ring } = proactor;
    for (const name of Reflect.ownKeys(ACCESS)) {
      if (ACCESS[name as keyof Ring] !== "open") continue;
      assert.equal(Object.hasOwn(Object.getPrototypeOf(ring), name), false, String(name));
    }
    assert.equal(ring.getEvents(), 0);
    assert.equal(ring.cqEventfdEnabled, true);
  });

  it("takes files and buffers without tags", bench, async () => {
    await using proactor = new Proactor();
    const { ring } = proactor;
    using memory = alloc(64);
    ring.registerBuffersSparse(1);
    ring.registerFilesSparse(1);
    const refusal = { name: "TypeError", message: /are a proactor's/ };
    assert.throws(() => ring.registerBuffersUpdateTag(0, [memory], [1]), refusal);
    assert.throws(() => ring.registerFilesUpdateTag(0, [0], [1]), refusal);
    assert.equal(ring.registerBuffersUpdateTag(0, [memory]), 1);
    assert.equal(ring.registerFilesUpdateTag(0, [0]), 1);
    ring.unregisterBuffers();
    ring.unregisterFiles();
    await proactor.timeout(1);
    assert.equal(proactor.counters.stale, 0);
  });
});

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
