import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = new URL("../c/build/", import.meta.url);

/** A program of bench/c, started once: it runs a round each time it is told to, so that rounds of both sides alternate. */
export class Twin {
  /** How its ring was set up, in its own words. */
  setup = "";
  readonly #process: ChildProcess;
  #text = "";
  #waiting: { resolve(line: string): void; reject(error: Error): void } | undefined;

  private constructor(program: string, args: string[]) {
    this.#process = spawn(fileURLToPath(new URL(program, folder)), args, {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#process.stdout?.on("data", (data: Uint8Array) => {
      this.#text += new TextDecoder().decode(data);
      const end = this.#text.indexOf("\n");
      if (end < 0) return;
      const line = this.#text.slice(0, end);
      this.#text = this.#text.slice(end + 1);
      this.#waiting?.resolve(line);
    });
    const fail = (why: unknown) => this.#waiting?.reject(new Error(`bench/c/build/${program}: ${why}`));
    this.#process.on("error", fail);
    this.#process.on("exit", (code) => fail(`ended with ${code}`));
  }

  static async start(program: string, ...args: (string | number)[]): Promise<Twin> {
    const twin = new Twin(program, args.map(String));
    twin.setup = await twin.#line();
    return twin;
  }

  /** Runs so many operations; the nanoseconds they took. */
  async round(operations: number): Promise<number> {
    const answer = this.#line();
    this.#process.stdin?.write(`${operations}\n`);
    return Number(await answer);
  }

  /** Ends the program. */
  async stop(): Promise<void> {
    const ended = this.#line().catch(() => {});
    this.#process.stdin?.end();
    await ended;
  }

  #line(): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }
}

/** The command that built a twin. */
export function buildLine(program: string): string {
  return readFileSync(new URL(`${program}.txt`, folder), "utf8").trim();
}
