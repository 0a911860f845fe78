import assert from "node:assert/strict";
import { alloc } from "uring";
import type { Random } from "./random.ts";

/** Bytes that nobody may touch, in memory of every kind that the engine and the library have. */
export class Canaries {
  readonly #all: { readonly bytes: Uint8Array; readonly copy: string }[] = [];
  readonly #objects: { readonly value: unknown; readonly text: string }[] = [];

  constructor(random: Random) {
    for (const length of [1, 8, 16, 100, 500, 999, 1000, 1001, 4096, 100_000]) {
      for (let i = 0; i < 8; i++) {
        this.#add(Uint8Array.from({ length }, () => random.below(256)));
        const pinned = alloc(length).bytes;
        for (let at = 0; at < length; at++) pinned[at] = random.below(256);
        this.#add(pinned);
      }
    }
    for (let i = 0; i < 500; i++) {
      const value = { i, list: [random.u32(), `${random.u32()}`, { deep: [i / 3] }], text: "x".repeat(i) };
      this.#objects.push({ value, text: JSON.stringify(value) });
    }
  }

  #add(bytes: Uint8Array): void {
    this.#all.push({ bytes, copy: hex(bytes) });
  }

  /** Throws when one has changed. */
  check(): void {
    for (const { bytes, copy } of this.#all)
      assert.equal(hex(bytes), copy, `${bytes.length} bytes were changed`);
    for (const { value, text } of this.#objects) assert.equal(JSON.stringify(value), text);
  }
}

function hex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
