import { Arena, type Block } from "../../src/shared/ring/arena.ts";
import type { Random } from "./random.ts";

const POISON = 0xdb;
const POISONED = 0xdbdbdbdb | 0;

interface Held {
  readonly arena: Arena;
  readonly block: Block;
  readonly words: Int32Array;
}

/**
 * Memory of the library that was given back is poisoned. One half of it may be used again at once, so that what is written
 * late ends up in somebody else's data; the other half stays here for a while and must not change.
 */
export class Quarantine {
  readonly #random: Random;
  readonly #fail: (message: string) => never;
  readonly #held: Held[] = [];
  readonly #give: Arena["give"] = Arena.prototype.give;
  checked = 0;

  constructor(random: Random, fail: (message: string) => never) {
    this.#random = random;
    this.#fail = fail;
    const put = (arena: Arena, block: Block) => this.#put(arena, block);
    Arena.prototype.give = function (this: Arena, block: Block): void {
      put(this, block);
    };
  }

  #put(arena: Arena, block: Block): void {
    const words = new Int32Array(block.buffer, block.offset, 2 ** block.order / 4);
    words.fill(POISONED);
    if (this.#random.below(2) === 0) {
      this.#give.call(arena, block);
      return;
    }
    this.#held.push({ arena, block, words });
    if (this.#held.length > 512) this.#release();
  }

  #release(): void {
    const { arena, block, words } = this.#held.shift() as Held;
    this.checked++;
    for (let i = 0; i < words.length; i++) {
      if (words[i] === POISONED) continue;
      const bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
      const at = bytes.findIndex((byte) => byte !== POISON);
      this.#fail(`byte ${at} of ${bytes.length} was changed to ${bytes[at]} after its memory was given back`);
    }
    this.#give.call(arena, block);
  }

  /** Looks at all that is here, and lets it go. */
  empty(): void {
    while (this.#held.length > 0) this.#release();
  }
}
