import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { alloc, Direct, decodeEpollEvents, encodeEpollEvent, type Ring } from "uring";
import {
  AT_FDCWD,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLLIN,
  epoll_event,
  FUTEX_BITSET_MATCH_ANY,
  FUTEX2_SIZE_U32,
  IORING_CQE_F_MORE,
  IORING_POLL_UPDATE_EVENTS,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_R_DISABLED,
  IORING_SETUP_SINGLE_ISSUER,
  O_NONBLOCK,
  O_RDWR,
  POLLIN,
  POLLOUT,
  S_IFIFO,
} from "uring/abi";
import { pipe } from "../support/harness.ts";
import { Random } from "../support/random.ts";
import { child, mustCall, syscall, writesFromThread } from "../support/system.ts";
import { brief, entry, sorted, submitAll, submitted } from "./completions.ts";
import {
  cstringAddress,
  eventfd,
  int32s,
  open,
  owned,
  read,
  signal,
  socketpair,
  write,
} from "./descriptors.ts";
import { elapsed, PATIENCE_MS, SOON_MS } from "./durations.ts";
import { runProgram } from "./program.ts";
import { allRings, type Bench, type Completion, conformance } from "./support.ts";

const { EAGAIN, EBADF, ECANCELED, EFAULT, ENOENT } = constants.errno;

const everywhere = { rings: allRings };

/** Rings that differ in how completions come about, for what takes thousands of operations. */
const fewRings = { rings: ["default", "defer", "sqpoll"] } as const;

/** An epoll fd. */
function epoll(bench: Bench): number {
  return owned(bench, mustCall("epoll_create1", 0));
}

/** epoll_ctl(2): watches an fd for bytes to read, with `data` to know it by. */
function watch(epfd: number, fd: number, data: number): void {
  using event = encodeEpollEvent({ events: EPOLLIN, data });
  mustCall("epoll_ctl", epfd, EPOLL_CTL_ADD, fd, event.address);
}

function unwatch(epfd: number, fd: number): void {
  mustCall("epoll_ctl", epfd, EPOLL_CTL_DEL, fd, 0);
}

/** Room for two events. */
function twoEvents(): ReturnType<typeof alloc> {
  return alloc(2 * epoll_event.sizeof);
}

// ------------------------------------------------------------------------------------------------ liburing/eploop

conformance(
  "liburing/eploop",
  "a ring that watches itself through epoll does not feed itself",
  (bench) => {
    const ring = bench.ring();
    const epfd = epoll(bench);
    watch(epfd, ring.fd, 0);
    entry(ring).prepPollMultishot(epfd, POLLIN).setData64(1);
    ring.submit();
    submitted(ring);
    entry(ring).prepNop().setData64(2);
    assert.deepEqual(sorted(bench.complete(ring, 2)), [
      // The kernel ends a poll that its own ring has woken.
      [1, POLLIN, 0],
      [2, 0, 0],
    ]);
    bench.quiet(ring);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/epwait

conformance(
  "liburing/epwait",
  "the events that are ready are counted and told",
  (bench) => {
    const ring = bench.ring();
    const epfd = epoll(bench);
    using first = pipe();
    using second = pipe();
    watch(epfd, first.read, 1);
    watch(epfd, second.read, 2);
    const events = twoEvents();
    const wait = () => bench.run(ring, (sqe) => sqe.prepEpollWait(epfd, events, 2, 0));
    const told = (count: number) => decodeEpollEvents(events, count).sort((a, b) => Number(a.data - b.data));

    write(first.write, "x");
    assert.equal(wait(), 1);
    assert.deepEqual(told(1), [{ events: EPOLLIN, data: 1n }]);
    write(second.write, "x");
    assert.equal(wait(), 2);
    assert.deepEqual(told(2), [
      { events: EPOLLIN, data: 1n },
      { events: EPOLLIN, data: 2n },
    ]);

    read(first.read);
    read(second.read);
    entry(ring).prepEpollWait(epfd, events, 2, 0).setData64(1);
    ring.submit();
    bench.quiet(ring);
    write(second.write, "x");
    assert.deepEqual(brief(bench.collect(ring, 1)), [[1, 1, 0]]);
    assert.deepEqual(told(1), [{ events: EPOLLIN, data: 2n }]);
  },
  fewRings,
);

conformance(
  "liburing/epwait",
  "what is watched may be deleted, and the epoll fd be closed, while a wait is pending",
  (bench) => {
    const ring = bench.ring();
    using first = pipe();
    using second = pipe();
    const epfd = mustCall("epoll_create1", 0);
    watch(epfd, first.read, 1);
    watch(epfd, second.read, 2);
    const events = twoEvents();
    entry(ring).prepEpollWait(epfd, events, 2, 0).setData64(1);
    ring.submit();
    submitted(ring);
    unwatch(epfd, first.read);
    write(first.write, "x");
    bench.quiet(ring, 20);
    write(second.write, "x");
    assert.deepEqual(brief(bench.collect(ring, 1)), [[1, 1, 0]]);
    assert.deepEqual(decodeEpollEvents(events, 1), [{ events: EPOLLIN, data: 2n }]);

    read(second.read);
    entry(ring).prepEpollWait(epfd, events, 2, 0).setData64(2);
    ring.submit();
    submitted(ring);
    mustCall("close", epfd);
    // The operation keeps the epoll instance: it still completes, and the ring could close without that, too.
    write(second.write, "x");
    assert.deepEqual(brief(bench.collect(ring, 1)), [[2, 1, 0]]);
  },
  fewRings,
);

conformance(
  "liburing/epwait",
  "a thousand waits, one after the other, beside a thread that writes",
  (bench) => {
    const ring = bench.ring();
    const epfd = epoll(bench);
    using ends = pipe();
    watch(epfd, ends.read, 7);
    const events = twoEvents();
    const writer = writesFromThread(ends.write, { count: 1000, pauseMs: 0.02 });
    for (let i = 0; i < 1000; i++) {
      entry(ring).prepEpollWait(epfd, events, 2, 0).setData64(i);
      assert.deepEqual(brief(bench.complete(ring, 1)), [[i, 1, 0]]);
      assert.equal(read(ends.read, 1), "x");
    }
    assert.equal(writer.join(), 1000);
  },
  fewRings,
);

// ------------------------------------------------------------------------------------------------ liburing/evloop

conformance(
  "liburing/evloop",
  "a ring that watches the eventfd it signals does not feed itself",
  (bench) => {
    const ring = bench.ring();
    const fd = eventfd(bench);
    ring.registerEventfd(fd);
    entry(ring).prepPollMultishot(fd, POLLIN).setData64(1);
    ring.submit();
    submitted(ring);
    entry(ring).prepNop().setData64(2);
    assert.deepEqual(sorted(bench.complete(ring, 2)), [
      // The kernel ends a poll that its own ring has woken.
      [1, POLLIN, 0],
      [2, 0, 0],
    ]);
    bench.quiet(ring);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/fifo-futex-poll

conformance(
  "liburing/fifo-futex-poll",
  "an operation that failed at once leaves nothing behind for the next",
  (bench) => {
    const ring = bench.ring();
    const path = bench.path("fifo");
    mustCall("mknodat", AT_FDCWD, cstringAddress(bench, path), S_IFIFO | 0o600, 0);
    const fd = open(bench, path, O_RDWR);
    ring.registerFiles([fd]);
    for (let i = 0; i < 40; i++) {
      assert.equal(
        bench.run(ring, (sqe) => sqe.prepFutexWait(0, 0, FUTEX_BITSET_MATCH_ANY, FUTEX2_SIZE_U32, 0)),
        -EFAULT,
      );
    }
    entry(ring).prepPollAdd(new Direct(0), POLLIN).setData64(1);
    ring.submit();
    bench.quiet(ring, 10);
    assert.equal(write(fd, "0123456789"), 10);
    assert.deepEqual(brief(bench.collect(ring, 1)), [[1, POLLIN, 0]]);
    assert.equal(read(fd), "0123456789");
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/poll

conformance(
  "liburing/poll",
  "a pipe becomes readable when another process writes",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    const userData = 0xffff_8123_4567_89abn;
    entry(ring).prepPollAdd(ends.read, POLLIN).setData64(userData);
    ring.submit();
    const pid = child({ delayMs: 20, fd: ends.write });
    const cqe = ring.waitCqe({ timeout: PATIENCE_MS });
    assert.deepEqual([cqe?.userData64, cqe?.res, cqe?.flags], [userData, POLLIN, 0]);
    ring.cqAdvance(1);
    assert.equal(mustCall("wait4", pid, 0, 0, 0), pid);
  },
  everywhere,
);

conformance(
  "liburing/poll",
  "a multishot poll tells of both directions",
  (bench) => {
    const ring = bench.ring();
    const [near, far] = socketpair(bench);
    using small = alloc(4);
    int32s(small)[0] = 1;
    const SOL_SOCKET = 1;
    const SO_SNDBUF = 7;
    mustCall("setsockopt", near, SOL_SOCKET, SO_SNDBUF, small.address, 4);
    const F_SETFL = 4;
    mustCall("fcntl", near, F_SETFL, O_NONBLOCK);
    while (write(near, "x".repeat(512)) > 0);
    assert.equal(write(near, "x"), -EAGAIN);

    entry(ring)
      .prepPollMultishot(near, POLLIN | POLLOUT)
      .setData64(1);
    ring.submit();
    bench.quiet(ring, 10);
    write(far, "y");
    // The kernel tells what is ready when it looks, which may be more than what woke it.
    let seen = 0;
    const look = () => {
      for (const { userData, res, flags } of bench.collectSome(ring)) {
        assert.deepEqual([userData, flags], [1, IORING_CQE_F_MORE]);
        assert.equal(res & ~(POLLIN | POLLOUT), 0);
        seen |= res;
      }
    };
    look();
    assert.equal(seen, POLLIN);
    read(far, 65536);
    look();
    assert.equal(seen, POLLIN | POLLOUT);
  },
  { rings: ["defer", "default", "sqpoll"] },
);

for (const when of ["before", "after"]) {
  conformance("liburing/poll", `a ring polled ${when} it is enabled becomes readable once`, (bench) => {
    const poller = bench.ring();
    const ring = bench.ring({
      flags: IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED,
    });
    if (when === "after") ring.enableRings();
    entry(poller).prepPollAdd(ring.fd, POLLIN).setData64(1);
    poller.submit();
    bench.quiet(poller, 10);
    if (when === "before") ring.enableRings();
    entry(ring).prepNop().setData64(2);
    ring.submit();
    assert.deepEqual(brief(bench.collect(poller, 1)), [[1, POLLIN, 0]]);
    bench.quiet(poller, 10);
    assert.deepEqual(brief(bench.collect(ring, 1)), [[2, 0, 0]]);
  });
}

conformance(
  "liburing/poll",
  "a ring polls itself 65536 times and still completes",
  (bench) => {
    const ring = bench.ring({ entries: 1024 });
    for (let i = 0; i < 65536; i++) {
      const sqe = ring.getSqe() ?? submitForOne(ring);
      sqe.prepPollAdd(ring.fd, POLLIN).setData64(1);
    }
    ring.submit();
    submitted(ring);
    entry(ring).prepNop().setData64(2);
    ring.submit();
    const end = performance.now() + PATIENCE_MS;
    let found = 0;
    while (found === 0 && performance.now() < end) {
      ring.submitAndWait(1, { timeout: 100 });
      ring.drain((userData, res) => {
        if (userData === 2 && res === 0) found++;
      });
    }
    assert.equal(found, 1);
  },
  // Not with a poller thread: it takes minutes to cancel what is left, looking for each among all the others.
  { rings: ["default", "defer"] },
);

/** Makes room in a full submission queue; an entry of it. */
function submitForOne(ring: Ring): ReturnType<typeof entry> {
  ring.submit();
  ring.sqringWait();
  return entry(ring);
}

// ------------------------------------------------------------------------------------------------ liburing/poll-cancel

conformance(
  "liburing/poll-cancel",
  "a poll that is removed is cancelled",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    const pointer = 0x7fff_dead_beef;
    entry(ring).prepPollAdd(ends.read, POLLIN).setData64(pointer);
    ring.submit();
    submitted(ring);
    entry(ring).prepPollRemove(pointer).setData64(1);
    assert.deepEqual(sorted(bench.complete(ring, 2)), [
      [1, 0, 0],
      [pointer, -ECANCELED, 0],
    ]);
  },
  everywhere,
);

conformance("liburing/poll-cancel", "a process with timeouts and polls pending ends at once", () => {
  const { code, output, milliseconds } = runProgram("pending-polls");
  assert.equal(code, 42, output);
  assert.ok(milliseconds < 8000, `${milliseconds} ms`);
});

// ------------------------------------------------------------------------------------------------ liburing/poll-cancel-ton

conformance(
  "liburing/poll-cancel-ton",
  "30000 polls of one pipe are taken, and removals of random ones beside them",
  (bench) => {
    const ring = bench.ring({ entries: 1024, cqEntries: 16384 });
    using ends = pipe();
    const total = 30000;
    const random = new Random(1);
    const inBatches = (fill: (sqe: ReturnType<typeof entry>, i: number) => unknown) => {
      for (let done = 0; done < total; ) {
        const batch = Math.min(1024, total - done);
        for (let i = 0; i < batch; i++) fill(entry(ring), done + i);
        submitAll(ring, batch);
        done += batch;
        ring.drain(count);
      }
    };
    const counts = { removals: 0, removed: 0, polls: 0 };
    const removal = 2 ** 40;
    const count = (userData: number, res: number) => {
      if (userData === removal) {
        counts.removals++;
        if (res === 0) counts.removed++;
        else assert.equal(res, -ENOENT);
      } else {
        counts.polls++;
        assert.equal(res, -ECANCELED);
      }
    };
    inBatches((sqe, i) => sqe.prepPollAdd(ends.read, POLLIN).setData64(i + 1));
    inBatches((sqe) => sqe.prepPollRemove(1 + random.below(total)).setData64(removal));
    const end = performance.now() + PATIENCE_MS;
    while ((counts.removals < total || counts.polls < counts.removed) && performance.now() < end) {
      ring.submitAndWait(1, { timeout: 100 });
      ring.drain(count);
    }
    assert.equal(counts.removals, total);
    assert.ok(counts.removed > 0);
    assert.equal(counts.polls, counts.removed);
    // To cancel what is left the kernel looks for each among all the others: more than a second's work for some.
    assert.deepEqual(ring.close({ deadline: 20_000 }), { leaked: 0 });
  },
  fewRings,
);

// ------------------------------------------------------------------------------------------------ liburing/poll-many

const PIPES = 5000;

/** Lets the process have so many files open, as far as it may; why not, where it may not. */
function needsFiles(count: number): string | false {
  const RLIMIT_NOFILE = 7;
  using limits = alloc(16);
  mustCall("prlimit64", 0, RLIMIT_NOFILE, 0, limits.address);
  const [soft, hard] = new BigUint64Array(limits.bytes.buffer, limits.bytes.byteOffset, 2) as unknown as [
    bigint,
    bigint,
  ];
  if (soft >= count) return false;
  if (hard < count) return `${count} open files are needed, ${hard} allowed`;
  new BigUint64Array(limits.bytes.buffer, limits.bytes.byteOffset, 1)[0] = BigInt(count);
  mustCall("prlimit64", 0, RLIMIT_NOFILE, limits.address, 0);
  return false;
}

conformance(
  "liburing/poll-many",
  "of 5000 pipes those that become readable complete, and no other",
  (bench) => {
    const ring = bench.ring({ entries: 512, cqEntries: 4096 });
    const random = new Random(2);
    const pipes = Array.from({ length: PIPES }, () => pipe());
    bench.defer(() => {
      for (const one of pipes) one[Symbol.dispose]();
    });
    const arm = (indices: readonly number[]) => {
      for (let done = 0; done < indices.length; done += 512) {
        const batch = indices.slice(done, done + 512);
        for (const i of batch)
          entry(ring)
            .prepPollAdd(pipes[i]?.read ?? -1, POLLIN)
            .setData64(i);
        submitAll(ring, batch.length);
      }
    };
    arm(pipes.map((_, i) => i));
    using byte = alloc(1);
    for (let round = 0; round < 1000; round++) {
      const chosen = new Set<number>();
      while (chosen.size < 500) chosen.add(random.below(PIPES));
      for (const i of chosen) assert.equal(mustCall("write", pipes[i]?.write ?? -1, byte.address, 1), 1);
      const left = new Set(chosen);
      const end = performance.now() + PATIENCE_MS;
      while (left.size > 0 && performance.now() < end) {
        ring.submitAndWait(left.size, { timeout: 1000 });
        ring.drain((userData, res, flags) => {
          if (!left.delete(userData) || res !== POLLIN || flags !== 0) {
            assert.fail(`round ${round}: pipe ${userData}, result ${res}, flags ${flags}`);
          }
        });
      }
      assert.equal(left.size, 0, `round ${round}`);
      for (const i of chosen) assert.equal(mustCall("read", pipes[i]?.read ?? -1, byte.address, 1), 1);
      arm([...chosen]);
    }
  },
  { rings: ["default", "defer"], skip: needsFiles(2 * PIPES + 200) },
);

// ------------------------------------------------------------------------------------------------ liburing/poll-race

conformance(
  "liburing/poll-race",
  "receives that race with a thread's writes all complete",
  (bench) => {
    const ring = bench.ring({ entries: 64 });
    const [near, far] = socketpair(bench);
    const buffers = Array.from({ length: 64 }, () => alloc(64));
    for (let round = 0; round < 1000; round++) {
      const writer = writesFromThread(far, { count: 64, size: 64 });
      for (const [i, buffer] of buffers.entries()) entry(ring).prepRecv(near, buffer, 64, 0).setData64(i);
      const completions = bench.complete(ring, 64);
      assert.equal(writer.join(), 64 * 64);
      const unseen = new Set(buffers.keys());
      for (const { userData, res } of completions) {
        assert.equal(res, 64);
        assert.ok(unseen.delete(userData));
      }
    }
  },
  fewRings,
);

// ------------------------------------------------------------------------------------------------ liburing/poll-ring

/** The names of this process's threads that work for rings. */
function ringThreads(): string[] {
  return readdirSync("/proc/self/task").flatMap((task) => {
    try {
      const name = readFileSync(`/proc/self/task/${task}/comm`, "latin1").trim();
      return name.startsWith("iou-") ? [name] : [];
    } catch {
      // It has ended meanwhile.
      return [];
    }
  });
}

conformance(
  "liburing/poll-ring",
  "a ring that polls itself closes, and leaves no thread",
  (bench) => {
    const before = ringThreads().length;
    const ring = bench.ring();
    entry(ring).prepPollAdd(ring.fd, POLLIN).setData64(1);
    submitAll(ring, 1);
    bench.quiet(ring, 10);
    const time = elapsed(() => assert.deepEqual(ring.close({ deadline: PATIENCE_MS }), { leaked: 0 }));
    assert.ok(time < SOON_MS, `${time} ms`);
    const end = performance.now() + PATIENCE_MS;
    while (ringThreads().length > before && performance.now() < end);
    assert.ok(ringThreads().length <= before, `${ringThreads()}`);
  },
  everywhere,
);

conformance("liburing/poll-ring", "a process whose ring polls itself ends at once", () => {
  const { code, output, milliseconds } = runProgram("pending-polls", ["itself"]);
  assert.equal(code, 42, output);
  assert.ok(milliseconds < 8000, `${milliseconds} ms`);
});

// ------------------------------------------------------------------------------------------------ liburing/poll-update-trigger

conformance(
  "liburing/poll-update-trigger",
  "a poll completes at once when it is changed to what is ready already",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    entry(ring).prepPollAdd(ends.write, POLLIN).setData64(1);
    ring.submit();
    bench.quiet(ring, 10);
    entry(ring).prepPollUpdate(1, 0, POLLOUT, IORING_POLL_UPDATE_EVENTS).setData64(2);
    assert.deepEqual(sorted(bench.complete(ring, 2)), [
      [1, POLLOUT, 0],
      [2, 0, 0],
    ]);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/poll-v-poll

/** What poll(2) says of an fd now: its `revents`. */
function poll2(fd: number, events: number): number {
  using memory = alloc(8);
  using now = alloc(16);
  int32s(memory)[0] = fd;
  int32s(memory)[1] = events;
  syscall("ppoll", memory.address, 1, now.address, 0, 0);
  return (int32s(memory)[1] as number) >>> 16;
}

conformance(
  "liburing/poll-v-poll",
  "what is ready is what poll(2) says",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    const path = bench.path("file");
    writeFileSync(path, "content");
    const file = open(bench, path, O_RDWR);
    const LOW_SIX = 0x3f;
    const same = (fd: number, events: number, expected: number) => {
      const res = bench.run(ring, (sqe) => sqe.prepPollAdd(fd, events));
      assert.equal(res & LOW_SIX, poll2(fd, events) & LOW_SIX);
      assert.equal(res & LOW_SIX, expected);
    };
    same(ends.write, POLLOUT, POLLOUT);
    same(file, POLLIN, POLLIN);
    same(file, POLLOUT, POLLOUT);
    same(file, POLLIN | POLLOUT, POLLIN | POLLOUT);

    entry(ring).prepPollAdd(ends.read, POLLIN).setData64(1);
    ring.submit();
    bench.quiet(ring, 10);
    write(ends.write, "x");
    assert.deepEqual(brief(bench.collect(ring, 1)), [[1, poll2(ends.read, POLLIN), 0]]);
    same(ends.read, POLLIN, POLLIN);
  },
  everywhere,
);

for (const how of ["epoll_ctl(2)", "the ring"]) {
  conformance(
    "liburing/poll-v-poll",
    `an epoll fd is polled, whose member was added by ${how}`,
    (bench) => {
      const ring = bench.ring();
      using ends = pipe();
      const epfd = epoll(bench);
      if (how === "the ring") {
        const event = encodeEpollEvent({ events: EPOLLIN, data: 1 });
        assert.equal(
          bench.run(ring, (sqe) => sqe.prepEpollCtl(epfd, ends.read, EPOLL_CTL_ADD, event)),
          0,
        );
      } else {
        watch(epfd, ends.read, 1);
      }
      entry(ring).prepPollAdd(epfd, POLLIN).setData64(1);
      ring.submit();
      bench.quiet(ring, 10);
      write(ends.write, "x");
      assert.deepEqual(brief(bench.collect(ring, 1)), [[1, POLLIN, 0]]);
    },
    everywhere,
  );
}

// ------------------------------------------------------------------------------------------------ tokio/epoll/test_delete

conformance(
  "tokio/epoll/test_delete",
  "a pipe no longer watched at submission is not told",
  (bench) => {
    const ring = bench.ring();
    const epfd = epoll(bench);
    using first = pipe();
    using second = pipe();
    watch(epfd, first.read, 1);
    watch(epfd, second.read, 2);
    const events = twoEvents();
    entry(ring).prepEpollWait(epfd, events, 2, 0).setData64(1);
    unwatch(epfd, second.read);
    write(first.write, "first");
    write(second.write, "second");
    assert.deepEqual(brief(bench.complete(ring, 1)), [[1, 1, 0]]);
    assert.deepEqual(decodeEpollEvents(events, 1), [{ events: EPOLLIN, data: 1n }]);
    assert.deepEqual([read(first.read), read(second.read)], ["first", "second"]);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/epoll/test_not_ready

conformance(
  "tokio/epoll/test_not_ready",
  "a wait completes with what has become ready",
  (bench) => {
    const ring = bench.ring();
    const epfd = epoll(bench);
    using first = pipe();
    using second = pipe();
    watch(epfd, first.read, 1);
    watch(epfd, second.read, 2);
    const events = twoEvents();
    entry(ring).prepEpollWait(epfd, events, 2, 0).setData64(1);
    ring.submit();
    bench.quiet(ring, 10);
    const writers = [
      writesFromThread(first.write, { pauseMs: 10 }),
      writesFromThread(second.write, { pauseMs: 20 }),
    ];
    const [completion] = bench.collect(ring, 1);
    for (const writer of writers) assert.equal(writer.join(), 1);
    const { userData, res, flags } = completion as Completion;
    assert.deepEqual([userData, flags], [1, 0]);
    assert.ok(res >= 0 && res <= 2, `result ${res}`);
    for (const { events: ready, data } of decodeEpollEvents(events, res)) {
      assert.equal(ready, EPOLLIN);
      assert.ok(data === 1n || data === 2n, `data ${data}`);
    }
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/epoll/test_remove

conformance(
  "tokio/epoll/test_remove",
  "an epoll fd that is closed before submission is refused",
  (bench) => {
    const ring = bench.ring();
    const epfd = mustCall("epoll_create1", 0);
    using ends = pipe();
    watch(epfd, ends.read, 1);
    entry(ring).prepEpollWait(epfd, twoEvents(), 2, 0).setData64(1);
    mustCall("close", epfd);
    assert.deepEqual(brief(bench.complete(ring, 1)), [[1, -EBADF, 0]]);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/poll/test_eventfd_poll

conformance(
  "tokio/poll/test_eventfd_poll",
  "an eventfd becomes readable when it is written, not before",
  (bench) => {
    const ring = bench.ring();
    const fd = eventfd(bench);
    entry(ring).prepPollAdd(fd, POLLIN).setData64(0x04);
    ring.submit();
    bench.quiet(ring, 200);
    signal(fd);
    assert.deepEqual(brief(bench.collect(ring, 1)), [[0x04, 1, 0]]);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/poll/test_eventfd_poll_remove_failed

conformance(
  "tokio/poll/test_eventfd_poll_remove_failed",
  "a poll that has completed can not be removed, and its completion stays",
  (bench) => {
    const ring = bench.ring();
    const fd = eventfd(bench);
    entry(ring).prepPollAdd(fd, POLLIN).setData64(0x05);
    ring.submit();
    submitted(ring);
    signal(fd);
    const end = performance.now() + PATIENCE_MS;
    while (ring.cqReady < 1 && performance.now() < end) ring.getEvents();
    assert.equal(ring.cqReady, 1);
    entry(ring).prepPollRemove(0x05).setData64(0x06);
    assert.deepEqual(sorted(bench.complete(ring, 2)), [
      [0x05, 1, 0],
      [0x06, -ENOENT, 0],
    ]);
  },
  everywhere,
);
