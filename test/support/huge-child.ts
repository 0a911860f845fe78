// Allocates in huge pages, and has the kernel read into them; prints how many pages that took, and what became of it.

import { readFileSync } from "node:fs";
import { alloc, cstring, Ring } from "uring";
import { AT_FDCWD, O_RDONLY } from "uring/abi";
import { run, text } from "./ring.ts";

const MIB = 2 ** 20;

function free(): number {
  return Number(/HugePages_Free: +(\d+)/.exec(readFileSync("/proc/meminfo", "utf8"))?.[1]);
}

using ring = new Ring({ entries: 4 });
const before = free();
const memory = alloc(3 * MIB, { huge: true });
memory.bytes.fill(0xee);
const taken = before - free();
const fd = run(ring, (sqe) => sqe.prepOpenat(AT_FDCWD, cstring("/proc/self/comm"), O_RDONLY, 0));
// Across the border of two pages.
const border = memory.slice(2 * MIB - 2, 16);
const length = run(ring, (sqe) => sqe.prepRead(fd, border, 16, 0));
const comm = text(border, length);
const { address } = memory;
memory[Symbol.dispose]();
const again = alloc(4 * MIB, { huge: true });
const report = {
  taken,
  aligned: address % (2 * MIB) === 0,
  comm,
  same: again.address === address,
  zero: again.bytes.every((byte) => byte === 0),
  left: before - free(),
};
console.log(JSON.stringify(report));
