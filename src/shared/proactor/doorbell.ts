import { runtime } from "#runtime";
import { errnoError } from "../ring/errno.ts";
import type { Ring } from "../ring/ring.ts";
import type { Watch } from "../runtime.ts";

/**
 * Wakes this thread's event loop when a ring has something for it.
 *
 * With `IORING_SETUP_DEFER_TASKRUN` the ring must have `IORING_SETUP_TASKRUN_FLAG`, and nobody else may use its eventfd.
 * Its eventfd it makes when it is first armed.
 */
export class Doorbell {
  readonly #ring: Ring;
  readonly #onRing: () => void;
  #watch: Watch | undefined;
  #armed = false;
  #held = false;
  #rings = 0;

  /**
   * A silent doorbell that lets the process end.
   *
   * @param onRing called on the event loop once or more after each `arm`, while that holds
   */
  constructor(ring: Ring, onRing: () => void) {
    this.#ring = ring;
    this.#onRing = onRing;
  }

  /** How often it has rung. */
  get rings(): number {
    return this.#rings;
  }

  /**
   * Has what comes up in the ring from now on ring.
   *
   * @returns `false` where something is there already: it stays silent then, and the ring is to be entered
   * @throws UringError EMFILE, ENFILE, ENOMEM at the first call, where there is no room for an eventfd
   */
  arm(): boolean {
    if (this.#watch === undefined) this.#connect();
    // In this order: what comes in between rings, or is seen here.
    this.#ring.cqEventfdToggle(true);
    this.#armed = !this.#ring.pending;
    if (!this.#armed) this.#ring.cqEventfdToggle(false);
    return this.#armed;
  }

  /** Has nothing ring. To be called before the ring is entered, which would ring for what it brings. */
  silence(): void {
    if (!this.#armed) return;
    this.#armed = false;
    this.#ring.cqEventfdToggle(false);
  }

  /** Says whether the process is to be kept running for it. */
  hold(on: boolean): void {
    if (on === this.#held) return;
    this.#held = on;
    if (on) this.#watch?.ref();
    else this.#watch?.unref();
  }

  /** Gives all it has back; calls nothing back from now on. To be called before the ring is closed. */
  close(): void {
    if (this.#watch === undefined) return;
    this.silence();
    this.#ring.unregisterEventfd();
    this.#watch.close();
    this.#watch = undefined;
  }

  #connect(): void {
    const shim = runtime.load();
    const eventfd = shim.eventfd();
    if (eventfd < 0) throw errnoError(-eventfd, "eventfd2");
    const watch = runtime.watch(eventfd, () => this.#signalled());
    try {
      this.#ring.cqEventfdToggle(false);
      this.#ring.registerEventfd(eventfd);
    } catch (error) {
      watch.close();
      throw error;
    }
    if (!this.#held) watch.unref();
    this.#watch = watch;
  }

  /** What was under way when it was silenced tells nothing that is not known. */
  #signalled(): void {
    if (!this.#armed) return;
    this.#rings++;
    this.#onRing();
  }
}
