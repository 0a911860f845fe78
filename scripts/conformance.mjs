// What the kernel promises and the library passes on, shown behaviour by behaviour in each runtime:
// `npm run conformance [-- --runtime bun|deno] [--gc] [groups]`. With `--gc` garbage is collected by force between
// submission and completion, so that what operations point to is seen to survive it.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { main, Stop } from "./project.mjs";
import { parseArguments } from "./runtimes.mjs";
import { setUp } from "./setup.mjs";
import { allowedSkips, catalogue, conformanceId, findTests, runFiles, skipsAreRefused } from "./suite.mjs";

const longestGroup = 4 * 60_000;

// A collection takes long in a large heap, and there are thousands.
const longestGroupWithGc = 15 * 60_000;

main((args) => {
  setUp(["shim", "harness"]);
  const { runtimes, rest } = parseArguments(args);
  const gc = rest.includes("--gc");
  const groups = chooseGroups(rest.filter((arg) => arg !== "--gc"));
  const folder = mkdtempSync(join(tmpdir(), "uring-conformance-"));
  try {
    const results = runtimes.map((runtime) => runCatalogue(runtime, groups, gc, folder));
    for (const { title, outcomes } of results) console.log(`${title}: ${totals(outcomes)}`);
    return results.every(({ outcomes }) => outcomes.every(({ verdict }) => !isFailure(verdict))) ? 0 : 1;
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** The catalogue's groups, or those named: `[name, ids]` each. */
function chooseGroups(names) {
  const groups = catalogue();
  const unknown = names.filter((name) => !groups.has(name));
  if (unknown.length > 0) {
    throw new Stop(`no group ${unknown.join(", ")}: there are ${[...groups.keys()].join(", ")}`);
  }
  return [...groups].filter(([name]) => names.length === 0 || names.includes(name));
}

function runCatalogue(runtime, groups, gc, folder) {
  console.log(`\n== ${runtime.title}${gc ? ", with forced garbage collections" : ""}`);
  const outcomes = groups.flatMap(([group, ids]) => runGroup(runtime, group, ids, gc, folder));
  console.log("");
  return { title: runtime.title, outcomes };
}

/** A group is a process of its own: a crash takes no other group with it. */
function runGroup(runtime, group, ids, gc, folder) {
  const files = findTests("test/conformance", [`/${group}.test.ts`]);
  const report = join(folder, `${runtime.name}-${group}.xml`);
  const output = join(folder, `${runtime.name}-${group}.txt`);
  const env = gc ? { URING_TEST_GC: "1" } : {};
  const timeout = gc ? longestGroupWithGc : longestGroup;
  const none = { passed: [], failed: [], skipped: [] };
  const started = performance.now();
  const results = files.length === 0 ? none : runFiles(runtime, files, report, { timeout, env, gc, output });
  console.log(`${group} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
  const outcomes = judge(ids, results);
  for (const { id, verdict, detail } of outcomes) {
    console.log(`  ${verdict.padEnd(7)} ${id}${detail === "" ? "" : `  (${detail})`}`);
  }
  if (results.failed.length > 0) console.log(readFileSync(output, "utf8").trimEnd());
  return outcomes;
}

/** What became of each id: one test that fails is a failure of it, and of a crash nobody knows what it hid. */
function judge(ids, { passed, failed, skipped }) {
  const known = new Set(ids);
  const outcomes = ids.map((id) => {
    const of = (names) => names.filter((name) => conformanceId(name) === id);
    const counts = { passed: of(passed).length, failed: of(failed), skipped: of(skipped) };
    if (counts.failed.length > 0) return { id, verdict: "FAIL", detail: counts.failed.join("; ") };
    const skip = judgeSkips(id, counts.skipped);
    if (skip?.verdict === "FAIL") return skip;
    if (counts.passed > 0) {
      const detail = [
        plural(counts.passed, "test"),
        ...(skip === undefined ? [] : [`a part ${skip.detail}`]),
      ];
      return { id, verdict: "pass", detail: detail.join(", ") };
    }
    return skip ?? { id, verdict: "missing", detail: "no test of it ran" };
  });
  const strange = [...passed, ...failed, ...skipped].filter((name) => !known.has(conformanceId(name)));
  return [
    ...outcomes,
    ...strange.map((name) => ({ id: name, verdict: "FAIL", detail: "not of this group's catalogue" })),
  ];
}

function judgeSkips(id, skipped) {
  if (skipped.length === 0) return undefined;
  const why = skipped.map((name) => name.match(/ \((skipped: .*)\)$/)?.[1] ?? "skipped")[0];
  if (skipsAreRefused() && allowedSkips()[id] === undefined) {
    return { id, verdict: "FAIL", detail: `${why}; not in test/conformance/allowed-skips.json` };
  }
  return { id, verdict: "skip", detail: why };
}

function isFailure(verdict) {
  return verdict === "FAIL" || verdict === "missing";
}

function totals(outcomes) {
  const count = (wanted) => outcomes.filter(({ verdict }) => verdict === wanted).length;
  const parts = [`${count("pass")} passed`, `${count("FAIL")} failed`, `${count("skip")} skipped`];
  if (count("missing") > 0) parts.push(`${count("missing")} missing`);
  return `${parts.join(", ")} of ${plural(outcomes.length, "behaviour")}`;
}

function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
