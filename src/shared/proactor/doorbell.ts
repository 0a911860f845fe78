import { runtime } from "#runtime";
import { UringError } from "../errors.ts";
import { errnoError } from "../ring/errno.ts";
import type { Ring } from "../ring/ring.ts";
import type { Watch } from "../runtime.ts";
import { queues } from "./driven-ring.ts";

/** How many numbers of an eventfd are tried. */
const ATTEMPTS = 64;

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

  /** Whether the process is kept running for it. */
  get held(): boolean {
    return this.#held;
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
    queues.cqEventfdToggle(this.#ring, true);
    this.#armed = !this.#ring.pending;
    if (!this.#armed) queues.cqEventfdToggle(this.#ring, false);
    return this.#armed;
  }

  /** After `arm` has found something: arms all the same, for who looks himself at what is there. */
  armBlindly(): void {
    queues.cqEventfdToggle(this.#ring, true);
    this.#armed = true;
  }

  /** Has nothing ring. To be called before the ring is entered, which would ring for what it brings. */
  silence(): void {
    if (!this.#armed) return;
    this.#armed = false;
    queues.cqEventfdToggle(this.#ring, false);
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
    try {
      queues.unregisterEventfd(this.#ring);
    } catch (error) {
      // Who has the ring's fd may have done so.
      if (!(error instanceof UringError && error.code === "ENXIO")) throw error;
    }
    this.#watch.close();
    this.#watch = undefined;
  }

  #connect(): void {
    const shim = runtime.load();
    const refused: number[] = [];
    let watch: Watch | undefined;
    let eventfd = -1;
    try {
      while (watch === undefined) {
        eventfd = shim.eventfd();
        if (eventfd < 0) throw errnoError(-eventfd, "eventfd2");
        watch = this.#tryWatch(eventfd, refused);
      }
    } finally {
      for (const fd of refused) shim.close(fd);
    }
    try {
      queues.cqEventfdToggle(this.#ring, false);
      queues.registerEventfd(this.#ring, eventfd);
    } catch (error) {
      watch.close();
      throw error;
    }
    if (!this.#held) watch.unref();
    this.#watch = watch;
  }

  /**
   * A runtime may take a number for that of a file which it still lists, since it was closed without its knowledge. Another
   * number may do, so this one stays in use meanwhile.
   */
  #tryWatch(eventfd: number, refused: number[]): Watch | undefined {
    try {
      return runtime.watch(eventfd, () => this.#signalled());
    } catch (error) {
      refused.push(eventfd);
      if (refused.length === ATTEMPTS) throw error;
      return undefined;
    }
  }

  /** What was under way when it was silenced tells nothing that is not known. */
  #signalled(): void {
    if (!this.#armed) return;
    this.#rings++;
    this.#onRing();
  }
}
