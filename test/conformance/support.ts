import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { Ring, RingOptions, Sqe } from "uring";
import {
  IORING_SETUP_CQE_MIXED,
  IORING_SETUP_CQE32,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_SETUP_SQE128,
  IORING_SETUP_SQPOLL,
} from "uring/abi";
import { patiently } from "../support/child.ts";
import { openFds, untilFds } from "../support/ring.ts";
import { PATIENCE_MS } from "./durations.ts";

/** The kinds of ring that behaviours are shown on. What an operation does must not depend on the kind. */
export const ringTypes: Record<RingType, RingOptions> = {
  default: {},
  mapped: { memory: "mapped" },
  defer: { flags: IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN },
  sqpoll: { flags: IORING_SETUP_SQPOLL, sqThreadIdle: 100 },
  sqe128: { flags: IORING_SETUP_SQE128 },
  cqe32: { flags: IORING_SETUP_CQE32 },
  mixed: { flags: IORING_SETUP_CQE_MIXED },
};

export type RingType = "default" | "mapped" | "defer" | "sqpoll" | "sqe128" | "cqe32" | "mixed";

/** Every kind of ring: for entries that are about operations. */
export const allRings = Object.keys(ringTypes) as RingType[];

/** A completion as tests compare it. */
export interface Completion {
  userData: number;
  res: number;
  flags: number;
}

/** With URING_TEST_GC garbage is collected before completions are: what operations point to must survive it. */
const collectGarbage = process.env.URING_TEST_GC === undefined ? () => {} : forcedCollection();

function forcedCollection(): () => void {
  const { Bun, gc } = globalThis as { Bun?: { gc(force: boolean): void }; gc?: () => void };
  if (Bun !== undefined) return () => Bun.gc(true);
  if (gc === undefined) throw new Error("URING_TEST_GC needs --v8-flags=--expose-gc");
  return gc;
}

/** What a test of one behaviour on one kind of ring works with; everything made by it is gone when the test ends. */
export class Bench {
  readonly type: RingType;
  readonly #rings: Ring[] = [];
  #collections = 0;
  readonly #cleanups: (() => void)[] = [];
  #folder: string | undefined;

  constructor(type: RingType) {
    this.type = type;
  }

  /** A ring of the kind under test. `flags` are added to the kind's own. Closed after the test, which must leak nothing. */
  ring(options: RingOptions = {}): Ring {
    const kind: RingOptions = ringTypes[this.type];
    const flags = (kind.flags ?? 0) | (options.flags ?? 0);
    const ring = patiently({ entries: 32, ...kind, ...options, flags: flags >>> 0 });
    this.#rings.push(ring);
    return ring;
  }

  /** A path in a folder of the test's own. */
  path(name: string): string {
    this.#folder ??= mkdtempSync(join(tmpdir(), "uring-"));
    return join(this.#folder, name);
  }

  /** Runs when the test is over, the last one given first. */
  defer(cleanup: () => void): void {
    this.#cleanups.push(cleanup);
  }

  /** Submits what is queued and collects exactly `count` completions, in the order they came. */
  complete(ring: Ring, count: number): Completion[] {
    ring.submit();
    return this.collect(ring, count);
  }

  /** Collects exactly `count` completions, in the order they came. Fails when they do not come. */
  collect(ring: Ring, count: number): Completion[] {
    this.#collectGarbage();
    const found: Completion[] = [];
    const end = performance.now() + PATIENCE_MS;
    for (;;) {
      ring.drain((userData, res, flags) => found.push({ userData, res, flags }));
      if (found.length >= count) break;
      assert.ok(
        performance.now() < end,
        `${found.length} of ${count} completions came: ${JSON.stringify(found)}`,
      );
      ring.submitAndWait(1, { timeout: 100 });
    }
    assert.equal(found.length, count, JSON.stringify(found));
    return found;
  }

  /** Submits what is queued and takes one completion; further ones stay where they are. Fails when none comes. */
  next(ring: Ring): Completion {
    ring.submit();
    this.#collectGarbage();
    const cqe = ring.waitCqe({ timeout: PATIENCE_MS });
    assert.ok(cqe, "no completion came");
    const { userData, res, flags } = cqe;
    ring.cqAdvance(1);
    return { userData, res, flags };
  }

  /** Collects the completions that come, at least one, up to a moment in which none does. */
  collectSome(ring: Ring): Completion[] {
    this.#collectGarbage();
    const found: Completion[] = [];
    const end = performance.now() + PATIENCE_MS;
    for (let idle = false; !idle && performance.now() < end; ) {
      const before = found.length;
      ring.submitAndWait(1, { timeout: 20 });
      ring.drain((userData, res, flags) => found.push({ userData, res, flags }));
      idle = found.length > 0 && found.length === before;
    }
    assert.ok(found.length > 0, "no completion came");
    return found;
  }

  /** One operation, already described on an entry: its completion. */
  one(ring: Ring): Completion {
    const [completion] = this.complete(ring, 1);
    return completion as Completion;
  }

  /** Runs one operation, described by `fill`, on a ring that does nothing else; its result. It completes without flags. */
  run(ring: Ring, fill: (sqe: Sqe) => unknown): number {
    const sqe = ring.getSqe();
    assert.ok(sqe, "the submission queue is full");
    fill(sqe);
    sqe.setData64(0x1_2345_6789);
    const { userData, res, flags } = this.one(ring);
    assert.deepEqual([userData, flags], [0x1_2345_6789, 0]);
    return res;
  }

  /** Makes sure that no completion is there, nor comes within some milliseconds. */
  quiet(ring: Ring, milliseconds = 50): void {
    const found: Completion[] = [];
    const end = performance.now() + milliseconds;
    do {
      ring.submitAndWait(1, { timeout: Math.max(end - performance.now(), 0) });
      ring.drain((userData, res, flags) => found.push({ userData, res, flags }));
    } while (found.length === 0 && performance.now() < end);
    assert.deepEqual(found, []);
  }

  /** What a test does thousands of times it does not need to do so often with a collection, which takes long. */
  #collectGarbage(): void {
    if (this.#collections++ < 32 || this.#collections % 64 === 0) collectGarbage();
  }

  /** @internal */
  end(): void {
    for (const cleanup of this.#cleanups.reverse()) cleanup();
    for (const ring of this.#rings) assert.deepEqual(ring.close({ deadline: PATIENCE_MS }), { leaked: 0 });
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true });
  }
}

/** How a behaviour is to be shown. */
export interface ConformanceOptions {
  /** The kinds of ring to show it on; one ring of default flags unless given. */
  rings?: readonly RingType[];
  /** Why it can not be shown here, as a probe of this machine has found; `false` where it can. */
  skip?: string | false;
  /** Milliseconds after which it has failed. */
  timeout?: number;
}

/**
 * Shows one behaviour of an entry of the conformance catalogue, on each kind of ring that the options name.
 *
 * @param id the entry's id, which stands first in the test's name
 * @param behaviour what the kernel and the library promise, in a few words
 */
export function conformance(
  id: string,
  behaviour: string,
  body: (bench: Bench) => void | Promise<void>,
  options: ConformanceOptions = {},
): void {
  const { rings = ["default"], skip = false, timeout = 60_000 } = options;
  // Neither runtime's report has the reason of a skip.
  const reason = skip === false ? "" : ` (skipped: ${skip})`;
  for (const type of rings) {
    test(`${id}: ${behaviour} [${type}]${reason}`, { skip, timeout }, async () => {
      const before = openFds().length;
      const bench = new Bench(type);
      try {
        await body(bench);
      } finally {
        bench.end();
      }
      await untilFds(before);
    });
  }
}
