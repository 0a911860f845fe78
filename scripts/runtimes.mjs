// The runtimes under test. They are the npm packages `bun` and `deno`, pinned by the lockfile.

import { statSync } from "node:fs";
import { join } from "node:path";

import { root, run, Stop } from "./project.mjs";

const archOfOven = process.arch === "arm64" ? "aarch64" : process.arch;

// The packages' install scripts put the executable in place. Where scripts are switched off, that place holds nothing
// or a few lines of text, and the executable is still in the package for this platform.
const runtimes = [
  {
    name: "bun",
    title: "Bun",
    places: () => ["bun/bin/bun.exe", `@oven/bun-linux-${archOfOven}${isMusl() ? "-musl" : ""}/bin/bun`],
    script: (file) => ["run", file],
    test: (report, files, { preload }) => [
      "test",
      ...(preload === undefined ? [] : [`--preload=./${preload}`]),
      "--timeout=120000",
      "--reporter=junit",
      `--reporter-outfile=${report}`,
      ...files,
    ],
  },
  {
    name: "deno",
    title: "Deno",
    places: () => ["deno/deno", `@deno/linux-${process.arch}-glibc/deno`],
    script: (file) => ["run", "--allow-all", file],
    test: (report, files, { gc, preload, importMap }) => [
      "test",
      "--allow-all",
      "--no-check",
      ...(preload === undefined ? [] : [`--preload=./${preload}`]),
      ...(gc ? ["--v8-flags=--expose-gc"] : []),
      ...(importMap === undefined ? [] : [`--import-map=${importMap}`]),
      `--junit-path=${report}`,
      ...files,
    ],
  },
];

const smallestExecutable = 1 << 20;

function findExecutable({ places }) {
  return places()
    .map((place) => join(root, "node_modules", place))
    .find((path) => {
      const stat = statSync(path, { throwIfNoEntry: false });
      return stat !== undefined && stat.size > smallestExecutable;
    });
}

/** Older npm installs the packages of both C libraries. */
function isMusl() {
  return process.report.getReport().header.glibcVersionRuntime === undefined;
}

/** The runtimes to use: all, or the one named. `executable` is undefined where its package is not installed. */
export function findRuntimes(name) {
  const chosen = runtimes.filter((runtime) => name === undefined || runtime.name === name);
  if (chosen.length === 0) throw new Stop(`unknown runtime ${name}: bun or deno`);
  return chosen.map((runtime) => ({ ...runtime, executable: findExecutable(runtime) }));
}

/** Takes `--runtime bun|deno` out of a script's arguments. */
export function parseArguments(args) {
  const at = args.indexOf("--runtime");
  if (at < 0) return { runtimes: findRuntimes(), rest: args };
  return {
    runtimes: findRuntimes(args[at + 1] ?? ""),
    rest: args.filter((_, index) => index !== at && index !== at + 1),
  };
}

/** Runs one TypeScript program in each runtime; gives the first exit code that is not 0. */
export function runInEach(runtimes, file, args) {
  const codes = runtimes.map(({ title, executable, script }) => {
    console.log(`\n== ${title}`);
    return run(executable, [...script(file), ...args], { env: runtimeEnvironment() });
  });
  return codes.find((code) => code !== 0) ?? 0;
}

/** The environment for a runtime: no look for updates. */
export function runtimeEnvironment() {
  return { ...process.env, DENO_NO_UPDATE_CHECK: "1" };
}
