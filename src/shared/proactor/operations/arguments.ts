import { alloc, Pinned } from "../../ring/pinned.ts";
import { Iovecs } from "../../structs/iovecs.ts";
import { Lease } from "../lease.ts";

/** A path or a name: text, or its bytes where they are no text. It holds no NUL. */
export type Path = string | Uint8Array;

/** Memory that says how long it is. */
export type Piece = Pinned | Uint8Array | Lease;

/** What an operation is told beside what every one is told. */
export class Values<T> implements Disposable {
  readonly values: T;

  constructor(values: T) {
    this.values = values;
  }

  /** There is nothing to give back. */
  [Symbol.dispose](): void {}
}

/** Paths and names as the kernel reads them, behind a struct where the operation has one, in memory of their own. */
export class Strings<T = undefined> implements Disposable {
  /** The struct, and what follows. */
  readonly memory: Pinned;
  /** The address of the first string. */
  readonly first: number;
  /** The address of the second, or that of the end. */
  readonly second: number;
  readonly values: T;

  /** @throws TypeError for what is no path */
  constructor(strings: readonly Path[], structSize: number, values: T) {
    const encoded = strings.map(encode);
    const [first = 0, second = 0] = encoded.map(({ length }) => length + 1);
    this.memory = alloc(structSize + first + second);
    this.first = this.memory.address + structSize;
    this.second = this.first + first;
    this.values = values;
    let at = structSize;
    for (const bytes of encoded) {
      this.memory.bytes.set(bytes, at);
      at += bytes.length + 1;
    }
  }

  /** The first string, for messages. */
  get text(): string {
    return this.#textAt(this.first);
  }

  /** The second. */
  get secondText(): string {
    return this.#textAt(this.second);
  }

  #textAt(address: number): string {
    // A copy: some engines decode no memory of WebAssembly.
    const bytes = this.memory.bytes.slice(address - this.memory.address);
    return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
  }

  [Symbol.dispose](): void {
    this.memory[Symbol.dispose]();
  }
}

function encode(path: Path): Uint8Array {
  const bytes = bytesOf(path);
  if (bytes.includes(0)) {
    const text = JSON.stringify(new TextDecoder().decode(bytes));
    throw new TypeError(`the path ${text} holds a NUL, where the kernel would end it`);
  }
  return bytes;
}

function bytesOf(path: Path): Uint8Array {
  if (typeof path === "string") return new TextEncoder().encode(path);
  // Whatever a subclass says of its length, a copy has what is there.
  if (path instanceof Uint8Array) return new Uint8Array(path);
  throw new TypeError(`a path must be a string or its bytes, not ${path === null ? "null" : typeof path}`);
}

/** Memory that an operation uses beside its own: none of it is given back before the operation's end. */
export class Uses implements Disposable {
  readonly #pieces: readonly Piece[];

  /** @param pieces known to be memory that is there */
  constructor(pieces: readonly Piece[]) {
    const used: Piece[] = [];
    this.#pieces = used;
    try {
      for (const piece of pieces) {
        if (piece instanceof Pinned) Pinned.use(piece);
        else if (piece instanceof Lease) Lease.use(piece);
        used.push(piece);
      }
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    for (const piece of this.#pieces) {
      if (piece instanceof Pinned) Pinned.done(piece);
      else if (piece instanceof Lease) Lease.done(piece);
    }
  }
}

/** As many pieces as one read or write takes. */
const MOST_PIECES = 1024;

/** The pieces of memory that one operation fills or takes in turn. */
export class Pieces implements Disposable {
  /** Of the iovecs. */
  readonly address: number;
  readonly length: number;
  readonly #iovecs: Iovecs;
  readonly #uses: Uses;

  constructor(pieces: readonly Piece[]) {
    if (!Array.isArray(pieces)) throw new TypeError("an array of memory is needed");
    if (pieces.length > MOST_PIECES)
      throw new RangeError(
        `at most ${MOST_PIECES} pieces of memory are taken at a time, not ${pieces.length}`,
      );
    const kept: readonly Piece[] = Array.from(pieces);
    this.#iovecs = new Iovecs(kept.map((piece) => (piece instanceof Lease ? piece.bytes : piece)));
    try {
      this.#uses = new Uses(kept);
    } catch (error) {
      this.#iovecs[Symbol.dispose]();
      throw error;
    }
    this.address = this.#iovecs.address;
    this.length = kept.length;
  }

  [Symbol.dispose](): void {
    this.#uses[Symbol.dispose]();
    this.#iovecs[Symbol.dispose]();
  }
}
