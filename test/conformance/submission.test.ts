import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { inspect } from "node:util";
import { alloc, cstring, type Pinned, type Ring } from "uring";
import {
  AT_FDCWD,
  IORING_FEAT_SUBMIT_STABLE,
  IORING_NOP_INJECT_RESULT,
  IORING_OP_NOP,
  IORING_SETUP_CQE32,
  IORING_SETUP_NO_SQARRAY,
  IORING_SETUP_SQE128,
  IOSQE_ASYNC,
  IOSQE_IO_DRAIN,
  iovec,
  O_RDONLY,
  POSIX_FADV_DONTNEED,
  sockaddr_storage,
} from "uring/abi";
import { pipe } from "../support/harness.ts";
import { without, withShim } from "../support/runtime.ts";
import { type Brief, brief, entry, sorted, submitAll } from "./completions.ts";
import { counting, int32, Network } from "./sockets.ts";
import { allRings, conformance, type RingType } from "./support.ts";

const { EFAULT, EINVAL } = constants.errno;

/** Kinds of ring whose entries are taken before `submit` returns: not those with a poller thread. */
const direct: RingType[] = allRings.filter((type) => type !== "sqpoll");

// ----------------------------------------------------------------------------------------------- liburing/accept-reuse

conformance(
  "liburing/accept-reuse",
  "an entry may be written anew once it is submitted: the kernel has copied it, on a ring with an index array",
  (bench) => {
    const ring = withShim(without(IORING_SETUP_NO_SQARRAY), () => bench.ring({ entries: 1 }));
    assert.equal(ring.params.flags & IORING_SETUP_NO_SQARRAY, 0);
    assert.notEqual(ring.features & IORING_FEAT_SUBMIT_STABLE, 0);
    const network = new Network(bench);
    const listener = network.listener();
    const client = network.socket();
    // The one entry there is has to do for both.
    const address = alloc(sockaddr_storage.sizeof);
    entry(ring).prepAccept(listener.fd, address, int32(address.byteLength), 0).setData64(1);
    assert.equal(ring.getSqe(), null);
    submitAll(ring, 1);
    entry(ring).prepConnect(client, listener.address, listener.address.byteLength).setData64(2);
    submitAll(ring, 1);
    const [[, accepted = -1] = [], connected] = sorted(bench.collect(ring, 2));
    assert.ok(accepted >= 0, `accept: ${accepted}`);
    network.own(accepted);
    assert.deepEqual(connected, [2, 0, 0]);
  },
);

// -------------------------------------------------------------------------------------------------------- liburing/nop

for (const { name, flags } of [
  { name: "plain", flags: 0 },
  { name: "SQE128", flags: IORING_SETUP_SQE128 },
  { name: "CQE32", flags: IORING_SETUP_CQE32 },
  { name: "SQE128 and CQE32", flags: IORING_SETUP_SQE128 | IORING_SETUP_CQE32 },
]) {
  for (const async of [0, IOSQE_ASYNC]) {
    const what = `${name}${async === 0 ? "" : ", asynchronous"}`;

    conformance(
      "liburing/nop",
      `1000 times one no-op has one completion with its user_data: ${what}`,
      (bench) => {
        const ring = bench.ring({ flags });
        for (let i = 1; i <= 1000; i++) {
          entry(ring).prepNop().setFlags(async).setData64(i);
          submitAll(ring, 1, 1);
          const cqe = ring.peekCqe();
          assert.deepEqual([cqe?.userData, cqe?.res, cqe?.flags], [i, 0, 0]);
          assert.deepEqual(cqe?.big, (flags & IORING_SETUP_CQE32) === 0 ? undefined : [0n, 0n]);
          ring.cqAdvance(1);
          assert.equal(ring.cqReady, 0);
        }
      },
    );

    conformance("liburing/nop", `1000 times eight no-ops with a drain among them: ${what}`, (bench) => {
      const ring = bench.ring({ flags });
      for (let round = 0; round < 1000; round++) {
        for (let i = 1; i <= 8; i++) {
          entry(ring)
            .prepNop()
            .setFlags(async | (i === 5 ? IOSQE_IO_DRAIN : 0))
            .setData64(i);
        }
        submitAll(ring, 8);
        const found = brief(bench.collect(ring, 8));
        const order = found.map(([userData]) => userData);
        for (const before of [1, 2, 3, 4]) assert.ok(order.indexOf(before) < order.indexOf(5), `${order}`);
        assert.deepEqual(
          found.sort(([a], [b]) => a - b),
          [1, 2, 3, 4, 5, 6, 7, 8].map((i) => [i, 0, 0]),
        );
      }
    });

    conformance("liburing/nop", `1000 times a no-op with an injected result has that: ${what}`, (bench) => {
      const ring = bench.ring({ flags });
      for (let i = 1; i <= 1000; i++) {
        // The flags of a no-op stand where those of a poll do, and there is no helper that writes them.
        entry(ring)
          .prepPollAdd(-1, IORING_NOP_INJECT_RESULT)
          .prepRw(IORING_OP_NOP, -1, 0, -EFAULT >>> 0, 0)
          .setFlags(async)
          .setData64(i);
        assert.deepEqual(brief(bench.complete(ring, 1)), [[i, -EFAULT, 0]]);
      }
    });
  }
}

// ---------------------------------------------------------------------------------------------- liburing/nop-all-sizes

conformance(
  "liburing/nop-all-sizes",
  "queues of every size fill, are submitted in full twice, and complete in full",
  (bench) => {
    for (let size = 1; size <= 32768; size *= 2) {
      const ring = bench.ring({ entries: size });
      assert.equal(ring.params.sqEntries, size);
      for (let round = 0; round < 2; round++) {
        let filled = 0;
        for (let sqe = ring.getSqe(); sqe !== null; sqe = ring.getSqe()) {
          sqe.prepNop().setData64(round * size + filled++);
        }
        assert.equal(filled, size);
        submitAll(ring, size);
      }
      const found = bench.collect(ring, 2 * size);
      for (const [i, { userData, res, flags }] of found.entries()) {
        if (userData !== i || res !== 0 || flags !== 0) assert.fail(`${i}: ${[userData, res, flags]}`);
      }
      ring.close();
    }
  },
  { rings: allRings },
);

// ------------------------------------------------------------------------------------------------- liburing/pipe-reuse

/** An array of `struct iovec` that, other than the library's own `Iovecs`, can be overwritten. */
function openIovecs(pieces: readonly Pinned[]): Pinned {
  const memory = alloc(pieces.length * iovec.sizeof);
  const view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset, memory.byteLength);
  for (const [i, piece] of pieces.entries()) {
    view.setBigUint64(i * iovec.sizeof + iovec.iov_base, BigInt(piece.address), true);
    view.setBigUint64(i * iovec.sizeof + iovec.iov_len, BigInt(piece.byteLength), true);
  }
  return memory;
}

conformance(
  "liburing/pipe-reuse",
  "iovecs may be overwritten once a read from a pipe is submitted",
  (bench) => {
    const ring = bench.ring();
    assert.notEqual(ring.features & IORING_FEAT_SUBMIT_STABLE, 0);
    const SIZE = 16384;
    const ends = pipe();
    bench.defer(() => ends[Symbol.dispose]());
    const data = counting(SIZE);
    const network = new Network(bench);
    const half = (at: number) =>
      network.must((sqe) => sqe.prepWrite(ends.write, data.slice(at), SIZE / 2, -1));
    assert.equal(half(0), SIZE / 2);
    const target = alloc(SIZE);
    const iovecs = openIovecs(Array.from({ length: 16 }, (_, i) => target.slice((i * SIZE) / 16, SIZE / 16)));
    entry(ring).prepReadv(ends.read, iovecs.address, 16, -1).setData64(1);
    submitAll(ring, 1);
    iovecs.bytes.fill(0x5a);
    assert.equal(half(SIZE / 2), SIZE / 2);
    const [[userData, res, flags]] = brief(bench.collect(ring, 1)) as [Brief];
    assert.deepEqual([userData, flags], [1, 0]);
    assert.ok(res > 0, `read: ${res}`);
    assert.deepEqual(target.bytes.slice(0, res), data.bytes.slice(0, res));
  },
  // A poller thread may have yet to import the iovecs when it has taken the entry.
  { rings: direct },
);

// --------------------------------------------------------------------------------- liburing/sq-full, sq-full-cpp, space

/** Takes all the entries there are; how many. */
function takeAll(ring: Ring): number {
  let count = 0;
  while (ring.getSqe() !== null) count++;
  return count;
}

conformance(
  "liburing/sq-full",
  "a ring of 8 hands out 8 entries, and null from then on",
  (bench) => {
    const ring = bench.ring({ entries: 8 });
    assert.equal(takeAll(ring), 8);
    assert.equal(ring.getSqe(), null);
  },
  { rings: allRings },
);

conformance(
  "liburing/sq-full-cpp",
  "an entry refused by a full queue harms none that was handed out",
  (bench) => {
    const ring = bench.ring({ entries: 8 });
    for (let i = 0; i < 8; i++) entry(ring).prepNop().setData64(i);
    assert.equal(ring.getSqe(), null);
    assert.deepEqual(
      brief(bench.complete(ring, 8)),
      Array.from({ length: 8 }, (_, i) => [i, 0, 0]),
    );
  },
  { rings: allRings },
);

conformance(
  "liburing/sq-space_left",
  "the space left falls by one with each entry from 8 to 0",
  (bench) => {
    const ring = bench.ring({ entries: 8 });
    for (let left = 8; left > 0; left--) {
      assert.equal(ring.sqSpaceLeft, left);
      entry(ring);
    }
    assert.equal(ring.sqSpaceLeft, 0);
  },
  { rings: allRings },
);

conformance(
  "liburing/sq-space_left",
  "submission stops after an entry that is no operation; what is left is submitted next",
  (bench) => {
    const ring = bench.ring();
    for (let i = 0; i < 17; i++) {
      const sqe = entry(ring).setData64(i);
      if (i === 8) sqe.prepRw(0xfe, -1, 0, 0, 0);
      else sqe.prepNop();
    }
    assert.equal(ring.sqReady, 17);
    assert.equal(ring.submit(), 9);
    assert.equal(ring.sqReady, 8);
    assert.equal(ring.submit(), 8);
    assert.equal(ring.sqReady, 0);
    assert.deepEqual(
      brief(bench.collect(ring, 17)),
      Array.from({ length: 17 }, (_, i) => [i, i === 8 ? -EINVAL : 0, 0]),
    );
  },
  // A poller thread goes on by itself.
  { rings: direct },
);

// ----------------------------------------------------------------------------------------------- liburing/submit-reuse

for (const pieces of [1, 16]) {
  for (const async of [0, IOSQE_ASYNC]) {
    conformance(
      "liburing/submit-reuse",
      `${pieces} iovecs may be made null once a read of files is submitted, cached or not` +
        (async === 0 ? "" : ", asynchronous"),
      (bench) => {
        const SIZE = 32768;
        const ring = bench.ring();
        assert.notEqual(ring.features & IORING_FEAT_SUBMIT_STABLE, 0);
        const network = new Network(bench);
        const content = counting(SIZE).bytes.slice();
        const files = [1, 2].map((i) => {
          writeFileSync(bench.path(`file${i}`), content);
          const path = cstring(bench.path(`file${i}`));
          const fd = network.own(network.must((sqe) => sqe.prepOpenat(AT_FDCWD, path, O_RDONLY, 0)));
          // What was just written can only be dropped from the page cache once it is on the disk.
          network.must((sqe) => sqe.prepFsync(fd, 0));
          return { fd, target: alloc(SIZE) };
        });
        for (let round = 0; round < 250; round++) {
          for (const [i, { fd, target }] of files.entries()) {
            network.must((sqe) => sqe.prepFadvise(fd, 0, SIZE, POSIX_FADV_DONTNEED));
            target.bytes.fill(0);
            const size = SIZE / pieces;
            const iovecs = openIovecs(
              Array.from({ length: pieces }, (_, at) => target.slice(at * size, size)),
            );
            entry(ring).prepReadv(fd, iovecs.address, pieces, 0).setFlags(async).setData64(i);
            submitAll(ring, 1);
            for (let at = 0; at < pieces; at++) {
              iovecs.bytes.fill(0, at * iovec.sizeof + iovec.iov_base, at * iovec.sizeof + iovec.iov_len);
            }
          }
          for (const [i, res] of sorted(bench.collect(ring, 2))) {
            assert.ok(res > 0, `read ${i} of round ${round}: ${res}`);
            assert.deepEqual(files[i]?.target.bytes.slice(0, res), content.slice(0, res));
          }
        }
      },
    );
  }
}

// --------------------------------------------------------------------------------------------------------- tokio/queue

conformance(
  "tokio/queue/test_batch",
  "whoever looks at the space first can put a batch into the queue as a whole or not at all",
  (bench) => {
    const ring = bench.ring({ entries: 8 });
    /** Puts so many no-ops into the queue if there is room for all. */
    const pushMultiple = (count: number) => {
      if (ring.sqSpaceLeft < count) return false;
      for (let i = 0; i < count; i++) entry(ring).prepNop().setData64(9);
      return true;
    };
    assert.equal(pushMultiple(5), true);
    assert.equal(ring.sqReady, 5);
    assert.equal(pushMultiple(5), false);
    assert.equal(ring.sqReady, 5);
    assert.equal(pushMultiple(3), true);
    assert.equal(ring.sqReady, 8);
    submitAll(ring, 8, 8);
    const out = new Int32Array(4 * 10).fill(-1);
    assert.equal(ring.copyCqes(out), 8);
    const completion = [9, 0, 0, 0];
    assert.deepEqual([...out], [...Array(8).fill(completion).flat(), ...Array(8).fill(-1)]);
  },
  { rings: allRings },
);

conformance(
  "tokio/queue/test_debug_print",
  "a ring and its entries can be shown for debugging, empty or full, without harm",
  (bench) => {
    const ring = bench.ring({ entries: 8 });
    const show = () => {
      assert.ok(inspect(ring, { showHidden: true, getters: true, depth: 4 }).length > 0);
      assert.ok(`${ring}`.length > 0);
      assert.equal(typeof JSON.stringify(ring), "string");
      // What the kernel itself shows of a ring.
      if (ring.fd >= 0) assert.match(readFileSync(`/proc/self/fdinfo/${ring.fd}`, "utf8"), /SqTail|SqMask/);
    };
    show();
    for (let i = 0; i < 8; i++) {
      const sqe = entry(ring).prepNop().setData64(0x42);
      assert.ok(inspect(sqe, { showHidden: true, getters: true }).length > 0);
      const bytes = sqe.toBytes();
      assert.equal(bytes[0], IORING_OP_NOP);
      assert.equal(bytes[32], 0x42);
    }
    show();
    assert.deepEqual(
      brief(bench.complete(ring, 8)),
      Array.from({ length: 8 }, () => [0x42, 0, 0]),
    );
  },
  { rings: allRings },
);

conformance(
  "tokio/queue/test_nop",
  "one no-op, one completion: user_data and result",
  (bench) => {
    const ring = bench.ring();
    entry(ring).prepNop().setData64(0x42);
    submitAll(ring, 1, 1);
    assert.deepEqual(brief(bench.collect(ring, 1)), [[0x42, 0, 0]]);
    assert.equal(ring.cqReady, 0);
  },
  { rings: allRings },
);
