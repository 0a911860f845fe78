import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import * as uring from "uring";
import * as abi from "uring/abi";
import { BufferRing } from "../src/shared/ring/buffer-ring.ts";
import data from "./data/abi.json" with { type: "json" };
import unexercised from "./data/unexercised.json" with { type: "json" };
import { kernels } from "./support/kernels.ts";
import { helpers, methodName } from "./support/prep-table.ts";

const constants: Record<string, unknown> = { ...abi };
const flags = Object.values(kernels.flags).flatMap((group) => Object.keys(group));
const interfaceName =
  /^_*(IORING|IOSQE|IOU_|IO_URING|IO_WQ|SOCKET_URING|BLOCK_URING|ZCRX|SPLICE_F_FD_IN_FIXED|LIBURING)/;

/** Users get buffer rings from a ring, not from a constructor. */
const exported: Record<string, unknown> = { ...uring, BufferRing };

/** What a counterpart's name, `"Ring.submit"` or `"query"`, stands for. */
function isPublic(counterpart: string): boolean {
  const [name = "", member] = counterpart.split(".");
  const found = exported[name];
  if (member === undefined || typeof found !== "function") return typeof found === "function";
  return member in found.prototype || member in found || fieldsOf[name]?.includes(member) === true;
}

/** Members that instances have, not their class. */
const fieldsOf: Record<string, string[]> = { BufferRing: ["mask"] };

describe("coverage of liburing", () => {
  it("has every operation and registration of the headers in its table, and nothing else", () => {
    const named = (prefixes: RegExp) => Object.keys(data.constants).filter((name) => prefixes.test(name));
    assert.deepEqual(
      Object.keys(kernels.operations),
      named(/^IORING_OP_(?!LAST)/).filter((name) => !flags.includes(name)),
    );
    const values = Object.keys(kernels.registrations).map((name) => constants[name]);
    assert.deepEqual(
      values,
      Array.from({ length: abi.IORING_REGISTER_LAST }, (_, opcode) => opcode),
    );
    const operations = Object.keys(kernels.operations).map((name) => constants[name]);
    assert.deepEqual(
      operations,
      Array.from({ length: abi.IORING_OP_LAST }, (_, opcode) => opcode),
    );
  });

  it("has every flag of the headers in its table, and exports it", () => {
    const table = new Set([
      ...Object.keys(kernels.operations),
      ...Object.keys(kernels.registrations),
      ...flags,
      ...kernels.noFlags,
    ]);
    const header = Object.keys(data.constants).filter((name) => interfaceName.test(name));
    assert.deepEqual([...table].sort(), header.sort());
    for (const name of table) assert.match(typeof constants[name], /^(number|bigint)$/, name);
  });

  it("has a prep helper for every operation, and a method for every helper", () => {
    assert.deepEqual(
      Object.keys(kernels.helpers).sort(),
      helpers
        .map(({ helper }) => helper)
        .filter((helper) => !(helper in kernels.functions))
        .sort(),
    );
    for (const { helper } of helpers) assert.ok(isPublic(`Sqe.${methodName(helper)}`), helper);
    const prepared = new Set(helpers.map(({ sets }) => sets.opcode));
    // liburing has none for it either: its counterpart is prepRw.
    prepared.add(abi.IORING_OP_RECV_ZC);
    const without = Object.keys(kernels.operations).filter(
      (name) => !prepared.has(constants[name] as number),
    );
    assert.deepEqual(without, []);
  });

  it("has a counterpart for every other function", () => {
    for (const [name, [, counterpart]] of Object.entries(kernels.functions)) {
      assert.ok(isPublic(counterpart), `${name}: ${counterpart}`);
    }
  });

  it("has a function for every registration", () => {
    const made = new Set(Object.values(kernels.functions).map(([, , registration]) => registration));
    const without = Object.keys(kernels.registrations).filter((name) => !made.has(name));
    assert.deepEqual(without, []);
  });

  it("has a name of the table for everything that may stay unexercised, with a reason", () => {
    const known = new Set([
      ...Object.keys(kernels.operations),
      ...Object.keys(kernels.registrations),
      ...Object.keys(kernels.helpers),
      ...Object.keys(kernels.functions),
      ...flags,
    ]);
    for (const [name, reason] of Object.entries<string>(unexercised)) {
      assert.ok(known.has(name), name);
      assert.match(reason, /\w+ \w+/, name);
    }
  });

  it("is printed in full into docs/coverage.md", () => {
    const page = readFileSync(new URL("../docs/coverage.md", import.meta.url), "utf8");
    const rows = new Map(
      [...page.matchAll(/^\| `(\w+)` \| (\S*) \|/gm)].map(([, name, kernel]) => [name, kernel]),
    );
    const expected = new Map<string, string>([
      ...Object.entries(kernels.operations),
      ...Object.entries(kernels.helpers),
      ...Object.entries(kernels.registrations),
      ...Object.values(kernels.flags).flatMap((group) => Object.entries(group)),
      ...Object.entries(kernels.functions).map(([name, [kernel]]): [string, string] => [name, kernel]),
    ]);
    for (const [name, kernel] of expected) assert.equal(rows.get(name), kernel || "-", name);
  });
});
