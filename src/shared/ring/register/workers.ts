import {
  IO_WQ_BOUND,
  IO_WQ_UNBOUND,
  IORING_REGISTER_IOWQ_AFF,
  IORING_REGISTER_IOWQ_MAX_WORKERS,
  IORING_REGISTER_PERSONALITY,
  IORING_REGISTER_RESTRICTIONS,
  IORING_UNREGISTER_IOWQ_AFF,
  IORING_UNREGISTER_PERSONALITY,
  io_uring_restriction,
} from "../../abi/index.ts";
import { u32 } from "../../structs/fields.ts";
import { Argument } from "../argument.ts";
import { CpuSet } from "../cpu-set.ts";
import { Restrictions } from "../restrictions.ts";
import { NotificationRegistration } from "./notification.ts";
import { object } from "./values.ts";

const EBUSY = 16;
const EINVAL = 22;
const EBADFD = 77;

/** How many worker threads a ring may have on each of the system's memory nodes. */
export interface MaxWorkers {
  /** For work on regular files and block devices, which ends by itself. */
  readonly bounded: number;
  /** For everything else, such as sockets and pipes, which may wait for ever. */
  readonly unbounded: number;
}

/** Where and as whom a ring's operations run, and which are allowed. */
export class WorkerRegistration extends NotificationRegistration {
  /**
   * Binds the worker threads that start from now on to CPUs: those of this thread, whichever ring they work for; with
   * `IORING_SETUP_SQPOLL` those of the poller thread. One that is there already stays where it is, and ends when idle.
   *
   * @param cpus a `CpuSet`, or CPUs by number
   * @throws UringError EINVAL where this process may not run on all of them. Linux 5.14. See io_uring_register_iowq_aff(3).
   */
  registerIowqAff(cpus: CpuSet | readonly number[]): void {
    if (!(cpus instanceof CpuSet || Array.isArray(cpus))) {
      throw new TypeError("a CpuSet or an array of CPU numbers is needed");
    }
    const set = cpus instanceof CpuSet ? cpus : new CpuSet(cpus);
    const bytes = new Uint8Array(set.toBytes());
    using argument = new Argument(bytes.length);
    argument.bytes.set(bytes);
    this.register(IORING_REGISTER_IOWQ_AFF, argument.address, bytes.length);
  }

  /** Lets worker threads that start from now on run on any CPU again. Linux 5.14. See io_uring_unregister_iowq_aff(3). */
  unregisterIowqAff(): void {
    this.register(IORING_UNREGISTER_IOWQ_AFF, 0, 0);
  }

  /**
   * Limits the number of this thread's worker threads, whichever ring they work for.
   *
   * @param limits what is absent or 0 stays as it is
   * @returns the limits before
   * @throws RangeError for a limit that is no whole number. Linux 5.15. See io_uring_register_iowq_max_workers(3).
   */
  registerIowqMaxWorkers(limits: Partial<MaxWorkers> = {}): MaxWorkers {
    const { bounded = 0, unbounded = 0 } = object(limits, "limits");
    using argument = new Argument(8);
    argument.view.setUint32(4 * IO_WQ_BOUND, u32(bounded, "bounded"), true);
    argument.view.setUint32(4 * IO_WQ_UNBOUND, u32(unbounded, "unbounded"), true);
    this.register(IORING_REGISTER_IOWQ_MAX_WORKERS, argument.address, 2);
    return {
      bounded: argument.view.getUint32(4 * IO_WQ_BOUND, true),
      unbounded: argument.view.getUint32(4 * IO_WQ_UNBOUND, true),
    };
  }

  /**
   * Keeps the credentials that this thread has now: user, groups, capabilities. Operations run under them after
   * `sqe.setPersonality(id)`.
   *
   * @returns the id, from 1 on. Linux 5.6. See io_uring_register_personality(3).
   */
  registerPersonality(): number {
    return this.register(IORING_REGISTER_PERSONALITY, 0, 0);
  }

  /**
   * Gives credentials up. Operations under way keep them.
   *
   * @throws UringError EINVAL for an id that is none. Linux 5.6. See io_uring_unregister_personality(3).
   */
  unregisterPersonality(id: number): void {
    const hints = { [EINVAL]: "There are no registered credentials of this id" };
    this.register(IORING_UNREGISTER_PERSONALITY, 0, u32(id, "id"), hints);
  }

  /**
   * Allows the ring nothing but what is listed, from `enableRings()` on and for good.
   *
   * A list of operations alone allows no registration, and the other way round; an empty one allows nothing. `close()`
   * cancels what is in flight by `IORING_OP_ASYNC_CANCEL` and waits for its end with an `IORING_OP_NOP`: where these are
   * not allowed, it can only wait for operations to end by themselves.
   *
   * @throws UringError EBADFD on a ring that is enabled, EBUSY for a second list, EINVAL for an opcode the kernel does
   * not have. Linux 5.10. See io_uring_register_restrictions(3).
   */
  registerRestrictions(restrictions: Restrictions): void {
    if (!(restrictions instanceof Restrictions)) throw new TypeError("a Restrictions is needed");
    const list = [...restrictions];
    const layout = io_uring_restriction;
    using argument = new Argument(layout.sizeof * Math.max(1, list.length));
    list.forEach(([kind, value], i) => {
      argument.view.setUint16(i * layout.sizeof + layout.opcode, kind, true);
      argument.view.setUint8(i * layout.sizeof + layout.register_op, value);
    });
    this.register(IORING_REGISTER_RESTRICTIONS, argument.address, list.length, {
      [EBADFD]: "Restrictions are for a ring set up with IORING_SETUP_R_DISABLED that is not yet enabled",
      [EBUSY]: "The ring has restrictions already",
      [EINVAL]: "One of the opcodes or flags is none that this kernel has",
    });
  }
}
