/**
 * Prints what the running kernel's io_uring has: operations and features, under the kernel's own names.
 *
 *     bun examples/features.ts
 *     deno run --allow-ffi examples/features.ts
 */
import { Ring } from "uring";
import * as abi from "uring/abi";

using ring = new Ring({ entries: 1 });
const probe = ring.probe();

printTable("operations", "IORING_OP_", (opcode) => probe.supports(opcode));
printTable("features", "IORING_FEAT_", (feature) => (ring.features & feature) !== 0);

/** Shows for every constant whose name starts so whether the kernel has it. */
function printTable(title: string, prefix: string, has: (value: number) => boolean): void {
  const constants = Object.entries(abi as unknown as Record<string, number>).filter(([name]) => {
    return name.startsWith(prefix) && name !== "IORING_OP_LAST";
  });
  const cells = constants
    .sort(([, a], [, b]) => a - b)
    .map(([name, value]) => `${has(value) ? "yes" : "-".padEnd(3)} ${name.slice(prefix.length)}`);
  const supported = constants.filter(([, value]) => has(value)).length;
  console.log(`\n${title} (${prefix}*): ${supported} of ${constants.length}`);

  const width = Math.max(...cells.map((cell) => cell.length)) + 2;
  const rows = Math.ceil(cells.length / Math.floor(100 / width));
  for (let row = 0; row < rows; row++) {
    const line = cells.filter((_, index) => index % rows === row).map((cell) => cell.padEnd(width));
    console.log(`  ${line.join("").trimEnd()}`);
  }
}
