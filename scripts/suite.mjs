// Runs test files in a runtime and tells what became of them: what `npm test` and `npm run conformance` share.

import { closeSync, openSync, readdirSync, readFileSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";

import { readJunit } from "./junit.mjs";
import { root, run, Stop } from "./project.mjs";
import { runtimeEnvironment } from "./runtimes.mjs";

const mostSkips = 12;

/** The test files of a folder of the project, those whose path holds any of the filters, if there are filters. */
export function findTests(folder, filters) {
  return readdirSync(join(root, folder))
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => `${folder}/${name}`)
    .filter((path) => filters.length === 0 || filters.some((filter) => path.includes(filter)))
    .sort();
}

/**
 * Runs files in one process of a runtime, ended after `timeout` milliseconds: the names of tests that passed, failed and
 * were skipped.
 *
 * @param options `env` further variables; `gc` whether tests can force a garbage collection; `preload` a module to load
 * before each file; `output` a file to write what the runtime prints to, by default the terminal
 */
export function runFiles({ executable, test }, files, report, { timeout, env, gc = false, preload, output }) {
  const paths = files.map((file) => `./${file}`);
  const log = output === undefined ? "inherit" : openSync(output, "w");
  const code = run(executable, test(report, paths, { gc, preload }), {
    env: { ...runtimeEnvironment(), ...env },
    // A thread that is blocked in the kernel is beyond the runtimes' own time limits.
    timeout,
    killSignal: "SIGKILL",
    stdio: ["ignore", log, log],
  });
  if (log !== "inherit") closeSync(log);
  const { files: reported, ...counts } = readJunit(report);
  // A file that could not be loaded is in no report; a crash leaves no report at all.
  if (reported.size > 0) {
    // Deno reports the place of the call that makes a test: for all of the conformance tests one and the same file.
    const ids = new Set([...counts.passed, ...counts.failed, ...counts.skipped].map(conformanceId));
    const silent = files.filter((file) => !reported.has(file) && !idsOf(file).some((id) => ids.has(id)));
    counts.failed.push(...silent.map((file) => `${file}, of which no test ran`));
  }
  if (code !== 0 && counts.failed.length === 0) {
    counts.failed.push(`the run as a whole, which ended with ${code}`);
  }
  return counts;
}

/** The catalogue of behaviours: for each group's name its ids. */
export function catalogue() {
  const { groups } = JSON.parse(readFileSync(join(root, "test/data/conformance.json"), "utf8"));
  return new Map(Object.entries(groups).map(([name, ids]) => [name, Object.keys(ids)]));
}

/** The ids of the group that a conformance file shows; none for another file. */
function idsOf(file) {
  const group = file.match(/^test\/conformance\/(.*)\.test\.ts$/)?.[1];
  return catalogue().get(group) ?? [];
}

/** The behaviours that may go unshown, each with the reason, by the catalogue's id. */
export function allowedSkips() {
  const allowed = JSON.parse(readFileSync(join(root, "test/conformance/allowed-skips.json"), "utf8"));
  const count = Object.keys(allowed).length;
  if (count > mostSkips) {
    throw new Stop(`test/conformance/allowed-skips.json lists ${count} ids: ${mostSkips} is the limit`);
  }
  return allowed;
}

/** Whether everything can run here, as root on a current kernel: then a skip must be on a list. */
export function skipsAreRefused() {
  const [major = 0, minor = 0] = release().split(".").map(Number);
  return process.getuid?.() === 0 && (major > 6 || (major === 6 && minor >= 18));
}

/** The catalogue's id at the head of a conformance test's name; undefined for another test. */
export function conformanceId(name) {
  return name.match(/^([\w-]+(?:\/[\w.-]+)+): /)?.[1];
}
