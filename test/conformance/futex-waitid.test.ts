import assert from "node:assert/strict";
import { constants } from "node:os";
import { alloc, decodeSiginfo, encodeTimespec, FutexWaitv, type Pinned, type Ring } from "uring";
import {
  FUTEX_BITSET_MATCH_ANY,
  FUTEX2_SIZE_U32,
  IOSQE_ASYNC,
  IOSQE_IO_LINK,
  P_ALL,
  P_PID,
  siginfo_t,
  WEXITED,
} from "uring/abi";
import { child, mustCall, syscall, syscallInThread } from "../support/system.ts";
import { brief, entry, sorted } from "./completions.ts";
import { int32s } from "./descriptors.ts";
import { PATIENCE_MS } from "./durations.ts";
import { allRings, type Bench, conformance } from "./support.ts";

const { EALREADY, ECANCELED, ECHILD, EFAULT, ENOENT } = constants.errno;
const CLD_EXITED = 1;

const everywhere = { rings: allRings };

/** Waits for a child by the system call, and takes it off the process's hands; -1 is any. */
function reap(pid: number): number {
  return syscall("wait4", pid, 0, 0, 0);
}

/** Milliseconds that a child lives for which nobody waits to the end. */
const LONG_LIFE = 20_000;

/** Ends such a child. */
function end(pid: number): void {
  const SIGKILL = 9;
  mustCall("kill", pid, SIGKILL);
  assert.equal(reap(pid), pid);
}

/** Fails unless the child has been waited for already. */
function assertReaped(pid: number): void {
  assert.equal(reap(pid), -ECHILD);
}

function assertExited(info: Pinned, pid: number, code: number): void {
  const found = decodeSiginfo(info);
  assert.deepEqual([found.pid, found.code, found.status], [pid, CLD_EXITED, code]);
}

// ------------------------------------------------------------------------------------------------ liburing/waitid

conformance(
  "liburing/waitid",
  "a child that exits later is waited for",
  (bench) => {
    const ring = bench.ring();
    const info = alloc(siginfo_t.sizeof);
    const pid = child({ delayMs: 50, code: 7 });
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepWaitid(P_PID, pid, info, WEXITED, 0)),
      0,
    );
    assertExited(info, pid, 7);
    assertReaped(pid);
  },
  everywhere,
);

conformance(
  "liburing/waitid",
  "a child that is dead already is waited for",
  (bench) => {
    const ring = bench.ring();
    const info = alloc(siginfo_t.sizeof);
    const pid = child({ code: 3 });
    const WNOWAIT = 0x0100_0000;
    const probe = alloc(siginfo_t.sizeof);
    mustCall("waitid", P_PID, pid, probe.address, WEXITED | WNOWAIT, 0);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepWaitid(P_PID, pid, info, WEXITED, 0)),
      0,
    );
    assertExited(info, pid, 3);
    assertReaped(pid);
  },
  everywhere,
);

conformance(
  "liburing/waitid",
  "waiting for one child passes over the exit of another",
  (bench) => {
    const ring = bench.ring();
    const info = alloc(siginfo_t.sizeof);
    const early = child({ delayMs: 1, code: 1 });
    const late = child({ delayMs: 300, code: 2 });
    entry(ring).prepWaitid(P_PID, late, info, WEXITED, 0).setData64(1);
    ring.submit();
    assert.equal(reap(early), early);
    bench.quiet(ring, 5);
    assert.deepEqual(brief(bench.collect(ring, 1)), [[1, 0, 0]]);
    assertExited(info, late, 2);
    assertReaped(late);
  },
  everywhere,
);

conformance(
  "liburing/waitid",
  "a linked timeout ends the wait for a child that lives on",
  (bench) => {
    const ring = bench.ring();
    const pid = child({ delayMs: LONG_LIFE });
    entry(ring)
      .prepWaitid(P_PID, pid, alloc(siginfo_t.sizeof), WEXITED, 0)
      .setFlags(IOSQE_IO_LINK)
      .setData64(1);
    entry(ring).prepLinkTimeout(encodeTimespec(100), 0).setData64(2);
    // The timeout tells how many operations it has cancelled, and not -ETIME as elsewhere.
    assert.deepEqual(sorted(bench.complete(ring, 2)), [
      [1, -ECANCELED, 0],
      [2, 1, 0],
    ]);
    end(pid);
  },
  everywhere,
);

conformance(
  "liburing/waitid",
  "a wait that is cancelled ends, and the cancellation counts it",
  (bench) => {
    const ring = bench.ring();
    const pid = child({ delayMs: LONG_LIFE });
    entry(ring).prepWaitid(P_PID, pid, alloc(siginfo_t.sizeof), WEXITED, 0).setData64(1);
    ring.submit();
    entry(ring).prepCancel64(1, 0).setData64(2);
    assert.deepEqual(sorted(bench.complete(ring, 2)), [
      [1, -ECANCELED, 0],
      [2, 1, 0],
    ]);
    end(pid);
  },
  everywhere,
);

for (const [how, flags] of [
  ["", 0],
  [" of a worker", IOSQE_ASYNC],
] as const) {
  conformance(
    "liburing/waitid",
    `a wait${how} and its cancellation, racing with exits, complete once each`,
    (bench) => {
      const ring = bench.ring();
      const info = alloc(siginfo_t.sizeof);
      for (let round = 0; round < 1000; round++) raceOnce(bench, ring, info, flags, round);
    },
    // A thousand rounds say no more of a ring for having another layout.
    { rings: ["default", "defer", "sqpoll"] },
  );
}

function raceOnce(bench: Bench, ring: Ring, info: Pinned, flags: number, round: number): void {
  const pids = Array.from({ length: 10 }, (_, i) => child({ delayMs: (i * (round % 7)) / 100 }));
  entry(ring).prepWaitid(P_ALL, -1, info, WEXITED, 0).setFlags(flags).setData64(1);
  ring.submit();
  entry(ring).prepCancel64(1, 0).setData64(2);
  const [wait, cancel] = sorted(bench.complete(ring, 2));
  assert.ok(wait?.[0] === 1 && [0, -ECANCELED].includes(wait[1]), `wait: ${wait}`);
  assert.ok(
    cancel?.[0] === 2 && [0, 1, -ENOENT, -EALREADY].includes(cancel[1]),
    `cancellation: ${cancel} of ${wait}`,
  );
  const left = new Set(pids);
  if (wait[1] === 0) assert.ok(left.delete(decodeSiginfo(info).pid));
  for (const pid of left) assert.equal(reap(pid), pid);
  assert.equal(reap(-1), -ECHILD);
}

conformance(
  "liburing/waitid",
  "a place for the result that is not the process's memory is refused",
  (bench) => {
    const ring = bench.ring();
    const pid = child();
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepWaitid(P_PID, pid, 0x1234, WEXITED, 0)),
      -EFAULT,
    );
    // The child may have been waited for all the same.
    const again = reap(pid);
    assert.ok(again === pid || again === -ECHILD, `wait4: ${again}`);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/futex/test_futex_wait

const FUTEX_WAIT = 0;
const FUTEX_WAKE = 1;
const VALUE = 11;

function futex(): Pinned {
  const memory = alloc(4);
  int32s(memory)[0] = VALUE;
  return memory;
}

conformance(
  "tokio/futex/test_futex_wait",
  "a wait lasts until futex(2) wakes it",
  (bench) => {
    const ring = bench.ring();
    const word = futex();
    const userData = 0xfedc_ba98_7654_3210n;
    entry(ring).prepFutexWait(word, VALUE, FUTEX_BITSET_MATCH_ANY, FUTEX2_SIZE_U32, 0).setData64(userData);
    ring.submit();
    bench.quiet(ring, 100);
    assert.equal(syscall("futex", word.address, FUTEX_WAKE, 1), 1);
    const cqe = ring.waitCqe({ timeout: PATIENCE_MS });
    assert.deepEqual([cqe?.userData64, cqe?.res, cqe?.flags], [userData, 0, 0]);
    ring.cqAdvance(1);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/futex/test_futex_waitv

conformance(
  "tokio/futex/test_futex_waitv",
  "a wait for any of five tells which was woken",
  (bench) => {
    const ring = bench.ring();
    const words = Array.from({ length: 5 }, futex);
    const all = new FutexWaitv(words.map((word) => ({ futex: word, value: VALUE })));
    entry(ring).prepFutexWaitv(all, 5, 0).setData64(1);
    ring.submit();
    bench.quiet(ring, 50);
    assert.equal(syscall("futex", (words[3] as Pinned).address, FUTEX_WAKE, 1), 1);
    assert.deepEqual(brief(bench.collect(ring, 1)), [[1, 3, 0]]);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/futex/test_futex_wake

conformance(
  "tokio/futex/test_futex_wake",
  "a thread in futex(2) is woken, and counted",
  (bench) => {
    const ring = bench.ring();
    const word = futex();
    const thread = syscallInThread("futex", word.address, FUTEX_WAIT, VALUE);
    const end = performance.now() + PATIENCE_MS;
    let woken = 0;
    // Nobody says when the thread sleeps.
    while (woken === 0 && performance.now() < end) {
      woken = bench.run(ring, (sqe) =>
        sqe.prepFutexWake(word, 1, FUTEX_BITSET_MATCH_ANY, FUTEX2_SIZE_U32, 0),
      );
    }
    assert.equal(woken, 1);
    assert.equal(thread.join(), 0);
  },
  everywhere,
);
