import { alloc, Proactor } from "uring";
import { pipe } from "./harness.ts";
import type { Random } from "./random.ts";
import { writesFromThread } from "./system.ts";
import { Watchdog } from "./watchdog.ts";

const LANES = 8;
/** How many bytes a thread writes before the next takes its place, with other pauses. */
const BATCH = 1000;
const X = "x".charCodeAt(0);

/** Nothing is late by so much that is not lost. */
const STUCK_MS = 20_000;

/**
 * Waits for bytes that other threads write, one after the other on each of a few proactors, until so many wakes have
 * brought one. Each proactor has no more than one operation in flight, so that nothing but a wake makes it go on.
 */
export async function ringDoorbells(
  count: number,
  random: Random,
  fail: (message: string) => never,
): Promise<object> {
  using watchdog = new Watchdog(fail);
  const start = performance.now();
  let completions = 0;
  let seen = 0;
  const timer = setInterval(() => {
    if (completions === seen) fail(`no byte has come for ${STUCK_MS} ms, after ${completions}`);
    seen = completions;
  }, STUCK_MS);
  const wakes = await Promise.all(
    Array.from({ length: LANES }, async () => {
      const proactor = new Proactor({ entries: 8, cqEntries: 64 });
      watchdog.watch(proactor);
      using ends = pipe();
      using memory = alloc(64);
      while (proactor.counters.wakes < count / LANES) {
        const writer = writesFromThread(ends.write, {
          count: BATCH,
          pauseMs: (20 + random.below(200)) / 1000,
        });
        for (let i = 0; i < BATCH; i++) {
          memory.bytes[0] = 0;
          const got = await proactor.read(ends.read, memory, { length: 1 });
          if (got !== 1 || memory.bytes[0] !== X) fail(`a read gave ${got} bytes, ${memory.bytes[0]}`);
          completions++;
        }
        if (writer.join() !== BATCH) fail("a thread did not write what it was to");
      }
      const { stale, wakes } = proactor.counters;
      if (stale !== 0 || proactor.inFlight !== 0) fail(`${stale} stale, ${proactor.inFlight} in flight`);
      watchdog.forget(proactor);
      const { leaked } = await proactor.close();
      if (leaked !== 0) fail(`close has leaked ${leaked} operations`);
      return wakes;
    }),
  );
  clearInterval(timer);
  const seconds = (performance.now() - start) / 1000;
  return { completions, wakes: wakes.reduce((sum, one) => sum + one, 0), seconds };
}
