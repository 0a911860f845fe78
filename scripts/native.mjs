// Everything written in C: what is built from which folder, and how.

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { isInstalled, root, Stop } from "./project.mjs";

const warnings = ["-Wall", "-Wextra", "-Werror"];
const library = ["-fPIC", "-shared", "-fvisibility=hidden", "-Wl,-z,defs", "-Wl,--exclude-libs,ALL"];

/** Where `library` is set all files of a folder become that one shared library, else each file becomes a program. */
const targets = {
  // No libc: one file serves glibc and musl.
  shim: {
    folder: "c",
    library: "uring.so",
    flags: ["-std=c11", "-O2", ...warnings, ...library, "-nostdlib"],
  },
  // What tests need a process of C for.
  harness: {
    folder: "test/native",
    library: "harness.so",
    flags: ["-std=gnu11", "-O2", ...warnings, ...library],
  },
  // What tests start a runtime by, to confine it.
  launchers: { folder: "test/native/launch", flags: ["-std=gnu11", "-O2", ...warnings] },
  // The programs that benchmarks compare with.
  twins: { folder: "bench/c", flags: ["-std=gnu11", "-O3", "-march=native", ...warnings] },
};

export const staticLiburing = "-l:liburing.a";

const compiler = process.env.CC || "cc";
const [compilerProgram, ...compilerFlags] = compiler.trim().split(/\s+/);

/** What the named targets consist of: one entry a file to build, with its sources. */
export function listArtifacts(names = Object.keys(targets)) {
  return names.flatMap((name) => {
    const { folder, library, flags } = targets[name];
    const files = list(join(root, folder)).map((file) => `${folder}/${file}`);
    const sources = files.filter((file) => file.endsWith(".c"));
    const headers = files.filter((file) => file.endsWith(".h"));
    if (sources.length === 0) return [];
    if (library !== undefined) return [{ output: `${folder}/build/${library}`, sources, headers, flags }];
    return sources.map((source) => {
      return { output: `${folder}/build/${basename(source, ".c")}`, sources: [source], headers, flags };
    });
  });
}

/** Whether an artifact is missing, or older than a source or than this file, which holds its flags. */
export function isStale({ output, sources, headers }) {
  const built = modified(join(root, output));
  const inputs = [...sources, ...headers].map((file) => join(root, file));
  return [...inputs, fileURLToPath(import.meta.url)].some((file) => modified(file) > built);
}

/** Builds one artifact and leaves the command beside it, for benchmarks to print. */
export function build({ output, sources, flags }, liburing) {
  const target = join(root, output);
  mkdirSync(dirname(target), { recursive: true });
  // A process that has the old file mapped must keep it whole, and a failed build must leave none: build, then rename.
  const fresh = `${target}.${process.pid}`;
  const result = compile([...flags, ...sources], liburing, fresh);
  if (result.status !== 0) {
    rmSync(fresh, { force: true });
    throw new Stop(`${output} could not be built:\n${result.stderr}`);
  }
  writeFileSync(`${target}.txt`, `${commandLine([...flags, ...sources], liburing, output)}\n`);
  renameSync(fresh, target);
}

/**
 * How to link liburing: the static library, else the shared one (distributions that ship no static one serve for
 * working on the project, not for publishing it). `failure` says why when neither works.
 */
export function probeLiburing() {
  if (!isInstalled(compilerProgram)) return { failure: `the C compiler "${compilerProgram}" was not found` };
  const folder = mkdtempSync(join(tmpdir(), "uring-probe-"));
  try {
    const source = join(folder, "probe.c");
    // io_uring_enter2 came with 2.3.
    writeFileSync(source, "#include <liburing.h>\nint main(void) { return (int)(long)&io_uring_enter2; }\n");
    let failure = "";
    for (const liburing of [staticLiburing, "-luring"]) {
      const { status, stderr } = compile([source], liburing, join(folder, "probe"));
      if (status === 0) return { liburing };
      failure ||= stderr.trim();
    }
    return { failure };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The architecture that the compiler builds for, under Node's name. */
export function compilerArch() {
  const { stdout } = spawnSync(compilerProgram, [...compilerFlags, "-dumpmachine"], { encoding: "utf8" });
  const machine = (stdout ?? "").split("-")[0];
  return { x86_64: "x64", aarch64: "arm64" }[machine] ?? machine;
}

function compile(args, liburing, output) {
  const all = [...compilerFlags, ...args, "-o", output, liburing];
  const { status, stderr, error } = spawnSync(compilerProgram, all, { cwd: root, encoding: "utf8" });
  return { status, stderr: error === undefined ? stderr : error.message };
}

function commandLine(args, liburing, output) {
  return [compiler, ...args, "-o", output, liburing].join(" ");
}

function list(folder) {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

function modified(file) {
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}
