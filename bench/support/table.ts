import { type Statistics, smoke } from "./measure.ts";

/** What a measurement is compared with. `bar` is the ratio of minima that must not be exceeded, where there is one. */
export interface Comparison {
  readonly with: Statistics;
  readonly bar?: number;
}

const WIDTHS = [9, 9, 9, 8, 7];

export function heading(title: string): void {
  const columns = ["min", "median", "max", "ratio", "bar"].map((text, i) =>
    text.padStart(WIDTHS[i] as number),
  );
  console.log(`\n${title.padEnd(48)}${columns.join("")}`);
}

/** Prints one line: nanoseconds an operation, and for each comparison the ratio of minima and whether it is within the bar. */
export function line(statistics: Statistics, ...comparisons: readonly Comparison[]): void {
  const { name, min, median, max } = statistics;
  const figures = [min, median, max].map((ns, i) => figure(ns).padStart(WIDTHS[i] as number)).join("");
  const [first, ...others] =
    comparisons.length > 0 ? comparisons.map((c) => verdict(min / c.with.min, c)) : [""];
  console.log(`  ${name.padEnd(46)}${figures}${first}`);
  for (const other of others) console.log(`${"".padEnd(48 + 27)}${other}`);
}

/** Prints what CPUs spent on an operation, compared likewise. */
export function cpuLine({ name, cpu }: Statistics, comparison?: Comparison): void {
  const compared = comparison === undefined ? "" : verdict(cpu / comparison.with.cpu, comparison);
  console.log(
    `  ${`${name}: CPU, mean`.padEnd(46)}${"".padEnd(9)}${figure(cpu).padStart(9)}${"".padEnd(9)}${compared}`,
  );
}

/** Prints one figure, what it is, and whether it is within the bar. */
export function single(name: string, value: number, bar?: number): void {
  const text = `  ${name.padEnd(46)}${figure(value).padStart(9)}${"".padEnd(18)}`;
  if (bar === undefined || smoke) console.log(text);
  else console.log(`${text}${"".padEnd(8)}${figure(bar).padStart(7)}  ${value <= bar ? "ok" : "MISSED"}`);
}

function verdict(ratio: number, { with: other, bar }: Comparison): string {
  const text = ratio.toFixed(3).padStart(WIDTHS[3] as number);
  if (bar === undefined || smoke)
    return `${text}${"-".padStart(WIDTHS[4] as number)}          of ${other.name}`;
  return `${text}${bar.toFixed(3).padStart(WIDTHS[4] as number)}  ${ratio <= bar ? "ok    " : "MISSED"}  of ${other.name}`;
}

function figure(ns: number): string {
  return ns >= 1000 ? ns.toFixed(0) : ns.toFixed(1);
}
