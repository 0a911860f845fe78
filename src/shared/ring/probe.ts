import {
  IO_URING_OP_SUPPORTED,
  IORING_REGISTER_PROBE,
  io_uring_probe,
  io_uring_probe_op,
} from "../abi/index.ts";
import { errnoError } from "./errno.ts";
import { allocInternal } from "./pinned.ts";

const OPS = 256;

/** Which operations a kernel has. See io_uring_get_probe(3). */
export class Probe {
  readonly #supported: readonly boolean[];

  /** @internal */
  constructor(supported: readonly boolean[]) {
    this.#supported = supported;
  }

  /** The highest opcode the kernel knows. */
  get lastOp(): number {
    return this.#supported.length - 1;
  }

  /** Whether the kernel has an operation: `probe.supports(IORING_OP_FUTEX_WAIT)`. */
  supports(opcode: number): boolean {
    return this.#supported[opcode] ?? false;
  }
}

/** Asks the kernel behind a ring for its operations. */
export function probeRing(register: (opcode: number, arg: number, nrArgs: number) => number): Probe {
  using memory = allocInternal(io_uring_probe.sizeof + OPS * io_uring_probe_op.sizeof);
  const result = register(IORING_REGISTER_PROBE, memory.address, OPS);
  if (result < 0) throw errnoError(-result, "io_uring_register", { hint: "The probe came with Linux 5.6" });
  const bytes = memory.bytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = Math.min(view.getUint8(io_uring_probe.last_op) + 1, OPS);
  return new Probe(
    Array.from({ length: count }, (_, op) => {
      const at = io_uring_probe.ops + op * io_uring_probe_op.sizeof;
      return (view.getUint16(at + io_uring_probe_op.flags, true) & IO_URING_OP_SUPPORTED) !== 0;
    }),
  );
}
