// What the mutant runtimes do to completions. A test that reads a changed completion must notice.

import {
  IORING_CQE_BUFFER_SHIFT,
  IORING_CQE_F_BUFFER,
  IORING_CQE_F_MORE,
  IORING_CQE_F_NOTIF,
} from "uring/abi";

/** What a mutant did to a completion. */
export type Change = "none" | "changed" | "lost";

/**
 * Changes a completion in place, as four words: user_data low, user_data high, res, flags.
 *
 * @param number which completion of its ring it is, the first being 0
 */
export type Mutant = (cqe: Int32Array, number: number) => Change;

const RES = 2;
const FLAGS = 3;

export const mutants: Readonly<Record<string, Mutant>> = {
  "drop F_MORE": (cqe) => flipFlags(cqe, IORING_CQE_F_MORE, IORING_CQE_F_MORE),

  /** Buffers 0 and 1 take each other's place, 2 and 3 do, and so on. */
  "swap buffer ids": (cqe) => flipFlags(cqe, IORING_CQE_F_BUFFER, 1 << IORING_CQE_BUFFER_SHIFT),

  "res + 1": (cqe) => {
    cqe[RES] = at(cqe, RES) + 1;
    return "changed";
  },

  /**
   * Hardly a test has a hundred completions, so the count begins with the one that is lost: of each ring the 1st, the
   * 101st, the 201st.
   */
  "lose every hundredth": (_, number) => (number % 100 === 0 ? "lost" : "none"),

  /** A notification's result is no errno, whatever its sign. */
  "errors are 0": (cqe) => {
    if (at(cqe, RES) >= 0 || (at(cqe, FLAGS) & IORING_CQE_F_NOTIF) !== 0) return "none";
    cqe[RES] = 0;
    return "changed";
  },

  "user_data + 1": (cqe) => {
    cqe[0] = at(cqe, 0) + 1;
    return "changed";
  },
};

function flipFlags(cqe: Int32Array, where: number, bits: number): Change {
  const flags = at(cqe, FLAGS);
  if ((flags & where) === 0) return "none";
  cqe[FLAGS] = flags ^ bits;
  return "changed";
}

function at(words: Int32Array, index: number): number {
  return words[index] as number;
}
