/** As long as the runtimes' timers can wait, in milliseconds: almost 25 days. */
const LONGEST_MS = 2 ** 31 - 1;

/**
 * A timer of the runtime's own, for what the kernel's can not limit. It does not keep the process running: the operation
 * that it is for does.
 */
export class Alarm implements Disposable {
  readonly #timer: ReturnType<typeof setTimeout>;

  /** @param ms milliseconds until `onRing` is called; as long as runtimes can wait, where that is longer */
  constructor(ms: number, onRing: () => void) {
    this.#timer = setTimeout(onRing, Math.min(ms, LONGEST_MS));
    // An object in both runtimes, whatever their declarations say.
    (this.#timer as unknown as { unref(): void }).unref();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
