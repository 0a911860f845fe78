import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { constants } from "node:os";
import { alloc, Iovecs, type Pinned, type Ring } from "uring";
import {
  IORING_FEAT_RW_CUR_POS,
  IORING_FSYNC_DATASYNC,
  IORING_OP_FSYNC,
  IORING_OP_FTRUNCATE,
  IOSQE_IO_DRAIN,
  IOSQE_IO_LINK,
  MADV_DONTNEED,
  MADV_WILLNEED,
  O_CREAT,
  O_DIRECT,
  O_DIRECTORY,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  POSIX_FADV_DONTNEED,
  POSIX_FADV_WILLNEED,
} from "uring/abi";
import { pipe } from "../support/harness.ts";
import { mustCall, writesFromThread } from "../support/system.ts";
import { brief, entry, sorted, submitAll } from "./completions.ts";
import { random, randomFile } from "./content.ts";
import { eventfd, isOpen, open, owned, read, sizeOf, textMemory, textOf } from "./descriptors.ts";
import { elapsed, PATIENCE_MS, SOON_MS } from "./durations.ts";
import { allRings, type Bench, conformance } from "./support.ts";

const { EFBIG, EINVAL } = constants.errno;

const everywhere = { rings: allRings };
const KIB = 1024;

function numbers(memory: Pinned): number[] {
  return Array.from(memory.bytes);
}

// ------------------------------------------------------------------------------------------------ liburing/close-opath

conformance(
  "liburing/close-opath",
  "a folder's fd closes, one of O_PATH too",
  (bench) => {
    const ring = bench.ring();
    for (const flags of [O_RDONLY, O_PATH]) {
      const fd = mustCall("dup", open(bench, "/", flags | O_DIRECTORY));
      assert.equal(
        bench.run(ring, (sqe) => sqe.prepClose(fd)),
        0,
      );
      assert.ok(!isOpen(fd));
    }
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/evfd-short-read

conformance(
  "liburing/evfd-short-read",
  "a read longer than an eventfd's eight bytes completes with them",
  (bench) => {
    const ring = bench.ring();
    const fd = eventfd(bench, 0, O_NONBLOCK);
    const memory = alloc(16);
    entry(ring).prepRead(fd, memory, 16, 0).setData64(1);
    submitAll(ring, 1);
    const writer = writesFromThread(fd, { size: 8, pauseMs: 10 });
    const time = elapsed(() => assert.deepEqual(brief(bench.collect(ring, 1)), [[1, 8, 0]]));
    assert.equal(writer.join(), 8);
    assert.ok(time < SOON_MS, `${time} ms`);
    assert.equal(textOf(memory), "xxxxxxxx".padEnd(16, "\0"));
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/fadvise

conformance(
  "liburing/fadvise",
  "advice is taken, and the file is what it was",
  (bench) => {
    const ring = bench.ring();
    const length = 128 * KIB;
    const { fd, path, content } = randomFile(bench, length);
    for (const advice of [POSIX_FADV_DONTNEED, POSIX_FADV_WILLNEED, POSIX_FADV_DONTNEED]) {
      assert.equal(
        bench.run(ring, (sqe) => sqe.prepFadvise(fd, 0, length, advice)),
        0,
      );
      assert.ok(readFileSync(path).equals(content));
    }
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/fallocate

conformance(
  "liburing/fallocate",
  "room is reserved, also with an fsync linked behind",
  (bench) => {
    const ring = bench.ring();
    const fd = open(bench, bench.path("file"));
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepFallocate(fd, 0, 0, 128 * KIB)),
      0,
    );
    assert.equal(sizeOf(fd), 131072);

    const other = open(bench, bench.path("other"));
    entry(ring)
      .prepFallocate(other, 0, 0, 128 * KIB)
      .setFlags(IOSQE_IO_LINK)
      .setData64(1);
    entry(ring).prepFsync(other, 0).setData64(2);
    assert.deepEqual(brief(bench.complete(ring, 2)), [
      [1, 0, 0],
      [2, 0, 0],
    ]);
    assert.equal(sizeOf(other), 131072);
  },
  everywhere,
);

/** Runs a function under a limit to the size of files. */
function withFileSizeLimit(bytes: number, body: () => void): void {
  const RLIMIT_FSIZE = 1;
  using old = alloc(16);
  using limited = alloc(16);
  mustCall("prlimit64", 0, RLIMIT_FSIZE, 0, old.address);
  limited.bytes.set(old.bytes);
  new DataView(limited.bytes.buffer, limited.bytes.byteOffset).setBigUint64(0, BigInt(bytes), true);
  mustCall("prlimit64", 0, RLIMIT_FSIZE, limited.address, 0);
  try {
    body();
  } finally {
    mustCall("prlimit64", 0, RLIMIT_FSIZE, old.address, 0);
  }
}

conformance(
  "liburing/fallocate",
  "a file does not grow beyond the process's limit",
  (bench) => {
    // The kernel sends the thread that exceeds the limit a signal, which would end the process.
    process.on("SIGXFSZ", () => {});
    bench.defer(() => process.removeAllListeners("SIGXFSZ"));
    const ring = bench.ring();
    const fd = open(bench, bench.path("file"));
    withFileSizeLimit(64 * KIB, () => {
      assert.equal(
        bench.run(ring, (sqe) => sqe.prepFallocate(fd, 0, 0, 128 * KIB)),
        -EFBIG,
      );
    });
    assert.equal(sizeOf(fd), 0);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepFallocate(fd, 0, 0, 128 * KIB)),
      0,
    );
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/fifo-nonblock-read

conformance(
  "liburing/fifo-nonblock-read",
  "a read of an empty pipe waits although the pipe is non-blocking",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    const F_SETFL = 4;
    mustCall("fcntl", ends.read, F_SETFL, O_NONBLOCK);
    const memory = alloc(128);
    entry(ring).prepRead(ends.read, memory, 128, -1).setData64(1);
    submitAll(ring, 1);
    const writer = writesFromThread(ends.write, { size: 6, pauseMs: 10 });
    assert.deepEqual(brief(bench.collect(ring, 1)), [[1, 6, 0]]);
    assert.equal(writer.join(), 6);
    assert.equal(textOf(memory, 7), "xxxxxx\0");
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/fsync

conformance(
  "liburing/fsync",
  "an fsync that drains completes after the writes before it",
  (bench) => {
    const ring = bench.ring();
    const fd = open(bench, bench.path("file"));
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepFsync(fd, 0)),
      0,
    );
    for (let i = 0; i < 4; i++) {
      const block = random(4096);
      block.bytes[0] = i;
      entry(ring)
        .prepWritev(fd, new Iovecs([block]), 1, 4096 * i)
        .setData64(i);
    }
    entry(ring).prepFsync(fd, IORING_FSYNC_DATASYNC).setFlags(IOSQE_IO_DRAIN).setData64(4);
    const completions = brief(bench.complete(ring, 5));
    assert.deepEqual(completions[4], [4, 0, 0]);
    assert.deepEqual(
      completions.slice(0, 4).sort(([a], [b]) => a - b),
      [0, 1, 2, 3].map((i) => [i, 4096, 0]),
    );
    assert.equal(sizeOf(fd), 4 * 4096);
  },
  everywhere,
);

conformance(
  "liburing/fsync",
  "a range of a file is written to the disk",
  (bench) => {
    const ring = bench.ring();
    const { fd } = randomFile(bench, 16 * KIB);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepSyncFileRange(fd, 0, 0, 0)),
      0,
    );
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/kallsyms

conformance(
  "liburing/kallsyms",
  "a file that only knows read is read in every way",
  (bench) => {
    const ring = bench.ring();
    const fd = open(bench, "/proc/kallsyms", O_RDONLY);
    const length = 8 * KIB;
    const registered = alloc(length);
    ring.registerBuffers([registered]);
    const memory = alloc(length);
    const expected = readFileSync("/proc/kallsyms", "latin1").slice(0, 64);
    const ways: [Pinned, (sqe: ReturnType<typeof entry>) => unknown][] = [
      [memory, (sqe) => sqe.prepReadv(fd, new Iovecs([memory]), 1, 0)],
      [memory, (sqe) => sqe.prepRead(fd, memory, length, 0)],
      [registered, (sqe) => sqe.prepReadFixed(fd, registered, length, 0, 0)],
    ];
    for (const [target, fill] of ways) {
      target.bytes.fill(0);
      const res = bench.run(ring, fill);
      assert.ok(res > 0 && res <= length, `result ${res}`);
      assert.equal(textOf(target, 64), expected);
      // The file's text has no zero in it: as much came as the result says.
      const zero = target.bytes.indexOf(0);
      assert.equal(zero === -1 ? length : zero, res);
    }
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/madvise

conformance(
  "liburing/madvise",
  "advice on a file's mapping is taken, and the mapping is what it was",
  (bench) => {
    const ring = bench.ring();
    const length = 128 * KIB;
    const { fd, content } = randomFile(bench, length);
    const PROT_READ = 1;
    const MAP_PRIVATE = 2;
    const address = mustCall("mmap", 0, length, PROT_READ, MAP_PRIVATE, fd, 0);
    bench.defer(() => mustCall("munmap", address, length));
    const copy = alloc(length);
    using ends = pipe();
    const mapped = () => {
      // Out through a pipe: no runtime shows memory that is not its own without further ado.
      for (let at = 0; at < length; at += 4096) {
        assert.equal(mustCall("write", ends.write, address + at, 4096), 4096);
        assert.equal(mustCall("read", ends.read, copy.address + at, 4096), 4096);
      }
      return Buffer.from(copy.bytes);
    };
    assert.ok(mapped().equals(content));
    for (const advice of [MADV_DONTNEED, MADV_WILLNEED, MADV_DONTNEED]) {
      assert.equal(
        bench.run(ring, (sqe) => sqe.prepMadvise(address, length, advice)),
        0,
      );
      assert.ok(mapped().equals(content));
    }
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/rw_merge_test

conformance(
  "liburing/rw_merge_test",
  "reads of a file complete beside a read of a pipe that waits",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    const { fd, content } = randomFile(bench, 4096);
    const [a, b, c] = [alloc(4096), alloc(4096), alloc(4096)];
    entry(ring)
      .prepReadv(ends.read, new Iovecs([a]), 1, -1)
      .setData64(1);
    entry(ring)
      .prepReadv(fd, new Iovecs([b]), 1, 4096)
      .setData64(2);
    entry(ring)
      .prepReadv(fd, new Iovecs([c]), 1, 2048)
      .setData64(3);
    const time = elapsed(() =>
      assert.deepEqual(sorted(bench.complete(ring, 2)), [
        [2, 0, 0],
        [3, 2048, 0],
      ]),
    );
    assert.ok(time < SOON_MS, `${time} ms`);
    assert.deepEqual(numbers(c).slice(0, 2048), Array.from(content.slice(2048)));
    bench.quiet(ring, 20);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/short-read

conformance(
  "liburing/short-read",
  "a read ends with the file",
  (bench) => {
    const ring = bench.ring();
    const { fd, content } = randomFile(bench, 1024);
    const memory = alloc(4096);
    const iovecs = new Iovecs([memory]);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepReadv(fd, iovecs, 1, 0)),
      1024,
    );
    assert.deepEqual(numbers(memory), [...content, ...Array(3072).fill(0)]);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/timerfd-short-read

conformance(
  "liburing/timerfd-short-read",
  "a read longer than a timer's eight bytes completes with them",
  (bench) => {
    const ring = bench.ring();
    const CLOCK_MONOTONIC = 1;
    const fd = owned(bench, mustCall("timerfd_create", CLOCK_MONOTONIC, 0));
    using setting = alloc(32);
    new BigInt64Array(setting.bytes.buffer, setting.bytes.byteOffset, 4)[3] = 10_000_000n;
    const memory = alloc(16);
    entry(ring).prepRead(fd, memory, 16, 0).setData64(1);
    mustCall("timerfd_settime", fd, 0, setting.address, 0);
    const time = elapsed(() => assert.deepEqual(brief(bench.complete(ring, 1)), [[1, 8, 0]]));
    assert.ok(time < SOON_MS, `${time} ms`);
    assert.deepEqual(numbers(memory), [1, ...Array(15).fill(0)]);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/truncate

conformance(
  "liburing/truncate",
  "a file takes the length it is given",
  (bench) => {
    const ring = bench.ring();
    const fd = open(bench, bench.path("file"));
    for (const length of [2 ** 31, 2 ** 30, 2 ** 29]) {
      assert.equal(
        bench.run(ring, (sqe) => sqe.prepFtruncate(fd, length)),
        0,
      );
      assert.equal(sizeOf(fd), length);
    }
  },
  everywhere,
);

conformance(
  "liburing/truncate",
  "an address and a length in an entry that needs none are refused",
  (bench) => {
    const ring = bench.ring();
    const fd = open(bench, bench.path("file"));
    for (const [address, length] of [
      [4096, 0],
      [0, 1],
    ] as const) {
      assert.equal(
        bench.run(ring, (sqe) => sqe.prepRw(IORING_OP_FTRUNCATE, fd, address, length, 1024)),
        -EINVAL,
      );
    }
    assert.equal(sizeOf(fd), 0);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/fs/test_file_close

conformance(
  "tokio/fs/test_file_close",
  "a file closes, and its fd is free",
  (bench) => {
    const ring = bench.ring();
    const fd = mustCall("dup", open(bench, bench.path("file")));
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepClose(fd)),
      0,
    );
    assert.ok(!isOpen(fd));
    assert.equal(mustCall("dup", 2), fd, "the lowest fd that is free");
    mustCall("close", fd);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/fs/test_file_cur_pos

conformance(
  "tokio/fs/test_file_cur_pos",
  "an offset of all ones is the file's own position",
  (bench) => {
    const ring = bench.ring();
    assert.ok(ring.features & IORING_FEAT_RW_CUR_POS);
    const path = bench.path("file");
    const fd = open(bench, path, O_RDWR | O_CREAT);
    const text = "The quick brown fox ju";
    const memory = textMemory(text);
    entry(ring)
      .prepWrite(fd, memory, 22, 2n ** 64n - 1n)
      .setData64(1);
    ring.submitAndWait(1, { timeout: PATIENCE_MS });
    entry(ring).prepWrite(fd, memory, 22, -1).setData64(2);
    ring.submitAndWait(2, { timeout: PATIENCE_MS });
    const back = alloc(64);
    entry(ring).prepRead(fd, back, 64, 0).setData64(3);
    ring.submitAndWait(3, { timeout: PATIENCE_MS });
    assert.equal(ring.cqReady, 3);
    assert.deepEqual(brief(bench.collect(ring, 3)), [
      [1, 22, 0],
      [2, 22, 0],
      [3, 44, 0],
    ]);
    assert.equal(textOf(back, 44), text + text);
    assert.equal(readFileSync(path, "latin1"), text + text);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/fs/test_file_direct_write_read

conformance(
  "tokio/fs/test_file_direct_write_read",
  "a block is written and read past the page cache",
  (bench) => {
    const ring = bench.ring();
    const path = bench.path("file");
    const fd = open(bench, path, O_RDWR | O_CREAT | O_DIRECT);
    const memory = random(4096);
    const back = alloc(4096);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepWrite(fd, memory, 4096, 0)),
      4096,
    );
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepRead(fd, back, 4096, 0)),
      4096,
    );
    assert.deepEqual(numbers(back), numbers(memory));

    const res = bench.run(ring, (sqe) => sqe.prepRead(fd, back.slice(1), 4095, 0));
    // Some file systems read through the page cache instead.
    assert.ok(res === -EINVAL || res === 4095, `result ${res}`);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/fs/test_file_fallocate

conformance(
  "tokio/fs/test_file_fallocate",
  "an empty file is given room",
  (bench) => {
    const ring = bench.ring();
    const path = bench.path("file");
    const fd = open(bench, path);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepFallocate(fd, 0, 0, 1024)),
      0,
    );
    assert.equal(statSync(path).size, 1024);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/fs/test_file_fsync

/** A file into which a byte has just been written. */
function fileWithByte(bench: Bench, ring: Ring): number {
  const fd = open(bench, bench.path("file"));
  assert.equal(
    bench.run(ring, (sqe) => sqe.prepWrite(fd, textMemory("1"), 1, 0)),
    1,
  );
  return fd;
}

conformance(
  "tokio/fs/test_file_fsync",
  "a byte just written goes to the disk",
  (bench) => {
    const ring = bench.ring();
    const fd = fileWithByte(bench, ring);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepFsync(fd, 0)),
      0,
    );
    assert.equal(read(fd), "1");
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/fs/test_file_fsync_range

conformance(
  "tokio/fs/test_file_fsync_range",
  "an fsync may be of a range",
  (bench) => {
    const ring = bench.ring();
    const fd = open(bench, bench.path("file"));
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepWrite(fd, random(4096), 4096, 0)),
      4096,
    );
    // No helper takes a range.
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepRw(IORING_OP_FSYNC, fd, 0, 1024, 3072)),
      0,
    );
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/fs/test_file_writev_readv

conformance(
  "tokio/fs/test_file_writev_readv",
  "two pieces are written, and read back into two by the next of the chain",
  (bench) => {
    const ring = bench.ring();
    const fd = open(bench, bench.path("file"));
    const out = [random(44), random(36)];
    const back = [alloc(44), alloc(36)];
    entry(ring).prepWritev(fd, new Iovecs(out), 2, 0).setFlags(IOSQE_IO_LINK).setData64(1);
    entry(ring).prepReadv(fd, new Iovecs(back), 2, 0).setData64(2);
    assert.deepEqual(brief(bench.complete(ring, 2)), [
      [1, 80, 0],
      [2, 80, 0],
    ]);
    assert.deepEqual(back.map(numbers), out.map(numbers));
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/fs/test_ftruncate

conformance(
  "tokio/fs/test_ftruncate",
  "a file is cut",
  (bench) => {
    const ring = bench.ring();
    const { fd, path, content } = randomFile(bench, 1024);
    for (const length of [512, 0]) {
      assert.equal(
        bench.run(ring, (sqe) => sqe.prepFtruncate(fd, length)),
        0,
      );
      assert.ok(readFileSync(path).equals(content.slice(0, length)));
    }
  },
  everywhere,
);
