// Memory that the kernel can be given: where it is, what its parts are, and that it is nobody's after its end.

import assert from "node:assert/strict";
import { closeSync, openSync } from "node:fs";
import { describe, it } from "node:test";
import { alloc, cstring, Iovecs, Pinned, Ring, UringError } from "uring";
import { AT_FDCWD, IORING_OP_NOP, io_uring_sqe, O_RDONLY } from "uring/abi";
import { runtime } from "#runtime";
import { account, runChild } from "./support/child.ts";
import { freeHugePages, needsHugePages, withHugePages } from "./support/huge-pages.ts";
import { entry, reap, run, Scratch, text } from "./support/ring.ts";
import { withShim } from "./support/runtime.ts";
import { mustCall } from "./support/system.ts";

const MIB = 2 ** 20;
const NO_SIZES = [0, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31 + 1, 2 ** 53, -(2 ** 31)];

/** What every way of using memory throws that is disposed of. */
const DISPOSED = { name: "TypeError", message: "this memory has been disposed of" };

describe("alloc", () => {
  it("gives as many bytes as asked for, all zero, aligned by their number", () => {
    for (const size of [1, 2, 63, 64, 65, 1000, 4095, 4096, 4097, 65535, 65536, 65537, MIB, 3 * MIB + 1]) {
      using memory = alloc(size);
      assert.deepEqual([memory.byteLength, memory.bytes.length], [size, size]);
      assert.ok(memory.bytes.every((byte) => byte === 0));
      const alignment = size >= 65536 ? 65536 : size >= 4096 ? 4096 : 64;
      assert.equal(memory.address % alignment, 0, `${size} bytes at ${memory.address}`);
      memory.bytes.fill(0xff);
    }
  });

  it("gives memory that overlaps with none that is in use", () => {
    const all = Array.from({ length: 400 }, (_, i) => alloc(1 + ((i * 7919) % 10_000)));
    for (const [i, memory] of all.entries()) memory.bytes.fill(i);
    for (const [i, memory] of all.entries()) {
      assert.ok(
        memory.bytes.every((byte) => byte === i % 256),
        `memory ${i}`,
      );
    }
    const ends = all.map(({ address, byteLength }) => [address, address + byteLength] as const);
    ends.sort(([a], [b]) => a - b);
    for (const [i, [from]] of ends.entries()) assert.ok(i === 0 || from >= (ends[i - 1]?.[1] as number));
    for (const memory of all) memory[Symbol.dispose]();
  });

  it("gives memory again that was disposed of, and no other, zeroed", () => {
    const memory = alloc(5000);
    const kept = alloc(5000);
    const { address } = memory;
    memory.bytes.fill(0xff);
    memory[Symbol.dispose]();
    using again = alloc(6000);
    assert.equal(again.address, address);
    assert.ok(again.bytes.every((byte) => byte === 0));
    using other = alloc(5000);
    assert.notEqual(other.address, address);
    assert.notEqual(other.address, kept.address);
  });

  it("gives up to 2 GiB, which the kernel can write to up to the last byte", () => {
    const memory = alloc(2 ** 31);
    assert.equal(memory.bytes.length, 2 ** 31);
    using ring = new Ring({ entries: 4 });
    using scratch = new Scratch();
    const fd = openSync(scratch.file("f", "the end"), "r");
    const end = memory.slice(2 ** 31 - 7);
    assert.equal(
      run(ring, (sqe) => sqe.prepRead(fd, end, 7, 0)),
      7,
    );
    assert.equal(text(end), "the end");
    assert.equal(memory.bytes[2 ** 31 - 1], "d".charCodeAt(0));
    closeSync(fd);
  });

  it("refuses sizes that can not be", () => {
    for (const size of NO_SIZES) assert.throws(() => alloc(size), { name: "RangeError" }, String(size));
    for (const size of ["1", null, undefined, 1n, {}, [], true]) {
      assert.throws(() => alloc(size as number), { name: /^(Range|Type)Error$/ }, String(size));
      assert.throws(() => alloc(size as number, { huge: true }), { name: /^(Range|Type)Error$/ });
    }
    assert.throws(() => alloc(1, null as never), { name: "TypeError" });
  });

  it("says so when the engine has no more memory, and goes on afterwards", () => {
    const { allocate } = runtime;
    runtime.allocate = () => {
      throw new RangeError("no memory");
    };
    try {
      // As large as no piece is that is left over.
      assert.throws(() => alloc(2 ** 30), {
        name: "UringError",
        code: "ENOMEM",
        syscall: "alloc",
        message: /The engine has no \d+ bytes of memory left/,
      });
    } finally {
      runtime.allocate = allocate;
    }
    using memory = alloc(64 * MIB);
    memory.bytes[64 * MIB - 1] = 1;
  });
});

describe("pinned memory", () => {
  it("can not be made with an address of one's own", () => {
    type Constructor = new (...args: unknown[]) => Pinned;
    const storage = { live: true, release() {} };
    for (const key of [undefined, null, "Pinned", Symbol("Pinned"), Symbol.for("Pinned")]) {
      assert.throws(() => new (Pinned as unknown as Constructor)(key, storage, 4096, new Uint8Array(8)), {
        name: "TypeError",
      });
    }
    using ring = new Ring({ entries: 4 });
    const sqe = entry(ring);
    for (const forged of [
      Object.create(Pinned.prototype),
      { address: 4096, byteLength: 8, bytes: new Uint8Array(8) },
    ]) {
      assert.throws(() => sqe.prepRead(0, forged, 8, 0), { name: "TypeError" });
    }
    assert.equal(sqe.toBytes()[0], IORING_OP_NOP);
  });

  it("stays where it is, whatever is done with its bytes", () => {
    using memory = alloc(64);
    memory.bytes[3] = 33;
    const { address, bytes } = memory;
    assert.throws(() => {
      (memory as { address: number }).address = 4096;
    }, TypeError);
    assert.throws(() => (bytes.buffer as ArrayBuffer).transfer(), TypeError);
    assert.throws(() => structuredClone(bytes.buffer, { transfer: [bytes.buffer as ArrayBuffer] }));
    assert.deepEqual([memory.address, memory.bytes[3], memory.byteLength], [address, 33, 64]);
  });

  it("has parts, which are the same bytes", () => {
    using memory = alloc(100);
    const part = memory.slice(10, 20);
    assert.deepEqual([part.address - memory.address, part.byteLength, part.bytes.length], [10, 20, 20]);
    part.bytes.fill(7);
    assert.equal(memory.bytes.indexOf(7), 10);
    assert.equal(memory.bytes.lastIndexOf(7), 29);
    const inner = part.slice(5);
    assert.deepEqual([inner.address - memory.address, inner.byteLength], [15, 15]);
    assert.deepEqual([memory.slice(0).byteLength, memory.slice(100).byteLength], [100, 0]);
    assert.equal(memory.slice(40, 0).byteLength, 0);
  });

  it("has no parts beyond its end", () => {
    using memory = alloc(100);
    for (const [offset, length] of [
      [-1, 1],
      [0, 101],
      [100, 1],
      [101, undefined],
      [50, 51],
      [0, -1],
      [0.5, 1],
      [0, 0.5],
      [Number.NaN, 1],
      [0, Number.POSITIVE_INFINITY],
      [2 ** 53, 2 ** 53],
      ["0", 1],
      [0, "1"],
      [undefined, 1],
      [null, null],
    ] as [number, number][]) {
      assert.throws(() => memory.slice(offset, length), { name: "RangeError" }, `${offset}, ${length}`);
    }
    // The block it was cut from is larger, which is no part of it.
    assert.throws(() => memory.slice(90, 20), { name: "RangeError" });
    assert.throws(() => memory.slice(0, 50).slice(0, 60), { name: "RangeError" });
  });

  it("is written to by the kernel where a part says, and nowhere else", () => {
    using ring = new Ring({ entries: 4 });
    using scratch = new Scratch();
    using memory = alloc(32);
    const fd = openSync(scratch.file("f", "0123456789"), "r");
    memory.bytes.fill(0xee);
    assert.equal(
      run(ring, (sqe) => sqe.prepRead(fd, memory.slice(8, 4), 4, 2)),
      4,
    );
    assert.deepEqual(
      [...memory.bytes],
      [...Array(8).fill(0xee), ...new TextEncoder().encode("2345"), ...Array(20).fill(0xee)],
    );
    assert.equal(
      run(ring, (sqe) => sqe.prepRead(fd, memory.slice(32), 0, 0)),
      0,
    );
    const sqe = entry(ring).setData64(1);
    assert.throws(() => sqe.prepRead(fd, memory.slice(8, 4), 5, 0), { name: "RangeError" });
    assert.deepEqual(reap(ring, 1), [[1, 0, 0]]);
    closeSync(fd);
  });
});

describe("memory that is disposed of", () => {
  it("is not to be had any more, nor are its parts", () => {
    const memory = alloc(100);
    const part = memory.slice(10, 20);
    memory[Symbol.dispose]();
    for (const gone of [memory, part]) {
      assert.throws(() => gone.address, DISPOSED);
      assert.throws(() => gone.bytes, DISPOSED);
      assert.throws(() => gone.slice(0, 1), DISPOSED);
      assert.throws(() => gone.slice(0), DISPOSED);
    }
    assert.deepEqual([memory.byteLength, part.byteLength], [100, 20]);
  });

  it("goes as a whole with any of its parts, once", () => {
    const memory = alloc(200);
    const { address } = memory;
    const part = memory.slice(10, 20);
    part[Symbol.dispose]();
    assert.throws(() => memory.bytes, DISPOSED);
    using next = alloc(200);
    assert.equal(next.address, address);
    // It is another's now: to dispose of it again must not give it to a third.
    memory[Symbol.dispose]();
    part[Symbol.dispose]();
    using third = alloc(200);
    assert.notEqual(third.address, address);
    next.bytes.fill(1);
    assert.ok(third.bytes.every((byte) => byte === 0));
  });

  it("is refused by operations, which leave the entry a no-op", () => {
    using ring = new Ring({ entries: 4 });
    const memory = alloc(64);
    const path = cstring("/");
    memory[Symbol.dispose]();
    path[Symbol.dispose]();
    const sqe = entry(ring).setData64(5);
    const uses: (() => unknown)[] = [
      () => sqe.prepRead(0, memory, 64, 0),
      () => sqe.prepWrite(1, memory, 1, 0),
      () => sqe.prepOpenat(AT_FDCWD, path, O_RDONLY, 0),
      () => sqe.prepRecv(0, memory, 64, 0),
      () => sqe.prepProvideBuffers(memory, 16, 4, 1, 0),
      () => ring.registerBuffers([memory]),
    ];
    for (const use of uses) assert.throws(use, DISPOSED);
    assert.equal(sqe.toBytes()[0], IORING_OP_NOP);
    assert.deepEqual(reap(ring, 1), [[5, 0, 0]]);
  });

  it("ends with its block", () => {
    let outside: Pinned;
    {
      using memory = alloc(64);
      outside = memory;
      memory.bytes.fill(1);
    }
    assert.throws(() => outside.bytes, DISPOSED);
  });
});

describe("huge pages", () => {
  /** Runs with ordinary memory in the place of huge pages, and tells what was mapped. */
  function withPretended(body: (mapped: readonly number[]) => void): void {
    const mapped: number[] = [];
    const map = (fd: number, length: number) => {
      assert.equal(fd, -1);
      mapped.push(length);
      return alloc(length).address;
    };
    withShim({ map }, () => body(mapped));
  }

  it("are taken whole, and given again when they are disposed of", () => {
    withPretended((mapped) => {
      const memory = alloc(10, { huge: true });
      const large = alloc(5 * MIB, { huge: true });
      assert.deepEqual(mapped, [2 * MIB, 6 * MIB]);
      assert.deepEqual([memory.byteLength, large.byteLength], [10, 5 * MIB]);
      const part = large.slice(4 * MIB);
      part.bytes.fill(1);
      const { address } = large;
      large[Symbol.dispose]();
      assert.throws(() => part.bytes, DISPOSED);
      using again = alloc(6 * MIB, { huge: true });
      assert.equal(again.address, address);
      assert.ok(again.bytes.every((byte) => byte === 0));
      assert.equal(mapped.length, 2);
      using other = alloc(6 * MIB, { huge: true });
      assert.notEqual(other.address, address);
      assert.equal(mapped.length, 3);
      memory[Symbol.dispose]();
    });
  });

  it("that are not there are asked for with the number that it takes", () => {
    const allocate = () => withShim({ map: () => -12 }, () => alloc(40 * MIB + 1, { huge: true }));
    assert.throws(allocate, (error) => {
      assert.ok(error instanceof UringError);
      assert.deepEqual([error.code, error.syscall], ["ENOMEM", "mmap"]);
      assert.match(error.message, /21 free huge pages are needed: `sysctl vm\.nr_hugepages`/);
      return true;
    });
  });

  it("are the kernel's, and it writes to them", needsHugePages(), () => {
    withHugePages(() => {
      const before = freeHugePages();
      const ended = runChild("huge-child.ts", []);
      assert.equal(ended.status, 0, account(ended));
      const { comm, ...report } = JSON.parse(ended.stdout);
      assert.deepEqual(report, { taken: 2, aligned: true, same: true, zero: true, left: 2 });
      assert.match(comm, /^(bun|deno)/);
      assert.equal(freeHugePages(), before);
    });
  });
});

describe("cstring", () => {
  it("is UTF-8 with a NUL at its end", () => {
    for (const string of ["", "a", "/etc/passwd", "grüße", "日本語", "🦀", "x".repeat(5000)]) {
      using memory = cstring(string);
      const utf8 = new TextEncoder().encode(string);
      assert.equal(memory.byteLength, utf8.length + 1);
      assert.deepEqual([...memory.bytes], [...utf8, 0]);
    }
  });

  it("is refused for a string that the kernel would take for another, and for what is none", () => {
    for (const string of ["\0", "a\0b", "a\0"]) {
      assert.throws(() => cstring(string), { name: "TypeError", message: /holds a NUL/ });
    }
    for (const value of [undefined, null, 5, {}, ["a"], new Uint8Array(2)]) {
      assert.throws(() => cstring(value as string), { name: "TypeError", message: /a string is needed/ });
    }
  });

  it("is a path to the kernel, whatever characters it has", () => {
    using ring = new Ring({ entries: 4 });
    using scratch = new Scratch();
    for (const name of ["plain", "with space", "ünï", "日本", "\n", "%20"]) {
      using path = cstring(scratch.file(name, name));
      const fd = run(ring, (sqe) => sqe.prepOpenat(AT_FDCWD, path, O_RDONLY, 0));
      assert.ok(fd > 0, `${name}: ${fd}`);
      mustCall("close", fd);
    }
  });
});

describe("what memory says of itself", () => {
  const ELSEWHERE = 4096;
  const lies = {
    address: { value: ELSEWHERE },
    byteLength: { value: 2 ** 20 },
    length: { value: 1000 },
    bytes: { value: new Uint8Array(2 ** 20) },
  };
  const address = (bytes: Uint8Array) => new DataView(bytes.buffer).getBigUint64(io_uring_sqe.addr, true);

  it("is not believed: what the kernel is given is where the memory is", () => {
    using ring = new Ring({ entries: 4 });
    const memory = alloc(64);
    const real = memory.address;
    const iovecs = new Iovecs([alloc(8), alloc(8)]);
    const where = iovecs.address;
    for (const liar of [memory, iovecs]) Object.defineProperties(liar, lies);
    assert.equal(address(entry(ring).prepRead(0, memory, 64, 0).toBytes()), BigInt(real));
    assert.throws(() => entry(ring).prepRead(0, memory, 65, 0), RangeError);
    assert.equal(address(entry(ring).prepReadv(0, iovecs, 2, 0).toBytes()), BigInt(where));
    assert.throws(() => entry(ring).prepReadv(0, iovecs, 3, 0), RangeError);
    assert.throws(() => memory.slice(60, 5), RangeError);
  });

  it("does not make memory of what is none", () => {
    using ring = new Ring({ entries: 4 });
    for (const forged of [Object.create(Pinned.prototype, lies), Object.create(alloc(64), lies)]) {
      assert.throws(() => entry(ring).prepRead(0, forged, 8, 0), TypeError);
      assert.throws(() => ring.registerBuffers([forged]), TypeError);
      assert.throws(() => new Iovecs([forged]), TypeError);
    }
    assert.throws(() => entry(ring).prepReadv(0, Object.create(Iovecs.prototype, lies), 1, 0), TypeError);
  });
});
