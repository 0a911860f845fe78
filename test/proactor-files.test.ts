import assert from "node:assert/strict";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { describe, it } from "node:test";
import { alloc, Direct, type Piece, Proactor, type Target } from "uring";
import * as abi from "uring/abi";
import { endsEarly, giveUpWhenDone } from "./support/endings.ts";
import { pipe } from "./support/harness.ts";
import { onKernel } from "./support/older-kernel.ts";
import { closesOnExec } from "./support/proactor-sockets.ts";
import { Random } from "./support/random.ts";
import { code, reason } from "./support/rejections.ts";
import { bytes, openFds, Scratch, text, untilFds } from "./support/ring.ts";
import { mustCall } from "./support/system.ts";

const bench = { timeout: 60_000 };

const utf8 = (content: string) => new TextEncoder().encode(content);

/** A file that both the proactor and the runtime know, by fd and by path. */
async function file(proactor: Proactor, scratch: Scratch, content: string): Promise<[number, string]> {
  const path = scratch.file("file", content);
  return [await proactor.open(path, abi.O_RDWR), path];
}

/** Runs a test with a file in a folder of its own; afterwards everything is closed. */
async function withFile(
  content: string,
  body: (proactor: Proactor, fd: number, path: string) => Promise<void>,
): Promise<void> {
  const before = openFds();
  {
    using scratch = new Scratch();
    await using proactor = new Proactor();
    const [fd, path] = await file(proactor, scratch, content);
    await body(proactor, fd, path);
    assert.equal(await proactor.closeFd(fd), undefined);
    assert.equal(await code(proactor.closeFd(1_000_000)), "EBADF");
    assert.equal(proactor.inFlight, 0);
  }
  await untilFds(before.length);
}

describe("reading and writing in pieces", () => {
  it("gathers and scatters memory of every kind, in order", bench, async () => {
    await withFile("", async (proactor, fd, path) => {
      using lease = proactor.pool.lend(5);
      lease.bytes.set(utf8("lease"));
      const pieces: Piece[] = [bytes("pinned, "), utf8("a view, "), new Uint8Array(0), lease];
      assert.equal(await proactor.writev(fd, pieces.slice(0, 3)), 16);
      assert.equal(await proactor.writev(fd, [utf8("and a "), lease], { offset: 16 }), 6 + lease.byteLength);
      assert.equal(readFileSync(path, "utf8").slice(0, 27), "pinned, a view, and a lease");

      using first = alloc(6);
      const second = new Uint8Array(10);
      assert.equal(await proactor.readv(fd, [first, second], { offset: 0 }), 16);
      assert.deepEqual([text(first), text(second)], ["pinned", ", a view, "]);
      assert.equal(await proactor.readv(fd, [first], { offset: 1000 * 1000 * 1000 }), 0);
    });
  });

  it("goes on at the file's own position where none is given", bench, async () => {
    await withFile("abcdef", async (proactor, fd) => {
      const [first, second] = [new Uint8Array(2), new Uint8Array(10)];
      assert.equal(await proactor.readv(fd, [first]), 2);
      assert.equal(await proactor.readv(fd, [second]), 4);
      assert.equal(text(first) + text(second, 4), "abcdef");
    });
  });

  it("takes flags for one operation", bench, async () => {
    await withFile("abc", async (proactor, fd, path) => {
      assert.equal(await proactor.writev(fd, [utf8("def")], { flags: abi.RWF_APPEND, offset: 0 }), 3);
      assert.equal(readFileSync(path, "utf8"), "abcdef");
      assert.equal(await code(proactor.readv(fd, [new Uint8Array(1)], { flags: 1 << 30 })), "EOPNOTSUPP");
    });
  });

  it("keeps memory that is given back meanwhile until its end", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    const memory = alloc(64);
    const { address } = memory;
    const read = proactor.readv(ends.read, [memory.slice(0, 4), new Uint8Array(4)]);
    proactor.flush();
    memory[Symbol.dispose]();
    const others = Array.from({ length: 8 }, () => alloc(64));
    assert.ok(others.every((other) => other.address !== address));
    await proactor.write(ends.write, bytes("12345"));
    assert.equal(await read, 5);
    const found = Array.from({ length: 8 }, () => alloc(64)).some((other) => other.address === address);
    assert.ok(found, "the memory is not given back");
  });

  it("rejects what is no memory, and too much of it", bench, async () => {
    await using proactor = new Proactor();
    const gone = alloc(8);
    gone[Symbol.dispose]();
    const lease = proactor.pool.lend(8);
    lease[Symbol.dispose]();
    const wrong: [typeof Error, unknown][] = [
      [TypeError, "text"],
      [TypeError, [4096]],
      [TypeError, [gone]],
      [TypeError, [lease]],
      [RangeError, []],
      [RangeError, Array.from({ length: 1025 }, () => new Uint8Array(1))],
    ];
    for (const [kind, pieces] of wrong) {
      for (const operation of ["readv", "writev"] as const) {
        const error = await reason(proactor[operation](0, pieces as never));
        assert.ok(error instanceof kind, String(error));
      }
    }
    assert.equal(proactor.inFlight, 0);
  });
});

describe("a file", () => {
  it("is written to the disk", bench, async () => {
    await withFile("abc", async (proactor, fd) => {
      using ends = pipe();
      assert.equal(await proactor.fsync(fd), undefined);
      assert.equal(await proactor.fdatasync(fd), undefined);
      const flags = abi.SYNC_FILE_RANGE_WRITE | abi.SYNC_FILE_RANGE_WAIT_AFTER;
      assert.equal(await proactor.syncFileRange(fd, flags, { offset: 1, length: 2 }), undefined);
      assert.equal(await proactor.syncFileRange(fd, flags), undefined);
      assert.equal(await code(proactor.fsync(ends.read)), "EINVAL");
      assert.equal(await code(proactor.fdatasync(ends.read)), "EINVAL");
      assert.equal(await code(proactor.syncFileRange(ends.read, flags)), "ESPIPE");
      assert.equal(await code(proactor.syncFileRange(fd, 1 << 20)), "EINVAL");
    });
  });

  it("is cut, and extended beyond 32 bits", bench, async () => {
    await withFile("abcdef", async (proactor, fd, path) => {
      assert.equal(await proactor.ftruncate(fd, 3), undefined);
      assert.equal(readFileSync(path, "utf8"), "abc");
      const large = 5 * 2 ** 30;
      await proactor.ftruncate(fd, large);
      assert.equal(statSync(path).size, large);
      assert.equal(await code(proactor.ftruncate(fd, -1)), "EINVAL");
      assert.equal(await proactor.fadvise(fd, abi.POSIX_FADV_SEQUENTIAL, { length: large }), undefined);
    });
  });

  it("gets room, and loses it", bench, async () => {
    await withFile("", async (proactor, fd, path) => {
      assert.equal(await proactor.fallocate(fd, 0, 8192), undefined);
      assert.equal(statSync(path).size, 8192);
      const { blocks } = statSync(path);
      await proactor.fallocate(fd, 8192, 2 ** 33, {
        mode: abi.FALLOC_FL_KEEP_SIZE | abi.FALLOC_FL_PUNCH_HOLE,
      });
      await proactor.write(fd, bytes("x".repeat(8192)));
      const mode = abi.FALLOC_FL_KEEP_SIZE | abi.FALLOC_FL_PUNCH_HOLE;
      await proactor.fallocate(fd, 4096, 4096, { mode });
      assert.equal(readFileSync(path, "latin1"), "x".repeat(4096) + "\0".repeat(4096));
      assert.ok(statSync(path).blocks < blocks);
      assert.equal(await code(proactor.fallocate(fd, 0, 0)), "EINVAL");
      assert.equal(await code(proactor.fallocate(fd, -1, 1)), "EINVAL");
    });
  });

  it("takes advice", bench, async () => {
    await withFile("abc", async (proactor, fd) => {
      using ends = pipe();
      assert.equal(await proactor.fadvise(fd, abi.POSIX_FADV_WILLNEED), undefined);
      assert.equal(
        await proactor.fadvise(fd, abi.POSIX_FADV_DONTNEED, { offset: 0, length: 4096 }),
        undefined,
      );
      assert.equal(await code(proactor.fadvise(fd, 77)), "EINVAL");
      assert.equal(await code(proactor.fadvise(ends.read, abi.POSIX_FADV_NORMAL)), "ESPIPE");
    });
  });

  it("in a slot is as good as by its fd", bench, async () => {
    await withFile("abcdef", async (proactor, fd, path) => {
      proactor.ring.registerFiles([-1, fd]);
      const direct = new Direct(1);
      const got = new Uint8Array(3);
      assert.equal(await proactor.read(direct, got, { offset: 1 }), 3);
      assert.equal(text(got), "bcd");
      assert.equal(await proactor.write(direct, bytes("X"), { offset: 0 }), 1);
      assert.equal(await proactor.readv(direct, [got], { offset: 0 }), 3);
      assert.equal(text(got), "Xbc");
      assert.equal(await proactor.writev(direct, [bytes("Y"), bytes("Z")], { offset: 4 }), 2);
      await proactor.fsync(direct);
      await proactor.fdatasync(direct);
      await proactor.syncFileRange(direct, abi.SYNC_FILE_RANGE_WRITE);
      await proactor.fadvise(direct, abi.POSIX_FADV_NORMAL);
      assert.equal(readFileSync(path, "utf8"), "XbcdYZ");
      await proactor.ftruncate(direct, 2);
      await proactor.fallocate(direct, 0, 4);
      assert.equal(readFileSync(path, "latin1"), "Xb\0\0");
      assert.equal(await code(proactor.read(new Direct(0), got)), "EBADF");
      assert.equal(await proactor.closeFd(direct), undefined);
      assert.equal(await code(proactor.read(direct, got)), "EBADF");
    });
  });

  it("is the same after any operations as the runtime's own make it", bench, async () => {
    for (const seed of [1, 2, 3]) {
      await withFile("", async (proactor, fd, path) => {
        const random = new Random(seed);
        let model: Uint8Array<ArrayBuffer> = new Uint8Array(0);
        const resize = (length: number) => {
          const next = new Uint8Array(length);
          next.set(model.subarray(0, length));
          model = next;
        };
        const store = (offset: number, ...parts: Uint8Array[]) => {
          const length = parts.reduce((sum, part) => sum + part.length, 0);
          if (offset + length > model.length && length > 0) resize(offset + length);
          let at = offset;
          for (const part of parts) {
            model.set(part, at);
            at += part.length;
          }
          return length;
        };
        for (let step = 0; step < 150; step++) {
          const offset = random.below(20_000);
          const length = random.below(9000);
          const what = `seed ${seed}, step ${step}`;
          switch (random.below(6)) {
            case 0: {
              const content = random.bytes(length);
              assert.equal(await proactor.write(fd, content, { offset }), store(offset, content), what);
              break;
            }
            case 1: {
              const parts = Array.from({ length: 1 + random.below(5) }, () =>
                random.bytes(random.below(2000)),
              );
              assert.equal(await proactor.writev(fd, parts, { offset }), store(offset, ...parts), what);
              break;
            }
            case 2:
              await proactor.ftruncate(fd, offset);
              resize(offset);
              break;
            case 3:
              await proactor.fallocate(fd, offset, length + 1);
              resize(Math.max(model.length, offset + length + 1));
              break;
            case 4: {
              const got = new Uint8Array(length);
              const count = await proactor.read(fd, got, { offset });
              assert.deepEqual(got.subarray(0, count), model.subarray(offset, offset + length), what);
              break;
            }
            default: {
              const parts = Array.from(
                { length: 1 + random.below(5) },
                () => new Uint8Array(random.below(2000)),
              );
              const count = await proactor.readv(fd, parts, { offset });
              const got = Buffer.concat(parts);
              const most = model.subarray(offset, offset + got.length);
              assert.deepEqual(new Uint8Array(got.subarray(0, count)), new Uint8Array(most), what);
            }
          }
        }
        assert.equal(Buffer.compare(readFileSync(path), model), 0, `seed ${seed}`);
        writeFileSync(path, "from outside");
        const got = new Uint8Array(100);
        assert.equal(await proactor.read(fd, got, { offset: 0 }), 12);
      });
    }
  });
});

describe("memory", () => {
  it("takes advice, but none that harms what is beside it", bench, async () => {
    await using proactor = new Proactor();
    using memory = alloc(128 * 1024);
    memory.bytes.fill(7);
    assert.equal(await proactor.madvise(memory, abi.MADV_WILLNEED), undefined);
    assert.equal(await proactor.madvise(memory, abi.MADV_DONTNEED, { length: 65536 }), undefined);
    assert.deepEqual([memory.bytes[0], memory.bytes[65535], memory.bytes[65536]], [0, 0, 7]);
    const slice = memory.slice(65536 + 64);
    assert.equal(await code(proactor.madvise(slice, abi.MADV_WILLNEED)), "EINVAL");
    const wrong = [
      proactor.madvise(memory, abi.MADV_DONTNEED, { length: 4096 }),
      proactor.madvise(memory, abi.MADV_WILLNEED, { length: 128 * 1024 + 1 }),
      proactor.madvise(memory, 100),
    ];
    for (const error of await Promise.all(wrong.map(reason))) assert.ok(error instanceof RangeError);
    assert.equal(memory.bytes[65536], 7);
    assert.equal(await proactor.madvise(memory.address, abi.MADV_NORMAL, { length: 4096 }), undefined);
    assert.ok((await reason(proactor.madvise(memory.address, abi.MADV_NORMAL))) instanceof TypeError);
  });
});

describe("a pipe", () => {
  it("has two ends, which are closed in programs this one becomes", bench, async () => {
    const before = openFds();
    {
      await using proactor = new Proactor();
      const { read, write } = await proactor.pipe();
      assert.equal(await proactor.write(write, bytes("ping")), 4);
      const got = new Uint8Array(8);
      assert.equal(await proactor.read(read, got), 4);
      assert.equal(text(got, 4), "ping");
      assert.deepEqual([closesOnExec(read), closesOnExec(write)], [true, true]);

      const other = await proactor.pipe({ cloexec: false, flags: abi.O_NONBLOCK });
      assert.deepEqual([closesOnExec(other.read), closesOnExec(other.write)], [false, false]);
      assert.equal(mustCall("fcntl", other.read, 3) & abi.O_NONBLOCK, abi.O_NONBLOCK);
      assert.equal(await code(proactor.pipe({ flags: 1 << 30 })), "EINVAL");
      for (const fd of [read, write, other.read, other.write]) await proactor.closeFd(fd);
    }
    await untilFds(before.length);
  });

  it("takes two slots where that is asked for", bench, async () => {
    await using proactor = new Proactor();
    assert.equal(await code(proactor.pipe({ direct: true })), "ENFILE");
    proactor.ring.registerFilesSparse(5);
    const given = await proactor.pipe({ direct: 2 });
    assert.deepEqual(given, { read: new Direct(2), write: new Direct(3) });
    const any = await proactor.pipe({ direct: true });
    const slots = [any.read.slot, any.write.slot];
    assert.equal(new Set([2, 3, ...slots]).size, 4);
    assert.ok(slots.every((slot) => slot < 5));
    const got = new Uint8Array(4);
    for (const { read, write } of [given, any]) {
      assert.equal(await proactor.write(write, bytes("ping")), 4);
      assert.equal(await proactor.read(read, got), 4);
      assert.equal(text(got), "ping");
    }
    assert.equal(await code(proactor.pipe({ direct: true })), "ENFILE");
    assert.equal((await reason(proactor.pipe({ direct: -1 }))) instanceof RangeError, true);
  });

  it("that nobody waits for any more is closed", bench, async () => {
    const before = openFds();
    {
      await using proactor = await giveUpWhenDone((it, options) => it.pipe(options));
      assert.equal(proactor.inFlight, 0);
    }
    {
      await using proactor = await giveUpWhenDone((it, options) => it.pipe({ ...options, direct: true }));
      assert.equal(await code(proactor.read(new Direct(0), new Uint8Array(1))), "EBADF");
      assert.equal(await code(proactor.write(new Direct(1), new Uint8Array(1))), "EBADF");
    }
    await untilFds(before.length);
  });

  it("takes bytes from a file, and gives them to another", bench, async () => {
    await withFile("abcdefgh", async (proactor, fd, path) => {
      using ends = pipe();
      using copy = pipe();
      assert.equal(await proactor.splice(fd, ends.write, 100, { fromOffset: 2 }), 6);
      assert.equal(await proactor.tee(ends.read, copy.write, 4), 4);
      assert.equal(await proactor.splice(ends.read, fd, 100, { toOffset: 8 }), 6);
      assert.equal(readFileSync(path, "utf8"), "abcdefghcdefgh");
      assert.equal(await proactor.splice(copy.read, fd, 2, { toOffset: 0 }), 2);
      assert.equal(readFileSync(path, "utf8"), "cdcdefghcdefgh");
      assert.equal(await proactor.splice(fd, ends.write, 100, { fromOffset: 14 }), 0);
      assert.equal(await code(proactor.splice(fd, fd, 1)), "EINVAL");
      assert.equal(await code(proactor.splice(fd, ends.write, 1, { toOffset: 1 })), "ESPIPE");
      assert.equal(await code(proactor.tee(fd, ends.write, 1)), "EINVAL");
    });
  });

  it("does so where both are in slots", bench, async () => {
    await withFile("abcdefgh", async (proactor, fd) => {
      using ends = pipe();
      using copy = pipe();
      proactor.ring.registerFiles([fd, ends.read, ends.write, copy.write]);
      const [from, read, write, other] = [0, 1, 2, 3].map((slot) => new Direct(slot)) as [
        Direct,
        ...Direct[],
      ];
      assert.equal(await proactor.splice(from, write as Target, 3, { fromOffset: 1 }), 3);
      assert.equal(await proactor.tee(read as Target, other as Target, 2), 2);
      const got = new Uint8Array(8);
      assert.equal(await proactor.read(copy.read, got), 2);
      assert.equal(text(got, 2), "bc");
      assert.equal(await proactor.read(read as Target, got), 3);
      assert.equal(text(got, 3), "bcd");
    });
  });

  const pipes = (): { from: number; to: number } & Disposable => {
    const [a, b] = [pipe(), pipe()];
    const close = () => {
      a[Symbol.dispose]();
      b[Symbol.dispose]();
    };
    return { from: a.read, to: b.write, [Symbol.dispose]: close };
  };
  for (const name of ["splice", "tee"] as const) {
    endsEarly(name, (proactor) => {
      const ends = pipes();
      return { ...ends, call: (options) => proactor[name](ends.from, ends.to, 1, options) };
    });
  }
  endsEarly("read", (proactor) => {
    const ends = pipes();
    return { ...ends, call: (options) => proactor.read(ends.from, new Uint8Array(4), options) };
  });
  endsEarly("readv", (proactor) => {
    const ends = pipes();
    return { ...ends, call: (options) => proactor.readv(ends.from, [new Uint8Array(4)], options) };
  });
});

describe("an fd for a slot", () => {
  it("lives by itself", bench, async () => {
    await withFile("abc", async (proactor, fd) => {
      proactor.ring.registerFiles([-1, fd]);
      const installed = await proactor.installFd(new Direct(1));
      await proactor.closeFd(new Direct(1));
      const got = new Uint8Array(4);
      assert.equal(await proactor.read(installed, got, { offset: 0 }), 3);
      assert.equal(closesOnExec(installed), true);
      assert.equal(await code(proactor.installFd(new Direct(1))), "EBADF");
      await proactor.closeFd(installed);
    });
  });

  it("is kept in programs this one becomes, if so asked", bench, async () => {
    await withFile("abc", async (proactor, fd) => {
      proactor.ring.registerFiles([fd]);
      const installed = await proactor.installFd(new Direct(0), { cloexec: false });
      assert.equal(closesOnExec(installed), false);
      await proactor.closeFd(installed);
    });
  });

  it("that nobody waits for any more is closed", bench, async () => {
    const before = openFds();
    {
      await using _ = await giveUpWhenDone((proactor, options) => {
        proactor.ring.registerFilesUpdate(0, [2]);
        return proactor.installFd(new Direct(0), options);
      });
    }
    await untilFds(before.length);
  });
});

describe("on an older kernel", () => {
  it("operations it does not have say which one has", bench, async () => {
    const { proactor, errors } = onKernel("6.1", () => {
      const proactor = new Proactor();
      return {
        proactor,
        errors: {
          "pipe2 6.16": reason(proactor.pipe()),
          "ftruncate 6.9": reason(proactor.ftruncate(0, 0)),
          "fixed_fd_install 6.8": reason(proactor.installFd(new Direct(0))),
        },
      };
    });
    for (const [what, error] of Object.entries(errors)) {
      const [name, since] = what.split(" ");
      const { message, errno } = (await error) as Error & { errno: number };
      assert.equal(errno, constants.errno.ENOSYS);
      assert.match(message, new RegExp(`${name} needs Linux ${since}, and this is 6.1.0-test$`));
    }
    await proactor.close();
  });
});
