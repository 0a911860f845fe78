import assert from "node:assert/strict";
import { closeSync, openSync, readdirSync, readFileSync } from "node:fs";
import { cpus } from "node:os";
import { describe, it } from "node:test";
import {
  available,
  cstring,
  Ring,
  type RingMemoryKind,
  type RingOptions,
  UringError,
  UringUnavailableError,
} from "uring";
import * as abi from "uring/abi";
import { freeHugePages, needsHugePages, withHugePages } from "./support/huge-pages.ts";
import {
  entry,
  exercise,
  exerciseNops,
  LONG,
  nop,
  openFds,
  reap,
  ringFds,
  ringMappings,
  run,
  Scratch,
} from "./support/ring.ts";
import {
  kernelTakes,
  onEnter,
  release,
  type Shim,
  setupFlags,
  without,
  withShim,
} from "./support/runtime.ts";

const EPERM = 1;
const ENOENT = 2;
const EAGAIN = 11;
const ENOMEM = 12;
const EACCES = 13;
const EBUSY = 16;
const EINVAL = 22;
const ENFILE = 23;
const EMFILE = 24;
const ENOSYS = 38;
const EOPNOTSUPP = 95;

const DEFER = abi.IORING_SETUP_SINGLE_ISSUER | abi.IORING_SETUP_DEFER_TASKRUN;

function needs(flags: number): { skip?: string } {
  return kernelTakes(flags) ? {} : { skip: `this kernel refuses the set-up flags 0x${flags.toString(16)}` };
}

/** Set-ups by what they are called; the flags are what the ring must then run with, and `nops` what can do nothing else. */
const geometries: Record<string, { options: RingOptions; needs?: number; nops?: true }> = {
  "without options": { options: {} },
  "of one entry": { options: { entries: 1 } },
  "of 4096 entries": { options: { entries: 4096 } },
  "with IORING_SETUP_SQE128": { options: { flags: abi.IORING_SETUP_SQE128 }, needs: abi.IORING_SETUP_SQE128 },
  "with IORING_SETUP_CQE32": { options: { flags: abi.IORING_SETUP_CQE32 }, needs: abi.IORING_SETUP_CQE32 },
  "with IORING_SETUP_SQE128 and IORING_SETUP_CQE32": {
    options: { flags: abi.IORING_SETUP_SQE128 | abi.IORING_SETUP_CQE32 },
    needs: abi.IORING_SETUP_SQE128 | abi.IORING_SETUP_CQE32,
  },
  "with IORING_SETUP_CQE_MIXED": {
    options: { flags: abi.IORING_SETUP_CQE_MIXED },
    needs: abi.IORING_SETUP_CQE_MIXED,
  },
  "with IORING_SETUP_SUBMIT_ALL": {
    options: { flags: abi.IORING_SETUP_SUBMIT_ALL },
    needs: abi.IORING_SETUP_SUBMIT_ALL,
  },
  "with IORING_SETUP_SINGLE_ISSUER": {
    options: { flags: abi.IORING_SETUP_SINGLE_ISSUER },
    needs: abi.IORING_SETUP_SINGLE_ISSUER,
  },
  "with IORING_SETUP_DEFER_TASKRUN": { options: { flags: DEFER }, needs: DEFER },
  "with IORING_SETUP_DEFER_TASKRUN and IORING_SETUP_TASKRUN_FLAG": {
    options: { flags: DEFER | abi.IORING_SETUP_TASKRUN_FLAG },
    needs: DEFER | abi.IORING_SETUP_TASKRUN_FLAG,
  },
  "with IORING_SETUP_COOP_TASKRUN": {
    options: { flags: abi.IORING_SETUP_COOP_TASKRUN },
    needs: abi.IORING_SETUP_COOP_TASKRUN,
  },
  "with IORING_SETUP_COOP_TASKRUN and IORING_SETUP_TASKRUN_FLAG": {
    options: { flags: abi.IORING_SETUP_COOP_TASKRUN | abi.IORING_SETUP_TASKRUN_FLAG },
    needs: abi.IORING_SETUP_COOP_TASKRUN | abi.IORING_SETUP_TASKRUN_FLAG,
  },
  "with IORING_SETUP_SQPOLL": { options: { flags: abi.IORING_SETUP_SQPOLL } },
  "with IORING_SETUP_SQPOLL on one CPU": {
    options: { flags: abi.IORING_SETUP_SQPOLL, sqThreadCpu: cpus().length - 1, sqThreadIdle: 5 },
  },
  "with IORING_SETUP_SQPOLL and large completions": {
    options: { flags: abi.IORING_SETUP_SQPOLL | abi.IORING_SETUP_CQE32 },
    needs: abi.IORING_SETUP_CQE32,
  },
  "with IORING_SETUP_IOPOLL": { options: { flags: abi.IORING_SETUP_IOPOLL }, nops: true },
  "with IORING_SETUP_HYBRID_IOPOLL": {
    options: { flags: abi.IORING_SETUP_IOPOLL | abi.IORING_SETUP_HYBRID_IOPOLL },
    needs: abi.IORING_SETUP_IOPOLL | abi.IORING_SETUP_HYBRID_IOPOLL,
    nops: true,
  },
  "with IORING_SETUP_NO_MMAP given": {
    options: { flags: abi.IORING_SETUP_NO_MMAP },
  },
  "with all that a program's own loop wants": {
    options: { flags: DEFER | abi.IORING_SETUP_SUBMIT_ALL | abi.IORING_SETUP_CLAMP, cqEntries: 512 },
    needs: DEFER | abi.IORING_SETUP_SUBMIT_ALL,
  },
};

const kinds: RingMemoryKind[] = ["owned", "mapped"];

/** The kernel's poller threads of this process. */
function pollers(): string[] {
  return readdirSync("/proc/self/task").filter((thread) => {
    try {
      return readFileSync(`/proc/self/task/${thread}/comm`, "utf8").startsWith("iou-sqp-");
    } catch {
      // It ended meanwhile.
      return false;
    }
  });
}

describe("rings that do real work", () => {
  for (const [name, { options, needs: flags = 0, nops }] of Object.entries(geometries)) {
    for (const memory of kinds) {
      if (memory === "mapped" && name.includes("NO_MMAP")) continue;
      it(`${name}, in ${memory} memory`, needs(flags), () => {
        using ring = new Ring({ entries: 8, ...options, memory });
        assert.equal(ring.memory, memory);
        const asked = options.flags ?? 0;
        assert.equal((ring.params.flags & asked) >>> 0, asked);
        assert.equal((ring.params.flags & abi.IORING_SETUP_NO_MMAP) !== 0, memory === "owned");
        assert.equal(ring.params.sqEntries, options.entries ?? 8);
        assert.equal(ring.params.cqEntries, options.cqEntries ?? 2 * ring.params.sqEntries);
        assert.ok(ring.fd > 2);
        if (nops) exerciseNops(ring);
        else exercise(ring);
        assert.equal(ring.inFlight, 0);
        assert.deepEqual(ring.close({ deadline: LONG }), { leaked: 0 });
      });
    }
  }

  it("with the indirection array where the kernel does not know how to do without", () => {
    for (const memory of kinds) {
      using ring = withShim(without(abi.IORING_SETUP_NO_SQARRAY), () => new Ring({ entries: 4, memory }));
      assert.equal(ring.params.flags & abi.IORING_SETUP_NO_SQARRAY, 0);
      exercise(ring);
      assert.equal(ring.sqDropped, 0);
    }
  });

  it("without the indirection array by default", needs(abi.IORING_SETUP_NO_SQARRAY), () => {
    using ring = new Ring();
    assert.notEqual(ring.params.flags & abi.IORING_SETUP_NO_SQARRAY, 0);
  });

  it("in huge pages", needsHugePages(), () => {
    withHugePages(() => {
      using ring = new Ring({ entries: 64, memory: "huge" });
      assert.equal(ring.memory, "huge");
      exercise(ring);
      using large = new Ring({ entries: 32768, memory: "huge" });
      exerciseNops(large);
    });
  });

  it("in huge pages, which closed rings give back", needsHugePages(), () => {
    withHugePages(() => {
      const inUse = () => readFileSync("/proc/self/maps", "utf8").split("/anon_hugepage").length - 1;
      const mapped = inUse();
      const free = freeHugePages();
      for (let i = 0; i < 20; i++) {
        const ring = new Ring({ memory: "huge" });
        exerciseNops(ring);
        assert.deepEqual(ring.close(), { leaked: 0 });
        const end = performance.now() + LONG;
        while (freeHugePages() !== free && performance.now() < end);
      }
      assert.equal(freeHugePages(), free);
      assert.equal(inUse(), mapped);
    });
  });

  it("with an fd only in the thread's table of rings", needs(abi.IORING_SETUP_NO_MMAP), () => {
    const before = ringFds();
    using ring = new Ring({ entries: 8, flags: abi.IORING_SETUP_REGISTERED_FD_ONLY });
    assert.equal(ring.fd, -1);
    assert.equal(ringFds(), before);
    exercise(ring);
    assert.ok(ring.probe().supports(abi.IORING_OP_NOP));
    assert.deepEqual(ring.close(), { leaked: 0 });
  });

  it("without an fd where the option fd says so", needs(abi.IORING_SETUP_NO_MMAP), () => {
    using ring = new Ring({ entries: 4, fd: false });
    assert.equal(ring.fd, -1);
    assert.notEqual(ring.params.flags & abi.IORING_SETUP_REGISTERED_FD_ONLY, 0);
    exercise(ring);
    using other = new Ring({ entries: 4, fd: true });
    assert.ok(other.fd > 2);
    assert.throws(() => new Ring({ fd: true, flags: abi.IORING_SETUP_REGISTERED_FD_ONLY }), {
      name: "TypeError",
      message: /exclude each other/,
    });
  });

  it("with an fd only in the thread's table, whose place a closed ring gives back", () => {
    for (let i = 0; i < 40; i++) {
      using ring = new Ring({ entries: 1, flags: abi.IORING_SETUP_REGISTERED_FD_ONLY });
      assert.equal(
        run(ring, (sqe) => sqe.prepNop()),
        0,
      );
    }
  });

  it("disabled at first, and enabled then", () => {
    for (const memory of kinds) {
      using ring = new Ring({ entries: 4, memory, flags: abi.IORING_SETUP_R_DISABLED });
      entry(ring).prepNop().setData64(7);
      assert.throws(() => ring.submit(), {
        name: "UringError",
        code: "EBADFD",
        syscall: "io_uring_enter",
        message: /enableRings/,
      });
      assert.equal(ring.cqReady, 0);
      ring.enableRings();
      assert.deepEqual(reap(ring, 1), [[7, 0, 0]]);
      exercise(ring);
    }
  });

  it("that can be enabled once, if they were disabled", () => {
    for (const flags of [0, abi.IORING_SETUP_R_DISABLED]) {
      using ring = new Ring({ entries: 4, flags });
      if (flags !== 0) ring.enableRings();
      assert.throws(() => ring.enableRings(), {
        name: "UringError",
        code: "EBADFD",
        syscall: "io_uring_register",
        message: /IORING_SETUP_R_DISABLED/,
      });
      exercise(ring);
    }
  });

  it("that share the worker threads of another, given as a ring or as an fd", () => {
    using first = new Ring({ entries: 4 });
    for (const attachWq of [first, first.fd]) {
      using second = new Ring({ entries: 4, attachWq });
      assert.notEqual(second.params.flags & abi.IORING_SETUP_ATTACH_WQ, 0);
      entry(second).prepNop().setFlags(abi.IOSQE_ASYNC);
      assert.deepEqual(reap(second, 1), [[0, 0, 0]]);
      exercise(second);
    }
    exercise(first);
  });

  it("that share the worker threads of what is no ring are refused", () => {
    using scratch = new Scratch();
    const fd = openSync(scratch.file("f", ""), "r");
    assert.throws(() => new Ring({ attachWq: fd }), {
      code: "EINVAL",
      message: /or attachWq is no io_uring/,
    });
    closeSync(fd);
  });

  it("that share the poller thread of another, and go on when that is closed", () => {
    const first = new Ring({ entries: 4, flags: abi.IORING_SETUP_SQPOLL });
    // It gives itself its name when it first runs.
    exercise(first);
    const before = new Set(pollers());
    using second = new Ring({ entries: 4, flags: abi.IORING_SETUP_SQPOLL, attachWq: first });
    exercise(second);
    // Those of rings closed before may be about to end.
    assert.deepEqual(
      pollers().filter((thread) => !before.has(thread)),
      [],
    );
    exercise(first);
    exercise(second);
    assert.deepEqual(first.close({ deadline: LONG }), { leaked: 0 });
    exercise(second);
  });

  it("with large entries, of which the operation uses both halves", () => {
    using ring = new Ring({ entries: 4, flags: abi.IORING_SETUP_SQE128 });
    const sizes = [];
    for (let sqe = ring.getSqe(); sqe !== null; sqe = ring.getSqe()) {
      sizes.push(sqe.prepNop().setData64(sizes.length).toBytes().length);
    }
    assert.deepEqual(sizes, [128, 128, 128, 128]);
    assert.deepEqual(
      reap(ring, 4).map(([userData]) => userData),
      [0, 1, 2, 3],
    );
  });
});

describe("sizes", () => {
  it("are rounded up to powers of two, 128 entries without being asked", () => {
    const cases: [RingOptions, number, number][] = [
      [{}, 128, 256],
      [{ entries: 1 }, 1, 2],
      [{ entries: 3 }, 4, 8],
      [{ entries: 5, cqEntries: 5 }, 8, 8],
      [{ entries: 8, cqEntries: 9 }, 8, 16],
      [{ entries: 1, cqEntries: 1 }, 1, 1],
      [{ entries: 4, cqEntries: 1000 }, 4, 1024],
    ];
    for (const [options, sq, cq] of cases) {
      using ring = new Ring(options);
      assert.deepEqual([ring.params.sqEntries, ring.params.cqEntries], [sq, cq]);
      assert.equal(
        (ring.params.flags & abi.IORING_SETUP_CQSIZE) !== 0,
        options.cqEntries !== undefined,
        "IORING_SETUP_CQSIZE",
      );
      exerciseNops(ring);
    }
  });

  it("reach as far as the kernel's", () => {
    using ring = new Ring({ entries: 32768, cqEntries: 65536 });
    exerciseNops(ring);
  });

  it("beyond the kernel's are cut with IORING_SETUP_CLAMP", () => {
    using ring = new Ring({ entries: 1_000_000, cqEntries: 4_000_000, flags: abi.IORING_SETUP_CLAMP });
    assert.deepEqual([ring.params.sqEntries, ring.params.cqEntries], [32768, 65536]);
    exerciseNops(ring);
    using halved = new Ring({ entries: 40_000, flags: abi.IORING_SETUP_CLAMP });
    assert.deepEqual([halved.params.sqEntries, halved.params.cqEntries], [32768, 65536]);
  });

  const refused: [RingOptions, RegExp][] = [
    [{ entries: 0 }, /entries must be a whole number from 1 to 32768, not 0/],
    [{ entries: 32769 }, /entries must be a whole number from 1 to 32768, not 32769/],
    [{ entries: 1.5 }, /entries must be a whole number/],
    [{ entries: -1 }, /entries must be a whole number/],
    [{ entries: Number.NaN }, /entries must be a whole number/],
    [{ entries: 0, flags: abi.IORING_SETUP_CLAMP }, /entries must be a whole number/],
    [{ entries: 2 ** 32, flags: abi.IORING_SETUP_CLAMP }, /entries must be a whole number/],
    [{ cqEntries: 0 }, /cqEntries must be a whole number from 1 to 65536/],
    [{ cqEntries: 65537 }, /cqEntries must be a whole number from 1 to 65536/],
    [{ entries: 64, cqEntries: 32 }, /cqEntries \(32\) must be at least entries \(64\)/],
    [{ entries: 5, cqEntries: 4 }, /cqEntries \(4\) must be at least entries \(5\)/],
    [{ flags: -1 }, /flags must be a whole number/],
    [{ flags: 2 ** 32 }, /flags must be a whole number/],
    [{ flags: abi.IORING_SETUP_SQPOLL, sqThreadCpu: -1 }, /sqThreadCpu must be a whole number/],
    [{ flags: abi.IORING_SETUP_SQPOLL, sqThreadIdle: -1 }, /sqThreadIdle must be a whole number/],
    [{ attachWq: -1 }, /attachWq must be a whole number/],
  ];
  for (const [options, message] of refused) {
    it(`${JSON.stringify(options)} are refused`, () => {
      assert.throws(() => new Ring(options), { name: "RangeError", message });
    });
  }

  it("that are no numbers are refused", () => {
    const wrong: Record<string, unknown>[] = [
      { entries: "8" },
      { entries: 8n },
      { fd: 1 },
      { cqEntries: {} },
      { flags: "0" },
      { flags: true },
      { sqThreadCpu: "0" },
      { sqThreadIdle: [] },
      { attachWq: "3" },
      { attachWq: {} },
      { attachWq: null },
      { memory: "other" },
      { memory: 1 },
    ];
    for (const options of wrong) {
      assert.throws(
        () => new Ring(options as RingOptions),
        { name: "TypeError" },
        JSON.stringify(Object.keys(options)),
      );
    }
    for (const options of [null, 1, "8", 8n]) {
      assert.throws(() => new Ring(options as RingOptions), {
        name: "TypeError",
        message: /must be an object/,
      });
    }
  });

  it("that are refused leave nothing behind", () => {
    const before = openFds();
    for (let i = 0; i < 100; i++) {
      assert.throws(() => new Ring({ entries: 0 }));
      assert.throws(() => new Ring({ attachWq: 0x7fffffff }), { name: "UringError", code: "ENXIO" });
    }
    assert.deepEqual(openFds(), before);
  });
});

describe("combinations that no kernel takes", () => {
  const refused: [string, RingOptions, RegExp][] = [
    [
      "DEFER_TASKRUN alone",
      { flags: abi.IORING_SETUP_DEFER_TASKRUN },
      /IORING_SETUP_DEFER_TASKRUN needs IORING_SETUP_SINGLE_ISSUER/,
    ],
    [
      "DEFER_TASKRUN with SQPOLL",
      { flags: DEFER | abi.IORING_SETUP_SQPOLL },
      /with IORING_SETUP_SQPOLL the poller thread runs all task work/,
    ],
    [
      "COOP_TASKRUN with SQPOLL",
      { flags: abi.IORING_SETUP_COOP_TASKRUN | abi.IORING_SETUP_SQPOLL },
      /with IORING_SETUP_SQPOLL the poller thread runs all task work/,
    ],
    [
      "TASKRUN_FLAG with SQPOLL",
      { flags: abi.IORING_SETUP_TASKRUN_FLAG | abi.IORING_SETUP_SQPOLL },
      /with IORING_SETUP_SQPOLL the poller thread runs all task work/,
    ],
    [
      "TASKRUN_FLAG alone",
      { flags: abi.IORING_SETUP_TASKRUN_FLAG },
      /IORING_SETUP_TASKRUN_FLAG needs IORING_SETUP_COOP_TASKRUN or IORING_SETUP_DEFER_TASKRUN/,
    ],
    ["SQ_AFF alone", { flags: abi.IORING_SETUP_SQ_AFF }, /IORING_SETUP_SQ_AFF needs IORING_SETUP_SQPOLL/],
    ["a CPU without SQPOLL", { sqThreadCpu: 0 }, /IORING_SETUP_SQ_AFF needs IORING_SETUP_SQPOLL/],
    [
      "HYBRID_IOPOLL alone",
      { flags: abi.IORING_SETUP_HYBRID_IOPOLL },
      /IORING_SETUP_HYBRID_IOPOLL needs IORING_SETUP_IOPOLL/,
    ],
    [
      "CQE_MIXED with CQE32",
      { flags: abi.IORING_SETUP_CQE_MIXED | abi.IORING_SETUP_CQE32 },
      /IORING_SETUP_CQE_MIXED and IORING_SETUP_CQE32 exclude each other/,
    ],
    [
      "SQE_MIXED with SQE128",
      { flags: abi.IORING_SETUP_SQE_MIXED | abi.IORING_SETUP_SQE128 },
      /IORING_SETUP_SQE_MIXED and IORING_SETUP_SQE128 exclude each other/,
    ],
    [
      "NO_MMAP with mapped memory",
      { flags: abi.IORING_SETUP_NO_MMAP, memory: "mapped" },
      /exclude memory: "mapped"/,
    ],
    [
      "REGISTERED_FD_ONLY with mapped memory",
      { flags: abi.IORING_SETUP_REGISTERED_FD_ONLY, memory: "mapped" },
      /exclude memory: "mapped"/,
    ],
  ];
  for (const [name, options, sentence] of refused) {
    it(`${name} is refused with a sentence, and by the kernel`, () => {
      const setup = () => assert.fail("the kernel was asked");
      withShim({ setup }, () => {
        assert.throws(() => new Ring(options), { name: "TypeError", message: sentence });
      });
      // That no kernel maps memory for the last two is this library's choice of words.
      if (options.memory === undefined) {
        assert.equal(kernelTakes(options.flags ?? abi.IORING_SETUP_SQ_AFF), false);
      }
    });
  }

  it("SQ_REWIND and SQE_MIXED are refused, as this library knows no such queue", () => {
    for (const flags of [abi.IORING_SETUP_SQ_REWIND, abi.IORING_SETUP_SQE_MIXED]) {
      assert.throws(() => new Ring({ flags }), { name: "TypeError", message: /this library does not know/ });
    }
  });

  it("flags that need an option are refused without it", () => {
    assert.throws(() => new Ring({ flags: abi.IORING_SETUP_CQSIZE }), {
      name: "TypeError",
      message: /needs the option cqEntries/,
    });
    assert.throws(() => new Ring({ flags: abi.IORING_SETUP_ATTACH_WQ }), {
      name: "TypeError",
      message: /needs the option attachWq/,
    });
  });
});

describe("a poller thread", () => {
  /** The thread's id, once it runs: before, the kernel names its creator. */
  const threadOf = (ring: Ring): string => {
    const end = performance.now() + LONG;
    while (performance.now() < end) {
      const info = readFileSync(`/proc/self/fdinfo/${ring.fd}`, "utf8");
      // Without a number where the kernel is just at work on the ring.
      const thread = /SqThread:\s+(\d+)/.exec(info)?.[1];
      if (thread === undefined) continue;
      if (readFileSync(`/proc/self/task/${thread}/comm`, "utf8").startsWith("iou-sqp")) return thread;
    }
    throw new Error("the poller thread does not start");
  };
  /** Busy until the thread sleeps, as the kernel shows it. */
  const waitForSleep = (thread: string) => {
    const stat = `/proc/self/task/${thread}/stat`;
    const sleeps = () => /\) S/.test(readFileSync(stat, "utf8"));
    const end = performance.now() + LONG;
    while (!sleeps() && performance.now() < end);
    assert.ok(sleeps(), "the poller thread does not go to sleep");
  };

  it("gets its idle time and CPU from the options", () => {
    using ring = new Ring({
      entries: 4,
      flags: abi.IORING_SETUP_SQPOLL,
      sqThreadIdle: 25,
      sqThreadCpu: 0,
    });
    assert.notEqual(ring.params.flags & abi.IORING_SETUP_SQ_AFF, 0);
    assert.equal(ring.params.sqThreadIdle, 25);
    const status = readFileSync(`/proc/self/task/${threadOf(ring)}/status`, "utf8");
    assert.match(status, /Cpus_allowed_list:\s+0\n/);
  });

  it("on a CPU that does not exist is refused by the kernel", () => {
    assert.throws(() => new Ring({ flags: abi.IORING_SETUP_SQPOLL, sqThreadCpu: 65535 }), {
      name: "UringError",
      code: "EINVAL",
      message: /or sqThreadCpu is no CPU that this process may run on/,
    });
  });

  it("takes entries without a system call while it is awake", () => {
    let calls = 0;
    using ring = withShim(
      onEnter(() => calls++),
      () => new Ring({ entries: 8, flags: abi.IORING_SETUP_SQPOLL, sqThreadIdle: 10_000 }),
    );
    // It starts with a short sleep.
    run(ring, (sqe) => sqe.prepNop());
    calls = 0;
    for (let i = 0; i < 100; i++) {
      entry(ring).prepNop().setData64(i);
      // The poller may have taken it at once, and the one before not have been told of as taken.
      assert.ok([0, 1, 2].includes(ring.submit()));
      const end = performance.now() + LONG;
      let got = -1;
      while (got < 0 && performance.now() < end) {
        ring.drain((userData) => {
          got = userData;
        });
      }
      assert.equal(got, i);
    }
    assert.equal(calls, 0);
  });

  it("is woken when it has gone to sleep", () => {
    using ring = new Ring({ entries: 8, flags: abi.IORING_SETUP_SQPOLL, sqThreadIdle: 1 });
    const thread = threadOf(ring);
    for (let i = 0; i < 20; i++) {
      waitForSleep(thread);
      entry(ring).prepNop().setData64(i);
      ring.submit();
      assert.deepEqual(reap(ring, 1), [[i, 0, 0]]);
    }
  });

  it("is woken by a wait too", () => {
    using ring = new Ring({ entries: 8, flags: abi.IORING_SETUP_SQPOLL, sqThreadIdle: 1 });
    const thread = threadOf(ring);
    for (let i = 0; i < 20; i++) {
      waitForSleep(thread);
      entry(ring).prepNop().setData64(i);
      assert.equal(ring.submitAndWait(1, { timeout: LONG }), 1);
      assert.equal(ring.peekCqe()?.userData, i);
      ring.cqAdvance(1);
    }
  });

  it("makes room in a full queue, which can be waited for", () => {
    using ring = new Ring({ entries: 4, cqEntries: 4096, flags: abi.IORING_SETUP_SQPOLL, sqThreadIdle: 1 });
    let prepared = 0;
    for (let round = 0; round < 500; round++) {
      for (let sqe = ring.getSqe(); sqe !== null; sqe = ring.getSqe()) sqe.prepNop().setData64(prepared++);
      ring.submit();
      assert.equal(ring.sqringWait(), 0);
      assert.ok(ring.sqSpaceLeft > 0);
    }
    assert.deepEqual(
      reap(ring, prepared).map(([userData]) => userData),
      Array.from({ length: prepared }, (_, i) => i),
    );
  });

  it("is not waited for where it has nothing to take", () => {
    using ring = new Ring({ entries: 4, flags: abi.IORING_SETUP_SQPOLL });
    assert.equal(ring.sqringWait(), 0);
    for (let i = 0; i < 4; i++) entry(ring);
    // Not submitted.
    assert.equal(ring.sqringWait(), 0);
    assert.equal(ring.sqSpaceLeft, 0);
    using plain = new Ring({ entries: 1 });
    entry(plain);
    assert.equal(plain.sqringWait(), 0);
  });
});

describe("polled rings", () => {
  it("refuse what can not be polled for", () => {
    using ring = new Ring({ entries: 4, flags: abi.IORING_SETUP_IOPOLL });
    const fd = run(ring, (sqe) =>
      sqe.prepOpenat(abi.AT_FDCWD, cstring("/proc/self/status"), abi.O_RDONLY, 0),
    );
    assert.equal(fd, -EINVAL);
    exerciseNops(ring);
  });
});

describe("a kernel that refuses", () => {
  /** The flags of each attempt that the kernel is asked to set up. */
  function attempts(options: RingOptions, answer = -EINVAL): number[] {
    const seen: number[] = [];
    withShim(
      (real) => ({
        setup(_, params) {
          seen.push(setupFlags(real, params));
          return answer;
        },
      }),
      () => assert.throws(() => new Ring(options), UringError),
    );
    return seen;
  }
  const SQARRAY = abi.IORING_SETUP_NO_SQARRAY;
  const MMAP = abi.IORING_SETUP_NO_MMAP;

  it("owned memory, or a queue without array, is asked for less", () => {
    assert.deepEqual(attempts({}), [MMAP | SQARRAY, MMAP, SQARRAY, 0]);
    assert.deepEqual(attempts({ memory: "owned" }), [MMAP | SQARRAY, MMAP]);
    assert.deepEqual(attempts({ memory: "mapped" }), [SQARRAY, 0]);
    assert.deepEqual(attempts({ flags: abi.IORING_SETUP_REGISTERED_FD_ONLY }), [
      MMAP | SQARRAY | abi.IORING_SETUP_REGISTERED_FD_ONLY,
      MMAP | abi.IORING_SETUP_REGISTERED_FD_ONLY,
    ]);
  });

  it("for any other reason is not asked for another ring", () => {
    assert.deepEqual(attempts({}, -EMFILE), [MMAP | SQARRAY]);
    // For the same again, as long as rings that were closed may still be counted.
    assert.deepEqual(new Set(attempts({}, -ENOMEM)), new Set([MMAP | SQARRAY]));
  });

  it("owned memory gets a ring in mapped memory", () => {
    for (const missing of [MMAP, MMAP | SQARRAY]) {
      using ring = withShim(without(missing), () => new Ring({ entries: 4 }));
      assert.equal(ring.memory, "mapped");
      assert.equal(ring.params.flags & missing, 0);
      exercise(ring);
      assert.deepEqual(ring.close(), { leaked: 0 });
    }
  });

  it("owned memory in one piece (EFAULT) gets a ring in mapped memory", () => {
    using ring = withShim(
      (real) => ({
        setup: (entries, params) =>
          (setupFlags(real, params) & MMAP) !== 0 ? -14 : real.setup(entries, params),
      }),
      () => new Ring({ entries: 4 }),
    );
    assert.equal(ring.memory, "mapped");
    exercise(ring);
  });

  const newer: [string, string, number][] = [
    ["IORING_SETUP_SUBMIT_ALL", "5.18", abi.IORING_SETUP_SUBMIT_ALL],
    ["IORING_SETUP_COOP_TASKRUN", "5.19", abi.IORING_SETUP_COOP_TASKRUN],
    ["IORING_SETUP_TASKRUN_FLAG", "5.19", abi.IORING_SETUP_TASKRUN_FLAG | abi.IORING_SETUP_COOP_TASKRUN],
    ["IORING_SETUP_SQE128", "5.19", abi.IORING_SETUP_SQE128],
    ["IORING_SETUP_CQE32", "5.19", abi.IORING_SETUP_CQE32],
    ["IORING_SETUP_SINGLE_ISSUER", "6.0", abi.IORING_SETUP_SINGLE_ISSUER],
    ["IORING_SETUP_DEFER_TASKRUN", "6.1", DEFER],
    ["IORING_SETUP_NO_MMAP", "6.5", abi.IORING_SETUP_NO_MMAP],
    ["IORING_SETUP_REGISTERED_FD_ONLY", "6.5", abi.IORING_SETUP_REGISTERED_FD_ONLY],
    ["IORING_SETUP_NO_SQARRAY", "6.6", abi.IORING_SETUP_NO_SQARRAY],
    ["IORING_SETUP_HYBRID_IOPOLL", "6.13", abi.IORING_SETUP_HYBRID_IOPOLL | abi.IORING_SETUP_IOPOLL],
    ["IORING_SETUP_CQE_MIXED", "6.18", abi.IORING_SETUP_CQE_MIXED],
  ];
  for (const [name, kernel, flags] of newer) {
    it(`${name} is told to be older than Linux ${kernel}`, () => {
      const old = { setup: () => -EINVAL, ...release("5.15.0-91-generic") };
      assert.throws(() => withShim(old, () => new Ring({ flags })), {
        name: "UringError",
        code: "EINVAL",
        errno: EINVAL,
        syscall: "io_uring_setup",
        message: new RegExp(
          `This kernel is 5\\.15\\.0-91-generic: .*${name} came with Linux ${kernel.replace(".", "\\.")}`,
        ),
      });
      assert.throws(
        () => withShim({ setup: () => -EINVAL, ...release(`${kernel}.0`) }, () => new Ring({ flags })),
        {
          code: "EINVAL",
          message: new RegExp(`Kernel ${kernel.replace(".", "\\.")}\\.0 refuses this set of flags`),
        },
      );
    });
  }

  const failures: [number, string, RegExp][] = [
    [ENOMEM, "ENOMEM", /locked memory \(`ulimit -l`\)/],
    [EMFILE, "EMFILE", /`ulimit -n`/],
    [ENFILE, "ENFILE", /fs\.file-max/],
    [EAGAIN, "EAGAIN", /io_uring_setup/],
    [EOPNOTSUPP, "EOPNOTSUPP", /io_uring_setup/],
  ];
  for (const [errno, code, message] of failures) {
    it(`with ${code} makes an error that says so`, () => {
      withShim({ setup: () => -errno }, () => {
        assert.throws(() => new Ring(), {
          name: "UringError",
          code,
          errno,
          syscall: "io_uring_setup",
          message,
        });
        const io = available();
        assert.equal(io.ok, false);
        if (!io.ok) {
          assert.equal(io.reason, code);
          assert.ok(io.error instanceof UringError);
        }
      });
    });
  }

  const absent: [string, Partial<Shim>, string, RegExp][] = [
    [
      "as it is too old",
      { setup: () => -ENOSYS, sysctlDisabled: () => -ENOENT, ...release("4.19.0-26-amd64") },
      "kernel",
      /this kernel, 4\.19\.0-26-amd64, is older than io_uring/,
    ],
    [
      "under a filter that answers ENOSYS",
      { setup: () => -ENOSYS, sysctlDisabled: () => 0, ...release("6.18.1") },
      "seccomp",
      /refused with ENOSYS although the kernel, 6\.18\.1, has it.*seccomp=unconfined/,
    ],
    [
      "under a filter that answers EPERM",
      { setup: () => -EPERM, sysctlDisabled: () => 0 },
      "seccomp",
      /refused with EPERM.*seccomp=unconfined/,
    ],
    [
      "under a filter on a kernel without the sysctl",
      { setup: () => -EPERM, sysctlDisabled: () => -ENOENT },
      "seccomp",
      /refused with EPERM/,
    ],
    [
      "to the unprivileged",
      { setup: () => -EPERM, sysctlDisabled: () => 1 },
      "sysctl",
      /io_uring_disabled is 1.*CAP_SYS_ADMIN.*io_uring_group/,
    ],
    [
      "to all",
      { setup: () => -EPERM, sysctlDisabled: () => 2 },
      "sysctl",
      /io_uring_disabled is 2.*off for every process/,
    ],
    [
      "for a security module's rule",
      { setup: () => -EACCES, sysctlDisabled: () => 0 },
      "seccomp",
      /refused with EACCES.*security module/,
    ],
  ];
  for (const [name, overrides, reason, message] of absent) {
    it(`io_uring ${name} is told apart`, () => {
      withShim(overrides, () => {
        assert.throws(
          () => new Ring(),
          (error: unknown) => {
            assert.ok(error instanceof UringUnavailableError);
            assert.equal(error.reason, reason);
            assert.equal(error.code, "ERR_URING_UNAVAILABLE");
            assert.match(error.message, message);
            assert.ok(error.message.endsWith(error.remedy));
            assert.ok(error.cause instanceof UringError);
            return true;
          },
        );
        const io = available();
        assert.equal(io.ok, false);
        if (!io.ok) assert.deepEqual([io.reason, io.error.name], [reason, "UringUnavailableError"]);
      });
    });
  }

  it("to map its memory leaves no fd behind", () => {
    const before = openFds();
    const map = () => -ENOMEM;
    assert.throws(() => withShim({ map }, () => new Ring({ memory: "mapped" })), {
      name: "UringError",
      code: "ENOMEM",
      syscall: "mmap",
    });
    assert.deepEqual(openFds(), before);
  });

  it("to map the second part unmaps the first", () => {
    const fds = openFds();
    const before = ringMappings();
    let calls = 0;
    const overrides = (real: Shim): Partial<Shim> => ({
      map: (...args) => (++calls % 2 === 0 ? -EAGAIN : real.map(...args)),
    });
    for (let i = 0; i < 50; i++) {
      assert.throws(() => withShim(overrides, () => new Ring({ memory: "mapped" })), {
        code: "EAGAIN",
        syscall: "mmap",
      });
    }
    assert.deepEqual(openFds(), fds);
    assert.equal(ringMappings(), before);
  });

  it("huge pages says how to get some", () => {
    const map = () => -ENOMEM;
    assert.throws(() => withShim({ map }, () => new Ring({ memory: "huge" })), {
      name: "UringError",
      code: "ENOMEM",
      syscall: "mmap",
      message: /sysctl vm\.nr_hugepages/,
    });
  });

  it("a place in the thread's table of rings still sets a ring up", () => {
    const entered: number[] = [];
    using ring = withShim(
      (real) => ({
        register: (fd, opcode, arg, count) =>
          opcode === abi.IORING_REGISTER_RING_FDS ? -EBUSY : real.register(fd, opcode, arg, count),
        enter(fd, submit, wait, flags, arg, size) {
          entered.push(fd, flags & abi.IORING_ENTER_REGISTERED_RING);
          return real.enter(fd, submit, wait, flags, arg, size);
        },
      }),
      () => new Ring({ entries: 4 }),
    );
    exercise(ring);
    assert.ok(entered.length > 0);
    assert.ok(entered.every((value, i) => value === (i % 2 === 0 ? ring.fd : 0)));
  });
});

describe("what a ring tells of itself", () => {
  it("are the kernel's features", () => {
    using ring = new Ring();
    const floor = abi.IORING_FEAT_SINGLE_MMAP | abi.IORING_FEAT_NODROP | abi.IORING_FEAT_EXT_ARG;
    assert.equal(ring.features & floor, floor);
    const io = available();
    assert.ok(io.ok);
    assert.equal(io.features, ring.features);
  });

  it("are the operations that the kernel has", () => {
    using ring = new Ring();
    const probe = ring.probe();
    for (const op of [
      abi.IORING_OP_NOP,
      abi.IORING_OP_READ,
      abi.IORING_OP_ASYNC_CANCEL,
      abi.IORING_OP_MSG_RING,
    ]) {
      assert.equal(probe.supports(op), true);
    }
    for (const op of [probe.lastOp + 1, 255, 256, -1, 1.5]) assert.equal(probe.supports(op), false);
    // An operation that the kernel does not know is one that the probe does not either.
    const invalid = run(ring, (sqe) => sqe.prepRw(probe.lastOp + 1, -1, 0, 0, 0));
    assert.equal(invalid, -EINVAL);
  });

  it("stays after close, the fd alone does not", () => {
    const ring = new Ring({ entries: 8 });
    const { params, features, memory } = ring;
    assert.equal(ring.closed, false);
    ring.close();
    assert.deepEqual(ring.params, params);
    assert.equal(ring.features, features);
    assert.equal(ring.memory, memory);
    assert.equal(ring.fd, -1);
    assert.equal(ring.closed, true);
  });
});

describe("large completions", () => {
  const flags = abi.IORING_NOP_CQE32;

  it(
    "of a ring with IORING_SETUP_CQE32 carry 16 more bytes, zero where the operation has none",
    needs(abi.IORING_SETUP_CQE32),
    () => {
      using ring = new Ring({ entries: 4, flags: abi.IORING_SETUP_CQE32 });
      entry(ring).prepNop().setData64(5);
      ring.submitAndWait(1);
      const cqe = ring.peekCqe();
      assert.deepEqual([cqe?.userData, cqe?.res, cqe?.big?.length], [5, 0, 2]);
      ring.cqAdvance(1);
    },
  );

  it(
    "of a ring with IORING_SETUP_CQE32 carry what the operation has",
    needs(abi.IORING_SETUP_CQE_MIXED),
    () => {
      using ring = new Ring({ entries: 4, flags: abi.IORING_SETUP_CQE32 });
      for (let i = 0; i < 40; i++) {
        nop(entry(ring), flags, 0, [100 + i, 2 ** 40 + i]).setData64(i);
        ring.submitAndWait(1);
        const cqe = ring.peekCqe();
        assert.deepEqual([cqe?.userData, cqe?.res, cqe?.big], [i, 0, [BigInt(100 + i), BigInt(2 ** 40 + i)]]);
        ring.cqAdvance(1);
      }
    },
  );
});
