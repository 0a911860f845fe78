import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { alloc, cstring, type Pinned, Ring } from "uring";
import {
  AT_FDCWD,
  IORING_ENTER_SQ_WAKEUP,
  IORING_SETUP_NO_MMAP,
  IORING_SETUP_SQPOLL,
  io_cqring_offsets,
  io_sqring_offsets,
  io_uring_params,
  O_RDONLY,
} from "uring/abi";
import { native } from "./support/harness.ts";
import { Random } from "./support/random.ts";
import { entry, LONG, Scratch } from "./support/ring.ts";
import type { RingView } from "./support/ring-view.ts";
import { kernelTakes, type Shim, withShim } from "./support/runtime.ts";
import { mustCall } from "./support/system.ts";
import { watchRings } from "./support/watched-rings.ts";

const EACCES = 13;

const needsOwned = {
  skip: !kernelTakes(IORING_SETUP_NO_MMAP) && "this kernel takes no memory of ours for its queues",
};

/** How often each function of the native library was called, which is what the FFI is used for. */
class Calls {
  readonly #counts = new Map<keyof Shim, number>();

  /** Overrides that count, and do what they do otherwise. */
  counting(real: Shim): Shim {
    const wrapped = Object.entries(real).map(([name, call]: [string, (...args: never[]) => unknown]) => [
      name,
      (...args: never[]) => {
        this.#counts.set(name as keyof Shim, (this.#counts.get(name as keyof Shim) ?? 0) + 1);
        return call.apply(real, args);
      },
    ]);
    return Object.fromEntries(wrapped) as Shim;
  }

  clear(): void {
    this.#counts.clear();
  }

  /** Those that were called, each with how often. */
  get all(): Record<string, number> {
    return Object.fromEntries(this.#counts);
  }
}

describe("with a poller thread that is awake", () => {
  it("100,000 operations take no system call, nor any other call by the FFI", { timeout: 60_000 }, () => {
    const TOTAL = 100_000;
    const ENTRIES = 1024;
    using scratch = new Scratch();
    const path = cstring(
      scratch.file(
        "bytes",
        Uint8Array.from({ length: 256 }, (_, i) => i),
      ),
    );
    const file = mustCall("openat", AT_FDCWD, path.address, O_RDONLY);
    const memory = alloc(ENTRIES);
    const calls = new Calls();
    withShim(
      (real) => calls.counting(real),
      () => {
        using ring = new Ring({ entries: ENTRIES, flags: IORING_SETUP_SQPOLL, sqThreadIdle: 60_000 });
        const cells = Array.from({ length: ENTRIES }, (_, i) => memory.slice(i, 1));
        const done = new Uint8Array(TOTAL);
        let sent = 0;
        let seen = 0;
        let wrong = 0;
        const take = (userData: number, res: number, flags: number) => {
          const right = (userData & 1) === 0 ? 0 : 1;
          if (res !== right || flags !== 0 || done[userData] !== 0) wrong++;
          // Every second one reads a byte, which is its number's low bits.
          else if (right === 1 && memory.bytes[userData % ENTRIES] !== (userData & 0xff)) wrong++;
          done[userData] = 1;
          seen++;
        };
        // The thread begins asleep.
        entry(ring).prepNop();
        ring.submitAndWait(1, { timeout: LONG });
        ring.cqAdvance(1);
        calls.clear();
        const end = performance.now() + 30_000;
        while (seen < TOTAL && performance.now() < end) {
          while (sent < TOTAL && sent < seen + ENTRIES) {
            const sqe = ring.getSqe();
            if (sqe === null) break;
            if ((sent & 1) === 0) sqe.prepNop();
            else sqe.prepRead(file, cells[sent % ENTRIES] as Pinned, 1, sent & 0xff);
            sqe.setData64(sent++);
          }
          ring.submit();
          ring.drain(take);
        }
        assert.deepEqual(calls.all, {});
        assert.deepEqual([seen, wrong], [TOTAL, 0]);
        // They are counted indeed.
        ring.getEvents();
        assert.deepEqual(calls.all, { enter: 1 });
      },
    );
    mustCall("close", file);
  });
});

/** The kernel's clock as of its last tick, which is when a thread finds that it has been idle for long enough. */
class TickClock {
  static readonly #COARSE = 6;
  readonly #memory = alloc(16);
  readonly #words = new Int32Array(this.#memory.bytes.buffer, this.#memory.bytes.byteOffset, 4);
  /** Milliseconds from one tick to the next. */
  readonly period: number;

  constructor() {
    this.next();
    const before = this.#now();
    const ticks = 8;
    for (let i = 0; i < ticks; i++) this.next();
    this.period = (this.#now() - before) / ticks;
  }

  /** Comes back right after the next tick. */
  next(): void {
    const before = this.#now();
    while (this.#now() === before);
  }

  #now(): number {
    mustCall("clock_gettime", TickClock.#COARSE, this.#memory.address);
    return 1000 * (this.#words[0] as number) + (this.#words[2] as number) / 1e6;
  }
}

/** Blocks this thread for some milliseconds. */
function pause(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

/** Sets up a ring that has no poller thread, while the library takes it for one that has. */
function setupUnpolled(real: Shim, entries: number, params: number): number {
  const words = new Uint32Array(real.view(params, io_uring_params.sizeof));
  const flagsAt = io_uring_params.flags / 4;
  const flags = words[flagsAt] as number;
  // To the kernel the ring is one that nobody submits to.
  words[flagsAt] = flags & ~IORING_SETUP_SQPOLL;
  const fd = real.setup(entries, params);
  words[flagsAt] = flags;
  return fd;
}

/** A ring whose queues a thread of the tests' own polls, while the library takes it for the kernel's. */
class TestPoller {
  readonly ring: Ring;
  /** How often the library has called to wake it. */
  wakes = 0;
  /** How often it has slept, once the ring is closed. */
  sleeps = 0;

  constructor(looks: number) {
    this.ring = withShim(
      (real) => this.#overrides(real, looks),
      () => new Ring({ entries: 8, flags: IORING_SETUP_SQPOLL }),
    );
  }

  #overrides(real: Shim, looks: number): Partial<Shim> {
    let ringFd = -1;
    return {
      setup: (entries, params) => {
        ringFd = setupUnpolled(real, entries, params);
        if (ringFd >= 0) startPoller(new DataView(real.view(params, io_uring_params.sizeof)), looks);
        return ringFd;
      },
      enter: (_fd, toSubmit, count, flags) => {
        if ((flags & IORING_ENTER_SQ_WAKEUP) !== 0) {
          this.wakes++;
          native.harness_poller_wake();
        }
        const result = count > 0 ? native.harness_poller_wait(LONG) : 0;
        return toSubmit > 0 ? toSubmit : result;
      },
      close: (fd) => {
        // Before the ring's memory is given back.
        if (fd === ringFd) this.sleeps = native.harness_poller_stop();
        return real.close(fd);
      },
    };
  }
}

/** Starts the thread on the queues that a `struct io_uring_params` describes. */
function startPoller(params: DataView, looks: number): void {
  const word = (at: number) => params.getUint32(at, true);
  const address = (at: number) => Number(params.getBigUint64(at, true));
  const { sq_off, cq_off } = io_uring_params;
  const places = Uint32Array.of(
    word(sq_off + io_sqring_offsets.head),
    word(sq_off + io_sqring_offsets.tail),
    word(sq_off + io_sqring_offsets.flags),
    word(cq_off + io_cqring_offsets.head),
    word(cq_off + io_cqring_offsets.tail),
    word(cq_off + io_cqring_offsets.cqes),
    word(io_uring_params.sq_entries),
    word(io_uring_params.cq_entries),
  );
  const started = native.harness_poller_start(
    address(cq_off + io_cqring_offsets.user_addr),
    address(sq_off + io_sqring_offsets.user_addr),
    new Uint8Array(places.buffer),
    looks,
  );
  assert.equal(started, 0);
}

/**
 * A ring whose poller thread never comes to tell which entries it has taken: its completions are the test's.
 *
 * @param enters what the test does where the library calls the kernel
 */
function ringOfSlowPoller(enters: (view: RingView) => void = () => {}): { ring: Ring; view: RingView } {
  let view: RingView | undefined;
  const ring = withShim(
    (real) => {
      const rings = watchRings(real);
      return {
        ...rings.shim,
        setup(entries, params) {
          const fd = setupUnpolled(rings.shim, entries, params);
          view = rings.ringOf(fd, false);
          return fd;
        },
        enter(_fd, toSubmit) {
          enters(view as RingView);
          return toSubmit;
        },
      };
    },
    () => new Ring({ entries: 8, flags: IORING_SETUP_SQPOLL }),
  );
  assert.ok(view?.visible);
  return { ring, view };
}

describe("a poller thread that is late to tell which entries it has taken", needsOwned, () => {
  it("has those in flight that were submitted and are not completed", () => {
    const { ring, view } = ringOfSlowPoller();
    for (const userData of [1, 2, 3]) entry(ring).prepNop().setData64(userData);
    assert.equal(ring.inFlight, 0);
    ring.submit();
    assert.equal(ring.inFlight, 3);
    for (const [userData, left] of [
      [2, 2],
      [1, 1],
      [3, 0],
    ] as const) {
      view.post(BigInt(userData), 0);
      assert.equal(ring.peekCqe()?.userData, userData);
      ring.cqAdvance(1);
      assert.equal(ring.inFlight, left);
    }
    assert.deepEqual([view.sqHead, ring.sqReady], [0, 3]);
    ring.close({ deadline: 0 });
  });

  it("is not taken to have ended an operation because closing's own have ended", () => {
    let answered = 1;
    // As a ring does whose restrictions forbid them.
    const { ring, view } = ringOfSlowPoller((view) => {
      for (; answered < view.sqTail; answered++)
        view.post(view.entry(answered).getBigUint64(32, true), -EACCES);
    });
    entry(ring).prepNop().setData64(1);
    ring.submit();
    assert.equal(view.sqTail, 1);
    assert.deepEqual(ring.close({ deadline: 0 }), { leaked: 1 });
    assert.ok(answered > 2);
  });
});

describe("a poller thread that falls asleep again and again", () => {
  it("loses no submission that comes about when it does", { timeout: 60_000 }, () => {
    const RINGS = 16;
    const random = new Random(5);
    const clock = new TickClock();
    let wakes = 0;
    const rings = withShim(
      (real) => ({
        enter(fd, toSubmit, count, flags, arg, size) {
          if ((flags & IORING_ENTER_SQ_WAKEUP) !== 0) wakes++;
          return real.enter(fd, toSubmit, count, flags, arg, size);
        },
      }),
      () =>
        Array.from(
          { length: RINGS },
          () => new Ring({ entries: 4, flags: IORING_SETUP_SQPOLL, sqThreadIdle: 1 }),
        ),
    );
    let sent = 0;
    const end = performance.now() + 5000;
    while (wakes < 20_000 && performance.now() < end) {
      // A thread that is idle for a tick goes to sleep at the second one after its last work.
      clock.next();
      pause(clock.period / 2);
      clock.next();
      for (const ring of rings) {
        for (let spins = random.below(50); spins > 0; spins--) void ring.cqReady;
        entry(ring).prepNop().setData64(sent);
        ring.submit();
        // Waits without waking the poller: a wake-up that was lost stays lost.
        const cqe = ring.waitCqe({ timeout: LONG });
        assert.equal(cqe?.userData, sent++, `lost after ${sent} submissions and ${wakes} wake-ups`);
        ring.cqAdvance(1);
        assert.equal(ring.cqReady, 0);
      }
    }
    for (const ring of rings) assert.deepEqual(ring.close({ deadline: LONG }), { leaked: 0 });
    assert.ok(wakes >= RINGS, `${wakes} wake-ups`);
  });

  // The kernel's thread polls for some milliseconds before it sleeps, which is too long to stop it often. The tests' own,
  // which works by the same protocol, sleeps after a while that is about as long as the library takes to submit more.
  for (const looks of [1000, 4000, 16_000]) {
    it(`loses no submission while it is woken 20,000 times, after ${looks} looks at most`, {
      timeout: 60_000,
      ...needsOwned,
    }, () => {
      const WAKES = 20_000;
      const random = new Random(looks);
      const poller = new TestPoller(looks);
      using ring = poller.ring;
      let sent = 0;
      let seen = 0;
      const take = (userData: number) => {
        assert.equal(userData, seen++);
      };
      const end = performance.now() + LONG;
      while (poller.wakes < WAKES && performance.now() < end) {
        for (let count = 1 + random.below(3); count > 0; count--) entry(ring).prepNop().setData64(sent++);
        ring.submit();
        for (let spins = 1000; spins > 0 && seen < sent; spins--) ring.drain(take);
        while (seen < sent) {
          // Wakes nobody.
          assert.notEqual(ring.waitCqe({ timeout: LONG }), null, `lost: ${sent - seen} of ${sent}`);
          ring.drain(take);
        }
        for (let spins = random.below(8); spins > 0; spins--) void ring.cqReady;
      }
      assert.deepEqual(ring.close({ deadline: LONG }), { leaked: 0 });
      assert.ok(poller.wakes >= WAKES, `woken ${poller.wakes} times`);
      // A wake-up may come while the thread is about to sleep, which it then does not.
      assert.ok(poller.sleeps > WAKES / 2, `slept ${poller.sleeps} times`);
    });
  }
});
