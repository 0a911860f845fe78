import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { alloc, cstring, Direct, decodeSockaddr, encodeSockaddr, Ring } from "uring";
import * as abi from "uring/abi";
import { type Pipe, pipe } from "./support/harness.ts";
import { bytes, entry, LONG, reap, run, Scratch, submitAll, text } from "./support/ring.ts";
import { mustCall } from "./support/system.ts";

const NAMES = { 6: "ENXIO", 9: "EBADF", 16: "EBUSY", 22: "EINVAL", 24: "EMFILE", 75: "EOVERFLOW" };
const [ENXIO, EBADF, EBUSY, EINVAL, EMFILE, EOVERFLOW] = [6, 9, 16, 22, 24, 75] as const;
const ENFILE = 23;
const { AF_INET, SOCK_STREAM, IORING_FILE_INDEX_ALLOC, IORING_REGISTER_FILES_SKIP: SKIP } = abi;

function refuses(errno: keyof typeof NAMES, call: () => unknown): void {
  assert.throws(call, { name: "UringError", errno, code: NAMES[errno], syscall: "io_uring_register" });
}

/** Whether what is written into one slot comes out of the other. */
function connected(ring: Ring, write: number | Direct, read: number | Direct): boolean {
  const got = alloc(8);
  if (run(ring, (sqe) => sqe.prepWrite(write, bytes("carried"), 7, -1)) !== 7) return false;
  return run(ring, (sqe) => sqe.prepRead(read, got, 8, -1)) === 7 && text(got, 7) === "carried";
}

/** What the slots of the ring's table hold, as the kernel shows it. */
function slots(ring: Ring): Map<number, string> {
  const info = readFileSync(`/proc/self/fdinfo/${ring.fd}`, "latin1").split("\n");
  const first = info.findIndex((line) => line.startsWith("UserFiles:"));
  const count = Number(info[first]?.split(":")[1]);
  const found = info.slice(first + 1).flatMap((line) => {
    const match = /^\s*(\d+): (.*)$/.exec(line);
    return match === null ? [] : [[Number(match[1]), match[2] as string] as const];
  });
  return new Map(found.filter(([slot]) => slot < count));
}

describe("registered files", () => {
  it("are what Direct names, also once the fds are closed", () => {
    using ring = new Ring({ entries: 4 });
    const ends = pipe();
    ring.registerFiles([ends.read, -1, ends.write]);
    ends[Symbol.dispose]();
    assert.ok(connected(ring, new Direct(2), new Direct(0)));
    assert.equal(
      run(ring, (sqe) => sqe.prepRead(new Direct(1), alloc(8), 8, -1)),
      -EBADF,
    );
    assert.equal(
      run(ring, (sqe) => sqe.prepRead(new Direct(3), alloc(8), 8, -1)),
      -EBADF,
    );
    // With the table goes the last writer.
    ring.registerFilesUpdate(2, [-1]);
    assert.equal(
      run(ring, (sqe) => sqe.prepRead(new Direct(0), alloc(8), 8, -1)),
      0,
    );
  });

  it("are one table, ended once", () => {
    using ring = new Ring({ entries: 4 });
    using ends = pipe();
    refuses(ENXIO, () => ring.unregisterFiles());
    refuses(ENXIO, () => ring.registerFilesUpdate(0, [ends.read]));
    ring.registerFilesSparse(4);
    refuses(EBUSY, () => ring.registerFiles([ends.read, ends.write, -1]));
    ring.unregisterFiles();
    refuses(ENXIO, () => ring.unregisterFiles());
    ring.registerFiles(Array.from({ length: 768 }, () => ends.read));
    ring.unregisterFiles();
    refuses(EINVAL, () => ring.registerFiles([]));
  });

  it("must be open, and no ring", () => {
    using ring = new Ring({ entries: 4 });
    using ends = pipe();
    refuses(EBADF, () => ring.registerFiles([ends.read, SKIP, ends.write]));
    refuses(EBADF, () => ring.registerFiles([ends.read, 1_000_000]));
    refuses(EBADF, () => ring.registerFiles([ends.write, ring.fd]));
    ends.close(ends.write);
    assert.equal(
      run(ring, (sqe) => sqe.prepRead(ends.read, alloc(8), 8, -1)),
      0,
      "a reference was left behind",
    );
  });

  it("are explained when they are too many", () => {
    using ring = new Ring({ entries: 4 });
    const tooMany = { name: "UringError", errno: EMFILE, message: /ulimit -n/ };
    assert.throws(() => ring.registerFilesSparse(0x7fff_ffff), tooMany);
  });

  it("say what is wrong before the kernel is asked", () => {
    using ring = new Ring({ entries: 4 });
    const wrong = (value: unknown) => value as never;
    assert.throws(() => ring.registerFiles(wrong(3)), TypeError);
    assert.throws(() => ring.registerFiles([wrong("3")]), TypeError);
    assert.throws(() => ring.registerFiles([0.5]), RangeError);
    assert.throws(() => ring.registerFiles([2 ** 31]), RangeError);
    assert.throws(() => ring.registerFilesTags([0], []), RangeError);
    assert.throws(() => ring.registerFilesSparse(-1), RangeError);
    assert.throws(() => ring.registerFilesUpdate(-1, [0]), RangeError);
    assert.throws(() => ring.registerFileAllocRange(wrong("0"), 1), TypeError);
    ring.close();
    assert.throws(() => ring.registerFiles([0]), TypeError);
  });

  it("are counted as they are updated; -1 clears, SKIP skips", () => {
    using ring = new Ring({ entries: 4 });
    using ends = pipe();
    ring.registerFiles([ends.read, ...Array.from({ length: 99 }, () => -1)]);
    assert.equal(ring.registerFilesUpdate(98, [ends.write, ends.read]), 2);
    assert.ok(connected(ring, new Direct(98), new Direct(99)));
    assert.equal(ring.registerFilesUpdate(97, [SKIP, SKIP, -1]), 3);
    assert.ok(connected(ring, new Direct(98), new Direct(0)));
    assert.equal(
      run(ring, (sqe) => sqe.prepRead(new Direct(99), alloc(8), 8, -1)),
      -EBADF,
    );
    const cleared = Array.from({ length: 100 }, () => -1);
    assert.equal(ring.registerFilesUpdate(0, cleared), 100);
    refuses(EINVAL, () => ring.registerFilesUpdate(100, [ends.read]));
    refuses(EINVAL, () => ring.registerFilesUpdate(99, [ends.read, ends.read]));
    // The update ends before what fails.
    assert.equal(ring.registerFilesUpdate(0, [ends.read, 1_000_000]), 1);
    refuses(EBADF, () => ring.registerFilesUpdate(0, [1_000_000]));
  });
});

describe("tags of files", () => {
  it("come as completions when the file is released", () => {
    using ring = new Ring({ entries: 4 });
    using ends = pipe();
    ring.registerFilesTags([ends.read, ends.write, -1], [1, 0, 0]);
    assert.equal(ring.inFlight, 1);
    assert.equal(ring.registerFilesUpdateTag(0, [ends.write, SKIP, ends.read], [5, 0, 2n ** 40n]), 3);
    assert.deepEqual(reap(ring, 1), [[1, 0, 0]]);
    entry(ring).prepCloseDirect(2).setData64(3);
    assert.deepEqual(reap(ring, 2).sort(), [
      [2 ** 40, 0, 0],
      [3, 0, 0],
    ]);
    ring.unregisterFiles();
    assert.deepEqual(reap(ring, 1), [[5, 0, 0]]);
    assert.equal(ring.inFlight, 0);
  });

  it("need a file", () => {
    using ring = new Ring({ entries: 4 });
    refuses(EINVAL, () => ring.registerFilesTags([0, -1], [1, 2]));
    assert.equal(
      ring.drain(() => {}),
      0,
    );
    assert.equal(ring.inFlight, 0);
  });

  it("come after the last operation on the file", () => {
    using ring = new Ring({ entries: 4 });
    using ends = pipe();
    ring.registerFilesTags([ends.read], [2]);
    entry(ring).prepRead(new Direct(0), alloc(8), 8, -1).setData64(100);
    submitAll(ring);
    ring.unregisterFiles();
    assert.equal(
      ring.drain(() => {}),
      0,
    );
    mustCall("write", ends.write, bytes("x").address, 1);
    assert.deepEqual(reap(ring, 2), [
      [100, 1, 0],
      [2, 0, 0],
    ]);
  });

  it("do not keep a ring from closing", () => {
    const flags = abi.IORING_SETUP_SINGLE_ISSUER | abi.IORING_SETUP_DEFER_TASKRUN;
    const ring = new Ring({ entries: 4, flags });
    using ends = pipe();
    ring.registerFilesTags([ends.read, ends.write], [1, 2]);
    assert.deepEqual(ring.close(), { leaked: 0 });
  });
});

describe("the range of slots to pick from", () => {
  it("lies within the table", () => {
    using ring = new Ring({ entries: 4 });
    ring.registerFilesSparse(10);
    refuses(EINVAL, () => ring.registerFileAllocRange(8, 3));
    refuses(EINVAL, () => ring.registerFileAllocRange(10, 1));
    refuses(EOVERFLOW, () => ring.registerFileAllocRange(7, 0xffff_fffe));
  });

  it("is where files open, until it is full", () => {
    using ring = new Ring({ entries: 4 });
    using scratch = new Scratch();
    const path = cstring(scratch.file("f", "content"));
    const open = (slot: number | Direct) =>
      run(ring, (sqe) => sqe.prepOpenatDirect(abi.AT_FDCWD, path, abi.O_RDONLY, 0, slot));
    ring.registerFilesSparse(10);
    ring.registerFileAllocRange(7, 2);
    assert.deepEqual(
      [1, 2, 3].map(() => open(IORING_FILE_INDEX_ALLOC)),
      [7, 8, -ENFILE],
    );
    assert.equal(open(new Direct(2)), 0);
    assert.deepEqual([...slots(ring).keys()], [2, 7, 8]);
    const got = alloc(16);
    assert.equal(
      run(ring, (sqe) => sqe.prepRead(new Direct(8), got, 16, 0)),
      7,
    );
    assert.equal(text(got, 7), "content");
    assert.equal(
      run(ring, (sqe) => sqe.prepCloseDirect(new Direct(7))),
      0,
    );
    assert.equal(open(IORING_FILE_INDEX_ALLOC), 7);
    ring.registerFileAllocRange(7, 0);
    assert.equal(open(IORING_FILE_INDEX_ALLOC), -ENFILE);
    assert.equal(open(new Direct(10)), -EINVAL);
  });

  it("is where sockets and connections go", () => {
    using ring = new Ring({ entries: 8 });
    ring.registerFilesSparse(8);
    ring.registerFileAllocRange(2, 6);
    const socket = () =>
      run(ring, (sqe) => sqe.prepSocketDirect(AF_INET, SOCK_STREAM, 0, IORING_FILE_INDEX_ALLOC, 0));
    assert.equal(socket(), 2);
    assert.equal(
      run(ring, (sqe) => sqe.prepSocketDirect(AF_INET, SOCK_STREAM, 0, new Direct(0), 0)),
      0,
    );
    const [listener, client] = [new Direct(0), new Direct(2)];
    const address = encodeSockaddr({ family: "ipv4", address: "127.0.0.1", port: 0 });
    assert.equal(
      run(ring, (sqe) => sqe.prepBind(listener, address, 16)),
      0,
    );
    assert.equal(
      run(ring, (sqe) => sqe.prepListen(listener, 1)),
      0,
    );
    // The fd that asks for the port is another reference to the same socket.
    const fd = run(ring, (sqe) => sqe.prepFixedFdInstall(listener, 0));
    const name = alloc(128);
    const length = alloc(4);
    length.bytes[0] = 128;
    mustCall("getsockname", fd, name.address, length.address);
    assert.equal(decodeSockaddr(name)?.family, "ipv4");
    entry(ring).prepAcceptDirect(listener, 0, 0, 0, IORING_FILE_INDEX_ALLOC).setData64(1);
    entry(ring).prepConnect(client, name, 16).setData64(2);
    assert.deepEqual(reap(ring, 2).sort(), [
      [1, 3, 0],
      [2, 0, 0],
    ]);
    assert.ok(connected(ring, new Direct(3), client));
    assert.ok(connected(ring, client, new Direct(3)));
    assert.equal(
      run(ring, (sqe) => sqe.prepClose(fd)),
      0,
    );
    assert.equal(socket(), 4);
    for (let slot = 5; slot < 8; slot++) assert.equal(socket(), slot);
    assert.equal(socket(), -ENFILE);
  });
});

describe("files of a table that goes away", () => {
  it("end with the operations on them", () => {
    for (const flags of [0, abi.IORING_SETUP_SINGLE_ISSUER | abi.IORING_SETUP_DEFER_TASKRUN]) {
      using ring = new Ring({ entries: 4, flags });
      using ends: Pipe = pipe();
      ring.registerFiles([ends.read]);
      entry(ring).prepRead(new Direct(0), alloc(8), 8, -1).setData64(3);
      ring.submit();
      mustCall("write", ends.write, bytes("late").address, 4);
      const start = performance.now();
      ring.unregisterFiles();
      assert.ok(performance.now() - start < LONG);
      assert.deepEqual(reap(ring, 1), [[3, 4, 0]]);
      assert.equal(
        run(ring, (sqe) => sqe.prepRead(new Direct(0), alloc(8), 8, -1)),
        -EBADF,
      );
    }
  });
});
