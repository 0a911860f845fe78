import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { constants } from "node:os";
import { alloc, Cancel, cstring, Direct, encodeTimespec, Iovecs, Ring, type Sqe } from "uring";
import {
  AT_FDCWD,
  IORING_CQE_F_MORE,
  IORING_OFF_SQ_RING,
  IORING_SETUP_IOPOLL,
  IORING_SETUP_SQPOLL,
  IOSQE_ASYNC,
  IOSQE_CQE_SKIP_SUCCESS,
  IOSQE_IO_DRAIN,
  IOSQE_IO_HARDLINK,
  IOSQE_IO_LINK,
  io_sqring_offsets,
  io_uring_params,
  O_RDONLY,
  POLLIN,
} from "uring/abi";
import { type Pipe, pipe } from "../support/harness.ts";
import { Random } from "../support/random.ts";
import { shim, withShim } from "../support/runtime.ts";
import { brief, entry, skippingRing, sorted, submitAll, submitted } from "./completions.ts";
import { PATIENCE_MS } from "./durations.ts";
import { counting, Network } from "./sockets.ts";
import { allRings, type Bench, type Completion, conformance } from "./support.ts";

const { EBADF, ECANCELED, EFAULT, EINTR, EINVAL, ENOENT, ETIME } = constants.errno;

/** No process has so many. */
const NO_FD = 0x7fff_fff0;
/** A buffer group that no test provides. */
const NO_GROUP = 77;

// ------------------------------------------------------------------------------------------------ liburing/accept-link

conformance(
  "liburing/accept-link",
  "an accept that nobody connects to is cancelled by its linked timeout",
  (bench) => {
    const ring = bench.ring();
    const { fd } = new Network(bench).listener();
    entry(ring).prepAccept(fd, 0, 0, 0).setFlags(IOSQE_IO_LINK).setData64(1);
    entry(ring).prepLinkTimeout(encodeTimespec(200), 0).setData64(2);
    submitAll(ring, 2);
    assert.deepEqual(sorted(bench.collect(ring, 2)), [
      [1, -ECANCELED, 0],
      [2, -ETIME, 0],
    ]);
  },
  { rings: allRings },
);

conformance(
  "liburing/accept-link",
  "an accept in time cancels its linked timeout",
  (bench) => {
    const ring = bench.ring();
    const network = new Network(bench);
    const { fd, address } = network.listener();
    entry(ring).prepAccept(fd, 0, 0, 0).setFlags(IOSQE_IO_LINK).setData64(1);
    entry(ring).prepLinkTimeout(encodeTimespec(1000), 0).setData64(2);
    submitAll(ring, 2);
    network.connect(network.socket(), address);
    const [[, accepted, flags] = [], timeout] = sorted(bench.collect(ring, 2));
    assert.ok(accepted !== undefined && accepted > 0, `accept: ${accepted}`);
    network.own(accepted);
    assert.equal(flags, 0);
    assert.deepEqual(timeout, [2, -ECANCELED, 0]);
  },
  { rings: allRings },
);

// ------------------------------------------------------------------------------------------------------ liburing/defer

conformance(
  "liburing/defer",
  "100 no-ops in one chain on a polled ring complete in order",
  (bench) => {
    const ring = bench.ring({ entries: 128, flags: IORING_SETUP_IOPOLL });
    for (let i = 0; i < 100; i++) {
      entry(ring)
        .prepNop()
        .setFlags(i < 99 ? IOSQE_IO_LINK : 0)
        .setData64(i);
    }
    submitAll(ring, 100);
    assert.deepEqual(
      brief(bench.collect(ring, 100)),
      Array.from({ length: 100 }, (_, i) => [i, 0, 0]),
    );
  },
  { rings: allRings },
);

conformance(
  "liburing/defer",
  "a failing head cancels the other 99 of a chain, in order, on a polled ring with a poller thread",
  (bench) => {
    const flags = IORING_SETUP_SQPOLL | IORING_SETUP_IOPOLL;
    const ring = bench.ring({ entries: 128, flags, sqThreadIdle: 100 });
    for (let i = 0; i < 100; i++) {
      entry(ring)
        .prepRemoveBuffers(1, NO_GROUP)
        .setFlags(i < 99 ? IOSQE_IO_LINK : 0)
        .setData64(i);
    }
    submitAll(ring, 100);
    assert.deepEqual(
      brief(bench.collect(ring, 100)),
      Array.from({ length: 100 }, (_, i) => [i, i === 0 ? -ENOENT : -ECANCELED, 0]),
    );
  },
);

conformance("liburing/defer", "drained timeouts with linked timeouts all complete", (bench) => {
  const ring = bench.ring();
  const second = encodeTimespec(1000);
  for (let i = 0; i < 3; i++) {
    entry(ring)
      .prepTimeout(second, 0, 0)
      .setFlags(IOSQE_IO_LINK | IOSQE_IO_DRAIN)
      .setData64(2 * i);
    entry(ring)
      .prepLinkTimeout(second, 0)
      .setData64(2 * i + 1);
  }
  submitAll(ring, 6);
  const completions = sorted(bench.collect(ring, 6));
  assert.deepEqual(
    completions.map(([userData]) => userData),
    [0, 1, 2, 3, 4, 5],
  );
  // Which of the two ends first is open: the loser is cancelled, or too late to be.
  for (const [, res] of completions) assert.ok([-ETIME, -ECANCELED, -ENOENT].includes(res), `${res}`);
});

conformance("liburing/defer", "draining does not trust the counter of dropped entries", (bench) => {
  let dropped = 0;
  const ring = withShim(
    (real) => ({
      setup(entries, params) {
        const fd = real.setup(entries, params);
        const answer = new DataView(real.view(params, io_uring_params.sizeof));
        dropped = answer.getUint32(io_uring_params.sq_off + io_sqring_offsets.dropped, true);
        return fd;
      },
    }),
    () => bench.ring({ memory: "mapped" }),
  );
  // A second mapping of the same memory, since the library gives nobody write access to its own.
  const address = shim().map(ring.fd, 4096, IORING_OFF_SQ_RING);
  assert.ok(address > 0, `mmap: ${address}`);
  const memory = shim().view(address, 4096);
  bench.defer(() => {
    structuredClone(memory, { transfer: [memory] });
    shim().unmap(address, 4096);
  });
  new DataView(memory).setUint32(dropped, 1000, true);
  assert.equal(ring.sqDropped, 1000);
  for (let i = 0; i < 10; i++) entry(ring).prepNop().setFlags(IOSQE_IO_DRAIN).setData64(i);
  assert.deepEqual(
    brief(bench.complete(ring, 10)),
    Array.from({ length: 10 }, (_, i) => [i, 0, 0]),
  );
});

// ------------------------------------------------------------------------------------------------- liburing/fixed-link

conformance(
  "liburing/fixed-link",
  "two linked reads into registered buffers complete in one submit and wait",
  (bench) => {
    const ring = bench.ring();
    const network = new Network(bench);
    const path = cstring("/dev/zero");
    const zero = network.own(network.must((sqe) => sqe.prepOpenat(AT_FDCWD, path, O_RDONLY, 0)));
    const buffers = [alloc(18), alloc(18)];
    ring.registerBuffers(buffers);
    for (const [i, buffer] of buffers.entries()) {
      buffer.bytes.fill(0xff);
      entry(ring)
        .prepReadFixed(zero, buffer, 18, 0, i)
        .setFlags(i === 0 ? IOSQE_IO_LINK : 0)
        .setData64(i);
    }
    submitAll(ring, 2, 2);
    assert.deepEqual(brief(bench.collect(ring, 2)), [
      [0, 18, 0],
      [1, 18, 0],
    ]);
    for (const { bytes } of buffers) assert.deepEqual([...bytes], Array(18).fill(0));
  },
  { rings: allRings },
);

// ------------------------------------------------------------------------------------------------------- liburing/link

for (const lengths of [[2], [3], [2, 3]]) {
  conformance(
    "liburing/link",
    `linked no-ops complete in order: ${lengths.length} chains of ${lengths.join(" and ")} in one submit`,
    (bench) => {
      const ring = bench.ring();
      let count = 0;
      for (const length of lengths) {
        for (let i = 1; i <= length; i++) {
          entry(ring)
            .prepNop()
            .setFlags(i < length ? IOSQE_IO_LINK : 0)
            .setData64(count++);
        }
      }
      submitAll(ring, count);
      const completions = brief(bench.collect(ring, count));
      let first = 0;
      for (const length of lengths) {
        // Chains run beside each other: only within one is there an order.
        const chain = completions.filter(([userData]) => userData >= first && userData < first + length);
        assert.deepEqual(
          chain,
          Array.from({ length }, (_, i) => [first + i, 0, 0]),
        );
        first += length;
      }
    },
    { rings: allRings },
  );
}

conformance(
  "liburing/link",
  "a failing head cancels what is linked to it; both completions are there after submit",
  (bench) => {
    const ring = bench.ring({ flags: IORING_SETUP_IOPOLL });
    entry(ring).prepRemoveBuffers(1, NO_GROUP).setFlags(IOSQE_IO_LINK).setData64(1);
    entry(ring).prepNop().setData64(2);
    submitAll(ring, 2);
    const first = ring.peekCqe();
    assert.deepEqual([first?.userData, first?.res], [1, -ENOENT]);
    ring.cqAdvance(1);
    const second = ring.peekCqe();
    assert.deepEqual([second?.userData, second?.res], [2, -ECANCELED]);
    ring.cqAdvance(1);
  },
  // A poller thread submits later than submit() returns.
  { rings: allRings.filter((type) => type !== "sqpoll") },
);

for (const timeouts of [1, 2]) {
  conformance(
    "liburing/link",
    `a hard link is not broken by failure: ${timeouts} timeouts and a no-op`,
    (bench) => {
      const ring = bench.ring();
      const time = encodeTimespec(10);
      const expected = [];
      for (let i = 1; i <= timeouts; i++) {
        entry(ring).prepTimeout(time, 0, 0).setFlags(IOSQE_IO_HARDLINK).setData64(i);
        expected.push([i, -ETIME, 0]);
      }
      entry(ring)
        .prepNop()
        .setData64(timeouts + 1);
      expected.push([timeouts + 1, 0, 0]);
      submitAll(ring, timeouts + 1);
      assert.deepEqual(brief(bench.collect(ring, timeouts + 1)), expected);
    },
    { rings: allRings },
  );
}

conformance(
  "liburing/link",
  "a wait for a chain ends although its head is on no file",
  (bench) => {
    const ring = bench.ring();
    entry(ring)
      .prepReadv(NO_FD, new Iovecs([alloc(16)]), 1, 0)
      .setFlags(IOSQE_IO_LINK)
      .setData64(1);
    entry(ring).prepNop().setData64(2);
    submitAll(ring, 2, 2);
    assert.deepEqual(brief(bench.collect(ring, 2)), [
      [1, -EBADF, 0],
      [2, -ECANCELED, 0],
    ]);
  },
  { rings: allRings },
);

// -------------------------------------------------------------------------------------------- liburing/multicqes_drain

/** A pipe that lives as long as the test. */
function pipeFor(bench: Bench): Pipe {
  const ends = pipe();
  bench.defer(() => ends[Symbol.dispose]());
  return ends;
}

/** Makes a pipe's reading end ready once more. */
function trigger(ring: Ring, bench: Bench, ends: Pipe, userData: number): Completion[] {
  entry(ring).prepWrite(ends.write, alloc(1), 1, -1).setData64(userData);
  return bench.complete(ring, 1);
}

conformance(
  "liburing/multicqes_drain",
  "a drained no-op completes after every completion of a multishot poll and the end of it",
  (bench) => {
    const ring = bench.ring();
    const writer = new Ring({ entries: 8 });
    bench.defer(() => writer.close());
    const [many, single] = [pipeFor(bench), pipeFor(bench)];
    const take = alloc(1);
    entry(ring).prepPollMultishot(many.read, POLLIN).setData64(1);
    entry(ring).prepPollAdd(single.read, POLLIN).setData64(2);
    ring.submit();
    submitted(ring);
    const completions: Completion[] = [];
    for (let i = 0; i < 2; i++) {
      trigger(writer, bench, many, 0);
      completions.push(...bench.collect(ring, 1));
      entry(writer).prepRead(many.read, take, 1, -1);
      bench.complete(writer, 1);
    }
    trigger(writer, bench, single, 0);
    completions.push(...bench.collect(ring, 1));
    entry(ring).prepPollRemove(1).setData64(3);
    entry(ring).prepNop().setFlags(IOSQE_IO_DRAIN).setData64(4);
    completions.push(...bench.complete(ring, 3));
    assert.equal(completions.length, 6);
    assert.deepEqual(brief(completions.slice(0, 3)), [
      [1, POLLIN, IORING_CQE_F_MORE],
      [1, POLLIN, IORING_CQE_F_MORE],
      [2, POLLIN, 0],
    ]);
    assert.deepEqual(sorted(completions.slice(3, 5)), [
      [1, -ECANCELED, 0],
      [3, 0, 0],
    ]);
    assert.deepEqual(brief(completions.slice(5)), [[4, 0, 0]]);
  },
  { rings: allRings },
);

/**
 * Submits polls, no-ops and cancellations at random, links and drains among them, and checks that what was drained
 * completed after all that was submitted before it. What drains waits for all before it and holds up all after it, so
 * every multishot poll before it is cancelled first, and none drains itself.
 */
function drainAtRandom(bench: Bench, seed: number): void {
  const COUNT = 50;
  const random = new Random(seed);
  const ring = bench.ring({ entries: 128 });
  const writer = new Ring({ entries: 64 });
  const drained: number[] = [];
  const pipes: Pipe[] = [];
  const multishots: number[] = [];
  /** Multishot polls that nothing has cancelled yet. */
  const running: number[] = [];
  let linked = false;
  let drainable = false;
  let [chainDrains, afterDrain] = [false, false];
  for (let i = 0; i < COUNT; i++) {
    const sqe = entry(ring).setData64(i);
    let flags = 0;
    // A drain within a chain holds the chain's head up as well, and what comes after the chain.
    if (!linked) [afterDrain, chainDrains] = [chainDrains, false];
    const kinds = linked ? ["nop"] : ["nop", "poll", "cancel", "cancel", afterDrain ? "nop" : "multishot"];
    const kind = random.pick(kinds);
    if (!linked) drainable = running.length === 0;
    const drains = i > 0 && drainable && kind !== "multishot" && random.below(3) === 0;
    if (kind === "multishot") drainable = false;
    if (kind === "cancel" && running.length > 0) {
      sqe.prepCancel64(running.shift() as number, 0);
    } else if (kind === "poll" || kind === "multishot") {
      const ends = pipe();
      pipes.push(ends);
      if (kind === "poll") {
        sqe.prepPollAdd(ends.read, POLLIN);
      } else {
        sqe.prepPollMultishot(ends.read, POLLIN);
        running.push(i);
        multishots.push(i);
      }
    } else {
      sqe.prepNop();
    }
    if (drains) {
      flags |= IOSQE_IO_DRAIN;
      chainDrains = true;
      drained.push(i);
    }
    linked = i < COUNT - 1 && random.below(4) === 0;
    if (linked) flags |= IOSQE_IO_LINK;
    sqe.setFlags(flags);
  }
  const left = running.map((userData, i) => {
    entry(ring)
      .prepCancel64(userData, 0)
      .setData64(COUNT + i);
    return COUNT + i;
  });
  submitAll(ring, COUNT + left.length);
  for (const ends of pipes) entry(writer).prepWrite(ends.write, alloc(1), 1, -1);
  bench.complete(writer, pipes.length);

  /** When each operation completed for good. */
  const ends = new Map<number, number>();
  const limit = performance.now() + PATIENCE_MS;
  for (let count = 0; ends.size < COUNT + left.length; ) {
    ring.drain((userData, _res, flags) => {
      count++;
      if ((flags & IORING_CQE_F_MORE) !== 0) return;
      assert.ok(!ends.has(userData), `seed ${seed}: operation ${userData} ended twice`);
      ends.set(userData, count);
    });
    assert.ok(performance.now() < limit, `seed ${seed}: ${ends.size} operations ended`);
    if (ends.size === COUNT + left.length || ring.submitAndWait(1, { timeout: 20 }) !== -ETIME) continue;
    // After a drain operations start in worker threads, where a cancellation finds them just starting: -EALREADY.
    for (const userData of multishots) {
      if (!ends.has(userData)) ring.registerSyncCancel(Cancel.userData(userData));
    }
  }
  for (const after of drained) {
    for (let before = 0; before < after; before++) {
      const [one, other] = [ends.get(before) as number, ends.get(after) as number];
      assert.ok(one < other, `seed ${seed}: ${after} was drained and completed before ${before}`);
    }
  }
  assert.deepEqual(writer.close({ deadline: PATIENCE_MS }), { leaked: 0 });
  for (const ends of pipes) ends[Symbol.dispose]();
}

conformance(
  "liburing/multicqes_drain",
  "what is drained completes after all that came before it, in random mixes of polls, no-ops and cancellations",
  (bench) => {
    for (let seed = 1; seed <= 20; seed++) drainAtRandom(bench, seed);
  },
  { rings: ["default", "defer", "sqpoll"] },
);

// ------------------------------------------------------------------------------------------- liburing/open-direct-link

for (const { order, flags } of [
  { order: "linked", flags: IOSQE_IO_LINK },
  { order: "drained", flags: IOSQE_IO_DRAIN },
]) {
  for (const async of [0, IOSQE_ASYNC]) {
    for (const skip of [0, IOSQE_CQE_SKIP_SUCCESS]) {
      // What is skipped can not be drained.
      if (skip !== 0 && order === "drained") continue;
      const what = `${order}${async === 0 ? "" : ", asynchronous"}`;
      conformance(
        "liburing/open-direct-link",
        skip === 0
          ? `a file is opened into a slot, read and closed in one submit: ${what}`
          : `with open and close skipped only the read completes: ${what}`,
        (bench) => {
          const ring = skip === 0 ? bench.ring() : skippingRing(bench);
          const content = counting(4096);
          const file = bench.path("file");
          writeFileSync(file, content.bytes.slice());
          ring.registerFilesSparse(1);
          const buffer = alloc(4096);
          const slot = new Direct(0);
          const link = order === "linked" ? flags : 0;
          const drain = order === "linked" ? 0 : flags;
          entry(ring)
            .prepOpenatDirect(AT_FDCWD, cstring(file), O_RDONLY, 0, slot)
            .addFlags(link | async | skip)
            .setData64(1);
          entry(ring)
            .prepRead(slot, buffer, 4096, 0)
            .addFlags(link | drain | async)
            .setData64(2);
          entry(ring)
            .prepCloseDirect(slot)
            .addFlags(drain | async | skip)
            .setData64(3);
          submitAll(ring, 3);
          const expected = [
            [1, 0, 0],
            [2, 4096, 0],
            [3, 0, 0],
          ].filter(([userData]) => skip === 0 || userData === 2);
          assert.deepEqual(brief(bench.collect(ring, expected.length)), expected);
          bench.quiet(ring, 20);
          assert.deepEqual(buffer.bytes, content.bytes);
          entry(ring).prepRead(slot, buffer, 1, 0).setData64(4);
          assert.deepEqual(brief(bench.complete(ring, 1)), [[4, -EBADF, 0]]);
        },
        { rings: allRings },
      );
    }
  }
}

// --------------------------------------------------------------------------------------------------- liburing/skip-cqe

const SKIP = IOSQE_CQE_SKIP_SUCCESS;
const LINK_SKIP = IOSQE_IO_LINK | SKIP;

/** A write from an address that is not mapped: it is the operation that fails, not its description. */
function failing(sqe: Sqe, file: number): Sqe {
  return sqe.prepWrite(file, 0, 1, -1);
}

for (const length of [1, 6]) {
  conformance(
    "liburing/skip-cqe",
    `a chain of ${length} with all but the last skipped has one completion`,
    (bench) => {
      const ring = skippingRing(bench);
      for (let i = 0; i < length; i++) {
        entry(ring)
          .prepNop()
          .setFlags(i < length - 1 ? LINK_SKIP : 0)
          .setData64(i);
      }
      submitAll(ring, length);
      assert.deepEqual(brief(bench.collect(ring, 1)), [[length - 1, 0, 0]]);
      bench.quiet(ring, 20);
    },
    { rings: allRings },
  );

  conformance(
    "liburing/skip-cqe",
    `a chain of ${length} with every member skipped and successful has none`,
    (bench) => {
      const ring = skippingRing(bench);
      for (let i = 0; i < length; i++) {
        entry(ring)
          .prepNop()
          .setFlags(i < length - 1 ? LINK_SKIP : SKIP)
          .setData64(i);
      }
      submitAll(ring, length);
      bench.quiet(ring, 20);
    },
    { rings: allRings },
  );
}

for (const at of [3, 5]) {
  conformance(
    "liburing/skip-cqe",
    `of a chain of 6 whose member ${at} fails only that one completes`,
    (bench) => {
      const ring = skippingRing(bench);
      const { write } = pipeFor(bench);
      for (let i = 0; i < 6; i++) {
        const sqe = entry(ring).setData64(i);
        if (i === at) failing(sqe, write);
        else sqe.prepNop();
        sqe.setFlags(i < 5 ? LINK_SKIP : 0);
      }
      submitAll(ring, 6);
      assert.deepEqual(brief(bench.collect(ring, 1)), [[at, -EFAULT, 0]]);
      bench.quiet(ring, 20);
    },
    { rings: allRings },
  );
}

for (const async of [false, true]) {
  for (const fails of [false, true]) {
    for (const timeoutAfter of [2, 5]) {
      for (const skipTimeout of [false, true]) {
        const what = [
          async ? "asynchronous" : "plain",
          fails ? "failing" : "successful",
          timeoutAfter === 5 ? "timeout at the end" : "timeout in the middle",
          skipTimeout ? "timeout skipped" : "timeout not skipped",
        ].join(", ");
        conformance(
          "liburing/skip-cqe",
          `a linked timeout in a skipping chain completes only if it may by itself: ${what}`,
          (bench) => {
            const ring = skippingRing(bench);
            const { write } = pipeFor(bench);
            const time = encodeTimespec(1000);
            for (let i = 0; i < 6; i++) {
              const sqe = entry(ring).setData64(i);
              if (fails && i === 3) failing(sqe, write);
              else sqe.prepNop();
              const last = i === 5;
              let flags = async ? IOSQE_ASYNC : 0;
              // The last request is the one that has no skip flag; a timeout that follows must be linked to it.
              if (!last) flags |= LINK_SKIP;
              else if (timeoutAfter === 5) flags |= IOSQE_IO_LINK;
              sqe.setFlags(flags);
              if (i === timeoutAfter) {
                entry(ring)
                  .prepLinkTimeout(time, 0)
                  .setFlags((last ? 0 : IOSQE_IO_LINK) | (skipTimeout ? SKIP : 0))
                  .setData64(100);
              }
            }
            submitAll(ring, 7);
            const expected = [fails ? [3, -EFAULT, 0] : [5, 0, 0]];
            // What is cancelled because of a failure that was to be skipped stays silent as a whole.
            const silent = skipTimeout || (fails && timeoutAfter > 3);
            if (!silent) expected.push([100, -ECANCELED, 0]);
            assert.deepEqual(sorted(bench.collect(ring, expected.length)), expected);
            bench.quiet(ring, 20);
          },
        );
      }
    }
  }
}

for (const skipRead of [false, true]) {
  for (const skipTimeout of [false, true]) {
    conformance(
      "liburing/skip-cqe",
      `a linked timeout that fires: the read ${skipRead ? "with" : "without"} skip always completes, the timeout ` +
        `${skipTimeout ? "with skip does not" : "without skip does too"}`,
      (bench) => {
        const ring = skippingRing(bench);
        const { read } = pipeFor(bench);
        entry(ring)
          .prepRead(read, alloc(1), 1, -1)
          .setFlags(IOSQE_IO_LINK | (skipRead ? SKIP : 0))
          .setData64(1);
        entry(ring)
          .prepLinkTimeout(encodeTimespec(1), 0)
          .setFlags(skipTimeout ? SKIP : 0)
          .setData64(2);
        submitAll(ring, 2);
        const [cancelled, timeout] = sorted(bench.collect(ring, skipTimeout ? 1 : 2));
        assert.equal(cancelled?.[0], 1);
        assert.ok([-ECANCELED, -EINTR].includes(cancelled?.[1] as number), `read: ${cancelled}`);
        if (!skipTimeout) assert.deepEqual(timeout, [2, -ETIME, 0]);
        bench.quiet(ring, 20);
      },
      { rings: allRings },
    );
  }
}

conformance(
  "liburing/skip-cqe",
  "a hard chain of 7 goes on past a failing member; a skipping one is silent unless it is the failing one",
  (bench) => {
    const ring = skippingRing(bench);
    const { write } = pipeFor(bench);
    for (const fails of [0, 3, 6]) {
      for (const skips of [0, 3, 6]) {
        const expected = [];
        for (let i = 0; i < 7; i++) {
          const sqe = entry(ring).setData64(i);
          if (i === fails) failing(sqe, write);
          else sqe.prepNop();
          sqe.setFlags((i < 6 ? IOSQE_IO_HARDLINK : 0) | (i === skips ? SKIP : 0));
          if (i === fails) expected.push([i, -EFAULT, 0]);
          else if (i !== skips) expected.push([i, 0, 0]);
        }
        submitAll(ring, 7);
        assert.deepEqual(brief(bench.collect(ring, expected.length)), expected, `${fails} ${skips}`);
        bench.quiet(ring, 10);
      }
    }
  },
  { rings: allRings },
);

// ------------------------------------------------------------------------------------------- liburing/submit-link-fail

/** Every place that an invalid request can take in a chain of one or two, before which there may be a drain's head. */
const places = [
  [1, 0],
  [2, 0],
  [2, 1],
] as const;

for (const link of ["IO_LINK", "IO_HARDLINK"] as const) {
  for (const drain of [false, true]) {
    for (const closed of [false, true]) {
      for (const [length, bad] of places) {
        const what = `request ${bad + 1} of ${length}, ${link}, ${closed ? "closed" : "open"}${drain ? ", drained" : ""}`;
        conformance(
          "liburing/submit-link-fail",
          `a chain with an invalid request is taken in full and fails as a whole: ${what}`,
          (bench) => {
            const ring = bench.ring();
            const ends = pipeFor(bench);
            const buffer = alloc(1);
            const linkFlag = link === "IO_LINK" ? IOSQE_IO_LINK : IOSQE_IO_HARDLINK;
            if (drain) entry(ring).prepRead(ends.read, buffer, 1, -1).setData64(100);
            for (let i = 0; i < length; i++) {
              const sqe = entry(ring).setData64(i);
              if (i === bad) sqe.prepRead(NO_FD, buffer, 1, -1).setIoprio(0xffff);
              else sqe.prepNop();
              const last = i === length - 1;
              sqe.setFlags((drain && i === 0 ? IOSQE_IO_DRAIN : 0) | (last && closed ? 0 : linkFlag));
            }
            const count = length + (drain ? 1 : 0);
            submitAll(ring, count);
            if (drain) {
              const writer = new Ring({ entries: 8 });
              bench.defer(() => writer.close());
              trigger(writer, bench, ends, 0);
            }
            const found = sorted(bench.collect(ring, count));
            for (let i = 0; i < length; i++) {
              assert.deepEqual(found[i], [i, i === bad ? -EINVAL : -ECANCELED, 0]);
            }
            if (drain) assert.deepEqual(found[length], [100, 1, 0]);
          },
          { rings: ["default", "defer", "sqpoll"] },
        );
      }
    }
  }
}
