import {
  IORING_RESTRICTION_REGISTER_OP,
  IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
  IORING_RESTRICTION_SQE_FLAGS_REQUIRED,
  IORING_RESTRICTION_SQE_OP,
} from "../abi/index.ts";
import { whole } from "../structs/fields.ts";

/** One restriction: which kind, and the opcode or flags it is about. */
export type Restriction = readonly [kind: number, value: number];

/**
 * What a ring may be used for, once it has been given this: what is not allowed here is refused with -EACCES.
 *
 * @example
 * ```ts
 * import { Restrictions, Ring } from "uring";
 * import { IORING_OP_READ, IORING_SETUP_R_DISABLED } from "uring/abi";
 *
 * using ring = new Ring({ flags: IORING_SETUP_R_DISABLED });
 * ring.registerRestrictions(new Restrictions().sqeOp(IORING_OP_READ));
 * ring.enableRings(); // from here on it reads, and does nothing else
 * ```
 */
export class Restrictions {
  readonly #list: Restriction[] = [];

  /** Allows calls of `io_uring_register(2)`, by `IORING_REGISTER_*`. */
  registerOp(...opcodes: number[]): this {
    return this.#add(IORING_RESTRICTION_REGISTER_OP, opcodes, "opcode");
  }

  /** Allows operations, by `IORING_OP_*`. */
  sqeOp(...opcodes: number[]): this {
    return this.#add(IORING_RESTRICTION_SQE_OP, opcodes, "opcode");
  }

  /** Allows entries to have these `IOSQE_*` flags, or-ed. Replaces what was allowed before. */
  sqeFlagsAllowed(flags: number): this {
    return this.#add(IORING_RESTRICTION_SQE_FLAGS_ALLOWED, [flags], "flags");
  }

  /** Requires entries to have all of these `IOSQE_*` flags, or-ed. Replaces what was required before. */
  sqeFlagsRequired(flags: number): this {
    return this.#add(IORING_RESTRICTION_SQE_FLAGS_REQUIRED, [flags], "flags");
  }

  /** The restrictions in the order they were added. */
  [Symbol.iterator](): IterableIterator<Restriction> {
    return this.#list.values();
  }

  #add(kind: number, values: number[], what: string): this {
    for (const value of values) this.#list.push([kind, whole(value, 0, 0xff, what)]);
    return this;
  }
}
