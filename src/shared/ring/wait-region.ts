import { IORING_REG_WAIT_TS, io_uring_reg_wait } from "../abi/index.ts";
import { whole } from "../structs/fields.ts";
import type { Pinned } from "./pinned.ts";
import { checkTimes, putTimeout, SIGSET_SIZE, signalMask, type WaitOptions } from "./wait.ts";

/** Bytes a slot takes: the kernel's struct, and apart from these the mask it points to. */
export const WAIT_SLOT: number = io_uring_reg_wait.sizeof + SIGSET_SIZE;

/** What a slot says of a wait. */
export type RegisteredWait = Pick<WaitOptions, "timeout" | "minWait" | "sigmask">;

/**
 * Wait options in memory that the kernel knows, from `ring.registerWaitRegion`: a wait then names a slot, and the kernel
 * has nothing to copy. A slot can be changed at any time between waits.
 */
export class WaitRegion {
  /** How many slots there are. */
  readonly length: number;
  readonly #memory: Pinned;
  readonly #view: DataView;

  /** @internal */
  constructor(memory: Pinned, length: number) {
    this.length = length;
    this.#memory = memory;
    this.#view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset, memory.byteLength);
  }

  /**
   * Says what a wait with a slot's number is to do.
   *
   * @param index the slot
   * @param options as for `submitAndWait`; a slot never set waits without limit
   */
  set(index: number, options: RegisteredWait): void {
    const at = whole(index, 0, this.length - 1, "a slot's number") * io_uring_reg_wait.sizeof;
    if (typeof options !== "object" || options === null)
      throw new TypeError("wait options must be an object");
    const { timeout, minWait = 0 } = options;
    checkTimes(timeout, minWait);
    const sigmask = options.sigmask === undefined ? undefined : signalMask(options.sigmask);

    const layout = io_uring_reg_wait;
    const view = this.#view;
    this.#memory.bytes.fill(0, at, at + layout.sizeof);
    if (timeout !== undefined) {
      putTimeout(view, at + layout.ts, timeout);
      view.setUint32(at + layout.flags, IORING_REG_WAIT_TS, true);
    }
    view.setUint32(at + layout.min_wait_usec, Math.ceil(minWait * 1000), true);
    if (sigmask !== undefined) {
      const mask = this.length * layout.sizeof + index * SIGSET_SIZE;
      view.setBigUint64(mask, sigmask, true);
      view.setBigUint64(at + layout.sigmask, BigInt(this.#memory.address + mask), true);
      view.setUint32(at + layout.sigmask_sz, SIGSET_SIZE, true);
    }
  }
}
