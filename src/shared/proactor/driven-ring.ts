import type { CloseResult } from "../ring/close.ts";
import type { CompletionReader } from "../ring/completion.ts";
import type { Int64 } from "../ring/entry.ts";
import type { BufferSlot } from "../ring/register/buffers.ts";
import { Ring } from "../ring/ring.ts";
import type { Sqe } from "../ring/sqe.ts";

let end: (ring: DrivenRing, deadline: number, seen: CompletionReader) => CloseResult;
let endBufRings: (ring: DrivenRing, leaked: number) => void;

/**
 * A ring whose queues and eventfd are a proactor's own. Everything else of it is the caller's to use: what it supports, and
 * what can be registered with it, though without tags, whose completions come in those queues.
 *
 * An entry or a completion that passed by the proactor would be taken for one of its operations, whose memory would then
 * be given back while the kernel still uses it. Without its eventfd it would not know of what completes.
 */
export class DrivenRing extends Ring {
  override getSqe(): never {
    throw driven();
  }
  override submit(): never {
    throw driven();
  }
  override submitAndWait(): never {
    throw driven();
  }
  override submitAndWaitReg(): never {
    throw driven();
  }
  override submitAndGetEvents(): never {
    throw driven();
  }
  override claimSqes(): never {
    throw driven();
  }
  override drain(): never {
    throw driven();
  }
  override drainWords(): never {
    throw driven();
  }
  override copyCqes(): never {
    throw driven();
  }
  override peekCqe(): never {
    throw driven();
  }
  override waitCqe(): never {
    throw driven();
  }
  override forEachCqe(): never {
    throw driven();
  }
  override cqAdvance(): never {
    throw driven();
  }
  override bufRingCqAdvance(): never {
    throw driven();
  }
  override registerBuffersTags(): never {
    throw driven();
  }
  override registerBuffersUpdateTag(
    offset: number,
    buffers: readonly BufferSlot[],
    tags?: readonly Int64[],
  ): number {
    if (tags !== undefined) throw driven();
    return super.registerBuffersUpdateTag(offset, buffers);
  }
  override registerFilesTags(): never {
    throw driven();
  }
  override registerFilesUpdateTag(offset: number, fds: readonly number[], tags?: readonly Int64[]): number {
    if (tags !== undefined) throw driven();
    return super.registerFilesUpdateTag(offset, fds);
  }
  override registerEventfd(): never {
    throw driven();
  }
  override registerEventfdAsync(): never {
    throw driven();
  }
  override unregisterEventfd(): never {
    throw driven();
  }
  override cqEventfdToggle(): never {
    throw driven();
  }
  override detach(): never {
    throw driven();
  }
  override resizeRings(): never {
    throw driven();
  }
  override close(): never {
    throw driven();
  }

  static {
    // Within the class, which alone may call it, and out of everybody's reach.
    end = (ring, deadline, seen) => ring.closeSeeing(deadline, seen);
    endBufRings = (ring, leaked) => ring.endBufRings(leaked);
  }
}

function driven(): TypeError {
  return new TypeError(
    "the queues and the eventfd of this ring are a proactor's: use its operations, and its close()",
  );
}

const ring = Ring.prototype;
const { getSqe, claimSqes, submit, submitAndWait, sqringWait, drainWords } = ring;
const { registerEventfd, unregisterEventfd, cqEventfdToggle } = ring;

/** The queues and the eventfd of a driven ring, for the proactor alone. */
export const queues = {
  getSqe: (ring: DrivenRing): Sqe | null => getSqe.call(ring),
  claim: (ring: DrivenRing, claims: Int32Array, count: number, flags: number): void =>
    claimSqes.call(ring, claims, count, flags),
  submit: (ring: DrivenRing): number => submit.call(ring),
  submitAndWait: (ring: DrivenRing, count: number, timeout: number): number =>
    submitAndWait.call(ring, count, timeout === Number.POSITIVE_INFINITY ? undefined : { timeout }),
  sqringWait: (ring: DrivenRing): number => sqringWait.call(ring),
  drainWords: (ring: DrivenRing, reader: CompletionReader): number => drainWords.call(ring, reader),
  registerEventfd: (ring: Ring, fd: number): void => registerEventfd.call(ring, fd),
  unregisterEventfd: (ring: Ring): void => unregisterEventfd.call(ring),
  cqEventfdToggle: (ring: Ring, enabled: boolean): void => cqEventfdToggle.call(ring, enabled),
  /**
   * `seen` is told of what completes meanwhile, and must not use the ring. What that has brought may be in buffers, whose
   * rings stay until `endBufRings`.
   */
  close: (ring: DrivenRing, deadline: number, seen: CompletionReader): CloseResult =>
    end(ring, deadline, seen),
  endBufRings: (ring: DrivenRing, leaked: number): void => endBufRings(ring, leaked),
};
