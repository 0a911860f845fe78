import { parentPort, workerData } from "node:worker_threads";
import { alloc, Direct, Ring } from "uring";
import { PATIENCE_MS } from "./durations.ts";

/** What a ring in a Worker is to be, and to do. */
export interface RingTask {
  readonly flags: number;
  /** How many completions to wait for. */
  readonly count: number;
  /** How many bytes to read from slot 0 after that. */
  readonly read: number;
}

/** What became of it: completions as `[userData, res, flags]`. */
export interface RingResult {
  readonly completions: [number, number, number][];
  readonly text: string;
}

const { flags, count, read } = workerData as RingTask;
const ring = new Ring({ flags, fd: true });
ring.registerFilesSparse(1);
parentPort?.postMessage(ring.fd);

const completions: [number, number, number][] = [];
const collect = (wanted: number) => {
  const end = performance.now() + PATIENCE_MS;
  while (completions.length < wanted && performance.now() < end) {
    ring.submitAndWait(wanted - completions.length, { timeout: PATIENCE_MS });
    ring.drain((...completion) => completions.push(completion));
  }
};
collect(count);
const memory = alloc(Math.max(read, 1));
if (read > 0) {
  ring.getSqe()?.prepRead(new Direct(0), memory, read, -1).setData64(99);
  collect(count + 1);
}
ring.close();
const text = new TextDecoder().decode(memory.bytes.slice(0, read));
parentPort?.postMessage({ completions, text } satisfies RingResult);
