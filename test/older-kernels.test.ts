import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  alloc,
  available,
  Cancel,
  Direct,
  encodeTimespec,
  query,
  Ring,
  type RingOptions,
  registerBpfFilterTask,
  registerSyncMsg,
  UringError,
  UringUnavailableError,
} from "uring";
import * as abi from "uring/abi";
import { runtime } from "#runtime";
import { pipe } from "./support/harness.ts";
import { isOlder, kernels } from "./support/kernels.ts";
import { onKernel } from "./support/older-kernel.ts";
import {
  bytes,
  type Completion,
  entry,
  exercise,
  exerciseNops,
  reap,
  ringFds,
  run,
  submitAll,
  text,
} from "./support/ring.ts";
import { withShim } from "./support/runtime.ts";

const EINVAL = 22;
const ETIME = 62;
const ECANCELED = 125;

const levels = ["5.11", "6.1", "6.6", "6.12"] as const;

/** Shows one thing on each level of kernel. */
function onEach(behaviour: string, body: (level: string) => void): void {
  for (const level of levels) it(`${behaviour} [${level}]`, () => onKernel(level, () => body(level)));
}

const constants = abi as unknown as Readonly<Record<string, number>>;

/** What a group of `kernels` has that a level does not. */
function missing(group: Readonly<Record<string, string>>, level: string): [name: string, first: string][] {
  return Object.entries(group).filter(([, first]) => isOlder(level, first));
}

/** An error that says what is missing and which kernel brought it. */
function explains(name: string, first: string, level: string): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof UringError, String(error));
    assert.match(error.message, new RegExp(`${name}\\b.*Linux ${first.replace(".", "\\.")}\\b`));
    if (error.code === "EINVAL") assert.ok(error.message.includes(`${level}.0-test`), error.message);
    return true;
  };
}

describe("a ring on an older kernel", () => {
  onEach("does real work with the options that it has by default", (level) => {
    for (const options of [{}, { entries: 16 }, { entries: 4096 }]) {
      using ring = new Ring(options);
      const shared = !isOlder(level, "6.10") || (level === "6.6" && options.entries === 16);
      assert.equal(ring.memory, shared ? "owned" : "mapped");
      assert.equal((ring.params.flags & abi.IORING_SETUP_NO_MMAP) !== 0, shared);
      assert.equal((ring.params.flags & abi.IORING_SETUP_NO_SQARRAY) !== 0, !isOlder(level, "6.6"));
      exercise(ring);
    }
  });

  onEach("has the features of that kernel", (level) => {
    using ring = new Ring({ entries: 4 });
    for (const [name, first] of Object.entries(kernels.flags.features ?? {})) {
      assert.equal((ring.features & (constants[name] as number)) !== 0, !isOlder(level, first), name);
    }
    const answer = available();
    assert.ok(answer.ok);
    assert.equal(answer.features, ring.features);
  });

  onEach("enters by an index where there is a table of rings, else by the fd", (level) => {
    const flags = new Set<number>();
    withShim(
      (shim) => ({
        enter(fd, toSubmit, minComplete, enterFlags, arg, argSize) {
          flags.add(enterFlags & abi.IORING_ENTER_REGISTERED_RING);
          return shim.enter(fd, toSubmit, minComplete, enterFlags, arg, argSize);
        },
      }),
      () => {
        using ring = new Ring({ entries: 4 });
        exerciseNops(ring);
      },
    );
    assert.deepEqual([...flags], [isOlder(level, "5.18") ? 0 : abi.IORING_ENTER_REGISTERED_RING]);
  });

  onEach("works with every flag that this kernel has", (level) => {
    const wanted: RingOptions[] = [
      { flags: abi.IORING_SETUP_SQPOLL },
      { flags: abi.IORING_SETUP_SUBMIT_ALL },
      { flags: abi.IORING_SETUP_COOP_TASKRUN | abi.IORING_SETUP_TASKRUN_FLAG },
      { flags: abi.IORING_SETUP_SINGLE_ISSUER },
      { flags: abi.IORING_SETUP_SINGLE_ISSUER | abi.IORING_SETUP_DEFER_TASKRUN },
      { flags: abi.IORING_SETUP_SQE128 | abi.IORING_SETUP_CQE32 },
      { flags: abi.IORING_SETUP_CLAMP, cqEntries: 64 },
      { fd: false },
    ];
    for (const options of wanted) {
      const flags = (options.flags ?? 0) | (options.fd === false ? abi.IORING_SETUP_REGISTERED_FD_ONLY : 0);
      const setup = missing(kernels.flags.setup ?? {}, level);
      const unknown = setup.find(([name]) => ((constants[name] as number) & flags) !== 0);
      if (unknown !== undefined) {
        assert.throws(() => new Ring({ entries: 8, ...options }), explains(...unknown, level));
        continue;
      }
      using ring = new Ring({ entries: 8, ...options });
      exercise(ring);
    }
  });

  onEach("that asks for what this kernel does not have is told which kernel has it", (level) => {
    const needs: Record<string, number> = {
      IORING_SETUP_DEFER_TASKRUN: abi.IORING_SETUP_SINGLE_ISSUER,
      IORING_SETUP_TASKRUN_FLAG: abi.IORING_SETUP_COOP_TASKRUN,
      IORING_SETUP_HYBRID_IOPOLL: abi.IORING_SETUP_IOPOLL,
    };
    // Those that no layout of this library's goes with, and the one that it asks for by itself.
    const others = ["IORING_SETUP_SQE_MIXED", "IORING_SETUP_SQ_REWIND", "IORING_SETUP_NO_SQARRAY"];
    for (const [name, first] of missing(kernels.flags.setup ?? {}, level)) {
      if (others.includes(name)) continue;
      const flags = ((constants[name] as number) | (needs[name] ?? 0)) >>> 0;
      assert.throws(() => new Ring({ flags }), explains(name, first, level));
    }
    const before = ringFds();
    assert.equal(ringFds(), before);
  });

  onEach("in a thread of its own falls back to an fd", (level) => {
    const thread = runtime as { mainThread: boolean };
    thread.mainThread = false;
    try {
      using ring = new Ring({ entries: 8 });
      assert.equal(ring.fd >= 0, isOlder(level, "6.5"));
      exercise(ring);
    } finally {
      thread.mainThread = true;
    }
  });

  onEach("that starts disabled can be handed over and enabled", () => {
    const first = new Ring({ entries: 8, flags: abi.IORING_SETUP_R_DISABLED });
    using ring = Ring.adopt(first.detach());
    ring.enableRings();
    exercise(ring);
  });
});

describe("waiting on an older kernel", () => {
  onEach("ends when the time is up, and with the completion that comes", () => {
    using ring = new Ring({ entries: 8 });
    const started = performance.now();
    assert.equal(ring.submitAndWait(1, { timeout: 20 }), -ETIME);
    assert.equal(ring.waitCqe({ timeout: 1.5 }), null);
    assert.ok(performance.now() - started >= 21);
    const timespec = alloc(16);
    encodeTimespec(5, timespec.bytes);
    entry(ring).prepTimeout(timespec, 0, 0).setData64(7);
    assert.deepEqual(reap(ring, 1), [[7, -ETIME, 0]]);
  });

  onEach("takes a signal mask", () => {
    using ring = new Ring({ entries: 8 });
    assert.equal(ring.submitAndWait(1, { timeout: 1, sigmask: 0xffffn }), -ETIME);
  });

  onEach("until a point in time, or with a minimum, is explained where the kernel has it not", (level) => {
    using ring = new Ring({ entries: 8 });
    const absolute = () => ring.submitAndWait(1, { timeout: 1, absolute: true });
    const gathering = () => ring.submitAndWait(1, { timeout: 20, minWait: 1 });
    if (isOlder(level, "6.12")) {
      assert.throws(absolute, explains("absolute", "6.12", level));
      assert.throws(gathering, explains("minWait", "6.12", level));
      assert.throws(() => ring.waitCqe({ timeout: 20, minWait: 1 }), explains("minWait", "6.12", level));
      exerciseNops(ring);
    } else {
      assert.equal(absolute(), -ETIME);
      assert.equal(gathering(), -ETIME);
    }
  });
});

describe("completions on an older kernel", () => {
  onEach("come out by every way of looking", () => {
    using ring = new Ring({ entries: 8 });
    const fill = () => {
      for (let i = 0; i < 4; i++) entry(ring).prepNop().setData64(i);
      assert.equal(ring.submit(), 4);
    };
    const seen: number[] = [];
    fill();
    assert.equal(
      ring.drain((userData) => seen.push(userData)),
      4,
    );
    fill();
    const out = new Int32Array(16);
    assert.equal(ring.copyCqes(out), 4);
    for (let i = 0; i < 16; i += 4) seen.push(out[i] as number);
    fill();
    ring.cqAdvance(ring.forEachCqe(({ userData }) => seen.push(userData)));
    fill();
    for (let cqe = ring.peekCqe(); cqe !== null; cqe = ring.peekCqe()) {
      seen.push(cqe.userData);
      ring.cqAdvance(1);
    }
    assert.deepEqual(
      seen,
      Array.from({ length: 16 }, (_, i) => i % 4),
    );
  });

  onEach("of more than fit into the queue are not lost", () => {
    using ring = new Ring({ entries: 8, cqEntries: 8 });
    for (let round = 0; round < 8; round++) {
      for (let i = 0; i < 8; i++)
        entry(ring)
          .prepNop()
          .setData64(8 * round + i);
      submitAll(ring);
    }
    const seen = reap(ring, 64).map(([userData]) => userData);
    assert.deepEqual(
      seen,
      Array.from({ length: 64 }, (_, i) => i),
    );
  });
});

describe("operations that an older kernel does not have", () => {
  onEach("complete with EINVAL, and the probe tells of them", (level) => {
    using ring = new Ring({ entries: 8 });
    const probe = ring.probe();
    const newer = new Set(missing(kernels.operations, level).map(([name]) => name));
    for (const name of Object.keys(kernels.operations)) {
      const opcode = constants[name] as number;
      if (opcode <= abi.IORING_OP_PIPE) assert.equal(probe.supports(opcode), !newer.has(name), name);
    }
    assert.equal(probe.lastOp + 1, Object.keys(kernels.operations).length - newer.size);
    for (const name of newer) {
      assert.equal(
        run(ring, (sqe) => sqe.prepRw(constants[name] as number, -1, 0, 0, 0)),
        -EINVAL,
        name,
      );
    }
  });

  onEach("hold up what was submitted with them until the next submission, or not at all", (level) => {
    const flags = isOlder(level, "5.18") ? 0 : abi.IORING_SETUP_SUBMIT_ALL;
    using ring = new Ring({ entries: 8, flags });
    entry(ring).prepNop().setData64(1);
    entry(ring).prepNop128().setData64(2);
    entry(ring).prepNop().setData64(3);
    assert.deepEqual(reap(ring, 3), [
      [1, 0, 0],
      [2, -EINVAL, 0],
      [3, 0, 0],
    ]);
    exerciseNops(ring);
  });

  onEach("break the chain that they are in", () => {
    using ring = new Ring({ entries: 8 });
    entry(ring).prepNop().addFlags(abi.IOSQE_IO_LINK).setData64(1);
    entry(ring).prepNop128().addFlags(abi.IOSQE_IO_LINK).setData64(2);
    entry(ring).prepNop().setData64(3);
    const completions = new Map(reap(ring, 3).map(([userData, res]) => [userData, res]));
    assert.equal(completions.get(2), -EINVAL);
    assert.equal(completions.get(1), -ECANCELED);
    assert.equal(completions.get(3), -ECANCELED);
  });

  onEach("are those with flags that are newer, too", (level) => {
    using ring = new Ring({ entries: 8 });
    using ends = pipe();
    const res = run(ring, (sqe) => sqe.prepCancelFd(ends.read, abi.IORING_ASYNC_CANCEL_ALL));
    assert.equal(res, isOlder(level, "5.19") ? -EINVAL : 0);
    const skipping = run(ring, (sqe) => sqe.prepClose(-1).addFlags(abi.IOSQE_CQE_SKIP_SUCCESS));
    assert.equal(skipping, isOlder(level, "5.17") ? -EINVAL : -9);
  });
});

describe("closing on an older kernel", () => {
  onEach("is at once where nothing is under way", () => {
    for (const memory of [undefined, "mapped"] as const) {
      const before = ringFds();
      const ring = new Ring({ entries: 8, ...(memory === undefined ? {} : { memory }) });
      exerciseNops(ring);
      const started = performance.now();
      assert.deepEqual(ring.close(), { leaked: 0 });
      assert.ok(performance.now() - started < 900);
      assert.equal(ringFds(), before);
    }
  });

  onEach("ends what waits; without a way to cancel everything, says what it leaves", (level) => {
    const ring = new Ring({ entries: 8 });
    using ends = pipe();
    const memory = alloc(64);
    for (let i = 0; i < 3; i++) entry(ring).prepRead(ends.read, memory, 64, -1).setData64(i);
    submitAll(ring);
    const started = performance.now();
    const { leaked } = ring.close({ deadline: 100 });
    if (isOlder(level, "5.19")) {
      assert.ok(leaked >= 1);
      assert.ok(performance.now() - started >= 99);
    } else {
      assert.equal(leaked, 0);
    }
  });

  onEach("waits for what ends by itself", () => {
    const ring = new Ring({ entries: 8 });
    const timespec = alloc(16);
    encodeTimespec(30, timespec.bytes);
    entry(ring).prepTimeout(timespec, 0, 0);
    submitAll(ring);
    assert.deepEqual(ring.close(), { leaked: 0 });
  });

  onEach("discards what was never submitted", () => {
    const ring = new Ring({ entries: 4 });
    using ends = pipe();
    for (let i = 0; i < 4; i++) entry(ring).prepWrite(ends.write, bytes("never"), 5, -1);
    assert.deepEqual(ring.close(), { leaked: 0 });
    using other = new Ring({ entries: 4 });
    entry(other).prepRead(ends.read, alloc(8), 8, -1);
    submitAll(other);
    assert.equal(other.submitAndWait(1, { timeout: 20 }), -ETIME);
    // For the kernels on which nothing can cancel it.
    entry(other).prepWrite(ends.write, bytes("at last"), 7, -1);
    reap(other, 2);
  });
});

describe("buffers on an older kernel", () => {
  onEach("are picked from groups that operations provide", () => {
    using ring = new Ring({ entries: 8 });
    using ends = pipe();
    const memory = alloc(128);
    assert.equal(
      run(ring, (sqe) => sqe.prepProvideBuffers(memory, 64, 2, 5, 0)),
      0,
    );
    run(ring, (sqe) => sqe.prepWrite(ends.write, bytes("hello"), 5, -1));
    entry(ring).prepRead(ends.read, 0, 64, -1).setBufferGroup(5);
    const [[, res, flags]] = reap(ring, 1) as [Completion];
    assert.equal(res, 5);
    const id = flags >>> abi.IORING_CQE_BUFFER_SHIFT;
    assert.equal(text(memory.bytes.subarray(64 * id), 5), "hello");
  });

  onEach("come from rings of them where the kernel has those", (level) => {
    using ring = new Ring({ entries: 8 });
    const options = { group: 1, entries: 4, bufferSize: 64 };
    if (isOlder(level, "5.19")) {
      const explained = explains("IORING_REGISTER_PBUF_RING", "5.19", level);
      assert.throws(() => ring.setupBufRing(options), explained);
      assert.throws(
        () => ring.registerBufRing({ address: alloc(4096).address, entries: 4, group: 1 }),
        explained,
      );
      return;
    }
    const pool = ring.setupBufRing(options);
    using ends = pipe();
    run(ring, (sqe) => sqe.prepWrite(ends.write, bytes("ping"), 4, -1));
    entry(ring).prepRead(ends.read, 0, 64, -1).setBufferGroup(1);
    const [[, res, flags]] = reap(ring, 1) as [Completion];
    assert.equal(text(pool.bytes(flags, res), 4), "ping");
    pool.recycle(flags >>> abi.IORING_CQE_BUFFER_SHIFT);
    if (isOlder(level, "6.8")) {
      assert.throws(() => pool.available(), explains("IORING_REGISTER_PBUF_STATUS", "6.8", level));
    } else {
      assert.equal(pool.available(), 4);
    }
    ring.freeBufRing(pool);
  });

  onEach("of the kinds that came later are explained", (level) => {
    if (isOlder(level, "5.19")) return;
    using ring = new Ring({ entries: 8 });
    const kinds = { IOU_PBUF_RING_MMAP: abi.IOU_PBUF_RING_MMAP, IOU_PBUF_RING_INC: abi.IOU_PBUF_RING_INC };
    for (const [name, flags] of Object.entries(kinds)) {
      const setup = () => ring.setupBufRing({ group: 2, entries: 4, bufferSize: 64, flags });
      const first = kernels.flags.bufferRing?.[name] as string;
      if (isOlder(level, first))
        assert.throws(setup, new RegExp(`EINVAL.* ${name} [^,]*with (Linux )?${first}`));
      else ring.freeBufRing(setup());
    }
  });
});

describe("registrations that an older kernel does not have", () => {
  onEach("say which kernel has them", (level) => {
    using ring = new Ring({ entries: 8 });
    using disabled = new Ring({ entries: 8, flags: abi.IORING_SETUP_R_DISABLED });
    using ends = pipe();
    const calls: Record<string, () => unknown> = {
      IORING_REGISTER_FILES2: () => ring.registerFilesTags([ends.read], [1]),
      IORING_REGISTER_FILES_UPDATE2: () => ring.registerFilesUpdateTag(0, [ends.read], [1]),
      IORING_REGISTER_BUFFERS2: () => ring.registerBuffersTags([alloc(64)], [1]),
      IORING_REGISTER_BUFFERS_UPDATE: () => ring.registerBuffersUpdateTag(0, [alloc(64)], [1]),
      IORING_REGISTER_IOWQ_AFF: () => ring.registerIowqAff([0]),
      IORING_UNREGISTER_IOWQ_AFF: () => ring.unregisterIowqAff(),
      IORING_REGISTER_IOWQ_MAX_WORKERS: () => ring.registerIowqMaxWorkers(),
      IORING_REGISTER_RING_FDS: () => ring.registerRingFd(),
      IORING_REGISTER_SYNC_CANCEL: () => ring.registerSyncCancel(Cancel.userData(1)),
      IORING_REGISTER_FILE_ALLOC_RANGE: () => ring.registerFileAllocRange(0, 1),
      IORING_REGISTER_PBUF_STATUS: () => ring.bufRingHead(1),
      IORING_REGISTER_NAPI: () => ring.registerNapi({ busyPollTimeout: 1, preferBusyPoll: false }),
      IORING_UNREGISTER_NAPI: () => ring.unregisterNapi(),
      IORING_REGISTER_CLOCK: () => ring.registerClock(abi.CLOCK_BOOTTIME),
      IORING_REGISTER_CLONE_BUFFERS: () => ring.cloneBuffers(disabled),
      IORING_REGISTER_SEND_MSG_RING: () => registerSyncMsg(ring.fd, 1, 2),
      IORING_REGISTER_RESIZE_RINGS: () => ring.resizeRings({ entries: 16 }),
      IORING_REGISTER_MEM_REGION: () => disabled.registerWaitRegion(1),
      IORING_REGISTER_ZCRX_IFQ: () =>
        ring.registerIfq({ ifIndex: 1, rxQueue: 0, entries: 8, area: alloc(65536) }),
      IORING_REGISTER_QUERY: () => query(),
      IORING_REGISTER_ZCRX_CTRL: () => ring.registerZcrxCtrl(1, abi.ZCRX_CTRL_FLUSH_RQ),
      IORING_REGISTER_BPF_FILTER: () => registerBpfFilterTask({ opcode: 0, program: [{ code: 6 }] }),
    };
    const without = [
      "IORING_UNREGISTER_RING_FDS",
      "IORING_REGISTER_PBUF_RING",
      "IORING_UNREGISTER_PBUF_RING",
    ];
    for (const [name, first] of missing(kernels.registrations, level)) {
      if (without.includes(name)) continue;
      const call = calls[name];
      assert.ok(call, name);
      assert.throws(call, explains(name, first, level), name);
    }
    exerciseNops(ring);
  });

  it("or of which it does not know a flag, do so as well", () => {
    onKernel("5.15", () => {
      using ring = new Ring({ entries: 8 });
      assert.throws(() => ring.registerFilesSparse(4), /EINVAL.*empty slots came with Linux 5\.19/);
      assert.throws(() => ring.registerBuffersSparse(4), /EINVAL.*empty slots came with Linux 5\.19/);
      ring.registerFilesTags([-1], [0]);
    });
    onKernel("6.12", () => {
      using ring = new Ring({ entries: 8 });
      using source = new Ring({ entries: 8 });
      source.registerBuffersSparse(4);
      assert.throws(() => ring.cloneBuffers(source, abi.IORING_REGISTER_DST_REPLACE), /EINVAL.*6\.13/);
      ring.cloneBuffers(source);
    });
  });

  onEach("leave those to work that it has", (level) => {
    using ring = new Ring({ entries: 8 });
    using ends = pipe();
    ring.registerFiles([ends.read, ends.write]);
    const memory = bytes("fixed");
    ring.registerBuffers([memory, alloc(64)]);
    run(ring, (sqe) => sqe.prepWriteFixed(new Direct(1), memory, 5, -1, 0));
    const got = alloc(64);
    assert.equal(
      run(ring, (sqe) => sqe.prepRead(new Direct(0), got, 64, -1)),
      5,
    );
    assert.equal(text(got, 5), "fixed");
    assert.equal(ring.registerFilesUpdate(0, [-1]), 1);
    ring.unregisterFiles();
    ring.unregisterBuffers();
    ring.unregisterPersonality(ring.registerPersonality());
    if (!isOlder(level, "6.0")) assert.equal(ring.registerSyncCancel(Cancel.userData(1)), -2);
  });

  onEach("and features that it does not have are explained", (level) => {
    using ring = new Ring({ entries: 8 });
    if (isOlder(level, "6.3")) {
      assert.throws(() => ring.closeRingFd(), /IORING_FEAT_REG_REG_RING came with Linux 6\.3/);
    } else {
      ring.closeRingFd();
      ring.registerFilesSparse(4);
    }
    assert.throws(() => ring.setIowait(false), /IORING_FEAT_NO_IOWAIT came with Linux 6\.15/);
    if (isOlder(level, "6.0")) return;
    for (const [criterion, match] of [
      ["IORING_ASYNC_CANCEL_OP", Cancel.op(abi.IORING_OP_READ)],
      ["IORING_ASYNC_CANCEL_USERDATA", Cancel.fd(0).userData(1)],
    ] as const) {
      const cancel = () => ring.registerSyncCancel(match, { timeout: 10 });
      if (isOlder(level, "6.6")) assert.throws(cancel, explains(criterion, "6.6", level));
      else assert.equal(cancel(), -2);
    }
    exerciseNops(ring);
  });
});

describe("a kernel below the floor", () => {
  it("is said to be too old, and nothing stays behind", () => {
    onKernel("5.10", () => {
      const before = ringFds();
      const tooOld = (error: unknown) =>
        error instanceof UringUnavailableError &&
        error.reason === "kernel" &&
        /5\.10\.0-test/.test(error.message);
      assert.throws(() => new Ring(), tooOld);
      assert.throws(() => new Ring({ memory: "mapped", entries: 2 }), tooOld);
      const answer = available();
      assert.ok(!answer.ok);
      assert.equal(answer.reason, "kernel");
      assert.equal(ringFds(), before);
    });
  });
});
