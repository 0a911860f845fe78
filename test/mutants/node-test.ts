// Stands in for `node:test` in a mutant runtime, to tell test by test what the mutant did and whether that was noticed.
// `scripts/mutants.mjs` has Deno's import map lead here, and has Bun load it before the test file.

import { appendFileSync, existsSync, readFileSync } from "node:fs";
import * as real from "node:test";
import { type Mutant, mutants } from "./mutants.ts";
import { mutate, OutOfPatience, record, setWatch } from "./runtime.ts";

/** What to do, as the script has written it. */
interface Plan {
  /** The mutant to run with; none to find out which tests each would concern. */
  readonly mutant?: string;
  /** The tests to run, with the milliseconds they took without a mutant; without it all, for as long as they take. */
  readonly tests?: Readonly<Record<string, number>>;
  /** A file that gets a line of JSON for each `Event`. */
  readonly trace: string;
}

/** What happened to a test. Without an end it hung, or took the process along. */
export type Event =
  | { readonly test: string; readonly event: "start" }
  | { readonly test: string; readonly event: "touched"; readonly mutants: readonly string[] }
  | { readonly test: string; readonly event: "passed"; readonly milliseconds: number }
  | { readonly test: string; readonly event: "failed"; readonly error: string };

type Body = (context: real.TestContext) => void | Promise<void>;

const plan: Plan = JSON.parse(readFileSync(process.env.URING_MUTANT_PLAN as string, "utf8"));

/** The tests that a process before this one has begun: the last of them was its end. */
const begun = new Set(
  existsSync(plan.trace)
    ? readFileSync(plan.trace, "utf8")
        .trimEnd()
        .split("\n")
        .map((line) => (JSON.parse(line) as Event).test)
    : [],
);

const names = plan.mutant === undefined ? Object.keys(mutants) : [plan.mutant];
if (plan.mutant === undefined) record(Object.values(mutants));
else mutate(mutants[plan.mutant] as Mutant);

/** What a test may take under a mutant beyond twice the time it took without: more is waiting for what is lost. */
const GRACE_MS = 500;
/** What a wait may take, once something is lost, beyond the time that the whole test took without. */
const WAIT_GRACE_MS = 150;

export const describe: typeof real.describe = real.describe;
export const test: typeof real.test = watched(real.test);
export const it: typeof real.it = watched(real.it);

/** `test` with each body observed. */
function watched<Test extends typeof real.test | typeof real.it>(original: Test): Test {
  const make = (name: string, second: real.TestOptions | Body, third?: Body) => {
    const [options, body] = typeof second === "function" ? [{}, second] : [second, third as Body];
    return original(name, options, (context) =>
      observe((context as real.TestContext).fullName, () => body(context as real.TestContext)),
    );
  };
  return make as unknown as Test;
}

function observe(name: string, body: () => void | Promise<void>): void | Promise<void> {
  const usual = plan.tests === undefined ? Number.POSITIVE_INFINITY : plan.tests[name];
  if (usual === undefined || begun.has(name)) return;
  const tell = (event: Record<string, unknown>) =>
    appendFileSync(plan.trace, `${JSON.stringify({ test: name, ...event })}\n`);
  const started = performance.now();
  const limit = 2 * usual + GRACE_MS;
  let known = 0;
  tell({ event: "start" });
  setWatch({
    deadline: started + limit,
    patience: usual + WAIT_GRACE_MS,
    touched(bits) {
      const fresh = bits & ~known;
      if (fresh === 0) return;
      known |= fresh;
      tell({ event: "touched", mutants: names.filter((_, bit) => (fresh & (1 << bit)) !== 0) });
    },
  });
  const end = (outcome: Record<string, unknown>) => {
    setWatch(undefined);
    tell(outcome);
  };
  const pass = () => end({ event: "passed", milliseconds: performance.now() - started });
  const fail = (error: unknown) => end({ event: "failed", error: String(error) });

  let running: void | Promise<void>;
  try {
    running = body();
  } catch (error) {
    fail(error);
    throw error;
  }
  if (running === undefined) return pass();
  // What such a test still does would be taken for the next one's doing: this process ends with it.
  const timer = limit === Number.POSITIVE_INFINITY ? undefined : setTimeout(giveUp, 2 * limit);
  function giveUp() {
    fail(new OutOfPatience());
    process.exit(1);
  }
  return running.then(
    () => {
      clearTimeout(timer);
      pass();
    },
    (error) => {
      clearTimeout(timer);
      fail(error);
      throw error;
    },
  );
}

if ("Bun" in globalThis) {
  // A name that is no literal, or Deno's type checker would look for the module.
  const bunTest: string = "bun:test";
  const { mock } = await import(bunTest);
  mock.module("node:test", () => ({ ...real, test, it }));
}
