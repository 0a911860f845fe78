import * as abi from "../abi/index.ts";
import type { Target } from "./behaviours.ts";
import type { SimulatedFile } from "./descriptors.ts";
import type { Claim } from "./memory.ts";
import type { Resource } from "./resource.ts";
import type { SimulatedRing } from "./ring.ts";
import type { Happening } from "./timeline.ts";

const { io_uring_sqe: sqe } = abi;

/** What one operation transfers at most. */
const MAX_TRANSFER = 2 ** 31 - 4096;

const names = new Map(
  Object.entries(abi as unknown as Record<string, number>)
    .filter(([name]) => name.startsWith("IORING_OP_"))
    .map(([name, opcode]) => [opcode, name.slice("IORING_OP_".length)]),
);

/** What an operation that the simulated kernel has taken is to come to. */
export interface Outcome {
  /** The result, `-errno` for failure. For an operation that makes an fd, anything from 0 on makes one. */
  readonly res: number;
  /** `IORING_CQE_F_*` to post beside those that the kernel sees to. */
  readonly flags?: number;
  /**
   * Milliseconds of simulated time it takes: 0 completes it while it is being submitted, `Infinity` leaves it until it is
   * cancelled. Drawn by seed unless given.
   */
  readonly delay?: number;
  /** Whether a multishot operation goes on after this. */
  readonly more?: boolean;
  /** What it reads; a pattern unless given, see `pattern`. */
  readonly data?: Uint8Array;
  /**
   * Whether a cancellation finds it in a state to be ended: `"race"`, by seed, unless given. One that takes forever always
   * is.
   */
  readonly cancellable?: "always" | "never" | "race";
}

/** Where an operation is: waiting for others, under way, about to post its last completion, ended. */
export type OperationState = "queued" | "running" | "completing" | "done";

/** An operation as the simulated kernel took it, with the fields of its entry. */
export class SimulatedOperation {
  /** Counts the operations of a kernel, from 1. */
  readonly id: number;
  /** @internal */
  readonly ring: SimulatedRing;
  readonly opcode: number;
  /** `IOSQE_*`. */
  readonly flags: number;
  readonly ioprio: number;
  readonly fd: number;
  /** The fields at their offsets, as whichever member of a union they are; exact up to 2^53. */
  readonly off: number;
  readonly addr: number;
  readonly len: number;
  opFlags: number;
  readonly bufIndex: number;
  readonly fileIndex: number;
  readonly personality: number;
  readonly addr3: number;
  /** The same in full. */
  readonly off64: bigint;
  readonly addr64: bigint;
  /** As completions carry it, all 64 bits. An update of a poll changes it, and the events in `opFlags`. */
  userData64: bigint;
  state: OperationState = "queued";
  /** How many completions it has had. */
  shots = 0;
  /** @internal The file it is on. */
  file: SimulatedFile | undefined;
  /** @internal Those that it is linked to, itself included, in order. */
  chain: SimulatedOperation[] = [];
  /** @internal What is to happen with it next. */
  next: Happening | undefined;
  /** @internal Ends its waiting for a file. */
  stopWaiting: (() => void) | undefined;
  /** @internal */
  outcome: Outcome | undefined;
  /** @internal The time limit that is linked to it. */
  limit: SimulatedOperation | undefined;
  /** @internal Whether it is to have no completion, whatever it comes to. */
  silent = false;
  /** @internal The count of completions that ends it, for a timeout. */
  turn: number = Number.POSITIVE_INFINITY;
  /** @internal The memory it uses, as it was when it was submitted. */
  targets: readonly Target[] = [];
  /** @internal The registered file and buffer that it uses. */
  readonly resources: Resource<unknown>[] = [];
  /** @internal The memory that is its own until the end. */
  readonly claims: Claim<SimulatedOperation>[] = [];

  /** @internal */
  constructor(id: number, ring: SimulatedRing, entry: DataView) {
    this.id = id;
    this.ring = ring;
    this.opcode = entry.getUint8(sqe.opcode);
    this.flags = entry.getUint8(sqe.flags);
    this.ioprio = entry.getUint16(sqe.ioprio, true);
    this.fd = entry.getInt32(sqe.fd, true);
    this.off64 = entry.getBigUint64(sqe.off, true);
    this.addr64 = entry.getBigUint64(sqe.addr, true);
    this.off = Number(this.off64);
    this.addr = Number(this.addr64);
    this.len = entry.getUint32(sqe.len, true);
    this.opFlags = entry.getUint32(sqe.rw_flags, true);
    this.bufIndex = entry.getUint16(sqe.buf_index, true);
    this.fileIndex = entry.getUint32(sqe.file_index, true);
    this.personality = entry.getUint16(sqe.personality, true);
    this.addr3 = Number(entry.getBigUint64(sqe.addr3, true));
    this.userData64 = entry.getBigUint64(sqe.user_data, true);
  }

  /** The operation's name without `IORING_OP_`, such as `"READ"`. */
  get name(): string {
    return names.get(this.opcode) ?? `operation ${this.opcode}`;
  }

  /** As `Ring.drain` gives it: exact up to 2^53. */
  get userData(): number {
    return Number(this.userData64);
  }

  /** Whether it may have several completions. */
  get multishot(): boolean {
    switch (this.opcode) {
      case abi.IORING_OP_ACCEPT:
        return (this.ioprio & abi.IORING_ACCEPT_MULTISHOT) !== 0;
      case abi.IORING_OP_RECV:
      case abi.IORING_OP_RECVMSG:
        return (this.ioprio & abi.IORING_RECV_MULTISHOT) !== 0;
      case abi.IORING_OP_POLL_ADD:
        return (this.len & abi.IORING_POLL_ADD_MULTI) !== 0;
      case abi.IORING_OP_TIMEOUT:
        return (this.opFlags & abi.IORING_TIMEOUT_MULTISHOT) !== 0;
      default:
        return this.opcode === abi.IORING_OP_READ_MULTISHOT;
    }
  }

  /** @internal Whether it has one of some `IOSQE_*` flags. */
  has(flags: number): boolean {
    return (this.flags & flags) !== 0;
  }

  /** How many bytes it is to transfer, as far as the entry says. */
  get length(): number {
    if (this.has(abi.IOSQE_BUFFER_SELECT)) return this.len === 0 ? MAX_TRANSFER : this.len;
    return this.targets.reduce((sum, { data, length }) => sum + (data === true ? length : 0), 0);
  }

  /** What it is, for messages. */
  toString(): string {
    return `${this.name} #${this.id} (user_data ${this.userData64}, fd ${this.fd})`;
  }
}
