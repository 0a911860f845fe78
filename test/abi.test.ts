import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import process from "node:process";
import { describe, it } from "node:test";
import * as abi from "uring/abi";
import data from "./data/abi.json" with { type: "json" };

interface StructData {
  sizeof: number;
  fields: Record<string, [offset: number, size: number]>;
}
interface AbiData {
  constants: Record<string, number | string>;
  structs: Record<string, StructData>;
}
type Exports = Record<string, unknown>;

const x64 = data as unknown as AbiData;
const arm64 = data.arm64 as unknown as AbiData;
const differs = new Set([...Object.keys(arm64.constants), ...Object.keys(arm64.structs)]);

/** What the module whose values depend on the machine exports on a machine of the given architecture. */
function exportsOn(arch: string): Exports {
  const program = `
    Object.defineProperty(process, "arch", { value: "${arch}" });
    console.log(JSON.stringify(await import("${new URL("../src/shared/abi/arch.ts", import.meta.url)}")));`;
  const args = "Deno" in globalThis ? ["eval", program] : ["-e", program];
  return JSON.parse(execFileSync(process.execPath, args, { encoding: "utf8" })) as Exports;
}

function assertConstants(exports: Exports, constants: AbiData["constants"]): void {
  for (const [name, value] of Object.entries(constants)) {
    assert.strictEqual(exports[name], typeof value === "string" ? BigInt(value) : value, name);
  }
}

function assertLayouts(exports: Exports, structs: AbiData["structs"]): void {
  const sizes: Record<string, Record<string, number>> = abi.fieldSizes;
  for (const [name, struct] of Object.entries(structs)) {
    const offsets = Object.entries(struct.fields).map(([field, [offset]]) => [field, offset]);
    assert.deepEqual(exports[name], { sizeof: struct.sizeof, ...Object.fromEntries(offsets) }, name);
    assert.deepEqual(
      sizes[name],
      Object.fromEntries(Object.entries(struct.fields).map(([field, [, size]]) => [field, size])),
      `${name}: field sizes`,
    );
  }
}

function without(names: Set<string>, record: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).filter(([name]) => !names.has(name)));
}

describe("abi", () => {
  it("has every constant of the headers", () => {
    assert.ok(Object.keys(x64.constants).length > 440);
    assertConstants(abi, without(differs, x64.constants) as AbiData["constants"]);
  });

  it("has every struct, member offset and member size of the headers", () => {
    assert.equal(Object.keys(x64.structs).length, 64);
    assertLayouts(abi, without(differs, x64.structs) as AbiData["structs"]);
  });

  it("has a size for exactly the members of each struct", () => {
    for (const [name, value] of Object.entries<unknown>({ ...abi })) {
      if (typeof value !== "object" || value === null || name === "fieldSizes") continue;
      const sizes = (abi.fieldSizes as Record<string, object>)[name];
      assert.deepEqual(["sizeof", ...Object.keys(sizes ?? {})], Object.keys(value), name);
    }
  });

  it("has no constant that is not an exact integer", () => {
    for (const [name, value] of Object.entries<unknown>({ ...abi })) {
      if (typeof value === "object") continue;
      assert.ok(typeof value === "bigint" || Number.isSafeInteger(value), name);
    }
  });

  it("has the values of the machine it runs on where architectures differ", () => {
    const byArch: Record<string, AbiData> = { x64, arm64 };
    for (const arch of ["x64", "arm64"]) {
      const exports = exportsOn(arch);
      const expected = byArch[arch] as AbiData;
      const same = new Set(
        Object.keys({ ...expected.constants, ...expected.structs }).filter((n) => !differs.has(n)),
      );
      assertConstants(exports, without(same, expected.constants) as AbiData["constants"]);
      assertLayouts(exports, without(same, expected.structs) as AbiData["structs"]);
      assert.deepEqual(new Set(Object.keys(exports)), differs);
    }
    const here = byArch[process.arch] as AbiData;
    for (const name of differs) {
      if (name in here.constants) assertConstants(abi, { [name]: here.constants[name] as number });
      else assertLayouts(abi, { [name]: here.structs[name] as StructData });
    }
  });

  it("writes unsigned values as positive numbers and what is wider as bigint", () => {
    assert.equal(abi.IORING_OFF_MMAP_MASK, 0xf8000000);
    assert.equal(abi.IORING_FILE_INDEX_ALLOC, 0xffffffff);
    assert.equal(abi.IORING_ZCRX_AREA_MASK, 0xffff000000000000n);
    assert.equal(abi.LIBURING_UDATA_TIMEOUT, 2n ** 64n - 1n);
  });
});
