// Makes a fresh machine ready: JavaScript packages, compiler and liburing, what is built from C. Does only what is
// missing: a second run looks at a few file times and does nothing.

import { realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { build, isStale, listArtifacts, probeLiburing } from "./native.mjs";
import { isInstalled, main, root, run, Stop } from "./project.mjs";
import { findRuntimes } from "./runtimes.mjs";

const debianPackages = ["gcc", "libc6-dev", "liburing-dev"];
const installLines = [
  ["Debian, Ubuntu", `apt-get install -y ${debianPackages.join(" ")}`],
  ["Fedora", "dnf install -y gcc liburing-devel"],
  ["Arch", "pacman -S --needed gcc liburing"],
  ["Alpine", "apk add gcc musl-dev linux-headers liburing-dev"],
];
const isRoot = process.getuid?.() === 0;

/** Sets up packages and the named targets of native.mjs (all, if none is named); says whether there was work to do. */
export function setUp(targets) {
  if (process.platform !== "linux" || !["x64", "arm64"].includes(process.arch)) {
    throw new Stop(`uring runs on Linux x64 and arm64; this is ${process.platform} ${process.arch}`);
  }
  const packages = installPackages();
  const native = buildNative(targets);
  return packages || native;
}

function installPackages() {
  if (packagesAreCurrent()) return false;
  if (!isInstalled("npm")) throw new Stop("npm was not found: install Node with npm, then run this again");
  console.log("Installing the JavaScript packages of package-lock.json");
  // Development dependencies hold the runtimes, so they are wanted whatever NODE_ENV says.
  const args = ["ci", "--include=dev", "--include=optional", "--no-audit", "--no-fund", "--loglevel=error"];
  if (run("npm", args) !== 0) throw new Stop("npm ci failed");
  for (const { title, executable } of findRuntimes()) {
    if (executable === undefined) throw new Stop(`npm installed no ${title} for this machine`);
  }
  return true;
}

function packagesAreCurrent() {
  const modified = (file) => statSync(join(root, file), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  // npm writes its own lockfile when an installation is complete.
  return (
    modified("node_modules/.package-lock.json") >= modified("package-lock.json") &&
    findRuntimes().every(({ executable }) => executable !== undefined)
  );
}

function buildNative(targets) {
  const stale = listArtifacts(targets).filter(isStale);
  if (stale.length === 0) return false;
  const liburing = findLiburing();
  for (const artifact of stale) {
    console.log(`Building ${artifact.output}`);
    build(artifact, liburing);
  }
  return true;
}

/** How to link liburing; installs it and a compiler where that is possible. */
export function findLiburing() {
  const { liburing, failure } = probeLiburing();
  if (liburing !== undefined) return liburing;
  if (!isRoot || !isInstalled("apt-get")) throw new Stop(explain(failure));
  console.log(`Installing ${debianPackages.join(", ")}`);
  installWithApt();
  const second = probeLiburing();
  if (second.liburing === undefined) throw new Stop(explain(second.failure));
  return second.liburing;
}

function installWithApt() {
  const apt = (...args) => {
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    return run("apt-get", ["-q", "-o", "DPkg::Lock::Timeout=120", ...args], {
      env,
      stdio: ["ignore", "inherit", "inherit"],
    });
  };
  const install = () => apt("install", "-y", "--no-install-recommends", ...debianPackages);
  // A new machine's package lists are absent or old: fetch them only where that turns out to matter.
  if (install() !== 0 && (apt("update") !== 0 || install() !== 0)) throw new Stop("apt-get failed");
}

function explain(failure) {
  const sudo = isRoot ? "" : "sudo ";
  const lines = installLines.map(([system, line]) => `  ${`${system}:`.padEnd(16)}${sudo}${line}`);
  return [
    "uring needs a C compiler and liburing, 2.3 or newer, with its headers.",
    "Install them with the line for your system, then run this again:",
    ...lines,
    "What was missing:",
    ...failure.split("\n").map((line) => `  ${line}`),
  ].join("\n");
}

if (realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  main(() => {
    if (!setUp()) console.log("Everything is set up.");
    return 0;
  });
}
