import {
  IORING_CQE_F_MORE,
  IORING_CQE_F_NOTIF,
  IORING_OP_ACCEPT,
  IOSQE_CQE_SKIP_SUCCESS,
  io_uring_cqe,
  io_uring_sqe,
} from "uring/abi";
import { entryFacts, flagFacts } from "./entry-facts.ts";
import type { RingView } from "./ring-view.ts";

const EAGAIN = 11;
const ETIME = 62;

/** Operations under way that have one and the same `user_data`. */
interface Pending {
  readonly facts: readonly string[];
  /** What they show, in one string. */
  readonly key: string;
  count: number;
  /** Whether they do not all show the same: then nobody can tell which a completion belongs to. */
  mixed: boolean;
}

/**
 * Tells which entries of a ring the kernel took, and which completions the program then consumed. An operation counts as
 * exercised when it succeeded and its completion was consumed.
 */
export class RecordedRing {
  readonly #ring: RingView;
  readonly #record: (names: readonly string[]) => void;
  readonly #pending = new Map<number, Pending>();
  #sqSeen = 0;
  #cqSeen = 0;

  /** @param record is told the names of what was exercised */
  constructor(ring: RingView, record: (names: readonly string[]) => void) {
    this.#ring = ring;
    this.#record = record;
  }

  /**
   * Looks at what has happened since the last time.
   *
   * @param helpers for each entry that the kernel had not taken then, the helpers that wrote it, where that is known
   * @returns how many entries it has taken
   */
  look(helpers: readonly ReadonlySet<string>[] = []): number {
    if (!this.#ring.visible) return 0;
    this.#record(flagFacts("sqRing", this.#ring.sqFlags));
    this.#record(flagFacts("cqRing", this.#ring.cqFlags));
    const taken = this.#lookAtEntries(helpers);
    this.#lookAtCompletions();
    return taken;
  }

  #lookAtEntries(helpers: readonly ReadonlySet<string>[]): number {
    const ring = this.#ring;
    const before = this.#sqSeen;
    // What a poller has been shown it takes, and its slots stay as they are for now.
    const end = ring.polled ? ring.sqTail : ring.sqHead;
    const oldest = (end - ring.sqEntries) | 0;
    for (let at = later(before, oldest); at !== end; at = (at + 1) | 0) {
      this.#take(ring.entry(at), helpers[(at - before) | 0]);
    }
    this.#sqSeen = end;
    return (end - before) | 0;
  }

  #take(entry: DataView, helpers: ReadonlySet<string> | undefined): void {
    if ((entry.getUint8(io_uring_sqe.flags) & IOSQE_CQE_SKIP_SUCCESS) !== 0) {
      // No completion shows its success.
      this.#record(["IOSQE_CQE_SKIP_SUCCESS"]);
      return;
    }
    const facts = helpers === undefined ? entryFacts(entry) : [...entryFacts(entry), ...helpers];
    const key = facts.join();
    const userData = number64(entry, io_uring_sqe.user_data);
    const others = this.#pending.get(userData);
    if (others === undefined) this.#pending.set(userData, { facts, key, count: 1, mixed: false });
    else {
      others.count++;
      if (others.key !== key) others.mixed = true;
    }
  }

  #lookAtCompletions(): void {
    const ring = this.#ring;
    const end = ring.cqHead;
    // Slots that have been written anew since are lost to this.
    const oldest = (ring.cqTail - ring.cqEntries) | 0;
    for (let at = later(this.#cqSeen, oldest); ((end - at) | 0) > 0; at = (at + 1) | 0) {
      const cqe = ring.completion(at);
      this.#complete(
        number64(cqe, io_uring_cqe.user_data),
        cqe.getInt32(io_uring_cqe.res, true),
        cqe.getInt32(io_uring_cqe.flags, true),
      );
    }
    this.#cqSeen = end;
  }

  #complete(userData: number, res: number, flags: number): void {
    this.#record(flagFacts("cqe", flags));
    if ((flags & IORING_CQE_F_NOTIF) !== 0) this.#record(flagFacts("notification", res));
    const pending = this.#pending.get(userData);
    if (pending === undefined) return;
    if (!pending.mixed && succeeded(res, pending.facts)) this.#record(pending.facts);
    if ((flags & IORING_CQE_F_MORE) === 0 && --pending.count === 0) this.#pending.delete(userData);
  }
}

/** Whether a result is what the operation was for: a timeout's is that it runs out. */
function succeeded(res: number, facts: readonly string[]): boolean {
  return res >= 0 || res === -ETIME || (res === -EAGAIN && facts[0] === acceptName);
}

const [acceptName] = entryFacts(new DataView(new Uint8Array(64).fill(IORING_OP_ACCEPT, 0, 1).buffer));

/** The later of two sequence numbers. */
function later(a: number, b: number): number {
  return ((b - a) | 0) > 0 ? b : a;
}

/** Near enough: values that become the same are taken for one, and then count only where that makes no difference. */
function number64(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 4294967296;
}
