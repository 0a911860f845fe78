import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { constants } from "node:os";
import { alloc, cstring } from "uring";
import { O_RDWR } from "uring/abi";
import { open, textMemory, textOf } from "./descriptors.ts";
import { allRings, type Bench, conformance } from "./support.ts";

const { E2BIG, EBADF, EFAULT, ENOENT } = constants.errno;

const everywhere = { rings: allRings };

function file(bench: Bench): string {
  const path = bench.path("file");
  writeFileSync(path, "");
  return path;
}

// ------------------------------------------------------------------------------------------------ liburing/xattr

const attributes = [
  ["user.val1", "value1"],
  ["user.val2", "value1-a-lot-longer"],
] as const;

conformance(
  "liburing/xattr",
  "attributes are set and read by path and by fd",
  (bench) => {
    const ring = bench.ring();
    const path = cstring(file(bench));
    const fd = open(bench, bench.path("other"));
    for (const [name, value] of attributes) {
      const memory = textMemory(value);
      assert.equal(
        bench.run(ring, (sqe) => sqe.prepSetxattr(cstring(name), memory, path, 0, value.length)),
        0,
      );
      assert.equal(
        bench.run(ring, (sqe) => sqe.prepFsetxattr(fd, cstring(name), memory, 0, value.length)),
        0,
      );
    }
    for (const [name, value] of attributes) {
      const memory = alloc(255);
      assert.equal(
        bench.run(ring, (sqe) => sqe.prepGetxattr(cstring(name), memory, path, 255)),
        value.length,
      );
      assert.equal(textOf(memory), value.padEnd(255, "\0"));
      memory.bytes.fill(0);
      assert.equal(
        bench.run(ring, (sqe) => sqe.prepFgetxattr(fd, cstring(name), memory, 255)),
        value.length,
      );
      assert.equal(textOf(memory), value.padEnd(255, "\0"));
    }
  },
  everywhere,
);

conformance(
  "liburing/xattr",
  "what is no file, no name, no value or no size is refused",
  (bench) => {
    const ring = bench.ring();
    const path = cstring(file(bench));
    const fd = open(bench, bench.path("file"), O_RDWR);
    const missing = cstring(bench.path("missing"));
    const name = cstring("user.val1");
    const memory = alloc(255);
    const value = memory.address;
    const set = (...args: [name: number, value: number, path: number, length: number]) =>
      bench.run(ring, (sqe) => sqe.prepSetxattr(args[0], args[1], args[2], 0, args[3]));
    const get = (...args: [name: number, value: number, path: number, length: number]) =>
      bench.run(ring, (sqe) => sqe.prepGetxattr(args[0], args[1], args[2], args[3]));
    const fset = (...args: [fd: number, name: number, value: number, length: number]) =>
      bench.run(ring, (sqe) => sqe.prepFsetxattr(args[0], args[1], args[2], 0, args[3]));
    const fget = (...args: [fd: number, name: number, value: number, length: number]) =>
      bench.run(ring, (sqe) => sqe.prepFgetxattr(args[0], args[1], args[2], args[3]));
    const NULL = 0;

    assert.equal(fset(-1, name.address, value, 10), -EBADF);
    assert.equal(fget(-1, name.address, value, 10), -EBADF);
    assert.equal(set(name.address, value, missing.address, 10), -ENOENT);
    assert.equal(get(name.address, value, missing.address, 10), -ENOENT);
    assert.equal(set(name.address, value, NULL, 10), -EFAULT);
    assert.equal(get(name.address, value, NULL, 10), -EFAULT);
    assert.equal(set(NULL, value, path.address, 10), -EFAULT);
    assert.equal(get(NULL, value, path.address, 10), -EFAULT);
    assert.equal(fset(fd, NULL, value, 10), -EFAULT);
    assert.equal(fget(fd, NULL, value, 10), -EFAULT);
    assert.equal(set(name.address, NULL, path.address, 10), -EFAULT);
    assert.equal(fset(fd, name.address, NULL, 10), -EFAULT);
    assert.equal(set(name.address, value, path.address, -1), -E2BIG);
    assert.equal(fset(fd, name.address, value, -1), -E2BIG);
    // Where there is something to read.
    assert.equal(fset(fd, name.address, value, 10), 0);
    assert.equal(get(name.address, NULL, path.address, 10), -EFAULT);
    assert.equal(fget(fd, name.address, NULL, 10), -EFAULT);
    // A size beyond what any attribute has is cut to that, not refused, as by getxattr(2): seen on 6.18.
    assert.equal(get(name.address, value, path.address, -1), 10);
    assert.equal(fget(fd, name.address, value, -1), 10);
  },
  everywhere,
);

conformance(
  "liburing/xattr",
  "an attribute may be empty, and be asked for without room for it",
  (bench) => {
    const ring = bench.ring();
    const path = cstring(file(bench));
    const fd = open(bench, bench.path("file"), O_RDWR);
    const name = cstring("user.empty");
    const memory = alloc(255);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepSetxattr(name, memory, path, 0, 0)),
      0,
    );
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepFsetxattr(fd, name, memory, 0, 0)),
      0,
    );
    for (const [value, length] of [
      [memory, 0],
      [0, 0],
      [0, 255],
    ] as const) {
      assert.equal(
        bench.run(ring, (sqe) => sqe.prepGetxattr(name, value, path, length)),
        0,
      );
      assert.equal(
        bench.run(ring, (sqe) => sqe.prepFgetxattr(fd, name, value, length)),
        0,
      );
    }
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/fs/test_get_set_xattr

conformance(
  "tokio/fs/test_get_set_xattr",
  "an attribute set by path is read by path",
  (bench) => {
    const ring = bench.ring();
    const path = cstring(file(bench));
    const name = cstring("user.test_attr");
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepSetxattr(name, textMemory("test_value"), path, 0, 10)),
      0,
    );
    const memory = alloc(128);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepGetxattr(name, memory, path, 128)),
      10,
    );
    assert.equal(textOf(memory, 11), "test_value\0");
  },
  everywhere,
);
