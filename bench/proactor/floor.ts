/**
 * What a promise an operation costs whoever makes it: the promise, keeping what settles it, settling a batch of them at the
 * end of the turn, and the continuation.
 */
export class Floor {
  readonly #resolves: ((value: number) => void)[];
  #count = 0;
  readonly #executor = (resolve: (value: number) => void): void => {
    this.#resolves[this.#count++] = resolve;
  };
  readonly #settle = (): void => {
    const count = this.#count;
    this.#count = 0;
    for (let i = 0; i < count; i++) this.#resolves[i]?.(0);
  };

  constructor(depth: number) {
    this.#resolves = Array.from({ length: depth }, () => () => {});
  }

  call(): Promise<number> {
    if (this.#count === 0) queueMicrotask(this.#settle);
    return new Promise(this.#executor);
  }
}
