import type { Proactor, Receiver, Sqe } from "uring";

import { type Side, timedAsync } from "../support/measure.ts";

/** One loop of a lane: so many operations, one after the other. */
export type Lane = (lane: number, operations: number) => Promise<void>;

/** A side of so many loops at a time, each of which waits for its own operation before it calls the next. */
export function lanesSide(name: string, depth: number, lane: Lane): Side {
  const round = timedAsync(async (operations) => {
    const lanes: Promise<void>[] = [];
    for (let i = 0; i < depth; i++) lanes.push(lane(i, operations / depth));
    await Promise.all(lanes);
  });
  return { name, batch: depth, round };
}

/** A lane without promises: its next operation is described when the last has completed. */
class CallbackLane implements Receiver {
  left = 0;
  readonly #proactor: Proactor;
  readonly #describe: (sqe: Sqe) => void;
  readonly #onEnd: (error?: Error) => void;

  constructor(proactor: Proactor, describe: (sqe: Sqe) => void, onEnd: (error?: Error) => void) {
    this.#proactor = proactor;
    this.#describe = describe;
    this.#onEnd = onEnd;
  }

  next(): void {
    this.left = (this.left - 1) | 0;
    this.#describe(this.#proactor.entry(this) as Sqe);
  }

  complete(res: number): void {
    if (res < 0) this.#onEnd(new Error(`an operation ended with ${res}`));
    else if (this.left > 0) this.next();
    else this.#onEnd();
  }
}

/** As `lanesSide`, of lanes without promises. */
export function callbackSide(
  name: string,
  proactor: Proactor,
  depth: number,
  describe: (sqe: Sqe, lane: number) => void,
): Side {
  let running = 0;
  let ended = (_error?: Error): void => {};
  const onEnd = (error?: Error) => {
    if (--running === 0 || error !== undefined) ended(error);
  };
  const lanes = Array.from(
    { length: depth },
    (_, i) => new CallbackLane(proactor, (sqe) => describe(sqe, i), onEnd),
  );
  const round = timedAsync((operations) => {
    return new Promise((resolve, reject) => {
      ended = (error) => (error === undefined ? resolve() : reject(error));
      running = depth;
      for (const lane of lanes) {
        lane.left = operations / depth;
        lane.next();
      }
    });
  });
  return { name, batch: depth, round };
}
