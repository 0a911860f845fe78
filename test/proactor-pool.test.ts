import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { BufferPool, Proactor, type Ring } from "uring";
import { IORING_REGISTER_BUFFERS_UPDATE, IORING_REGISTER_BUFFERS2, O_RDWR } from "uring/abi";
import { pipe } from "./support/harness.ts";
import { code } from "./support/rejections.ts";
import { bytes, range, Scratch, text } from "./support/ring.ts";
import { withShim } from "./support/runtime.ts";
import { mustCall } from "./support/system.ts";

const bench = { timeout: 60_000 };
const KIB = 1 << 10;
const MIB = 1 << 20;
const RELEASED = { name: "TypeError", message: /this lease was released/ };

/** The sizes of the buffers that are registered with a ring, as the kernel tells. */
function registered(ring: Ring): number[] {
  const info = readFileSync(`/proc/self/fdinfo/${ring.fd}`, "latin1");
  return Array.from(info.matchAll(/^\s*\d+: 0x[0-9a-f]+\/(\d+)$/gm), ([, size]) => Number(size));
}

/** A proactor on a kernel that refuses a registration call. */
function refusing(opcode: number, errno: number): Proactor {
  return withShim(
    (real) => ({
      register: (fd, op, ...rest) => (op === opcode ? -errno : real.register(fd, op, ...rest)),
    }),
    () => new Proactor(),
  );
}

/** Writes a file from one lease and reads it into another. */
async function exercise(proactor: Proactor): Promise<void> {
  using scratch = new Scratch();
  const fd = await proactor.open(scratch.file("f", ""), O_RDWR);
  using from = proactor.pool.lend(12);
  using to = proactor.pool.lend(100_000);
  from.bytes.set(bytes("some content").bytes);
  assert.equal(await proactor.write(fd, from, { offset: 0 }), 12);
  assert.equal(await proactor.read(fd, to, { offset: 5 }), 7);
  assert.equal(text(to.bytes, 7), "content");
  assert.equal(await proactor.read(fd, to, { offset: 0, length: 4 }), 4);
  assert.equal(text(to.bytes, 7), "someent");
  await proactor.closeFd(fd);
}

describe("a pool", () => {
  it("lends what was asked for, in sizes of powers of two, and again what came back", bench, () => {
    using pool = new BufferPool();
    const ids = new Set<number>();
    for (const [size, whole] of [
      [1, 4096],
      [4096, 4096],
      [4097, 8192],
      [MIB, MIB],
      [3 * MIB, 4 * MIB],
    ] as const) {
      const lease = pool.lend(size);
      ids.add(lease.bufferId);
      assert.equal(lease.bytes.length, size);
      assert.equal(lease.byteLength, size);
      assert.equal(pool.lent, whole);
      lease[Symbol.dispose]();
      assert.equal(pool.lent, 0);
    }
    assert.equal(ids.size, 4);
    assert.equal(pool.cached, 4096 + 8192 + 5 * MIB);
    using first = pool.lend(10);
    using second = pool.lend(3000);
    assert.ok(ids.has(first.bufferId));
    assert.ok(!ids.has(second.bufferId));
    assert.notEqual(first.bytes.byteOffset, second.bytes.byteOffset);
  });

  it("refuses sizes that can not be", () => {
    using pool = new BufferPool();
    for (const size of [0, -1, 0.5, Number.NaN, 2 ** 30 + 1, "1" as never]) {
      assert.throws(() => pool.lend(size), RangeError);
    }
    assert.throws(() => new BufferPool({ cached: -1 }), RangeError);
  });

  it("keeps no more than it is to", () => {
    using pool = new BufferPool({ cached: 3 * 4096 });
    const leases = range(5).map(() => pool.lend(4096));
    for (const lease of leases) lease[Symbol.dispose]();
    assert.equal(pool.cached, 3 * 4096);
    using none = new BufferPool({ cached: 0 });
    none.lend(1)[Symbol.dispose]();
    assert.deepEqual([none.cached, none.lent], [0, 0]);
  });

  it("shows no memory that was released", () => {
    using pool = new BufferPool();
    const lease = pool.lend(16);
    assert.equal(lease.released, false);
    lease[Symbol.dispose]();
    lease[Symbol.dispose]();
    assert.equal(lease.released, true);
    assert.throws(() => lease.bytes, RELEASED);
    assert.equal(pool.cached, 4096);
  });

  it("lends nothing once it is closed, and takes back what is lent", () => {
    const pool = new BufferPool();
    const lease = pool.lend(16);
    pool.lend(16)[Symbol.dispose]();
    pool[Symbol.dispose]();
    assert.throws(() => pool.lend(16), { name: "TypeError", message: /this pool is closed/ });
    assert.equal(pool.cached, 0);
    lease.bytes[0] = 1;
    lease[Symbol.dispose]();
    assert.deepEqual([pool.cached, pool.lent], [0, 0]);
  });
});

describe("a pool in debug mode", () => {
  it("fills what was released", () => {
    using pool = new BufferPool({ debug: true });
    const lease = pool.lend(16);
    const { bytes: view } = lease;
    view.fill(7);
    lease[Symbol.dispose]();
    assert.ok(view.every((byte) => byte === 0xdb));
    using again = pool.lend(100);
    assert.equal(again.bufferId, lease.bufferId);
  });

  it("tells of writes after the release, and who had lent the memory", () => {
    using pool = new BufferPool({ debug: true });
    function careless(): void {
      const lease = pool.lend(16);
      const view = lease.bytes;
      lease[Symbol.dispose]();
      view[3] = 1;
    }
    careless();
    assert.throws(
      () => pool.lend(16),
      ({ message }: Error) => {
        assert.match(message, /byte 3 of a buffer was written to after the buffer had been released/);
        assert.match(message, /careless/);
        return true;
      },
    );
    // It is out of use.
    using next = pool.lend(16);
    assert.equal(next.bytes.length, 16);
    assert.equal(pool.lent, 4096);
  });

  it("is a proactor's that is", bench, async () => {
    await using proactor = new Proactor({ debug: true });
    const lease = proactor.pool.lend(16);
    const view = lease.bytes;
    lease[Symbol.dispose]();
    assert.equal(view[15], 0xdb);
  });
});

describe("a proactor's pool", () => {
  it("has its buffers registered while it has them", bench, async () => {
    await using proactor = new Proactor();
    const { ring } = proactor;
    assert.equal(proactor.pool, proactor.pool);
    // Within the usual limit of locked memory.
    using pool = new BufferPool({ ring, cached: 64 * KIB });
    assert.deepEqual(registered(ring), []);
    const large = pool.lend(40 * KIB);
    using small = pool.lend(100);
    assert.deepEqual(registered(ring), [64 * KIB, 4096]);
    using larger = pool.lend(100 * KIB);
    assert.deepEqual(registered(ring), [64 * KIB, 4096, 128 * KIB]);
    large[Symbol.dispose]();
    assert.equal(pool.cached, 64 * KIB);
    larger[Symbol.dispose]();
    assert.deepEqual(registered(ring), [64 * KIB, 4096]);
    assert.equal(small.bytes.length, 100);
  });

  it("is used for reads and writes, as fixed buffers", bench, async () => {
    await using proactor = new Proactor();
    await exercise(proactor);
    using ends = pipe();
    using lease = proactor.pool.lend(1);
    proactor.ring.unregisterBuffers();
    assert.equal(await code(proactor.write(ends.write, lease)), "EFAULT");
  });

  it("works where nothing can be registered", bench, async () => {
    for (const [opcode, errno] of [
      [IORING_REGISTER_BUFFERS2, 22],
      [IORING_REGISTER_BUFFERS_UPDATE, 12],
    ] as const) {
      await using proactor = refusing(opcode, errno);
      await exercise(proactor);
      assert.deepEqual(registered(proactor.ring), []);
    }
  });

  it("works where the ring has a table of buffers of its user's", bench, async () => {
    await using proactor = new Proactor();
    const own = new Uint8Array(4096);
    proactor.ring.registerBuffers([own]);
    await exercise(proactor);
    assert.deepEqual(registered(proactor.ring), [4096]);
  });

  it("lends more buffers than can be registered", bench, async () => {
    await using proactor = new Proactor();
    const leases = range(1100).map(() => proactor.pool.lend(1));
    assert.equal(registered(proactor.ring).length, 1024);
    using ends = pipe();
    for (const [i, lease] of leases.entries()) {
      lease.bytes[0] = i & 0xff;
      assert.equal(await proactor.write(ends.write, lease), 1);
      lease.bytes[0] = 0;
      assert.equal(await proactor.read(ends.read, lease), 1);
      assert.equal(lease.bytes[0], i & 0xff);
      lease[Symbol.dispose]();
    }
  });

  it("can lend to another proactor, for which the buffers are memory as any other", bench, async () => {
    await using one = new Proactor();
    await using other = new Proactor();
    using ends = pipe();
    using lease = one.pool.lend(4);
    lease.bytes.set(bytes("ping").bytes);
    assert.equal(await other.write(ends.write, lease), 4);
    using got = other.pool.lend(4);
    assert.equal(await one.read(ends.read, got), 4);
    assert.equal(text(got.bytes), "ping");
  });

  it("has a buffer back when the last operation on it ends", bench, async () => {
    await using proactor = new Proactor({ debug: true });
    using ends = pipe();
    const lease = proactor.pool.lend(16);
    const view = lease.bytes.fill(1);
    const read = proactor.read(ends.read, lease);
    proactor.flush();
    lease[Symbol.dispose]();
    assert.throws(() => lease.bytes, RELEASED);
    assert.equal(proactor.pool.lent, 4096);
    assert.equal(view[0], 1);
    mustCall("write", ends.write, bytes("x").address, 1);
    assert.equal(await read, 1);
    assert.equal(proactor.pool.lent, 0);
    assert.equal(view[0], 0xdb);
    using again = proactor.pool.lend(16);
    assert.equal(again.bufferId, lease.bufferId);
    assert.equal(await code(proactor.read(-1, again)), "EBADF");
    again[Symbol.dispose]();
    await assert.rejects(proactor.read(ends.read, again), RELEASED);
  });

  it("is closed with it", bench, async () => {
    const proactor = new Proactor();
    const lease = proactor.pool.lend(16);
    proactor.pool.lend(16)[Symbol.dispose]();
    assert.deepEqual(await proactor.close(), { leaked: 0 });
    assert.equal(proactor.pool.cached, 0);
    assert.throws(() => proactor.pool.lend(16), { message: /this pool is closed/ });
    lease.bytes[0] = 1;
    lease[Symbol.dispose]();
    const other = new Proactor();
    await other.close();
    assert.throws(() => other.pool.lend(16), { message: /this pool is closed/ });
  });
});
