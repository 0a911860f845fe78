// One seed's fuzz of the whole public API. Ends with 0 when nothing but errors came of it, no memory but what was
// offered has changed, and rings work as ever.

import assert from "node:assert/strict";
import { mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import {
  available,
  type CloseResult,
  encodeSockaddr,
  Ring,
  type RingOptions,
  type RingTransfer,
  UringError,
  UringUnavailableError,
  type WaitOptions,
} from "uring";
import * as abi from "uring/abi";
import { Canaries } from "./canaries.ts";
import { collectGarbage, patiently } from "./child.ts";
import { decorate, prepare, type World } from "./fuzz-prep.ts";
import { register } from "./fuzz-register.ts";
import { convert } from "./fuzz-structs.ts";
import { anything, bits32, Hostile } from "./fuzz-values.ts";
import { pipe } from "./harness.ts";
import { Random } from "./random.ts";
import { exercise } from "./ring.ts";
import { shim } from "./runtime.ts";

const [seed = "0", rounds = "0", folder = ""] = process.argv.slice(2);
const ringSources = fileURLToPath(new URL("../../src/shared/ring/", import.meta.url));
const random = new Random(Number(seed));
const canaries = new Canaries(random);
const messages = new Map<string, number>();
const world: World = {
  random,
  folder,
  fds: [],
  sockets: [],
  spare: [],
  asked: { skip: false, drain: false, zeroCopy: false },
};
/** The `user_data` of operations whose result is an fd. */
const givers = new Set<number>();
let serial = 2 ** 20;

/** Errors that the library means to throw, and what hostile values throw themselves. */
function attempt<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    const expected =
      error instanceof TypeError ||
      error instanceof RangeError ||
      error instanceof UringError ||
      error instanceof Hostile;
    if (!expected || error instanceof UringUnavailableError) throw error;
    const key = error.message.replace(/-?\d+n?/g, "#").slice(0, 100);
    messages.set(key, (messages.get(key) ?? 0) + 1);
    return undefined;
  }
}

const FLAGS = [
  abi.IORING_SETUP_CLAMP,
  abi.IORING_SETUP_SUBMIT_ALL,
  abi.IORING_SETUP_COOP_TASKRUN,
  abi.IORING_SETUP_TASKRUN_FLAG,
  abi.IORING_SETUP_SINGLE_ISSUER,
  abi.IORING_SETUP_SINGLE_ISSUER | abi.IORING_SETUP_DEFER_TASKRUN,
  abi.IORING_SETUP_SQE128,
  abi.IORING_SETUP_CQE32,
  abi.IORING_SETUP_CQE_MIXED,
  abi.IORING_SETUP_SQPOLL,
  abi.IORING_SETUP_R_DISABLED,
  abi.IORING_SETUP_NO_SQARRAY,
  abi.IORING_SETUP_NO_MMAP,
  abi.IORING_SETUP_REGISTERED_FD_ONLY,
];

function options(): RingOptions {
  const made: Record<string, unknown> = { entries: random.pick([1, 2, 3, 8, 32, 200]) };
  let flags = 0;
  for (let i = random.below(4); i > 0; i--) flags |= random.pick(FLAGS);
  if (random.below(20) === 0) flags |= abi.IORING_SETUP_IOPOLL;
  if (flags !== 0) made.flags = random.below(10) === 0 ? flags | bits32(random) : flags;
  if (random.below(4) === 0) made.cqEntries = random.pick([1, 4, 64, 1000]);
  if (random.below(4) === 0) made.memory = random.pick(["owned", "mapped", "huge"]);
  if (random.below(20) === 0) made.attachWq = random.pick(world.fds);
  if (random.below(6) === 0) made.fd = random.below(2) === 0;
  // A poller that waits for work keeps a processor busy.
  if ((flags & abi.IORING_SETUP_SQPOLL) !== 0) made.sqThreadIdle = random.below(4);
  if (random.below(6) === 0) {
    const hostile = anything(random);
    const name = random.pick([
      "entries",
      "cqEntries",
      "flags",
      "sqThreadCpu",
      "sqThreadIdle",
      "attachWq",
      "memory",
      "fd",
    ]);
    // Rings of this size are sound, but take their time.
    if (!(typeof hostile === "number" && hostile > 4096)) made[name] = hostile;
  }
  return made;
}

/** Waits of a few milliseconds, or such as must be refused. */
function wait(): WaitOptions {
  const made: Record<string, unknown> = { timeout: random.below(3) / 2 };
  if (random.below(4) === 0) made.minWait = random.pick([0, 0.5, 1, anything(random)]);
  if (random.below(6) === 0) made.sigmask = random.pick([0n, 1n << 20n, 2n ** 64n, 5, "x"]);
  if (random.below(10) === 0)
    made.timeout = random.pick([-1, Number.NaN, Number.POSITIVE_INFINITY, "1", null, {}, 1n, 2 ** 60]);
  if (typeof made.minWait === "number" && made.minWait > 1) made.minWait = -1;
  return random.below(20) === 0 ? (random.pick([null, 5, "x", Symbol("x")]) as WaitOptions) : made;
}

/** Reads a completion, and does in the callback what callbacks may. */
function complete(ring: Ring): (userData: number, res: number) => void {
  let calls = 0;
  return (userData, res) => {
    if (givers.has(userData) && res >= 0) world.spare.push(res);
    // A ring made of forged numbers may report completions without end.
    if (++calls > 100_000) throw new Hostile("endless");
    switch (random.below(60)) {
      case 0:
        throw new Hostile("callback");
      case 1:
        ring.submit();
        break;
      case 2:
        ring.drain(complete(ring));
        break;
      case 3:
        ring.getSqe()?.prepNop();
        break;
      case 4:
        if (ring !== neighbour && random.below(10) === 0) close(ring);
        break;
    }
  };
}

function close(ring: Ring): CloseResult | undefined {
  const deadline = random.below(4) === 0 ? (anything(random) as number) : random.pick([0, 1, 500]);
  if (deadline > 1000) return ring.close();
  return random.below(2) === 0 ? ring.close() : ring.close({ deadline });
}

const GETTERS = [
  "fd",
  "params",
  "features",
  "memory",
  "closed",
  "sqReady",
  "sqSpaceLeft",
  "sqDropped",
  "cqReady",
  "cqOverflow",
  "cqHasOverflow",
  "inFlight",
] as const;

/** Everything that a ring does apart from entries. */
const uses: ((ring: Ring) => unknown)[] = [
  (ring) => ring.submit(),
  (ring) => ring.submit(),
  (ring) => ring.submitAndWait(random.below(3), wait()),
  (ring) => ring.submitAndWait(random.below(3), wait()),
  (ring) => ring.submitAndWait(random.pick([-1, 0.5, 2 ** 32, "1", null, Symbol("x"), 1n]) as number, wait()),
  (ring) => ring.submitAndGetEvents(),
  (ring) => ring.getEvents(),
  (ring) => ring.sqringWait(),
  (ring) => ring.drain(complete(ring)),
  (ring) => ring.drain(complete(ring)),
  (ring) => ring.drain(anything(random) as () => void),
  (ring) => ring.copyCqes(new Int32Array(random.below(64))),
  (ring) => ring.copyCqes(anything(random) as Int32Array),
  (ring) => ring.peekCqe()?.error(),
  (ring) => ring.waitCqe(wait())?.error(),
  (ring) => {
    const slots = ring.forEachCqe((cqe) => {
      for (const name of [
        "userData",
        "userData64",
        "res",
        "flags",
        "bufferId",
        "more",
        "notification",
        "big",
      ] as const)
        void cqe[name];
      if (givers.has(cqe.userData) && cqe.res >= 0) world.spare.push(cqe.res);
      complete(ring)(0, 0);
    });
    ring.cqAdvance(random.below(4) === 0 ? random.below(100) : slots);
  },
  (ring) => ring.forEachCqe(anything(random) as () => void),
  (ring) => ring.cqAdvance(anything(random) as number),
  (ring) => ring.probe().supports(anything(random) as number),
  (ring) => ring.enableRings(),
  (ring) => ring[random.pick(GETTERS)],
];

/** Methods that this program has no idea of are called with anything but numbers. */
const known = new Set([
  ...GETTERS,
  "constructor",
  "getSqe",
  "submit",
  "submitAndWait",
  "submitAndGetEvents",
  "getEvents",
  "sqringWait",
  "drain",
  "copyCqes",
  "peekCqe",
  "waitCqe",
  "forEachCqe",
  "cqAdvance",
  "probe",
  "enableRings",
  "detach",
  "close",
]);
/** What the type system keeps to the library itself, which callers can not call. */
const internal = new Set(
  readdirSync(ringSources, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .flatMap((name) => [
      ...readFileSync(`${ringSources}${name}`, "utf8").matchAll(
        /^ {2}(?:protected|private) (?:get )?(\w+)/gm,
      ),
    ])
    .map((match) => match[1] as string),
);

function unknownMethods(ring: Ring): string[] {
  const names = new Set<string>();
  for (
    let object: object | null = Object.getPrototypeOf(ring);
    object !== Object.prototype && object !== null;
    object = Object.getPrototypeOf(object)
  ) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(object))) {
      if (typeof value === "function" && !known.has(name) && !internal.has(name)) names.add(name);
    }
  }
  return [...names];
}

function callUnknown(ring: Ring, names: readonly string[]): void {
  if (names.length === 0) return;
  const values = Array.from({ length: random.below(5) }, () => {
    const value = anything(random);
    return typeof value === "number" || typeof value === "bigint" ? (random.below(2) === 0 ? -1 : 0) : value;
  });
  const method = (ring as unknown as Record<string, (...values: unknown[]) => unknown>)[random.pick(names)];
  const result = method?.call(ring, ...values);
  if (typeof result === "object" && result !== null && Symbol.dispose in result)
    (result as Disposable)[Symbol.dispose]();
}

function fillEntry(ring: Ring): void {
  const sqe = ring.getSqe();
  if (sqe === null) {
    ring.submit();
    return;
  }
  if (random.below(6) === 0) attempt(() => decorate(world, sqe, true));
  let fd = attempt(() => prepare(world, sqe)) === true;
  if (random.below(8) === 0) {
    attempt(() => prepare(world, sqe));
    // What a mixture of two gives is unknown: better a leaked fd than one closed that is another's.
    fd = false;
  }
  for (let i = Math.max(0, random.below(6) - 3); i > 0; i--) attempt(() => decorate(world, sqe, fd));
  const name = serial++;
  if (fd) givers.add(name);
  sqe.setData64(name);
}

/** One ring's life. Its last question is whether everything it was told to do has ended. */
function live(calls: number): void {
  const ring = attempt(
    () => new Ring(random.below(20) === 0 ? (anything(random) as RingOptions) : options()),
  );
  if (ring === undefined) return;
  if (random.below(20) === 0 && forge(ring)) return;
  world.asked = { skip: false, drain: false, zeroCopy: false };
  const { fd } = ring;
  if (fd >= 0) world.fds.push(fd);
  const names = unknownMethods(ring);
  try {
    if (random.below(4) > 0) attempt(() => ring.enableRings());
    for (let i = 0; i < calls && !ring.closed; i++) {
      if (random.below(3) > 0) attempt(() => fillEntry(ring));
      else if (random.below(10) === 0) attempt(() => callUnknown(ring, names));
      else if (random.below(3) === 0) attempt(() => register(world, ring));
      else attempt(() => random.pick(uses)(ring));
      if (random.below(200) === 0) attempt(() => close(ring));
    }
  } finally {
    const at = world.fds.indexOf(fd);
    if (fd >= 0 && at >= 0) world.fds.splice(at, 1);
  }
  // Linux 6.18 never runs a drained operation while a zero-copy send behind it, or it itself, holds a notification.
  const { skip, drain, zeroCopy } = world.asked;
  const endless = skip || (drain && zeroCopy);
  const before = ring.closed;
  const result = ring.close(endless ? { deadline: 20 } : {});
  assert.ok(before || endless || result.leaked === 0, `leaked ${result.leaked}, flags ${ring.params.flags}`);
  for (const use of uses) attempt(() => use(ring));
}

/** Detaches a ring, adopts it under numbers that need not be its own. */
function forge(ring: Ring): boolean {
  const transfer = attempt(() => ring.detach());
  if (transfer === undefined) return false;
  const copy = structuredClone(transfer) as { -readonly [K in keyof RingTransfer]: RingTransfer[K] };
  const change = (object: object, key: string) =>
    Reflect.set(
      object,
      key,
      random.below(2) === 0 ? anything(random) : random.pick([0, 4, 64, 256, 1024, 4096, 32768, 65536]),
    );
  for (let i = random.below(3); i > 0; i--) {
    const where = random.pick([copy, copy.params, copy.params.sqOff, copy.params.cqOff]);
    const key = random.pick(Object.keys(where));
    // An fd is the process's to answer for.
    if (key !== "fd" && !(key === "claim" && where === copy)) attempt(() => change(where, key));
  }
  const adopted = attempt(() => Ring.adopt(copy));
  attempt(() => Ring.adopt(copy));
  if (adopted === undefined) {
    shim().close(transfer.fd);
    return true;
  }
  attempt(() => adopted.enableRings());
  for (let i = 0; i < 10; i++) attempt(() => adopted.getSqe()?.prepNop());
  for (const use of uses) attempt(() => use(adopted));
  attempt(() => adopted.close({ deadline: 10 }));
  return true;
}

function furnish(): Disposable[] {
  writeFileSync(`${folder}/a`, random.bytes(5000));
  mkdirSync(`${folder}/d`);
  const first = pipe();
  const second = pipe();
  world.fds.push(first.read, first.write, second.read, second.write);
  for (const mode of ["r+", "a+"]) world.fds.push(openSync(`${folder}/b`, mode === "r+" ? "w+" : mode));
  using ring = new Ring({ entries: 8 });
  const run = (prepare: (sqe: NonNullable<ReturnType<Ring["getSqe"]>>) => unknown): number => {
    let result = -1;
    const sqe = ring.getSqe();
    assert.ok(sqe);
    prepare(sqe);
    ring.submitAndWait(1, { timeout: 1000 });
    ring.drain((_, res) => {
      result = res;
    });
    return result;
  };
  for (const domain of [abi.AF_UNIX, abi.AF_INET, abi.AF_INET6]) {
    for (const type of [abi.SOCK_STREAM, abi.SOCK_DGRAM]) {
      const fd = run((sqe) => sqe.prepSocket(domain, type, 0, 0));
      if (fd >= 0) world.sockets.push(fd);
    }
  }
  // A connection: what a server accepts, and its client.
  const address = encodeSockaddr({ family: "unix", path: `${folder}/server` });
  const [server = -1, client = -1] = [0, 0].map(() =>
    run((sqe) => sqe.prepSocket(abi.AF_UNIX, abi.SOCK_STREAM, 0, 0)),
  );
  run((sqe) => sqe.prepBind(server, address, address.byteLength));
  run((sqe) => sqe.prepListen(server, 5));
  run((sqe) => sqe.prepConnect(client, address, address.byteLength));
  const accepted = run((sqe) => sqe.prepAccept(server, 0, 0, 0));
  world.sockets.push(...[server, client, client, accepted, accepted].filter((fd) => fd >= 0));
  world.fds.push(...world.sockets);
  return [first, second];
}

const kept = furnish();
/** A ring that the others may send messages to. */
const neighbour = new Ring({ entries: 8 });
world.fds.push(neighbour.fd);
for (let left = Number(rounds); left > 0; ) {
  const calls = 5 + random.below(120);
  live(calls);
  for (let i = random.below(40); i > 0; i--) attempt(() => convert(random));
  left -= calls;
  while (world.spare.length > 20) shim().close(world.spare.shift() as number);
  attempt(() => neighbour.drain(complete(neighbour)));
  if (random.below(6) === 0) {
    collectGarbage();
    canaries.check();
  }
}
collectGarbage();
canaries.check();
using last = patiently({ entries: 8 });
assert.ok(available().ok);
exercise(last);
for (const held of kept) held[Symbol.dispose]();
if (process.env.URING_FUZZ_TRACE !== undefined) {
  for (const [message, count] of [...messages].sort((a, b) => b[1] - a[1]))
    console.log(`${count}\t${message}`);
}
console.log("done");
