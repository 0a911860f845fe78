import { spawn, spawnSync } from "node:child_process";
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

/** The arguments by which the runtime runs a program of the folder `programs`. */
function commandOf(name: string, args: readonly string[]): string[] {
  const file = fileURLToPath(new URL(`programs/${name}.ts`, import.meta.url));
  const command = "Deno" in globalThis ? ["run", "--allow-all", "--no-check", file] : ["run", file];
  return [...command, ...args];
}

/** Runs a program of the folder `programs` in a process of its own, under the same runtime, and waits for its end. */
export function runProgram(name: string, args: readonly string[] = [], timeout = 20_000): Outcome {
  const start = performance.now();
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, commandOf(name, args), {
    encoding: "utf8",
    timeout,
    killSignal: "SIGKILL",
  });
  const milliseconds = performance.now() - start;
  return { code: status, signal, output: `${stdout}${stderr}`, milliseconds };
}

/** As `runProgram`, beside whatever else runs: the exit code, and what was printed. */
export function startProgram(
  name: string,
  args: readonly string[] = [],
): Promise<Pick<Outcome, "code" | "output">> {
  const program = spawn(process.execPath, commandOf(name, args), { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [program.stdout, program.stderr]) {
    stream.on("data", (text) => {
      output += text;
    });
  }
  return new Promise((resolve, reject) => {
    program.on("error", reject);
    program.on("close", (code) => resolve({ code, output }));
  });
}
