import { IOSQE_IO_LINK } from "../abi/index.ts";
import type { Sqe } from "../ring/sqe.ts";
import { encodeTimespec } from "../structs/timespec.ts";
import { Alarm } from "./alarm.ts";
import { timeoutError } from "./failure.ts";
import { type Canceller, type Operation, QUEUED } from "./operation.ts";

const ENOENT = 2;
const ETIME = 62;
const EALREADY = 114;

/**
 * Has operations end whose time is over: the runtime's timer ends those that wait in the queue, and what the kernel's timers
 * do not end; a timer linked to the operation ends all others, which costs no call.
 */
export class Deadlines {
  readonly #canceller: Canceller;
  /** Queued since the last look. */
  readonly #queued: Operation[] = [];

  constructor(canceller: Canceller) {
    this.#canceller = canceller;
  }

  /** An operation with a limit was queued. */
  add(operation: Operation): void {
    this.#queued.push(operation);
  }

  /** Whether there are any to be watched. */
  get waiting(): boolean {
    return this.#queued.length > 0;
  }

  /** Has those end in time that stay in the queue: the kernel's timer would begin with their turn. */
  watch(): void {
    for (const operation of this.#queued.splice(0)) {
      if (operation.state === QUEUED && operation.deadline > 0) this.setAlarm(operation);
    }
  }

  setAlarm(operation: Operation): void {
    // It may have one from the time it was queued, or be there twice as one that was aborted and called anew.
    if (operation.alarm !== null) return;
    const left = Math.max(operation.deadline - performance.now(), 0);
    operation.alarm = new Alarm(left, () => {
      this.#canceller.cancel(operation, timeoutError(operation.kind));
    });
  }

  /** Links a timer to an operation, in the entry after its own. */
  link(sqe: Sqe, operation: Operation, timer: Sqe): void {
    sqe.addFlags(operation.entryFlags | IOSQE_IO_LINK);
    operation.alarm?.[Symbol.dispose]();
    operation.alarm = null;
    const time = encodeTimespec(Math.max(operation.deadline - performance.now(), 0));
    operation.timer = time;
    operation.pending = 2;
    timer.prepLinkTimeout(time, 0).setFlags(operation.entryFlags);
  }

  /**
   * Whether it was a timer that ended its operation, by the timer's result: it was there first, whether it says so, that the
   * operation is under way, that it did not find it where the kernel looks last, or how many it has found.
   */
  static ranOut(res: number): boolean {
    return res === -ETIME || res === -EALREADY || res === -ENOENT || res > 0;
  }
}
