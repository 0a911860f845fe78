/**
 * A slot of the ring's table of registered files, used where an fd could stand: `sqe.prepRead(new Direct(3), …)`.
 */
export class Direct {
  /** Index into the table. */
  readonly slot: number;
  readonly #slot: number;

  /** @throws RangeError unless `slot` is a whole number from 0 to 2^31 - 1 */
  constructor(slot: number) {
    if ((slot | 0) !== slot || slot < 0)
      throw new RangeError(`a slot of the file table is needed, not ${slot}`);
    this.slot = this.#slot = slot;
  }

  /** @internal The slot, whatever a property of the object's own says. */
  static slotOf(direct: Direct): number {
    return direct.#slot;
  }
}

/** What an operation works on: a file descriptor, or a slot of the ring's table of registered files. */
export type Target = number | Direct;
