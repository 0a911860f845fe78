// What every script needs: where the project is, how to start a program, how to stop with a message.

import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url));

/** Something the user has to put right: shown without a stack. */
export class Stop extends Error {}

/** Runs a program in the project's folder, its output on this terminal; gives its exit code, 1 if a signal ended it. */
export function run(program, args, options = {}) {
  const result = spawnSync(program, args, { cwd: root, stdio: "inherit", ...options });
  if (result.error !== undefined && result.error.code !== "ETIMEDOUT") {
    throw new Stop(`${program} could not be started: ${result.error.message}`);
  }
  if (result.signal !== null) console.error(`${program} was ended by ${result.signal}`);
  return result.status ?? 1;
}

/** Whether `program` (a name or a path) can be executed. */
export function isInstalled(program) {
  const folders = program.includes("/") ? [root] : (process.env.PATH ?? "").split(delimiter);
  return folders.some((folder) => {
    try {
      accessSync(program.startsWith("/") ? program : join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Runs a script's body and makes its result, a number or a promise of one, the exit code. */
export async function main(body) {
  try {
    process.exitCode = await body(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof Stop)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}
