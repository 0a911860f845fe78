// Operations of many kinds at once on the real kernel, ended in every way there is, with everything checked that can be:
// `proactor-stress.ts [--operations n] [--doorbell n] [--seed n] [--plant bug]`. It prints what was done as JSON, or says
// what went wrong and ends with 1. Run by proactor-stress.test.ts and `npm run stress`.

import { readFileSync } from "node:fs";
import { setImmediate, setTimeout } from "node:timers/promises";
import { alloc, cstring, Pinned, Proactor, type ProactorOptions, Ring, UringError } from "uring";
import * as abi from "uring/abi";
import { Operation } from "../../src/shared/proactor/operation.ts";
import { collectGarbage } from "./child.ts";
import { ringDoorbells } from "./doorbell-stress.ts";
import { BUGS } from "./planted-bugs.ts";
import { Quarantine } from "./quarantine.ts";
import { Random } from "./random.ts";
import { mappings, openFds, Scratch } from "./ring.ts";
import { Settlements } from "./settlements.ts";
import { mustCall } from "./system.ts";
import { Watchdog } from "./watchdog.ts";

const { operations = "0", doorbell = "0", seed = "1", plant } = argumentsOf(process.argv.slice(2));
const random = new Random(Number(seed));

function argumentsOf(args: readonly string[]): Record<string, string> {
  const entries = args.flatMap((name, i) =>
    i % 2 === 0 ? [[name.replace(/^--/, ""), args[i + 1] ?? ""]] : [],
  );
  return Object.fromEntries(entries);
}

function fail(message: string): never {
  console.error(`seed ${seed}: ${message}`);
  process.exit(1);
}

process.on("uncaughtException", (error) => fail(error.stack ?? String(error)));
process.on("unhandledRejection", (error) =>
  fail(error instanceof Error ? (error.stack ?? "") : String(error)),
);

if (plant !== undefined) (BUGS[plant] ?? (() => fail(`there is no bug ${plant}`)))();

const ECANCELED = 125;
/** What memory holds where nothing was read into it. */
const BLANK = 0xa5;
const FILE_SIZE = 1 << 20;
const REGION = 8192;
const SIZES = [1, 63, 64, 100, 512, 1000, 4096, 4097];
const ACTORS = { pages: 16, nops: 4, sleepers: 12, closers: 2, entries: 4 } as const;
const PIPES = 12;
const SOCKETS = 6;
/** With as many readers and writers that wait for each other there must be room left in the smallest queue. */
const MOST_WAITING = 8;

/** Nothing takes so long that is not broken. */
const STUCK_MS = 20_000;
/** Writes to a disk that others use as well may take their time. */
const PATIENT = { deadline: STUCK_MS };
/** What an engine may map, and keep, for itself in the course of a run: MiB. */
const MOST_MAPPINGS = 200;
const MOST_GROWTH = 150;

/** What became of operations. */
const fates = { resolved: 0, aborted: 0, timedOut: 0, closed: 0, entries: 0, forged: 0 };
let called = 0;
let settled = 0;
let left = Number(operations);
let current: Epoch | undefined;
let epochs = 0;

/** What byte number `at` of a stream is. */
const byteAt = (stream: number, at: number): number =>
  (at + 7 * (at >>> 8) + 13 * (at >>> 16) + 31 * stream) & 0xff;

function fill(bytes: Uint8Array, stream: number, at: number): void {
  for (let i = 0; i < bytes.length; i++) bytes[i] = byteAt(stream, at + i);
}

/** What was read is what the stream holds there, and nothing behind it was touched. */
function check(what: string, bytes: Uint8Array, count: number, stream: number, at: number): void {
  if (!(count >= 0 && count <= bytes.length)) fail(`${what} into ${bytes.length} bytes gave ${count}`);
  for (let i = 0; i < bytes.length; i++) {
    const wanted = i < count ? byteAt(stream, at + i) : BLANK;
    if (bytes[i] !== wanted) fail(`${what} of ${count} bytes: byte ${i} is ${bytes[i]}, not ${wanted}`);
  }
}

// ------------------------------------------------------------------------------------------------ what is watched

/** Completions that come late or twice: those of operations that have ended, made up again. */
class Forger {
  readonly #ring = new Ring({ entries: 4 });
  readonly #ended: { readonly canceller: unknown; readonly name: bigint }[] = [];

  constructor() {
    const remember = (operation: Operation) => {
      this.#ended.push({ canceller: operation.canceller, name: nameOf(operation) });
      if (this.#ended.length > 64) this.#ended.shift();
    };
    const { clear } = Operation.prototype;
    Operation.prototype.clear = function (this: Operation): void {
      remember(this);
      clear.call(this);
    };
  }

  /** How many the proactor has been sent, 0 or 1. */
  forge(proactor: Proactor): number {
    const engine = Proactor.engineOf(proactor);
    const mine = this.#ended.filter(({ canceller }) => canceller === engine);
    if (mine.length === 0) return 0;
    this.#ring.getSqe()?.prepMsgRing(proactor.ring.fd, 2 ** 20, random.pick(mine).name, 0);
    this.#ring.submitAndWait(1);
    let sent = 0;
    this.#ring.drain((_, res) => {
      sent = Number(res === 0);
    });
    fates.forged += sent;
    return sent;
  }

  close(): void {
    this.#ring.close();
  }
}

function nameOf({ index, generation }: Operation): bigint {
  return (BigInt(generation >>> 0) << 32n) | BigInt(index);
}

// ------------------------------------------------------------------------------------------------ ending early

type Moment = "never" | "before" | "queued" | "soon" | "in flight" | "later" | "twice" | "after";
const MOMENTS: readonly Moment[] = [
  "before",
  "queued",
  "soon",
  "in flight",
  "in flight",
  "later",
  "twice",
  "after",
];

/** Operations under way that somebody can be asked to end. */
const underWay = new Set<Interruption>();

/** When an operation is to be ended early, if at all. */
class Interruption {
  readonly #moment: Moment;
  readonly #controller = new AbortController();
  readonly #reason = new Error("aborted");
  readonly options: { signal: AbortSignal; timeout?: number };
  #aborted = false;

  constructor(often: number, limit?: number) {
    this.#moment = random.below(often) === 0 ? random.pick(MOMENTS) : "never";
    const { signal } = this.#controller;
    const timeout = limit ?? (random.below(2 * often) === 0 ? random.below(4) / 2 : undefined);
    this.options = timeout === undefined ? { signal } : { signal, timeout };
    if (this.#moment === "before") this.abort();
  }

  abort(): void {
    this.#aborted = true;
    this.#controller.abort(this.#reason);
  }

  /** The operation has just been called. */
  async begin(): Promise<void> {
    switch (this.#moment) {
      case "queued":
        return this.abort();
      case "soon":
        for (let i = random.below(4); i >= 0; i--) await undefined;
        return this.abort();
      case "in flight":
        for (let i = random.below(3); i >= 0; i--) await setImmediate();
        return this.abort();
      case "later":
        await setTimeout(random.below(3));
        return this.abort();
      case "twice":
        await setImmediate();
        this.abort();
        await setImmediate();
        return this.abort();
    }
  }

  end(): void {
    if (this.#moment === "after") this.abort();
  }

  toString(): string {
    const { timeout } = this.options;
    return `it was to be aborted ${this.#moment}, ${this.#aborted ? "and was" : "but was not yet"}; timeout ${timeout}`;
  }

  /** Whether an operation may have failed like this. */
  explains(error: unknown, closed: boolean): boolean {
    if (error === this.#reason && this.#aborted) fates.aborted++;
    else if (
      error instanceof DOMException &&
      error.name === "TimeoutError" &&
      this.options.timeout !== undefined
    )
      fates.timedOut++;
    else if (closed && error instanceof UringError && error.code === "ECANCELED") fates.closed++;
    else return false;
    return true;
  }
}

// ------------------------------------------------------------------------------------------------ actors

/** What goes on between a proactor's beginning and its end. */
class Epoch {
  readonly proactor: Proactor;
  readonly options: ProactorOptions;
  readonly ending: "close" | "drain";
  readonly #forger: Forger;
  stopping = false;
  forged = 0;
  /** Entries without a promise that have not ended. */
  entries = 0;
  /** How many of them are to be ended by the close. */
  waiting = 0;

  /** @param ending whether it ends in the middle of everything, or when all has ended */
  constructor(options: ProactorOptions, ending: "close" | "drain", forger: Forger) {
    this.proactor = new Proactor(options);
    this.options = options;
    this.ending = ending;
    this.#forger = forger;
  }

  /** How things stand. */
  account(): string {
    const { counters, inFlight, ring, closed } = this.proactor;
    const { entries, ending, stopping, forged, options } = this;
    const state = { inFlight, counters, closed, entries, ending, stopping, forged, left };
    const queues = ring.closed
      ? {}
      : { unsubmitted: ring.sqReady, ready: ring.cqReady, pending: ring.pending };
    return JSON.stringify({ options, ...state, ...queues });
  }

  get over(): boolean {
    return this.stopping || left <= 0;
  }

  /** Calls an operation that may be ended early; its value, or `undefined` where it was. */
  async attempt(
    call: (options: object) => Promise<number | undefined>,
    often = 4,
    limit?: number,
  ): Promise<number | undefined> {
    left--;
    const interruption = new Interruption(often, limit);
    underWay.add(interruption);
    called++;
    const promise = call(interruption.options);
    void interruption.begin();
    try {
      const value = await promise;
      fates.resolved++;
      return value ?? 0;
    } catch (error) {
      if (interruption.explains(error, this.proactor.closed)) return undefined;
      const why = error instanceof Error ? error.stack : error;
      return fail(`rejected with ${why}\nas ${interruption} on ${this.account()}`);
    } finally {
      settled++;
      underWay.delete(interruption);
      interruption.end();
      await this.#disturb();
    }
  }

  async #disturb(): Promise<void> {
    const fate = random.below(1500);
    if (fate < 2) collectGarbage();
    else if (fate < 8) this.proactor.flush();
    else if (fate < 12) await this.proactor.ready();
    else if (fate < 40 && !this.proactor.closed) this.forged += this.#forger.forge(this.proactor);
    else if (fate < 60) await setImmediate();
  }

  /** Memory for an operation, of the library's or the engine's; given back before or after its end. */
  memory(
    length: number,
    aligned = false,
  ): { memory: Pinned | Uint8Array; bytes: Uint8Array; early: boolean } {
    if (!aligned && random.below(4) === 0) {
      const bytes = new Uint8Array(length);
      return { memory: bytes, bytes, early: false };
    }
    const memory = alloc(length);
    return { memory, bytes: memory.bytes, early: random.below(3) === 0 };
  }

  /** Reads into memory of its own; how many bytes, checked where the memory is still ours. */
  async read(
    fd: number,
    length: number,
    offset: number,
    stream: number,
    at: number,
    aligned = false,
  ): Promise<number | undefined> {
    const { memory, bytes, early } = this.memory(length, aligned);
    bytes.fill(BLANK);
    const count = await this.attempt((options) => {
      const promise = this.proactor.read(fd, memory, { ...options, offset });
      if (early) give(memory);
      return promise;
    });
    if (count !== undefined && !early) check(`a read at ${at}`, bytes, count, stream, at);
    give(memory);
    return count;
  }

  /** Writes what a stream holds there. */
  async write(
    fd: number,
    length: number,
    offset: number,
    stream: number,
    at: number,
  ): Promise<number | undefined> {
    const { memory, bytes, early } = this.memory(length);
    fill(bytes, stream, at);
    const count = await this.attempt((options) => {
      const promise = this.proactor.write(fd, memory, { ...options, offset });
      if (early) give(memory);
      return promise;
    });
    give(memory);
    return count;
  }
}

function give(memory: Pinned | Uint8Array): void {
  if (memory instanceof Pinned) memory[Symbol.dispose]();
}

/** Bytes that go from one fd to another, in order: none may be lost, or come twice. */
class Channel {
  readonly #stream: number;
  readonly #from: number;
  readonly #to: number;
  #written = 0;
  #read = 0;

  constructor(stream: number, [to, from]: readonly [number, number]) {
    this.#stream = stream;
    this.#to = to;
    this.#from = from;
  }

  async write(epoch: Epoch): Promise<void> {
    while (!epoch.over) {
      if (this.#written - this.#read > 40_000 || random.below(3) === 0) await setImmediate();
      this.#written +=
        (await epoch.write(this.#from, random.pick(SIZES), -1, this.#stream, this.#written)) ?? 0;
    }
  }

  async read(epoch: Epoch): Promise<void> {
    while (!epoch.over) {
      this.#read += (await epoch.read(this.#to, random.pick(SIZES), -1, this.#stream, this.#read)) ?? 0;
    }
  }

  close(): void {
    mustCall("close", this.#to);
    mustCall("close", this.#from);
  }
}

/** Reads anywhere in a file, and writes and reads back a place of its own. */
async function pages(epoch: Epoch, file: number, direct: number, actor: number): Promise<void> {
  const place = FILE_SIZE + actor * REGION;
  const stream = random.below(1000);
  while (!epoch.over) {
    const length = random.pick(SIZES);
    const at = random.below(FILE_SIZE - length);
    await epoch.read(file, length, at, 0, at);
    if (random.below(8) === 0) {
      const page = 4096 * random.below(FILE_SIZE / 4096);
      await epoch.read(direct, 4096, page, 0, page, true);
    }
    const from = random.below(1 << 24);
    const written = await epoch.write(file, length, place, stream, from);
    if (written === undefined || written === 0) continue;
    await epoch.read(file, written, place, stream, from);
  }
}

async function nops(epoch: Epoch): Promise<void> {
  while (!epoch.over) {
    const burst = Array.from({ length: 1 + random.below(32) }, async () => {
      const value = await epoch.attempt((options) => epoch.proactor.nop(options), 16);
      if (value !== undefined && value !== 0) fail(`a nop gave ${value}`);
    });
    await Promise.all(burst);
  }
}

/** Waits for what never comes. */
async function sleepers(epoch: Epoch, silent: number): Promise<void> {
  while (!epoch.over) {
    const { memory, bytes, early } = epoch.memory(random.pick(SIZES));
    bytes.fill(BLANK);
    const value = await epoch.attempt(
      (options) => {
        const promise = epoch.proactor.read(silent, memory, options);
        if (early) give(memory);
        return promise;
      },
      4,
      random.below(6),
    );
    if (value !== undefined) fail(`a pipe into which nothing was written gave ${value} bytes`);
    if (!early) check("a read of nothing", bytes, 0, 0, 0);
    give(memory);
  }
}

/** Closes fds, which are closed once. */
async function closers(epoch: Epoch, file: number): Promise<void> {
  while (!epoch.over) {
    const fd = mustCall("dup", file);
    const done = await epoch.attempt(async (options) => {
      await epoch.proactor.closeFd(fd, options);
      return 0;
    });
    if (done === undefined) mustCall("close", fd);
    await setImmediate();
  }
}

/** Operations without a promise, whose memory is their caller's business. */
async function entries(epoch: Epoch, file: number, silent: number): Promise<void> {
  while (!epoch.over && !epoch.proactor.closed) {
    const memory = alloc(random.pick(SIZES));
    const at = random.below(FILE_SIZE - memory.byteLength);
    const waits = epoch.ending === "close" && epoch.waiting < MOST_WAITING && random.below(50) === 0;
    memory.bytes.fill(BLANK);
    let ended = false;
    const entry = epoch.proactor.entry({
      complete(res, _flags, last) {
        if (ended || !last) fail("an entry has ended twice");
        ended = true;
        epoch.entries--;
        if (res === -ECANCELED && epoch.proactor.closed)
          check("an entry that was ended", memory.bytes, 0, 0, 0);
        else check("an entry's read", memory.bytes, res, 0, at);
        memory[Symbol.dispose]();
      },
    });
    if (entry === null) {
      memory[Symbol.dispose]();
      await setImmediate();
      continue;
    }
    left--;
    fates.entries++;
    epoch.entries++;
    epoch.waiting += Number(waits);
    if (waits) entry.prepRead(silent, memory, memory.byteLength, -1);
    else entry.prepRead(file, memory, memory.byteLength, at);
    if (random.below(3) === 0) await setImmediate();
  }
}

// ------------------------------------------------------------------------------------------------ the run

/** What all epochs work on. */
class World {
  readonly #scratch = new Scratch();
  readonly #file: number;
  readonly #direct: number;
  readonly #silent: readonly [number, number] = pair("pipe2");
  readonly #channels: readonly Channel[];

  constructor() {
    const content = new Uint8Array(FILE_SIZE + ACTORS.pages * REGION);
    fill(content.subarray(0, FILE_SIZE), 0, 0);
    const path = cstring(this.#scratch.file("pages", content));
    const open = (flags: number) => mustCall("openat", abi.AT_FDCWD, path.address, flags);
    this.#file = open(abi.O_RDWR);
    this.#direct = open(abi.O_RDONLY | abi.O_DIRECT);
    this.#channels = [
      ...Array.from({ length: PIPES }, (_, i) => new Channel(i + 1, pair("pipe2"))),
      ...Array.from({ length: SOCKETS }, (_, i) => new Channel(i + 100, pair("socketpair"))),
    ];
  }

  /** Everything that goes on in an epoch. */
  actors(epoch: Epoch): Promise<void>[] {
    const [silent] = this.#silent;
    const file = this.#file;
    const each = (count: number, actor: (i: number) => Promise<void>) =>
      Array.from({ length: count }, (_, i) => actor(i));
    return [
      ...this.#channels.flatMap((channel) => [channel.read(epoch), channel.write(epoch)]),
      ...each(ACTORS.pages, (i) => pages(epoch, file, this.#direct, i)),
      ...each(ACTORS.nops, () => nops(epoch)),
      ...each(ACTORS.sleepers, () => sleepers(epoch, silent)),
      ...each(ACTORS.closers, () => closers(epoch, file)),
      ...each(ACTORS.entries, () => entries(epoch, file, silent)),
    ];
  }

  close(): void {
    for (const channel of this.#channels) channel.close();
    for (const fd of [this.#file, this.#direct, ...this.#silent]) mustCall("close", fd);
    this.#scratch[Symbol.dispose]();
  }
}

function pair(call: "pipe2" | "socketpair"): readonly [number, number] {
  using fds = alloc(8);
  if (call === "pipe2") mustCall(call, fds.address, abi.O_CLOEXEC);
  else mustCall(call, abi.AF_UNIX, abi.SOCK_STREAM | abi.SOCK_CLOEXEC, 0, fds.address);
  const [first, second] = new Int32Array(fds.bytes.slice().buffer);
  return [first as number, second as number];
}

/** Proactors as they come, now and then as few would make them. */
function someOptions(): ProactorOptions {
  switch (random.below(8)) {
    case 0:
      return { entries: 4, cqEntries: 64 };
    case 1:
      return {
        flags: abi.IORING_SETUP_COOP_TASKRUN | abi.IORING_SETUP_TASKRUN_FLAG,
        entries: 16,
        cqEntries: 64,
      };
    case 2:
      return { flags: 0, entries: 64 };
    case 3:
      return { flags: abi.IORING_SETUP_SQPOLL, sqThreadIdle: 1, entries: 32 };
    case 4:
      return { debug: true };
    default:
      return {};
  }
}

async function runEpoch(world: World, forger: Forger, watchdog: Watchdog): Promise<void> {
  const epoch = new Epoch(someOptions(), ++epochs % 2 === 0 ? "close" : "drain", forger);
  const { proactor } = epoch;
  current = epoch;
  watchdog.watch(proactor);
  const end = left - (500 + random.below(7000));
  const running = Promise.all(world.actors(epoch));
  while (!epoch.over && left > end) await setImmediate();
  epoch.stopping = true;
  let leaked = 0;
  if (epoch.ending === "close") ({ leaked } = await proactor.close(PATIENT));
  let over = false;
  void running.then(() => {
    over = true;
  });
  while (!over || epoch.entries > 0) {
    for (const each of underWay) each.abort();
    await setImmediate();
  }
  if (leaked !== 0) fail(`close has leaked ${leaked} operations: ${epoch.account()}`);
  if (proactor.inFlight !== 0)
    fail(`operations are in flight after the last has settled: ${epoch.account()}`);
  if (epoch.ending === "drain") {
    for (let i = 0; i < 1000 && proactor.counters.stale < epoch.forged; i++) await setImmediate();
    ({ leaked } = await proactor.close(PATIENT));
  }
  if (leaked !== 0) fail(`close has leaked ${leaked} operations`);
  const { stale } = proactor.counters;
  if (stale > epoch.forged || (epoch.ending === "drain" && stale < epoch.forged))
    fail(`${stale} completions were nobody's, and ${epoch.forged} were made up`);
  watchdog.forget(proactor);
}

/** Fails where nothing settles any more. */
function watchProgress(): { [Symbol.dispose](): void } {
  let last = -1;
  const timer = setInterval(() => {
    if (settled + fates.entries === last)
      fail(
        `nothing has settled for ${STUCK_MS} ms; ${called - settled} are under way on ${current?.account()}`,
      );
    last = settled + fates.entries;
  }, STUCK_MS);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

async function stress(): Promise<object> {
  using settlements = new Settlements(fail);
  const quarantine = new Quarantine(random, fail);
  const forger = new Forger();
  const world = new World();
  using watchdog = new Watchdog(fail);
  using _progress = watchProgress();
  const all = left;
  // What engines and pools take once they keep: only then is there something to compare with.
  left = Math.max(Math.floor(all / 10), 1);
  while (left > 0) await runEpoch(world, forger, watchdog);
  const before = await footprint();
  left = all - called - fates.entries;
  const start = performance.now();
  while (left > 0) await runEpoch(world, forger, watchdog);
  quarantine.empty();
  const seconds = (performance.now() - start) / 1000;
  if (settlements.settled !== settlements.made)
    fail(`${settlements.made} promises were made and ${settlements.settled} have settled`);
  const after = await footprint(before.fds);
  if (after.fds > before.fds) fail(`fds: ${before.fds} before, now ${openFds().join(", ")}`);
  if (after.mappings > before.mappings + MOST_MAPPINGS)
    fail(`mappings: ${before.mappings} before, ${after.mappings} after`);
  if (after.rss > before.rss + MOST_GROWTH) fail(`memory: ${before.rss} MiB before, ${after.rss} MiB after`);
  world.close();
  forger.close();
  return {
    operations: called + fates.entries,
    epochs,
    ...fates,
    poisoned: quarantine.checked,
    seconds,
    before,
    after,
  };
}

/** What the process has, once what is being given back is. */
async function footprint(fds = 0): Promise<{ fds: number; mappings: number; rss: number }> {
  let open = openFds().length;
  for (let i = 0; i < 100 && (i < 3 || open > fds); i++) {
    collectGarbage();
    await setTimeout(2);
    open = openFds().length;
  }
  const pages = Number(readFileSync("/proc/self/statm", "latin1").split(" ")[1]);
  return { fds: open, mappings: mappings(), rss: Math.round(pages / 256) };
}

const done = {
  ...(left > 0 ? await stress() : {}),
  ...(Number(doorbell) > 0 ? { doorbell: await ringDoorbells(Number(doorbell), random, fail) } : {}),
};
console.log(JSON.stringify(done));
// What a failed run has left would keep the process running, what one that went well has left must not.
