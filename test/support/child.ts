import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { Ring, type RingOptions, UringError } from "uring";

/** How a program ended, and what it printed. */
export interface Ended {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface ChildOptions {
  /** A command to start the runtime by, such as one that confines it. */
  readonly launcher?: readonly string[];
  /** Milliseconds after which it is killed. */
  readonly timeout?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** What Deno is to let the program do, as its flags; by default everything. */
  readonly permissions?: readonly string[];
  /** Whether what it exercises counts for `npm run coverage`, since the test asserts what comes of it. */
  readonly recorded?: boolean;
}

const isDeno = "Deno" in globalThis;
const recorder = fileURLToPath(new URL("recorder.ts", import.meta.url));

/**
 * Runs a program of this folder in a process of the runtime under test, with its garbage collector exposed.
 *
 * @param program its file's name, or its address as a URL
 */
export function runChild(program: string, args: readonly string[], options: ChildOptions = {}): Ended {
  const {
    launcher = [],
    timeout = 60_000,
    env = {},
    permissions = ["--allow-all"],
    recorded = false,
  } = options;
  const flags = isDeno
    ? ["run", "--no-check", "--no-prompt", "--quiet", "--v8-flags=--expose-gc", ...permissions]
    : ["run"];
  const command = [
    ...launcher,
    process.execPath,
    ...flags,
    ...(recorded && process.env.URING_COVERAGE !== undefined ? [`--preload=${recorder}`] : []),
    fileURLToPath(new URL(program, import.meta.url)),
    ...args,
  ];
  const { status, signal, stdout, stderr, error } = spawnSync(command[0] as string, command.slice(1), {
    encoding: "utf8",
    timeout,
    killSignal: "SIGKILL",
    env: { ...process.env, ...env },
  });
  if (error !== undefined && signal === null) throw error;
  return { status, signal, stdout, stderr };
}

/** What a child has to say when it did not end well. */
export function account({ status, signal, stdout, stderr }: Ended): string {
  return `ended with ${signal ?? status}\n${stdout.slice(-4000)}\n${stderr.slice(-4000)}`;
}

/** Collects garbage now. In a process that `runChild` has started, or in Bun. */
export function collectGarbage(): void {
  const { Bun, gc } = globalThis as { Bun?: { gc(force: boolean): void }; gc?: () => void };
  if (Bun !== undefined) Bun.gc(true);
  else if (gc !== undefined) gc();
  else throw new Error("the garbage collector is not exposed");
}

/**
 * A ring, in programs that close many: with a limit of locked memory those count until the kernel has taken them apart,
 * which it does a little later.
 */
export function patiently(options: RingOptions): Ring {
  const end = performance.now() + 10_000;
  for (;;) {
    try {
      return new Ring(options);
    } catch (error) {
      if (!(error instanceof UringError && error.code === "ENOMEM") || performance.now() > end) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}
