// The whole suite in each runtime: `npm test [-- --runtime bun|deno] [parts of file names]`.
// The last line is always the sum over the runtimes: "N passed, N failed, N skipped".

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { release, tmpdir } from "node:os";
import { join } from "node:path";

import { readJunit } from "./junit.mjs";
import { main, root, run, Stop } from "./project.mjs";
import { parseArguments, runtimeEnvironment } from "./runtimes.mjs";
import { setUp } from "./setup.mjs";

// A thread that is blocked in the kernel is beyond the runtimes' own time limits.
const longestRun = 9 * 60_000;

main((args) => {
  setUp(["shim", "harness"]);
  const { runtimes, rest } = parseArguments(args);
  const files = findTests(rest);
  const reports = mkdtempSync(join(tmpdir(), "uring-test-"));
  try {
    const results = runtimes.map((runtime) => runSuite(runtime, files, join(reports, `${runtime.name}.xml`)));
    for (const result of results) refuseSkips(result);
    console.log("");
    for (const { title, failed } of results) {
      for (const name of failed) console.log(`${title}: failed: ${name}`);
    }
    for (const { title, ...counts } of results) console.log(`${title}: ${summary([counts])}`);
    console.log(summary(results));
    const failed = results.some((result) => result.failed.length > 0);
    return failed ? 1 : 0;
  } finally {
    rmSync(reports, { recursive: true });
  }
});

function findTests(filters) {
  const files = readdirSync(join(root, "test"))
    .filter((name) => name.endsWith(".test.ts"))
    .filter((name) => filters.length === 0 || filters.some((filter) => `test/${name}`.includes(filter)))
    .sort();
  if (files.length === 0) throw new Stop(`no test file matches ${filters.join(" ")}`);
  return files.map((name) => `test/${name}`);
}

function runSuite({ title, executable, test }, files, report) {
  console.log(`\n== ${title}`);
  const options = { env: runtimeEnvironment(), timeout: longestRun, killSignal: "SIGKILL" };
  const code = run(
    executable,
    test(
      report,
      files.map((file) => `./${file}`),
    ),
    options,
  );
  const { files: reported, ...counts } = readJunit(report);
  // A file that could not be loaded is in no report; a crash leaves no report at all.
  if (reported.size > 0) {
    const silent = files.filter((file) => !reported.has(file));
    counts.failed.push(...silent.map((file) => `${file}, of which no test ran`));
  }
  if (code !== 0 && counts.failed.length === 0)
    counts.failed.push(`the run as a whole, which ended with ${code}`);
  return { title, ...counts };
}

/** As root on a current kernel everything can run: there a skip that is not on the list is a failure. */
function refuseSkips(result) {
  const [major = 0, minor = 0] = release().split(".").map(Number);
  if (process.getuid?.() !== 0 || major < 6 || (major === 6 && minor < 18)) return;
  const allowed = new Set(JSON.parse(readFileSync(join(root, "test/allowed-skips.json"), "utf8")));
  const refused = result.skipped.filter((name) => !allowed.has(name));
  result.skipped = result.skipped.filter((name) => allowed.has(name));
  result.failed.push(...refused.map((name) => `${name} (skipped, but not in test/allowed-skips.json)`));
}

function summary(results) {
  const sum = (key) => results.reduce((total, result) => total + result[key].length, 0);
  return `${sum("passed")} passed, ${sum("failed")} failed, ${sum("skipped")} skipped`;
}
