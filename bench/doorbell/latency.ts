// From a write of another process to the JavaScript that reads it: through a ring and a waker, and through a socket of the
// runtime's own. One runtime, one waker, one pattern; prints JSON:
//
//     latency.ts WAKER SPIN gap|echo|traffic COUNT MICROSECONDS [own]
//
// WAKER is one of those compared, or `proactor`. SPIN is how many microseconds to look at the queues in each turn of the loop
// after a completion; `own` writes to the runtime's sockets alone, for the CPU they take.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { alloc, encodeSockaddr, Proactor, Ring } from "uring";
import {
  AF_UNIX,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_SETUP_TASKRUN_FLAG,
  SOCK_STREAM,
} from "uring/abi";
import { runtime } from "#runtime";
import { openPeer, wakers } from "./wakers.ts";

const [name = "relay", spin = "0", pattern = "gap", count = "2000", gap = "200", sides = "both"] =
  process.argv.slice(2);
const SPIN = Number(spin) / 1000;
const echo = pattern !== "gap";
const folder = mkdtempSync(join(tmpdir(), "uring-doorbell-"));
const source = fileURLToPath(new URL("peer.c", import.meta.url));
for (const [file, flags] of [
  ["peer.so", ["-shared", "-fPIC"]],
  ["peer", []],
] as const) {
  execFileSync("cc", ["-O2", "-pthread", ...flags, source, "-o", join(folder, file)]);
}
const peer = await openPeer(join(folder, "peer.so"));

const ring = new Ring({
  entries: 64,
  flags: IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
});
ring.cqEventfdToggle(false);
let wakes = 0;
let enters = 0;
const settle = new Map<number, (res: number) => void>();

/** What a proactor does with an operation: a promise, and a flush at the end of the tick. */
let flushing = false;
function operation(
  id: number,
  fill: (sqe: NonNullable<ReturnType<Ring["getSqe"]>>) => void,
): Promise<number> {
  const sqe = ring.getSqe();
  if (sqe === null) throw new Error("the queue is full");
  fill(sqe);
  sqe.setData64(id);
  if (!flushing) {
    flushing = true;
    queueMicrotask(flush);
  }
  return new Promise((resolve) => settle.set(id, resolve));
}

function flush(): void {
  flushing = false;
  ring.cqEventfdToggle(false);
  enters++;
  ring.submitAndGetEvents();
  const got = ring.drain((id, res) => settle.get(id)?.(res));
  if (got > 0) last = performance.now();
  if (SPIN > 0 && performance.now() - last < SPIN) {
    if (!spinning) {
      spinning = true;
      setImmediate(turn);
    }
    return;
  }
  arm();
}

let last = 0;
let spinning = false;
let armed = false;

function turn(): void {
  if (ring.pending) {
    spinning = false;
    flush();
  } else if (performance.now() - last < SPIN) setImmediate(turn);
  else {
    spinning = false;
    arm();
  }
}

function arm(): void {
  waker.prepare?.();
  ring.cqEventfdToggle(true);
  armed = !ring.pending;
  if (!armed) queueMicrotask(flush);
}

const proactor = name === "proactor" ? new Proactor() : undefined;
const waker = (wakers[proactor === undefined ? name : "eventfd"] as NonNullable<(typeof wakers)[string]>)(
  () => {
    if (!armed) return;
    armed = false;
    wakes++;
    flush();
  },
  peer,
);
ring.registerEventfd(waker.eventfd);

const latencies = { ring: [] as number[], own: [] as number[] };
function arrived(side: keyof typeof latencies, view: DataView): void {
  latencies[side].push(peer.now() - Number(view.getBigUint64(0, true)) / 1000);
}

const ringPath = join(folder, "ring");

/** The proactor's side. */
async function serveProactor(proactor: Proactor): Promise<void> {
  const listener = await proactor.socket(AF_UNIX, SOCK_STREAM);
  await proactor.bind(listener, { family: "unix", path: ringPath });
  await proactor.listen(listener);
  const serve = async (fd: number) => {
    const memory = alloc(64);
    const view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset, 8);
    while ((await proactor.recv(fd, memory)) > 0) {
      arrived("ring", view);
      if (echo) void proactor.send(fd, memory, { length: 1 });
    }
  };
  void (async () => {
    for (;;) void serve(await proactor.accept(listener));
  })();
}

/** The side of a ring alone. */
async function serveRing(): Promise<void> {
  const address = encodeSockaddr({ family: "unix", path: ringPath });
  const listener = await operation(1, (sqe) => sqe.prepSocket(AF_UNIX, SOCK_STREAM, 0, 0));
  await operation(1, (sqe) => sqe.prepBind(listener, address, address.byteLength));
  await operation(1, (sqe) => sqe.prepListen(listener, 1));
  const accepted = operation(1, (sqe) => sqe.prepAccept(listener, 0, 0, 0));
  void (async () => {
    const fd = await accepted;
    const memory = alloc(64);
    const view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset, 8);
    while ((await operation(1, (sqe) => sqe.prepRecv(fd, memory, 64, 0))) > 0) {
      arrived("ring", view);
      if (echo) void operation(2, (sqe) => sqe.prepSend(fd, memory, 1, 0));
    }
  })();
}

// The runtime's own.
const { Bun } = globalThis as { Bun?: { listen(options: object): void } };
const ownPath = join(folder, "own");
const one = new Uint8Array(1);
await new Promise<void>((resolve) => {
  if (Bun !== undefined) {
    Bun.listen({
      unix: ownPath,
      socket: {
        data(socket: { write(bytes: Uint8Array): void }, data: Uint8Array) {
          arrived("own", new DataView(data.buffer, data.byteOffset));
          if (echo) socket.write(one);
        },
      },
    });
    resolve();
  } else {
    createServer((socket) => {
      socket.on("data", (data: Uint8Array) => {
        arrived("own", new DataView(data.buffer, data.byteOffset));
        if (echo) socket.write(one);
      });
    }).listen(ownPath, resolve);
  }
});

await (proactor === undefined ? serveRing() : serveProactor(proactor));
const paths = sides === "own" ? [ownPath, ownPath] : [ringPath, ownPath];
const writer = spawn(join(folder, "peer"), [...paths, pattern, count, gap], {
  stdio: ["ignore", "pipe", "inherit"],
});
let printed = "";
writer.stdout.on("data", (data) => {
  printed += data;
});
const before = process.cpuUsage();
await new Promise((resolve) => writer.on("close", resolve));
const { user, system } = process.cpuUsage(before);

const BLOCKS = 10;
/** For the engines to compile what handles them; half of the peer's `WARM_UP`. */
const FIRST = 1000;

/** Shares of the values, of the block of them where each is least: noise only ever adds. */
function least(values: number[]): number[] {
  const size = Math.floor((values.length - FIRST) / BLOCKS);
  const blocks = Array.from({ length: BLOCKS }, (_, i) =>
    values.slice(FIRST + i * size, FIRST + (i + 1) * size).sort((a, b) => a - b),
  );
  return [0.5, 0.99].map((share) => {
    const each = blocks.map((block) => block[Math.floor(block.length * share)] ?? Number.NaN);
    return Math.round(10 * Math.min(...each)) / 10;
  });
}

if (proactor !== undefined) ({ wakes, enters } = proactor.counters);
const trips = printed.trim().split(" ").map(Number);
console.log(
  JSON.stringify({
    runtime: runtime.name,
    waker: name,
    spin: Number(spin),
    pattern: echo ? pattern : `${gap} us`,
    ring: least(latencies.ring),
    own: least(latencies.own),
    ...(echo ? { trips } : {}),
    wakes: Math.round((100 * wakes) / latencies.ring.length) / 100,
    enters: Math.round((100 * enters) / latencies.ring.length) / 100,
    cpuPerByte: Math.round((10 * (user + system)) / (latencies.ring.length + latencies.own.length)) / 10,
  }),
);
rmSync(folder, { recursive: true });
process.exit(0);
