// What is published: dist/ (JavaScript and declarations) and prebuilt/ (the shim, one file an architecture).
// The file of the other architecture comes from a cross compiler: `CC=aarch64-linux-gnu-gcc npm run build`.
// `--release` refuses what must not be published.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { build, compilerArch, listArtifacts, staticLiburing } from "./native.mjs";
import { main, root, run, Stop } from "./project.mjs";
import { findRuntimes } from "./runtimes.mjs";
import { findLiburing, setUp } from "./setup.mjs";

const archs = ["x64", "arm64"];

main((args) => {
  setUp([]);
  buildPrebuilt();
  const [bun] = findRuntimes("bun");
  // tsup wants a newer Node than the oldest we support; the pinned Bun is always there.
  attempt(bun.executable, ["--bun", "node_modules/tsup/dist/cli-default.js", "--silent"]);
  for (const runtime of ["bun", "deno", "none"]) {
    const output = ["--noEmit", "false", "--emitDeclarationOnly", "--rootDir", "src", "--outDir", "dist"];
    attempt("node_modules/.bin/tsc", ["-p", `src/${runtime}`, ...output]);
  }
  if (args.includes("--release")) checkRelease();
  return 0;
});

function buildPrebuilt() {
  const arch = compilerArch();
  if (!archs.includes(arch)) throw new Stop(`uring has no use for a compiler for ${arch}`);
  const liburing = findLiburing();
  if (liburing !== staticLiburing)
    throw new Stop("what is published needs liburing's static library, liburing.a");
  const [shim] = listArtifacts(["shim"]);
  build({ ...shim, output: prebuilt(arch) }, liburing);
}

function checkRelease() {
  const missing = archs.map(prebuilt).filter((file) => !existsSync(join(root, file)));
  if (missing.length > 0) throw new Stop(`not built: ${missing.join(", ")}`);
  const [npm, deno] = ["package.json", "deno.json"].map((file) => {
    return JSON.parse(readFileSync(join(root, file), "utf8")).version;
  });
  if (npm !== deno) throw new Stop(`package.json is at ${npm}, deno.json at ${deno}`);
}

function prebuilt(arch) {
  return `prebuilt/linux-${arch}.so`;
}

function attempt(program, args) {
  if (run(program, args) !== 0) throw new Stop(`${program} failed`);
}
