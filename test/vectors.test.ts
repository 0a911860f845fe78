import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Ring, type Sqe } from "uring";
import { IORING_SETUP_SUBMIT_ALL, IOSQE_BUFFER_SELECT, IOSQE_IO_LINK } from "uring/abi";
import data from "./data/sqe-vectors.json" with { type: "json" };
import {
  expectedBytes,
  type Helper,
  helpers,
  isWide,
  methodName,
  type Type,
  wideForms,
  writtenSlots,
} from "./support/prep-table.ts";

type Argument = number | bigint;
type Vector = [helper: string, variant: string, args: (number | string)[], hex: string];
type Methods = Record<string, ((...args: Argument[]) => Sqe) | undefined>;

const vectors = data.vectors as unknown as Vector[];
const hex = (bytes: Uint8Array): string => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");

function method(sqe: Sqe, helper: string): (...args: Argument[]) => Sqe {
  const name = methodName(helper);
  const fn = (sqe as unknown as Methods)[name];
  assert.equal(typeof fn, "function", `Sqe.${name}`);
  return (fn as (...args: Argument[]) => Sqe).bind(sqe);
}

/** A ring for entries that are looked at, and never reach the kernel as what they are. */
class Scratch {
  readonly #ring = new Ring({ entries: 8, flags: IORING_SETUP_SUBMIT_ALL });

  /** The bytes `fill` leaves in a fresh entry. */
  bytes(fill: (sqe: Sqe) => void): Uint8Array {
    let sqe = this.#ring.getSqe();
    if (sqe === null) {
      const count = this.#ring.submit();
      const completions: unknown[] = [];
      this.#ring.drain((...completion) => completions.push(completion));
      assert.deepEqual(completions, Array(count).fill([7, 0, 0]));
      sqe = this.#ring.getSqe();
    }
    assert.ok(sqe);
    try {
      fill(sqe);
      return sqe.toBytes().slice(0, 64);
    } finally {
      // What is submitted in the end must be harmless: a no-op, with no flags of any kind (its own are where a poll has
      // its events).
      sqe.prepPollAdd(-1, 0).prepNop().setFlags(0).setIoprio(0).setPersonality(0).setData64(7);
    }
  }

  call(helper: string, args: Argument[]): string {
    return hex(this.bytes((sqe) => assert.equal(method(sqe, helper)(...args), sqe)));
  }

  [Symbol.dispose](): void {
    this.#ring.close();
  }
}

/** The argument lists that mean the same call: each 64-bit argument in each of its exact forms. */
function argumentLists(args: readonly bigint[], wide: readonly boolean[]): Argument[][] {
  const base = args.map((value, i): Argument => (wide[i] ? value : Number(value)));
  const lists = [base];
  args.forEach((value, i) => {
    if (wide[i]) for (const form of wideForms(value)) lists.push(base.with(i, form));
  });
  const numbers = args.map((value, i) => (wide[i] ? (wideForms(value).at(-1) as Argument) : Number(value)));
  lists.push(numbers);
  return lists;
}

const typical: Record<Type, bigint> = {
  s32: 0x11223344n,
  u32: 0x91a2b3c4n,
  u16: 0xb1c2n,
  u64: 0x8192a3b4c5d6e7f8n,
  s64: 0x0123456789abcdefn,
  ptr: 0x0000112233445566n,
  size: 0xd5e6f7a8n,
};

const wideEdges = [0n, 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 32n + 1n, 2n ** 53n - 1n, 2n ** 53n]
  .concat([2n ** 53n + 1n, 2n ** 63n - 1n, 2n ** 63n, 0xfedcba9876543210n])
  .concat([-1n, -2n, -(2n ** 31n), -(2n ** 31n) - 1n, -(2n ** 32n), -(2n ** 32n) - 1n, -(2n ** 53n)])
  .concat([-(2n ** 53n) - 1n, -(2n ** 63n)]);

function edges(type: Type): bigint[] {
  switch (type) {
    case "s32":
      return [0n, 1n, 2n ** 31n - 1n, -1n, -100n, -(2n ** 31n)];
    case "u32":
      return [0n, 1n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 2n, 2n ** 32n - 1n];
    case "u16":
      return [0n, 1n, 0xffffn];
    default:
      return wideEdges;
  }
}

/** Calls that differ from a typical one in one argument, which takes every edge of its type. */
function* edgeCalls(helper: Helper): Generator<bigint[]> {
  const base = helper.args.map(([, type]) => typical[type]);
  yield base;
  for (const [i, [, type]] of helper.args.entries()) {
    for (const edge of edges(type)) yield base.with(i, edge);
  }
}

/** A length below zero, which is the one argument the library refuses that C would pass on. */
function isRefused(helper: Helper, list: readonly Argument[]): boolean {
  return helper.helper === "io_uring_prep_madvise64" && (list[1] as Argument) < 0;
}

describe("submission queue entries", () => {
  it("have a method for every prep helper of liburing", () => {
    using scratch = new Scratch();
    assert.equal(helpers.length, 105);
    scratch.bytes((sqe) => {
      for (const { helper } of helpers) method(sqe, helper);
    });
  });

  it("equal liburing's byte for byte", () => {
    using scratch = new Scratch();
    assert.equal(vectors.length, 309);
    for (const [helper, variant, args, expected] of vectors) {
      const wide = args.map((arg) => typeof arg === "string");
      for (const list of argumentLists(args.map(BigInt), wide)) {
        const call = `${helper} ${variant} (${list.join(", ")})`;
        assert.equal(scratch.call(helper, list), expected.padEnd(128, "0"), call);
      }
    }
  });

  it("keep to the rules of each helper at the edges of every argument", () => {
    using scratch = new Scratch();
    for (const helper of helpers) {
      const wide = helper.args.map(([, type]) => isWide(type));
      for (const args of edgeCalls(helper)) {
        const expected = hex(expectedBytes(helper, args));
        for (const list of argumentLists(args, wide)) {
          if (isRefused(helper, list)) {
            assert.throws(() => scratch.call(helper.helper, list), RangeError);
            continue;
          }
          assert.equal(scratch.call(helper.helper, list), expected, `${helper.helper} (${list.join(", ")})`);
        }
      }
    }
  });

  it("keep what setters wrote before the helper, where liburing's does", () => {
    using scratch = new Scratch();
    for (const helper of helpers) {
      const args = helper.args.map(
        ([, type]): Argument => (isWide(type) ? typical[type] : Number(typical[type])),
      );
      const slots = writtenSlots(helper);
      const expected = expectedBytes(helper, args.map(BigInt));
      const view = new DataView(expected.buffer);
      view.setBigUint64(32, 2n ** 64n - 3n, true);
      view.setUint16(42, 0x1234, true);
      if (!slots.includes("sqe_flags")) view.setUint8(1, IOSQE_IO_LINK);
      if (!slots.includes("buf_index")) view.setUint16(40, 0x5678, true);
      const bytes = scratch.bytes((sqe) => {
        sqe.setFlags(IOSQE_IO_LINK).setData64(-3).setPersonality(0x1234).setBufferIndex(0x5678);
        method(sqe, helper.helper)(...args);
      });
      assert.equal(hex(bytes), hex(expected), helper.helper);
    }
  });

  it("select a buffer from a group with the flag that says so", () => {
    using scratch = new Scratch();
    const bytes = scratch.bytes((sqe) => sqe.setFlags(IOSQE_IO_LINK).setBufferGroup(0xb1c2));
    const expected = new Uint8Array(64);
    expected.set([IOSQE_IO_LINK | IOSQE_BUFFER_SELECT], 1);
    expected.set([0xc2, 0xb1], 40);
    assert.equal(hex(bytes), hex(expected));
  });

  it("begin cleared, whatever the slot held before", () => {
    using scratch = new Scratch();
    for (let i = 0; i < 32; i++) {
      const fresh = scratch.bytes((sqe) => {
        assert.equal(hex(sqe.toBytes()).replaceAll("0", ""), "", `slot ${i}`);
        sqe.prepSetxattr(-1, -1, -1, -1, 0xffffffff).prepSocketDirect(-1, -1, -1, 0xfffffffe, 0xffffffff);
        sqe.prepSendZcFixed(-1, -1n, -1n, -1, 0xffff, 0xffff).setData64(-1n).setPersonality(0xffff);
      });
      assert.equal(hex(fresh.subarray(28, 48)).replaceAll("f", ""), "", "the slot is left dirty");
    }
  });

  it("take a copy of an entry that later changes do not reach", () => {
    using scratch = new Scratch();
    scratch.bytes((sqe) => {
      const before = sqe.prepRead(1, 0x1000, 16, 0).toBytes();
      const copy = before.slice();
      sqe.prepWrite(2, 0x2000, 32, 1);
      assert.deepEqual(before, copy);
    });
  });
});
