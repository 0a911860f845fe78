import { RingBase } from "../base.ts";
import { registerError } from "../diagnosis.ts";

/** What the families of registration calls have in common: a failure is an error that says what is known of it. */
export class Registration extends RingBase {
  /**
   * Makes a call of `io_uring_register(2)`; its result.
   *
   * @param arg an address or 0
   * @param hint what to say of any failure, or of each by its errno
   * @throws TypeError when the ring is closed; UringError for a failure
   */
  protected register(
    opcode: number,
    arg: number,
    nrArgs: number,
    hint?: string | Readonly<Record<number, string>>,
  ): number {
    const result = this.attempt(opcode, arg, nrArgs);
    if (result < 0) throw registerError(-result, opcode, typeof hint === "object" ? hint[-result] : hint);
    return result;
  }
}
