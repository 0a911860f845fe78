import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";

/** Room in the pool of huge pages for a test, where there may be: what the pool had is put back. */
export function withHugePages(test: () => void): void {
  const pool = "/proc/sys/vm/nr_hugepages";
  const before = readFileSync(pool, "utf8");
  writeFileSync(pool, String(Number(before) + 4));
  const free = freeHugePages();
  try {
    test();
  } finally {
    // The kernel lets go of a ring a little after its fd is closed.
    const end = performance.now() + 10_000;
    while (freeHugePages() !== free && performance.now() < end);
    writeFileSync(pool, before);
  }
  assert.equal(freeHugePages(), free - 4, "huge pages have not come back");
}

/** How many pages the pool has left. */
export function freeHugePages(): number {
  return Number(/HugePages_Free: +(\d+)/.exec(readFileSync("/proc/meminfo", "utf8"))?.[1]);
}

/** Huge pages for tests need an administrator, and memory that is not all in pieces. */
export function needsHugePages(): { skip?: string } {
  try {
    let granted = 0;
    withHugePages(() => {
      granted = freeHugePages();
    });
    return granted >= 4 ? {} : { skip: "the system has no huge pages to spare" };
  } catch {
    return { skip: "only an administrator can ask the system for huge pages" };
  }
}
