import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { alloc, cstring, Direct, encodeOpenHow, encodeTimespec, Iovecs, type Pinned, type Ring } from "uring";
import {
  AF_INET,
  AT_FDCWD,
  IORING_FILE_INDEX_ALLOC,
  IORING_FIXED_FD_NO_CLOEXEC,
  IORING_REGISTER_BUFFERS2,
  IORING_REGISTER_FILES_SKIP,
  IORING_SETUP_IOPOLL,
  IOSQE_IO_HARDLINK,
  IOSQE_IO_LINK,
  io_uring_rsrc_register,
  iovec,
  O_CREAT,
  O_RDONLY,
  O_RDWR,
  POLLIN,
  SOCK_DGRAM,
  SOCK_STREAM,
} from "uring/abi";
import { pipe } from "../support/harness.ts";
import { mustCall, syscall } from "../support/system.ts";
import { brief, entry, sorted, submitAll } from "./completions.ts";
import { random, randomFile } from "./content.ts";
import { open, owned, write } from "./descriptors.ts";
import { elapsed, PATIENCE_MS, SOON_MS } from "./durations.ts";
import { lacking } from "./kernel.ts";
import { outcome } from "./outcome.ts";
import { allRings, type Bench, conformance } from "./support.ts";

const { EBADF, EBUSY, EFAULT, EINVAL, EMFILE, ENFILE, ENXIO, EOVERFLOW, ETIME } = constants.errno;
const ALLOC = IORING_FILE_INDEX_ALLOC;
const SKIP = IORING_REGISTER_FILES_SKIP;

const everywhere = { rings: allRings };

/** So many files of their own, each with its number as its only byte, modulo 256. */
function numberedFiles(bench: Bench, count: number): number[] {
  return Array.from({ length: count }, (_, i) => {
    const fd = open(bench, bench.path(`file${i}`));
    assert.equal(write(fd, Uint8Array.of(i)), 1);
    return fd;
  });
}

/** The number of the file in a slot; `-errno` where there is none. */
function numberIn(bench: Bench, ring: Ring, slot: number): number {
  using target = alloc(1);
  const result = bench.run(ring, (sqe) => sqe.prepRead(new Direct(slot), target, 1, 0));
  return result === 1 ? (target.bytes[0] as number) : result;
}

function empty(count: number): number[] {
  return Array<number>(count).fill(-1);
}

/** How many files the process may have open. */
function fileLimit(): number {
  const [, limit] = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1")) ?? [];
  return Number(limit);
}

// ------------------------------------------------------------------------------------------------ liburing/8a9973408177

conformance(
  "liburing/8a9973408177",
  "a table that ends at once leaves the ring as it was",
  (bench) => {
    const ring = bench.ring();
    const { fd } = randomFile(bench, 1);
    ring.registerFiles([fd]);
    ring.unregisterFiles();
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepFsync(fd, 0)),
      0,
    );
    bench.quiet(ring, 10);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/file-exit-unreg

/** Whether the kernel has warned of itself since it started. */
function kernelWarned(): boolean {
  const TAINT_WARN = 1 << 9;
  return (Number(readFileSync("/proc/sys/kernel/tainted", "latin1")) & TAINT_WARN) !== 0;
}

conformance(
  "liburing/file-exit-unreg",
  "a ring ends with files that have tags",
  (bench) => {
    const before = kernelWarned();
    const ring = bench.ring();
    using ends = pipe();
    ring.registerFilesTags([ends.read, ends.write], [1, 2]);
    const time = elapsed(() => assert.deepEqual(ring.close({ deadline: PATIENCE_MS }), { leaked: 0 }));
    assert.ok(time < SOON_MS, `${time} ms`);
    assert.equal(kernelWarned(), before);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/file-register

for (const count of [100, 768]) {
  conformance(
    "liburing/file-register",
    `${count} files are registered and unregistered`,
    (bench) => {
      const ring = bench.ring();
      ring.registerFiles(numberedFiles(bench, count));
      for (const slot of [0, 50, count - 1]) assert.equal(numberIn(bench, ring, slot), slot % 256);
      ring.unregisterFiles();
      assert.equal(numberIn(bench, ring, 0), -EBADF);
    },
    everywhere,
  );
}

conformance(
  "liburing/file-register",
  "-1 is an empty slot, -2 is none",
  (bench) => {
    const ring = bench.ring();
    const [first, second] = numberedFiles(bench, 2) as [number, number];
    assert.equal(
      outcome(() => ring.registerFiles([first, SKIP, second])),
      -EBADF,
    );
    assert.equal(
      outcome(() => ring.unregisterFiles()),
      -ENXIO,
    );
    ring.registerFiles([first, -1, second]);
    assert.deepEqual(
      [0, 1, 2].map((slot) => numberIn(bench, ring, slot)),
      [0, -EBADF, 1],
    );
  },
  everywhere,
);

conformance(
  "liburing/file-register",
  "an update's result is how many slots it has changed",
  (bench) => {
    const ring = bench.ring();
    const files = numberedFiles(bench, 110);
    const numbers = (first: number, count: number) =>
      Array.from({ length: count }, (_, i) => numberIn(bench, ring, first + i));
    ring.registerFiles([...files.slice(0, 100), ...empty(100)]);
    assert.equal(ring.registerFilesUpdate(100, files.slice(100, 102)), 2);
    assert.deepEqual(numbers(99, 4), [99, 100, 101, -EBADF]);
    assert.equal(ring.registerFilesUpdate(50, empty(10)), 10);
    assert.deepEqual(numbers(49, 12), [49, ...Array(10).fill(-EBADF), 60]);
    assert.equal(ring.registerFilesUpdate(90, files.slice(100)), 10);
    assert.deepEqual(numbers(89, 12), [89, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 100]);
    assert.equal(ring.registerFilesUpdate(0, empty(100)), 100);
    assert.deepEqual(numbers(98, 4), [-EBADF, -EBADF, 100, 101]);
    ring.unregisterFiles();
  },
  everywhere,
);

conformance(
  "liburing/file-register",
  "an update must begin and end within the table",
  (bench) => {
    const ring = bench.ring();
    const files = numberedFiles(bench, 2);
    ring.registerFilesSparse(100);
    const update = (offset: number, fds: number[]) => outcome(() => ring.registerFilesUpdate(offset, fds));
    assert.equal(update(100, files), -EINVAL);
    assert.equal(update(101, files), -EINVAL);
    assert.equal(update(0xffff_fffd, files), -EINVAL);
    assert.equal(update(0xffff_ffff, files), -EOVERFLOW);
    assert.equal(update(99, files), -EINVAL);
    assert.equal(update(98, files), 2);
  },
  everywhere,
);

conformance(
  "liburing/file-register",
  "a sparse table is filled one slot at a time",
  (bench) => {
    const ring = bench.ring();
    const files = numberedFiles(bench, 250);
    ring.registerFiles([...files.slice(0, 50), ...empty(250)]);
    for (let slot = 50; slot < 300; slot++) {
      assert.equal(ring.registerFilesUpdate(slot, [files[slot - 50] as number]), 1);
    }
    assert.deepEqual(
      [49, 50, 51, 299].map((slot) => numberIn(bench, ring, slot)),
      [49, 0, 1, 249],
    );
  },
  everywhere,
);

conformance(
  "liburing/file-register",
  "slot 7193 of 8192 is written and read",
  (bench) => {
    const ring = bench.ring();
    const { fd } = randomFile(bench, 0);
    ring.registerFiles(empty(8192));
    assert.equal(ring.registerFilesUpdate(7193, [fd]), 1);
    const slot = new Direct(7193);
    const [data, target] = [random(4096), alloc(4096)];
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepWritev(slot, new Iovecs([data]), 1, 0)),
      4096,
    );
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepReadv(slot, new Iovecs([target]), 1, 0)),
      4096,
    );
    assert.deepEqual(target.bytes, data.bytes);
    assert.equal(numberIn(bench, ring, 7194), -EBADF);
  },
  { ...everywhere, skip: fileLimit() < 8192 ? `a process may open only ${fileLimit()} files` : false },
);

conformance(
  "liburing/file-register",
  "an update leaves a slot as it is, and counts it",
  (bench) => {
    const ring = bench.ring();
    const files = numberedFiles(bench, 2);
    ring.registerFiles([...files, -1]);
    assert.equal(ring.registerFilesUpdate(1, [SKIP]), 1);
    assert.equal(numberIn(bench, ring, 1), 1);
    assert.equal(ring.registerFilesUpdate(0, [SKIP, SKIP, files[0] as number]), 3);
    assert.deepEqual(
      [0, 1, 2].map((slot) => numberIn(bench, ring, slot)),
      [0, 1, 0],
    );
  },
  everywhere,
);

conformance(
  "liburing/file-register",
  "a write behind a timeout of three seconds completes although its slot is cleared meanwhile",
  (bench) => {
    const ring = bench.ring();
    const files = numberedFiles(bench, 2);
    ring.registerFiles(files);
    entry(ring).prepTimeout(encodeTimespec(3000), 0, 0).setFlags(IOSQE_IO_HARDLINK).setData64(1);
    entry(ring).prepWrite(new Direct(1), random(4096), 4096, 0).setData64(2);
    submitAll(ring, 2);
    assert.equal(ring.registerFilesUpdate(0, [-1, -1]), 2);
    const [timeout, written] = brief(bench.collect(ring, 2));
    assert.deepEqual(timeout, [1, -ETIME, 0]);
    const [userData, res, flags] = written ?? [];
    assert.deepEqual([userData, flags], [2, 0]);
    // The write has its file from the moment of its submission, or from that of its start.
    assert.ok(res === 4096 || res === -EBADF, `write: ${res}`);
  },
  // As long as it takes: where the two kinds of submission are, and where completions come by.
  { rings: ["default", "defer", "sqpoll"] },
);

conformance(
  "liburing/file-register",
  "a table with the ring itself is refused, and keeps none of the other files",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    assert.equal(
      outcome(() => ring.registerFiles([ends.write, ring.fd])),
      -EBADF,
    );
    ends.close(ends.write);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepRead(ends.read, alloc(8), 8, -1)),
      0,
    );
  },
  everywhere,
);

conformance(
  "liburing/file-register",
  "a range to pick slots from lies within the table",
  (bench) => {
    const ring = bench.ring();
    ring.registerFilesSparse(10);
    const range = (off: number, len: number) => outcome(() => ring.registerFileAllocRange(off, len));
    assert.equal(range(8, 3), -EINVAL);
    assert.equal(range(10, 1), -EINVAL);
    assert.equal(range(7, 2 ** 32 - 2), -EOVERFLOW);
    assert.equal(range(0, 10), 0);
  },
  everywhere,
);

conformance(
  "liburing/file-register",
  "files open into slots of the range only, and into none once it is full or empty",
  (bench) => {
    const ring = bench.ring();
    const { path, content } = randomFile(bench, 16);
    const openAny = () =>
      bench.run(ring, (sqe) => sqe.prepOpenatDirect(AT_FDCWD, cstring(path), O_RDONLY, 0, ALLOC));
    ring.registerFilesSparse(10);
    ring.registerFileAllocRange(7, 2);
    assert.deepEqual([openAny(), openAny(), openAny()], [7, 8, -ENFILE]);
    assert.deepEqual(
      [6, 7, 8, 9].map((slot) => numberIn(bench, ring, slot)),
      [-EBADF, content[0], content[0], -EBADF],
    );
    ring.registerFileAllocRange(7, 0);
    assert.deepEqual([openAny(), openAny()], [-ENFILE, -ENFILE]);
  },
  everywhere,
);

conformance(
  "liburing/file-register",
  "a table ends at once although a read of it has just got its data",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    const target = alloc(8);
    ring.registerFiles([ends.read]);
    entry(ring).prepRead(new Direct(0), target, 8, -1).setData64(3);
    submitAll(ring, 1);
    assert.equal(write(ends.write, "late"), 4);
    const time = elapsed(() => ring.unregisterFiles());
    assert.ok(time < SOON_MS, `${time} ms`);
    assert.deepEqual(brief(bench.collect(ring, 1)), [[3, 4, 0]]);
    assert.equal(Buffer.from(target.bytes.slice(0, 4)).toString(), "late");
    assert.equal(numberIn(bench, ring, 0), -EBADF);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/fixed-reuse

conformance(
  "liburing/fixed-reuse",
  "a chain opens a file into a slot in use, reads that file and closes it",
  (bench) => {
    const ring = bench.ring();
    const before = randomFile(bench, 4096, 0, "before");
    const path = bench.path("opened");
    const content = random(4096, 1);
    assert.equal(write(open(bench, path), content.bytes), 4096);
    ring.registerFiles([before.fd]);
    const target = alloc(4096);
    entry(ring)
      .prepOpenatDirect(AT_FDCWD, cstring(path), O_RDONLY, 0, 0)
      .setFlags(IOSQE_IO_LINK)
      .setData64(1);
    entry(ring).prepRead(new Direct(0), target, 4096, 0).addFlags(IOSQE_IO_LINK).setData64(2);
    entry(ring).prepCloseDirect(0).setData64(3);
    submitAll(ring, 3);
    assert.deepEqual(brief(bench.collect(ring, 3)), [
      [1, 0, 0],
      [2, 4096, 0],
      [3, 0, 0],
    ]);
    assert.deepEqual(target.bytes, content.bytes);
    assert.equal(numberIn(bench, ring, 0), -EBADF);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/ooo-file-unreg

conformance(
  "liburing/ooo-file-unreg",
  "slots are cleared in any order, though the fds are closed and a poll is pending on the last",
  (bench) => {
    const ring = bench.ring();
    const socket = () => bench.run(ring, (sqe) => sqe.prepSocket(AF_INET, SOCK_DGRAM, 0, 0));
    const sockets = [socket(), socket()];
    ring.registerFilesSparse(2);
    assert.equal(ring.registerFilesUpdate(0, sockets), 2);
    for (const fd of sockets) mustCall("close", fd);
    entry(ring).prepPollAdd(new Direct(0), POLLIN).setData64(1);
    submitAll(ring, 1);
    assert.equal(ring.registerFilesUpdate(1, [-1]), 1);
    assert.equal(ring.registerFilesUpdate(0, [-1]), 1);
    bench.quiet(ring, 10);
    const time = elapsed(() => assert.deepEqual(ring.close({ deadline: PATIENCE_MS }), { leaked: 0 }));
    assert.ok(time < SOON_MS, `${time} ms`);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/reg-hint

conformance(
  "liburing/reg-hint",
  "nothing is picked from a table that has ended",
  (bench) => {
    const ring = bench.ring();
    ring.registerFilesSparse(16);
    ring.unregisterFiles();
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepSocketDirectAlloc(AF_INET, SOCK_STREAM, 0, 0)),
      -ENFILE,
    );
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/rsrc_tags

/** What can have tags: how a table of it is made, changed and ended. */
interface Resource {
  readonly name: string;
  /** Three that are there, and nothing. */
  readonly of: (bench: Bench) => Table;
}

interface Table {
  register(ring: Ring, places: readonly Place[], tags?: readonly number[]): void;
  update(ring: Ring, offset: number, places: readonly Place[], tags?: readonly number[]): number;
  unregister(ring: Ring): void;
}

type Place = 0 | 1 | 2 | "nothing";

function tableOf<T>(
  things: readonly T[],
  nothing: T,
  calls: {
    register(ring: Ring, things: T[]): void;
    registerTags(ring: Ring, things: T[], tags: readonly number[]): void;
    update(ring: Ring, offset: number, things: T[], tags?: readonly number[]): number;
    unregister(ring: Ring): void;
  },
): Table {
  const at = (places: readonly Place[]) =>
    places.map((place) => (place === "nothing" ? nothing : (things[place] as T)));
  return {
    register: (ring, places, tags) =>
      tags === undefined ? calls.register(ring, at(places)) : calls.registerTags(ring, at(places), tags),
    update: (ring, offset, places, tags) => calls.update(ring, offset, at(places), tags),
    unregister: (ring) => calls.unregister(ring),
  };
}

const resources: Resource[] = [
  {
    name: "files",
    of: (bench) =>
      tableOf(numberedFiles(bench, 3), -1, {
        register: (ring, fds) => ring.registerFiles(fds),
        registerTags: (ring, fds, tags) => ring.registerFilesTags(fds, tags),
        update: (ring, offset, fds, tags) => ring.registerFilesUpdateTag(offset, fds, tags),
        unregister: (ring) => ring.unregisterFiles(),
      }),
  },
  {
    name: "buffers",
    of: () =>
      tableOf<Pinned | null>([alloc(4096), alloc(4096), alloc(4096)], null, {
        register: (ring, buffers) => ring.registerBuffers(buffers),
        registerTags: (ring, buffers, tags) => ring.registerBuffersTags(buffers, tags),
        update: (ring, offset, buffers, tags) => ring.registerBuffersUpdateTag(offset, buffers, tags),
        unregister: (ring) => ring.unregisterBuffers(),
      }),
  },
];

/** Kinds of ring that are no types of their own here: what polls devices can wait for no pipe, but has tables. */
const polled = { kind: ", on a ring that polls", flags: IORING_SETUP_IOPOLL, rings: ["default"] } as const;
const tagRings = [{ kind: "", flags: 0, rings: allRings }, polled] as const;

for (const { kind, flags, rings } of tagRings) {
  for (const { name, of } of resources) {
    conformance(
      "liburing/rsrc_tags",
      `the tags of ${name} come as these are replaced, removed and unregistered, each once${kind}`,
      (bench) => {
        const ring = bench.ring({ flags });
        const table = of(bench);
        table.register(ring, [0, 1, 2], [10, 11, 12]);
        assert.equal(table.update(ring, 1, [2], [21]), 1);
        assert.deepEqual(brief(bench.collect(ring, 1)), [[11, 0, 0]]);
        assert.equal(table.update(ring, 2, ["nothing"], [0]), 1);
        assert.deepEqual(brief(bench.collect(ring, 1)), [[12, 0, 0]]);
        assert.equal(table.update(ring, 0, [1, 0], [30, 31]), 2);
        assert.deepEqual(sorted(bench.collect(ring, 2)), [
          [10, 0, 0],
          [21, 0, 0],
        ]);
        bench.quiet(ring, 10);
        table.unregister(ring);
        assert.deepEqual(sorted(bench.collect(ring, 2)), [
          [30, 0, 0],
          [31, 0, 0],
        ]);
        bench.quiet(ring, 10);
        assert.equal(ring.inFlight, 0);
      },
      { rings },
    );

    conformance(
      "liburing/rsrc_tags",
      `what has the tag 0 or none posts nothing, with ${name}${kind}`,
      (bench) => {
        const ring = bench.ring({ flags });
        const table = of(bench);
        table.register(ring, [0, 1, 2], [0, 5, 0]);
        assert.equal(table.update(ring, 0, [1], [0]), 1);
        assert.equal(table.update(ring, 2, [1]), 1);
        bench.quiet(ring, 10);
        table.unregister(ring);
        assert.deepEqual(brief(bench.collect(ring, 1)), [[5, 0, 0]]);
        table.register(ring, [0, 1, "nothing"]);
        assert.equal(table.update(ring, 0, [2]), 1);
        assert.equal(table.update(ring, 1, ["nothing", 2]), 2);
        table.unregister(ring);
        bench.quiet(ring, 10);
        assert.equal(ring.inFlight, 0);
      },
      { rings },
    );

    conformance(
      "liburing/rsrc_tags",
      `an empty slot has no tag, and a table of ${name} that fails half way posts none${kind}`,
      (bench) => {
        const ring = bench.ring({ flags });
        const table = of(bench);
        assert.equal(
          outcome(() => table.register(ring, [0, "nothing"], [1, 2])),
          -EINVAL,
        );
        table.register(ring, [0, 1], [3, 4]);
        assert.equal(
          outcome(() => table.update(ring, 0, ["nothing"], [5])),
          -EINVAL,
        );
        // The update ends before what fails.
        assert.equal(table.update(ring, 0, [1, "nothing"], [6, 7]), 1);
        assert.deepEqual(brief(bench.collect(ring, 1)), [[3, 0, 0]]);
        bench.quiet(ring, 10);
        table.unregister(ring);
        assert.deepEqual(sorted(bench.collect(ring, 2)), [
          [4, 0, 0],
          [6, 0, 0],
        ]);
        assert.equal(ring.inFlight, 0);
      },
      { rings },
    );
  }

  conformance(
    "liburing/rsrc_tags",
    `a table with an fd that is not open posts no tag${kind}`,
    (bench) => {
      const ring = bench.ring({ flags });
      const [fd] = numberedFiles(bench, 1) as [number];
      assert.equal(
        outcome(() => ring.registerFilesTags([fd, 0x7fff_ffff], [1, 2])),
        -EBADF,
      );
      bench.quiet(ring, 10);
      assert.equal(ring.inFlight, 0);
    },
    { rings },
  );

  conformance(
    "liburing/rsrc_tags",
    `a table with memory that is nowhere is refused, and posts no tag${kind}`,
    (bench) => {
      const ring = bench.ring({ flags });
      using memory = alloc(4096);
      for (const address of [0, 4096]) {
        assert.equal(registerPair(ring, memory, address), -EFAULT, `address ${address}`);
      }
      bench.quiet(ring, 10);
      assert.equal(
        outcome(() => ring.unregisterBuffers()),
        -ENXIO,
      );
    },
    { rings },
  );
}

/** Registers memory and, as a second buffer with a tag, 4096 bytes at an address, which no helper can be given; the result. */
function registerPair(ring: Ring, memory: Pinned, address: number): number {
  const argument = io_uring_rsrc_register;
  using block = alloc(argument.sizeof + 2 * iovec.sizeof + 16);
  const view = new DataView(block.bytes.buffer, block.bytes.byteOffset, block.byteLength);
  const iovecs = argument.sizeof;
  const tags = iovecs + 2 * iovec.sizeof;
  view.setUint32(argument.nr, 2, true);
  view.setBigUint64(argument.data, BigInt(block.address + iovecs), true);
  view.setBigUint64(argument.tags, BigInt(block.address + tags), true);
  for (const [i, base] of [memory.address, address].entries()) {
    view.setBigUint64(iovecs + i * iovec.sizeof + iovec.iov_base, BigInt(base), true);
    view.setBigUint64(iovecs + i * iovec.sizeof + iovec.iov_len, 4096n, true);
    view.setBigUint64(tags + 8 * i, BigInt(i + 1), true);
  }
  return syscall("io_uring_register", ring.fd, IORING_REGISTER_BUFFERS2, block.address, argument.sizeof);
}

for (const { how, replace } of [
  { how: "replaced", replace: (ring: Ring) => ring.registerBuffersUpdateTag(0, [alloc(4096)], [3]) },
  { how: "removed", replace: (ring: Ring) => ring.registerBuffersUpdateTag(0, [null]) },
]) {
  conformance(
    "liburing/rsrc_tags",
    `the tag of a buffer that is ${how} comes after the read into it`,
    (bench) => {
      const ring = bench.ring();
      using ends = pipe();
      const buffer = alloc(4096);
      ring.registerBuffersTags([buffer], [2]);
      entry(ring).prepReadFixed(ends.read, buffer, 10, -1, 0).setData64(100);
      submitAll(ring, 1);
      assert.equal(replace(ring), 1);
      bench.quiet(ring, 10);
      assert.equal(write(ends.write, "0123456789"), 10);
      assert.deepEqual(brief(bench.collect(ring, 2)), [
        [100, 10, 0],
        [2, 0, 0],
      ]);
      assert.equal(Buffer.from(buffer.bytes.slice(0, 10)).toString(), "0123456789");
    },
    everywhere,
  );
}

conformance(
  "liburing/rsrc_tags",
  "the tag of a file that is replaced comes after the read of it",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    ring.registerFilesTags([ends.read], [2]);
    entry(ring).prepRead(new Direct(0), alloc(10), 10, -1).setData64(100);
    submitAll(ring, 1);
    assert.equal(ring.registerFilesUpdateTag(0, [ends.write], [3]), 1);
    bench.quiet(ring, 10);
    assert.equal(write(ends.write, "0123456789"), 10);
    assert.deepEqual(brief(bench.collect(ring, 2)), [
      [100, 10, 0],
      [2, 0, 0],
    ]);
  },
  everywhere,
);

conformance(
  "liburing/rsrc_tags",
  "a buffer may be nothing, take the place of a real one, and be replaced by one",
  (bench) => {
    const ring = bench.ring();
    const { fd, content } = randomFile(bench, 16);
    const buffer = alloc(4096);
    const read = (slot: number) => bench.run(ring, (sqe) => sqe.prepReadFixed(fd, buffer, 16, 0, slot));
    ring.registerBuffersTags([buffer, null], [1, 0]);
    assert.deepEqual([read(0), read(1)], [16, -EFAULT]);
    assert.deepEqual(buffer.bytes.slice(0, 16), content.slice());
    assert.equal(ring.registerBuffersUpdateTag(0, [null, buffer], [0, 2]), 2);
    assert.deepEqual(brief(bench.collect(ring, 1)), [[1, 0, 0]]);
    assert.deepEqual([read(0), read(1)], [-EFAULT, 16]);
    assert.equal(ring.registerBuffersUpdateTag(0, [buffer, null]), 2);
    assert.deepEqual(brief(bench.collect(ring, 1)), [[2, 0, 0]]);
    assert.deepEqual([read(0), read(1)], [16, -EFAULT]);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/fs/test_file_open*

for (const { id, into } of [
  {
    id: "tokio/fs/test_file_openat_close_file_index",
    into: (bench: Bench, ring: Ring, path: string, slot: number | Direct) =>
      bench.run(ring, (sqe) => sqe.prepOpenatDirect(AT_FDCWD, cstring(path), O_CREAT | O_RDWR, 0o600, slot)),
  },
  {
    id: "tokio/fs/test_file_openat2_close_file_index",
    into: (bench: Bench, ring: Ring, path: string, slot: number | Direct) =>
      bench.run(ring, (sqe) =>
        sqe.prepOpenat2Direct(
          AT_FDCWD,
          cstring(path),
          encodeOpenHow({ flags: O_CREAT | O_RDWR, mode: 0o600 }),
          slot,
        ),
      ),
  },
]) {
  const close = (bench: Bench, ring: Ring, slot: number) =>
    bench.run(ring, (sqe) => sqe.prepCloseDirect(slot));

  conformance(
    id,
    "files open into any free slot until there is none",
    (bench) => {
      const ring = bench.ring();
      const path = bench.path("file");
      ring.registerFilesSparse(2);
      assert.deepEqual(
        [1, 2, 3].map(() => into(bench, ring, path, ALLOC)),
        [0, 1, -ENFILE],
      );
      assert.deepEqual([close(bench, ring, 0), close(bench, ring, 1)], [0, 0]);
      assert.equal(close(bench, ring, 0), -EBADF);
      assert.ok([0, 1].includes(into(bench, ring, path, ALLOC)));
    },
    everywhere,
  );

  conformance(
    id,
    "files open into the slots they are told, of those there are",
    (bench) => {
      const ring = bench.ring();
      const path = bench.path("file");
      ring.registerFilesSparse(2);
      assert.deepEqual(
        [2, 1, 0].map((slot) => into(bench, ring, path, new Direct(slot))),
        [-EINVAL, 0, 0],
      );
      assert.equal(
        bench.run(ring, (sqe) => sqe.prepWrite(new Direct(0), random(100), 100, 0)),
        100,
      );
      assert.equal(numberIn(bench, ring, 1), random(100).bytes[0]);
      ring.unregisterFiles();
      assert.equal(numberIn(bench, ring, 0), -EBADF);
    },
    everywhere,
  );
}

// ------------------------------------------------------------------------------------------------ tokio/fs/test_fixed_fd_install

conformance(
  "tokio/fs/test_fixed_fd_install",
  "a file in a slot is given an fd, at the position it was opened with",
  (bench) => {
    const ring = bench.ring();
    const { path, content } = randomFile(bench, 1024);
    ring.registerFilesSparse(1);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepOpenatDirect(AT_FDCWD, cstring(path), O_RDONLY, 0, 0)),
      0,
    );
    const target = alloc(1024);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepRead(new Direct(0), target, 1024, 0)),
      1024,
    );
    assert.deepEqual(target.bytes.slice(), content.slice());
    const fd = bench.run(ring, (sqe) => sqe.prepFixedFdInstall(0, 0));
    assert.ok(fd > 0, `fixed_fd_install: ${fd}`);
    owned(bench, fd);
    target.bytes.fill(0);
    assert.equal(mustCall("read", fd, target.address, 1024), 1024);
    assert.deepEqual(target.bytes.slice(), content.slice());
    // Either is closed without the other.
    ring.unregisterFiles();
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepRead(fd, target, 1024, 1000)),
      24,
    );
  },
  { ...everywhere, skip: lacking(6, 8) },
);

conformance(
  "tokio/fs/test_fixed_fd_install",
  "an fd is closed when the program becomes another, unless that is not wanted; an empty slot has none",
  (bench) => {
    const ring = bench.ring();
    const { fd } = randomFile(bench, 1);
    ring.registerFiles([fd, -1]);
    const F_GETFD = 1;
    const FD_CLOEXEC = 1;
    for (const [flags, expected] of [
      [0, FD_CLOEXEC],
      [IORING_FIXED_FD_NO_CLOEXEC, 0],
    ] as const) {
      const installed = owned(
        bench,
        bench.run(ring, (sqe) => sqe.prepFixedFdInstall(new Direct(0), flags)),
      );
      assert.equal(mustCall("fcntl", installed, F_GETFD), expected);
    }
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepFixedFdInstall(1, 0)),
      -EBADF,
    );
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepFixedFdInstall(0, 1 << 5)),
      -EINVAL,
    );
  },
  { ...everywhere, skip: lacking(6, 8) },
);

// ------------------------------------------------------------------------------------------------ tokio/register/test_register_files_sparse

conformance(
  "tokio/register/test_register_files_sparse",
  "there is one table, which ends once",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    ring.registerFilesSparse(4);
    assert.equal(
      outcome(() => ring.registerFiles([ends.read, ends.write, -1])),
      -EBUSY,
    );
    assert.equal(
      outcome(() => ring.registerFilesSparse(3)),
      -EBUSY,
    );
    ring.unregisterFiles();
    assert.equal(
      outcome(() => ring.unregisterFiles()),
      -ENXIO,
    );
  },
  everywhere,
);

conformance(
  "tokio/register/test_register_files_sparse",
  "a table may be as large as the process's limit of open files",
  (bench) => {
    const ring = bench.ring();
    ring.registerFilesSparse(4);
    ring.unregisterFiles();
    const possible = fileLimit() >= 10_000;
    assert.equal(
      outcome(() => ring.registerFilesSparse(10_000)),
      possible ? 0 : -EMFILE,
    );
    assert.equal(
      outcome(() => ring.unregisterFiles()),
      possible ? 0 : -ENXIO,
    );
    assert.equal(
      outcome(() => ring.registerFilesSparse(fileLimit() + 1)),
      -EMFILE,
    );
  },
  everywhere,
);
