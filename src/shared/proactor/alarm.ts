/** As long as the runtimes' timers can wait, in milliseconds: almost 25 days. */
const LONGEST_MS = 2 ** 31 - 1;

/** A timer of the runtime's own, for what the kernel's can not do. */
export class Alarm implements Disposable {
  readonly #timer: ReturnType<typeof setTimeout>;

  /**
   * @param ms milliseconds until `onRing` is called; as long as runtimes can wait, where that is longer
   * @param hold whether it keeps the process running, which mostly the operation that it is for does
   */
  constructor(ms: number, onRing: () => void, hold = false) {
    this.#timer = setTimeout(onRing, Math.min(ms, LONGEST_MS));
    // An object in both runtimes, whatever their declarations say; a number where a test has put its own clock in place.
    if (!hold) (this.#timer as { unref?(): void }).unref?.();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
