import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const inDeno = process.versions.deno !== undefined;

/** What starts a program of this runtime. In Deno with no permission but for the native library's file. */
const flags = inDeno ? ["run", "--quiet", "--no-prompt", "--allow-ffi=c/build/uring.so"] : ["run"];

/** Runs a program in the project's folder: a file with arguments, or the text of a program. */
function run(program: string[] | string): { status: number | null; stdout: Buffer; stderr: string } {
  const [file, ...args] = typeof program === "string" ? ["-"] : program;
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [...flags, file ?? "-", ...args], {
    cwd: root,
    input: typeof program === "string" ? program : "",
    maxBuffer: 64 << 20,
    timeout: 60_000,
    killSignal: "SIGKILL",
    env: { ...process.env, NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" },
  });
  return { status, stdout, stderr: signal === null ? String(stderr) : `ended by ${signal}\n${stderr}` };
}

/** A port of the loopback interface that nobody listens on. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  assert.ok(address !== null && typeof address === "object");
  return address.port;
}

/** Every fenced program in a text, with the line it starts at. Lines may begin with the star of a comment. */
function programsIn(text: string): { line: number; program: string }[] {
  const found: { line: number; program: string }[] = [];
  let lines: string[] | undefined;
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.replace(/^\s*\* ?/, "");
    if (lines === undefined) {
      if (line === "```ts") lines = [];
    } else if (line === "```") {
      found.push({ line: index + 1 - lines.length, program: lines.join("\n") });
      lines = undefined;
    } else {
      lines.push(line);
    }
  }
  return found;
}

/**
 * What a program says it prints: in a comment after a call of `console.log`, or on the lines that follow the call.
 * An ellipsis there stands for anything.
 */
function expectedOutput(program: string): string[] {
  const expected: string[] = [];
  let after = false;
  for (const line of program.split("\n")) {
    const [, comment] = /^\s*\/\/ (.*)$/.exec(line) ?? [];
    if (comment !== undefined) {
      if (after) expected.push(comment);
      continue;
    }
    after = line.includes("console.log(");
    const [, trailing] = /console\.log\(.*\); \/\/ (.*)$/.exec(line) ?? [];
    if (trailing !== undefined) expected.push(trailing);
  }
  return expected;
}

/** Fails unless output is what was expected. Runtimes lay objects out differently, so white space does not count. */
function assertPrinted(output: string, expected: string[]): void {
  const bare = (text: string) => text.replace(/\s+/g, "").replaceAll(",}", "}");
  const pattern = expected.map(bare).join("").split("…").map(escapePattern).join(".*");
  assert.match(bare(output), new RegExp(`^${pattern}$`), `printed:\n${output}`);
}

function escapePattern(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** Every file below a folder whose name ends so, sorted. */
function filesIn(folder: string, ending: string): string[] {
  const names = readdirSync(join(root, folder), { recursive: true }) as string[];
  return names
    .filter((name) => name.endsWith(ending))
    .sort()
    .map((name) => `${folder}/${name}`);
}

describe("programs in the documentation", () => {
  for (const file of ["README.md", ...filesIn("docs", ".md"), ...filesIn("src/shared", ".ts")]) {
    for (const { line, program } of programsIn(readFileSync(join(root, file), "utf8"))) {
      it(`${file}:${line}`, () => {
        const { status, stdout, stderr } = run(program);
        assert.equal(status, 0, stderr);
        const expected = expectedOutput(program);
        if (expected.length > 0) assertPrinted(String(stdout), expected);
      });
    }
  }
});

describe("examples", () => {
  // More than one block of the copy and no whole number of them, nor of pages.
  const contents = Buffer.from(Uint8Array.from({ length: 5_000_011 }, (_, i) => (i * 31 + (i >> 8)) & 0xff));

  function inFolder(body: (file: string, folder: string) => void): void {
    const folder = mkdtempSync(join(tmpdir(), "uring-examples-"));
    try {
      const file = join(folder, "file");
      writeFileSync(file, contents, { mode: 0o640 });
      body(file, folder);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  it("cat.ts prints a file, and fails for one that is not there", () => {
    inFolder((file, folder) => {
      const { status, stdout, stderr } = run(["examples/cat.ts", file]);
      assert.equal(status, 0, stderr);
      assert.ok(stdout.equals(contents), `${stdout.length} bytes of ${contents.length}`);
      const missing = run(["examples/cat.ts", join(folder, "missing")]);
      assert.notEqual(missing.status, 0);
      assert.match(missing.stderr, /ENOENT: no such file or directory, openat/);
    });
  });

  it("copy.ts copies a file, and overwrites none", () => {
    inFolder((file, folder) => {
      const copy = join(folder, "copy");
      const first = run(["examples/copy.ts", file, copy]);
      assert.equal(first.status, 0, first.stderr);
      // 10 blocks read and written; open twice, statx, close twice.
      assert.match(String(first.stdout), /100 % .*\n5000011 bytes, 25 operations, \d+ enters\n$/);
      assert.ok(readFileSync(copy).equals(contents));
      writeFileSync(copy, "precious");
      const second = run(["examples/copy.ts", file, copy]);
      assert.notEqual(second.status, 0);
      assert.match(second.stderr, /EEXIST/);
      assert.equal(readFileSync(copy, "utf8"), "precious");
    });
  });

  it("copy.ts copies an empty file", () => {
    inFolder((file, folder) => {
      writeFileSync(file, "");
      const { status, stderr } = run(["examples/copy.ts", file, join(folder, "copy")]);
      assert.equal(status, 0, stderr);
      assert.equal(readFileSync(join(folder, "copy")).length, 0);
    });
  });

  it("echo.ts sends back what it is sent, to several at a time", { timeout: 60_000 }, async () => {
    const port = await freePort();
    const server = spawn(process.execPath, [...flags, "examples/echo.ts", String(port)], {
      cwd: root,
      stdio: ["ignore", "pipe", "inherit"],
    });
    try {
      await new Promise((resolve) => server.stdout.once("data", resolve));
      const texts = await Promise.all(
        ["one", "two", "three".repeat(100_000)].map(async (text) => {
          const socket = connect(port, "127.0.0.1");
          socket.write(text);
          let back = "";
          for await (const piece of socket.setEncoding("utf8")) {
            back += String(piece);
            if (back.length >= text.length) break;
          }
          return back === text;
        }),
      );
      assert.deepEqual(texts, [true, true, true]);
    } finally {
      server.kill("SIGKILL");
    }
  });

  it("features.ts lists every operation", () => {
    const { status, stdout, stderr } = run(["examples/features.ts"]);
    assert.equal(status, 0, stderr);
    assert.match(String(stdout), /operations \(IORING_OP_\*\): \d+ of 65\n/);
    assert.match(String(stdout), /yes NOP +.*yes FALLOCATE/);
  });
});
