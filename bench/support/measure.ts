/** One of several ways to do the same work. */
export interface Side {
  readonly name: string;
  /** Operations are done in multiples of this. */
  readonly batch: number;
  /** Runs so many operations after some more for warming up; the nanoseconds they took, warming up left out. */
  round(operations: number): number | Promise<number>;
}

/** Nanoseconds an operation over all rounds of one side. */
export interface Statistics {
  readonly name: string;
  readonly min: number;
  readonly median: number;
  readonly max: number;
  /** Nanoseconds of this process's CPUs an operation, over all rounds. The shares of a CPU that threads had count too. */
  readonly cpu: number;
}

/** `URING_BENCH_SMOKE=1` or `--smoke`: a few short rounds that show that everything runs. Their figures mean little. */
export const smoke: boolean = process.env.URING_BENCH_SMOKE === "1" || process.argv.includes("--smoke");

/** Short ones, so that some fall between what else the machine does. */
const ROUNDS = smoke ? 7 : 81;
const ROUND_MS = smoke ? 1 : 12;

/** Times a synchronous loop as a side's round. */
export function timed(run: (operations: number) => void): (operations: number) => number {
  return (operations) => {
    run(operations / 8);
    const start = performance.now();
    run(operations);
    return (performance.now() - start) * 1e6;
  };
}

/** As `timed` for loops of promises. */
export function timedAsync(
  run: (operations: number) => Promise<void>,
): (operations: number) => Promise<number> {
  return async (operations) => {
    await run(operations / 8);
    const start = performance.now();
    await run(operations);
    return (performance.now() - start) * 1e6;
  };
}

/** Runs the sides' rounds in turn, so that what the machine does meanwhile meets them all alike. */
export async function interleave(sides: readonly Side[]): Promise<Statistics[]> {
  const lengths: number[] = [];
  for (const side of sides) lengths.push(await roundLength(side));
  const samples: number[][] = sides.map(() => []);
  const cpu = sides.map(() => 0);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, side] of sides.entries()) {
      const operations = lengths[i] as number;
      const before = process.cpuUsage();
      samples[i]?.push((await side.round(operations)) / operations);
      const { user, system } = process.cpuUsage(before);
      // Warming up, which is an eighth more, is used as well.
      cpu[i] = (cpu[i] as number) + ((user + system) * 1000) / (operations * 1.125) / ROUNDS;
    }
  }
  return sides.map((side, i) => summarize(side.name, samples[i] as number[], cpu[i] as number));
}

/** How many operations take about a round's time. Finding out warms engines up, which compile in the background. */
async function roundLength(side: Side): Promise<number> {
  let operations = 8 * side.batch;
  for (const end = performance.now() + 4 * ROUND_MS; ; ) {
    const ms = (await side.round(operations)) / 1e6;
    const wanted = Math.ceil((operations * ROUND_MS) / Math.max(ms, 0.01) / side.batch / 8) * side.batch * 8;
    if (performance.now() >= end) return wanted;
    operations = Math.min(wanted, 4 * operations);
  }
}

function summarize(name: string, samples: number[], cpu: number): Statistics {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (index: number) => sorted[index] as number;
  return { name, min: at(0), median: at(sorted.length >> 1), max: at(sorted.length - 1), cpu };
}
