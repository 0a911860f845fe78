import {
  IORING_ASYNC_CANCEL_ALL,
  IORING_ASYNC_CANCEL_ANY,
  IORING_ASYNC_CANCEL_FD,
  IORING_ASYNC_CANCEL_FD_FIXED,
  IORING_ASYNC_CANCEL_OP,
  IORING_ASYNC_CANCEL_USERDATA,
} from "../abi/index.ts";
import { bits64, whole } from "../structs/fields.ts";
import { Direct, type Target } from "./direct.ts";
import type { Int64 } from "./entry.ts";

/** What an operation must be to match; what is absent does not matter. */
interface Criteria {
  readonly userData?: Int64;
  readonly target?: Target;
  readonly opcode?: number;
  readonly any?: boolean;
  readonly all?: boolean;
}

/**
 * Which operations to cancel, for `sqe.prepCancelMatch` and `ring.registerSyncCancel`. Criteria add up: an operation
 * matches that meets each. Of several that match one is cancelled, with `all()` every one.
 *
 * @example
 * ```ts
 * import { Cancel, Ring } from "uring";
 * import { IORING_OP_READ } from "uring/abi";
 *
 * using ring = new Ring();
 * // How many: no read of it is under way.
 * console.log(ring.registerSyncCancel(Cancel.fd(0).op(IORING_OP_READ).all())); // 0
 * ```
 */
export class Cancel {
  readonly #criteria: Criteria;

  private constructor(criteria: Criteria) {
    if (criteria.any === true && (criteria.target ?? criteria.opcode ?? criteria.userData) !== undefined) {
      throw new TypeError("any() matches every operation: it goes with no other criterion");
    }
    this.#criteria = criteria;
  }

  /** Operations of this `userData`, as `setData64` was given it. */
  static userData(value: Int64): Cancel {
    return new Cancel({}).userData(value);
  }

  /** Operations on this fd, or this registered file; which of both they were given. Linux 5.19, for `Direct` 6.0. */
  static fd(target: Target): Cancel {
    return new Cancel({}).fd(target);
  }

  /** Operations of this kind, `IORING_OP_*`. Linux 6.6. */
  static op(opcode: number): Cancel {
    return new Cancel({}).op(opcode);
  }

  /** Operations of whatever kind. Linux 5.19. */
  static any(): Cancel {
    return new Cancel({ any: true });
  }

  /** And of this `userData`. Beside another criterion: Linux 6.6. */
  userData(value: Int64): Cancel {
    bits64(value, "userData");
    return new Cancel({ ...this.#criteria, userData: value });
  }

  /** And on this fd or registered file. */
  fd(target: Target): Cancel {
    if (!(target instanceof Direct)) whole(target, -0x8000_0000, 0x7fff_ffff, "fd");
    return new Cancel({ ...this.#criteria, target });
  }

  /** And of this kind. */
  op(opcode: number): Cancel {
    return new Cancel({ ...this.#criteria, opcode: whole(opcode, 0, 0xff, "opcode") });
  }

  /** Every operation that matches, not just one. Linux 5.19. */
  all(): Cancel {
    return new Cancel({ ...this.#criteria, all: true });
  }

  /**
   * The criteria as the kernel's fields.
   *
   * @internal
   */
  fields(): { flags: number; userData: Int64; fd: number; opcode: number } {
    const { userData, target, opcode, any, all } = this.#criteria;
    const others = target !== undefined || opcode !== undefined;
    let flags = 0;
    if (any === true) flags |= IORING_ASYNC_CANCEL_ANY;
    if (all === true) flags |= IORING_ASYNC_CANCEL_ALL;
    if (target !== undefined) flags |= IORING_ASYNC_CANCEL_FD;
    if (target instanceof Direct) flags |= IORING_ASYNC_CANCEL_FD_FIXED;
    if (opcode !== undefined) flags |= IORING_ASYNC_CANCEL_OP;
    // By itself user_data is what the kernel goes by anyway, long before it had a flag for it.
    if (userData !== undefined && others) flags |= IORING_ASYNC_CANCEL_USERDATA;
    return {
      flags,
      userData: userData ?? 0,
      fd: target instanceof Direct ? target.slot : (target ?? -1),
      opcode: opcode ?? 0,
    };
  }
}
