/**
 * What `npm run demo` shows: a large file copied by `copy.ts`, checked, and beside it the runtime's own copy.
 *
 *     npm run demo -- [file to copy]
 */
import { createHash } from "node:crypto";
import { copyFileSync, createReadStream, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

import { runtime } from "#runtime";
import type { Shim } from "../src/shared/runtime.ts";
import { copyFile, progressLine } from "./copy.ts";

const ROUNDS = 7;

// The runtime's own executable is a file of about 100 MB that every machine with this project has.
const source = process.argv[2] ?? process.execPath;
const folder = mkdtempSync(join(tmpdir(), "uring-demo-"));
const copy = join(folder, "copy");
const ownCopy = join(folder, "own-copy");
const ffi = countFfiCalls();

try {
  console.log(`copying ${source}`);
  const first = copyFile(source, copy, progressLine());
  const [expected, found] = [await sha256(source), await sha256(copy)];
  if (found !== expected) throw new Error(`the copy's SHA-256 is ${found}, not ${expected}`);
  console.log(`SHA-256 of the copy is the file's: ${found}\n`);

  // In turns, so that whatever else the machine does meets both.
  const times: { ring: number[]; own: number[] } = { ring: [], own: [] };
  let [operations, enters, calls] = [first.operations, first.enters, 0];
  for (let round = 0; round < ROUNDS; round++) {
    rmSync(copy);
    rmSync(ownCopy, { force: true });
    ffi.calls = 0;
    times.ring.push(seconds(() => ({ operations, enters } = copyFile(source, copy, () => {}))));
    calls = ffi.calls;
    times.own.push(seconds(() => copyFileSync(source, ownCopy)));
  }

  const name = { bun: "Bun", deno: "Deno" }[runtime.name];
  printRow("", "bytes", "s, best", "s, median", "operations", "enters", "FFI calls");
  printRow("uring", first.bytes, best(times.ring), median(times.ring), operations, enters, calls);
  printRow(`${name}, node:fs copyFileSync`, first.bytes, best(times.own), median(times.own), "", "", "");
  console.log(`${ROUNDS} rounds in turns; operations, enters and FFI calls of the last one`);
} finally {
  rmSync(folder, { recursive: true });
}

/** Counts the calls from JavaScript into the native library, from here on. */
function countFfiCalls(): { calls: number } {
  const counter = { calls: 0 };
  const counted = Object.entries(runtime.load()).map(([name, call]) => [
    name,
    (...args: unknown[]) => {
      counter.calls++;
      return call(...args);
    },
  ]);
  const shim: Shim = Object.fromEntries(counted);
  runtime.load = () => shim;
  return counter;
}

async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk);
  return hash.digest("hex");
}

function seconds(work: () => void): number {
  const start = performance.now();
  work();
  return (performance.now() - start) / 1000;
}

function best(times: number[]): string {
  return Math.min(...times).toFixed(3);
}

function median(times: number[]): string {
  const middle = times.toSorted((a, b) => a - b)[times.length >> 1] as number;
  return middle.toFixed(3);
}

function printRow(title: string, ...cells: (string | number)[]): void {
  console.log(`${title.padEnd(26)}${cells.map((cell) => String(cell).padStart(11)).join("")}`);
}
