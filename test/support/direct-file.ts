import { cstring } from "uring";
import { AT_FDCWD, O_CLOEXEC, O_DIRECT, O_RDONLY } from "uring/abi";
import { Scratch } from "./ring.ts";
import { mustCall } from "./system.ts";

/** A file that is read past the page cache, so that a read takes its time and can not be cancelled. */
export class DirectFile {
  /** What it consists of. */
  static readonly BYTE = 0x77;
  readonly fd: number;
  readonly #scratch = new Scratch();

  constructor(size: number) {
    const name = this.#scratch.file("direct", new Uint8Array(size).fill(DirectFile.BYTE));
    const path = cstring(name);
    this.fd = mustCall("openat", AT_FDCWD, path.address, O_RDONLY | O_DIRECT | O_CLOEXEC);
    // What is still to be written would be, at the first read.
    mustCall("fsync", this.fd);
  }

  /** Takes its name away: it is gone with the fd, however the process ends. */
  unlink(): void {
    this.#scratch[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    mustCall("close", this.fd);
    this.#scratch[Symbol.dispose]();
  }
}
