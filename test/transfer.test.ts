// What leaves a ring by `detach` and comes back by `adopt`, in one thread; workers.test.ts has the threads.

import assert from "node:assert/strict";
import { closeSync, openSync } from "node:fs";
import { describe, it } from "node:test";
import { alloc, Ring, type RingOptions, type RingTransfer } from "uring";
import * as abi from "uring/abi";
import { exercise, ringFds } from "./support/ring.ts";
import { kernelTakes, withShim } from "./support/runtime.ts";
import { mustCall, syscall } from "./support/system.ts";

const EBADF = 9;
const ENOMEM = 12;
const MAPPED: RingOptions = { memory: "mapped" };
const ownMemory = kernelTakes(abi.IORING_SETUP_NO_MMAP)
  ? {}
  : { skip: "this kernel takes no memory of a process's own for rings" };

function disabled(options: RingOptions = {}): Ring {
  return new Ring({ entries: 8, ...options, flags: (options.flags ?? 0) | abi.IORING_SETUP_R_DISABLED });
}

function isOpen(fd: number): boolean {
  return syscall("fcntl", fd, 1) !== -EBADF;
}

function useUp(transfer: RingTransfer): void {
  using ring = Ring.adopt(transfer);
  ring.enableRings();
  exercise(ring);
}

describe("a ring that is detached", () => {
  it("is gone from this object, which closes nothing", () => {
    const ring = disabled();
    const { fd } = ring;
    const sqSpaceLeft = ring.sqSpaceLeft;
    const transfer = ring.detach();
    assert.equal(transfer.fd, fd);
    assert.deepEqual([ring.closed, ring.fd, sqSpaceLeft], [true, -1, 8]);
    const error = { name: "TypeError", message: "the ring is detached" };
    const uses: Record<string, () => unknown> = {
      getSqe: () => ring.getSqe(),
      submit: () => ring.submit(),
      submitAndWait: () => ring.submitAndWait(1, { timeout: 1 }),
      drain: () => ring.drain(() => {}),
      copyCqes: () => ring.copyCqes(new Int32Array(4)),
      peekCqe: () => ring.peekCqe(),
      waitCqe: () => ring.waitCqe({ timeout: 1 }),
      forEachCqe: () => ring.forEachCqe(() => {}),
      cqAdvance: () => ring.cqAdvance(0),
      sqReady: () => ring.sqReady,
      cqReady: () => ring.cqReady,
      inFlight: () => ring.inFlight,
      probe: () => ring.probe(),
      registerPersonality: () => ring.registerPersonality(),
      enableRings: () => ring.enableRings(),
      detach: () => ring.detach(),
    };
    for (const [name, use] of Object.entries(uses)) assert.throws(use, error, name);
    assert.deepEqual(ring.close(), { leaked: 0 });
    ring[Symbol.dispose]();
    assert.ok(isOpen(fd));
    useUp(transfer);
    assert.ok(!isOpen(fd));
  });

  for (const [name, options] of Object.entries({
    "in memory by default": {},
    "in mapped memory": MAPPED,
    "with large entries and completions, in mapped memory": {
      ...MAPPED,
      flags: abi.IORING_SETUP_SQE128 | abi.IORING_SETUP_CQE32,
    },
    "with many completions": { entries: 4, cqEntries: 1024 },
  } satisfies Record<string, RingOptions>)) {
    it(`is the same ring where it is adopted, ${name}`, () => {
      const before = disabled(options);
      const { params, features, memory } = before;
      // What arrives in another thread is a copy.
      using ring = Ring.adopt(structuredClone(before.detach()));
      assert.deepEqual([ring.params, ring.features], [params, features]);
      assert.equal(ring.memory, memory);
      assert.throws(() => ring.submitAndWait(1, { timeout: 1 }), {
        code: "EBADFD",
        message: /enableRings\(\)/,
      });
      ring.enableRings();
      exercise(ring);
    });
  }

  it("is of the class that adopts it", () => {
    class Mine extends Ring {
      readonly own = "mine";
    }
    using ring = Mine.adopt(disabled().detach());
    assert.equal(ring.own, "mine");
    assert.ok(ring instanceof Mine);
  });

  it("can not be in huge pages, and stays what it is", ownMemory, () => {
    // Any memory passes for huge pages here.
    const ring = withShim(
      (real) => ({
        map: (fd, length, offset) => (fd < 0 ? alloc(length).address : real.map(fd, length, offset)),
        unmap: () => 0,
      }),
      () => disabled({ memory: "huge" }),
    );
    assert.equal(ring.memory, "huge");
    assert.throws(() => ring.detach(), { name: "TypeError", message: /huge pages can not be handed/ });
    ring.enableRings();
    exercise(ring);
    assert.deepEqual(ring.close(), { leaked: 0 });
  });

  it("can be adopted once, whichever copy of the transfer is first", () => {
    const transfer = disabled().detach();
    const [one, two] = [structuredClone(transfer), structuredClone(transfer)];
    useUp(one);
    const fds = ringFds();
    for (const taken of [transfer, one, two]) {
      assert.throws(() => Ring.adopt(taken), { name: "TypeError", message: /has been adopted already/ });
    }
    assert.equal(ringFds(), fds);
  });
});

describe("what is given to adopt", () => {
  type Change = (transfer: RingTransfer) => unknown;
  const params =
    (changed: object): Change =>
    (transfer) => ({ ...transfer, params: { ...transfer.params, ...changed } });
  const offset =
    (queue: "sqOff" | "cqOff", changed: object): Change =>
    (transfer) =>
      params({ [queue]: { ...transfer.params[queue], ...changed } })(transfer);
  const NUMBERS = [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 32, "1", 1n, null, undefined, {}];

  const changes: Record<string, readonly Change[]> = {
    "not an object": [undefined, null, 0, 1n, "ring", Symbol.iterator, () => {}].map((value) => () => value),
    "another object": [{}, [], new Uint8Array(64), new Ring(), new Map()].map((value) => () => value),
    "a transfer with another claim": [
      undefined,
      null,
      {},
      new ArrayBuffer(4),
      new SharedArrayBuffer(0),
      new SharedArrayBuffer(8),
    ].map((claim) => (transfer) => ({ ...transfer, claim })),
    "a transfer with an fd that is no number": NUMBERS.map((fd) => (transfer) => ({ ...transfer, fd })),
    "a transfer with no parameters": [undefined, null, 5, "params"].map((value) => (transfer) => ({
      ...transfer,
      params: value,
    })),
    "a transfer with no flags": NUMBERS.map((flags) => params({ flags })),
    "a transfer with sizes that are none": [...NUMBERS, 0, 3, 2 ** 17].flatMap((size) => [
      params({ sqEntries: size }),
      params({ cqEntries: size }),
    ]),
    "a transfer without offsets": [undefined, null, 5].flatMap((value) => [
      params({ sqOff: value }),
      params({ cqOff: value }),
    ]),
    "a transfer with offsets that are none": NUMBERS.flatMap((value) => [
      ...["head", "tail", "flags", "dropped", "array"].map((name) => offset("sqOff", { [name]: value })),
      ...["head", "tail", "overflow", "cqes", "flags"].map((name) => offset("cqOff", { [name]: value })),
    ]),
  };
  const changesOfOwned: Record<string, readonly Change[]> = {
    "a transfer with other memory": [
      null,
      5,
      new ArrayBuffer(1 << 20),
      new Uint8Array(1 << 20),
      new SharedArrayBuffer(64),
    ].map((memory) => (transfer) => ({ ...transfer, memory })),
    "a transfer with rings that end elsewhere": [...NUMBERS, 0, 12, 64, 2 ** 31].map(
      (ringsLength) => (transfer) => ({
        ...transfer,
        ringsLength,
      }),
    ),
    "a transfer with more entries than its memory has": [
      params({ sqEntries: 32768 }),
      params({ cqEntries: 65536 }),
    ],
    "a transfer with offsets beyond its memory": [2 ** 20, 2 ** 32 - 1].flatMap((value) => [
      ...["head", "tail", "flags", "dropped"].map((name) => offset("sqOff", { [name]: value })),
      ...["head", "tail", "overflow", "cqes", "flags"].map((name) => offset("cqOff", { [name]: value })),
    ]),
  };

  const cases = [
    ...Object.entries(changes).map(([name, list]) => [name, list, {}] as const),
    ...Object.entries(changes).map(([name, list]) => [name, list, MAPPED] as const),
    ...Object.entries(changesOfOwned).map(([name, list]) => [name, list, { memory: "owned" }] as const),
  ];
  for (const [name, list, options] of cases) {
    const skip = "memory" in options && options.memory === "owned" ? ownMemory : {};
    const where = "memory" in options ? ` (${options.memory} memory)` : "";
    it(`is refused where it is ${name}${where}, and the ring is still to be had`, skip, () => {
      const transfer = disabled(options as RingOptions).detach();
      const fds = ringFds();
      for (const change of list) {
        assert.throws(() => Ring.adopt(change(transfer) as RingTransfer), {
          name: "TypeError",
          message: /^a RingTransfer is needed/,
        });
      }
      assert.equal(ringFds(), fds);
      useUp(transfer);
    });
  }

  it("is refused where a ring's mapped memory is smaller than it says", () => {
    const transfer = disabled(MAPPED).detach();
    for (const change of [
      params({ sqEntries: 32768 }),
      params({ cqEntries: 65536 }),
      offset("cqOff", { cqes: 2 ** 24 }),
    ]) {
      assert.throws(() => Ring.adopt(change(transfer) as RingTransfer), { name: /^(Type|Uring)Error$/ });
    }
    useUp(transfer);
  });

  it("is refused where its fd is no ring's, and nothing becomes of that", () => {
    const transfer = disabled(MAPPED).detach();
    const file = openSync("/proc/self/status", "r");
    const events = mustCall("eventfd2", 0, 0);
    for (const fd of [0x7fffffff, file, events]) {
      assert.throws(() => Ring.adopt({ ...transfer, fd }), { name: /^(Type|Uring)Error$/ }, `fd ${fd}`);
    }
    assert.ok(isOpen(file) && isOpen(events));
    closeSync(file);
    mustCall("close", events);
    useUp(transfer);
  });

  it("can be given again where its memory could not be mapped", () => {
    const transfer = disabled(MAPPED).detach();
    assert.throws(() => withShim({ map: () => -ENOMEM }, () => Ring.adopt(transfer)), {
      name: "UringError",
      code: "ENOMEM",
      syscall: "mmap",
    });
    useUp(transfer);
  });
});
