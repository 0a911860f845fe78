import assert from "node:assert/strict";
import {
  closeSync,
  existsSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { alloc, cstring, Direct, decodeStatx, encodeOpenHow } from "uring";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_REMOVEDIR,
  IOSQE_ASYNC,
  IOSQE_IO_DRAIN,
  IOSQE_IO_LINK,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_LARGEFILE,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  S_IFMT,
  S_IFREG,
  statx,
} from "uring/abi";
import { pipe } from "../support/harness.ts";
import { mustCall } from "../support/system.ts";
import { brief, entry, submitAll } from "./completions.ts";
import { open, owned, read, sizeOf, textMemory } from "./descriptors.ts";
import { PATIENCE_MS, SOON_MS } from "./durations.ts";
import { runProgram } from "./program.ts";
import { allRings, conformance } from "./support.ts";

const { EEXIST, EFAULT, EINVAL, ENOENT, ENXIO } = constants.errno;

/** No memory of any process's. */
const NOWHERE = 0x1234;

const everywhere = { rings: allRings };

// ------------------------------------------------------------------------------------------------ liburing/lfs-openat

conformance(
  "liburing/lfs-openat",
  "a file of more than 4 GiB opens relative to a folder's fd",
  (bench) => {
    const ring = bench.ring();
    const path = bench.path("large");
    const size = 2 ** 32 + 4096;
    const file = openSync(path, "w");
    ftruncateSync(file, size);
    closeSync(file);
    const folder = open(bench, join(path, ".."), O_PATH | O_DIRECTORY);
    // A kernel of 64 bits needs no flag for that.
    for (const flags of [O_RDONLY, O_RDONLY | O_LARGEFILE]) {
      const fd = bench.run(ring, (sqe) => sqe.prepOpenat(folder, cstring("large"), flags, 0));
      assert.ok(fd >= 0, `openat: ${fd}`);
      owned(bench, fd);
      assert.equal(sizeOf(fd), size);
    }
  },
  everywhere,
);

const stuck = [
  ["linked to a read that waits", IOSQE_IO_LINK, 0],
  ["linked to a read that a worker waits with", IOSQE_IO_LINK | IOSQE_ASYNC, 0],
  ["draining behind a read that waits", 0, IOSQE_IO_DRAIN],
] as const;

for (const [how, readFlags, openFlags] of stuck) {
  conformance("liburing/lfs-openat", `an open ${how} never runs, and the process ends at once`, (bench) => {
    const path = bench.path("never");
    const { code, output } = runProgram("stuck-open", [path, String(readFlags), String(openFlags)]);
    assert.equal(code, 42, output);
    assert.ok(!existsSync(path));
  });
}

// Not where it drains: close() cancels the read, and what drained behind it then runs.
for (const [how, readFlags] of stuck.slice(0, 2)) {
  conformance(
    "liburing/lfs-openat",
    `an open ${how} never runs, and the ring closes at once`,
    (bench) => {
      const ring = bench.ring();
      using ends = pipe();
      const path = bench.path("never");
      entry(ring).prepRead(ends.read, alloc(8), 8, -1).setFlags(readFlags).setData64(1);
      entry(ring)
        .prepOpenat(AT_FDCWD, cstring(path), O_CREAT | O_RDWR, 0o600)
        .setData64(2);
      submitAll(ring, 2);
      bench.quiet(ring);
      mustCall("close", mustCall("dup", ring.fd));
      bench.quiet(ring);
      const start = performance.now();
      assert.deepEqual(ring.close({ deadline: PATIENCE_MS }), { leaked: 0 });
      assert.ok(performance.now() - start < SOON_MS);
      assert.ok(!existsSync(path));
    },
    everywhere,
  );
}

// ------------------------------------------------------------------------------------------------ liburing/mkdir

conformance(
  "liburing/mkdir",
  "a folder is made once, where there is a folder to hold it",
  (bench) => {
    const ring = bench.ring();
    const path = bench.path("folder");
    const mkdir = (name: string | number) =>
      bench.run(ring, (sqe) =>
        sqe.prepMkdirat(AT_FDCWD, typeof name === "string" ? cstring(name) : name, 0o700),
      );
    assert.equal(mkdir(path), 0);
    assert.ok(statSync(path).isDirectory());
    assert.equal(statSync(path).mode & 0o777, 0o700);
    assert.equal(mkdir(path), -EEXIST);
    assert.equal(mkdir(bench.path("missing/folder")), -ENOENT);
    assert.equal(mkdir(NOWHERE), -EFAULT);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/openat2

conformance(
  "liburing/openat2",
  "a file opens by an absolute path and by one relative to the working directory",
  (bench) => {
    const ring = bench.ring();
    const how = encodeOpenHow({ flags: O_RDWR });
    const path = bench.path("file");
    writeFileSync(path, "content");
    const relative = join(
      ...process
        .cwd()
        .split("/")
        .filter(Boolean)
        .map(() => ".."),
      path,
    );
    for (const [dfd, name] of [
      [-1, path],
      [AT_FDCWD, relative],
    ] as const) {
      const fd = bench.run(ring, (sqe) => sqe.prepOpenat2(dfd, cstring(name), how));
      assert.ok(fd >= 0, `openat2: ${fd}`);
      owned(bench, fd);
      assert.equal(read(fd), "content");
    }
  },
  everywhere,
);

conformance(
  "liburing/openat2",
  "a path and a struct that are not the process's memory are refused",
  (bench) => {
    const ring = bench.ring();
    const path = bench.path("file");
    writeFileSync(path, "");
    const how = encodeOpenHow({ flags: O_RDWR });
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepOpenat2(-1, NOWHERE, how)),
      -EFAULT,
    );
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepOpenat2(-1, cstring(path), NOWHERE)),
      -EFAULT,
    );
  },
  everywhere,
);

conformance(
  "liburing/openat2",
  "a file opens into a slot, and is written and read through it",
  (bench) => {
    const ring = bench.ring();
    ring.registerFiles([-1]);
    const slot = new Direct(0);
    const path = bench.path("file");
    writeFileSync(path, "");
    const how = encodeOpenHow({ flags: O_RDWR });
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepOpenat2Direct(AT_FDCWD, cstring(path), how, 0)),
      0,
    );
    const back = alloc(1);
    entry(ring).prepWrite(slot, textMemory("W"), 1, 0).addFlags(IOSQE_IO_LINK).setData64(1);
    entry(ring).prepRead(slot, back, 1, 0).setData64(2);
    assert.deepEqual(brief(bench.complete(ring, 2)), [
      [1, 1, 0],
      [2, 1, 0],
    ]);
    assert.equal(back.bytes[0], "W".charCodeAt(0));
    assert.equal(readFileSync(path, "latin1"), "W");
  },
  everywhere,
);

conformance(
  "liburing/openat2",
  "a slot is refused without a table, and beyond the table's end in all its 32 bits",
  (bench) => {
    const ring = bench.ring();
    const path = bench.path("file");
    writeFileSync(path, "");
    const how = encodeOpenHow({ flags: O_RDWR });
    const into = (slot: number) =>
      bench.run(ring, (sqe) => sqe.prepOpenat2Direct(AT_FDCWD, cstring(path), how, slot));
    assert.equal(into(0), -ENXIO);
    ring.registerFiles([-1]);
    for (const slot of [1, 65536, 65537]) assert.equal(into(slot), -EINVAL, `slot ${slot}`);
    assert.equal(into(0), 0);
  },
  everywhere,
);

conformance(
  "liburing/openat2",
  "a file opened into a slot in use takes the place of the other",
  (bench) => {
    const ring = bench.ring();
    using ends = pipe();
    ring.registerFiles([ends.write]);
    const slot = new Direct(0);
    const path = bench.path("file");
    writeFileSync(path, "");
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepWrite(slot, textMemory("pipe"), 4, 0)),
      4,
    );
    assert.equal(read(ends.read), "pipe");
    const how = encodeOpenHow({ flags: O_RDWR });
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepOpenat2Direct(AT_FDCWD, cstring(path), how, 0)),
      0,
    );
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepWrite(slot, textMemory("file"), 4, 0)),
      4,
    );
    assert.equal(readFileSync(path, "latin1"), "file");
    ends.close(ends.write);
    assert.equal(read(ends.read), "", "the slot was the pipe's last writer but for ours");
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/rename

conformance(
  "liburing/rename",
  "a file takes another's name and place",
  (bench) => {
    const ring = bench.ring();
    const [from, to] = [bench.path("from"), bench.path("to")];
    writeFileSync(from, "from");
    writeFileSync(to, "to");
    const rename = (old: string | number, name: string | number) =>
      bench.run(ring, (sqe) =>
        sqe.prepRenameat(
          AT_FDCWD,
          typeof old === "string" ? cstring(old) : old,
          AT_FDCWD,
          typeof name === "string" ? cstring(name) : name,
          0,
        ),
      );
    assert.equal(rename(from, to), 0);
    assert.ok(!existsSync(from));
    assert.equal(readFileSync(to, "latin1"), "from");
    assert.equal(rename(from, to), -ENOENT);
    assert.equal(rename(NOWHERE, to), -EFAULT);
    assert.equal(rename(to, NOWHERE), -EFAULT);
    assert.equal(readFileSync(to, "latin1"), "from");
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/self

conformance(
  "liburing/self",
  "/proc/self is the process that submits",
  (bench) => {
    const ring = bench.ring();
    const how = encodeOpenHow({ flags: O_RDONLY | O_CLOEXEC });
    const fd = bench.run(ring, (sqe) => sqe.prepOpenat2(AT_FDCWD, cstring("/proc/self/comm"), how));
    assert.ok(fd >= 0, `openat2: ${fd}`);
    owned(bench, fd);
    assert.equal(read(fd), readFileSync(`/proc/${process.pid}/comm`, "utf8"));
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/symlink

conformance(
  "liburing/symlink",
  "a link holds its target, and is made once, where there is a folder to hold it",
  (bench) => {
    const ring = bench.ring();
    const path = bench.path("link");
    const symlink = (target: string | number, name: string | number) =>
      bench.run(ring, (sqe) =>
        sqe.prepSymlinkat(
          typeof target === "string" ? cstring(target) : target,
          AT_FDCWD,
          typeof name === "string" ? cstring(name) : name,
        ),
      );
    assert.equal(symlink("a target", path), 0);
    assert.ok(lstatSync(path).isSymbolicLink());
    assert.equal(readlinkSync(path), "a target");
    assert.equal(symlink("a target", path), -EEXIST);
    assert.equal(symlink("a target", bench.path("missing/link")), -ENOENT);
    assert.equal(symlink(NOWHERE, bench.path("other")), -EFAULT);
    assert.equal(symlink("a target", NOWHERE), -EFAULT);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ liburing/unlink

conformance(
  "liburing/unlink",
  "files and empty folders are removed",
  (bench) => {
    const ring = bench.ring();
    const unlink = (name: string | number, flags = 0) =>
      bench.run(ring, (sqe) =>
        sqe.prepUnlinkat(AT_FDCWD, typeof name === "string" ? cstring(name) : name, flags),
      );
    const [file, folder] = [bench.path("file"), bench.path("folder")];
    writeFileSync(file, "");
    mkdirSync(folder);
    assert.equal(unlink(file), 0);
    assert.ok(!existsSync(file));
    assert.equal(unlink(file), -ENOENT);
    assert.equal(unlink(NOWHERE), -EFAULT);
    assert.equal(unlink(folder, AT_REMOVEDIR), 0);
    assert.ok(!existsSync(folder));
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/fs/test_file_openat2

conformance(
  "tokio/fs/test_file_openat2",
  "a file is created as it is opened",
  (bench) => {
    const ring = bench.ring();
    const path = bench.path("created");
    const how = encodeOpenHow({ flags: O_CREAT | O_WRONLY, mode: 0o600 });
    const fd = bench.run(ring, (sqe) => sqe.prepOpenat2(AT_FDCWD, cstring(path), how));
    assert.ok(fd > 0, `openat2: ${fd}`);
    owned(bench, fd);
    assert.equal(statSync(`/proc/self/fd/${fd}`).ino, statSync(path).ino);
    assert.ok(statSync(path).isFile());
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/fs/test_statx

conformance(
  "tokio/fs/test_statx",
  "a file's state is statx(2)'s, by path and by fd",
  (bench) => {
    const STATX_ALL = 0xfff;
    const ring = bench.ring();
    const path = bench.path("file");
    writeFileSync(path, "some content");
    const fd = open(bench, path, O_RDONLY);
    using name = cstring(path);
    using empty = cstring("");
    using expected = alloc(statx.sizeof);
    mustCall("statx", AT_FDCWD, name.address, 0, STATX_ALL, expected.address);

    for (const [dfd, at, flags] of [
      [AT_FDCWD, name, 0],
      [fd, empty, AT_EMPTY_PATH],
    ] as const) {
      const found = alloc(statx.sizeof);
      assert.equal(
        bench.run(ring, (sqe) => sqe.prepStatx(dfd, at, flags, STATX_ALL, found)),
        0,
      );
      assert.deepEqual(found.bytes.slice(), expected.bytes.slice());
      const state = decodeStatx(found);
      assert.equal(state.size, 12n);
      assert.equal(state.mode & S_IFMT, S_IFREG);
    }
  },
  everywhere,
);
