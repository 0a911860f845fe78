import { alloc, Direct, Ring } from "uring";
import { IORING_SETUP_COOP_TASKRUN, IORING_SETUP_SINGLE_ISSUER, IOSQE_IO_LINK } from "uring/abi";

/** Operations of a chain, two for a wake: many, so that a wake seldom needs a system call to prepare the next. */
const CHAIN = 64;

const EVENTFD = new Direct(0);
const WAKER = new Direct(1);

/**
 * Has an eventfd wake the event loop by way of a socket: in a small ring of its own a read of the eventfd is linked to the
 * send of a byte, and that to the next read. The kernel goes through the chain while the thread sleeps.
 */
export class Relay {
  readonly #ring: Ring;
  readonly #counter = alloc(8);
  #begun = false;

  /** @param fds an eventfd, and a socket to send a byte to for each signal; they are not needed any more afterwards */
  constructor(fds: readonly [eventfd: number, waker: number]) {
    // The kernel works for a ring in its thread, and wakes that for it. While it runs it need not be interrupted.
    const flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN;
    this.#ring = new Ring({ entries: CHAIN, cqEntries: CHAIN, flags });
    this.#ring.registerFiles(fds);
  }

  /** Sees to it that signals wake the loop: a chain that is at its end is begun anew. */
  prepare(): void {
    const ring = this.#ring;
    if (this.#begun && ring.cqReady < CHAIN) return;
    ring.cqAdvance(ring.cqReady);
    for (let i = 0; i < CHAIN; i += 2) {
      ring.getSqe()?.prepRead(EVENTFD, this.#counter, 8, 0).addFlags(IOSQE_IO_LINK);
      ring.getSqe()?.prepSend(WAKER, this.#counter, 1, 0).addFlags(IOSQE_IO_LINK);
    }
    ring.submit();
    this.#begun = true;
  }
}
