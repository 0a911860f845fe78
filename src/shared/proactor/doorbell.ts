import { runtime } from "#runtime";
import { errnoError } from "../ring/errno.ts";
import type { Ring } from "../ring/ring.ts";
import { Relay } from "./relay.ts";

/**
 * Wakes this thread's event loop when a ring has something for it.
 *
 * With `IORING_SETUP_DEFER_TASKRUN` the ring must have `IORING_SETUP_TASKRUN_FLAG`, and nobody else may use its eventfd.
 * What the doorbell itself needs it makes when it is first armed.
 */
export class Doorbell {
  readonly #ring: Ring;
  readonly #onRing: () => void;
  #relay: Relay | undefined;
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
   * @returns `false` where something is there already, or the kernel has no memory for it: it stays silent then, and the
   * ring is to be entered
   * @throws UringError EMFILE, ENFILE, ENOMEM at the first call, where there is no room for what it needs
   */
  arm(): boolean {
    const relay = this.#relay ?? this.#connect();
    if (!relay.ready()) {
      this.#disconnect();
      return false;
    }
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
    this.#relay?.hold(on);
  }

  /** Gives back all it has, the ring's eventfd included; calls nothing back from now on. Before the ring is closed. */
  close(): void {
    this.silence();
    if (this.#relay !== undefined) this.#disconnect();
  }

  #connect(): Relay {
    const shim = runtime.load();
    const eventfd = shim.eventfd();
    if (eventfd < 0) throw errnoError(-eventfd, "eventfd2");
    let relay: Relay | undefined;
    try {
      relay = new Relay(eventfd, () => this.#ringIfArmed());
      this.#ring.cqEventfdToggle(false);
      this.#ring.registerEventfd(eventfd);
    } catch (error) {
      relay?.close();
      throw error;
    } finally {
      // The two rings have it.
      shim.close(eventfd);
    }
    if (!this.#held) relay.hold(false);
    this.#relay = relay;
    return relay;
  }

  #disconnect(): void {
    this.#relay?.close();
    this.#relay = undefined;
    if (!this.#ring.closed) this.#ring.unregisterEventfd();
  }

  /** A ring that was under way when it was silenced tells nothing that is not known. */
  #ringIfArmed(): void {
    if (!this.#armed) return;
    this.#rings++;
    this.#onRing();
  }
}
