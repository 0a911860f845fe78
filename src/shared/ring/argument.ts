import { allocInternal, type Pinned } from "./pinned.ts";

/**
 * Memory for the argument of one call, zeroed, and a view to write and read it by. For a block with `using`: the kernel
 * copies arguments.
 */
export class Argument {
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #memory: Pinned;

  constructor(bytes: number) {
    this.#memory = allocInternal(bytes);
    this.address = this.#memory.address;
    this.bytes = this.#memory.bytes;
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, bytes);
  }

  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
  }
}
