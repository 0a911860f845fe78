import { setImmediate } from "node:timers/promises";
import { alloc, Ring } from "uring";
import { IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_SINGLE_ISSUER, IORING_SETUP_TASKRUN_FLAG } from "uring/abi";
import { Doorbell } from "../../src/shared/proactor/doorbell.ts";
import { type Pipe, pipe } from "./harness.ts";
import { type Completion, entry } from "./ring.ts";
import { mustCall } from "./system.ts";

/** The flags of rings whose completions come out on entering alone. */
export const DEFERRED: number =
  IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;

const byte = alloc(64);

/** A ring with a doorbell, and a pipe for the ring to read; gone at the end of the block. */
export class BelledRing {
  readonly ring: Ring;
  readonly pipe: Pipe = pipe();
  readonly doorbell: Doorbell;
  #wake: (() => void) | undefined;
  readonly #ready: Completion[] = [];

  constructor(flags: number = DEFERRED) {
    this.ring = new Ring({ entries: 8, flags });
    this.doorbell = new Doorbell(this.ring, () => this.#wake?.());
  }

  /** Begins to read a byte from the pipe. */
  read(userData: number): void {
    entry(this.ring).prepRead(this.pipe.read, byte, 1, -1).setData64(userData);
    this.ring.submit();
  }

  /** Writes a byte to the pipe. */
  write(): void {
    mustCall("write", this.pipe.write, byte.address, 1);
  }

  /** The next completion, the event loop turning meanwhile and the process kept running. */
  async next(): Promise<Completion> {
    for (;;) {
      this.doorbell.silence();
      this.ring.drain((...completion) => this.#ready.push(completion));
      const completion = this.#ready.shift();
      if (completion !== undefined) return completion;
      if (this.doorbell.arm()) await this.rung();
    }
  }

  /** Waits for the armed doorbell to ring. */
  async rung(): Promise<void> {
    this.doorbell.hold(true);
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.doorbell.hold(false);
  }

  [Symbol.dispose](): void {
    this.doorbell.close();
    this.ring.close();
    this.pipe[Symbol.dispose]();
  }
}

/** Lets the event loop turn so often that whatever there is has been called back. */
export async function turns(): Promise<void> {
  for (let i = 0; i < 50; i++) await setImmediate();
}
