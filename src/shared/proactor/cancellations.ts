import { IORING_ASYNC_CANCEL_ALL, IORING_ASYNC_CANCEL_ANY } from "../abi/index.ts";
import { type DrivenRing, queues } from "./driven-ring.ts";
import { type Operation, SUBMITTED } from "./operation.ts";
import { nextTurn } from "./turn.ts";

/** The low word of completions that end no operation. */
export const NOBODY = -1;

/** How often the end of a chain's member is asked for, a turn of the event loop between. */
const INSISTENCE = 4;

/** Whose end the kernel is to be asked for. */
export class Cancellations {
  readonly #ring: DrivenRing;
  readonly #token: number;
  readonly #schedule: () => void;
  readonly #asked: Operation[] = [];
  #everything = false;

  /**
   * @param token the high word of their completions, as `NOBODY` is the low one
   * @param schedule has them filled in soon
   */
  constructor(ring: DrivenRing, token: number, schedule: () => void) {
    this.#ring = ring;
    this.#token = token;
    this.#schedule = schedule;
  }

  /** Whether there are any to be handed over. */
  get waiting(): boolean {
    return this.#everything || this.#asked.length > 0;
  }

  /** Asks for the end of all that is the kernel's. */
  askAll(): void {
    this.#everything = true;
  }

  /** Asks for an operation's end. */
  ask(operation: Operation): void {
    if (operation.chained) {
      this.#insist(operation, INSISTENCE);
    } else {
      this.#asked.push(operation);
      this.#schedule();
    }
  }

  /** Takes a member that has ended out of its chain. The next may have its turn now. */
  pass({ leader, follower }: Operation): void {
    if (leader !== null) leader.follower = follower;
    if (follower === null) return;
    follower.leader = leader;
    if (follower.cancelled) this.#insist(follower, INSISTENCE);
  }

  /** Fills in entries, as far as there is room; how many. Each has a completion of its own. */
  fill(): number {
    let filled = 0;
    if (this.#everything) {
      const sqe = queues.getSqe(this.#ring);
      if (sqe === null) return 0;
      this.#everything = false;
      sqe
        .prepCancel64(0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL)
        .setDataWords(NOBODY, this.#token);
      filled++;
    }
    let at = 0;
    for (; at < this.#asked.length; at++) {
      const operation = this.#asked[at] as Operation;
      // It may have ended meanwhile; one that is called with the same object is not asked to end.
      if (operation.state !== SUBMITTED || !operation.cancelled) continue;
      const sqe = queues.getSqe(this.#ring);
      if (sqe === null) break;
      sqe.prepCancel64(operation.userData, 0).setDataWords(NOBODY, this.#token);
      filled++;
    }
    this.#asked.splice(0, at);
    return filled;
  }

  /**
   * Asks for the end of a chain's member, once its turn has come: before that the kernel does not find it. Then it may still
   * be on its way from one to the other for a moment.
   */
  #insist(operation: Operation, times: number): void {
    if (operation.leader !== null || operation.state !== SUBMITTED || times === 0) return;
    this.#asked.push(operation);
    this.#schedule();
    const { generation } = operation;
    nextTurn(() => {
      if (operation.generation === generation) this.#insist(operation, times - 1);
    });
  }
}
