import assert from "node:assert/strict";
import { constants } from "node:os";
import { describe, it } from "node:test";
import { alloc, Ring } from "uring";
import * as abi from "uring/abi";
import { pipe } from "./support/harness.ts";
import { entry, LONG, reap, run, submitAll } from "./support/ring.ts";
import { withShim } from "./support/runtime.ts";
import { mustCall, syscall } from "./support/system.ts";

const { EAGAIN, EBADF, EBUSY, EINVAL, ENXIO, EOPNOTSUPP, ETIME } = constants.errno;
const EFD_NONBLOCK = 0o4000;
const { CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_REALTIME } = abi;

function refuses(errno: number, call: () => unknown): void {
  assert.throws(call, { name: "UringError", errno });
}

/** A ring without completions under way, and an eventfd, closed at the end of the block. */
class Watched {
  readonly ring: Ring;
  readonly fd: number = mustCall("eventfd2", 0, EFD_NONBLOCK);
  readonly #counter = alloc(8);

  constructor(flags = 0) {
    this.ring = new Ring({ entries: 8, flags });
  }

  /** What the eventfd has counted since it was last asked. */
  count(): number {
    const result = syscall("read", this.fd, this.#counter.address, 8);
    if (result === -EAGAIN) return 0;
    assert.equal(result, 8);
    return this.#counter.bytes[0] as number;
  }

  nops(count: number): void {
    for (let i = 0; i < count; i++) entry(this.ring).prepNop();
    reap(this.ring, count);
  }

  [Symbol.dispose](): void {
    this.ring.close();
    mustCall("close", this.fd);
  }
}

describe("an eventfd", () => {
  it("is told of completions until it is unregistered", () => {
    using watched = new Watched();
    watched.nops(1);
    assert.equal(watched.count(), 0);
    watched.ring.registerEventfd(watched.fd);
    watched.nops(1);
    assert.equal(watched.count(), 1);
    watched.nops(5);
    const several = watched.count();
    assert.ok(several >= 1 && several <= 5, `counted ${several}`);
    watched.ring.unregisterEventfd();
    watched.nops(1);
    assert.equal(watched.count(), 0);
  });

  it("registered for that is told by worker threads alone", () => {
    using watched = new Watched();
    watched.ring.registerEventfdAsync(watched.fd);
    watched.nops(3);
    assert.equal(watched.count(), 0);
    using ends = pipe();
    mustCall("write", ends.write, alloc(1).address, 1);
    entry(watched.ring).prepRead(ends.read, alloc(1), 1, -1).setFlags(abi.IOSQE_ASYNC);
    reap(watched.ring, 1);
    // The worker wakes who waits for the completion before it tells the eventfd.
    const end = performance.now() + LONG;
    let count = 0;
    while (count === 0 && performance.now() < end) count = watched.count();
    assert.equal(count, 1);
  });

  it("is told nothing while that is switched off", () => {
    using watched = new Watched();
    const { ring } = watched;
    ring.registerEventfd(watched.fd);
    assert.equal(ring.cqEventfdEnabled, true);
    ring.cqEventfdToggle(false);
    assert.equal(ring.cqEventfdEnabled, false);
    watched.nops(2);
    assert.equal(watched.count(), 0);
    ring.cqEventfdToggle(true);
    assert.equal(ring.cqEventfdEnabled, true);
    watched.nops(1);
    assert.equal(watched.count(), 1);
  });

  it("is one, and is an eventfd", () => {
    using watched = new Watched();
    const { ring, fd } = watched;
    using ends = pipe();
    refuses(ENXIO, () => ring.unregisterEventfd());
    refuses(EBADF, () => ring.registerEventfd(-1));
    refuses(EINVAL, () => ring.registerEventfd(ends.read));
    ring.registerEventfd(fd);
    refuses(EBUSY, () => ring.registerEventfd(fd));
    refuses(EBUSY, () => ring.registerEventfdAsync(fd));
    ring.unregisterEventfd();
    refuses(ENXIO, () => ring.unregisterEventfd());
    assert.throws(() => ring.registerEventfd("1" as never), TypeError);
    assert.throws(() => ring.registerEventfd(1.5), RangeError);
    assert.throws(() => ring.cqEventfdToggle(1 as never), TypeError);
  });

  it("is told with task work left to the owner's next call, too", () => {
    using watched = new Watched(abi.IORING_SETUP_SINGLE_ISSUER | abi.IORING_SETUP_DEFER_TASKRUN);
    using ends = pipe();
    watched.ring.registerEventfd(watched.fd);
    entry(watched.ring).prepPollAdd(ends.read, abi.POLLIN);
    submitAll(watched.ring);
    assert.equal(watched.count(), 0);
    mustCall("write", ends.write, alloc(1).address, 1);
    assert.equal(watched.count(), 1);
    assert.equal(watched.ring.cqReady, 0);
    reap(watched.ring, 1);
  });
});

describe("how a ring waits", () => {
  /** A ring of a kernel that does or does not have a feature, and the flags of its waits. */
  function waits(body: (ring: Ring, wait: () => number) => void, missing = 0): void {
    let flags = 0;
    withShim(
      (real) => ({
        enter(fd, toSubmit, count, enterFlags, arg, size) {
          flags = enterFlags;
          return real.enter(fd, toSubmit, count, enterFlags, arg, size);
        },
        setup(entries, params) {
          const fd = real.setup(entries, params);
          const words = new Uint32Array(real.view(params, abi.io_uring_params.sizeof));
          const at = abi.io_uring_params.features / 4;
          words[at] = (words[at] as number) & ~missing;
          return fd;
        },
      }),
      () => {
        using ring = new Ring({ entries: 4 });
        body(ring, () => {
          ring.submitAndWait(1, { timeout: 0 });
          return flags & abi.IORING_ENTER_NO_IOWAIT;
        });
      },
    );
  }

  it("counts as waiting for I/O, or not", () => {
    waits((ring, wait) => {
      if ((ring.features & abi.IORING_FEAT_NO_IOWAIT) === 0)
        return refuses(EOPNOTSUPP, () => ring.setIowait(false));
      assert.equal(wait(), 0);
      ring.setIowait(false);
      assert.equal(wait(), abi.IORING_ENTER_NO_IOWAIT);
      assert.equal(
        run(ring, (sqe) => sqe.prepNop()),
        0,
      );
      ring.setIowait(true);
      assert.equal(wait(), 0);
      assert.throws(() => ring.setIowait(0 as never), TypeError);
    });
  });

  it("can not be said to a kernel that lacks the feature", () => {
    waits((ring, wait) => {
      refuses(EOPNOTSUPP, () => ring.setIowait(false));
      assert.equal(wait(), 0);
    }, abi.IORING_FEAT_NO_IOWAIT);
  });

  it("polls network devices, and tells what was set before", () => {
    using ring = new Ring({ entries: 4 });
    assert.deepEqual(ring.registerNapi({ busyPollTimeout: 0.06, preferBusyPoll: true }), {
      busyPollTimeout: 0,
      preferBusyPoll: false,
    });
    assert.deepEqual(ring.registerNapi({ busyPollTimeout: 1.2, preferBusyPoll: false }), {
      busyPollTimeout: 0.06,
      preferBusyPoll: true,
    });
    assert.deepEqual(ring.unregisterNapi(), { busyPollTimeout: 1.2, preferBusyPoll: false });
    assert.deepEqual(ring.unregisterNapi(), { busyPollTimeout: 0, preferBusyPoll: false });
    for (const busyPollTimeout of [-1, 5e6, Number.NaN]) {
      assert.throws(() => ring.registerNapi({ busyPollTimeout, preferBusyPoll: true }), RangeError);
    }
    assert.throws(() => ring.registerNapi({ busyPollTimeout: 1 } as never), TypeError);
    assert.throws(() => ring.registerNapi(null as never), TypeError);
  });

  it("measures by the clock that was chosen", () => {
    using ring = new Ring({ entries: 4 });
    const time = alloc(16);
    const now = (clock: number) => {
      mustCall("clock_gettime", clock, time.address);
      const [seconds, nanoseconds] = new BigInt64Array(time.bytes.buffer, time.bytes.byteOffset, 2);
      return Number(seconds) * 1000 + Number(nanoseconds) / 1e6;
    };
    for (const clock of [CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC]) {
      ring.registerClock(clock);
      const until = now(clock) + 30;
      assert.equal(ring.submitAndWait(1, { timeout: until, absolute: true }), -ETIME);
      const late = now(clock) - until;
      assert.ok(late >= 0 && late < LONG, `${late} ms late`);
      assert.equal(ring.submitAndWait(1, { timeout: until, absolute: true }), -ETIME);
    }
    refuses(EINVAL, () => ring.registerClock(CLOCK_REALTIME));
    refuses(EINVAL, () => ring.registerClock(-1));
    assert.throws(() => ring.submitAndWait(1, { timeout: 1, absolute: 1 as never }), TypeError);
  });

  it("can not be changed once the ring is closed", () => {
    const ring = new Ring({ entries: 4 });
    ring.close();
    const calls: (() => unknown)[] = [
      () => ring.registerEventfd(0),
      () => ring.registerEventfdAsync(0),
      () => ring.unregisterEventfd(),
      () => ring.cqEventfdEnabled,
      () => ring.cqEventfdToggle(true),
      () => ring.setIowait(true),
      () => ring.registerNapi({ busyPollTimeout: 0, preferBusyPoll: false }),
      () => ring.unregisterNapi(),
      () => ring.registerClock(CLOCK_MONOTONIC),
    ];
    for (const call of calls) assert.throws(call, { name: "TypeError", message: "the ring is closed" });
  });
});
