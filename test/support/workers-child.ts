// Occupies worker threads under limits and bindings, in a process that has no others; prints what became of them.

import { readdirSync, readFileSync } from "node:fs";
import { cstring, Ring } from "uring";
import { AT_FDCWD, IOSQE_ASYNC, O_NONBLOCK, O_RDONLY, O_WRONLY } from "uring/abi";
import { entry, LONG, Scratch, submitAll } from "./ring.ts";
import { mustCall } from "./system.ts";

const S_IFIFO = 0o010000;

using scratch = new Scratch();
const fifo = cstring(scratch.path("fifo"));
mustCall("mknodat", AT_FDCWD, fifo.address, S_IFIFO | 0o600, 0);
const ring = new Ring({ entries: 16 });
let opens = 0;

/** Occupies as many workers, each with an open that waits for the other side. */
function occupy(count: number): void {
  for (let i = 0; i < count; i++) {
    entry(ring).prepOpenat(AT_FDCWD, fifo, O_RDONLY, 0).setFlags(IOSQE_ASYNC).setData64(++opens);
  }
  submitAll(ring);
}

/** The CPUs each worker may run on. */
function workers(): string[] {
  const found = readdirSync("/proc/self/task").flatMap((task) => {
    const status = readFileSync(`/proc/self/task/${task}/status`, "latin1");
    return status.startsWith("Name:\tiou-wrk-") ? [allowed(status)] : [];
  });
  return found.sort();
}

/** The workers once there are as many, and some time has passed for more to come. */
function awaitWorkers(count: number): string[] {
  const end = performance.now() + LONG;
  while (workers().length < count && performance.now() < end);
  ring.submitAndWait(1, { timeout: 100 });
  return workers();
}

function allowed(status: string): string {
  return /^Cpus_allowed_list:\s*(.*)$/m.exec(status)?.[1] ?? "";
}

const here = allowed(readFileSync("/proc/self/status", "latin1"));
const last = /\d+$/.exec(here)?.[0] ?? "0";
const report: Record<string, unknown> = { here, last };

ring.registerIowqAff([Number(last)]);
occupy(1);
report.bound = awaitWorkers(1);
ring.unregisterIowqAff();
occupy(1);
report.free = awaitWorkers(2);

report.before = ring.registerIowqMaxWorkers({ bounded: 4 });
report.limits = ring.registerIowqMaxWorkers();
occupy(6);
report.limited = awaitWorkers(4).length;
ring.registerIowqMaxWorkers({ bounded: 8 });
occupy(1);
report.raised = awaitWorkers(5).length;

// One writer lets everyone in.
const writer = mustCall("openat", AT_FDCWD, fifo.address, O_WRONLY | O_NONBLOCK, 0);
const opened: number[] = [];
const end = performance.now() + LONG;
while (opened.length < opens && performance.now() < end) {
  ring.submitAndWait(1, { timeout: 1000 });
  ring.drain((_, fd) => opened.push(fd));
}
report.opens = opens;
report.opened = opened.filter((fd) => fd >= 0).length;
for (const fd of [writer, ...opened]) mustCall("close", fd);
report.leaked = ring.close().leaked;
console.log(JSON.stringify(report));
