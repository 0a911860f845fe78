import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { constants } from "node:os";
import { alloc, encodeTimespec, Ring, type Sqe } from "uring";
import {
  IORING_CQE_F_MORE,
  IORING_CQE_F_SOCK_NONEMPTY,
  IORING_REGISTER_ENABLE_RINGS,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_R_DISABLED,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_SETUP_SQPOLL,
  IORING_SETUP_TASKRUN_FLAG,
  IORING_SQ_TASKRUN,
  IOSQE_CQE_SKIP_SUCCESS,
  IOSQE_IO_DRAIN,
  IOSQE_IO_HARDLINK,
  IOSQE_IO_LINK,
  iovec,
  MSG_WAITALL,
  O_DIRECT,
  O_NONBLOCK,
  O_RDONLY,
  POLLIN,
} from "uring/abi";
import { pipe } from "../support/harness.ts";
import { syscall, syscallInThread, writesFromThread } from "../support/system.ts";
import { brief, entry, skippingRing } from "./completions.ts";
import { eventfd, open, read, signal, textMemory, textOf, write } from "./descriptors.ts";
import { elapsed, PATIENCE_MS, SOON_MS } from "./durations.ts";
import { runProgram } from "./program.ts";
import { counting, Network } from "./sockets.ts";
import { type Bench, conformance, type RingType } from "./support.ts";
import { watchedRing } from "./watched-ring.ts";

const { EAGAIN } = constants.errno;

const deferred = { rings: ["defer"] } as const;

// ------------------------------------------------------------------------------------------------ liburing/defer-taskrun

/** Whether an eventfd, which does not block, was signalled since it was last asked. */
function wasSignalled(fd: number): boolean {
  using counter = alloc(8);
  const result = syscall("read", fd, counter.address, 8);
  assert.ok(result === 8 || result === -EAGAIN, `read: ${result}`);
  return result === 8;
}

/** Whether an fd becomes readable, which takes the kernel a moment: from within an eventfd it signals none at once. */
function becomesReadable(fd: number): boolean {
  using request = alloc(8);
  const view = new DataView(request.bytes.buffer, request.bytes.byteOffset, 8);
  view.setInt32(0, fd, true);
  view.setInt16(4, POLLIN, true);
  using patience = encodeTimespec(10_000);
  return syscall("ppoll", request.address, 1, patience.address, 0, 0) === 1;
}

/** A ring whose completions are signalled to an eventfd. */
function signallingRing(bench: Bench): { ring: Ring; registered: number } {
  const ring = bench.ring();
  const registered = eventfd(bench, 0, O_NONBLOCK);
  ring.registerEventfd(registered);
  return { ring, registered };
}

conformance(
  "liburing/defer-taskrun",
  "an operation that completes at once signals the eventfd while it is submitted",
  (bench) => {
    const { ring, registered } = signallingRing(bench);
    entry(ring).prepNop().setData64(1);
    assert.equal(wasSignalled(registered), false);
    assert.equal(ring.submit(), 1);
    assert.equal(wasSignalled(registered), true);
    assert.equal(ring.cqReady, 1);
    assert.deepEqual(brief(bench.collect(ring, 1)), [[1, 0, 0]]);
  },
  deferred,
);

conformance(
  "liburing/defer-taskrun",
  "deferred work signals the eventfd before there is a completion, which only a look for events brings",
  (bench) => {
    const { ring, registered } = signallingRing(bench);
    const polled = eventfd(bench);
    entry(ring).prepPollAdd(polled, POLLIN).setData64(1);
    assert.equal(ring.submit(), 1);
    assert.equal(wasSignalled(registered), false);
    signal(polled);
    assert.equal(becomesReadable(registered), true);
    assert.equal(ring.cqReady, 0);
    assert.equal(
      ring.drain(() => {}),
      0,
    );
    assert.ok(ring.getEvents() >= 0);
    assert.equal(ring.cqReady, 1);
    assert.deepEqual(brief(bench.collect(ring, 1)), [[1, POLLIN, 0]]);
  },
  deferred,
);

conformance(
  "liburing/defer-taskrun",
  "a ring that another thread has enabled is that thread's; until then it is nobody's",
  (bench) => {
    const ring = bench.ring({ flags: IORING_SETUP_R_DISABLED });
    assert.throws(() => ring.getEvents(), { code: "EBADFD", syscall: "io_uring_enter" });
    const enable = syscallInThread("io_uring_register", ring.fd, IORING_REGISTER_ENABLE_RINGS, 0, 0);
    assert.equal(enable.join(), 0);
    assert.throws(() => ring.getEvents(), { code: "EEXIST", syscall: "io_uring_enter" });
    assert.throws(() => ring.waitCqe({ timeout: 1000 }), { code: "EEXIST", syscall: "io_uring_enter" });
  },
  deferred,
);

conformance(
  "liburing/defer-taskrun",
  "a flag tells of deferred work, and a peek has it run",
  (bench) => {
    const { ring, view } = watchedRing(bench, { flags: IORING_SETUP_TASKRUN_FLAG });
    const waiting = () => (view.sqFlags & IORING_SQ_TASKRUN) !== 0;
    const polled = eventfd(bench);
    entry(ring).prepPollAdd(polled, POLLIN).setData64(1);
    assert.equal(ring.submit(), 1);
    assert.equal(ring.peekCqe(), null);
    assert.equal(waiting(), false);
    signal(polled);
    assert.equal(ring.cqReady, 0);
    assert.equal(waiting(), true);
    const cqe = ring.peekCqe();
    assert.deepEqual([cqe?.userData, cqe?.res, cqe?.flags], [1, POLLIN, 0]);
    assert.equal(waiting(), false);
    ring.cqAdvance(1);
  },
  deferred,
);

for (const reading of ["drain", "copyCqes", "forEachCqe", "submit"] as const) {
  conformance(
    "liburing/defer-taskrun",
    `with the flag ${reading} has deferred work run`,
    (bench) => {
      const { ring, view } = watchedRing(bench, { flags: IORING_SETUP_TASKRUN_FLAG });
      const polled = eventfd(bench);
      entry(ring).prepPollAdd(polled, POLLIN).setData64(1);
      ring.submit();
      signal(polled);
      assert.equal(ring.cqReady, 0);
      if (reading === "drain")
        assert.equal(
          ring.drain(() => {}),
          1,
        );
      else if (reading === "copyCqes") assert.equal(ring.copyCqes(new Int32Array(4)), 1);
      else if (reading === "forEachCqe")
        assert.equal(
          ring.forEachCqe(() => {}),
          1,
        );
      else {
        assert.equal(ring.submit(), 0);
        assert.equal(ring.cqReady, 1);
      }
      assert.equal(view.sqFlags & IORING_SQ_TASKRUN, 0);
    },
    deferred,
  );
}

conformance(
  "liburing/defer-taskrun",
  "a ring closes with a receive pending whose data is there, and whose work has not run",
  (bench) => {
    const ring = bench.ring();
    const network = new Network(bench);
    const [client, server] = network.streamPair();
    const memory = alloc(16);
    entry(ring).prepRecv(server, memory, 16, 0);
    assert.equal(ring.submit(), 1);
    network.send(client, counting(16), 16);
    assert.equal(ring.cqReady, 0);
    const time = elapsed(() => assert.deepEqual(ring.close({ deadline: PATIENCE_MS }), { leaked: 0 }));
    assert.ok(time < SOON_MS, `${time} ms`);
  },
  deferred,
);

conformance(
  "liburing/defer-taskrun",
  "a write that waits for what is before it needs its 128 pieces' addresses no more",
  (bench) => {
    const COUNT = 128;
    const ring = bench.ring();
    const data = counting(COUNT);
    using before = pipe();
    const path = bench.path("file");
    const file = open(bench, path);
    // As C would have it: in memory that the caller can overwrite.
    const iovecs = alloc(COUNT * iovec.sizeof);
    const view = new DataView(iovecs.bytes.buffer, iovecs.bytes.byteOffset, iovecs.byteLength);
    for (let i = 0; i < COUNT; i++) {
      view.setBigUint64(i * iovec.sizeof + iovec.iov_base, BigInt(data.address + i), true);
      view.setBigUint64(i * iovec.sizeof + iovec.iov_len, 1n, true);
    }
    const target = alloc(1);
    entry(ring).prepRead(before.read, target, 1, -1).setData64(1);
    entry(ring).prepWritev(file, iovecs.address, COUNT, 0).setFlags(IOSQE_IO_DRAIN).setData64(2);
    assert.equal(ring.submit(), 2);
    iovecs.bytes.fill(0xff);
    bench.quiet(ring, 20);
    write(before.write, "x");
    assert.deepEqual(brief(bench.collect(ring, 2)), [
      [1, 1, 0],
      [2, COUNT, 0],
    ]);
    assert.equal(read(file, 2 * COUNT), textOf(data));
  },
  { rings: ["defer", "default"] },
);

for (const [name, flags] of [
  ["that defers its work", IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN],
  ["of default flags", 0],
] as const) {
  conformance(
    "liburing/defer-taskrun",
    `a process with a ring ${name} becomes another program while a read is under way`,
    (bench) => {
      const path = bench.path("file");
      writeFileSync(path, Buffer.alloc(1 << 20, 7));
      const { code, output, signal } = runProgram("exec-with-read", [path, String(flags)]);
      assert.equal(code, 42, `${signal ?? code}: ${output}`);
    },
  );
}

// ------------------------------------------------------------------------------------------------ liburing/defer-tw-timeout

const ways: readonly RingType[] = ["defer", "default", "sqpoll"];

/** Waits for two completions where one comes: the time runs out, and that one is there. */
function waitForTwo(bench: Bench, fill: (ring: Ring) => Sqe, begin: () => void, result: number): void {
  const ring = bench.ring();
  fill(ring).setData64(1);
  begin();
  let taken = 0;
  const time = elapsed(() => {
    taken = ring.submitAndWait(2, { timeout: 1000 });
  });
  assert.equal(taken, 1);
  assert.ok(time >= 999, `${time} ms`);
  assert.equal(ring.cqReady, 1);
  const cqe = ring.peekCqe();
  assert.deepEqual([cqe?.userData, cqe?.res, cqe?.flags], [1, result, 0]);
  ring.cqAdvance(1);
  assert.equal(ring.peekCqe(), null);
}

conformance(
  "liburing/defer-tw-timeout",
  "a wait for two that times out has brought the one block read past the page cache",
  (bench) => {
    const path = bench.path("file");
    writeFileSync(path, Buffer.alloc(4096, 7));
    const file = open(bench, path, O_RDONLY | O_DIRECT);
    const memory = alloc(4096);
    const fill = (ring: Ring) => entry(ring).prepRead(file, memory, 4096, 0);
    waitForTwo(bench, fill, () => {}, 4096);
    assert.ok(memory.bytes.every((byte) => byte === 7));
  },
  { rings: ways },
);

conformance(
  "liburing/defer-tw-timeout",
  "a wait for two that times out has brought what was written to a pipe meanwhile",
  (bench) => {
    using ends = pipe();
    const memory = alloc(8);
    const fill = (ring: Ring) => entry(ring).prepRead(ends.read, memory, 8, -1);
    let join = () => 0;
    const begin = () => {
      const writer = writesFromThread(ends.write, { pauseMs: 100 });
      join = () => writer.join();
    };
    waitForTwo(bench, fill, begin, 1);
    assert.equal(join(), 1);
    assert.equal(textOf(memory, 1), "x");
  },
  { rings: ways },
);

// ------------------------------------------------------------------------------------------------ liburing/linked-defer-close

conformance(
  "liburing/linked-defer-close",
  "a socket closed by a link that tells nothing is closed while the thread waits",
  (bench) => {
    const LENGTH = 16;
    const ring = skippingRing(bench);
    const network = new Network(bench);
    const listener = network.listener();
    const client = network.client(listener.address);
    entry(ring).prepMultishotAccept(listener.fd, 0, 0, 0).setData64(1);
    const { userData, res: server, flags } = bench.one(ring);
    assert.deepEqual([userData, flags & IORING_CQE_F_MORE], [1, IORING_CQE_F_MORE]);

    // The peer reads all there is up to the end, and then wakes this thread: by a ring whose thread is the kernel's.
    const peer = new Ring({ flags: IORING_SETUP_SQPOLL });
    bench.defer(() => assert.deepEqual(peer.close({ deadline: PATIENCE_MS }), { leaked: 0 }));
    using wake = pipe();
    const received = alloc(4 * LENGTH);
    entry(peer)
      .prepRecv(client, received, received.byteLength, MSG_WAITALL)
      .setFlags(IOSQE_IO_HARDLINK)
      .setData64(1);
    entry(peer).prepWrite(wake.write, textMemory("x"), 1, -1).setData64(2);
    peer.submit();

    const woken = alloc(1);
    entry(ring).prepRead(wake.read, woken, 1, -1).setData64(2);
    const data = counting(3 * LENGTH);
    for (let i = 0; i < 3; i++) {
      entry(ring)
        .prepSend(server, data.slice(i * LENGTH, LENGTH), LENGTH, MSG_WAITALL)
        .setFlags(IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS)
        .setData64(3 + i);
    }
    entry(ring).prepClose(server).setFlags(IOSQE_CQE_SKIP_SUCCESS).setData64(6);
    let taken = 0;
    const time = elapsed(() => {
      taken = ring.submitAndWait(1, { timeout: PATIENCE_MS });
    });
    assert.equal(taken, 5);
    assert.ok(time < SOON_MS, `${time} ms`);
    assert.deepEqual(brief(bench.collect(ring, 1)), [[2, 1, 0]]);
    bench.quiet(ring, 20);
    assert.deepEqual(brief(bench.collect(peer, 2)), [
      // The end of the stream counts as something to receive.
      [1, 3 * LENGTH, IORING_CQE_F_SOCK_NONEMPTY],
      [2, 1, 0],
    ]);
    assert.deepEqual(received.bytes.slice(0, 3 * LENGTH), data.bytes.slice());
  },
  deferred,
);
