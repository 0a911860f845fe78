// The whole suite in each runtime: `npm test [-- --runtime bun|deno] [parts of file names]`.
// The last line is always the sum over the runtimes: "N passed, N failed, N skipped".

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { main, root, Stop } from "./project.mjs";
import { parseArguments } from "./runtimes.mjs";
import { setUp } from "./setup.mjs";
import { allowedSkips, conformanceId, findTests, runFiles, skipsAreRefused } from "./suite.mjs";

const longestRun = 9 * 60_000;

main((args) => {
  setUp(["shim", "harness", "launchers"]);
  const { runtimes, rest } = parseArguments(args);
  const files = findTests("test", rest);
  const behaviours = findTests("test/conformance", rest);
  if (files.length + behaviours.length === 0) throw new Stop(`no test file matches ${rest.join(" ")}`);
  const reports = mkdtempSync(join(tmpdir(), "uring-test-"));
  try {
    const runs = [...(files.length > 0 ? [files] : []), ...behaviours.map((file) => [file])];
    const results = runtimes.map((runtime) => runSuite(runtime, runs, reports));
    for (const result of results) refuseSkips(result);
    console.log("");
    for (const { title, failed, reasons } of results) {
      for (const name of failed) {
        console.log(`${title}: failed: ${name}`);
        // Here once more: of a long log only the end may be at hand.
        console.log((reasons.get(name) ?? "").replace(/^(?=.)/gm, "    "));
      }
    }
    for (const { title, ...counts } of results) console.log(`${title}: ${summary([counts])}`);
    console.log(summary(results));
    const failed = results.some((result) => result.failed.length > 0);
    return failed ? 1 : 0;
  } finally {
    rmSync(reports, { recursive: true });
  }
});

/** Runs groups of files one after the other, a process each: what a behaviour does to its process stays there. */
function runSuite(runtime, runs, reports) {
  console.log(`\n== ${runtime.title}`);
  const counts = runs.map((files, i) =>
    runFiles(runtime, files, join(reports, `${runtime.name}-${i}.xml`), { timeout: longestRun }),
  );
  const all = (key) => counts.flatMap((count) => count[key]);
  const reasons = new Map(counts.flatMap((count) => [...count.reasons]));
  return {
    title: runtime.title,
    passed: all("passed"),
    failed: all("failed"),
    skipped: all("skipped"),
    reasons,
  };
}

/** As root on a current kernel everything can run: there a skip that is not on a list is a failure. */
function refuseSkips(result) {
  if (!skipsAreRefused()) return;
  const names = new Set(JSON.parse(readFileSync(join(root, "test/allowed-skips.json"), "utf8")));
  const ids = allowedSkips();
  const allowed = (name) => names.has(name) || ids[conformanceId(name)] !== undefined;
  const refused = result.skipped.filter((name) => !allowed(name));
  result.skipped = result.skipped.filter(allowed);
  result.failed.push(...refused.map((name) => `${name} (skipped, but on no list of allowed skips)`));
}

function summary(results) {
  const sum = (key) => results.reduce((total, result) => total + result[key].length, 0);
  return `${sum("passed")} passed, ${sum("failed")} failed, ${sum("skipped")} skipped`;
}
