import { runtime } from "#runtime";
import {
  IO_URING_BPF_CMD_FILTER,
  IORING_REGISTER_BPF_FILTER,
  io_uring_bpf,
  io_uring_bpf_filter,
} from "../abi/index.ts";
import { bits32, u16, whole } from "../structs/fields.ts";
import { Argument } from "./argument.ts";
import { registerError } from "./diagnosis.ts";

/** One instruction of classic BPF, `struct sock_filter`. */
export interface BpfInstruction {
  readonly code: number;
  readonly jt?: number;
  readonly jf?: number;
  readonly k?: number;
}

/** A program of classic BPF that decides which requests of an operation are let through: it returns 0 to refuse one. */
export interface BpfFilter {
  /** The operation, `IORING_OP_*`. */
  readonly opcode: number;
  /** What it runs; it loads from a `struct io_uring_bpf_ctx`. */
  readonly program: readonly BpfInstruction[];
  /** `IO_URING_BPF_FILTER_*`, or-ed. */
  readonly flags?: number;
  /** How many bytes of the operation's own the program may load. */
  readonly pduSize?: number;
}

const INSTRUCTION = 8;
/** The kernel's `BPF_MAXINSNS`. */
const MAX_INSTRUCTIONS = 4096;

/** The call's argument: the struct, and after it the program it points to. */
export function bpfArgument(filter: BpfFilter): Argument {
  if (typeof filter !== "object" || filter === null || !Array.isArray(filter.program)) {
    throw new TypeError("a filter must be an object with an opcode and a program");
  }
  const { opcode, program, flags = 0, pduSize = 0 } = filter;
  const count = whole(program.length, 1, MAX_INSTRUCTIONS, "the number of instructions");
  const at = io_uring_bpf.filter;
  const layout = io_uring_bpf_filter;
  const argument = new Argument(io_uring_bpf.sizeof + count * INSTRUCTION);
  try {
    const { view, address } = argument;
    view.setUint16(io_uring_bpf.cmd_type, IO_URING_BPF_CMD_FILTER, true);
    view.setUint32(at + layout.opcode, whole(opcode, 0, 0xff, "opcode"), true);
    view.setUint32(at + layout.flags, bits32(flags, "flags"), true);
    view.setUint32(at + layout.filter_len, count, true);
    view.setUint8(at + layout.pdu_size, whole(pduSize, 0, 0xff, "pduSize"));
    view.setBigUint64(at + layout.filter_ptr, BigInt(address + io_uring_bpf.sizeof), true);
    for (const [i, { code, jt = 0, jf = 0, k = 0 }] of program.entries()) {
      const to = io_uring_bpf.sizeof + i * INSTRUCTION;
      view.setUint16(to, u16(code, "code"), true);
      view.setUint8(to + 2, whole(jt, 0, 0xff, "jt"));
      view.setUint8(to + 3, whole(jf, 0, 0xff, "jf"));
      view.setUint32(to + 4, bits32(k, "k"), true);
    }
    return argument;
  } catch (error) {
    argument[Symbol.dispose]();
    throw error;
  }
}

/**
 * Filters the requests of one operation on every ring that this task, and every task it starts, makes from now on. There
 * is no way back.
 *
 * @throws UringError EINVAL on a kernel before 7.0, or for a program it refuses; EACCES without the privilege
 * (`PR_SET_NO_NEW_PRIVS` or CAP_SYS_ADMIN). See io_uring_register_bpf_filter_task(3).
 */
export function registerBpfFilterTask(filter: BpfFilter): void {
  using argument = bpfArgument(filter);
  const result = runtime.load().register(-1, IORING_REGISTER_BPF_FILTER, argument.address, 1);
  if (result < 0) throw registerError(-result, IORING_REGISTER_BPF_FILTER);
}
