import assert from "node:assert/strict";
import { readFileSync, statfsSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { alloc, type Pinned, query, Ring, type RingOptions } from "uring";
import {
  IO_URING_QUERY_OPCODES,
  IORING_FEAT_REG_REG_RING,
  IORING_NOP_CQE32,
  IORING_REGISTER_BUFFERS,
  IORING_REGISTER_FILES,
  IORING_REGISTER_IOWQ_MAX_WORKERS,
  IORING_REGISTER_QUERY,
  IORING_SETUP_ATTACH_WQ,
  IORING_SETUP_CLAMP,
  IORING_SETUP_CQE32,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_IOPOLL,
  IORING_SETUP_NO_MMAP,
  IORING_SETUP_NO_SQARRAY,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_SETUP_SQ_AFF,
  IORING_SETUP_SQE_MIXED,
  IORING_SETUP_SQE128,
  IORING_SETUP_SQPOLL,
  io_cqring_offsets,
  io_sqring_offsets,
  io_uring_params,
  io_uring_query_hdr,
  io_uring_query_opcode,
  iovec,
  O_RDWR,
  POLLOUT,
} from "uring/abi";
import { patiently } from "../support/child.ts";
import { nop, ringFds } from "../support/ring.ts";
import { kernelTakes, withShim } from "../support/runtime.ts";
import { mustCall, syscall } from "../support/system.ts";
import { type Brief, brief, entry, submitAll } from "./completions.ts";
import { open } from "./descriptors.ts";
import { PATIENCE_MS } from "./durations.ts";
import { outcome } from "./outcome.ts";
import { runProgram, startProgram } from "./program.ts";
import { allRings, conformance, type RingType, ringTypes } from "./support.ts";

const { EAGAIN, EBADF, EEXIST, EFAULT, EINVAL, EMFILE, ENOMEM, EOPNOTSUPP } = constants.errno;

const everywhere = { rings: allRings };

/** For what takes long on each. */
const fewRings = { rings: ["default", "defer", "sqpoll"] } as const;

const PAGE = 4096;
const MAX_U32 = 2 ** 32 - 1;

function viewOf(memory: Pinned): DataView {
  return new DataView(memory.bytes.buffer, memory.bytes.byteOffset, memory.byteLength);
}

/** The members of `struct io_uring_params` that are not 0, by offset. */
type Params = Readonly<Record<number, number>>;

/** io_uring_setup(2) itself: its result. A ring that it makes is closed. */
function setup(entries: number, params: Params): number {
  using memory = alloc(io_uring_params.sizeof);
  for (const [offset, value] of Object.entries(params)) {
    viewOf(memory).setUint32(Number(offset), value % 2 ** 32, true);
    if (value >= 2 ** 32) viewOf(memory).setUint32(Number(offset) + 4, Math.floor(value / 2 ** 32), true);
  }
  const result = syscall("io_uring_setup", entries, memory.address);
  if (result >= 0) mustCall("close", result);
  return result;
}

function withFlags(flags: number): Params {
  return { [io_uring_params.flags]: flags };
}

/** io_uring_register(2) itself, for buffers: its result. */
function registerBuffers(fd: number, ...buffers: [base: number, length: number][]): number {
  using memory = alloc(iovec.sizeof * buffers.length);
  for (const [i, [base, length]] of buffers.entries()) {
    viewOf(memory).setBigUint64(i * iovec.sizeof + iovec.iov_base, BigInt(base), true);
    viewOf(memory).setBigUint64(i * iovec.sizeof + iovec.iov_len, BigInt(length), true);
  }
  return syscall("io_uring_register", fd, IORING_REGISTER_BUFFERS, memory.address, buffers.length);
}

/** Runs no-ops in batches, and makes sure that their completions come in order. */
function nopsInOrder(ring: Ring, count: number, batch: number): void {
  for (let done = 0; done < count; ) {
    const size = Math.min(batch, count - done);
    for (let i = 0; i < size; i++)
      entry(ring)
        .prepNop()
        .setData64(done + i);
    ring.submit();
    const end = performance.now() + PATIENCE_MS;
    for (const until = done + size; done < until; ) {
      ring.drain((userData, res, flags) => {
        if (userData !== done || res !== 0 || flags !== 0) {
          assert.fail(`completion ${done}: ${[userData, res, flags]}`);
        }
        done++;
      });
      if (done < until) ring.submitAndWait(1, { timeout: 1000 });
      assert.ok(performance.now() < end, `${done} of ${count} completions came`);
    }
  }
}

// ------------------------------------------------------------------------------------------------ liburing/b19062a56726

conformance("liburing/b19062a56726", "a CPU for the poller thread of a ring without one is refused", () => {
  const flags = IORING_SETUP_IOPOLL | IORING_SETUP_SQ_AFF;
  assert.equal(setup(3231, { ...withFlags(flags), [io_uring_params.sq_thread_cpu]: 1024 }), -EINVAL);
  assert.throws(() => new Ring({ entries: 3231, flags, sqThreadCpu: 1024 }), TypeError);
});

// ------------------------------------------------------------------------------------------------ liburing/init-mem

/** Where a ring's memory is, which the library has given to the kernel, and how much of it the kernel says it uses. */
interface Extent {
  readonly rings: { address: number; used: number };
  readonly sqes: { address: number; used: number };
}

/** Sets a ring up as on a kernel that knows no other flags. */
function ringWithExtent(options: RingOptions, unknownFlags: number): { ring: Ring; extent: Extent } {
  let extent: Extent | undefined;
  const ring = withShim(
    (real) => ({
      setup: (entries, params) => {
        const words = new DataView(real.view(params, io_uring_params.sizeof));
        const u32 = (offset: number) => words.getUint32(offset, true);
        const u64 = (offset: number) => Number(words.getBigUint64(offset, true));
        const flags = u32(io_uring_params.flags);
        if ((flags & unknownFlags) !== 0) return -EINVAL;
        const [sq, cq] = [io_uring_params.sq_off, io_uring_params.cq_off];
        const [rings, sqes] = [u64(cq + io_cqring_offsets.user_addr), u64(sq + io_sqring_offsets.user_addr)];
        const fd = real.setup(entries, params);
        const [sqEntries, cqEntries] = [u32(io_uring_params.sq_entries), u32(io_uring_params.cq_entries)];
        const cqes =
          u32(cq + io_cqring_offsets.cqes) + cqEntries * ((flags & IORING_SETUP_CQE32) !== 0 ? 32 : 16);
        const array =
          (flags & IORING_SETUP_NO_SQARRAY) !== 0 ? 0 : u32(sq + io_sqring_offsets.array) + sqEntries * 4;
        extent = {
          rings: { address: rings, used: Math.max(cqes, array) },
          sqes: { address: sqes, used: sqEntries * ((flags & IORING_SETUP_SQE128) !== 0 ? 128 : 64) },
        };
        return fd;
      },
    }),
    () => patiently(options),
  );
  assert.ok(extent);
  return { ring, extent };
}

/** The library gives memory in these. */
const UNIT = 65536;

function whole(bytes: number): number {
  return Math.ceil(bytes / UNIT) * UNIT;
}

const GUARD = 64;

/** Memory beside a ring's, which nothing may write to while the ring is used. */
function guards({ rings, sqes }: Extent): { own: [number, number][]; others: [number, number][] } {
  const end = sqes.address + sqes.used;
  const gap: [number, number][] = [
    [rings.address + rings.used, sqes.address],
    [end, sqes.address + whole(sqes.used)],
  ];
  return {
    // What is left of the last page is the ring's, and unused.
    own: gap.flatMap(([from, to]) =>
      to > from ? [[from, Math.min(GUARD, to - from)] as [number, number]] : [],
    ),
    others: [
      [rings.address - GUARD, GUARD],
      [sqes.address + whole(sqes.used), GUARD],
    ],
  };
}

for (const [sq, cq] of [
  [256, 16384],
  [32, 4096],
  [128, 8192],
  [4096, 32768],
  [1, 8],
  [2, 1024],
] as const) {
  conformance(
    "liburing/init-mem",
    `${sq} entries and ${cq} completions have the memory that they need, and write to no other`,
    (bench) => {
      const self = open(bench, "/proc/self/mem", O_RDWR);
      const read = (address: number, length: number) => {
        using memory = alloc(length);
        // Beside the first or last piece of memory there may be none.
        const count = syscall("pread64", self, memory.address, length, address);
        return [count, ...memory.bytes];
      };
      using pattern = alloc(GUARD);
      pattern.bytes.fill(0xa5);
      for (const flags of [
        0,
        IORING_SETUP_SQE128,
        IORING_SETUP_CQE32,
        IORING_SETUP_SQE128 | IORING_SETUP_CQE32,
      ]) {
        for (const unknown of [0, IORING_SETUP_NO_SQARRAY]) {
          const options: RingOptions = { entries: sq, cqEntries: cq, flags, memory: "owned" };
          const { ring, extent } = ringWithExtent(options, unknown);
          using _ = ring;
          assert.deepEqual([ring.params.sqEntries, ring.params.cqEntries], [sq, cq]);
          assert.equal(extent.sqes.address - extent.rings.address, whole(extent.rings.used));
          const { own, others } = guards(extent);
          for (const [address, length] of own) {
            assert.equal(syscall("pwrite64", self, pattern.address, length, address), length);
          }
          const before = [...own, ...others].map((guard) => read(...guard));
          nopsInOrder(ring, 2 * cq, Math.min(64, sq));
          assert.deepEqual(
            [...own, ...others].map((guard) => read(...guard)),
            before,
          );
        }
      }
    },
  );
}

// ------------------------------------------------------------------------------------------------ liburing/io_uring_register

conformance(
  "liburing/io_uring_register",
  "only a ring can be registered with, and only what there is",
  (bench) => {
    const ring = bench.ring();
    const MAX_FD = 2 ** 31 - 1;
    assert.equal(syscall("io_uring_register", MAX_FD, IORING_REGISTER_FILES, 0, 0), -EBADF);
    // From Linux 6.13 on this stands for no ring at all, which few calls do without.
    const withoutRing = syscall("io_uring_register", -1, IORING_REGISTER_FILES, 0, 0);
    assert.ok([-EBADF, -EINVAL].includes(withoutRing), `${withoutRing}`);
    assert.equal(
      syscall("io_uring_register", open(bench, "/dev/null"), IORING_REGISTER_FILES, 0, 0),
      -EOPNOTSUPP,
    );
    assert.equal(syscall("io_uring_register", ring.fd, MAX_U32, 0, 0), -EINVAL);
  },
  everywhere,
);

conformance(
  "liburing/io_uring_register",
  "1024 buffers can be registered, a million can not",
  (bench) => {
    const ring = bench.ring();
    const page = alloc(PAGE);
    assert.throws(() => ring.registerBuffers(Array(1048576).fill(page)), { code: "EINVAL", errno: EINVAL });
    // Without privileges, rings closed before may still have their part of what memory can be locked.
    const end = performance.now() + PATIENCE_MS;
    let result = -ENOMEM;
    while (result === -ENOMEM && performance.now() < end) {
      result = outcome(() => ring.registerBuffers(Array(1024).fill(page)));
    }
    assert.equal(result, 0);
    ring.unregisterBuffers();
  },
  fewRings,
);

conformance(
  "liburing/io_uring_register",
  "a buffer at no address, of no length, or that runs into memory that is not there is refused",
  (bench) => {
    const { fd } = bench.ring();
    assert.equal(registerBuffers(fd, [0, PAGE]), -EFAULT, "no address");
    using page = alloc(PAGE);
    assert.equal(registerBuffers(fd, [page.address, 0]), -EFAULT, "no length");
    const [PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS] = [1, 2, 2, 32];
    const protection = PROT_READ | PROT_WRITE;
    const two = mustCall("mmap", 0, 2 * PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mustCall("munmap", two + PAGE, PAGE);
    bench.defer(() => mustCall("munmap", two, PAGE));
    assert.equal(registerBuffers(fd, [two, 2 * PAGE]), -EFAULT, "memory that is not there");
    assert.equal(registerBuffers(fd, [two, PAGE]), 0);
  },
  everywhere,
);

conformance(
  "liburing/io_uring_register",
  "a writable shared mapping of a file on disk is no buffer",
  (bench) => {
    const { fd } = bench.ring();
    const size = 2 ** 21;
    const path = bench.path("file");
    writeFileSync(path, new Uint8Array(size));
    const [PROT_READ, PROT_WRITE, MAP_SHARED] = [1, 2, 1];
    const file = open(bench, path, O_RDWR);
    const address = mustCall("mmap", 0, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    bench.defer(() => mustCall("munmap", address, size));
    const TMPFS = 0x01021994;
    const expected = statfsSync(path).type === TMPFS ? [0] : [-EFAULT, -EOPNOTSUPP];
    const result = registerBuffers(fd, [address, size]);
    assert.ok(expected.includes(result), `${result}`);
  },
  everywhere,
);

conformance(
  "liburing/io_uring_register",
  "a table of too many files is refused, half and half again of it is not at some time",
  (bench) => {
    const ring = bench.ring();
    const fd = open(bench, "/dev/null");
    let count = 2 ** 21;
    const register = () => outcome(() => ring.registerFiles(Array(count).fill(fd)));
    assert.equal(register(), -EMFILE);
    for (let result = -EMFILE; result !== 0; result = register()) {
      assert.equal(result, -EMFILE);
      count /= 2;
      assert.ok(count >= 1);
    }
    ring.unregisterFiles();
  },
  fewRings,
);

conformance(
  "liburing/io_uring_register",
  "a ring with room for entries is ready for writing",
  (bench) => {
    const ring = bench.ring();
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepPollAdd(ring.fd, POLLOUT)),
      POLLOUT,
    );
  },
  everywhere,
);

conformance(
  "liburing/io_uring_register",
  "a ring is no file to register with itself",
  (bench) => {
    const ring = bench.ring();
    assert.throws(() => ring.registerFiles([ring.fd]), { code: "EBADF", errno: EBADF });
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/io_uring_setup

conformance("liburing/io_uring_setup", "a ring of no entries is refused", () => {
  assert.equal(setup(0, {}), -EINVAL);
  assert.throws(() => new Ring({ entries: 0 }), RangeError);
});

conformance(
  "liburing/io_uring_setup",
  "parameters at no address, or with reserved words in use, are refused",
  () => {
    assert.equal(syscall("io_uring_setup", 1, 0), -EFAULT);
    for (let word = 0; word < 3; word++) {
      assert.equal(setup(1, { [io_uring_params.resv + 4 * word]: 1 }), -EINVAL, `word ${word}`);
    }
  },
);

conformance("liburing/io_uring_setup", "flags that contradict each other, or are none, are refused", () => {
  for (const flags of [MAX_U32, IORING_SETUP_SQ_AFF]) {
    assert.equal(setup(1, withFlags(flags)), -EINVAL);
    assert.throws(() => new Ring({ flags }), TypeError);
  }
});

conformance("liburing/io_uring_setup", "a poller thread on a CPU that is none is refused", () => {
  const cpus =
    1 + Math.max(...readFileSync("/sys/devices/system/cpu/possible", "latin1").split(/[,-]/).map(Number));
  const flags = IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF;
  assert.equal(setup(1, { ...withFlags(flags), [io_uring_params.sq_thread_cpu]: cpus }), -EINVAL);
  assert.throws(() => new Ring({ flags, sqThreadCpu: cpus }), { code: "EINVAL", message: /sqThreadCpu/ });
});

conformance(
  "liburing/io_uring_setup",
  "a ring can not be read",
  (bench) => {
    using memory = alloc(8);
    assert.equal(syscall("read", bench.ring().fd, memory.address, 8), -EINVAL);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/large-resize

/** Every kind of ring can be resized but one with a poller thread, as long as it defers its work. */
const resizable = allRings.filter((type) => type !== "sqpoll");
const deferred = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;

/** Kinds whose completions carry two numbers more. */
const large: readonly RingType[] = ["cqe32", "mixed"];

conformance(
  "liburing/large-resize",
  "completions not yet read are there after the ring has grown, in order and whole",
  (bench) => {
    const ring = bench.ring({ entries: 4, cqEntries: 8, flags: deferred });
    // A large completion takes two places of a queue of mixed sizes.
    const extra = large.includes(bench.type);
    for (let i = 0; i < 4; i++) {
      const sqe = entry(ring);
      if (extra) nop(sqe, IORING_NOP_CQE32, 0, [100 + i, 200 + i]).setData64(i);
      else sqe.prepNop().setData64(i);
    }
    submitAll(ring, 4, 4);
    const slots = bench.type === "mixed" ? 8 : 4;
    assert.equal(ring.cqReady, slots);
    ring.resizeRings({ entries: 8, cqEntries: 16 });
    assert.deepEqual([ring.params.sqEntries, ring.params.cqEntries], [8, 16]);
    assert.equal(ring.cqReady, slots);
    const all: unknown[] = [];
    ring.cqAdvance(ring.forEachCqe(({ userData, res, big }) => all.push([userData, res, big])));
    assert.deepEqual(
      all,
      [0, 1, 2, 3].map((i) => [i, 0, extra ? [BigInt(100 + i), BigInt(200 + i)] : undefined]),
    );
    nopsInOrder(ring, 64, 8);
  },
  { rings: resizable },
);

conformance(
  "liburing/large-resize",
  "entries that the kernel has been shown, or not even that, are submitted after the ring has grown",
  (bench) => {
    let held = false;
    const ring = withShim(
      (real) => ({ enter: (...call) => (held ? -EAGAIN : real.enter(...call)) }),
      () => bench.ring({ entries: 8, flags: deferred }),
    );
    for (const shown of [true, false]) {
      // At another place of the queue each time, which grows from 8 to 16, and is as it was again.
      nopsInOrder(ring, 3, 3);
      for (let i = 0; i < 4; i++)
        entry(ring)
          .prepNop()
          .setData64(10 + i);
      if (shown) {
        held = true;
        assert.equal(ring.submit(), -EAGAIN);
        held = false;
      }
      ring.resizeRings({ entries: 16 });
      assert.equal(ring.sqReady, 4);
      assert.equal(ring.submit(), 4);
      const expected = [0, 1, 2, 3].map((i): Brief => [10 + i, 0, 0]);
      assert.deepEqual(brief(bench.collect(ring, 4)), expected);
      nopsInOrder(ring, 64, 16);
      ring.resizeRings({ entries: 8 });
    }
  },
  { rings: resizable },
);

conformance(
  "liburing/large-resize",
  "what is left of a completion queue that has wrapped is all there is after it has grown",
  (bench) => {
    const ring = bench.ring({ entries: 4, cqEntries: 4, flags: deferred });
    nopsInOrder(ring, 4, 4);
    for (let i = 4; i < 8; i++) entry(ring).prepNop().setData64(i);
    submitAll(ring, 4, 4);
    const seen: number[] = [];
    ring.forEachCqe(({ userData }) => {
      seen.push(userData);
    });
    assert.deepEqual(seen, [4, 5, 6, 7]);
    ring.cqAdvance(2);
    ring.resizeRings({ entries: 4, cqEntries: 16 });
    assert.equal(ring.params.cqEntries, 16);
    assert.deepEqual(brief(bench.collect(ring, 2)), [
      [6, 0, 0],
      [7, 0, 0],
    ]);
    assert.equal(ring.cqReady, 0);
    nopsInOrder(ring, 64, 4);
  },
  { rings: resizable },
);

conformance("liburing/large-resize", "no ring is made whose entries are of mixed sizes", () => {
  assert.throws(() => new Ring({ flags: deferred | IORING_SETUP_SQE_MIXED }), TypeError);
});

// ------------------------------------------------------------------------------------------------ liburing/no-mmap-inval

conformance("liburing/no-mmap-inval", "memory for completions without memory for entries is refused", () => {
  using memory = alloc(4 * PAGE);
  const result = setup(2, {
    ...withFlags(IORING_SETUP_NO_MMAP),
    [io_uring_params.cq_off + io_cqring_offsets.user_addr]: memory.address,
  });
  assert.ok(
    kernelTakes(IORING_SETUP_NO_MMAP) ? [-EFAULT, -ENOMEM].includes(result) : result === -EINVAL,
    `${result}`,
  );
});

// ------------------------------------------------------------------------------------------------ liburing/reg-fd-only

/** Not with memory of the kernel's, which can only be mapped by an fd. */
const withoutFd = allRings.filter((type) => type !== "mapped");

/** Whether there is a limit to the workers of either kind, as the kernel tells by the ring's index. */
function asksForWorkers(ring: Ring): void {
  const { bounded, unbounded } = ring.registerIowqMaxWorkers();
  assert.ok(bounded > 0 && unbounded > 0, `${bounded}, ${unbounded}`);
}

conformance(
  "liburing/reg-fd-only",
  "a ring without an fd is reached by its index, in all that it does",
  (bench) => {
    const before = ringFds();
    const ring = bench.ring({ entries: 8, fd: false });
    assert.deepEqual([ring.fd, ringFds()], [-1, before]);
    assert.throws(() => ring.registerRingFd(), { code: "EEXIST", errno: EEXIST });
    assert.throws(() => ring.closeRingFd(), { code: "EBADF", errno: EBADF });
    asksForWorkers(ring);
    nopsInOrder(ring, 32, 8);
  },
  { rings: withoutFd },
);

conformance(
  "liburing/reg-fd-only",
  "512 entries are too many for a page: in huge pages they need as many of them as there are, in others none",
  (bench) => {
    const options = { entries: 512, fd: false } as const;
    const ring = bench.ring(options);
    nopsInOrder(ring, 1024, 512);
    const free = Number(readFileSync("/proc/meminfo", "latin1").match(/^HugePages_Free:\s+(\d+)$/m)?.[1]);
    const inHugePages = () => new Ring({ ...ringTypes[bench.type], ...options, memory: "huge" });
    if (free === 0) {
      assert.throws(inHugePages, { code: "ENOMEM", errno: ENOMEM });
      return;
    }
    using huge = inHugePages();
    nopsInOrder(huge, 1024, 512);
  },
  { rings: withoutFd },
);

// ------------------------------------------------------------------------------------------------ liburing/reg-reg-ring

conformance(
  "liburing/reg-reg-ring",
  "a ring is reached by an index, which it has once, and by that alone after its fd is closed",
  (bench) => {
    const ring = bench.ring();
    assert.notEqual(ring.features & IORING_FEAT_REG_REG_RING, 0);
    // Rings register themselves.
    ring.unregisterRingFd();
    assert.throws(() => ring.closeRingFd(), { code: "EINVAL", errno: EINVAL });
    assert.throws(() => ring.unregisterRingFd(), { code: "EINVAL", errno: EINVAL });
    ring.registerRingFd();
    assert.throws(() => ring.registerRingFd(), { code: "EEXIST", errno: EEXIST });
    asksForWorkers(ring);

    const { fd } = ring;
    ring.closeRingFd();
    assert.equal(ring.fd, -1);
    assert.equal(syscall("io_uring_register", fd, IORING_REGISTER_IOWQ_MAX_WORKERS, 0, 0), -EBADF);
    asksForWorkers(ring);
    assert.throws(() => ring.closeRingFd(), { code: "EBADF", errno: EBADF });
    nopsInOrder(ring, 64, 32);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/resize-mmap-fail

for (const { memory, flags, how, errnos } of [
  { memory: "mapped", flags: deferred, how: "not enough address space for it", errnos: [ENOMEM] },
  // The library looks first whether there would be room.
  { memory: "mapped", flags: 0, how: "neither that nor its work deferred", errnos: [ENOMEM, EINVAL] },
  { memory: "owned", flags: 0, how: "memory, but not its work deferred", errnos: [EINVAL] },
  { memory: "owned", flags: deferred, how: "memory of the process's own perhaps", errnos: [0, ENOMEM] },
]) {
  conformance(
    "liburing/resize-mmap-fail",
    `a ring goes on that is to grow, and has ${how} (${memory})`,
    () => {
      const { code, output } = runProgram("squeezed-resize", [memory, flags, ...errnos].map(String));
      assert.equal(code, 42, output);
    },
  );
}

// ------------------------------------------------------------------------------------------------ liburing/ring-query

/** One question to the kernel. By default it is asked for its operations and flags, and nothing follows. */
interface Question {
  readonly op?: number;
  /** How much room there is for the answer, which is all that the kernel may write. */
  readonly size?: number;
  /** Where the answer is to go, if not to the room for it. */
  readonly data?: number;
  /** Which question follows, by its place, or the address of what is none. */
  readonly next?: number;
}

const NO_ADDRESS = 0xdead_0000_0000;
const ROOM = 256;
const UNTOUCHED = 0xee;

/** Asks the kernel: the call's result, and of each question what its head then says and what is where the answer goes. */
function ask(
  fd: number,
  questions: readonly Question[],
): { result: number; answers: { result: number; size: number; bytes: Uint8Array }[] } {
  const head = io_uring_query_hdr;
  const heads = questions.length * head.sizeof;
  using memory = alloc(heads + questions.length * ROOM);
  memory.bytes.fill(UNTOUCHED, heads);
  const view = viewOf(memory);
  for (const [i, { op = IO_URING_QUERY_OPCODES, size = ROOM, data, next }] of questions.entries()) {
    const at = i * head.sizeof;
    const follower =
      next !== undefined && next < questions.length ? memory.address + next * head.sizeof : (next ?? 0);
    view.setBigUint64(at + head.next_entry, BigInt(follower), true);
    view.setBigUint64(at + head.query_data, BigInt(data ?? memory.address + heads + i * ROOM), true);
    view.setUint32(at + head.query_op, op, true);
    view.setUint32(at + head.size, size, true);
  }
  const result = syscall("io_uring_register", fd, IORING_REGISTER_QUERY, memory.address, 0);
  const answers = questions.map((_, i) => ({
    result: view.getInt32(i * head.sizeof + head.result, true),
    size: view.getUint32(i * head.sizeof + head.size, true),
    bytes: memory.bytes.slice(heads + i * ROOM, heads + (i + 1) * ROOM),
  }));
  return { result, answers };
}

/** Whether there is a call by which the kernel can be asked, which needs no ring. */
const noQueries = ask(-1, [{}]).result === -EINVAL ? "IORING_REGISTER_QUERY came with Linux 6.18" : false;
const queries = { skip: noQueries } as const;

/** A whole answer. */
function wholeAnswer(fd: number): { result: number; size: number; bytes: Uint8Array } {
  const { result, answers } = ask(fd, [{}]);
  assert.equal(result, 0);
  return answers[0] as { result: number; size: number; bytes: Uint8Array };
}

conformance(
  "liburing/ring-query",
  "the kernel tells its operations, registrations and flags, with a ring or without one",
  (bench) => {
    for (const fd of [-1, bench.ring().fd]) {
      const { result, size, bytes } = wholeAnswer(fd);
      assert.equal(result, 0);
      // What the kernel of this layout's age fills, or a newer one.
      assert.ok(size >= io_uring_query_opcode.nr_query_opcodes, `${size} bytes`);
      const view = new DataView(bytes.buffer);
      const layout = io_uring_query_opcode;
      const told = query();
      assert.deepEqual(
        [layout.nr_request_opcodes, layout.nr_register_opcodes].map((at) => view.getUint32(at, true)),
        [told.requestOpcodes, told.registerOpcodes],
      );
      assert.deepEqual(
        [layout.feature_flags, layout.ring_setup_flags, layout.enter_flags, layout.sqe_flags].map((at) =>
          Number(view.getBigUint64(at, true)),
        ),
        [told.features, told.setupFlags, told.enterFlags, told.sqeFlags],
      );
      assert.ok(told.registerOpcodes > IORING_REGISTER_QUERY);
      const ring = bench.ring();
      assert.equal(told.requestOpcodes, ring.probe().lastOp + 1);
      assert.equal(told.features, ring.features);
      for (const flags of [told.setupFlags, told.enterFlags, told.sqeFlags]) assert.ok(flags > 0);
      assert.equal(ring.params.flags & ~told.setupFlags, 0);
    }
  },
  { ...queries, rings: allRings },
);

conformance(
  "liburing/ring-query",
  "a question that the kernel does not know fails for itself alone",
  () => {
    const { result, answers } = ask(-1, [{ op: MAX_U32, next: 1 }, {}]);
    assert.deepEqual([result, answers[0]?.result, answers[1]?.result], [0, -EOPNOTSUPP, 0]);
  },
  queries,
);

conformance(
  "liburing/ring-query",
  "a question, or an answer, at an address that is none is refused",
  () => {
    assert.equal(ask(-1, [{ next: NO_ADDRESS }]).result, -EFAULT);
    assert.equal(ask(-1, [{ data: NO_ADDRESS }]).result, -EFAULT);
  },
  queries,
);

conformance(
  "liburing/ring-query",
  "three questions one after the other are all answered",
  () => {
    const expected = wholeAnswer(-1);
    const { result, answers } = ask(-1, [{ next: 1 }, { next: 2 }, {}]);
    assert.equal(result, 0);
    assert.deepEqual(answers, [expected, expected, expected]);
  },
  queries,
);

conformance(
  "liburing/ring-query",
  "questions in a circle end with an error",
  () => {
    for (const circle of [[{ next: 0 }], [{ next: 1 }, { next: 0 }]]) {
      const { result } = ask(-1, circle);
      assert.ok(result < 0, `${result}`);
    }
  },
  queries,
);

conformance(
  "liburing/ring-query",
  "of an answer so much is written as there is room for, and what the room has more is zero",
  () => {
    const expected = wholeAnswer(-1);
    const filled = (from: number, value: number) => Array<number>(ROOM - from).fill(value);
    assert.deepEqual([...expected.bytes.slice(expected.size)], filled(expected.size, 0));
    for (const size of [4, 20, expected.size]) {
      const { result, answers } = ask(-1, [{ size }]);
      assert.deepEqual([result, answers[0]?.result, answers[0]?.size], [0, 0, size]);
      const bytes = [...(answers[0]?.bytes ?? [])];
      assert.deepEqual(bytes, [...expected.bytes.slice(0, size), ...filled(size, UNTOUCHED)]);
    }
  },
  queries,
);

// ------------------------------------------------------------------------------------------------ liburing/shared-wq

conformance(
  "liburing/shared-wq",
  "workers are shared with a ring, and with nothing else",
  (bench) => {
    const STDERR = 2;
    assert.throws(() => bench.ring({ attachWq: STDERR }), { code: "EINVAL", errno: EINVAL });
    const first = bench.ring();
    const second = bench.ring({ attachWq: first });
    assert.notEqual(second.params.flags & IORING_SETUP_ATTACH_WQ, 0);
    for (const ring of [first, second, bench.ring({ attachWq: first.fd })]) nopsInOrder(ring, 32, 32);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/teardowns

conformance(
  "liburing/teardowns",
  "12 processes make and close 100 rings each, unless memory is short",
  async () => {
    const programs = Array.from({ length: 12 }, () => startProgram("teardowns"));
    for (const { code, output } of await Promise.all(programs)) assert.equal(code, 42, output);
  },
);

// ------------------------------------------------------------------------------------------------ tokio/queue/test_setup_no_sqarray

conformance(
  "tokio/queue/test_setup_no_sqarray",
  "a ring without the array of indices works, and is refused where the kernel knows of none",
  (bench) => {
    const options = { entries: 8, flags: IORING_SETUP_NO_SQARRAY } as const;
    if (!kernelTakes(IORING_SETUP_NO_SQARRAY)) {
      assert.throws(() => bench.ring(options), { code: "EINVAL", errno: EINVAL });
      return;
    }
    const ring = bench.ring(options);
    assert.notEqual(ring.params.flags & IORING_SETUP_NO_SQARRAY, 0);
    entry(ring).prepNop().setData64(0x4242);
    assert.deepEqual(brief(bench.complete(ring, 1)), [[0x4242, 0, 0]]);
    // Where the array would be there is something else, which must stay as it is.
    nopsInOrder(ring, 80, 8);
    assert.deepEqual([ring.sqDropped, ring.cqOverflow], [0, 0]);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/regression/test_issue154

conformance(
  "tokio/regression/test_issue154",
  "a ring of 2^32 - 1 entries is refused, or cut down where it may be",
  () => {
    assert.equal(setup(MAX_U32, {}), -EINVAL);
    assert.throws(() => new Ring({ entries: MAX_U32 }), RangeError);
    using ring = patiently({ entries: MAX_U32, flags: IORING_SETUP_CLAMP });
    assert.deepEqual([ring.params.sqEntries, ring.params.cqEntries], [32768, 65536]);
    nopsInOrder(ring, 65536, 32768);
  },
);
