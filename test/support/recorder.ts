// Loaded before tests, writes down what of io_uring they exercise: `npm run coverage`. One name a line, appended to the
// file that the environment variable URING_COVERAGE names, as soon as it is seen for the first time.

import { appendFileSync } from "node:fs";
import process from "node:process";
import { Cqe, Probe, Ring, Sqe } from "uring";
import {
  IORING_ENTER_EXT_ARG_REG,
  IORING_ENTER_REGISTERED_RING,
  IORING_REGISTER_MEM_REGION,
  IORING_REGISTER_USE_REGISTERED_RING,
  IORING_SETUP_SQPOLL,
  io_uring_mem_region_reg,
  io_uring_params,
  io_uring_reg_wait,
  io_uring_region_desc,
} from "uring/abi";
import { runtime } from "#runtime";
import { BufferRing } from "../../src/shared/ring/buffer-ring.ts";
import type { Shim } from "../../src/shared/runtime.ts";
import { flagFacts } from "./entry-facts.ts";
import { RecordedRing } from "./recorded-ring.ts";
import { registrationFacts } from "./registration-facts.ts";
import type { RingView } from "./ring-view.ts";
import { watchRings } from "./watched-rings.ts";

const ETIME = 62;

const file = process.env.URING_COVERAGE;
const seen = new Set<string>();

function record(names: readonly string[]): void {
  for (const name of names) {
    if (seen.has(name)) continue;
    seen.add(name);
    if (file !== undefined) appendFileSync(file, `${name}\n`);
  }
}

// ------------------------------------------------------------------------------------------------ what the kernel sees

/** The native library, with a look at every call that goes through. */
function recorded(real: Shim): Shim {
  const { shim, ringOf, peek } = watchRings(real);
  const records = new WeakMap<RingView, RecordedRing>();
  /** Addresses of regions that hold the arguments of registered waits. */
  const waits = new WeakMap<RingView, number>();
  const recordOf = (ring: RingView | undefined) => {
    if (ring === undefined) return undefined;
    const known = records.get(ring) ?? new RecordedRing(ring, record);
    records.set(ring, known);
    return known;
  };

  return {
    ...shim,
    setup(entries, params) {
      const fd = shim.setup(entries, params);
      if (fd < 0) return fd;
      const answer = peek(params, io_uring_params.sizeof);
      record(flagFacts("setup", answer.getUint32(io_uring_params.flags, true)));
      record(flagFacts("features", answer.getUint32(io_uring_params.features, true)));
      return fd;
    },

    enter(fd, toSubmit, minComplete, flags, arg, argSize) {
      const ring = ringOf(fd, (flags & IORING_ENTER_REGISTERED_RING) !== 0);
      const helpers = written;
      const known = recordOf(ring);
      helpers?.splice(0, known?.look(helpers) ?? 0);
      const result = shim.enter(fd, toSubmit, minComplete, flags, arg, argSize);
      if (result >= 0 || result === -ETIME) {
        record(flagFacts("enter", flags));
        const wait =
          (flags & IORING_ENTER_EXT_ARG_REG) !== 0 && ring !== undefined ? waits.get(ring) : undefined;
        if (wait !== undefined) {
          const options = peek(wait + arg, io_uring_reg_wait.sizeof);
          record(flagFacts("registeredWait", options.getUint32(io_uring_reg_wait.flags, true)));
        }
      }
      helpers?.splice(0, known?.look(helpers) ?? 0);
      return result;
    },

    register(fd, opcode, arg, nrArgs) {
      const registered = (opcode & IORING_REGISTER_USE_REGISTERED_RING) !== 0;
      const call = (opcode & ~IORING_REGISTER_USE_REGISTERED_RING) >>> 0;
      const ring = ringOf(fd, registered);
      recordOf(ring)?.look();
      const result = shim.register(fd, opcode, arg, nrArgs);
      if (result < 0) return result;
      record(registrationFacts(call, peek, arg, nrArgs));
      if (registered) record(flagFacts("register", opcode));
      if (call === IORING_REGISTER_MEM_REGION && ring !== undefined) {
        const description = peek(arg + io_uring_mem_region_reg.region_uptr, 8).getBigUint64(0, true);
        const address = peek(Number(description) + io_uring_region_desc.user_addr, 8).getBigUint64(0, true);
        if (address !== 0n) waits.set(ring, Number(address));
      }
      return result;
    },

    close(fd) {
      recordOf(ringOf(fd, false))?.look();
      return shim.close(fd);
    },
  };
}

const load = runtime.load.bind(runtime);
let shim: Shim | undefined;
runtime.load = () => {
  shim ??= recorded(load());
  return shim;
};

// ------------------------------------------------------------------------------------------------- what programs call

/** For each entry that a ring has handed out and the kernel has not taken: the helpers that wrote it. */
const queues = new WeakMap<Ring, Set<string>[]>();
const helpersOf = new WeakMap<Sqe, Set<string>>();
/** The queue of the ring whose method is running. */
let written: Set<string>[] | undefined;
let depth = 0;

/** Replaces a member of a class by one that calls `around` with what the member does. */
function wrap(
  prototype: object,
  name: string,
  around: (target: object, call: () => unknown) => unknown,
): void {
  const descriptor = Object.getOwnPropertyDescriptor(prototype, name) as PropertyDescriptor;
  const { value, get } = descriptor;
  if (typeof value === "function") {
    descriptor.value = function (this: object, ...args: unknown[]) {
      return around(this, () => value.apply(this, args));
    };
  } else if (get !== undefined) {
    descriptor.get = function (this: object) {
      return around(this, () => get.call(this));
    };
  }
  Object.defineProperty(prototype, name, descriptor);
}

/** The public members of a class and those it extends. */
function* members(type: { readonly prototype: object }): Generator<[prototype: object, name: string]> {
  for (let at = type.prototype; at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    for (const name of Object.getOwnPropertyNames(at)) if (name !== "constructor") yield [at, name];
  }
}

/** Entries: which helper wrote one last, and what was set beside it. */
for (const [prototype, name] of members(Sqe)) {
  if (!/^(prep|set)[A-Z]/.test(name)) continue;
  const replaces = name.startsWith("prep") && name !== "prepSendSetAddr";
  wrap(prototype, name, (sqe, call) => {
    depth++;
    try {
      const result = call();
      const names = depth === 1 ? helpersOf.get(sqe as Sqe) : undefined;
      if (replaces) for (const other of names ?? []) if (other.startsWith("Sqe.prep")) names?.delete(other);
      names?.add(`Sqe.${name}`);
      return result;
    } finally {
      depth--;
    }
  });
}

for (const [prototype, name] of members(Ring)) {
  wrap(prototype, name, (target, call) => {
    const ring = target as Ring;
    const outer = written;
    // What a ring that is being closed hands over is its own, and nothing that a program wrote.
    written = name === "close" ? undefined : queues.get(ring);
    try {
      const result = call();
      record([`Ring.${name}`, "Ring"]);
      if (name === "getSqe" && result !== null) remember(ring, result as Sqe);
      return result;
    } finally {
      written = outer;
    }
  });
}

function remember(ring: Ring, sqe: Sqe): void {
  const names = helpersOf.get(sqe) ?? new Set();
  names.clear();
  helpersOf.set(sqe, names);
  // A poller takes entries at any time, unseen.
  const queue = queues.get(ring) ?? ((ring.params.flags & IORING_SETUP_SQPOLL) === 0 ? [] : undefined);
  if (queue === undefined) return;
  queue.push(names);
  queues.set(ring, queue);
}

for (const [title, type] of Object.entries({ Cqe, Probe, BufferRing })) {
  for (const [prototype, name] of members(type)) {
    wrap(prototype, name, (_, call) => {
      const result = call();
      record([`${title}.${name}`]);
      return result;
    });
  }
}

const adopt = Ring.adopt;
Ring.adopt = function (this: typeof Ring, transfer) {
  const ring = adopt.call(this, transfer);
  record(["Ring.adopt"]);
  return ring;
} as typeof adopt;
