import assert from "node:assert/strict";
import { constants as fsConstants, readFileSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { alloc, Cancel, Direct, encodeTimespec, Iovecs, type Pinned, type Ring } from "uring";
import {
  IORING_ASYNC_CANCEL_FD,
  IORING_ENTER_REGISTERED_RING,
  IORING_OP_READ,
  IOSQE_ASYNC,
  IOSQE_IO_LINK,
  O_RDWR,
  POLLIN,
} from "uring/abi";
import { type Pipe, pipe } from "../support/harness.ts";
import { withShim } from "../support/runtime.ts";
import { syscallInChild } from "../support/system.ts";
import { type Brief, brief, entry, sorted, submitAll } from "./completions.ts";
import { eventfd, open, read, write } from "./descriptors.ts";
import { PATIENCE_MS } from "./durations.ts";
import { allRings, type Bench, conformance } from "./support.ts";

const { EALREADY, EBADF, ECANCELED, EINTR, EINVAL, ENOENT, ETIME } = constants.errno;

const everywhere = { rings: allRings };

/** What a poll or read that was cancelled completes with, for each `userData`. */
function cancelled(...userData: number[]): [number, number, number][] {
  return userData.map((value) => [value, -ECANCELED, 0]);
}

/** Waits for a file to be readable. */
function poll(ring: Ring, target: number | Direct, userData: number): void {
  entry(ring).prepPollAdd(target, POLLIN).setData64(userData);
}

/** Submits one cancellation and collects, in the order of `userData`, it and what it cancels. */
function cancel(bench: Bench, ring: Ring, match: Cancel, count: number): [number, number, number][] {
  entry(ring).prepCancelMatch(match).setData64(100);
  return sorted(bench.complete(ring, count + 1));
}

/**
 * Waits until so many operations wait for a file to be ready. An asynchronous one does once a worker has tried it: on its
 * way there a cancellation may miss it.
 */
function atRest(ring: Ring, count: number): void {
  // Before Linux 5.19 or so a worker may wait with it instead, which nothing shows.
  const end = performance.now() + 2000;
  const waiting = () => readFileSync(`/proc/self/fdinfo/${ring.fd}`, "latin1").match(/^ +op=/gm)?.length ?? 0;
  while (waiting() < count && performance.now() < end) ring.getEvents();
}

// ------------------------------------------------------------------------------------------------ liburing/cancel-fd-userdata

conformance(
  "liburing/cancel-fd-userdata",
  "of polls on one file that is cancelled which has the user_data as well, then all that are left",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    for (const userData of [1, 2, 3, 4]) poll(ring, ends.read, userData);
    const one = Cancel.fd(ends.read).userData(2);
    assert.deepEqual(cancel(bench, ring, one, 1), [...cancelled(2), [100, 0, 0]]);
    bench.quiet(ring);
    const others = Cancel.fd(ends.read).all();
    assert.deepEqual(cancel(bench, ring, others, 3), [...cancelled(1, 3, 4), [100, 3, 0]]);
  },
  everywhere,
);

conformance(
  "liburing/cancel-fd-userdata",
  "of polls on one registered file that is cancelled which has the user_data as well, then all that are left",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    ring.registerFiles([ends.read]);
    const slot = new Direct(0);
    for (const userData of [1, 2, 3, 4]) poll(ring, slot, userData);
    const one = Cancel.fd(slot).userData(2);
    assert.deepEqual(cancel(bench, ring, one, 1), [...cancelled(2), [100, 0, 0]]);
    bench.quiet(ring);
    const others = Cancel.fd(slot).all();
    assert.deepEqual(cancel(bench, ring, others, 3), [...cancelled(1, 3, 4), [100, 3, 0]]);
  },
  everywhere,
);

conformance(
  "liburing/cancel-fd-userdata",
  "neither the file alone nor the user_data alone is enough",
  (bench) => {
    const ring = bench.ring();
    using a = pipe();
    using b = pipe();
    poll(ring, a.read, 1);
    poll(ring, b.read, 1);
    poll(ring, a.read, 2);
    const first = Cancel.fd(a.read).userData(1);
    assert.deepEqual(cancel(bench, ring, first, 1), [...cancelled(1), [100, 0, 0]]);
    // Which of the two with the same user_data is left shows once its file is readable.
    write(b.write, "x");
    assert.deepEqual(brief(bench.collect(ring, 1)), [[1, POLLIN, 0]]);
    assert.equal(read(b.read), "x");
    poll(ring, b.read, 1);
    assert.deepEqual(cancel(bench, ring, Cancel.any().all(), 2), [...cancelled(1, 2), [100, 2, 0]]);
  },
  everywhere,
);

conformance(
  "liburing/cancel-fd-userdata",
  "a criterion that the kernel does not have is refused",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    poll(ring, ends.read, 1);
    const unknown = 1 << 20;
    entry(ring).prepCancel64(1, unknown).setData64(100);
    assert.deepEqual(brief(bench.complete(ring, 1)), [[100, -EINVAL, 0]]);
    entry(ring)
      .prepCancel64(1, IORING_ASYNC_CANCEL_FD | unknown)
      .setData64(100);
    assert.deepEqual(brief(bench.complete(ring, 1)), [[100, -EINVAL, 0]]);
    bench.quiet(ring);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/io-cancel

conformance(
  "liburing/io-cancel",
  "a cancellation finds nothing of another ring",
  (bench) => {
    const [first, second] = [bench.ring(), bench.ring()];
    using ends = pipe();
    entry(first).prepRead(ends.read, alloc(8), 8, -1).setData64(1);
    submitAll(first, 1);
    entry(second).prepCancel64(1, 0).setData64(2);
    assert.deepEqual(brief(bench.complete(second, 1)), [[2, -ENOENT, 0]]);
    assert.equal(first.submitAndWait(1, { timeout: 100 }), -ETIME);
    write(ends.write, "x");
    assert.deepEqual(brief(bench.collect(first, 1)), [[1, 1, 0]]);
  },
  everywhere,
);

/** Bytes that tell which block of a file they are. */
function block(i: number): Buffer {
  return Buffer.alloc(4096, i + 1);
}

for (const writing of [false, true]) {
  for (const asynchronous of [false, true]) {
    for (const every of [1, 2]) {
      const what = [
        asynchronous ? "asynchronous" : "plain",
        writing ? "writes" : "reads",
        every === 1 ? "all cancelled" : "every second one cancelled",
      ].join(", ");
      conformance(
        "liburing/io-cancel",
        `32 operations on a file, past the page cache, complete once each: ${what}`,
        (bench) => {
          const COUNT = 32;
          const ring = bench.ring({ entries: 64 });
          const path = bench.path("file");
          writeFileSync(path, Buffer.concat(Array.from({ length: COUNT }, (_, i) => block(i))));
          const file = open(bench, path, O_RDWR | fsConstants.O_DIRECT);
          const buffers = Array.from({ length: COUNT }, () => alloc(4096));
          for (const [i, buffer] of buffers.entries()) {
            if (writing) buffer.bytes.set(block(i));
            const sqe = entry(ring);
            if (writing) sqe.prepWrite(file, buffer, 4096, i * 4096);
            else sqe.prepRead(file, buffer, 4096, i * 4096);
            sqe.setFlags(asynchronous ? IOSQE_ASYNC : 0).setData64(i);
          }
          submitAll(ring, COUNT);
          const targets = buffers.map((_, i) => i).filter((i) => i % every === 0);
          for (const i of targets)
            entry(ring)
              .prepCancel64(i, 0)
              .setData64(100 + i);
          const completions = sorted(bench.complete(ring, COUNT + targets.length));
          for (const [userData, res, flags] of completions.slice(0, COUNT)) {
            assert.equal(flags, 0);
            const maybe = targets.includes(userData) ? [4096, -ECANCELED, -EINTR] : [4096];
            assert.ok(maybe.includes(res), `${userData}: ${res}`);
            const buffer = buffers[userData] as Pinned;
            if (res === 4096) assert.deepEqual(Buffer.from(buffer.bytes.slice()), block(userData));
          }
          assert.deepEqual(
            completions.map(([userData]) => userData),
            [...buffers.keys(), ...targets.map((i) => 100 + i)],
          );
          for (const [userData, res] of completions.slice(COUNT)) {
            assert.ok([0, -ENOENT, -EALREADY].includes(res), `cancel ${userData - 100}: ${res}`);
            // Found before it ran: then it must not have.
            if (res === 0) assert.equal(completions[userData - 100]?.[1], -ECANCELED);
          }
        },
        everywhere,
      );
    }
  }
}

/** A ring that submits from a child process, which ends with that, where it is told to. */
function ringOfTwoProcesses(bench: Bench): { ring: Ring; fromChild: (body: () => number) => number } {
  let childs = false;
  const ring: Ring = withShim(
    (real) => ({
      enter: (fd, toSubmit, count, flags, arg, size) =>
        childs
          ? // The table of registered rings is the thread's.
            syscallInChild(
              "io_uring_enter",
              ring.fd,
              toSubmit,
              count,
              flags & ~IORING_ENTER_REGISTERED_RING,
              arg,
              size,
            )
          : real.enter(fd, toSubmit, count, flags, arg, size),
    }),
    () => bench.ring(),
  );
  return {
    ring,
    fromChild(body) {
      childs = true;
      try {
        return body();
      } finally {
        childs = false;
      }
    },
  };
}

/** Neither is a ring of one process alone, nor one whose poller thread does what processes would. */
const shareable = allRings.filter((type) => type !== "defer" && type !== "sqpoll");

conformance(
  "liburing/io-cancel",
  "a child process cancels the parent's asynchronous read",
  (bench) => {
    const { ring, fromChild } = ringOfTwoProcesses(bench);
    using ends = pipe();
    entry(ring).prepRead(ends.read, alloc(8), 8, -1).setFlags(IOSQE_ASYNC).setData64(1);
    submitAll(ring, 1);
    atRest(ring, 1);
    entry(ring).prepCancel64(1, 0).setData64(2);
    assert.equal(
      fromChild(() => ring.submit()),
      1,
    );
    const [[first, res], [second, answer]] = sorted(bench.collect(ring, 2)) as [Brief, Brief];
    assert.deepEqual([first, second], [1, 2]);
    assert.ok([-EINTR, -ECANCELED].includes(res), `read: ${res}`);
    assert.ok([0, -EALREADY].includes(answer), `cancel: ${answer}`);
  },
  { rings: shareable },
);

conformance(
  "liburing/io-cancel",
  "of a process that ends that is cancelled which is on a ring, and what is linked to it, but no timeout",
  (bench) => {
    const { ring, fromChild } = ringOfTwoProcesses(bench);
    const second = encodeTimespec(1000);
    entry(ring).prepPollAdd(ring.fd, POLLIN).setFlags(IOSQE_IO_LINK).setData64(1);
    entry(ring).prepTimeout(second, 0, 0).setData64(2);
    entry(ring).prepTimeout(second, 0, 0).setData64(3);
    const start = performance.now();
    assert.equal(
      fromChild(() => ring.submit()),
      3,
    );
    assert.deepEqual(sorted(bench.collect(ring, 3)), [...cancelled(1, 2), [3, -ETIME, 0]]);
    assert.ok(performance.now() - start >= 1000);
  },
  { rings: shareable },
);

conformance(
  "liburing/io-cancel",
  "closing a ring cancels what its workers wait for, so that they hold the pipe no longer",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    const iovecs = () => new Iovecs([alloc(8)]);
    entry(ring)
      .prepReadv(ends.read, iovecs(), 1, 0)
      .setFlags(IOSQE_ASYNC | IOSQE_IO_LINK)
      .setData64(1);
    entry(ring).prepReadv(ends.read, iovecs(), 1, 0).setFlags(IOSQE_ASYNC).setData64(2);
    submitAll(ring, 2);
    atRest(ring, 1);
    assert.deepEqual(ring.close({ deadline: PATIENCE_MS }), { leaked: 0 });
    ends.close(ends.write);
    assert.equal(read(ends.read), "");
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/poll-cancel-all

conformance(
  "liburing/poll-cancel-all",
  "eight polls on one file are cancelled at once",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    for (let i = 0; i < 8; i++) poll(ring, ends.read, i);
    const all = Cancel.fd(ends.read).all();
    assert.deepEqual(cancel(bench, ring, all, 8), [...cancelled(0, 1, 2, 3, 4, 5, 6, 7), [100, 8, 0]]);
  },
  everywhere,
);

conformance(
  "liburing/poll-cancel-all",
  "eight polls on one registered file are cancelled at once",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    ring.registerFiles([-1, ends.read]);
    const slot = new Direct(1);
    for (let i = 0; i < 8; i++) poll(ring, slot, i);
    const all = Cancel.fd(slot).all();
    assert.deepEqual(cancel(bench, ring, all, 8), [...cancelled(0, 1, 2, 3, 4, 5, 6, 7), [100, 8, 0]]);
  },
  everywhere,
);

conformance(
  "liburing/poll-cancel-all",
  "the polls on another file stay",
  (bench) => {
    const ring = bench.ring();
    using a = pipe();
    using b = pipe();
    for (let i = 0; i < 8; i++) poll(ring, i < 4 ? a.read : b.read, i);
    assert.deepEqual(cancel(bench, ring, Cancel.fd(a.read).all(), 4), [
      ...cancelled(0, 1, 2, 3),
      [100, 4, 0],
    ]);
    assert.equal(ring.peekCqe(), null);
    bench.quiet(ring);
    assert.deepEqual(cancel(bench, ring, Cancel.fd(b.read).all(), 4), [
      ...cancelled(4, 5, 6, 7),
      [100, 4, 0],
    ]);
  },
  everywhere,
);

conformance(
  "liburing/poll-cancel-all",
  "whatever is in flight is cancelled at once, on any file, plain and asynchronous",
  (bench) => {
    const ring = bench.ring();
    using a = pipe();
    using b = pipe();
    for (let i = 0; i < 8; i++) {
      const sqe = entry(ring).prepPollAdd(i % 2 === 0 ? a.read : b.read, POLLIN);
      sqe.setFlags(i < 4 ? 0 : IOSQE_ASYNC).setData64(i);
    }
    submitAll(ring, 8);
    atRest(ring, 8);
    const everything = Cancel.any().all();
    assert.deepEqual(cancel(bench, ring, everything, 8), [...cancelled(0, 1, 2, 3, 4, 5, 6, 7), [100, 8, 0]]);
  },
  everywhere,
);

conformance(
  "liburing/poll-cancel-all",
  "eight reads that workers wait with are cancelled at once",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    for (let i = 0; i < 8; i++) {
      entry(ring).prepRead(ends.read, alloc(8), 8, -1).setFlags(IOSQE_ASYNC).setData64(i);
    }
    submitAll(ring, 8);
    atRest(ring, 8);
    const everything = Cancel.any().all();
    assert.deepEqual(cancel(bench, ring, everything, 8), [...cancelled(0, 1, 2, 3, 4, 5, 6, 7), [100, 8, 0]]);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/sync-cancel

/** Reads that wait for a pipe, each with the same `userData`. */
function blockedReads(ring: Ring, ends: Pipe, count: number, asynchronous: boolean): void {
  for (let i = 0; i < count; i++) {
    const sqe = entry(ring).prepRead(ends.read, alloc(8), 8, -1);
    sqe.setFlags(asynchronous ? IOSQE_ASYNC : 0).setData64(0x89);
  }
  submitAll(ring, count);
  atRest(ring, count);
}

for (const asynchronous of [false, true]) {
  for (const byFd of [false, true]) {
    for (const all of [false, true]) {
      const what = [
        all ? "four reads" : "one read",
        byFd ? "by fd" : "by user_data",
        asynchronous ? "asynchronous" : "plain",
      ].join(", ");
      conformance(
        "liburing/sync-cancel",
        `a call cancels and waits: ${what}`,
        (bench) => {
          const ring = bench.ring();
          using ends = pipe();
          const count = all ? 4 : 1;
          blockedReads(ring, ends, count, asynchronous);
          const one = byFd ? Cancel.fd(ends.read) : Cancel.userData(0x89);
          const result = ring.registerSyncCancel(all ? one.all() : one, { timeout: 200_000 });
          assert.ok(result >= 0, `${result}`);
          for (const [userData, res, flags] of brief(bench.collect(ring, count))) {
            assert.deepEqual([userData, flags], [0x89, 0]);
            assert.ok([-ECANCELED, -EINTR].includes(res), `${res}`);
          }
          bench.quiet(ring, 10);
        },
        everywhere,
      );
    }
  }

  conformance(
    "liburing/sync-cancel",
    `a call by opcode waits a nanosecond at most: ${asynchronous ? "asynchronous" : "plain"} read`,
    (bench) => {
      const ring = bench.ring();
      using ends = pipe();
      blockedReads(ring, ends, 1, asynchronous);
      const result = ring.registerSyncCancel(Cancel.op(IORING_OP_READ), { timeout: 1e-6 });
      assert.ok(result >= 0 || (asynchronous && result === -ETIME), `${result}`);
      const [[userData, res]] = brief(bench.collect(ring, 1)) as [[number, number, number]];
      assert.equal(userData, 0x89);
      assert.ok([-ECANCELED, -EINTR].includes(res), `${res}`);
    },
    everywhere,
  );
}

// ------------------------------------------------------------------------------------------------ tokio/cancel/*

conformance(
  "tokio/cancel/test_async_cancel_any",
  "a match of any operation finds every one",
  (bench) => {
    const ring = bench.ring();
    const long = encodeTimespec(10_000);
    entry(ring).prepTimeout(long, 0, 0).setData64(1);
    entry(ring).prepTimeout(long, 0, 0).setData64(2);
    assert.deepEqual(cancel(bench, ring, Cancel.any(), 2), [...cancelled(1, 2), [100, 2, 0]]);
  },
  everywhere,
);

conformance(
  "tokio/cancel/test_async_cancel_fd_all",
  "both polls on one eventfd are cancelled",
  (bench) => {
    const ring = bench.ring();
    const fd = eventfd(bench);
    poll(ring, fd, 1);
    poll(ring, fd, 2);
    assert.deepEqual(cancel(bench, ring, Cancel.fd(fd).all(), 2), [...cancelled(1, 2), [100, 2, 0]]);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/register_sync_cancel/*

/** A read that waits for an eventfd. */
function waiting(ring: Ring, target: number | Direct, userData: number): void {
  entry(ring).prepRead(target, alloc(32), 32, -1).setData64(userData);
}

conformance(
  "tokio/register_sync_cancel/test_register_sync_cancel",
  "of eleven reads those are cancelled that match, each with one completion",
  (bench) => {
    const ring = bench.ring();
    const [plain, byFd, registered, rest] = [eventfd(bench), eventfd(bench), eventfd(bench), eventfd(bench)];
    ring.registerFiles([registered]);
    const slot = new Direct(0);
    for (let i = 0; i < 3; i++) waiting(ring, plain, 1);
    for (const userData of [2, 3]) waiting(ring, byFd, userData);
    for (const userData of [4, 5, 6]) waiting(ring, slot, userData);
    for (const userData of [7, 8, 9]) waiting(ring, rest, userData);
    submitAll(ring, 11);
    bench.quiet(ring);

    assert.equal(ring.registerSyncCancel(Cancel.userData(1)), 0);
    assert.deepEqual(brief(bench.collect(ring, 1)), cancelled(1));
    assert.equal(ring.registerSyncCancel(Cancel.userData(1).all()), 2);
    assert.deepEqual(brief(bench.collect(ring, 2)), cancelled(1, 1));
    assert.equal(ring.registerSyncCancel(Cancel.fd(byFd).all()), 2);
    assert.deepEqual(sorted(bench.collect(ring, 2)), cancelled(2, 3));

    assert.equal(ring.registerSyncCancel(Cancel.fd(slot)), 0);
    const found = bench.collect(ring, 1);
    bench.quiet(ring, 10);
    assert.equal(ring.registerSyncCancel(Cancel.fd(slot).all()), 2);
    found.push(...bench.collect(ring, 2));
    assert.deepEqual(sorted(found), cancelled(4, 5, 6));

    assert.equal(ring.registerSyncCancel(Cancel.any().all()), 3);
    assert.deepEqual(sorted(bench.collect(ring, 3)), cancelled(7, 8, 9));
    bench.quiet(ring);
    assert.equal(ring.registerSyncCancel(Cancel.userData(1)), -ENOENT);
    assert.equal(ring.registerSyncCancel(Cancel.any().all()), 0);
    assert.throws(() => ring.registerSyncCancel(Cancel.fd(-1)), { code: "EBADF", errno: EBADF });
  },
  everywhere,
);

conformance(
  "tokio/register_sync_cancel/test_register_sync_cancel_any",
  "three reads are cancelled, whatever they are",
  (bench) => {
    const ring = bench.ring();
    const fd = eventfd(bench);
    for (const userData of [1, 2, 3]) waiting(ring, fd, userData);
    submitAll(ring, 3);
    assert.equal(ring.registerSyncCancel(Cancel.any().all()), 3);
    assert.deepEqual(sorted(bench.collect(ring, 3)), cancelled(1, 2, 3));
    bench.quiet(ring);
  },
  everywhere,
);

conformance(
  "tokio/register_sync_cancel/test_register_sync_cancel_unsubmitted",
  "what is not submitted is neither found nor removed",
  (bench) => {
    const ring = bench.ring();
    waiting(ring, eventfd(bench), 7);
    assert.equal(ring.registerSyncCancel(Cancel.userData(7)), -ENOENT);
    assert.equal(ring.sqReady, 1);
    submitAll(ring, 1);
    bench.quiet(ring);
    assert.equal(ring.registerSyncCancel(Cancel.userData(7)), 0);
    assert.deepEqual(brief(bench.collect(ring, 1)), cancelled(7));
  },
  everywhere,
);
