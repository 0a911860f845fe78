// Tests the tests: runs them in runtimes whose completions are wrong, which they must notice.
// `npm run mutants [-- --runtime bun|deno] [--conformance] [parts of file names]`; with `--conformance` that suite alone.
//
// A first run changes nothing and finds out which tests consume a completion that a mutant would change. Then each
// mutant runs with the tests that it concerns. One that passes all the same has survived, unless the mutant did nothing
// in it this time.

import { spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

import { main, root } from "./project.mjs";
import { parseArguments, runtimeEnvironment } from "./runtimes.mjs";
import { setUp } from "./setup.mjs";
import { findTests } from "./suite.mjs";

/** The share of the tests concerned that must fail. */
const wanted = 0.9;
/** How many processes at once: what tests do most is to wait. */
const width = 4;
/** After so long without any news a process hangs. */
const stallMs = { first: 120_000, mutant: 20_000 };

const standIn = "test/mutants/node-test.ts";

main(async (args) => {
  setUp(["shim", "harness", "launchers"]);
  const { runtimes, rest } = parseArguments(args);
  const filters = rest.filter((arg) => arg !== "--conformance");
  const folders = rest.includes("--conformance") ? ["test/conformance"] : ["test", "test/conformance"];
  const files = folders.flatMap((folder) => findTests(folder, filters));
  const folder = mkdtempSync(join(tmpdir(), "uring-mutants-"));
  try {
    let enough = true;
    for (const runtime of runtimes) enough = (await runMutants(runtime, files, folder)) && enough;
    return enough ? 0 : 1;
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** Whether every mutant was noticed by enough tests. */
async function runMutants(runtime, files, folder) {
  console.log(`\n== ${runtime.title}`);
  const importMap = writeImportMap(folder);
  const runFile = (file, plan, stall) =>
    runToTheEnd({
      runtime,
      file,
      plan,
      stall,
      importMap,
      base: mkdtempSync(join(folder, `${runtime.name}-`)),
    });

  const first = await inParallel(files, (file) => runFile(file, {}, stallMs.first));
  const silent = files.filter((_, i) => first[i].length === 0);
  for (const file of silent) console.log(`no test ran: ${file}`);
  const tests = first.flatMap((outcomes, i) => outcomes.map((test) => ({ ...test, file: files[i] })));
  const broken = tests.filter(({ verdict }) => verdict !== "passed");
  if (broken.length > 0) console.log("\nleft out, as they fail without a mutant:");
  print(broken);

  const sound = tests.filter(({ verdict }) => verdict === "passed");
  const mutants = [...new Set(sound.flatMap(({ touched }) => [...touched]))].sort();
  const jobs = mutants.flatMap((mutant) =>
    files.map((file) => {
      const concerned = sound.filter((test) => test.file === file && test.touched.has(mutant));
      return { mutant, file, times: concerned.map(({ name, ms }) => [name, ms]) };
    }),
  );
  const work = jobs.filter(({ times }) => times.length > 0);
  const outcomes = await inParallel(work, async ({ mutant, file, times }) => {
    const results = await runFile(file, { mutant, tests: Object.fromEntries(times) }, stallMs.mutant);
    return results.map((result) => ({ ...result, mutant, file }));
  });
  return report(mutants, outcomes.flat());
}

function report(mutants, outcomes) {
  const rows = mutants.map((mutant) => {
    const relevant = outcomes.filter(
      (o) => o.mutant === mutant && (o.verdict !== "passed" || o.touched.size > 0),
    );
    const survivors = relevant.filter(({ verdict }) => verdict === "passed");
    const inVain = relevant.filter((test) => test.inVain || test.verdict === "hung").length;
    return {
      mutant,
      relevant: relevant.length,
      killed: relevant.length - survivors.length,
      inVain,
      survivors,
    };
  });
  for (const { mutant, survivors } of rows) {
    if (survivors.length > 0) console.log(`\nsurvivors of "${mutant}":`);
    print(survivors);
  }
  console.log(
    `\n${"mutant".padEnd(22)} ${"tests".padStart(6)} ${"failed".padStart(7)} ${"share".padStart(8)}  failed by waiting in vain`,
  );
  for (const { mutant, relevant, killed, inVain } of rows) {
    const share = `${((100 * killed) / relevant).toFixed(1)} %`;
    console.log(
      `${mutant.padEnd(22)} ${String(relevant).padStart(6)} ${String(killed).padStart(7)} ${share.padStart(8)}  ${inVain}`,
    );
  }
  return rows.every(({ relevant, killed }) => killed >= wanted * relevant);
}

/** Lists tests, those that differ in the kind of ring alone on one line. */
function print(tests) {
  const kinds = new Map();
  for (const { file, name } of tests) {
    const [, what, kind] = name.match(/^(.*?)(?: \[(\w+)\])?$/);
    const line = `  ${file}: ${what}`;
    kinds.set(line, [...(kinds.get(line) ?? []), ...(kind === undefined ? [] : [kind])]);
  }
  for (const [line, list] of kinds) console.log(list.length === 0 ? line : `${line} [${list.join(", ")}]`);
}

/** Runs a file, anew for the tests that are left each time one takes the process along: what became of its tests. */
async function runToTheEnd({ runtime, file, plan, stall, importMap, base }) {
  const trace = join(base, "trace");
  const planFile = join(base, "plan.json");
  writeFileSync(planFile, JSON.stringify({ ...plan, trace }));
  const args = runtime.test(join(base, "report.xml"), [`./${file}`], { preload: standIn, importMap });
  const env = { ...runtimeEnvironment(), URING_MUTANT_PLAN: planFile };
  for (let begun = -1; ; ) {
    const ended = await runProcess(runtime.executable, args, { env, trace, stall, log: join(base, "log") });
    const outcomes = readTrace(trace);
    const complete = ended && outcomes.every(({ verdict }) => verdict !== "hung");
    if (complete || outcomes.length === begun) return outcomes;
    begun = outcomes.length;
  }
}

/** Whether a process ended of itself, having run what there was. It is killed once its trace grows no longer. */
function runProcess(program, args, { env, trace, stall, log }) {
  const output = openSync(log, "w");
  const child = spawn(program, args, { cwd: root, env, stdio: ["ignore", output, output] });
  closeSync(output);
  let size = -1;
  let since = Date.now();
  const timer = setInterval(() => {
    const now = statSync(trace, { throwIfNoEntry: false })?.size ?? 0;
    if (now !== size) {
      size = now;
      since = Date.now();
    } else if (Date.now() - since > stall) {
      child.kill("SIGKILL");
    }
  }, 500);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (_, signal) => {
      clearInterval(timer);
      resolve(signal === null);
    });
  });
}

/** The tests in a trace: `passed`, `failed`, or `hung` where nothing tells how they ended. */
function readTrace(trace) {
  const tests = new Map();
  const lines = existsSync(trace) ? readFileSync(trace, "utf8").trimEnd().split("\n") : [];
  for (const { test: name, event, mutants, milliseconds, error } of lines.map((line) => JSON.parse(line))) {
    if (!tests.has(name)) tests.set(name, { name, verdict: "hung", ms: 0, touched: new Set() });
    const test = tests.get(name);
    if (event === "touched") for (const mutant of mutants) test.touched.add(mutant);
    if (event === "passed") Object.assign(test, { verdict: "passed", ms: milliseconds });
    if (event === "failed")
      Object.assign(test, { verdict: "failed", inVain: error.startsWith("OutOfPatience") });
  }
  return [...tests.values()];
}

/** Deno's own map, with the module that stands in for `node:test`. Another map takes the place of its configuration's. */
function writeImportMap(folder) {
  const { imports } = JSON.parse(readFileSync(join(root, "deno.json"), "utf8"));
  const url = (path) => pathToFileURL(join(root, path)).href;
  const absolute = Object.entries({ ...imports, "node:test": standIn }).map(([name, path]) => [
    name,
    url(path),
  ]);
  const map = {
    imports: Object.fromEntries(absolute),
    scopes: { [url(standIn)]: { "node:test": "node:test" } },
  };
  const file = join(folder, "imports.json");
  writeFileSync(file, JSON.stringify(map));
  return file;
}

/** The results of work on every item, `width` of them at once. */
async function inParallel(items, work) {
  const results = [];
  const next = items.entries();
  const worker = async () => {
    for (const [i, item] of next) results[i] = await work(item);
  };
  await Promise.all(Array.from({ length: width }, worker));
  return results;
}
