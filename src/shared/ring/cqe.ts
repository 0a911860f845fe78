import {
  IORING_CQE_BUFFER_SHIFT,
  IORING_CQE_F_BUFFER,
  IORING_CQE_F_MORE,
  IORING_CQE_F_NOTIF,
} from "../abi/index.ts";
import type { UringError } from "../errors.ts";
import { uringError } from "./errno.ts";

const TWO_32 = 4294967296;

/**
 * A completion: what became of an operation. See io_uring_cqe_get_data(3) and io_uring(7).
 *
 * From `peekCqe` and `waitCqe` it is a copy to keep; in `forEachCqe` it is the same object for each completion.
 */
export class Cqe {
  #low = 0;
  #high = 0;
  #res = 0;
  #flags = 0;
  #big: bigint[] | undefined;

  /**
   * @internal
   * @param more where the further words of a large completion are, -1 for a plain one
   */
  load(words: Int32Array, at: number, more: number): this {
    this.#low = words[at] as number;
    this.#high = words[at + 1] as number;
    this.#res = words[at + 2] as number;
    this.#flags = words[at + 3] as number;
    this.#big = more >= 0 ? [uint64(words, more), uint64(words, more + 2)] : undefined;
    return this;
  }

  /** The operation's `user_data`, exact up to 2^53. */
  get userData(): number {
    return userDataNumber(this.#low, this.#high);
  }

  /** The operation's `user_data` in full. */
  get userData64(): bigint {
    return (BigInt(this.#high >>> 0) << 32n) | BigInt(this.#low >>> 0);
  }

  /** The result: what the system call of the same name returns, `-errno` for failure. */
  get res(): number {
    return this.#res;
  }

  /** `IORING_CQE_F_*` flags, as a signed 32-bit integer: the upper half is the buffer id. */
  get flags(): number {
    return this.#flags;
  }

  /** The buffer that the kernel picked from the operation's group; -1 where it picked none. */
  get bufferId(): number {
    return (this.#flags & IORING_CQE_F_BUFFER) !== 0 ? this.#flags >>> IORING_CQE_BUFFER_SHIFT : -1;
  }

  /** Whether more completions of the same operation follow. */
  get more(): boolean {
    return (this.#flags & IORING_CQE_F_MORE) !== 0;
  }

  /** Whether this is a zero-copy send's notification that its memory is the caller's again. */
  get notification(): boolean {
    return (this.#flags & IORING_CQE_F_NOTIF) !== 0;
  }

  /** The 16 further bytes of a large completion as two 64-bit numbers; `undefined` for a plain one. */
  get big(): readonly bigint[] | undefined {
    return this.#big;
  }

  /**
   * The failure as an error, `null` for success.
   *
   * @param syscall what to call the operation in the message, such as `"openat"`
   * @param about the path or socket address it was on
   */
  error(syscall = "io_uring operation", about?: { path?: string; address?: string }): UringError | null {
    return this.#res < 0 ? uringError(this.#res, syscall, about) : null;
  }
}

/** A `user_data` as a number, from its two words. */
export function userDataNumber(low: number, high: number): number {
  return (low >>> 0) + (high >>> 0) * TWO_32;
}

function uint64(words: Int32Array, at: number): bigint {
  return (BigInt((words[at + 1] as number) >>> 0) << 32n) | BigInt((words[at] as number) >>> 0);
}
