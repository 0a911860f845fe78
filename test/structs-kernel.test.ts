import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import {
  alloc,
  cstring,
  decodeRecvmsg,
  decodeSiginfo,
  decodeStatx,
  encodeControl,
  encodeOpenHow,
  encodeSockaddr,
  encodeTimespec,
  FutexWaitv,
  Iovecs,
  Msghdr,
  type Pinned,
  Ring,
  type SocketAddress,
  type Sqe,
} from "uring";
import * as abi from "uring/abi";
import { place } from "./support/layout.ts";
import { LONG } from "./support/ring.ts";

const EAGAIN = 11;
const EXDEV = 18;
const ELOOP = 40;
const ETIME = 62;
const EADDRINUSE = 98;

const probe = new Ring({ entries: 1 });
const kernel = probe.probe();
probe.close();
/** Skips a test on a kernel that lacks one of the operations it is made of. */
function needs(...opcodes: number[]): { skip?: string } {
  const missing = opcodes.filter((opcode) => !kernel.supports(opcode));
  return missing.length === 0 ? {} : { skip: `this kernel lacks operations ${missing.join(", ")}` };
}
const sockets = needs(abi.IORING_OP_SOCKET, abi.IORING_OP_BIND, abi.IORING_OP_URING_CMD);

/** One operation after the other, each waited for. */
class Kernel {
  readonly ring: Ring = new Ring({ entries: 8 });
  readonly #fds: number[] = [];
  readonly #directory = mkdtempSync(join(tmpdir(), "uring-structs-"));

  /** Submits what `fill` describes, and gives its completion's result. */
  run(fill: (sqe: Sqe) => unknown): number {
    const sqe = this.ring.getSqe();
    assert.ok(sqe);
    fill(sqe);
    sqe.setData64(4711);
    assert.equal(this.ring.submitAndWait(1, { timeout: LONG }), 1);
    const completions: [number, number][] = [];
    this.ring.drain((userData, res) => completions.push([userData, res]));
    assert.deepEqual(
      completions.map(([userData]) => userData),
      [4711],
    );
    return completions[0]?.[1] as number;
  }

  /** As `run`, for an operation that must not fail. */
  done(fill: (sqe: Sqe) => unknown): number {
    const res = this.run(fill);
    assert.ok(res >= 0, `result ${res}`);
    return res;
  }

  /** As `done`, for an operation whose result is an fd. */
  fd(fill: (sqe: Sqe) => unknown): number {
    const fd = this.done(fill);
    this.#fds.push(fd);
    return fd;
  }

  path(name: string): string {
    return join(this.#directory, name);
  }

  open(name: string, flags: number = abi.O_RDWR | abi.O_CREAT): number {
    return this.fd((sqe) => sqe.prepOpenat(abi.AT_FDCWD, cstring(this.path(name)), flags, 0o600));
  }

  option(fd: number, level: number, option: number, value: number): void {
    const memory = alloc(4);
    memory.bytes.set(new Uint8Array(Int32Array.of(value).buffer));
    this.done((sqe) => sqe.prepCmdSock(abi.SOCKET_URING_OP_SETSOCKOPT, fd, level, option, memory, 4));
  }

  /** A datagram socket bound to a free port of the loopback interface, and its address. */
  udp(family: "ipv4" | "ipv6"): { fd: number; address: SocketAddress } {
    const domain = family === "ipv4" ? abi.AF_INET : abi.AF_INET6;
    const fd = this.fd((sqe) => sqe.prepSocket(domain, abi.SOCK_DGRAM | abi.SOCK_CLOEXEC, 0, 0));
    for (;;) {
      const port = 20000 + Math.floor(Math.random() * 40000);
      const address: SocketAddress =
        family === "ipv4"
          ? { family, address: "127.0.0.1", port }
          : { family, address: "::1", port, flowInfo: 0, scopeId: 0 };
      const encoded = encodeSockaddr(address);
      const res = this.run((sqe) => sqe.prepBind(fd, encoded, encoded.byteLength));
      if (res === 0) return { fd, address };
      assert.equal(res, -EADDRINUSE);
    }
  }

  /** Sends to a socket and receives there; what arrived is in `incoming` afterwards. */
  exchange(from: number, to: number, outgoing: Msghdr, incoming: Msghdr): number {
    this.done((sqe) => sqe.prepSendmsg(from, outgoing, 0));
    return this.done((sqe) => sqe.prepRecvmsg(to, incoming, 0));
  }

  [Symbol.dispose](): void {
    for (const fd of this.#fds) this.run((sqe) => sqe.prepClose(fd));
    this.ring.close();
    rmSync(this.#directory, { recursive: true });
  }
}

const text = (memory: Pinned | Uint8Array, length = memory.byteLength): string =>
  new TextDecoder().decode((memory instanceof Uint8Array ? memory : memory.bytes).slice(0, length));
const pinned = (content: string): Pinned => {
  const memory = alloc(content.length);
  memory.bytes.set(new TextEncoder().encode(content));
  return memory;
};

describe("structs that hold addresses, as the kernel sees them", () => {
  /** The bytes of a struct that keeps them to itself: the kernel copies them to a file. */
  function bytesOf(kernel: Kernel, struct: { address: number; byteLength: number }): DataView {
    const fd = kernel.open("struct", abi.O_WRONLY | abi.O_CREAT | abi.O_TRUNC);
    assert.equal(
      kernel.run((sqe) => sqe.prepWrite(fd, struct.address, struct.byteLength, 0)),
      struct.byteLength,
    );
    const bytes = new Uint8Array(readFileSync(kernel.path("struct")));
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  function assertFields(
    view: DataView,
    base: number,
    struct: string,
    values: Record<string, number | bigint>,
  ): void {
    for (const [name, value] of Object.entries(values)) {
      const [offset, size] = place(struct, name);
      const field =
        size === 8 ? view.getBigUint64(base + offset, true) : BigInt(view.getUint32(base + offset, true));
      assert.equal(field, BigInt(value), `${struct}.${name}`);
    }
  }

  it("have an iovec's fields", () => {
    using kernel = new Kernel();
    const [a, b] = [alloc(100), alloc(4096).slice(64, 7)];
    using iovecs = new Iovecs([a, b, new Uint8Array(0)]);
    const view = bytesOf(kernel, iovecs);
    assertFields(view, 0, "iovec", { iov_base: a.address, iov_len: 100 });
    assertFields(view, 16, "iovec", { iov_base: b.address, iov_len: 7 });
    assertFields(view, 32, "iovec", { iov_base: 0, iov_len: 0 });
  });

  it("have a msghdr's fields", () => {
    using kernel = new Kernel();
    using iovecs = new Iovecs([alloc(10), alloc(20)]);
    const control = alloc(48);
    using message = new Msghdr({
      iov: iovecs,
      control,
      name: { family: "ipv4", address: "127.0.0.1", port: 1 },
    });
    const view = bytesOf(kernel, message);
    assertFields(view, 0, "msghdr", {
      msg_namelen: 16,
      msg_iov: iovecs.address,
      msg_iovlen: 2,
      msg_flags: 0,
    });
    assertFields(view, 0, "msghdr", { msg_control: control.address, msg_controllen: 48 });
    const nameAt = Number(view.getBigUint64(0, true)) - message.address;
    assertFields(view, nameAt, "sockaddr_in", { sin_addr: 0x0100007f });
    using empty = new Msghdr({ iov: [] });
    const none = {
      msg_name: 0,
      msg_namelen: 0,
      msg_iov: 0,
      msg_iovlen: 0,
      msg_control: 0,
      msg_controllen: 0,
    };
    assertFields(bytesOf(kernel, empty), 0, "msghdr", none);
  });

  it("have a futex_waitv's fields", () => {
    using kernel = new Kernel();
    const words = alloc(64);
    using futexes = new FutexWaitv([
      { futex: words, value: 2n ** 64n - 1n },
      { futex: words.slice(8, 4), value: 7, flags: abi.FUTEX2_SIZE_U32 | abi.FUTEX2_PRIVATE },
    ]);
    const view = bytesOf(kernel, futexes);
    assertFields(view, 0, "futex_waitv", {
      val: 2n ** 64n - 1n,
      uaddr: words.address,
      flags: 2,
      __reserved: 0,
    });
    assertFields(view, 24, "futex_waitv", { val: 7, uaddr: words.address + 8, flags: 130, __reserved: 0 });
  });
});

describe("structs at work", () => {
  it("iovecs gather and scatter", () => {
    using kernel = new Kernel();
    const fd = kernel.open("file");
    using gather = new Iovecs([pinned("one "), new TextEncoder().encode("two "), pinned("three")]);
    assert.equal(
      kernel.run((sqe) => sqe.prepWritev(fd, gather, gather.length, 0)),
      gather.totalBytes,
    );
    assert.equal(readFileSync(kernel.path("file"), "utf8"), "one two three");
    const [a, b] = [alloc(6), new Uint8Array(100)];
    using scatter = new Iovecs([a, b]);
    assert.equal(
      kernel.run((sqe) => sqe.prepReadv(fd, scatter, scatter.length, 0)),
      13,
    );
    assert.equal(text(a) + text(b, 7), "one two three");
  });

  it("statx tells what the runtime's stat tells", () => {
    using kernel = new Kernel();
    writeFileSync(kernel.path("file"), "x".repeat(5000), { mode: 0o640 });
    symlinkSync("file", kernel.path("link"));
    const out = alloc(abi.statx.sizeof);
    const stat = (path: string, flags = 0): ReturnType<typeof decodeStatx> => {
      const mask = abi.STATX_BASIC_STATS | abi.STATX_BTIME | abi.STATX_MNT_ID;
      assert.equal(
        kernel.run((sqe) => sqe.prepStatx(abi.AT_FDCWD, cstring(path), flags, mask, out)),
        0,
      );
      return decodeStatx(out);
    };
    for (const path of [kernel.path("file"), kernel.path("."), "/dev/null"]) {
      const [ours, theirs] = [stat(path), statSync(path, { bigint: true })];
      for (const name of [
        "dev",
        "ino",
        "mode",
        "nlink",
        "uid",
        "gid",
        "rdev",
        "size",
        "blksize",
        "blocks",
      ] as const) {
        assert.equal(BigInt(ours[name]), theirs[name], `${name} of ${path}`);
      }
      for (const name of ["atime", "mtime", "ctime", "birthtime"] as const) {
        // Seconds are all that Deno's ctime has.
        const seconds = (time: Date): number => Math.floor(time.getTime() / 1000);
        assert.equal(seconds(ours[name]), seconds(theirs[name]), `${name} of ${path}`);
      }
      for (const kind of ["isFile", "isDirectory", "isCharacterDevice", "isSymbolicLink"] as const) {
        assert.equal(ours[kind](), theirs[kind](), `${kind} of ${path}`);
      }
    }
    assert.ok(stat(kernel.path("link"), abi.AT_SYMLINK_NOFOLLOW).isSymbolicLink());
    assert.ok(stat(kernel.path("link")).isFile());
  });

  it("open_how decides how a path is resolved", () => {
    using kernel = new Kernel();
    mkdirSync(kernel.path("inside"));
    symlinkSync("inside", kernel.path("link"));
    const directory = kernel.fd((sqe) =>
      sqe.prepOpenat(abi.AT_FDCWD, cstring(kernel.path(".")), abi.O_DIRECTORY, 0),
    );
    const open = (path: string, how: Parameters<typeof encodeOpenHow>[0]): number =>
      kernel.run((sqe) => sqe.prepOpenat2(directory, cstring(path), encodeOpenHow(how)));
    assert.equal(open("../other", { flags: abi.O_RDONLY, resolve: abi.RESOLVE_BENEATH }), -EXDEV);
    assert.equal(open("link", { flags: abi.O_RDONLY, resolve: abi.RESOLVE_NO_SYMLINKS }), -ELOOP);
    const created = open("inside/new", { flags: abi.O_WRONLY | abi.O_CREAT | abi.O_EXCL, mode: 0o600 });
    assert.ok(created >= 0);
    kernel.done((sqe) => sqe.prepClose(created));
    assert.equal(statSync(kernel.path("inside/new")).mode & 0o777, 0o600);
  });

  it("timespec sets a timeout", () => {
    using kernel = new Kernel();
    for (const time of [20, 20_000_000n, { sec: 0, nsec: 20_000_000 }]) {
      const start = performance.now();
      assert.equal(
        kernel.run((sqe) => sqe.prepTimeout(encodeTimespec(time), 0, 0)),
        -ETIME,
      );
      const elapsed = performance.now() - start;
      assert.ok(elapsed >= 19 && elapsed < LONG, `${elapsed} ms`);
    }
  });

  it("siginfo tells how a child ended", needs(abi.IORING_OP_WAITID), async () => {
    using kernel = new Kernel();
    const child = spawn("sh", ["-c", "exit 7"], { stdio: "ignore" });
    const ended = new Promise((resolve) => child.once("exit", resolve));
    const info = alloc(abi.siginfo_t.sizeof);
    const { pid } = child;
    assert.ok(pid);
    // The child stays the runtime's to reap.
    assert.equal(
      kernel.run((sqe) => sqe.prepWaitid(abi.P_PID, pid, info, abi.WEXITED | abi.WNOWAIT, 0)),
      0,
    );
    const { code, status, ...rest } = decodeSiginfo(info);
    assert.deepEqual({ code, status }, { code: abi.CLD_EXITED, status: 7 });
    assert.deepEqual([rest.pid, rest.signo, rest.errno], [pid, 17, 0]);
    assert.equal(await ended, 7);
  });

  it("futex_waitv waits for any of its words", needs(abi.IORING_OP_FUTEX_WAITV), () => {
    using kernel = new Kernel();
    const words = alloc(64);
    const [first, second] = [words.slice(0, 4), words.slice(4, 4)];
    first.bytes[0] = 5;
    const wait = (value: number): FutexWaitv =>
      new FutexWaitv([
        { futex: first, value },
        { futex: second, value: 0 },
      ]);
    using wrong = wait(4);
    assert.equal(
      kernel.run((sqe) => sqe.prepFutexWaitv(wrong, wrong.length, 0)),
      -EAGAIN,
    );
    using right = wait(5);
    kernel.ring.getSqe()?.prepFutexWaitv(right, right.length, 0).setData64(1);
    assert.equal(kernel.ring.submit(), 1);
    kernel.ring
      .getSqe()
      ?.prepFutexWake(second, 1, abi.FUTEX_BITSET_MATCH_ANY, abi.FUTEX2_SIZE_U32, 0)
      .setData64(2);
    const completions: number[][] = [];
    kernel.ring.submitAndWait(2, { timeout: LONG });
    kernel.ring.drain((...completion) => completions.push(completion));
    assert.deepEqual(
      completions.sort(),
      [
        [1, 1, 0],
        [2, 1, 0],
      ],
      "the index of the word, and one waiter woken",
    );
  });
});

describe("messages", () => {
  it("carry the sender's address over IPv4 and IPv6", sockets, () => {
    using kernel = new Kernel();
    for (const family of ["ipv4", "ipv6"] as const) {
      const [from, to] = [kernel.udp(family), kernel.udp(family)];
      const buffer = alloc(64);
      using outgoing = new Msghdr({ iov: [pinned("ping")], name: to.address });
      using incoming = new Msghdr({ iov: [buffer], nameLength: 128 });
      for (let round = 0; round < 3; round++) {
        assert.equal(kernel.exchange(from.fd, to.fd, outgoing, incoming), 4);
        assert.equal(text(buffer, 4), "ping");
        assert.deepEqual(incoming.name, from.address);
        assert.deepEqual(incoming.control, []);
        assert.equal(incoming.flags, 0);
        incoming.reset();
      }
    }
  });

  it("never write an address past the room there is for it", sockets, () => {
    using kernel = new Kernel();
    const [from, to] = [kernel.udp("ipv6"), kernel.udp("ipv6")];
    using outgoing = new Msghdr({ iov: [pinned("x")], name: to.address });
    using incoming = new Msghdr({ iov: [alloc(8)], nameLength: 8 });
    kernel.exchange(from.fd, to.fd, outgoing, incoming);
    assert.throws(() => incoming.name, /28 bytes did not fit/);
    // Used again without reset, the header has the real length in it, which is more than was asked for.
    kernel.exchange(from.fd, to.fd, outgoing, incoming);
    incoming.reset();
    kernel.exchange(from.fd, to.fd, outgoing, incoming);
    assert.throws(() => incoming.name, RangeError);
    using nameless = new Msghdr({ iov: [alloc(8)] });
    kernel.exchange(from.fd, to.fd, outgoing, nameless);
    assert.equal(nameless.name, null);
  });

  it("tell by flags what was cut", sockets, () => {
    using kernel = new Kernel();
    const [from, to] = [kernel.udp("ipv4"), kernel.udp("ipv4")];
    kernel.option(to.fd, abi.SOL_IP, abi.IP_PKTINFO, 1);
    using outgoing = new Msghdr({ iov: [pinned("too long")], name: to.address });
    using incoming = new Msghdr({ iov: [alloc(3)], control: alloc(20) });
    assert.equal(kernel.exchange(from.fd, to.fd, outgoing, incoming), 3);
    assert.equal(incoming.flags & (abi.MSG_TRUNC | abi.MSG_CTRUNC), abi.MSG_TRUNC | abi.MSG_CTRUNC);
    const [cut] = incoming.control;
    assert.ok(cut?.kind === "other");
    assert.deepEqual([cut.level, cut.type, cut.data.length], [abi.SOL_IP, abi.IP_PKTINFO, 4]);
  });

  it("carry packet information and times", sockets, () => {
    using kernel = new Kernel();
    const [from, to] = [kernel.udp("ipv4"), kernel.udp("ipv4")];
    kernel.option(to.fd, abi.SOL_IP, abi.IP_PKTINFO, 1);
    for (const option of [
      abi.SO_TIMESTAMP_OLD,
      abi.SO_TIMESTAMPNS_OLD,
      abi.SO_TIMESTAMP_NEW,
      abi.SO_TIMESTAMPNS_NEW,
    ]) {
      kernel.option(to.fd, abi.SOL_SOCKET, option, 1);
      using outgoing = new Msghdr({ iov: [pinned("x")], name: to.address });
      using incoming = new Msghdr({ iov: [alloc(8)], control: alloc(256) });
      const before = Date.now();
      kernel.exchange(from.fd, to.fd, outgoing, incoming);
      const time = incoming.control.find((message) => message.kind === "timestamp");
      assert.ok(time);
      const ms = Number(time.ns / 1_000_000n);
      assert.ok(ms >= before - 2 && ms <= Date.now() + 2, `${ms} is not now, ${before}`);
      const info = incoming.control.find((message) => message.kind === "ipv4PacketInfo");
      assert.deepEqual(
        { ...info, interfaceIndex: 0 },
        { kind: "ipv4PacketInfo", interfaceIndex: 0, local: "127.0.0.1", address: "127.0.0.1" },
      );
      kernel.option(to.fd, abi.SOL_SOCKET, option, 0);
    }
  });

  it("carry software times where hardware has none", sockets, () => {
    using kernel = new Kernel();
    const [from, to] = [kernel.udp("ipv6"), kernel.udp("ipv6")];
    kernel.option(to.fd, abi.SOL_IPV6, abi.IPV6_RECVPKTINFO, 1);
    const flags = abi.SOF_TIMESTAMPING_RX_SOFTWARE | abi.SOF_TIMESTAMPING_SOFTWARE;
    for (const option of [abi.SO_TIMESTAMPING_OLD, abi.SO_TIMESTAMPING_NEW]) {
      kernel.option(to.fd, abi.SOL_SOCKET, option, flags);
      using outgoing = new Msghdr({ iov: [pinned("x")], name: to.address });
      using incoming = new Msghdr({ iov: [alloc(8)], control: alloc(256) });
      const before = Date.now();
      const limit = performance.now() + LONG;
      const received = () => {
        incoming.reset();
        kernel.exchange(from.fd, to.fd, outgoing, incoming);
        return incoming.control.find((message) => message.kind === "timestamping");
      };
      let time = received();
      // A worker of the kernel's switches the times on a while after they are asked for: datagrams before that have none.
      while (time === undefined && performance.now() < limit) time = received();
      assert.ok(time);
      const ms = Number(time.software / 1_000_000n);
      assert.ok(ms >= before - 2 && ms <= Date.now() + 2, `${ms} is not now, ${before}`);
      assert.equal(time.hardware, 0n);
      const [info] = incoming.control.filter((message) => message.kind === "ipv6PacketInfo");
      assert.equal(info?.address, "::1");
    }
  });

  it("are sent from the address that packet information names", sockets, () => {
    using kernel = new Kernel();
    const to = kernel.udp("ipv4");
    const from = kernel.fd((sqe) => sqe.prepSocket(abi.AF_INET, abi.SOCK_DGRAM | abi.SOCK_CLOEXEC, 0, 0));
    const control = encodeControl([
      { kind: "ipv4PacketInfo", interfaceIndex: 0, local: "127.0.0.9", address: "0.0.0.0" },
    ]);
    using outgoing = new Msghdr({ iov: [pinned("x")], name: to.address, control });
    using incoming = new Msghdr({ iov: [alloc(8)], nameLength: 16 });
    kernel.exchange(from, to.fd, outgoing, incoming);
    const { name } = incoming;
    assert.equal(name?.family === "ipv4" && name.address, "127.0.0.9");
  });

  it("are cut into datagrams, and joined from them, by the kernel", sockets, () => {
    using kernel = new Kernel();
    const [from, to] = [kernel.udp("ipv4"), kernel.udp("ipv4")];
    using outgoing = new Msghdr({
      iov: [pinned("a".repeat(1000) + "b".repeat(1000) + "c".repeat(500))],
      name: to.address,
      control: encodeControl([{ kind: "udpSegment", size: 1000 }]),
    });
    const buffer = alloc(65536);
    using incoming = new Msghdr({ iov: [buffer], control: alloc(64) });
    assert.equal(kernel.exchange(from.fd, to.fd, outgoing, incoming), 1000);
    for (const size of [1000, 500]) {
      incoming.reset();
      assert.equal(
        kernel.run((sqe) => sqe.prepRecvmsg(to.fd, incoming, 0)),
        size,
      );
    }
    assert.equal(text(buffer, 500), "c".repeat(500));
    kernel.option(to.fd, abi.SOL_UDP, abi.UDP_GRO, 1);
    incoming.reset();
    assert.equal(kernel.exchange(from.fd, to.fd, outgoing, incoming), 2500);
    assert.deepEqual(incoming.control, [{ kind: "udpGro", size: 1000 }]);
  });

  it("pass fds over Unix sockets with names of every kind", sockets, () => {
    using kernel = new Kernel();
    const names: SocketAddress[] = [
      { family: "unix", path: kernel.path("socket") },
      { family: "unix", abstract: `uring-test-${Math.random()}\0` },
    ];
    const [from, ...to] = [0, 1, 2].map(() =>
      kernel.fd((sqe) => sqe.prepSocket(abi.AF_UNIX, abi.SOCK_DGRAM | abi.SOCK_CLOEXEC, 0, 0)),
    ) as [number, number, number];
    const file = kernel.open("passed");
    for (const [i, name] of names.entries()) {
      const address = encodeSockaddr(name);
      const fd = to[i] as number;
      kernel.done((sqe) => sqe.prepBind(fd, address, address.byteLength));
      using outgoing = new Msghdr({
        iov: [pinned("take")],
        name,
        control: encodeControl([{ kind: "rights", fds: [file, file] }]),
      });
      using incoming = new Msghdr({ iov: [alloc(8)], control: alloc(64), nameLength: 128 });
      assert.equal(kernel.exchange(from, fd, outgoing, incoming), 4);
      assert.equal(incoming.name, null, "an unnamed sender");
      const [message] = incoming.control;
      assert.ok(message?.kind === "rights");
      const { fds } = message;
      assert.equal(fds.length, 2);
      for (const passed of fds) {
        assert.notEqual(passed, file);
        const content = pinned(`through ${i}`);
        kernel.done((sqe) => sqe.prepWrite(passed, content, content.byteLength, 0));
        kernel.done((sqe) => sqe.prepClose(passed));
        assert.equal(readFileSync(kernel.path("passed"), "utf8"), `through ${i}`);
      }
    }
    // With a name of its own, the sender is known by it.
    const own = encodeSockaddr({ family: "unix", abstract: `uring-test-own-${Math.random()}` });
    kernel.done((sqe) => sqe.prepBind(from, own, own.byteLength));
    using outgoing = new Msghdr({ iov: [pinned("x")], name: names[0] as SocketAddress });
    using incoming = new Msghdr({ iov: [alloc(8)], nameLength: 128 });
    kernel.exchange(from, to[0], outgoing, incoming);
    assert.deepEqual(encodeSockaddr(incoming.name as SocketAddress).bytes, own.bytes);
  });

  it("of a multishot recvmsg come with head, address and control messages", sockets, () => {
    using kernel = new Kernel();
    const [from, to] = [kernel.udp("ipv4"), kernel.udp("ipv4")];
    kernel.option(to.fd, abi.SOL_IP, abi.IP_PKTINFO, 1);
    const [group, size, count] = [3, 512, 4];
    const pool = alloc(size * count);
    kernel.done((sqe) => sqe.prepProvideBuffers(pool, size, count, group, 0));
    using shape = new Msghdr({ nameLength: 28, control: alloc(64) });
    kernel.ring.getSqe()?.prepRecvmsgMultishot(to.fd, shape, 0).setBufferGroup(group);
    kernel.ring.submit();
    for (const content of ["first", "the second"]) {
      using outgoing = new Msghdr({ iov: [pinned(content)], name: to.address });
      kernel.ring.getSqe()?.prepSendmsg(from.fd, outgoing, 0).setData64(9);
      kernel.ring.submitAndWait(2, { timeout: LONG });
      const received: [number, number][] = [];
      kernel.ring.drain((userData, res, flags) => {
        if (userData !== 9) received.push([res, flags]);
      });
      assert.equal(received.length, 1);
      const [[res, flags]] = received as [[number, number]];
      assert.ok(flags & abi.IORING_CQE_F_MORE, "it goes on");
      const bufferId = flags >>> abi.IORING_CQE_BUFFER_SHIFT;
      const message = decodeRecvmsg(pool.slice(bufferId * size, size), shape, res);
      assert.deepEqual(message.name, from.address);
      assert.equal(message.control[0]?.kind, "ipv4PacketInfo");
      assert.equal(text(message.payload), content);
      assert.equal(message.payloadLength, content.length);
    }
  });
});
