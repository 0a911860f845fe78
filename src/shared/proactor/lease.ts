import { viewAddress, viewLength } from "../ring/view.ts";

/** What released bytes are overwritten with in debug mode: text that nobody sends. */
export const POISON = 0xdb;

/** Where a lease's memory comes from, and goes back to. */
export interface Lessor {
  /** Whether released bytes are to be poisoned. */
  readonly debug: boolean;
  /** The ring that its buffers are registered with. */
  readonly ring?: object | undefined;
  /** A buffer of which so many bytes were lent comes back. */
  release(bufferId: number, byteLength: number): void;
}

/**
 * Memory that is lent: a buffer of a pool, or the one that a completion brought. It is yours until you give it back, with
 * `using` or `[Symbol.dispose]()`; `bytes` throws from then on.
 *
 * An operation takes a lease wherever it takes memory. One that is given back while operations use it goes back at the end
 * of the last of them.
 */
export class Lease {
  readonly #bufferId: number;
  readonly #bytes: Uint8Array;
  readonly #lessor: Lessor;
  /** The index of the registered buffer it lies in, -1 for none. */
  readonly #registered: number;
  /** Not that of `bytes`, whose properties may say anything. */
  readonly #length: number;
  #users = 0;
  #live = true;

  /** @internal */
  constructor(lessor: Lessor, bytes: Uint8Array, bufferId: number, registered: number) {
    this.#lessor = lessor;
    this.#bytes = bytes;
    this.#length = viewLength(bytes);
    this.#bufferId = bufferId;
    this.#registered = registered;
  }

  /** @internal The address, for an operation: until `done` the memory is not given back. */
  static use(lease: Lease): number {
    if (!lease.#live) throw released();
    const address = viewAddress(lease.#bytes);
    lease.#users++;
    return address;
  }

  /** @internal The end of an operation. */
  static done(lease: Lease): void {
    if (--lease.#users === 0 && !lease.#live) lease.#giveBack();
  }

  /** @internal */
  static lengthOf(lease: Lease): number {
    return lease.#length;
  }

  /** @internal The index of the buffer that it lies in among those registered with a ring, -1 for none. */
  static bufferOf(lease: Lease, ring: object): number {
    return lease.#lessor.ring === ring ? lease.#registered : -1;
  }

  /** Which buffer it is, of its group or pool. */
  get bufferId(): number {
    return this.#bufferId;
  }

  /**
   * The memory itself. Throws a `TypeError` once the lease is released; views taken before must not be used any more: in
   * debug mode they are filled with 0xdb.
   */
  get bytes(): Uint8Array {
    if (!this.#live) throw released();
    return this.#bytes;
  }

  /** How many bytes there are. */
  get byteLength(): number {
    return this.#length;
  }

  /** Whether it was given back. */
  get released(): boolean {
    return !this.#live;
  }

  /** Gives the memory back. Does nothing the second time. */
  [Symbol.dispose](): void {
    if (!this.#live) return;
    this.#live = false;
    if (this.#users === 0) this.#giveBack();
  }

  #giveBack(): void {
    if (this.#lessor.debug) this.#bytes.fill(POISON);
    this.#lessor.release(this.#bufferId, this.#length);
  }
}

function released(): TypeError {
  return new TypeError("this lease was released: its memory is someone else's now");
}
