/** What is told of resources that are gone. */
export interface Tags {
  /** The tag of a resource, by its place among those that are registered together; 0 for none. */
  of(i: number): bigint;
  /** Tells of a tag, unless it is 0. */
  tell(tag: bigint): void;
}

/** Of resources that nothing is told of. */
export const UNTAGGED: Tags = { of: () => 0n, tell() {} };

/** What a registered file or buffer is: it lives while it has a place in a table, and while operations use it. */
export class Resource<T> {
  readonly value: T;
  readonly #gone: () => void;
  #holders = 1;

  constructor(value: T, gone: () => void) {
    this.value = value;
    this.#gone = gone;
  }

  /** One more uses it. */
  hold(): this {
    this.#holders++;
    return this;
  }

  /** One less does. */
  release(): void {
    if (--this.#holders === 0) this.#gone();
  }
}
