import data from "../data/abi.json" with { type: "json" };

interface Struct {
  sizeof: number;
  fields: Record<string, [offset: number, size: number] | undefined>;
}

const structs = data.structs as unknown as Record<string, Struct | undefined>;

/** A struct's size, as the headers have it. */
export function sizeOf(struct: string): number {
  const found = structs[struct];
  if (found === undefined) throw new Error(`no struct ${struct}`);
  return found.sizeof;
}

/** Offset and size of a struct's field, as the headers have them. */
export function place(struct: string, field: string): [offset: number, size: number] {
  const found = structs[struct]?.fields[field];
  if (found === undefined) throw new Error(`no field ${struct}.${field}`);
  return found;
}
