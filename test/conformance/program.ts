import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

// Bun opens what it starts programs with at the first one, and keeps it: no test has leaked it.
spawnSync("true");

/** What became of a program. */
export interface Outcome {
  /** Its exit code; `null` where a signal ended it. */
  readonly code: number | null;
  readonly signal: string | null;
  readonly output: string;
  readonly milliseconds: number;
}

/** Runs a program of the folder `programs` in a process of its own, under the same runtime, and waits for its end. */
export function runProgram(name: string, args: readonly string[] = [], timeout = 20_000): Outcome {
  const file = fileURLToPath(new URL(`programs/${name}.ts`, import.meta.url));
  const command = "Deno" in globalThis ? ["run", "--allow-all", "--no-check", file] : ["run", file];
  const start = performance.now();
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [...command, ...args], {
    encoding: "utf8",
    timeout,
    killSignal: "SIGKILL",
  });
  const milliseconds = performance.now() - start;
  return { code: status, signal, output: `${stdout}${stderr}`, milliseconds };
}
