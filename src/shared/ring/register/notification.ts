import {
  IORING_CQ_EVENTFD_DISABLED,
  IORING_ENTER_NO_IOWAIT,
  IORING_FEAT_NO_IOWAIT,
  IORING_REGISTER_CLOCK,
  IORING_REGISTER_EVENTFD,
  IORING_REGISTER_EVENTFD_ASYNC,
  IORING_REGISTER_NAPI,
  IORING_UNREGISTER_EVENTFD,
  IORING_UNREGISTER_NAPI,
  io_uring_clock_register,
  io_uring_napi,
} from "../../abi/index.ts";
import { whole } from "../../structs/fields.ts";
import { Argument } from "../argument.ts";
import { errnoError } from "../errno.ts";
import { BufRingRegistration } from "./buf-rings.ts";
import { boolean, object } from "./values.ts";

const ENXIO = 6;
const EBUSY = 16;
const EINVAL = 22;
const EOPNOTSUPP = 95;

/** How a ring polls network devices while it waits. */
export interface Napi {
  /** Milliseconds to poll at most, exact to a microsecond; 0 polls once. */
  readonly busyPollTimeout: number;
  /** Whether polling is to stand in for the device's interrupts. */
  readonly preferBusyPoll: boolean;
}

/** How a ring tells of completions, and how it waits for them. */
export class NotificationRegistration extends BufRingRegistration {
  /**
   * Adds one to an eventfd's counter for each completion posted, or once for several. One eventfd a ring.
   *
   * @param fd an eventfd, of which the kernel keeps a reference of its own
   * @throws UringError EBUSY when one is registered already; EBADF, EINVAL for what is no eventfd. Linux 5.2. See
   * io_uring_register_eventfd(3).
   */
  registerEventfd(fd: number): void {
    this.#eventfd(IORING_REGISTER_EVENTFD, fd);
  }

  /**
   * As `registerEventfd`, for completions alone that the kernel's worker threads post. Linux 5.6. See
   * io_uring_register_eventfd_async(3).
   */
  registerEventfdAsync(fd: number): void {
    this.#eventfd(IORING_REGISTER_EVENTFD_ASYNC, fd);
  }

  /**
   * Tells the eventfd of nothing any more.
   *
   * @throws UringError ENXIO when none is registered. Linux 5.2. See io_uring_unregister_eventfd(3).
   */
  unregisterEventfd(): void {
    this.register(IORING_UNREGISTER_EVENTFD, 0, 0, { [ENXIO]: "No eventfd is registered" });
  }

  /** Whether completions are to be signalled to an eventfd. See io_uring_cq_eventfd_enabled(3). */
  get cqEventfdEnabled(): boolean {
    return (this.cqFlags & IORING_CQ_EVENTFD_DISABLED) === 0;
  }

  /**
   * Has completions signalled to the registered eventfd, or not, without a system call. What is posted meanwhile is not
   * made up for: after enabling, look at the queue before sleeping. Linux 5.8. See io_uring_cq_eventfd_toggle(3).
   */
  cqEventfdToggle(enabled: boolean): void {
    const others = this.cqFlags & ~IORING_CQ_EVENTFD_DISABLED;
    this.cqFlags = boolean(enabled, "enabled") ? others : others | IORING_CQ_EVENTFD_DISABLED;
  }

  /**
   * Says whether the time this thread waits for completions counts as waiting for I/O, which tools show as iowait and
   * the kernel takes as a hint to keep the CPU's clock up. It does unless set otherwise.
   *
   * @throws UringError EOPNOTSUPP without `IORING_FEAT_NO_IOWAIT`. Linux 6.15. See io_uring_set_iowait(3).
   */
  setIowait(enabled: boolean): void {
    const on = boolean(enabled, "enabled");
    if ((this.features & IORING_FEAT_NO_IOWAIT) === 0) {
      throw errnoError(EOPNOTSUPP, "io_uring_set_iowait", {
        hint: "The feature IORING_FEAT_NO_IOWAIT came with Linux 6.15",
      });
    }
    this.setEnterFlag(IORING_ENTER_NO_IOWAIT, !on);
  }

  /**
   * Polls the network devices behind the ring's sockets while waiting for completions.
   *
   * @returns what was set before
   * @throws UringError EINVAL on a ring with `IORING_SETUP_IOPOLL`; EOPNOTSUPP where the kernel was built without. Linux
   * 6.9. See io_uring_register_napi(3).
   */
  registerNapi(napi: Napi): Napi {
    const { busyPollTimeout, preferBusyPoll } = object(napi, "napi");
    const microseconds = microsecondsOf(busyPollTimeout);
    const prefer = boolean(preferBusyPoll, "preferBusyPoll");
    using argument = new Argument(io_uring_napi.sizeof);
    argument.view.setUint32(io_uring_napi.busy_poll_to, microseconds, true);
    argument.view.setUint8(io_uring_napi.prefer_busy_poll, prefer ? 1 : 0);
    this.register(IORING_REGISTER_NAPI, argument.address, 1);
    return napiOf(argument.view);
  }

  /**
   * Polls devices no longer.
   *
   * @returns what was set before
   * @throws UringError as `registerNapi`. Linux 6.9. See io_uring_unregister_napi(3).
   */
  unregisterNapi(): Napi {
    using argument = new Argument(io_uring_napi.sizeof);
    this.register(IORING_UNREGISTER_NAPI, argument.address, 1);
    return napiOf(argument.view);
  }

  /**
   * Chooses the clock that time limits of waits are measured by.
   *
   * @param clockid `CLOCK_MONOTONIC`, as without this call, or `CLOCK_BOOTTIME`, which goes on while the system sleeps
   * @throws UringError EINVAL for another clock. Linux 6.12. See io_uring_register_clock(3).
   */
  registerClock(clockid: number): void {
    const id = whole(clockid, -0x8000_0000, 0xffff_ffff, "clockid");
    using argument = new Argument(io_uring_clock_register.sizeof);
    argument.view.setInt32(io_uring_clock_register.clockid, id, true);
    const hints = { [EINVAL]: "A ring's clock is CLOCK_MONOTONIC or CLOCK_BOOTTIME" };
    this.register(IORING_REGISTER_CLOCK, argument.address, 0, hints);
  }

  #eventfd(opcode: number, fd: number): void {
    using argument = new Argument(4);
    argument.view.setInt32(0, whole(fd, -0x8000_0000, 0x7fff_ffff, "fd"), true);
    this.register(opcode, argument.address, 1, {
      [EBUSY]: "An eventfd is registered already: a ring has one",
      [EINVAL]: "The fd is no eventfd's",
    });
  }
}

function microsecondsOf(milliseconds: unknown): number {
  if (typeof milliseconds !== "number") {
    throw new TypeError(`busyPollTimeout must be a number of milliseconds, not ${typeof milliseconds}`);
  }
  const microseconds = Math.round(milliseconds * 1000);
  if (!(microseconds >= 0 && microseconds <= 0xffff_ffff)) {
    throw new RangeError(`busyPollTimeout must be 0 to 4294967.295 milliseconds, not ${milliseconds}`);
  }
  return microseconds;
}

function napiOf(view: DataView): Napi {
  return {
    busyPollTimeout: view.getUint32(io_uring_napi.busy_poll_to, true) / 1000,
    preferBusyPoll: view.getUint8(io_uring_napi.prefer_busy_poll) !== 0,
  };
}
