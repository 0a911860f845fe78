/** Memory that a ring and its program share for parameters, from `ring.registerRegion`. */
export class Region {
  readonly #bytes: () => Uint8Array;

  /** @internal */
  constructor(bytes: () => Uint8Array) {
    this.#bytes = bytes;
  }

  /** The memory itself. The kernel's own is gone once the ring is closed: views of it are then empty. */
  get bytes(): Uint8Array {
    return this.#bytes();
  }
}
