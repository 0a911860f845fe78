import {
  IORING_ASYNC_CANCEL_ALL,
  IORING_ASYNC_CANCEL_ANY,
  IORING_ENTER_EXT_ARG,
  IORING_ENTER_GETEVENTS,
  IORING_ENTER_SQ_WAKEUP,
  IORING_REGISTER_SYNC_CANCEL,
  IORING_SQ_NEED_WAKEUP,
  IOSQE_IO_DRAIN,
  io_uring_sync_cancel_reg,
} from "../abi/index.ts";
import type { CompletionQueue, CompletionReader } from "./completion.ts";
import { enterError } from "./diagnosis.ts";
import { allocInternal } from "./pinned.ts";
import type { SubmissionQueue } from "./submission.ts";
import type { WaitArgument } from "./wait.ts";

const EINTR = 4;
const EAGAIN = 11;
const EBUSY = 16;
const ETIME = 62;
const ECANCELED = 125;

const EVERYTHING = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;

/** How long to wait at least where nothing should be under way: the barrier that tells may take a worker thread's time. */
const LEAST_MS = 20;

/** How long to wait at first before cancelling once more what a cancellation may just have missed. */
const RETRY_MS = 20;

/** How many completions are copied at a time. */
const BATCH = 64;

/** What became of a ring that was closed. */
export interface CloseResult {
  /**
   * 0 when every operation has ended. Otherwise how many may still be running, at least 1: the views they were given are
   * then kept for good, and memory from `alloc` must not be disposed of, since the kernel may still write to it.
   *
   * Also 1 where all have ended and nobody can tell: on a ring where an operation with `IOSQE_CQE_SKIP_SUCCESS` was used,
   * whose success nothing reports. Under restrictions that forbid a NOP with `IOSQE_IO_DRAIN`, tags of buffers and files that
   * have not come count as operations.
   */
  readonly leaked: number;
}

/** Throws a `RangeError` for what is no number of milliseconds. */
export function checkDeadline(deadline: number): void {
  if (typeof deadline !== "number" || !(deadline >= 0))
    throw new RangeError(`deadline must be a number of milliseconds, not ${deadline}`);
}

/** What ending a ring's operations needs of the ring. */
export interface QuiescingRing {
  readonly sq: SubmissionQueue;
  readonly cq: CompletionQueue;
  readonly wait: WaitArgument;
  readonly poller: boolean;
  /** Milliseconds to wait at most. */
  readonly deadline: number;
  /** Told of each completion of the caller's, which nobody else will see. */
  readonly seen: CompletionReader;
  enter(toSubmit: number, count: number, flags: number, arg: number, argSize: number): number;
  register(opcode: number, arg: number, nrArgs: number): number;
}

/**
 * Cancels everything in flight and waits for its end.
 *
 * Closing the fd is no barrier: the kernel goes on, and writes. What is one is a NOP with `IOSQE_IO_DRAIN`, which
 * completes after everything submitted before it. Where the ring can take no such NOP (an operation without
 * completion on success was used, or its restrictions forbid it), completions are counted instead.
 *
 * Where it throws nothing of its own is left in the queue.
 *
 * @returns how many operations may still be running, 0 for none
 */
export function quiesce(ring: QuiescingRing): number {
  const { sq, cq } = ring;
  // As far as was counted, which others' messages may have upset.
  const idle = ((sq.submitted() - cq.finished) | 0) <= 0;
  const end = performance.now() + (idle ? Math.max(ring.deadline, LEAST_MS) : ring.deadline);
  // No caller's operation may pass for the barrier, whatever `user_data` it has: these words can not be guessed.
  const high = Math.floor(Math.random() * 2 ** 31);
  const cancel = Math.floor(Math.random() * 2 ** 30);
  const drain = cancel + 1;
  let cancelled = false;
  let barrier = "wanted" as "wanted" | "queued" | "reached" | "refused";
  sq.rewind();
  const words = new Int32Array(4 * BATCH);
  let retry = RETRY_MS;
  let running = 1;
  let ended = cq.finished;
  for (;;) {
    if (barrier === "wanted") {
      // A queue of one entry takes them one after the other, a full one of the poller's when there is room.
      if (!cancelled)
        cancelled = sq.get()?.prepCancel64(0, EVERYTHING).setDataWords(cancel, high) !== undefined;
      if (sq.skipped) barrier = "refused";
      else if (sq.get()?.prepNop().setFlags(IOSQE_IO_DRAIN).setDataWords(drain, high) !== undefined)
        barrier = "queued";
    } else if (cq.finished === ended) {
      // What is submitted after the barrier waits for it: a second cancellation must take another way.
      cancelEverything(ring);
      // The barrier runs in a worker thread, out of which a cancellation takes it: on a busy machine that needs its time.
      retry *= 2;
    }
    ended = cq.finished;
    const left = end - performance.now();
    const count = sq.skipped ? 1 : Math.min(Math.max(running, 1), cq.most);
    submit(ring, count, Math.max(Math.min(left, retry), 0));

    // No more than is there now: others may send messages for as long as they like.
    for (let unread = cq.ready(), copied = 0; unread > 0; unread -= copied) {
      copied = cq.copy(words);
      if (copied === 0) break;
      for (let at = 0; at < 4 * copied; at += 4) {
        const [low = 0, top = 0, res = 0, flags = 0] = words.subarray(at, at + 4);
        if (top !== high || (low !== drain && low !== cancel)) ring.seen.completion(low, top, res, flags);
        // A cancellation that came while it waited has taken it along with the others.
        else if (low === drain) barrier = res === 0 ? "reached" : res === -ECANCELED ? "wanted" : "refused";
      }
    }
    running = (sq.submitted() - cq.finished) | 0;
    if (barrier === "reached" || (barrier === "refused" && running <= 0 && !sq.miscounted)) return 0;
    // Who skipped completions can not be counted: when nothing more ends, what could be cancelled has been.
    const silent = barrier === "refused" && sq.skipped && cq.finished === ended;
    if (left > 0 && !silent) continue;
    const waiting = barrier === "queued" && sq.submitted() === sq.tail ? 1 : 0;
    return Math.max(running - waiting, 1);
  }
}

function cancelEverything(ring: QuiescingRing): void {
  const layout = io_uring_sync_cancel_reg;
  using memory = allocInternal(layout.sizeof);
  const view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset, memory.byteLength);
  view.setInt32(layout.fd, -1, true);
  view.setUint32(layout.flags, EVERYTHING, true);
  // The timeout stays zero: the loop around this is what waits.
  ring.register(IORING_REGISTER_SYNC_CANCEL, memory.address, 1);
}

/**
 * One call that hands over what is queued and waits for completions. A ring that defers its task work does little more of
 * it in a call than is waited for.
 */
function submit(ring: QuiescingRing, count: number, timeout: number): void {
  const toSubmit = ring.sq.publish();
  const wake = ring.poller && (ring.sq.flags() & IORING_SQ_NEED_WAKEUP) !== 0 ? IORING_ENTER_SQ_WAKEUP : 0;
  const arg = ring.wait.set({ timeout });
  const flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | wake;
  const result = ring.enter(toSubmit, count, flags, arg, ring.wait.size);
  if (result < 0 && result !== -ETIME && result !== -EINTR && result !== -EAGAIN && result !== -EBUSY) {
    ring.sq.rewind();
    throw enterError(-result);
  }
}
