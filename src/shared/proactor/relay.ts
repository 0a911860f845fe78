import { runtime } from "#runtime";
import { IORING_SETUP_COOP_TASKRUN, IORING_SETUP_SINGLE_ISSUER, IOSQE_IO_LINK } from "../abi/index.ts";
import { Direct } from "../ring/direct.ts";
import { errnoError } from "../ring/errno.ts";
import { alloc } from "../ring/pinned.ts";
import { Ring } from "../ring/ring.ts";
import type { Watch } from "../runtime.ts";

/** Operations of a chain, two for a wake: many, so that a wake seldom needs a system call to prepare the next. */
const CHAIN = 64;

const EVENTFD = new Direct(0);
const WAKER = new Direct(1);

/**
 * Has an eventfd wake the event loop, which the runtimes let do that with sockets alone: a small ring of its own, where a
 * read of the eventfd is linked to the send of a byte to a socket that the runtime waits for, and that to the next read.
 *
 * The kernel goes through the chain while the thread sleeps. It uses files of the ring's table, not fds: those go with
 * the ring when a Worker is terminated.
 */
export class Relay {
  readonly #ring: Ring;
  readonly #counter = alloc(8);
  readonly #watch: Watch;
  #begun = false;

  /**
   * @param eventfd one whose reads wait; the caller's to close, even at once
   * @param onWake called on the event loop after the eventfd has been signalled, once or more
   * @throws UringError EMFILE, ENFILE, ENOMEM; UringUnavailableError
   */
  constructor(eventfd: number, onWake: () => void) {
    const shim = runtime.load();
    const [waker, watched] = socketpair();
    let ring: Ring | undefined;
    try {
      // The kernel works for a ring in its thread, and wakes that for it. While it runs it need not be interrupted.
      const flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN;
      ring = new Ring({ entries: CHAIN, cqEntries: CHAIN, flags });
      ring.registerFiles([eventfd, waker]);
      this.#ring = ring;
      this.#watch = runtime.watch(watched, onWake);
    } catch (error) {
      ring?.close();
      shim.close(watched);
      throw error;
    } finally {
      shim.close(waker);
    }
  }

  /**
   * Sees to it that signals wake the loop: a chain that is at its end, or that an error has cut short, is begun anew.
   *
   * @returns `false` when the kernel could not do that now. The relay is of no more use then than to be closed.
   */
  ready(): boolean {
    const ring = this.#ring;
    if (this.#begun && ring.cqReady < CHAIN) return true;
    ring.cqAdvance(ring.cqReady);
    for (let i = 0; i < CHAIN; i += 2) {
      ring.getSqe()?.prepRead(EVENTFD, this.#counter, 8, 0).addFlags(IOSQE_IO_LINK);
      ring.getSqe()?.prepSend(WAKER, this.#counter, 1, 0).addFlags(IOSQE_IO_LINK);
    }
    this.#begun = ring.submit() === CHAIN;
    return this.#begun;
  }

  /** Whether the process is kept running for the eventfd, which it is at first. */
  hold(on: boolean): void {
    if (on) this.#watch.ref();
    else this.#watch.unref();
  }

  /** Ends it: calls nothing back from now on. */
  close(): void {
    this.#watch.close();
    if (this.#ring.close().leaked === 0) this.#counter[Symbol.dispose]();
  }
}

function socketpair(): [number, number] {
  const fds = new Int32Array(new ArrayBuffer(8));
  const result = runtime.load().socketpair(new Uint8Array(fds.buffer));
  if (result < 0) throw errnoError(-result, "socketpair");
  return [...fds] as [number, number];
}
