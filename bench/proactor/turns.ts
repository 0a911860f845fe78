import { type FileHandle, open } from "node:fs/promises";
import { type AddressInfo, connect, createServer } from "node:net";
import { alloc, Proactor } from "uring";

import { BLOCK, Positions, readAll } from "../support/blocks.ts";
import { smoke } from "../support/measure.ts";
import { single } from "../support/table.ts";

const TIMEOUT_MS = 10;
const LATEST_MS = 20;
const DURATION_MS = smoke ? 200 : 2000;

/** What else the runtime has to do, while a program reads without end what needs no waiting for. */
export async function benchTurns(): Promise<void> {
  const file = await open(process.execPath, "r");
  try {
    await readAll(file);
    for (const lanes of [0, 1, 64]) await benchLanes(file, lanes);
  } finally {
    await file.close();
  }
}

async function benchLanes({ fd }: FileHandle, lanes: number): Promise<void> {
  await using proactor = new Proactor();
  using memory = alloc(BLOCK * Math.max(lanes, 1));
  console.log(`\nBeside ${lanes === 0 ? "nothing" : `${lanes} endless loops of reads`}`);
  const positions = new Positions();
  let stopped = false;
  let reads = 0;
  const loop = async (lane: number): Promise<void> => {
    const block = memory.slice(lane * BLOCK, BLOCK);
    for (; !stopped; reads++) await proactor.read(fd, block, { offset: positions.next() });
  };
  const start = performance.now();
  const loops = Array.from({ length: lanes }, (_, lane) => loop(lane));
  const [timeouts, answers] = await Promise.all([runTimeouts(), runSocket()]);
  stopped = true;
  await Promise.all(loops);
  const rate = reads / (performance.now() - start);
  single(
    `setTimeout of ${TIMEOUT_MS} ms, the latest of ${timeouts.length}, ms`,
    Math.max(...timeouts),
    LATEST_MS,
  );
  single(`setTimeout of ${TIMEOUT_MS} ms, median, ms`, median(timeouts));
  single(`a byte and its answer over TCP, the latest of ${answers.length}, ms`, Math.max(...answers));
  single("a byte and its answer over TCP, median, ms", median(answers));
  if (lanes > 0) single("reads meanwhile, thousands a second", rate);
}

/** How long each of many timeouts, one after the other, took. */
async function runTimeouts(): Promise<number[]> {
  const took: number[] = [];
  for (const end = performance.now() + DURATION_MS; performance.now() < end; ) {
    const start = performance.now();
    await new Promise((resolve) => setTimeout(resolve, TIMEOUT_MS));
    took.push(performance.now() - start);
  }
  return took;
}

/** How long each answer of the runtime's own sockets to the runtime's own sockets took. */
async function runSocket(): Promise<number[]> {
  const server = createServer((peer) => peer.setNoDelay().pipe(peer)).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const client = connect((server.address() as AddressInfo).port, "127.0.0.1").setNoDelay();
  await new Promise((resolve, reject) => client.once("connect", resolve).once("error", reject));
  const took: number[] = [];
  for (const end = performance.now() + DURATION_MS; performance.now() < end; ) {
    const start = performance.now();
    const answer = new Promise((resolve) => client.once("data", resolve));
    client.write("?");
    await answer;
    took.push(performance.now() - start);
  }
  client.destroy();
  await new Promise((resolve) => server.close(resolve));
  return took;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] as number;
}
