/** The 4 bytes of an IPv4 address in dotted decimal. Throws a `RangeError` for anything else. */
export function parseIPv4(text: string): Uint8Array {
  const bytes = ipv4(requireText(text));
  if (bytes === undefined) throw new RangeError(`${JSON.stringify(text)} is no IPv4 address`);
  return Uint8Array.from(bytes);
}

export function formatIPv4(bytes: Uint8Array): string {
  return bytes.subarray(0, 4).join(".");
}

/** The 16 bytes of an IPv6 address in any form of RFC 4291. Throws a `RangeError` for anything else. */
export function parseIPv6(text: string): Uint8Array {
  const groups = ipv6(requireText(text));
  if (groups === undefined) {
    const hint = text.includes("%") ? ": a zone is given by number, as the scope id" : "";
    throw new RangeError(`${JSON.stringify(text)} is no IPv6 address${hint}`);
  }
  return Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]));
}

/** The text of an IPv6 address that RFC 5952 recommends. */
export function formatIPv6(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, i) => ((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0));
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return `::ffff:${formatIPv4(bytes.subarray(12))}`;
  }
  const { start, length } = longestZeros(groups);
  const hex = groups.map((group) => group.toString(16));
  if (length < 2) return hex.join(":");
  return `${hex.slice(0, start).join(":")}::${hex.slice(start + length).join(":")}`;
}

function requireText(text: unknown): string {
  if (typeof text !== "string") throw new TypeError(`an address must be a string, not ${typeof text}`);
  return text;
}

function ipv4(text: string): number[] | undefined {
  const parts = text.split(".");
  // No leading zeros: some would read them as octal.
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part))) return undefined;
  const bytes = parts.map(Number);
  return bytes.every((byte) => byte <= 255) ? bytes : undefined;
}

function ipv6(text: string): number[] | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const head = ipv6Groups(halves[0] as string, halves.length === 1);
  if (halves.length === 1) return head?.length === 8 ? head : undefined;
  const tail = ipv6Groups(halves[1] as string, true);
  if (head === undefined || tail === undefined || head.length + tail.length > 7) return undefined;
  return [...head, ...new Array<number>(8 - head.length - tail.length).fill(0), ...tail];
}

/** The 16-bit groups of one side of `::`; only at the very end may two of them be written as an IPv4 address. */
function ipv6Groups(text: string, last: boolean): number[] | undefined {
  if (text === "") return [];
  const groups: number[] = [];
  const parts = text.split(":");
  for (const [i, part] of parts.entries()) {
    if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      groups.push(Number.parseInt(part, 16));
      continue;
    }
    const bytes = last && i === parts.length - 1 ? ipv4(part) : undefined;
    if (bytes === undefined) return undefined;
    const [a, b, c, d] = bytes as [number, number, number, number];
    groups.push((a << 8) | b, (c << 8) | d);
  }
  return groups;
}

/** The first of the longest runs of zeros. */
function longestZeros(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start++) {
    let end = start;
    while (groups[end] === 0) end++;
    if (end - start > best.length) best = { start, length: end - start };
  }
  return best;
}
