// What is published: dist/ (JavaScript and declarations) and this machine's file of prebuilt/.

import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";

import { main, root, run, Stop } from "./project.mjs";
import { findRuntimes } from "./runtimes.mjs";
import { setUp } from "./setup.mjs";

main(() => {
  setUp(["shim"]);
  const [bun] = findRuntimes("bun");
  // tsup wants a newer Node than the oldest we support; the pinned Bun is always there.
  attempt(bun.executable, ["--bun", "node_modules/tsup/dist/cli-default.js"]);
  for (const runtime of ["bun", "deno", "none"]) {
    const output = ["--noEmit", "false", "--emitDeclarationOnly", "--rootDir", "src", "--outDir", "dist"];
    attempt("node_modules/.bin/tsc", ["-p", `src/${runtime}`, ...output]);
  }
  mkdirSync(join(root, "prebuilt"), { recursive: true });
  copyFileSync(join(root, "c/build/uring.so"), join(root, `prebuilt/linux-${process.arch}.so`));
  return 0;
});

function attempt(program, args) {
  if (run(program, args) !== 0) throw new Stop(`${program} failed`);
}
