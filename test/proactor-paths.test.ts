import assert from "node:assert/strict";
import * as fs from "node:fs";
import { constants } from "node:os";
import { describe, it } from "node:test";
import { alloc, cstring, Direct, Proactor, UringError } from "uring";
import * as abi from "uring/abi";
import { endsEarly, giveUpWhenDone } from "./support/endings.ts";
import { onKernel } from "./support/older-kernel.ts";
import { closesOnExec } from "./support/proactor-sockets.ts";
import { Random } from "./support/random.ts";
import { code, reason } from "./support/rejections.ts";
import { bytes, openFds, Scratch, text, untilFds } from "./support/ring.ts";
import { mustCall } from "./support/system.ts";

const bench = { timeout: 60_000 };

/** Flags by which a named pipe that nobody reads is waited for. */
const BLOCKING = abi.O_WRONLY | abi.O_CREAT;

/** How many tries there are in a race. */
const ROUNDS = 100;

/** Runs a test with a folder of its own; afterwards everything is closed. */
async function withFolder(body: (proactor: Proactor, scratch: Scratch) => Promise<void>): Promise<void> {
  const before = openFds();
  {
    using scratch = new Scratch();
    await using proactor = new Proactor();
    await body(proactor, scratch);
    assert.equal(proactor.inFlight, 0);
  }
  await untilFds(before.length);
}

/** What a promise is rejected with, as Node's errors tell it. */
async function failure(promise: Promise<unknown>): Promise<object> {
  const error = await reason(promise);
  assert.ok(error instanceof UringError, String(error));
  const { code, syscall, path, dest } = error;
  return { code, syscall, path, ...(dest === undefined ? {} : { dest }) };
}

/** Text in a file by its fd. */
async function content(proactor: Proactor, target: number | Direct): Promise<string> {
  const got = new Uint8Array(64);
  return text(got, await proactor.read(target, got, { offset: 0 }));
}

/** A pipe with a name, which waits for its other end where it is opened. */
function fifo(path: string): string {
  const S_IFIFO = 0o010000;
  using name = cstring(path);
  mustCall("mknodat", abi.AT_FDCWD, name.address, S_IFIFO | 0o600, 0);
  return path;
}

describe("open", () => {
  it("gives an fd that is closed in programs this one becomes, unless told otherwise", bench, async () => {
    await withFolder(async (proactor, scratch) => {
      const path = scratch.file("file", "abc");
      const fd = await proactor.open(path, abi.O_RDONLY);
      const kept = await proactor.open(path, abi.O_RDONLY, { cloexec: false });
      assert.deepEqual([closesOnExec(fd), closesOnExec(kept)], [true, false]);
      assert.equal(await content(proactor, fd), "abc");
      await proactor.closeFd(fd);
      await proactor.closeFd(kept);
    });
  });

  it("makes files with a mode", bench, async () => {
    await withFolder(async (proactor, scratch) => {
      const umask = process.umask(0o027);
      try {
        for (const [options, mode] of [
          [{}, 0o640],
          [{ mode: 0o777 }, 0o750],
        ] as const) {
          const path = scratch.path(`${mode}`);
          const fd = await proactor.open(path, abi.O_WRONLY | abi.O_CREAT | abi.O_EXCL, options);
          assert.equal(fs.statSync(path).mode & 0o777, mode);
          await proactor.closeFd(fd);
          const again = proactor.open(path, abi.O_WRONLY | abi.O_CREAT | abi.O_EXCL);
          assert.deepEqual(await failure(again), { code: "EEXIST", syscall: "openat", path });
        }
      } finally {
        process.umask(umask);
      }
    });
  });

  it("starts at a directory", bench, async () => {
    await withFolder(async (proactor, scratch) => {
      scratch.file("file", "abc");
      const dir = await proactor.open(scratch.path("."), abi.O_RDONLY | abi.O_DIRECTORY);
      const fd = await proactor.open("file", abi.O_RDONLY, { dir });
      assert.equal(await content(proactor, fd), "abc");
      assert.deepEqual(await failure(proactor.open("none", 0, { dir })), {
        code: "ENOENT",
        syscall: "openat",
        path: "none",
      });
      assert.equal(await code(proactor.open("file", 0, { dir: fd })), "ENOTDIR");
      assert.equal(await code(proactor.open("file", 0, { dir: 1_000_000 })), "EBADF");
      await proactor.closeFd(fd);
      await proactor.closeFd(dir);
    });
  });

  it("takes a path's bytes where they are no text", bench, async () => {
    await withFolder(async (proactor, scratch) => {
      const path = Uint8Array.from([...new TextEncoder().encode(scratch.path("")), 0x2f, 0xff, 0xfe]);
      const fd = await proactor.open(path, abi.O_RDWR | abi.O_CREAT);
      await proactor.write(fd, bytes("abc"));
      assert.equal((await proactor.statx(path)).size, 3n);
      await proactor.closeFd(fd);
      assert.equal(fs.readdirSync(scratch.path(".")).length, 1);
      assert.equal(await code(proactor.statx(scratch.path("\ufffd\ufffd"))), "ENOENT");
      await proactor.unlink(path);
      assert.equal(((await reason(proactor.unlink(path))) as UringError).path, scratch.path("\ufffd\ufffd"));
    });
  });

  it("rejects what is no path", bench, async () => {
    await using proactor = new Proactor();
    const wrong = ["/etc/passwd\0.png", bytes("a\0b").bytes, undefined, 5, null, {}];
    for (const path of wrong) {
      const error = await reason(proactor.open(path as never, abi.O_RDONLY));
      assert.ok(error instanceof TypeError, String(error));
    }
    assert.match(
      String(await reason(proactor.open("/etc/passwd\0.png", abi.O_RDONLY))),
      /the path "\/etc\/passwd\\u0000.png" holds a NUL, where the kernel would end it/,
    );
    assert.deepEqual(await failure(proactor.open("", 0)), { code: "ENOENT", syscall: "openat", path: "" });
    const more: [typeof Error, Promise<unknown>][] = [
      [TypeError, proactor.open("/", "r" as never)],
      [RangeError, proactor.open("/", 2 ** 40)],
      [TypeError, proactor.open("/", 0, { dir: new Direct(0) as never })],
      [RangeError, proactor.open("/", 0, { mode: 0.5 })],
      [RangeError, proactor.open("/", 0, { direct: -2 })],
      [TypeError, proactor.open("/", 0, null as never)],
    ];
    const errors = await Promise.all(more.map(([, promise]) => reason(promise)));
    for (const [i, error] of errors.entries()) {
      assert.ok(error instanceof (more[i] as [typeof Error, unknown])[0], String(error));
    }
    assert.equal(proactor.inFlight, 0);
  });

  it("puts files into slots where that is asked for", bench, async () => {
    await withFolder(async (proactor, scratch) => {
      const [a, b] = [scratch.file("a", "a"), scratch.file("b", "b")];
      assert.equal(await code(proactor.open(a, abi.O_RDONLY, { direct: 1 })), "ENXIO");
      proactor.ring.registerFilesSparse(2);
      assert.deepEqual(await proactor.open(a, abi.O_RDONLY, { direct: 1 }), new Direct(1));
      assert.deepEqual(await proactor.open(b, abi.O_RDONLY, { direct: true }), new Direct(0));
      assert.equal(await content(proactor, new Direct(1)), "a");
      assert.equal(await content(proactor, new Direct(0)), "b");
      assert.deepEqual(await failure(proactor.open(a, abi.O_RDONLY, { direct: true })), {
        code: "ENFILE",
        syscall: "openat",
        path: a,
      });
      assert.deepEqual(await proactor.open(b, abi.O_RDONLY, { direct: new Direct(1) }), new Direct(1));
      assert.equal(await content(proactor, new Direct(1)), "b");
      assert.deepEqual(await proactor.openat2(a, { flags: abi.O_RDONLY }, { direct: 1 }), new Direct(1));
      assert.equal(await content(proactor, new Direct(1)), "a");
    });
  });

  it("that was given up and is done nevertheless leaves nothing open", bench, async () => {
    const before = openFds();
    // It is always known: the kernel never has to look it up in a thread of its own.
    const path = "/";
    for (const call of [
      (it: Proactor, options: object) => it.open(path, abi.O_RDONLY, options),
      (it: Proactor, options: object) => it.openat2(path, { flags: abi.O_RDONLY }, options),
    ]) {
      await using _ = await giveUpWhenDone(call);
    }
    for (const direct of [true, 0] as const) {
      await using proactor = await giveUpWhenDone((it, options) =>
        it.open(path, abi.O_RDONLY, { ...options, direct }),
      );
      assert.equal(await code(proactor.read(new Direct(0), new Uint8Array(1))), "EBADF");
    }
    await untilFds(before.length);
  });

  it("leaves nothing open however a race with its signal ends", bench, async () => {
    await withFolder(async (proactor, scratch) => {
      const path = scratch.path("file");
      for (let round = 0; round < ROUNDS; round++) {
        const controller = new AbortController();
        const promise = proactor.open(path, abi.O_RDWR | abi.O_CREAT, { signal: controller.signal });
        proactor.flush();
        if (round % 2 === 0) await new Promise((resolve) => setImmediate(resolve));
        controller.abort("given up");
        try {
          await proactor.closeFd(await promise);
        } catch (error) {
          assert.equal(error, "given up");
        }
      }
    });
  });

  for (const [name, call] of [
    ["openat", (it: Proactor, path: string, options: object) => it.open(path, BLOCKING, options)],
    [
      "openat2",
      (it: Proactor, path: string, options: object) => it.openat2(path, { flags: BLOCKING }, options),
    ],
  ] as const) {
    endsEarly(name, (proactor) => {
      const scratch = new Scratch();
      const path = fifo(scratch.path("fifo"));
      return {
        call: (options) => call(proactor, path, options),
        [Symbol.dispose]: () => scratch[Symbol.dispose](),
      };
    });
  }
});

describe("openat2", () => {
  it("confines how a path is resolved", bench, async () => {
    await withFolder(async (proactor, scratch) => {
      scratch.file("file", "abc");
      fs.symlinkSync("file", scratch.path("link"));
      const dir = await proactor.open(scratch.path("."), abi.O_RDONLY | abi.O_DIRECTORY);
      const flags = abi.O_RDONLY;
      const fd = await proactor.openat2("link", { flags, resolve: abi.RESOLVE_BENEATH }, { dir });
      assert.equal(closesOnExec(fd), true);
      assert.equal(await content(proactor, fd), "abc");
      const kept = await proactor.openat2("file", { flags: BigInt(flags) }, { dir, cloexec: false });
      assert.equal(closesOnExec(kept), false);
      const outside = proactor.openat2("../x", { flags, resolve: abi.RESOLVE_BENEATH }, { dir });
      assert.deepEqual(await failure(outside), { code: "EXDEV", syscall: "openat2", path: "../x" });
      const linked = proactor.openat2("link", { flags, resolve: abi.RESOLVE_NO_SYMLINKS }, { dir });
      assert.equal(await code(linked), "ELOOP");
      assert.equal(await code(proactor.openat2("file", { flags: 1n << 40n }, { dir })), "EINVAL");
      assert.equal(await code(proactor.openat2("file", { flags, mode: 0o600 }, { dir })), "EINVAL");
      const how = { flags: abi.O_CREAT | abi.O_WRONLY, mode: 0o600 };
      const made = await proactor.openat2("new", how, { dir });
      assert.equal(fs.statSync(scratch.path("new")).mode & 0o777, 0o600);
      for (const one of [fd, kept, made, dir]) await proactor.closeFd(one);
    });
  });

  it("rejects what says nothing of how", bench, async () => {
    await using proactor = new Proactor();
    for (const how of [undefined, {}, { flags: 0.5 }, { flags: 0, mode: -1 }, { flags: 1n << 64n }]) {
      const error = await reason(proactor.openat2("/", how as never));
      assert.ok(error instanceof TypeError || error instanceof RangeError, String(error));
    }
    assert.equal(proactor.inFlight, 0);
  });
});

describe("statx", () => {
  const FIELDS = ["mode", "nlink", "uid", "gid", "size", "ino", "blocks", "dev", "rdev"] as const;
  const facts = (found: object) =>
    Object.fromEntries(
      FIELDS.map((field) => [field, BigInt((found as Record<string, number>)[field] as number)]),
    );

  it("tells what the runtime's own does, by path and by fd", bench, async () => {
    await withFolder(async (proactor, scratch) => {
      const path = scratch.file("file", "x".repeat(5000));
      fs.symlinkSync("file", scratch.path("link"));
      const fd = await proactor.open(path, abi.O_RDONLY);
      const expected = fs.statSync(path, { bigint: true });
      for (const file of [path, new TextEncoder().encode(path), scratch.path("link"), fd]) {
        const found = await proactor.statx(file);
        assert.deepEqual(facts(found), facts(expected));
        // Deno tells milliseconds.
        assert.equal(found.mtimeNs / 1_000_000n, expected.mtimeNs / 1_000_000n);
        assert.equal(found.birthtimeNs / 1_000_000n, expected.birthtimeNs / 1_000_000n);
        assert.ok(found.isFile());
      }
      const link = await proactor.statx(scratch.path("link"), { flags: abi.AT_SYMLINK_NOFOLLOW });
      assert.ok(link.isSymbolicLink());
      assert.deepEqual(facts(link), facts(fs.lstatSync(scratch.path("link"), { bigint: true })));
      const dir = await proactor.open(scratch.path("."), abi.O_PATH);
      assert.equal((await proactor.statx("file", { dir })).size, 5000n);
      assert.ok((await proactor.statx(dir)).isDirectory());
      await proactor.closeFd(fd);
      await proactor.closeFd(dir);
    });
  });

  it("fills in what is asked for", bench, async () => {
    await withFolder(async (proactor, scratch) => {
      const path = scratch.file("file", "abc");
      const { mask } = await proactor.statx(path, { mask: abi.STATX_DIOALIGN });
      assert.equal(mask & abi.STATX_DIOALIGN, abi.STATX_DIOALIGN);
      assert.equal((await proactor.statx(path)).mask & abi.STATX_DIOALIGN, 0);
    });
  });

  it("names the path it fails on, where there is one", bench, async () => {
    await using proactor = new Proactor();
    assert.deepEqual(await failure(proactor.statx("/nowhere")), {
      code: "ENOENT",
      syscall: "statx",
      path: "/nowhere",
    });
    const error = (await reason(proactor.statx(1_000_000))) as UringError;
    assert.deepEqual([error.code, "path" in error], ["EBADF", false]);
    assert.ok((await reason(proactor.statx(new Direct(0) as never))) instanceof TypeError);
  });
});

describe("names", () => {
  it("are given, changed and taken away", bench, async () => {
    await withFolder(async (proactor, scratch) => {
      const at = (name: string) => scratch.path(name);
      const umask = process.umask(0o022);
      try {
        assert.equal(await proactor.mkdir(at("dir")), undefined);
        assert.equal(fs.statSync(at("dir")).mode & 0o777, 0o755);
        await proactor.mkdir(at("private"), { mode: 0o700 });
        assert.equal(fs.statSync(at("private")).mode & 0o777, 0o700);
      } finally {
        process.umask(umask);
      }
      scratch.file("file", "abc");
      assert.equal(await proactor.link(at("file"), at("dir/again")), undefined);
      assert.equal(fs.statSync(at("file")).nlink, 2);
      assert.equal(await proactor.symlink("../file", at("dir/link")), undefined);
      assert.equal(fs.readlinkSync(at("dir/link")), "../file");
      assert.equal(await proactor.rename(at("dir/again"), at("dir/moved")), undefined);
      assert.deepEqual(fs.readdirSync(at("dir")).sort(), ["link", "moved"]);
      assert.equal(await proactor.unlink(at("dir/link")), undefined);
      await proactor.unlink(at("dir/moved"));
      assert.equal(await proactor.unlink(at("dir"), { flags: abi.AT_REMOVEDIR }), undefined);
      assert.deepEqual(fs.readdirSync(at(".")).sort(), ["file", "private"]);
    });
  });

  it("start at directories, the second where the first does unless told otherwise", bench, async () => {
    await withFolder(async (proactor, scratch) => {
      fs.mkdirSync(scratch.path("other"));
      scratch.file("file", "abc");
      const flags = abi.O_PATH | abi.O_DIRECTORY;
      const dir = await proactor.open(scratch.path("."), flags);
      const newDir = await proactor.open(scratch.path("other"), flags);
      await proactor.rename("file", "renamed", { dir });
      await proactor.link("renamed", "linked", { dir, newDir });
      await proactor.rename("renamed", "moved", { dir, newDir });
      await proactor.symlink("moved", "link", { dir: newDir });
      await proactor.mkdir("made", { dir: newDir });
      await proactor.unlink("linked", { dir: newDir });
      assert.deepEqual(fs.readdirSync(scratch.path(".")), ["other"]);
      assert.deepEqual(fs.readdirSync(scratch.path("other")).sort(), ["link", "made", "moved"]);
      const file = await proactor.open("moved", abi.O_RDONLY, { dir: newDir });
      const name = { dir: file, newDir: dir, flags: abi.AT_EMPTY_PATH };
      if (process.getuid?.() === 0) {
        await proactor.link("", "named", name);
        assert.equal(fs.readFileSync(scratch.path("named"), "utf8"), "abc");
      }
      for (const fd of [dir, newDir, file]) await proactor.closeFd(fd);
    });
  });

  it("are named by what fails", bench, async () => {
    await withFolder(async (proactor, scratch) => {
      const [a, b] = [scratch.file("a", ""), scratch.file("b", "")];
      const [none, path] = [scratch.path("none"), scratch.path("x/y")];
      const { RENAME_NOREPLACE, AT_REMOVEDIR } = abi;
      const failures: [object, Promise<unknown>][] = [
        [{ code: "ENOENT", syscall: "unlinkat", path: none }, proactor.unlink(none)],
        [{ code: "ENOTDIR", syscall: "unlinkat", path: a }, proactor.unlink(a, { flags: AT_REMOVEDIR })],
        [{ code: "ENOENT", syscall: "mkdirat", path }, proactor.mkdir(path)],
        [{ code: "EEXIST", syscall: "mkdirat", path: a }, proactor.mkdir(a)],
        [{ code: "ENOENT", syscall: "renameat2", path: none, dest: b }, proactor.rename(none, b)],
        [
          { code: "EEXIST", syscall: "renameat2", path: a, dest: b },
          proactor.rename(a, b, { flags: RENAME_NOREPLACE }),
        ],
        [{ code: "EEXIST", syscall: "linkat", path: a, dest: b }, proactor.link(a, b)],
        [{ code: "EEXIST", syscall: "symlinkat", path: "t", dest: b }, proactor.symlink("t", b)],
      ];
      const found = await Promise.all(failures.map(([, promise]) => failure(promise)));
      for (const [i, [expected]] of failures.entries()) assert.deepEqual(found[i], expected);
      const message = String(await reason(proactor.rename(none, b)));
      assert.equal(message, `UringError: ENOENT: no such file or directory, renameat2 '${none}' -> '${b}'`);
      const wrong = [
        proactor.rename(a, "b\0"),
        proactor.symlink("t\0", b),
        proactor.link("a\0", b),
        proactor.unlink("a\0"),
        proactor.mkdir("a\0"),
        proactor.statx("a\0"),
      ];
      for (const error of await Promise.all(wrong.map(reason))) assert.ok(error instanceof TypeError);
    });
  });

  it("are the same after any operations as the runtime's own make them", bench, async () => {
    for (const seed of [1, 2, 3]) {
      await withFolder(async (proactor, scratch) => {
        const random = new Random(seed);
        fs.mkdirSync(scratch.path("ours"));
        fs.mkdirSync(scratch.path("theirs"));
        const names = ["a", "b", "c", "d"];
        for (let step = 0; step < 200; step++) {
          const some = () => (random.below(3) === 0 ? `${random.pick(names)}/` : "") + random.pick(names);
          const [first, second] = [some(), some()];
          const [ours, theirs] = ["ours", "theirs"].map(
            (tree) => (name: string) => scratch.path(`${tree}/${name}`),
          ) as [(name: string) => string, (name: string) => string];
          const [operation, promise, own] = random.pick<() => [string, Promise<unknown>, () => unknown]>([
            () => ["mkdir", proactor.mkdir(ours(first)), () => fs.mkdirSync(theirs(first))],
            () => ["unlink", proactor.unlink(ours(first)), () => unlink(theirs(first))],
            () => [
              "rmdir",
              proactor.unlink(ours(first), { flags: abi.AT_REMOVEDIR }),
              () => fs.rmdirSync(theirs(first)),
            ],
            () => [
              "rename",
              proactor.rename(ours(first), ours(second)),
              () => fs.renameSync(theirs(first), theirs(second)),
            ],
            () => [
              "link",
              proactor.link(ours(first), ours(second)),
              () => fs.linkSync(theirs(first), theirs(second)),
            ],
            () => [
              "symlink",
              proactor.symlink(first, ours(second)),
              () => fs.symlinkSync(first, theirs(second)),
            ],
            () => [
              "open",
              proactor
                .open(ours(first), abi.O_WRONLY | abi.O_CREAT | abi.O_EXCL)
                .then((fd) => proactor.closeFd(fd)),
              () => fs.writeFileSync(theirs(first), "", { flag: "wx" }),
            ],
            () => ["stat", proactor.statx(ours(first)), () => fs.statSync(theirs(first))],
          ])();
          const expected = codeOf(own);
          const found = await promise.then(
            () => "ok",
            (error: UringError) => error.code,
          );
          assert.equal(found, expected, `seed ${seed}, step ${step}: ${operation} ${first} ${second}`);
        }
        assert.deepEqual(tree(scratch.path("ours")), tree(scratch.path("theirs")), `seed ${seed}`);
      });
    }
  });
});

/** The code that a call of the runtime's own fails with. */
function codeOf(call: () => unknown): string {
  try {
    call();
    return "ok";
  } catch (error) {
    return (error as { code: string }).code;
  }
}

/** As unlink(2): what Deno calls so removes folders as well. */
function unlink(path: string): void {
  if (fs.lstatSync(path).isDirectory()) throw Object.assign(new Error(path), { code: "EISDIR" });
  fs.unlinkSync(path);
}

/** All that is in a folder. */
function tree(folder: string): string[] {
  return fs
    .readdirSync(folder)
    .sort()
    .flatMap((name) => {
      const found = fs.lstatSync(`${folder}/${name}`);
      if (found.isDirectory()) return [name, ...tree(`${folder}/${name}`).map((inner) => `${name}/${inner}`)];
      if (found.isSymbolicLink()) return [`${name} -> ${fs.readlinkSync(`${folder}/${name}`)}`];
      return [`${name} ${found.nlink}`];
    });
}

describe("extended attributes", () => {
  it("are set and read, by path and by fd", bench, async () => {
    await withFolder(async (proactor, scratch) => {
      const path = scratch.file("file", "");
      const fd = await proactor.open(path, abi.O_RDWR);
      assert.equal(await proactor.setxattr(path, "user.a", bytes("one")), undefined);
      assert.equal(text(await proactor.getxattr(path, "user.a")), "one");
      assert.equal(text(await proactor.fgetxattr(fd, "user.a")), "one");
      assert.equal(await proactor.fsetxattr(fd, "user.b", bytes("twofold"), { length: 3 }), undefined);
      assert.equal(text(await proactor.getxattr(path, "user.b")), "two");
      await proactor.setxattr(path, "user.none", new Uint8Array(0));
      assert.deepEqual(await proactor.getxattr(path, "user.none"), new Uint8Array(0));
      proactor.ring.registerFiles([fd]);
      await proactor.fsetxattr(new Direct(0), "user.c", bytes("three"));
      assert.equal(text(await proactor.fgetxattr(new Direct(0), "user.c")), "three");

      assert.equal(text(await proactor.getxattr(path, "user.a", { length: 3 })), "one");
      assert.equal(await code(proactor.getxattr(path, "user.a", { length: 2 })), "ERANGE");
      assert.equal(await code(proactor.fgetxattr(fd, "user.a", { length: 1 })), "ERANGE");
      const { XATTR_CREATE, XATTR_REPLACE } = abi;
      assert.equal(
        await code(proactor.setxattr(path, "user.a", bytes("x"), { flags: XATTR_CREATE })),
        "EEXIST",
      );
      assert.equal(
        await code(proactor.fsetxattr(fd, "user.x", bytes("x"), { flags: XATTR_REPLACE })),
        "ENODATA",
      );
      assert.deepEqual(await failure(proactor.getxattr(path, "user.x")), {
        code: "ENODATA",
        syscall: "getxattr",
        path,
      });
      assert.equal(await code(proactor.getxattr(scratch.path("none"), "user.a")), "ENOENT");
      await proactor.closeFd(fd);
      assert.equal(await code(proactor.fgetxattr(1_000_000, "user.a")), "EBADF");
    });
  });

  it("are as large as the file system takes them", bench, async () => {
    await withFolder(async (proactor, scratch) => {
      const path = scratch.file("file", "");
      const value = new Random(1).bytes(3000);
      await proactor.setxattr(path, "user.large", value);
      for (const length of [undefined, 3000, 65536]) {
        const got = await proactor.getxattr(path, "user.large", { length });
        assert.equal(Buffer.compare(got, value), 0);
      }
      assert.equal(await code(proactor.setxattr(path, "user.large", alloc(65537))), "E2BIG");
    });
  });

  it("reject room that can not be, and names that are none", bench, async () => {
    await using proactor = new Proactor();
    for (const length of [0, -1, 0.5, 65537]) {
      assert.ok((await reason(proactor.getxattr("/", "user.a", { length }))) instanceof RangeError);
      assert.ok((await reason(proactor.fgetxattr(0, "user.a", { length }))) instanceof RangeError);
    }
    assert.ok((await reason(proactor.getxattr("/", "user.a\0"))) instanceof TypeError);
    assert.ok(
      (await reason(proactor.setxattr("/", "user.a", bytes("a"), { length: 2 }))) instanceof RangeError,
    );
    assert.equal(proactor.inFlight, 0);
  });
});

describe("on an older kernel", () => {
  it("operations on paths that it does not have say which one has", bench, async () => {
    const { proactor, errors } = onKernel("5.11", () => {
      const proactor = new Proactor();
      return {
        proactor,
        errors: {
          "mkdirat 5.15": reason(proactor.mkdir("/x")),
          "symlinkat 5.15": reason(proactor.symlink("/x", "/y")),
          "linkat 5.15": reason(proactor.link("/x", "/y")),
          "getxattr 5.19": reason(proactor.getxattr("/x", "user.a")),
          "setxattr 5.19": reason(proactor.setxattr("/x", "user.a", bytes("x"))),
          "fgetxattr 5.19": reason(proactor.fgetxattr(0, "user.a")),
          "fsetxattr 5.19": reason(proactor.fsetxattr(0, "user.a", bytes("x"))),
        },
      };
    });
    for (const [what, error] of Object.entries(errors)) {
      const [name, since] = what.split(" ");
      const { message, errno } = (await error) as UringError;
      assert.equal(errno, constants.errno.ENOSYS);
      assert.match(message, new RegExp(`${name} needs Linux ${since}, and this is 5.11.0-test$`));
    }
    await proactor.close();
  });
});
