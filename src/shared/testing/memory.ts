import { arenaChunk } from "../ring/arena.ts";
import type { Shim } from "../runtime.ts";

/** Where addresses are made up, they are none that any kernel would take. */
const MADE_UP = 2 ** 50;
const ALIGNMENT = 65536;
/** Claims are looked up by pages of this size. */
const PAGE = 4096;
/** So many views are remembered before those whose memory is gone are forgotten. */
const MANY = 10_000;

/** A piece of memory. */
export interface Span {
  readonly address: number;
  readonly length: number;
}

/** A piece of memory that someone uses until he lets it go. */
export interface Claim<Owner> extends Span {
  readonly owner: Owner;
  /** Whether it may be written. */
  readonly writes: boolean;
}

interface View {
  readonly buffer: WeakRef<ArrayBufferLike>;
  readonly offset: number;
  readonly length: number;
}

/** The memory that the kernel was told of, by address, and which of it is in use. */
export class Memory<Owner> {
  readonly #real: Shim | undefined;
  readonly #views = new Map<number, View>();
  readonly #mapped = new Map<number, ArrayBuffer>();
  readonly #madeUp = new WeakMap<ArrayBufferLike, number>();
  #next = MADE_UP;
  #many = MANY;
  readonly #pages = new Map<number, Set<Claim<Owner>>>();

  /** @param real the native library, where there is one: addresses are then real ones */
  constructor(real: Shim | undefined) {
    this.#real = real;
  }

  /** `Shim.address`, which makes the memory known. */
  address(view: Uint8Array): number {
    const { buffer, byteOffset } = view;
    const address = this.#real === undefined ? this.#make(buffer) + byteOffset : this.#real.address(view);
    const known = this.#views.get(address);
    if (known?.buffer.deref() !== buffer) {
      if (this.#views.size >= this.#many) this.#forget();
      this.#views.set(address, {
        buffer: new WeakRef(buffer),
        offset: byteOffset,
        length: buffer.byteLength - byteOffset,
      });
    }
    return address;
  }

  /** New memory of the kernel's own; its address. */
  map(length: number): number {
    const buffer = new ArrayBuffer(length);
    const address = this.#make(buffer);
    this.#mapped.set(address, buffer);
    return address;
  }

  /** What was mapped at an address. */
  mapped(address: number): ArrayBuffer | undefined {
    return this.#mapped.get(address);
  }

  /** Undoes `map`; whether there was something. */
  unmap(address: number): boolean {
    return this.#mapped.delete(address);
  }

  /** The bytes at an address; `undefined` where no memory is known that has them all, and still lives. */
  bytes(address: number, length: number): Uint8Array | undefined {
    const found = this.#find(address, length);
    return found && new Uint8Array(found.buffer, found.offset, length);
  }

  /** As `bytes`, to read numbers from. */
  view(address: number, length: number): DataView | undefined {
    const found = this.#find(address, length);
    return found && new DataView(found.buffer, found.offset, length);
  }

  /** The string at an address, up to its NUL. */
  text(address: number): string | undefined {
    const found = this.#find(address, 1);
    if (found === undefined) return undefined;
    const bytes = new Uint8Array(found.buffer, found.offset);
    const end = bytes.indexOf(0);
    // A copy: decoders take no shared memory.
    return end < 0 ? undefined : new TextDecoder().decode(bytes.slice(0, end));
  }

  /** Notes that memory is in use; by whom else it is in a way that goes not together. */
  claim(claim: Claim<Owner>): Claim<Owner> | undefined {
    const clash = this.claims(claim).find(
      (other) => other.owner !== claim.owner && (other.writes || claim.writes),
    );
    for (const page of pagesOf(claim)) {
      const claims = this.#pages.get(page);
      if (claims === undefined) this.#pages.set(page, new Set([claim]));
      else claims.add(claim);
    }
    return clash;
  }

  /** Notes that memory is no longer in use. */
  release(claim: Claim<Owner>): void {
    for (const page of pagesOf(claim)) {
      const claims = this.#pages.get(page);
      claims?.delete(claim);
      if (claims?.size === 0) this.#pages.delete(page);
    }
  }

  /** Who uses a piece of memory. */
  claims(span: Span): Claim<Owner>[] {
    const end = span.address + span.length;
    return pagesOf(span).flatMap((page) =>
      [...(this.#pages.get(page) ?? [])].filter(
        ({ address, length }) => address < end && span.address < address + length,
      ),
    );
  }

  #find(address: number, length: number): { buffer: ArrayBufferLike; offset: number } | undefined {
    const chunk = arenaChunk(address);
    if (chunk !== undefined) {
      const offset = address - chunk.address;
      return offset + length <= chunk.buffer.byteLength ? { buffer: chunk.buffer, offset } : undefined;
    }
    const exact = this.#within(address, this.#views.get(address), address, length);
    if (exact !== undefined) return exact;
    for (const [start, buffer] of this.#mapped) {
      if (address >= start && address + length <= start + buffer.byteLength)
        return { buffer, offset: address - start };
    }
    for (const [start, view] of this.#views) {
      const found = address > start ? this.#within(start, view, address, length) : undefined;
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #within(
    start: number,
    view: View | undefined,
    address: number,
    length: number,
  ): { buffer: ArrayBufferLike; offset: number } | undefined {
    if (view === undefined || address + length > start + view.length) return undefined;
    const buffer = view.buffer.deref();
    // What was transferred has no bytes any more.
    if (buffer === undefined || buffer.byteLength < view.offset + view.length) return undefined;
    return { buffer, offset: view.offset + address - start };
  }

  #forget(): void {
    for (const [address, { buffer }] of this.#views) {
      if (buffer.deref() === undefined) this.#views.delete(address);
    }
    this.#many = Math.max(MANY, 2 * this.#views.size);
  }

  #make(buffer: ArrayBufferLike): number {
    const known = this.#madeUp.get(buffer);
    if (known !== undefined) return known;
    const address = this.#next;
    this.#madeUp.set(buffer, address);
    // One more, so that what runs over one's end is not within another.
    this.#next += (Math.ceil(buffer.byteLength / ALIGNMENT) + 1) * ALIGNMENT;
    return address;
  }
}

function pagesOf({ address, length }: Span): number[] {
  const first = Math.floor(address / PAGE);
  const count = Math.floor((address + Math.max(length, 1) - 1) / PAGE) - first + 1;
  return Array.from({ length: count }, (_, i) => first + i);
}
