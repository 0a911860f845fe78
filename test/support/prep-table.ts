import table from "../data/prep-table.json" with { type: "json" };

/** How a slot of the SQE gets its value; see `rules` in the table. */
type Rule = number | string | { arg: string; or?: number; encode?: string } | { orInto: number };
export type Type = "s32" | "u32" | "u16" | "u64" | "s64" | "ptr" | "size";

export interface Helper {
  helper: string;
  args: [name: string, type: Type][];
  sets: Record<string, Rule>;
}

/** Every prep helper of liburing, and which bytes of the SQE it writes. */
export const helpers = table.helpers as unknown as Helper[];

const slots = table.slots as unknown as Record<string, [offset: number, size: number]>;

const names: Record<string, string> = {
  __io_uring_prep_uring_cmd: "prepUringCmdOp",
  io_uring_sqe_set_data: "setData64",
  // Buffer group and buffer index are one field; `setBufferGroup` sets a flag as well.
  io_uring_sqe_set_buf_group: "setBufferIndex",
};

/** The method of `Sqe` for a helper of liburing: `io_uring_prep_read_fixed` is `prepReadFixed`. */
export function methodName(helper: string): string {
  const words = helper.replace(/^io_uring_(sqe_)?/, "");
  return names[helper] ?? words.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
}

export function isWide(type: Type): boolean {
  return type === "u64" || type === "s64" || type === "ptr" || type === "size";
}

function asC(value: bigint, type: Type): bigint {
  switch (type) {
    case "s32":
      return BigInt.asIntN(32, value);
    case "s64":
      return BigInt.asIntN(64, value);
    case "u32":
      return BigInt.asUintN(32, value);
    case "u16":
      return BigInt.asUintN(16, value);
    default:
      return BigInt.asUintN(64, value);
  }
}

function encoded(value: bigint, encode: string | undefined): bigint {
  const slot = BigInt.asUintN(32, value);
  switch (encode) {
    case undefined:
      return value;
    case "zext32":
      return slot;
    case "plus1":
      return slot + 1n;
    case "file_slot":
      return slot === 0xffffffffn ? slot : slot + 1n;
    default:
      throw new Error(`unknown encoding ${encode}`);
  }
}

/** The slots a helper writes, as the table has it. */
export function writtenSlots(helper: Helper): string[] {
  return Object.keys(helper.sets);
}

/** What C would leave in the 64 bytes of a cleared SQE. */
export function expectedBytes(helper: Helper, args: readonly bigint[]): Uint8Array {
  const values = new Map(helper.args.map(([name, type], i) => [name, asC(args[i] as bigint, type)]));
  const argument = (name: string): bigint => {
    const value = values.get(name);
    if (value === undefined) throw new Error(`${helper.helper} has no argument ${name}`);
    return value;
  };
  const bytes = new Uint8Array(64);
  for (const [slot, rule] of Object.entries(helper.sets)) {
    let value: bigint;
    if (typeof rule === "number") value = BigInt(rule);
    else if (typeof rule === "string") value = argument(rule);
    else if ("orInto" in rule) value = BigInt(rule.orInto);
    else value = encoded(argument(rule.arg), rule.encode) | BigInt(rule.or ?? 0);
    const [offset, size] = slots[slot] as [number, number];
    for (let i = 0; i < size; i++) bytes[offset + i] = Number((value >> BigInt(8 * i)) & 0xffn);
  }
  return bytes;
}

/** Every exact way to write a 64-bit value in JavaScript: unsigned or signed, as bigint or as number. */
export function wideForms(value: bigint): (number | bigint)[] {
  const forms: (number | bigint)[] = [];
  for (const v of new Set([BigInt.asUintN(64, value), BigInt.asIntN(64, value)])) {
    forms.push(v);
    if (v >= -(2n ** 53n) && v <= 2n ** 53n) forms.push(Number(v));
  }
  return forms;
}
