import { alloc, encodeTimespec, Proactor, type Receiver, type Sqe } from "uring";

import { interleave, type Side, smoke } from "../support/measure.ts";
import { heading, line, single } from "../support/table.ts";
import { Floor } from "./floor.ts";
import { callbackSide, lanesSide } from "./lanes.ts";

const DEPTH = 64;
const CQ_ENTRIES = 65536;
const MANY = smoke ? [DEPTH, 1000] : [DEPTH, 1000, 50_000];
const FLAT = 1.3;
const AT_ONCE = smoke ? 10_000 : 100_000;

/** The cost of an operation by how many others are in flight on the same ring. */
export async function benchInFlight(): Promise<void> {
  await benchBesides();
  await benchAtOnce();
}

/** Some that complete beside ever more that do not. */
async function benchBesides(): Promise<void> {
  heading(`No-ops, ${DEPTH} at a time, beside operations that wait, ns each`);
  using hour = encodeTimespec({ sec: 3600, nsec: 0 }, alloc(16));
  const nobody: Receiver = { complete() {} };
  const proactors: Proactor[] = [];
  try {
    for (const waiting of MANY) {
      const proactor = new Proactor({ cqEntries: CQ_ENTRIES });
      proactors.push(proactor);
      for (let i = 0; i < waiting; i++) (proactor.entry(nobody) as Sqe).prepTimeout(hour, 0, 0);
      proactor.flush();
    }
    const results = await interleave(
      proactors.map((proactor, i) => {
        return lanesSide(`${MANY[i]} in flight`, DEPTH, async (_, operations) => {
          for (let done = 0; done < operations; done++) await proactor.nop();
        });
      }),
    );
    for (const [i, result] of results.entries())
      line(result, ...(i > 0 && results[0] ? [{ with: results[0], bar: FLAT }] : []));
  } finally {
    for (const proactor of proactors) await proactor.close();
  }
}

/** All of them called at once, again and again. */
async function benchAtOnce(): Promise<void> {
  heading("No-ops by how many at a time, ns each");
  await using proactor = new Proactor({ cqEntries: CQ_ENTRIES });
  for (const side of [promises, callbacks, floor]) {
    const bar = side === floor ? {} : { bar: FLAT };
    const results = await interleave(MANY.map((depth) => side(proactor, depth)));
    for (const [i, result] of results.entries())
      line(result, ...(i > 0 && results[0] ? [{ with: results[0], ...bar }] : []));
  }

  const start = performance.now();
  let settled = 0;
  const settle = () => {
    settled++;
  };
  await Promise.all(Array.from({ length: AT_ONCE }, () => proactor.nop().then(settle)));
  const each = ((performance.now() - start) * 1e6) / AT_ONCE;
  if (settled !== AT_ONCE) throw new Error(`${settled} of ${AT_ONCE} operations settled`);
  single(`${AT_ONCE.toLocaleString("en")} called at once, all settled`, each);
}

function promises(proactor: Proactor, depth: number): Side {
  return lanesSide(`${depth}, a promise each`, depth, async (_, operations) => {
    for (let done = 0; done < operations; done++) await proactor.nop();
  });
}

function callbacks(proactor: Proactor, depth: number): Side {
  return callbackSide(`${depth}, callbacks`, proactor, depth, (sqe) => sqe.prepNop());
}

/** What so many promises cost by themselves. */
function floor(_: Proactor, depth: number): Side {
  const promises = new Floor(depth);
  return lanesSide(`${depth} promises alone`, depth, async (_, operations) => {
    for (let done = 0; done < operations; done++) await promises.call();
  });
}
