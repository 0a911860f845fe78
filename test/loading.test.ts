// The native library: where it is looked for, and what is said where it is not there, not allowed or not the right one.

import assert from "node:assert/strict";
import { copyFileSync, cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { describe, it } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { UringUnavailableError } from "uring";
import type { Shim } from "../src/shared/runtime.ts";
import { type Host, loadShim } from "../src/shared/shim.ts";
import { account, runChild } from "./support/child.ts";
import { Scratch } from "./support/ring.ts";
import { shim } from "./support/runtime.ts";

const root = fileURLToPath(new URL("../", import.meta.url));
const LIBRARY = `${root}c/build/uring.so`;
const inDeno = "Deno" in globalThis;

interface Report {
  readonly ok: boolean;
  readonly completed?: number;
  readonly reason?: string;
  readonly remedy?: string;
  readonly name?: string;
  readonly message?: string;
  readonly thrown?: string;
  readonly says?: string;
}

interface World {
  readonly env?: Record<string, string>;
  readonly permissions?: readonly string[];
  readonly memory?: "owned" | "mapped";
  readonly program?: string;
}

/** What a program sees of the library. Where the path of one is named, under `URING_SHIM`. */
function load({ env = {}, permissions, memory, program = "loading-child.ts" }: World): Report {
  const args = memory === undefined ? [] : [memory];
  const ended = runChild(program, args, { env, ...(permissions === undefined ? {} : { permissions }) });
  assert.equal(ended.status, 0, account(ended));
  return JSON.parse(ended.stdout) as Report;
}

function assertWorks(report: Report): void {
  assert.deepEqual(report, { ok: true, completed: 7 });
}

/** Asserts that the library says so and why, whether asked or used; the whole report. */
function assertUnavailable(report: Report, reason: string, message: RegExp, remedy: RegExp): void {
  assert.equal(report.ok, false);
  assert.equal(report.name, "UringUnavailableError");
  assert.deepEqual([report.reason, report.thrown], [reason, reason]);
  assert.match(report.message as string, message);
  assert.match(report.says as string, message);
  assert.match(report.remedy as string, remedy);
}

describe("the variable URING_SHIM", () => {
  it("names the library to load, whatever characters are in its path", () => {
    using scratch = new Scratch();
    for (const name of ["library", "a b%20c.so", "ünïcødé 'quoted'.so"]) {
      copyFileSync(LIBRARY, scratch.path(name));
      assertWorks(load({ env: { URING_SHIM: scratch.path(name) } }));
    }
  });

  it("names a file that is not there, and no other is taken", () => {
    const report = load({ env: { URING_SHIM: "/nowhere/uring.so" } });
    assertUnavailable(report, "shim", /did not load.*\/nowhere\/uring\.so/s, /URING_SHIM.*correct or unset/);
  });

  it("names no file at all", () => {
    assertUnavailable(load({ env: { URING_SHIM: "" } }), "shim", /did not load/, /URING_SHIM/);
  });

  it("names a file that is no library", () => {
    using scratch = new Scratch();
    for (const content of ["", "no library", readFileSync(LIBRARY).subarray(0, 40)]) {
      const URING_SHIM = scratch.file("uring.so", content);
      assertUnavailable(load({ env: { URING_SHIM } }), "shim", /did not load/, /URING_SHIM/);
    }
  });

  it("names another library", () => {
    const URING_SHIM = `${root}test/native/build/harness.so`;
    assertUnavailable(load({ env: { URING_SHIM } }), "shim", /did not load.*uring_/s, /URING_SHIM/);
  });

  for (const [what, word] of [
    ["version", 0],
    ["architecture", 1],
    ["struct layout", 7],
  ] as const) {
    it(`names a library of another ${what}`, () => {
      using scratch = new Scratch();
      const library = readFileSync(LIBRARY);
      const described = new Uint8Array(8 * 4);
      shim().describe(described, 8);
      const at = library.indexOf(described);
      assert.ok(at > 0);
      library.writeUInt32LE(99, at + 4 * word);
      const URING_SHIM = scratch.file("uring.so", library);
      const message = word === 0 ? /has version 99 / : new RegExp(`fact ${word} is 99, not `);
      assertUnavailable(load({ env: { URING_SHIM } }), "mismatch", message, /same release: rebuild with/);
    });
  }
});

/** A copy of the sources, without a native library, and a program that imports them. */
function copy(scratch: Scratch): { folder: string; load(permissions?: readonly string[]): Report } {
  const folder = scratch.path("package %41");
  cpSync(`${root}src`, `${folder}/src`, { recursive: true });
  for (const file of ["package.json", "deno.json"]) copyFileSync(root + file, `${folder}/${file}`);
  const program = readFileSync(`${root}test/support/loading-child.ts`, "utf8");
  const entry = `./src/${inDeno ? "deno" : "bun"}/index.ts`;
  writeFileSync(`${folder}/program.ts`, program.replace('from "uring"', `from "${entry}"`));
  const url = pathToFileURL(`${folder}/program.ts`).href;
  return { folder, load: (permissions = ["--allow-all"]) => load({ program: url, permissions }) };
}

describe("a package", () => {
  it("without its native library says how to get it", () => {
    using scratch = new Scratch();
    const { load } = copy(scratch);
    const message = /package %41\/c\/build\/uring\.so.*package %41\/prebuilt\/linux-(x64|arm64)\.so/s;
    assertUnavailable(load(), "shim", message, /`npm run setup` builds it.*reinstall/);
  });

  it("takes the one that came with it", () => {
    using scratch = new Scratch();
    const { folder, load } = copy(scratch);
    mkdirSync(`${folder}/prebuilt`);
    copyFileSync(LIBRARY, `${folder}/prebuilt/linux-${process.arch}.so`);
    assertWorks(load());
  });

  it("takes the one that was built in it before that, and none of another version", () => {
    using scratch = new Scratch();
    const { folder, load } = copy(scratch);
    mkdirSync(`${folder}/prebuilt`);
    mkdirSync(`${folder}/c/build`, { recursive: true });
    copyFileSync(LIBRARY, `${folder}/c/build/uring.so`);
    writeFileSync(`${folder}/prebuilt/linux-${process.arch}.so`, "not looked at");
    assertWorks(load());
  });
});

// Bun has no permissions.
if (inDeno) {
  describe("in Deno", () => {
    it("a program without --allow-ffi is told to ask for it", () => {
      // Without any flag Deno would pass on what this process may do.
      const report = load({ permissions: ["--deny-run"] });
      assertUnavailable(
        report,
        "permission",
        /Deno may not load .*\.so/,
        /--allow-ffi, or just for this library with --allow-ffi=\//,
      );
      // What it says to do is what works.
      const [flag] = /--allow-ffi=\S+\.so/.exec(report.remedy as string) ?? [];
      assertWorks(load({ permissions: [flag as string] }));
    });

    it("a package's library is named as the checkout's is, whichever of the two there is", () => {
      using scratch = new Scratch();
      const { folder, load } = copy(scratch);
      mkdirSync(`${folder}/prebuilt`);
      const prebuilt = `${folder}/prebuilt/linux-${process.arch}.so`;
      copyFileSync(LIBRARY, prebuilt);
      const built = `${folder}/c/build/uring.so`;
      const { remedy } = load(["--deny-run"]);
      assert.match(String(remedy), /--allow-ffi=\/.*\/c\/build\/uring\.so,\/.*\/prebuilt\/linux-\w+\.so\.$/);
      assertWorks(load([`--allow-ffi=${built},${prebuilt}`]));
      assertWorks(load([`--allow-ffi=${prebuilt}`]));
      const other = load([`--allow-ffi=${built}`]);
      assertUnavailable(other, "permission", /may not load \/.*\/prebuilt\//, /--allow-ffi=\/.*\/prebuilt\//);
    });

    it("a program with --allow-ffi for other files is told so", () => {
      const report = load({ permissions: ["--allow-ffi=/nowhere"] });
      assertUnavailable(report, "permission", /Deno may not load/, /--allow-ffi=\//);
    });

    it("--allow-ffi is all it takes", () => {
      assertWorks(load({ permissions: ["--allow-ffi"] }));
    });

    it("--allow-ffi of the library's path is all it takes", () => {
      assertWorks(load({ permissions: [`--allow-ffi=${LIBRARY}`] }));
    });

    it("no code looks at mapped memory where --allow-ffi is for a path", () => {
      const permissions = [`--allow-ffi=${LIBRARY}`];
      const { ok, thrown, says } = load({ permissions, memory: "mapped" });
      assert.deepEqual([ok, thrown], [true, "permission"]);
      assert.match(says as string, /mapped memory under a path-scoped --allow-ffi.*"owned"/s);
      assertWorks(load({ permissions: ["--allow-ffi"], memory: "mapped" }));
    });

    it("URING_SHIM is not looked at without --allow-env, and nobody is asked for that", () => {
      const env = { URING_SHIM: "/nowhere/uring.so" };
      assertWorks(load({ env, permissions: ["--allow-ffi"] }));
      assertWorks(load({ env, permissions: ["--allow-ffi", "--allow-env=HOME"] }));
      const seen = load({ env, permissions: ["--allow-ffi", "--allow-env=URING_SHIM"] });
      assertUnavailable(seen, "shim", /\/nowhere\/uring\.so/, /URING_SHIM/);
    });
  });
}

describe("a machine", () => {
  const host: Host = {
    os: "linux",
    arch: "x64",
    override: undefined,
    root: new URL("file:///some%20where/"),
  };
  const nothing = (path: string): Shim => {
    throw new Error(`nothing at ${path}`);
  };
  const refusal = (changed: Partial<Host>) => {
    try {
      loadShim({ ...host, ...changed }, nothing);
    } catch (error) {
      if (error instanceof UringUnavailableError) return error;
      throw error;
    }
    throw new Error("it has loaded");
  };

  for (const [os, arch] of [
    ["darwin", "arm64"],
    ["windows", "x86_64"],
    ["win32", "x64"],
    ["freebsd", "x64"],
    ["linux", "riscv64"],
    ["linux", "ia32"],
  ] as const) {
    it(`with ${os} on ${arch} is said to be the wrong one`, () => {
      const { reason, message, remedy } = refusal({ os, arch });
      assert.equal(reason, "platform");
      assert.match(message, new RegExp(`this is ${os} on ${arch}`));
      assert.match(remedy, /Linux on x64 and arm64/);
    });
  }

  for (const [arch, name] of Object.entries({
    x64: "x64",
    x86_64: "x64",
    arm64: "arm64",
    aarch64: "arm64",
  })) {
    it(`called ${arch} has the library of ${name}`, () => {
      const { reason, message } = refusal({ arch });
      assert.equal(reason, "shim");
      const [first, second] = message.match(/nothing at [^;)]*/g) ?? [];
      assert.equal(first, "nothing at /some where/c/build/uring.so");
      assert.equal(second, `nothing at /some where/prebuilt/linux-${name}.so`);
    });
  }

  it("is not looked at any further where URING_SHIM names a file", () => {
    const { message } = refusal({ override: "/x.so" });
    assert.deepEqual(message.match(/nothing at [^;)]*/g), ["nothing at /x.so"]);
  });

  it("is not loaded from again where the first file is of another version", () => {
    const tried: string[] = [];
    const open = (path: string): Shim => {
      tried.push(path);
      return { ...shim(), describe: () => 0 };
    };
    assert.throws(() => loadShim(host, open), { name: "UringUnavailableError", reason: "mismatch" });
    assert.deepEqual(tried, ["/some where/c/build/uring.so"]);
  });
});

describe("a runtime that is neither Bun nor Deno", () => {
  it("is told so at the first use", async () => {
    const { runtime } = await import("../src/none/runtime.ts");
    assert.equal(runtime.name, "none");
    for (const use of [() => runtime.load(), () => runtime.allocate(1, false)]) {
      assert.throws(use, {
        name: "UringUnavailableError",
        reason: "platform",
        message: /neither Bun nor Deno/,
      });
    }
  });
});
