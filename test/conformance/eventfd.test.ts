import assert from "node:assert/strict";
import { constants } from "node:os";
import { alloc, encodeTimespec, Iovecs, Ring } from "uring";
import { IORING_SETUP_SQPOLL, IORING_TIMEOUT_ETIME_SUCCESS, IOSQE_IO_LINK, POLLIN } from "uring/abi";
import { mustCall, writesFromThread } from "../support/system.ts";
import { brief, entry, sorted, submitAll, submitted } from "./completions.ts";
import { eventfd } from "./descriptors.ts";
import { allRings, type Bench, conformance } from "./support.ts";

const { EBUSY } = constants.errno;

const everywhere = { rings: allRings };

// ------------------------------------------------------------------------------------------------ liburing/ce593a6c480a

/**
 * Adds to an eventfd's counter after some time, so that a read of it ends even where nothing else wakes it. By a ring
 * whose thread is the kernel's: this one will be asleep.
 */
function wakeAfter(bench: Bench, fd: number, milliseconds: number): void {
  const ring = new Ring({ flags: IORING_SETUP_SQPOLL });
  bench.defer(() => ring.close());
  const one = alloc(8);
  one.bytes[0] = 1;
  entry(ring)
    .prepTimeout(encodeTimespec(milliseconds), 0, IORING_TIMEOUT_ETIME_SUCCESS)
    .setFlags(IOSQE_IO_LINK);
  entry(ring).prepWrite(fd, one, 8, -1);
  ring.submit();
  submitted(ring);
}

conformance(
  "liburing/ce593a6c480a",
  "a thread that sleeps in a read of the registered eventfd is woken by a completion",
  (bench) => {
    const ring = bench.ring();
    const [registered, polled] = [eventfd(bench), eventfd(bench)];
    ring.registerEventfd(registered);
    entry(ring).prepPollAdd(polled, POLLIN).setData64(1);
    submitAll(ring, 1);
    wakeAfter(bench, registered, 5000);
    const start = performance.now();
    const writer = writesFromThread(polled, { size: 8, pauseMs: 1000 });
    assert.equal(mustCall("read", registered, alloc(8).address, 8), 8);
    const time = performance.now() - start;
    assert.equal(writer.join(), 8);
    assert.ok(time >= 1000 && time < 5000, `woken after ${time} ms`);
    const [completion] = brief(bench.collect(ring, 1));
    assert.deepEqual(completion, [1, POLLIN, 0]);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/eventfd

conformance(
  "liburing/eventfd",
  "a completion makes the registered eventfd readable to operations of the same ring",
  (bench) => {
    const ring = bench.ring();
    const fd = eventfd(bench);
    ring.registerEventfd(fd);
    const counter = alloc(8);
    entry(ring).prepPollAdd(fd, POLLIN).setFlags(IOSQE_IO_LINK).setData64(1);
    entry(ring)
      .prepReadv(fd, new Iovecs([counter]), 1, 0)
      .setData64(2);
    submitAll(ring, 2);
    bench.quiet(ring);
    entry(ring).prepNop().setData64(3);
    assert.deepEqual(sorted(bench.complete(ring, 3)), [
      [1, POLLIN, 0],
      [2, 8, 0],
      [3, 0, 0],
    ]);
    assert.ok(new DataView(counter.bytes.buffer, counter.bytes.byteOffset, 8).getBigUint64(0, true) >= 1n);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/eventfd-reg

conformance(
  "liburing/eventfd-reg",
  "a ring has one eventfd at a time",
  (bench) => {
    const ring = bench.ring();
    const [first, second] = [eventfd(bench), eventfd(bench)];
    ring.registerEventfd(first);
    assert.throws(() => ring.registerEventfd(second), { code: "EBUSY", errno: EBUSY });
    ring.unregisterEventfd();
    for (let i = 0; i < 100; i++) {
      ring.registerEventfd(second);
      ring.unregisterEventfd();
    }
  },
  everywhere,
);
