import assert from "node:assert/strict";
import net from "node:net";
import { describe, it } from "node:test";
import {
  alloc,
  type ControlMessage,
  decodeControl,
  decodeEpollEvents,
  decodeOpenHow,
  decodeRecvmsg,
  decodeSiginfo,
  decodeSockaddr,
  decodeStatx,
  decodeTimespec,
  encodeControl,
  encodeEpollEvent,
  encodeOpenHow,
  encodeSockaddr,
  encodeTimespec,
  FutexWaitv,
  Iovecs,
  Msghdr,
  type SocketAddress,
} from "uring";
import * as abi from "uring/abi";
import { place, sizeOf } from "./support/layout.ts";
import { Random } from "./support/random.ts";

/** The little-endian value of a struct's field. */
function field(bytes: Uint8Array, struct: string, name: string): bigint {
  const [offset, size] = place(struct, name);
  let value = 0n;
  for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[offset + i] as number);
  return value;
}

/** Bytes of a struct whose fields have the given values and whose other bytes are 0xee. */
function struct(name: string, values: Record<string, number | bigint>): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(sizeOf(name)).fill(0xee);
  for (const [field, value] of Object.entries(values)) {
    const [offset, size] = place(name, field);
    for (let i = 0; i < size; i++) bytes[offset + i] = Number((BigInt(value) >> BigInt(8 * i)) & 0xffn);
  }
  return bytes;
}

const hex = (bytes: Uint8Array): string => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
const unhex = (text: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(text.replaceAll(" ", "").match(/../g) ?? [], (b) => Number.parseInt(b, 16));
const ipv6 = (address: string): Uint8Array =>
  encodeSockaddr({ family: "ipv6", address, port: 0 }, new Uint8Array(28)).subarray(8, 24);
const ipv6Text = (bytes: Uint8Array): string => {
  const sockaddr = new Uint8Array(28);
  sockaddr[0] = abi.AF_INET6;
  sockaddr.set(bytes, 8);
  const address = decodeSockaddr(sockaddr);
  assert.equal(address?.family, "ipv6");
  return (address as { address: string }).address;
};

/** Decodes the same bytes alone and within others: what lies around them must make no difference. */
function decodesWithin<T>(bytes: Uint8Array, decode: (bytes: Uint8Array) => T): T {
  const around = new Uint8Array(bytes.length + 512).fill(0xaa);
  around.set(bytes, 256);
  const attempt = (of: Uint8Array): { value: T } | { error: string } => {
    try {
      return { value: decode(of) };
    } catch (error) {
      assert.ok(error instanceof RangeError, `${error}`);
      return { error: error.message };
    }
  };
  const alone = attempt(bytes.slice());
  assert.deepEqual(attempt(around.subarray(256, 256 + bytes.length)), alone);
  if ("error" in alone) throw new RangeError(alone.error);
  return alone.value;
}

/** Gives a decoder thousands of random byte strings; a RangeError is the only error it may throw. */
function survivesHostileBytes(
  decode: (bytes: Uint8Array) => unknown,
  makeLikely?: (bytes: Uint8Array) => void,
): void {
  const random = new Random(7);
  let refused = 0;
  for (let round = 0; round < 2000; round++) {
    const bytes = random.bytes(random.below(300));
    if (random.below(2) === 0) makeLikely?.(bytes);
    try {
      decodesWithin(bytes, decode);
    } catch (error) {
      assert.ok(error instanceof RangeError, `${error}`);
      refused++;
    }
  }
  assert.ok(refused > 0, "short input must be refused");
}

describe("timespec", () => {
  it("takes milliseconds, nanoseconds and parts", () => {
    const cases: [Parameters<typeof encodeTimespec>[0], bigint, bigint][] = [
      [0, 0n, 0n],
      [1, 0n, 1_000_000n],
      [0.25, 0n, 250_000n],
      [0.1, 0n, 100_000n],
      [1500, 1n, 500_000_000n],
      [999.9999999, 1n, 0n],
      [Date.UTC(2100, 0), 4_102_444_800n, 0n],
      [1n, 0n, 1n],
      [10n ** 9n + 1n, 1n, 1n],
      [2n ** 63n * 10n ** 9n - 1n, 2n ** 63n - 1n, 999_999_999n],
      [{ sec: 5, nsec: 6 }, 5n, 6n],
      [{ sec: 2n ** 62n, nsec: 999_999_999 }, 2n ** 62n, 999_999_999n],
    ];
    for (const [time, sec, nsec] of cases) {
      const bytes = encodeTimespec(time, new Uint8Array(16));
      assert.equal(field(bytes, "__kernel_timespec", "tv_sec"), sec, `${time}`);
      assert.equal(field(bytes, "__kernel_timespec", "tv_nsec"), nsec, `${time}`);
      assert.equal(decodeTimespec(bytes), sec * 10n ** 9n + nsec);
    }
  });

  it("gives new memory unless it is given some", () => {
    const own = encodeTimespec(1);
    assert.equal(own.byteLength, 16);
    assert.equal(decodeTimespec(own), 1_000_000n);
    const into = alloc(64);
    assert.equal(encodeTimespec(2, into).address, into.address);
    assert.equal(decodeTimespec(into), 2_000_000n);
    own[Symbol.dispose]();
    into[Symbol.dispose]();
  });

  it("refuses what is no time", () => {
    for (const time of [-1, Number.NaN, Infinity, -1n, 2n ** 63n * 10n ** 9n, { sec: -1, nsec: 0 }]) {
      assert.throws(() => encodeTimespec(time, new Uint8Array(16)), RangeError, `${time}`);
    }
    for (const nsec of [-1, 1e9, 0.5, Number.NaN]) {
      assert.throws(() => encodeTimespec({ sec: 0, nsec }, new Uint8Array(16)), RangeError);
    }
    for (const time of ["1", null, undefined, {}, true]) {
      assert.throws(() => encodeTimespec(time as never, new Uint8Array(16)), TypeError, `${time}`);
    }
    assert.throws(() => encodeTimespec(1, new Uint8Array(15)), RangeError);
    assert.throws(() => encodeTimespec(1, [] as never), TypeError);
  });

  it("comes back as it went in", () => {
    const random = new Random(1);
    const into = new Uint8Array(16);
    for (let i = 0; i < 1000; i++) {
      const ns = random.u64() >> BigInt(random.below(64));
      assert.equal(decodeTimespec(encodeTimespec(ns, into)), ns);
    }
  });

  it("is read within its bounds", () => {
    survivesHostileBytes(decodeTimespec);
    assert.equal(decodeTimespec(new Uint8Array(16).fill(0xff)), -1_000_000_001n);
  });
});

describe("open_how", () => {
  it("has its fields where the header has them", () => {
    const how = { flags: abi.O_CREAT | abi.O_TMPFILE, mode: 0o640, resolve: abi.RESOLVE_BENEATH };
    const bytes = encodeOpenHow(how, new Uint8Array(24).fill(0xff));
    for (const [name, value] of Object.entries(how))
      assert.equal(field(bytes, "open_how", name), BigInt(value));
    assert.equal(hex(encodeOpenHow({ flags: 0 }, new Uint8Array(24).fill(0xff))), "00".repeat(24));
  });

  it("comes back as it went in", () => {
    const random = new Random(2);
    for (let i = 0; i < 200; i++) {
      const how = { flags: random.u64(), mode: random.u64(), resolve: random.u64() };
      assert.deepEqual(decodeOpenHow(encodeOpenHow(how, new Uint8Array(24))), how);
    }
  });

  it("refuses values that do not fit", () => {
    assert.throws(() => encodeOpenHow({ flags: -1 }), RangeError);
    assert.throws(() => encodeOpenHow({ flags: 2n ** 64n }), RangeError);
    assert.throws(() => encodeOpenHow({ flags: 0, mode: 0.5 }), RangeError);
    assert.throws(() => encodeOpenHow({ flags: "0" as never }), TypeError);
    survivesHostileBytes(decodeOpenHow);
  });
});

describe("epoll_event", () => {
  it("has the machine's layout", () => {
    const { sizeof, data: dataAt } = abi.epoll_event;
    const bytes = encodeEpollEvent(
      { events: abi.EPOLLIN | abi.EPOLLET, data: 0x1122334455667788n },
      new Uint8Array(32),
    );
    assert.equal(bytes.byteLength, sizeof);
    assert.equal(hex(bytes.subarray(0, 4)), "01000080");
    assert.equal(hex(bytes.subarray(dataAt, dataAt + 8)), "8877665544332211");
  });

  it("is read one after the other", () => {
    const random = new Random(3);
    const events = Array.from({ length: 5 }, () => ({ events: random.u32(), data: random.u64() }));
    const memory = alloc(5 * abi.epoll_event.sizeof);
    for (const [i, event] of events.entries())
      encodeEpollEvent(event, memory.slice(i * abi.epoll_event.sizeof));
    assert.deepEqual(decodeEpollEvents(memory, 5), events);
    assert.deepEqual(decodeEpollEvents(memory, 2), events.slice(0, 2));
    for (const count of [6, -1, 0.5, Number.NaN])
      assert.throws(() => decodeEpollEvents(memory, count), RangeError);
    memory[Symbol.dispose]();
  });

  it("refuses values that do not fit", () => {
    assert.throws(() => encodeEpollEvent({ events: 2 ** 32, data: 0 }), RangeError);
    assert.throws(() => encodeEpollEvent({ events: 1, data: -1n }), RangeError);
    assert.throws(() => encodeEpollEvent({ events: 1, data: "1" as never }), TypeError);
  });
});

describe("siginfo", () => {
  it("is read where the header has its fields", () => {
    const bytes = struct("siginfo_t", {
      si_signo: 17,
      si_errno: 0,
      si_code: 1,
      si_pid: 4321,
      si_uid: 2 ** 32 - 2,
      si_status: -7,
    });
    assert.deepEqual(decodeSiginfo(bytes), {
      signo: 17,
      errno: 0,
      code: 1,
      pid: 4321,
      uid: 2 ** 32 - 2,
      status: -7,
    });
    survivesHostileBytes(decodeSiginfo);
  });
});

describe("statx", () => {
  const times = { stx_atime: 1n, stx_btime: 2n, stx_ctime: 3n, stx_mtime: -4n };

  function sample(mode: number): Uint8Array {
    const bytes = struct("statx", {
      stx_mask: 0xfff,
      stx_blksize: 4096,
      stx_attributes: 2n ** 63n,
      stx_nlink: 2 ** 32 - 1,
      stx_uid: 1000,
      stx_gid: 2000,
      stx_mode: mode,
      stx_ino: 2n ** 64n - 1n,
      stx_size: 2n ** 63n - 1n,
      stx_blocks: 8n,
      stx_attributes_mask: 2n ** 63n + 1n,
      stx_rdev_major: 0x12345678,
      stx_rdev_minor: 0x9abcdef0,
      stx_dev_major: 8,
      stx_dev_minor: 1,
      stx_mnt_id: 77n,
      stx_dio_mem_align: 4,
      stx_dio_offset_align: 512,
    });
    for (const [name, sec] of Object.entries(times)) {
      const [offset] = place("statx", name);
      bytes.set(struct("statx_timestamp", { tv_sec: sec, tv_nsec: 123_456_789 }), offset);
    }
    return bytes;
  }

  it("is read where the header has its fields", () => {
    const statx = decodeStatx(sample(abi.S_IFREG | 0o644));
    assert.deepEqual(
      { ...statx },
      {
        mask: 0xfff,
        blksize: 4096,
        attributes: 2n ** 63n,
        attributesMask: 2n ** 63n + 1n,
        nlink: 2 ** 32 - 1,
        uid: 1000,
        gid: 2000,
        mode: abi.S_IFREG | 0o644,
        ino: 2n ** 64n - 1n,
        size: 2n ** 63n - 1n,
        blocks: 8n,
        atimeNs: 1_123_456_789n,
        birthtimeNs: 2_123_456_789n,
        ctimeNs: 3_123_456_789n,
        mtimeNs: -3_876_543_211n,
        rdevMajor: 0x12345678,
        rdevMinor: 0x9abcdef0,
        devMajor: 8,
        devMinor: 1,
        mntId: 77n,
        dioMemAlign: 4,
        dioOffsetAlign: 512,
      },
    );
    assert.equal(statx.dev, 0x801n);
    assert.equal(statx.rdev, 0x123459abcde678f0n);
  });

  it("gives times as milliseconds and as dates", () => {
    const statx = decodeStatx(sample(abi.S_IFREG));
    assert.deepEqual(
      [statx.atimeMs, statx.birthtimeMs, statx.ctimeMs, statx.mtimeMs],
      [1123.456789, 2123.456789, 3123.456789, -3876.543211],
    );
    assert.deepEqual(
      [statx.atime, statx.birthtime, statx.ctime, statx.mtime].map((date) => date.getTime()),
      [1123, 2123, 3123, -3876],
    );
  });

  it("tells the kinds of files apart", () => {
    const kinds: [number, string][] = [
      [abi.S_IFREG, "isFile"],
      [abi.S_IFDIR, "isDirectory"],
      [abi.S_IFLNK, "isSymbolicLink"],
      [abi.S_IFSOCK, "isSocket"],
      [abi.S_IFIFO, "isFIFO"],
      [abi.S_IFBLK, "isBlockDevice"],
      [abi.S_IFCHR, "isCharacterDevice"],
    ];
    for (const [mode, name] of kinds) {
      const statx = decodeStatx(sample(mode | 0o777)) as unknown as Record<string, () => boolean>;
      assert.deepEqual(
        kinds.filter(([, method]) => statx[method]?.()).map(([, method]) => method),
        [name],
      );
    }
  });

  it("is read within its bounds", () => {
    survivesHostileBytes(decodeStatx);
    assert.throws(() => decodeStatx(new Uint8Array(255)), RangeError);
  });
});

describe("sockaddr", () => {
  const cases: [SocketAddress, string][] = [
    [{ family: "ipv4", address: "127.0.0.1", port: 8080 }, "0200 1f90 7f000001 0000000000000000"],
    [{ family: "ipv4", address: "255.255.255.255", port: 65535 }, "0200 ffff ffffffff 0000000000000000"],
    [
      { family: "ipv6", address: "fe80::1", port: 443, flowInfo: 0x12345, scopeId: 3 },
      "0a00 01bb 00012345 fe800000000000000000000000000001 03000000",
    ],
    [{ family: "unix" }, "0100"],
    [{ family: "unix", path: "/a" }, "0100 2f61 00"],
    [{ family: "unix", path: "/é" }, "0100 2fc3a9 00"],
    [{ family: "unix", path: "\u{feff}x" }, "0100 efbbbf78 00"],
    [{ family: "unix", path: unhex("2fff") }, "0100 2fff 00"],
    [{ family: "unix", path: "p".repeat(107) }, `0100 ${"70".repeat(107)} 00`],
    [{ family: "unix", path: "p".repeat(108) }, `0100 ${"70".repeat(108)}`],
    [{ family: "unix", abstract: "" }, "0100 00"],
    [{ family: "unix", abstract: "a\0b" }, "0100 00 610062"],
    [{ family: "unix", abstract: unhex("80") }, "0100 00 80"],
    [{ family: "unix", abstract: "p".repeat(107) }, `0100 00 ${"70".repeat(107)}`],
    [
      { family: "other", number: abi.AF_NETLINK, data: unhex("0000 00000000 00000000") },
      "1000 0000 00000000 00000000",
    ],
  ];

  it("has the bytes that C writes, and comes back as it went in", () => {
    for (const [address, bytes] of cases) {
      const encoded = encodeSockaddr(address, new Uint8Array(128).fill(0xff));
      assert.equal(hex(encoded), bytes.replaceAll(" ", ""));
      assert.deepEqual(decodeSockaddr(encoded), address);
      assert.deepEqual(decodesWithin(encoded, decodeSockaddr), address);
      const pinned = encodeSockaddr(address);
      assert.equal(hex(pinned.bytes), hex(encoded));
      pinned[Symbol.dispose]();
    }
  });

  it("takes the length the kernel gave", () => {
    const storage = new Uint8Array(128).fill(0xee);
    encodeSockaddr({ family: "ipv4", address: "10.0.0.1", port: 1 }, storage);
    assert.deepEqual(decodeSockaddr(storage, 16), { family: "ipv4", address: "10.0.0.1", port: 1 });
    assert.equal(decodeSockaddr(storage, 0), null);
    for (const length of [1, 2, 15, 129, -1, 1.5, Number.NaN]) {
      assert.throws(() => decodeSockaddr(storage, length), RangeError, `${length}`);
    }
    // A path of 108 bytes: the kernel reports one more, for the NUL that did not fit.
    const path = new Uint8Array(111).fill(0x70);
    path.set([abi.AF_UNIX, 0]);
    path[110] = 0;
    assert.deepEqual(decodeSockaddr(path), { family: "unix", path: "p".repeat(108) });
  });

  it("refuses what is no address", () => {
    const bad: [unknown, typeof RangeError | typeof TypeError][] = [
      [{ family: "ipv4", address: "1.2.3", port: 1 }, RangeError],
      [{ family: "ipv4", address: "::1", port: 1 }, RangeError],
      [{ family: "ipv4", address: "1.2.3.4", port: 65536 }, RangeError],
      [{ family: "ipv4", address: "1.2.3.4", port: -1 }, RangeError],
      [{ family: "ipv4", address: "1.2.3.4", port: "80" }, TypeError],
      [{ family: "ipv4", address: 1, port: 80 }, TypeError],
      [{ family: "ipv6", address: "1.2.3.4", port: 1 }, RangeError],
      [{ family: "ipv6", address: "fe80::1%eth0", port: 1 }, RangeError],
      [{ family: "ipv6", address: "::1", port: 1, scopeId: 2 ** 32 }, RangeError],
      [{ family: "unix", path: "" }, TypeError],
      [{ family: "unix", path: "a\0b" }, TypeError],
      [{ family: "unix", path: unhex("2f00") }, TypeError],
      [{ family: "unix", path: "p".repeat(109) }, RangeError],
      [{ family: "unix", abstract: "p".repeat(108) }, RangeError],
      [{ family: "unix", path: "/a", abstract: "a" }, TypeError],
      [{ family: "unix", path: 5 }, TypeError],
      [{ family: "other", number: 65536, data: new Uint8Array(2) }, RangeError],
      [{ family: "other", number: 1, data: new Uint8Array(127) }, RangeError],
      [{ family: "ipx" }, TypeError],
      [null, TypeError],
      [undefined, TypeError],
    ];
    for (const [address, error] of bad) {
      assert.throws(
        () => encodeSockaddr(address as never, new Uint8Array(128)),
        error,
        JSON.stringify(address),
      );
    }
    assert.throws(
      () => encodeSockaddr({ family: "ipv6", address: "::", port: 0 }, new Uint8Array(27)),
      RangeError,
    );
  });

  it("names the scope id where a zone is given", () => {
    assert.throws(() => ipv6("fe80::1%2"), /scope id/);
  });

  it("is read within its bounds", () => {
    const random = new Random(4);
    survivesHostileBytes(decodeSockaddr, (bytes) => {
      bytes.set([random.pick([abi.AF_UNIX, abi.AF_INET, abi.AF_INET6]), 0].slice(0, bytes.length));
    });
  });

  it("survives random addresses there and back", () => {
    const random = new Random(5);
    for (let i = 0; i < 1000; i++) {
      const bytes = random.bytes(random.pick([16, 28, 2 + random.below(109)]));
      bytes.set([bytes.length === 16 ? abi.AF_INET : bytes.length === 28 ? abi.AF_INET6 : abi.AF_UNIX, 0]);
      if (bytes.length === 16) bytes.fill(0, 8);
      const address = decodeSockaddr(bytes) as SocketAddress;
      const encoded = encodeSockaddr(address, new Uint8Array(128));
      assert.deepEqual(decodeSockaddr(encoded), address);
      if (address.family !== "unix") assert.equal(hex(encoded), hex(bytes));
    }
  });
});

describe("IPv6 text", () => {
  const forms: [string, string, string][] = [
    ["::", "00000000000000000000000000000000", "::"],
    ["::1", "00000000000000000000000000000001", "::1"],
    ["1::", "00010000000000000000000000000000", "1::"],
    ["2001:DB8::8:800:200c:417A", "20010db80000000000080800200c417a", "2001:db8::8:800:200c:417a"],
    ["2001:0db8:0000:0000:0000:0000:0000:0001", "20010db8000000000000000000000001", "2001:db8::1"],
    ["2001:db8:0:1:1:1:1:1", "20010db8000000010001000100010001", "2001:db8:0:1:1:1:1:1"],
    ["2001:db8::1:1:1:1:1", "20010db8000000010001000100010001", "2001:db8:0:1:1:1:1:1"],
    ["1:0:0:2:0:0:0:3", "00010000000000020000000000000003", "1:0:0:2::3"],
    ["1:0:0:2:3:0:0:4", "00010000000000020003000000000004", "1::2:3:0:0:4"],
    ["1:2:3:4:5:6:7::", "00010002000300040005000600070000", "1:2:3:4:5:6:7:0"],
    ["::2:3:4:5:6:7:8", "00000002000300040005000600070008", "0:2:3:4:5:6:7:8"],
    ["::ffff:192.0.2.1", "00000000000000000000ffffc0000201", "::ffff:192.0.2.1"],
    ["::ffff:c000:201", "00000000000000000000ffffc0000201", "::ffff:192.0.2.1"],
    ["64:ff9b::192.0.2.33", "0064ff9b0000000000000000c0000221", "64:ff9b::c000:221"],
    ["1:2:3:4:5:6:1.2.3.4", "00010002000300040005000601020304", "1:2:3:4:5:6:102:304"],
  ];
  const none = [
    ..."|:|:::|1|1:2:3:4:5:6:7|1:2:3:4:5:6:7:8:9|1::2::3|1:2:3:4:5:6:7:8::|::1:2:3:4:5:6:7:8|12345::|g::|:1::|1:::2".split(
      "|",
    ),
    ..."::1.2.3|::1.2.3.4.5|::1.2.3.256|::01.2.3.4|::1.2.3.4:5|1.2.3.4::|1.2.3.4|1:2:3:4:5:6:7:1.2.3.4|::-1|::1 | ::1|::1%|[::1]|::1/64".split(
      "|",
    ),
  ];

  it("is read in every form", () => {
    for (const [text, bytes, canonical] of forms) {
      assert.equal(hex(ipv6(text)), bytes, text);
      assert.equal(ipv6Text(unhex(bytes)), canonical, text);
    }
  });

  it("is refused in any other", () => {
    for (const text of none) assert.throws(() => ipv6(text), RangeError, text);
  });

  it("agrees with node:net on what is an address", () => {
    const random = new Random(6);
    const seeds = [
      ...forms.map(([text]) => text),
      ...none.filter((text) => !text.includes("%")),
      "1.2.3.4",
      "255.0.0.1",
    ];
    let valid = 0;
    for (let i = 0; i < 20000; i++) {
      const chars = [...random.pick(seeds)];
      for (let edits = random.below(3); edits > 0; edits--) {
        chars.splice(
          random.below(chars.length + 1),
          random.below(2),
          random.pick([..."0123456789abcdefF::..g "]),
        );
      }
      const text = chars.join("");
      const ours = [4, 6].find((version) => {
        try {
          encodeSockaddr(
            { family: version === 4 ? "ipv4" : "ipv6", address: text, port: 0 },
            new Uint8Array(128),
          );
          return true;
        } catch {
          return false;
        }
      });
      assert.equal(ours ?? 0, net.isIP(text), JSON.stringify(text));
      if (ours !== undefined) valid++;
    }
    assert.ok(valid > 2000, `${valid} addresses`);
  });

  it("is written as URLs write it, IPv4-mapped addresses aside", () => {
    const random = new Random(8);
    for (let i = 0; i < 2000; i++) {
      const bytes = random.bytes(16);
      for (let group = 0; group < 8; group++)
        if (random.below(2) === 0) bytes.fill(0, 2 * group, 2 * group + 2);
      const text = ipv6Text(bytes);
      assert.equal(hex(ipv6(text)), hex(bytes));
      assert.equal(new URL(`http://[${text}]/`).hostname, `[${text}]`);
    }
  });
});

describe("control messages", () => {
  const cases: [ControlMessage, string][] = [
    [{ kind: "rights", fds: [3, 0x01020304] }, "1800000000000000 01000000 01000000 03000000 04030201"],
    [{ kind: "udpSegment", size: 1400 }, "1200000000000000 11000000 67000000 7805 000000000000"],
    [{ kind: "udpGro", size: 1400 }, "1400000000000000 11000000 68000000 78050000 00000000"],
    [
      { kind: "ipv4PacketInfo", interfaceIndex: 2, local: "10.0.0.1", address: "10.0.0.255" },
      "1c00000000000000 00000000 08000000 02000000 0a000001 0a0000ff 00000000",
    ],
    [
      { kind: "ipv6PacketInfo", interfaceIndex: 2 ** 32 - 1, address: "fe80::1" },
      "2400000000000000 29000000 32000000 fe800000000000000000000000000001 ffffffff 00000000",
    ],
    [
      { kind: "timestamp", ns: 1_000_000_002n },
      "2000000000000000 01000000 23000000 0100000000000000 0200000000000000",
    ],
    [
      { kind: "timestamping", software: 1_000_000_002n, hardware: 3_000_000_004n },
      `4000000000000000 01000000 25000000 0100000000000000 0200000000000000 ${"00".repeat(16)} 0300000000000000 0400000000000000`,
    ],
    [
      { kind: "other", level: 41, type: -1, data: unhex("0102030405") },
      "1500000000000000 29000000 ffffffff 0102030405 000000",
    ],
    [{ kind: "other", level: 1, type: 99, data: new Uint8Array(0) }, "1000000000000000 01000000 63000000"],
  ];

  it("have the bytes that C writes, and come back as they went in", () => {
    for (const [message, bytes] of cases) {
      const encoded = encodeControl([message], new Uint8Array(256).fill(0xff));
      assert.equal(hex(encoded), bytes.replaceAll(" ", ""), message.kind);
      assert.deepEqual(decodesWithin(encoded, decodeControl), [message]);
    }
  });

  it("follow one another", () => {
    const messages = cases.map(([message]) => message);
    const encoded = encodeControl(messages);
    assert.equal(hex(encoded.bytes), cases.map(([, bytes]) => bytes.replaceAll(" ", "")).join(""));
    assert.deepEqual(decodeControl(encoded), messages);
    encoded[Symbol.dispose]();
  });

  it("of the kernel's may lack the last one's padding", () => {
    const [message, bytes] = cases[1] as [ControlMessage, string];
    const unpadded = unhex(bytes).subarray(0, 18);
    assert.deepEqual(decodeControl(unpadded), [message]);
    assert.deepEqual(decodeControl(new Uint8Array(64), 0), []);
  });

  it("carry times in any of the kernel's forms", () => {
    const time = (type: number): ControlMessage[] => {
      const other = encodeControl(
        [
          {
            kind: "other",
            level: abi.SOL_SOCKET,
            type,
            data: unhex(`${"0100000000000000"}${"0200000000000000"}`.repeat(3)),
          },
        ],
        new Uint8Array(256),
      );
      return decodeControl(other);
    };
    for (const type of [abi.SO_TIMESTAMP_OLD, abi.SO_TIMESTAMP_NEW]) {
      assert.deepEqual(time(type), [{ kind: "timestamp", ns: 1_000_002_000n }]);
    }
    for (const type of [abi.SO_TIMESTAMPNS_OLD, abi.SO_TIMESTAMPNS_NEW]) {
      assert.deepEqual(time(type), [{ kind: "timestamp", ns: 1_000_000_002n }]);
    }
    for (const type of [abi.SO_TIMESTAMPING_OLD, abi.SO_TIMESTAMPING_NEW]) {
      assert.deepEqual(time(type), [
        { kind: "timestamping", software: 1_000_000_002n, hardware: 1_000_000_002n },
      ]);
    }
  });

  it("are told as they are where the memory for them has ended", () => {
    for (const [message, hex] of cases) {
      const whole = unhex(hex);
      if (message.kind === "other" || message.kind === "rights") continue;
      const [level, type] = [8, 12].map((at) =>
        new DataView(whole.buffer, whole.byteOffset).getInt32(at, true),
      );
      const size = Number(new DataView(whole.buffer, whole.byteOffset).getBigUint64(0, true));
      for (let length = 16; length < size; length++) {
        const cut = whole.slice(0, length);
        new DataView(cut.buffer).setBigUint64(0, BigInt(length), true);
        assert.deepEqual(decodeControl(cut), [{ kind: "other", level, type, data: cut.slice(16) }]);
      }
    }
  });

  it("are refused where they are cut or lie about their length", () => {
    const whole = encodeControl(
      cases.map(([message]) => message),
      new Uint8Array(1024),
    );
    const ends = new Set<number>([0]);
    let at = 0;
    for (const [, bytes] of cases) {
      const { length } = unhex(bytes);
      const [size] = unhex(bytes);
      for (let end = at + (size as number); end <= at + length; end++) ends.add(end);
      at += length;
    }
    for (let length = 0; length < whole.length; length++) {
      if (ends.has(length)) decodeControl(whole, length);
      else assert.throws(() => decodeControl(whole, length), RangeError, `${length}`);
    }
    for (const size of [0n, 15n, 33n, 2n ** 32n, 2n ** 53n, 2n ** 64n - 1n]) {
      const bytes = new Uint8Array(32);
      new DataView(bytes.buffer).setBigUint64(0, size, true);
      assert.throws(() => decodesWithin(bytes, decodeControl), RangeError, `${size}`);
    }
    const oddFds = encodeControl(
      [{ kind: "other", level: 1, type: 1, data: new Uint8Array(6) }],
      new Uint8Array(64),
    );
    assert.throws(() => decodeControl(oddFds), RangeError);
    assert.throws(() => decodeControl(new Uint8Array(8), 9), RangeError);
    const random = new Random(9);
    survivesHostileBytes(decodeControl, (bytes) => {
      if (bytes.length < 16) return;
      const size = 16 + random.below(bytes.length);
      const kind = random.pick([
        [abi.SOL_SOCKET, random.pick([1, 29, 35, 37, 63, 64, 65])],
        [abi.SOL_UDP, random.pick([103, 104])],
        [abi.SOL_IP, 8],
        [abi.SOL_IPV6, 50],
      ]);
      const view = new DataView(bytes.buffer);
      view.setBigUint64(0, BigInt(size), true);
      view.setInt32(8, kind[0] as number, true);
      view.setInt32(12, kind[1] as number, true);
    });
  });

  it("are refused where a value does not fit", () => {
    const bad: [unknown, typeof RangeError | typeof TypeError][] = [
      [{ kind: "rights", fds: [] }, RangeError],
      [{ kind: "rights", fds: new Array(254).fill(1) }, RangeError],
      [{ kind: "rights", fds: [-1] }, RangeError],
      [{ kind: "rights", fds: ["1"] }, TypeError],
      [{ kind: "udpSegment", size: 65536 }, RangeError],
      [{ kind: "ipv4PacketInfo", interfaceIndex: 0, local: "::1", address: "1.1.1.1" }, RangeError],
      [{ kind: "timestamp", ns: -1n }, RangeError],
      [{ kind: "timestamp", ns: 1 }, TypeError],
      [{ kind: "other", level: 2 ** 31, type: 0, data: new Uint8Array(1) }, RangeError],
      [{ kind: "other", level: 0, type: 0, data: [1] }, TypeError],
      [{ kind: "none" }, TypeError],
      [null, TypeError],
    ];
    for (const [message, error] of bad) {
      assert.throws(
        () => encodeControl([message as never], new Uint8Array(2048)),
        error,
        JSON.stringify(message, (_, v) => `${v}`),
      );
    }
    assert.throws(() => encodeControl([]), RangeError);
    assert.throws(() => encodeControl([{ kind: "rights", fds: [1] }], new Uint8Array(23)), RangeError);
  });
});

describe("the head of a multishot recvmsg's buffer", () => {
  const name = encodeSockaddr({ family: "ipv4", address: "10.1.2.3", port: 9 }, new Uint8Array(16));
  const control = encodeControl([{ kind: "udpGro", size: 4 }], new Uint8Array(24));
  const shape = { nameLength: 28, controlLength: 32 };

  function buffer(payload: string, overrides: Record<string, number> = {}): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(16 + 28 + 32 + payload.length);
    const head = {
      namelen: 16,
      controllen: 24,
      payloadlen: payload.length,
      flags: abi.MSG_TRUNC,
      ...overrides,
    };
    bytes.set(struct("io_uring_recvmsg_out", head));
    bytes.set(name, 16);
    bytes.set(control, 44);
    bytes.set(new TextEncoder().encode(payload), 76);
    return bytes;
  }

  it("tells the parts apart", () => {
    const bytes = buffer("hello");
    const message = decodeRecvmsg(bytes, shape);
    assert.deepEqual(message.name, { family: "ipv4", address: "10.1.2.3", port: 9 });
    assert.deepEqual(message.control, [{ kind: "udpGro", size: 4 }]);
    assert.equal(new TextDecoder().decode(message.payload), "hello");
    assert.equal(message.payloadLength, 5);
    assert.equal(message.flags, abi.MSG_TRUNC);
    assert.equal(message.payload.buffer, bytes.buffer);
    assert.equal(new TextDecoder().decode(decodeRecvmsg(bytes, shape, 79).payload), "hel");
    assert.equal(decodeRecvmsg(buffer("cut", { payloadlen: 9000 }), shape).payloadLength, 9000);
    assert.equal(decodeRecvmsg(buffer("", { namelen: 0, controllen: 0 }), shape).name, null);
  });

  it("is refused where the parts do not fit", () => {
    assert.throws(() => decodeRecvmsg(buffer("x"), shape, 75), RangeError);
    assert.throws(() => decodeRecvmsg(buffer("x"), shape, 200), RangeError);
    assert.throws(() => decodeRecvmsg(buffer("x", { namelen: 29 }), shape), RangeError);
    assert.throws(() => decodeRecvmsg(buffer("x", { controllen: 33 }), shape), RangeError);
    assert.throws(() => decodeRecvmsg(buffer("x"), { nameLength: 2 ** 53, controlLength: 0 }), RangeError);
    survivesHostileBytes((bytes) => ({ ...decodeRecvmsg(bytes, shape), payload: null }));
    survivesHostileBytes((bytes) => {
      const { payload, ...rest } = decodeRecvmsg(bytes, { nameLength: 0, controlLength: 0 });
      return { ...rest, payload: hex(payload) };
    });
  });
});

describe("structs that hold addresses", () => {
  const makers: [
    string,
    (memory: never) => { byteLength: number; address: number; [Symbol.dispose](): void },
  ][] = [
    ["Iovecs", (memory) => new Iovecs([memory])],
    ["Msghdr iov", (memory) => new Msghdr({ iov: [memory] })],
    ["Msghdr control", (memory) => new Msghdr({ control: memory })],
    ["FutexWaitv", (memory) => new FutexWaitv([{ futex: memory, value: 0 }])],
  ];

  it("take pinned memory and views", () => {
    for (const [, make] of makers) {
      for (const memory of [
        alloc(64),
        alloc(64).slice(8, 32),
        new Uint8Array(64),
        new Uint8Array(new SharedArrayBuffer(64)),
      ]) {
        using struct = make(memory as never);
        assert.ok(struct.byteLength > 0 && struct.address > 0);
      }
    }
  });

  it("refuse memory that can move or vanish", () => {
    const detached = new Uint8Array(8);
    detached.buffer.transfer();
    const disposed = alloc(8);
    disposed[Symbol.dispose]();
    const bad = [
      detached,
      disposed,
      new Uint8Array(new ArrayBuffer(8, { maxByteLength: 16 })),
      new Uint8Array(new SharedArrayBuffer(8, { maxByteLength: 16 })),
      new DataView(new ArrayBuffer(8)),
      new ArrayBuffer(8),
      0x1000,
      "memory",
      null,
    ];
    for (const [name, make] of makers) {
      for (const memory of bad)
        assert.throws(() => make(memory as never), TypeError, `${name}: ${bad.indexOf(memory)}`);
    }
  });

  it("throw once they are disposed of", () => {
    for (const [name, make] of makers) {
      const struct = make(alloc(64) as never);
      struct[Symbol.dispose]();
      struct[Symbol.dispose]();
      assert.throws(() => struct.address, TypeError, name);
    }
    const iovecs = new Iovecs([alloc(8)]);
    const message = new Msghdr({ iov: iovecs });
    iovecs[Symbol.dispose]();
    assert.throws(() => message.address, TypeError, "a header of iovecs that are disposed of");
    message[Symbol.dispose]();
    assert.throws(() => message.name, TypeError);
    assert.throws(() => message.reset(), TypeError);
  });

  it("have no bytes a caller could change", () => {
    for (const [name, make] of makers) {
      const struct = make(alloc(64) as never) as unknown as Record<string, unknown>;
      const values = [...Object.keys(struct), "bytes", "buffer", "view"].map((key) => struct[key]);
      assert.ok(!values.some((value) => ArrayBuffer.isView(value) || value instanceof ArrayBuffer), name);
    }
  });

  it("bound how many pieces there are", () => {
    const one = alloc(8);
    for (const buffers of [[], new Array(16385).fill(one)])
      assert.throws(() => new Iovecs(buffers), RangeError);
    assert.throws(() => new Iovecs(one as never), TypeError);
    const iovecs = new Iovecs([one, new Uint8Array(0), new Uint8Array(5)]);
    assert.deepEqual([iovecs.length, iovecs.totalBytes, iovecs.byteLength], [3, 13, 48]);
    assert.equal(iovecs.at(0), one);
    const futex = { futex: one, value: 0 };
    for (const futexes of [[], new Array(129).fill(futex)])
      assert.throws(() => new FutexWaitv(futexes), RangeError);
  });

  it("check a futex's word", () => {
    const memory = alloc(64);
    assert.throws(() => new FutexWaitv([{ futex: memory.slice(2), value: 0 }]), RangeError, "not aligned");
    assert.throws(() => new FutexWaitv([{ futex: memory.slice(0, 3), value: 0 }]), RangeError, "too short");
    assert.throws(() => new FutexWaitv([{ futex: memory, value: -1 }]), RangeError);
    assert.throws(() => new FutexWaitv([{ futex: memory, value: "0" as never }]), TypeError);
    assert.ok(new FutexWaitv([{ futex: memory.slice(2), value: 0, flags: abi.FUTEX2_SIZE_U16 }]).address > 0);
  });

  it("keep a message's address, whatever it was given as", () => {
    const address: SocketAddress = { family: "ipv4", address: "10.0.0.1", port: 53 };
    const given = encodeSockaddr(address, new Uint8Array(16));
    for (const name of [address, given, encodeSockaddr(address)])
      assert.deepEqual(new Msghdr({ name }).name, address);
    const message = new Msghdr({ name: given });
    given.fill(0);
    assert.deepEqual(message.name, address, "it is copied");
    assert.equal(new Msghdr({}).name, null);
    assert.deepEqual(new Msghdr({ nameLength: 128 }).nameLength, 128);
    assert.throws(() => new Msghdr({ nameLength: 129 }), RangeError);
    assert.throws(() => new Msghdr({ name: new Uint8Array(129) }), RangeError);
    assert.throws(() => new Msghdr({ name: 5 as never }), TypeError);
  });
});
