import { runtime } from "#runtime";
import { IORING_FILE_INDEX_ALLOC } from "../../abi/index.ts";
import { UringError } from "../../errors.ts";
import { Direct } from "../../ring/direct.ts";
import type { Operation } from "../operation.ts";

/** Where an operation puts what it opens. */
export interface OpenedOptions {
  /**
   * Opens into the ring's table of registered files instead, which gives a `Direct`: `true` for any free slot, or the slot
   * to use, in place of what is there. See `proactor.ring.registerFilesSparse`.
   */
  direct?: true | number | Direct | undefined;
}

/** An fd, or the slot that was asked for. */
export type Slot = number | undefined;

/** The slot to open into, which may be that for any free one; `undefined` for an fd. */
export function slotOf(direct: true | number | Direct): number;
export function slotOf(direct: OpenedOptions["direct"]): Slot;
export function slotOf(direct: OpenedOptions["direct"]): Slot {
  if (direct === undefined) return undefined;
  if (direct === true) return IORING_FILE_INDEX_ALLOC;
  return Direct.slotOf(direct instanceof Direct ? direct : new Direct(direct));
}

/** What a result stands for. */
export function opened(slot: Slot, res: number): number | Direct {
  if (slot === undefined) return res;
  return new Direct(slot === IORING_FILE_INDEX_ALLOC ? res : slot);
}

/** Closes what an operation has opened for somebody who does not wait any more. */
export function discard({ canceller }: Pick<Operation, "canceller">, file: number | Direct): void {
  if (!(file instanceof Direct)) {
    runtime.load().close(file);
    return;
  }
  const { ring } = canceller;
  // With the ring its table is gone, and what was in it.
  if (ring.closed) return;
  try {
    ring.registerFilesUpdate(Direct.slotOf(file), [-1]);
  } catch (error) {
    // So may be the table alone.
    if (!(error instanceof UringError)) throw error;
  }
}
