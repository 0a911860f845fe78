// The whole suite as a user without privileges and with 8 MiB of lockable memory, which is what most users are:
// `npm run test:nonroot [-- --runtime bun|deno] [parts of file names]`. Root becomes nobody for it.

import { chownSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { isInstalled, main, root, run, Stop } from "./project.mjs";
import { setUp } from "./setup.mjs";

const lockable = 8 << 20;
const nobody = 65534;

main((args) => {
  for (const program of ["setpriv", "prlimit"]) {
    if (!isInstalled(program)) throw new Stop(`${program} was not found: install util-linux`);
  }
  // Whoever runs the suite below may write nothing here.
  setUp();
  const home = mkdtempSync(join(tmpdir(), "uring-nobody-"));
  const isRoot = process.getuid() === 0;
  const become = isRoot
    ? [
        "setpriv",
        `--reuid=${nobody}`,
        `--regid=${nobody}`,
        "--clear-groups",
        "--inh-caps=-all",
        "--no-new-privs",
      ]
    : [];
  const command = [...become, "prlimit", `--memlock=${lockable}:${lockable}`];
  try {
    if (isRoot) chownSync(home, nobody, nobody);
    const [program, ...rest] = [...command, process.execPath, join(root, "scripts/test.mjs"), ...args];
    return run(program, rest, {
      env: { ...process.env, HOME: home, TMPDIR: home, XDG_CACHE_HOME: home, DENO_DIR: join(home, "deno") },
    });
  } finally {
    rmSync(home, { recursive: true });
  }
});
