import { writeFileSync } from "node:fs";
import { alloc, type Pinned } from "uring";
import { O_RDWR } from "uring/abi";
import { Random } from "../support/random.ts";
import { open } from "./descriptors.ts";
import type { Bench } from "./support.ts";

/** Memory with bytes that look random. */
export function random(length: number, seed: number = length): Pinned {
  const memory = alloc(length);
  memory.bytes.set(new Random(seed).bytes(length));
  return memory;
}

/** A file in the test's folder. */
export interface TestFile {
  readonly fd: number;
  readonly path: string;
  readonly content: Uint8Array;
}

/** A file with content that looks random, open for reading and writing. `flags` are those of open. */
export function randomFile(bench: Bench, length: number, flags = 0, name = "file"): TestFile {
  const content = new Random(length).bytes(length);
  const path = bench.path(name);
  writeFileSync(path, content);
  return { fd: open(bench, path, O_RDWR | flags), path, content };
}
