import assert from "node:assert/strict";
import { existsSync, readFileSync, readlinkSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import process from "node:process";
import { describe, it } from "node:test";
import {
  AttrPi,
  alloc,
  cstring,
  Direct,
  encodeSockaddr,
  encodeTimespec,
  Iovecs,
  type Mem,
  type Pinned,
  Ring,
  type Sqe,
} from "uring";
import * as abi from "uring/abi";
import { boundAddress } from "./conformance/sockets.ts";
import { pipe } from "./support/harness.ts";
import { bytes, type Completion, entry, nop, reap, run, Scratch, submitAll, text } from "./support/ring.ts";
import { mustCall, syscall } from "./support/system.ts";

const { EAGAIN, EBADF, ECANCELED, EFAULT, EINVAL, ENOENT } = constants.errno;
const ETIME = 62;

/** Why reads and writes have no attributes here; `false` where they have. */
const noAttributes = (() => {
  using ring = new Ring({ entries: 4 });
  const has = (ring.features & abi.IORING_FEAT_RW_ATTR) !== 0;
  return has ? false : "attributes of reads and writes came with Linux 6.14";
})();

/** An fd that an operation has opened, closed at the end of the block. */
class Opened {
  readonly fd: number;

  constructor(fd: number) {
    assert.ok(fd >= 0, `errno ${-fd}`);
    this.fd = fd;
  }

  [Symbol.dispose](): void {
    mustCall("close", this.fd);
  }
}

function open(path: string, flags: number): Opened {
  using name = cstring(path);
  return new Opened(mustCall("openat", abi.AT_FDCWD, name.address, flags | abi.O_CLOEXEC, 0o600));
}

function words(memory: Pinned): Int32Array {
  return new Int32Array(memory.bytes.buffer, memory.bytes.byteOffset, memory.byteLength >> 2);
}

/** Milliseconds from now, as a clock tells them. */
function moment(clock: number, milliseconds: number): Pinned {
  const timespec = alloc(16);
  mustCall("clock_gettime", clock, timespec.address);
  const view = new DataView(timespec.bytes.buffer, timespec.bytes.byteOffset, 16);
  const nanoseconds = view.getBigInt64(0, true) * 1_000_000_000n + view.getBigInt64(8, true);
  const then = nanoseconds + BigInt(milliseconds) * 1_000_000n;
  view.setBigInt64(0, then / 1_000_000_000n, true);
  view.setBigInt64(8, then % 1_000_000_000n, true);
  return timespec;
}

function duration(milliseconds: number): Pinned {
  const timespec = alloc(16);
  encodeTimespec(milliseconds, timespec.bytes);
  return timespec;
}

/** A UDP socket of this machine, and where it is bound. */
class Udp extends Opened {
  readonly address: Mem;

  constructor(ring: Ring) {
    super(run(ring, (sqe) => sqe.prepSocket(abi.AF_INET, abi.SOCK_DGRAM, 0, 0)));
    const any = encodeSockaddr({ family: "ipv4", address: "127.0.0.1", port: 0 });
    assert.equal(
      run(ring, (sqe) => sqe.prepBind(this.fd, any, any.byteLength)),
      0,
    );
    this.address = boundAddress(this.fd);
  }
}

describe("reads and writes with flags", () => {
  it("append, and give up instead of waiting", () => {
    using ring = new Ring({ entries: 8 });
    using scratch = new Scratch();
    using file = open(scratch.file("f", "before"), abi.O_RDWR);
    const out = new Iovecs([bytes(", "), bytes("after")]);
    assert.equal(
      run(ring, (sqe) => sqe.prepWritev2(file.fd, out, 2, 0, abi.RWF_APPEND)),
      7,
    );
    assert.equal(readFileSync(scratch.path("f"), "latin1"), "before, after");

    using ends = pipe();
    const memory = alloc(16);
    const into = new Iovecs([memory]);
    const read = () => run(ring, (sqe) => sqe.prepReadv2(ends.read, into, 1, -1, abi.RWF_NOWAIT));
    assert.equal(read(), -EAGAIN);
    run(ring, (sqe) => sqe.prepWrite(ends.write, bytes("now"), 3, -1));
    assert.equal(read(), 3);
    assert.equal(text(memory, 4), "now\0");
  });
});

describe("protection information", () => {
  it("is written where the kernel looks for it, and held until the operation's end", () => {
    using ring = new Ring({ entries: 8 });
    const tuples = alloc(64);
    const attr = new AttrPi(tuples, { flags: 5, appTag: 0x1234, seed: 2n ** 63n + 7n });
    using never = new Ring({ entries: 8 });
    const sqe = never.getSqe()?.prepRead(0, alloc(4096), 4096, 0) as Sqe;
    const before = sqe.toBytes();
    const after = sqe.setAttrPi(attr).toBytes();
    assert.deepEqual(after.subarray(0, 48), before.subarray(0, 48));
    const words = new DataView(after.buffer);
    assert.equal(words.getBigUint64(abi.io_uring_sqe.attr_ptr, true), BigInt(attr.address));
    assert.equal(
      words.getBigUint64(abi.io_uring_sqe.attr_type_mask, true),
      BigInt(abi.IORING_RW_ATTR_FLAG_PI),
    );
    assert.equal(attr.byteLength, abi.io_uring_attr_pi.sizeof);
    assert.equal(attr.memory, tuples);

    const held = new Uint8Array(attr.byteLength);
    using scratch = new Scratch();
    using file = open(scratch.file("f", ""), abi.O_RDWR);
    const copy = (sqe: Sqe) => sqe.prepWrite(file.fd, attr.address, attr.byteLength, 0);
    assert.equal(run(ring, copy), held.length);
    held.set(readFileSync(scratch.path("f")));
    const view = new DataView(held.buffer);
    const { flags, app_tag, len, addr, seed, rsvd } = abi.io_uring_attr_pi;
    assert.deepEqual(
      [view.getUint16(flags, true), view.getUint16(app_tag, true), view.getUint32(len, true)],
      [5, 0x1234, 64],
    );
    assert.deepEqual(
      [addr, seed, rsvd].map((at) => view.getBigUint64(at, true)),
      [BigInt(tuples.address), 2n ** 63n + 7n, 0n],
    );
  });

  it("is looked at, and refused by a file that keeps none", { skip: noAttributes }, () => {
    using ring = new Ring({ entries: 8 });
    using scratch = new Scratch();
    using file = open(scratch.file("f", "content"), abi.O_RDWR);
    using attr = new AttrPi(alloc(64));
    const memory = alloc(4096);
    const read = (sqe: Sqe) => sqe.prepRead(file.fd, memory, 4096, 0);
    assert.equal(
      run(ring, (sqe) => read(sqe).setAttrPi(8)),
      -EFAULT,
    );
    assert.equal(
      run(ring, (sqe) => read(sqe).setAttrPi(attr)),
      -EINVAL,
    );
    assert.equal(run(ring, read), 7);
  });

  it("belongs to reads and writes alone", () => {
    using ring = new Ring({ entries: 8 });
    const sqe = ring.getSqe() as Sqe;
    const attr = new AttrPi(new Uint8Array(8));
    assert.throws(() => sqe.setAttrPi(attr), TypeError);
    assert.throws(() => sqe.prepFsync(0, 0).setAttrPi(attr), TypeError);
    sqe.prepWrite(0, alloc(8), 8, 0);
    assert.throws(() => sqe.setAttrPi(new Uint8Array(32) as unknown as AttrPi), TypeError);
    attr[Symbol.dispose]();
    assert.throws(() => sqe.setAttrPi(attr), TypeError);
    for (const options of [{ flags: 0x10000 }, { appTag: -1 }, { seed: 2n ** 64n }]) {
      assert.throws(() => new AttrPi(new Uint8Array(8), options), RangeError);
    }
    assert.throws(() => new AttrPi([1] as unknown as Uint8Array), TypeError);
  });
});

describe("advice", () => {
  it("about a file takes a length of 64 bits, and has to be known", () => {
    using ring = new Ring({ entries: 8 });
    using scratch = new Scratch();
    using file = open(scratch.file("f", "content"), abi.O_RDWR);
    const advise = (advice: number) => run(ring, (sqe) => sqe.prepFadvise64(file.fd, 0, 2n ** 40n, advice));
    assert.equal(advise(abi.POSIX_FADV_WILLNEED), 0);
    assert.equal(advise(4711), -EINVAL);
  });

  it("about memory does what it says for as long as it says", () => {
    using ring = new Ring({ entries: 8 });
    using memory = alloc(4 * 65536);
    memory.bytes.fill(1);
    const range = memory.slice(65536, 131072);
    assert.equal(
      run(ring, (sqe) => sqe.prepMadvise64(range, 131072n, abi.MADV_DONTNEED)),
      0,
    );
    const zeroes = (from: number) => memory.bytes.subarray(from, from + 65536).every((byte) => byte === 0);
    assert.deepEqual([0, 65536, 131072, 196608].map(zeroes), [false, true, true, false]);
  });
});

describe("operations on paths", () => {
  it("without a folder's fd go by the process's own", () => {
    using ring = new Ring({ entries: 8 });
    using scratch = new Scratch();
    const at = (name: string) => cstring(scratch.path(name));
    const does = (fill: (sqe: Sqe) => unknown, expected = 0) => assert.equal(run(ring, fill), expected);
    does((sqe) => sqe.prepMkdir(at("folder"), 0o755));
    assert.ok(statSync(scratch.path("folder")).isDirectory());
    scratch.file("folder/a", "text");
    does((sqe) => sqe.prepRename(at("folder/a"), at("folder/b")));
    does((sqe) => sqe.prepRename(at("folder/a"), at("folder/b")), -ENOENT);
    assert.equal(readFileSync(scratch.path("folder/b"), "latin1"), "text");
    does((sqe) => sqe.prepLink(at("folder/b"), at("hard"), 0));
    assert.equal(statSync(scratch.path("hard")).nlink, 2);
    does((sqe) => sqe.prepSymlink(cstring("folder/b"), at("soft")));
    assert.equal(readlinkSync(scratch.path("soft")), "folder/b");
    does((sqe) => sqe.prepUnlink(at("folder/b"), 0));
    assert.ok(!existsSync(scratch.path("folder/b")));
    does((sqe) => sqe.prepUnlink(at("folder"), abi.AT_REMOVEDIR));
    assert.ok(!existsSync(scratch.path("folder")));
  });

  it("link from one folder's fd into another's, through symbolic links if they are to", () => {
    using ring = new Ring({ entries: 8 });
    using scratch = new Scratch();
    run(ring, (sqe) => sqe.prepMkdir(cstring(scratch.path("to")), 0o755));
    scratch.file("a", "text");
    run(ring, (sqe) => sqe.prepSymlink(cstring("a"), cstring(scratch.path("soft"))));
    using from = open(scratch.path("."), abi.O_RDONLY | abi.O_DIRECTORY);
    using to = open(scratch.path("to"), abi.O_RDONLY | abi.O_DIRECTORY);
    const link = (flags: number, name: string) =>
      run(ring, (sqe) => sqe.prepLinkat(from.fd, cstring("soft"), to.fd, cstring(name), flags));
    assert.equal(link(0, "link"), 0);
    assert.equal(readlinkSync(scratch.path("to/link")), "a");
    assert.equal(link(abi.AT_SYMLINK_FOLLOW, "file"), 0);
    assert.equal(readFileSync(scratch.path("to/file"), "latin1"), "text");
  });

  it("open, into an fd or into a slot", () => {
    using ring = new Ring({ entries: 8 });
    using scratch = new Scratch();
    const path = cstring(scratch.file("f", "content"));
    const memory = alloc(16);
    using file = new Opened(run(ring, (sqe) => sqe.prepOpen(path, abi.O_RDONLY, 0)));
    assert.equal(
      run(ring, (sqe) => sqe.prepRead(file.fd, memory, 16, 3)),
      4,
    );
    assert.equal(text(memory, 4), "tent");
    ring.registerFilesSparse(4);
    assert.equal(
      run(ring, (sqe) => sqe.prepOpenDirect(path, abi.O_RDONLY, 0, new Direct(2))),
      0,
    );
    assert.equal(
      run(ring, (sqe) => sqe.prepRead(new Direct(2), memory, 16, 0)),
      7,
    );
    assert.equal(text(memory, 7), "content");
  });
});

describe("slots of the table of files", () => {
  it("are filled by an operation, those it names or any that are free", () => {
    using ring = new Ring({ entries: 8 });
    using ends = pipe();
    ring.registerFilesSparse(4);
    const fds = alloc(8);
    words(fds).set([ends.read, ends.write]);
    assert.equal(
      run(ring, (sqe) => sqe.prepFilesUpdate(fds, 2, 1)),
      2,
    );
    run(ring, (sqe) => sqe.prepWrite(new Direct(2), bytes("slot"), 4, -1));
    const memory = alloc(8);
    assert.equal(
      run(ring, (sqe) => sqe.prepRead(new Direct(1), memory, 8, -1)),
      4,
    );
    assert.equal(text(memory, 4), "slot");
    assert.equal(
      run(ring, (sqe) => sqe.prepFilesUpdate(fds, 2, -1)),
      2,
    );
    assert.deepEqual([...words(fds)].sort(), [0, 3]);
  });

  it("take sockets and pipes, and hand their files to another ring", () => {
    using ring = new Ring({ entries: 8 });
    using other = new Ring({ entries: 8 });
    ring.registerFilesSparse(4);
    other.registerFilesSparse(2);
    const slot = run(ring, (sqe) => sqe.prepSocketDirectAlloc(abi.AF_INET, abi.SOCK_DGRAM, 0, 0));
    assert.equal(slot, 0);
    const value = alloc(4);
    const { SOCKET_URING_OP_GETSOCKOPT, SOL_SOCKET, SO_TYPE } = abi;
    assert.equal(
      run(ring, (sqe) =>
        sqe.prepCmdSock(SOCKET_URING_OP_GETSOCKOPT, new Direct(slot), SOL_SOCKET, SO_TYPE, value, 4),
      ),
      4,
    );
    assert.deepEqual([...words(value)], [abi.SOCK_DGRAM]);

    const fds = alloc(8);
    assert.equal(
      run(ring, (sqe) => sqe.prepPipeDirect(fds, 0, new Direct(1))),
      0,
    );
    run(ring, (sqe) => sqe.prepWrite(new Direct(2), bytes("through"), 7, -1));
    assert.equal(
      run(ring, (sqe) => sqe.prepMsgRingFdAlloc(other.fd, new Direct(1), 7, 0)),
      0,
    );
    assert.deepEqual(reap(other, 1), [[7, 0, 0]]);
    const memory = alloc(8);
    assert.equal(
      run(other, (sqe) => sqe.prepRead(new Direct(0), memory, 8, -1)),
      7,
    );
    assert.equal(text(memory, 7), "through");

    const skip = abi.IORING_MSG_RING_CQE_SKIP;
    assert.equal(
      run(ring, (sqe) => sqe.prepMsgRingFd(other.fd, new Direct(2), new Direct(1), 8, skip)),
      0,
    );
    assert.equal(other.cqReady, 0);
    assert.equal(
      run(other, (sqe) => sqe.prepWrite(new Direct(1), bytes("more"), 4, -1)),
      4,
    );
  });

  it("become fds, which programs that are started inherit if they are to", () => {
    using ring = new Ring({ entries: 8 });
    using ends = pipe();
    ring.registerFiles([ends.write]);
    const F_GETFD = 1;
    for (const [flags, expected] of [
      [0, 1],
      [abi.IORING_FIXED_FD_NO_CLOEXEC, 0],
    ] as const) {
      using installed = new Opened(run(ring, (sqe) => sqe.prepFixedFdInstall(0, flags)));
      assert.equal(syscall("fcntl", installed.fd, F_GETFD), expected);
    }
  });
});

describe("timeouts", () => {
  it("by the clock of day, and by the one that counts sleep, at a point in time", () => {
    using ring = new Ring({ entries: 8 });
    const CLOCK_REALTIME = 0;
    for (const [clock, flag] of [
      [CLOCK_REALTIME, abi.IORING_TIMEOUT_REALTIME],
      [abi.CLOCK_BOOTTIME, abi.IORING_TIMEOUT_BOOTTIME],
    ] as const) {
      const started = performance.now();
      const flags = abi.IORING_TIMEOUT_ABS | flag;
      assert.equal(
        run(ring, (sqe) => sqe.prepTimeout(moment(clock, 30), 0, flags)),
        -ETIME,
      );
      const passed = performance.now() - started;
      assert.ok(passed >= 29, `${passed} ms`);
    }
  });

  it("of what they are linked to can be set anew", () => {
    using ring = new Ring({ entries: 8 });
    using ends = pipe();
    entry(ring).prepRead(ends.read, alloc(8), 8, -1).addFlags(abi.IOSQE_IO_LINK).setData64(1);
    entry(ring).prepLinkTimeout(duration(1e9), 0).setData64(2);
    submitAll(ring);
    entry(ring).prepTimeoutUpdate(duration(1), 2, abi.IORING_LINK_TIMEOUT_UPDATE).setData64(3);
    const results = new Map(reap(ring, 3).map(([userData, res]) => [userData, res]));
    assert.deepEqual([results.get(3), results.get(1), results.get(2)], [0, -ECANCELED, -ETIME]);
  });
});

describe("cancelling and changing", () => {
  it("an operation by its user_data", () => {
    using ring = new Ring({ entries: 8 });
    using ends = pipe();
    const name = 2n ** 63n + 5n;
    entry(ring).prepRead(ends.read, alloc(8), 8, -1).setData64(name);
    submitAll(ring);
    entry(ring).prepCancel(name, 0).setData64(2);
    const completions = reap(ring, 2);
    assert.deepEqual(completions.map(([, res]) => res).sort(), [0, -ECANCELED].sort());
    entry(ring).prepCancel(name, 0);
    assert.equal((reap(ring, 1)[0] as Completion)[1], -ENOENT);
  });

  it("what a poll's completion is called", () => {
    using ring = new Ring({ entries: 8 });
    using ends = pipe();
    entry(ring).prepPollAdd(ends.read, abi.POLLIN).setData64(1);
    submitAll(ring);
    const flags = abi.IORING_POLL_UPDATE_USER_DATA;
    assert.equal(
      run(ring, (sqe) => sqe.prepPollUpdate(1, 77, 0, flags)),
      0,
    );
    mustCall("write", ends.write, bytes("x").address, 1);
    assert.deepEqual(reap(ring, 1), [[77, abi.POLLIN, 0]]);
  });
});

describe("sockets", () => {
  it("are accepted without waiting, or with waiting first", () => {
    using ring = new Ring({ entries: 8 });
    using listener = new Opened(run(ring, (sqe) => sqe.prepSocket(abi.AF_INET, abi.SOCK_STREAM, 0, 0)));
    const any = encodeSockaddr({ family: "ipv4", address: "127.0.0.1", port: 0 });
    run(ring, (sqe) => sqe.prepBind(listener.fd, any, any.byteLength));
    run(ring, (sqe) => sqe.prepListen(listener.fd, 4));
    const address = boundAddress(listener.fd);
    const accept = (flags: number) =>
      run(ring, (sqe) => sqe.prepAccept(listener.fd, 0, 0, abi.SOCK_CLOEXEC).setIoprio(flags));
    assert.equal(accept(abi.IORING_ACCEPT_DONTWAIT), -EAGAIN);
    for (const flags of [abi.IORING_ACCEPT_DONTWAIT, abi.IORING_ACCEPT_POLL_FIRST]) {
      using client = new Opened(run(ring, (sqe) => sqe.prepSocket(abi.AF_INET, abi.SOCK_STREAM, 0, 0)));
      assert.equal(
        run(ring, (sqe) => sqe.prepConnect(client.fd, address, address.byteLength)),
        0,
      );
      using accepted = new Opened(accept(flags));
      run(ring, (sqe) => sqe.prepSend(client.fd, bytes("hello"), 5, 0));
      const memory = alloc(8);
      assert.equal(
        run(ring, (sqe) => sqe.prepRecv(accepted.fd, memory, 8, 0).setIoprio(abi.IORING_RECVSEND_POLL_FIRST)),
        5,
      );
      assert.equal(text(memory, 5), "hello");
    }
  });

  it("tell how much waits, by commands of every name", () => {
    using ring = new Ring({ entries: 8 });
    using a = new Udp(ring);
    using b = new Udp(ring);
    const waiting = abi.SOCKET_URING_OP_SIOCINQ;
    const sent = abi.SOCKET_URING_OP_SIOCOUTQ;
    assert.equal(
      run(ring, (sqe) => sqe.prepUringCmd(waiting, b.fd)),
      0,
    );
    run(ring, (sqe) => sqe.prepSendto(a.fd, bytes("twelve bytes"), 12, 0, b.address, 16));
    assert.equal(
      run(ring, (sqe) => sqe.prepUringCmd(waiting, b.fd)),
      12,
    );
    assert.equal(
      run(ring, (sqe) => sqe.prepUringCmdOp(abi.IORING_OP_URING_CMD, waiting, b.fd)),
      12,
    );
    assert.equal(
      run(ring, (sqe) => sqe.prepCmdSock(waiting, b.fd, 0, 0, 0, 0)),
      12,
    );
    assert.equal(
      run(ring, (sqe) => sqe.prepUringCmd(sent, a.fd)),
      0,
    );
  });
});

describe("a driver's command", () => {
  const { SOCKET_URING_OP_GETSOCKOPT, SOL_SOCKET, SO_TYPE } = abi;
  const pointer = (memory: Pinned) => new Uint8Array(BigUint64Array.of(BigInt(memory.address)).buffer);

  for (const [size, flags, room] of [
    ["an entry", 0, 16],
    ["a large entry", abi.IORING_SETUP_SQE128, 80],
  ] as const) {
    it(`takes bytes of its own at the end of ${size}`, () => {
      using ring = new Ring({ entries: 8, flags });
      using socket = new Udp(ring);
      const value = alloc(4);
      // To a socket the first of them are where an option is to be put.
      assert.equal(
        run(ring, (sqe) =>
          sqe
            .prepCmdSock(SOCKET_URING_OP_GETSOCKOPT, socket.fd, SOL_SOCKET, SO_TYPE, 0, 4)
            .setCmd(pointer(value)),
        ),
        4,
      );
      assert.deepEqual([...words(value)], [abi.SOCK_DGRAM]);

      const sqe = ring.getSqe()?.prepUringCmd(0, -1) as Sqe;
      const before = sqe.toBytes();
      const full = Uint8Array.from({ length: room }, (_, i) => i + 1);
      assert.deepEqual(sqe.setCmd(full).toBytes().subarray(48), full);
      const few = [7, 8, 9];
      assert.deepEqual(
        [...sqe.setCmd(Uint8Array.from(few)).toBytes()],
        [...before.subarray(0, 48), ...few, ...new Uint8Array(room - few.length)],
      );
    });

    it(`takes no more than ${size} has room for`, () => {
      using ring = new Ring({ entries: 8, flags });
      const sqe = ring.getSqe()?.prepUringCmd(0, -1) as Sqe;
      const before = sqe.toBytes();
      assert.throws(() => sqe.setCmd(new Uint8Array(room + 1)), RangeError);
      assert.throws(() => sqe.setCmd([1] as unknown as Uint8Array), TypeError);
      assert.deepEqual(sqe.toBytes(), before);
    });
  }

  it("alone has bytes of its own", () => {
    using ring = new Ring({ entries: 8 });
    const sqe = ring.getSqe() as Sqe;
    assert.throws(() => sqe.setCmd(new Uint8Array(1)), TypeError);
    assert.throws(() => sqe.prepFsync(0, 0).setCmd(new Uint8Array(1)), TypeError);
    ring.submit();
    assert.throws(() => sqe.setCmd(new Uint8Array(1)), TypeError);
  });
});

describe("a no-op", () => {
  it("has the result that it is told to have", () => {
    using ring = new Ring({ entries: 8 });
    for (const result of [42, 0, -EBADF]) {
      assert.equal(
        run(ring, (sqe) => nop(sqe, abi.IORING_NOP_INJECT_RESULT, result)),
        result,
      );
    }
  });
});

const LOOP_SET_FD = 0x4c00;
const LOOP_CLR_FD = 0x4c01;
const LOOP_CTL_GET_FREE = 0x4c82;

/** A block device whose content is a file. */
class LoopDevice extends Opened {
  constructor(file: Opened) {
    using control = open("/dev/loop-control", abi.O_RDWR);
    super(open(`/dev/loop${mustCall("ioctl", control.fd, LOOP_CTL_GET_FREE)}`, abi.O_RDWR).fd);
    mustCall("ioctl", this.fd, LOOP_SET_FD, file.fd);
  }

  override [Symbol.dispose](): void {
    mustCall("ioctl", this.fd, LOOP_CLR_FD);
    super[Symbol.dispose]();
  }
}

describe("a block device", () => {
  const isRoot = process.getuid?.() === 0;
  const skip = isRoot && existsSync("/dev/loop-control") ? false : "needs root and /dev/loop-control";

  it("forgets a range", { skip }, () => {
    using ring = new Ring({ entries: 8 });
    using scratch = new Scratch();
    const path = scratch.file("disk", "");
    writeFileSync(path, new Uint8Array(1 << 20).fill(1));
    truncateSync(path, 1 << 20);
    using file = open(path, abi.O_RDWR);
    using device = new LoopDevice(file);
    assert.equal(
      run(ring, (sqe) => sqe.prepCmdDiscard(device.fd, 65536, 131072)),
      0,
    );
    assert.equal(
      run(ring, (sqe) => sqe.prepCmdDiscard(device.fd, 1, 512)),
      -EINVAL,
    );
    const content = readFileSync(path);
    const zeroes = (from: number) => content.subarray(from, from + 65536).every((byte) => byte === 0);
    assert.deepEqual([0, 65536, 131072, 196608].map(zeroes), [false, true, true, false]);
  });
});
