import type { Mem } from "../ring/entry.ts";
import { Pinned } from "../ring/pinned.ts";
import { viewAddress, viewLength } from "../ring/view.ts";
import { Lease } from "./lease.ts";
import type { Operation } from "./operation.ts";
import { checkLength } from "./options.ts";

const MAX_LENGTH = 0xffffffff;

/**
 * Gives an operation memory, from now until `giveBack`.
 *
 * @param length how many bytes of it, all where undefined
 * @param ring whose registered buffers can be told by their index
 */
export function lend(
  operation: Operation,
  memory: Mem | Lease,
  length: number | undefined,
  ring: object,
): void {
  if (memory instanceof Pinned) {
    operation.length = checkLength(length, Pinned.lengthOf(memory));
    operation.address = Pinned.use(memory);
    operation.memory = memory;
  } else {
    lendOther(operation, memory, length, ring);
  }
}

/** Memory that is not the library's own, or is only lent itself. */
function lendOther(
  operation: Operation,
  memory: Exclude<Mem, Pinned> | Lease,
  length: number | undefined,
  ring: object,
): void {
  if (memory instanceof Lease) {
    operation.length = checkLength(length, Lease.lengthOf(memory));
    const buffer = Lease.bufferOf(memory, ring);
    operation.address = Lease.use(memory);
    operation.memory = memory;
    operation.buffer = buffer;
    if (buffer >= 0) operation.plain = false;
  } else if (typeof memory === "number" || typeof memory === "bigint") {
    if (length === undefined)
      throw new TypeError("a raw address says nothing of its length: give the option length");
    operation.length = checkLength(length, MAX_LENGTH);
    operation.address = Number(memory);
  } else {
    const address = viewAddress(memory);
    operation.length = checkLength(length, viewLength(memory));
    operation.address = address;
    operation.memory = memory;
  }
}

/** What is to be said where an operation's memory was given away while the kernel used it. */
export function movedError({ memory, length, kind }: Operation): TypeError | null {
  if (length === 0 || !(memory instanceof Uint8Array) || viewLength(memory) > 0) return null;
  return new TypeError(
    `the memory of this ${kind.name} was transferred while the kernel used it: whoever has it now may see it change`,
  );
}

/** The kernel is done with an operation's memory. */
export function giveBack(memory: object): void {
  if (memory instanceof Pinned) Pinned.done(memory);
  else if (memory instanceof Lease) Lease.done(memory);
}
