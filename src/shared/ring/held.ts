/** The views of every ring that is open or was closed too early, so that a ring dropped without close keeps them. */
const registry = new Set<HeldViews>();

/**
 * Calls back once no ring keeps an object any more: at once where none does, not before the last of those that do has been
 * idle.
 */
export function whenReleased(memory: object, release: () => void): void {
  const holders = [...registry].filter((held) => held.holds(memory));
  let left = holders.length;
  if (left === 0) release();
  for (const held of holders) held.whenIdle(() => --left === 0 && release());
}

/**
 * Views of callers that the kernel may still read or write: they must not be collected.
 *
 * Which completion ends the use of which view only the caller knows, whose the `user_data` is. So all are kept until no
 * operation is in flight, or the ring is closed.
 */
export class HeldViews {
  #used = new Set<object>();
  readonly #provided = new Set<object>();
  #callbacks: (() => void)[] = [];

  constructor() {
    registry.add(this);
  }

  /** Keeps memory, a view's buffer or a struct that points to some, until `releaseIdle`. */
  hold(memory: object): void {
    this.#used.add(memory);
  }

  /** Keeps memory until `releaseAll`: the kernel may use it for operations to come. */
  holdForGood(memory: object): void {
    this.#provided.add(memory);
  }

  /** Whether operations in flight may be using something. */
  holds(memory: object): boolean {
    return this.#used.has(memory);
  }

  /** Calls back at the next `releaseIdle` or `releaseAll`. */
  whenIdle(release: () => void): void {
    this.#callbacks.push(release);
  }

  /** Lets go of what operations used: none is in flight. */
  releaseIdle(): void {
    if (this.#used.size > 0) this.#used.clear();
    if (this.#callbacks.length === 0) return;
    const callbacks = this.#callbacks;
    this.#callbacks = [];
    for (const release of callbacks) release();
  }

  /** Lets go of everything: the kernel is done with the ring. */
  releaseAll(): void {
    registry.delete(this);
    this.releaseIdle();
    this.#provided.clear();
  }
}
