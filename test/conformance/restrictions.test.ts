import assert from "node:assert/strict";
import { constants } from "node:os";
import { alloc, Direct, Iovecs, Restrictions, type Ring, type Target } from "uring";
import {
  IORING_OP_NOP128,
  IORING_OP_READV,
  IORING_OP_URING_CMD128,
  IORING_OP_WRITE,
  IORING_OP_WRITEV,
  IORING_REGISTER_BUFFERS,
  IORING_REGISTER_ENABLE_RINGS,
  IORING_REGISTER_LAST,
  IORING_SETUP_R_DISABLED,
  IOSQE_ASYNC,
  IOSQE_FIXED_FILE,
  IOSQE_IO_DRAIN,
  IOSQE_IO_LINK,
} from "uring/abi";
import { type Pipe, pipe } from "../support/harness.ts";
import { syscall } from "../support/system.ts";
import { brief, entry, submitAll } from "./completions.ts";
import { textMemory } from "./descriptors.ts";
import { outcome } from "./outcome.ts";
import { allRings, type Bench, conformance } from "./support.ts";

const { EACCES, EINVAL } = constants.errno;
const EBADFD = 77;

const id = "liburing/register-restrictions";
const everywhere = { rings: allRings };

/** A ring that takes nothing yet. */
function disabledRing(bench: Bench): Ring {
  return bench.ring({ flags: IORING_SETUP_R_DISABLED });
}

/** A ring that is allowed only what is listed, with both ends of a pipe as its registered files 0 (read) and 1 (write). */
function restrictedRing(bench: Bench, restrictions: Restrictions): { ring: Ring; ends: Pipe } {
  const ring = disabledRing(bench);
  const ends = pipe();
  bench.defer(() => ends[Symbol.dispose]());
  ring.registerFiles([ends.read, ends.write]);
  ring.registerRestrictions(restrictions);
  ring.enableRings();
  return { ring, ends };
}

/** The result of a vectored write of eight bytes, with flags. */
function writev(bench: Bench, ring: Ring, target: Target, flags = 0): number {
  const pieces = new Iovecs([textMemory("12345678")]);
  return bench.run(ring, (sqe) => sqe.prepWritev(target, pieces, 1, -1).addFlags(flags));
}

/** The result of a vectored read of up to eight bytes. */
function readv(bench: Bench, ring: Ring, target: Target): number {
  const pieces = new Iovecs([alloc(8)]);
  return bench.run(ring, (sqe) => sqe.prepReadv(target, pieces, 1, -1));
}

conformance(
  id,
  "a disabled ring takes nothing before it is enabled, and then what it was given",
  (bench) => {
    const ring = disabledRing(bench);
    ring.getSqe()?.prepNop().setData64(1);
    // With a poller thread a submission alone is no system call.
    for (const submit of [() => ring.submitAndGetEvents(), () => ring.submitAndWait(1, { timeout: 1000 })]) {
      assert.throws(submit, { code: "EBADFD", errno: EBADFD, message: /enableRings/ });
    }
    if (bench.type !== "sqpoll") assert.throws(() => ring.submit(), { code: "EBADFD" });
    assert.equal(ring.sqReady, 1);
    ring.enableRings();
    assert.deepEqual(bench.complete(ring, 1), [{ userData: 1, res: 0, flags: 0 }]);
    assert.throws(() => ring.enableRings(), { code: "EBADFD", errno: EBADFD });
  },
  everywhere,
);

conformance(
  id,
  "a ring that is enabled can not be restricted any more",
  (bench) => {
    const list = new Restrictions().sqeOp(IORING_OP_WRITEV);
    const ring = bench.ring();
    assert.throws(() => ring.registerRestrictions(list), { code: "EBADFD", errno: EBADFD });
    const other = disabledRing(bench);
    other.enableRings();
    assert.throws(() => other.registerRestrictions(list), { code: "EBADFD", errno: EBADFD });
    assert.equal(
      bench.run(other, (sqe) => sqe.prepNop()),
      0,
    );
  },
  everywhere,
);

conformance(
  id,
  "operations that are listed run, others are refused",
  (bench) => {
    const { ring, ends } = restrictedRing(bench, new Restrictions().sqeOp(IORING_OP_WRITEV, IORING_OP_WRITE));
    assert.equal(writev(bench, ring, ends.write), 8);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepWrite(ends.write, textMemory("12345678"), 8, -1)),
      8,
    );
    assert.equal(readv(bench, ring, ends.read), -EACCES);
  },
  everywhere,
);

conformance(
  id,
  "registrations that are listed are made, others are refused",
  (bench) => {
    const ring = disabledRing(bench);
    ring.registerRestrictions(new Restrictions().registerOp(IORING_REGISTER_BUFFERS));
    ring.enableRings();
    using ends = pipe();
    ring.registerBuffers([alloc(4096)]);
    assert.throws(() => ring.registerFiles([ends.read, ends.write]), { code: "EACCES", errno: EACCES });
  },
  everywhere,
);

conformance(
  id,
  "where entries must be on registered files, those on an fd are refused",
  (bench) => {
    const { ring, ends } = restrictedRing(
      bench,
      new Restrictions().sqeOp(IORING_OP_WRITEV, IORING_OP_READV).sqeFlagsRequired(IOSQE_FIXED_FILE),
    );
    assert.equal(writev(bench, ring, new Direct(1)), 8);
    assert.equal(readv(bench, ring, new Direct(0)), 8);
    assert.equal(writev(bench, ring, ends.write), -EACCES);
  },
  everywhere,
);

conformance(
  id,
  "entries may have the flags that are allowed or required, and no others",
  (bench) => {
    const { ring, ends } = restrictedRing(
      bench,
      new Restrictions()
        .sqeOp(IORING_OP_WRITEV)
        .sqeFlagsAllowed(IOSQE_ASYNC | IOSQE_IO_LINK)
        .sqeFlagsRequired(IOSQE_FIXED_FILE),
    );
    const registered = new Direct(1);
    for (const flags of [0, IOSQE_ASYNC, IOSQE_IO_LINK]) {
      assert.equal(writev(bench, ring, registered, flags), 8, `registered file, flags ${flags}`);
    }
    assert.equal(writev(bench, ring, registered, IOSQE_IO_DRAIN), -EACCES);
    for (const flags of [IOSQE_IO_DRAIN, IOSQE_ASYNC, 0]) {
      assert.equal(writev(bench, ring, ends.write, flags), -EACCES, `fd, flags ${flags}`);
    }
  },
  everywhere,
);

conformance(
  id,
  "an empty list allows no registration and no operation",
  (bench) => {
    const ring = disabledRing(bench);
    const probe = ring.probe();
    ring.registerRestrictions(new Restrictions());
    ring.enableRings();
    using ends = pipe();
    assert.equal(
      outcome(() => ring.registerFiles([ends.read])),
      -EACCES,
    );
    const results = Array.from({ length: IORING_REGISTER_LAST }, (_, opcode) =>
      syscall("io_uring_register", ring.fd, opcode, 0, 0),
    );
    // What the kernel does not know comes after all that it does.
    const end = results.lastIndexOf(-EACCES) + 1;
    assert.ok(end > IORING_REGISTER_ENABLE_RINGS, `${results}`);
    assert.deepEqual(
      results,
      results.map((_, opcode) => (opcode < end ? -EACCES : -EINVAL)),
    );
    // These two are refused for being too large already.
    const large: readonly number[] = [IORING_OP_NOP128, IORING_OP_URING_CMD128];
    const ops = Array.from({ length: probe.lastOp + 1 }, (_, op) => op).filter((op) => !large.includes(op));
    for (const op of ops) {
      entry(ring).prepRw(op, -1, 0, 0, 0).setData64(op);
      // One that is refused keeps those behind it from being taken.
      submitAll(ring, 1);
    }
    assert.deepEqual(
      brief(bench.collect(ring, ops.length)),
      ops.map((op) => [op, -EACCES, 0]),
    );
  },
  everywhere,
);
