import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { alloc, type Cqe, Ring, type RingOptions, UringError } from "uring";
import * as abi from "uring/abi";
import { pipe, writeFromThread } from "./support/harness.ts";
import {
  bytes,
  type Completion,
  drained,
  entry,
  exercise,
  LONG,
  nop,
  nops,
  range,
  reap,
  run,
  text,
} from "./support/ring.ts";

const EBADF = 9;
const ECANCELED = 125;

const DEFER = abi.IORING_SETUP_SINGLE_ISSUER | abi.IORING_SETUP_DEFER_TASKRUN;

describe("looking at completions", () => {
  it("one by one: peekCqe consumes nothing, cqAdvance does", () => {
    using ring = new Ring({ entries: 4 });
    assert.equal(ring.peekCqe(), null);
    nops(ring, 2, 5);
    ring.submit();
    const first = ring.peekCqe();
    assert.equal(first?.userData, 5);
    assert.equal(ring.peekCqe()?.userData, 5);
    assert.equal(ring.cqReady, 2);
    ring.cqAdvance(1);
    const second = ring.peekCqe();
    assert.equal(second?.userData, 6);
    ring.cqAdvance(1);
    assert.equal(ring.peekCqe(), null);
    // They are copies.
    nops(ring, 4, 100);
    reap(ring, 4);
    assert.deepEqual([first?.userData, second?.userData], [5, 6]);
  });

  it("waiting: waitCqe takes what is there, waits for what is not, submits nothing", () => {
    using ring = new Ring({ entries: 4 });
    nops(ring, 1, 5);
    ring.submit();
    assert.equal(ring.waitCqe()?.userData, 5);
    assert.equal(ring.waitCqe({ timeout: LONG })?.userData, 5);
    ring.cqAdvance(1);
    nops(ring, 1, 6);
    assert.equal(ring.waitCqe({ timeout: 1 }), null);
    assert.equal(ring.sqReady, 1);
    ring.submit();
    assert.equal(ring.waitCqe({ timeout: LONG })?.userData, 6);
    ring.cqAdvance(1);
  });

  it("all: forEachCqe shows the same object for each and consumes nothing", () => {
    using ring = new Ring({ entries: 8 });
    assert.equal(
      ring.forEachCqe(() => assert.fail("there is none")),
      0,
    );
    nops(ring, 5);
    ring.submit();
    for (let i = 0; i < 2; i++) {
      const objects = new Set<Cqe>();
      const seen: number[] = [];
      const slots = ring.forEachCqe((cqe) => {
        objects.add(cqe);
        seen.push(cqe.userData);
      });
      assert.deepEqual([slots, objects.size, seen], [5, 1, range(5)]);
    }
    ring.cqAdvance(2);
    assert.equal(ring.cqReady, 3);
    const rest: number[] = [];
    ring.cqAdvance(ring.forEachCqe((cqe) => rest.push(cqe.userData)));
    assert.deepEqual(rest, [2, 3, 4]);
    assert.deepEqual([ring.cqReady, ring.inFlight], [0, 0]);
  });

  it("consumes no more than there are", () => {
    using ring = new Ring({ entries: 8 });
    nops(ring, 3);
    ring.submit();
    for (const slots of [-1, 4, 0.5, Number.NaN, 2 ** 32]) {
      assert.throws(() => ring.cqAdvance(slots), { name: "RangeError" }, String(slots));
    }
    ring.cqAdvance(0);
    assert.equal(drained(ring).length, 3);
    assert.throws(() => ring.cqAdvance(1), { name: "RangeError" });
  });

  it("as raw words: copyCqes fills what has room", () => {
    using ring = new Ring({ entries: 8 });
    nops(ring, 3, 5);
    nop(entry(ring), abi.IORING_NOP_INJECT_RESULT, -123).setData64(-2);
    ring.submit();
    for (const length of [0, 1, 3]) assert.equal(ring.copyCqes(new Int32Array(length)), 0);
    const one = new Int32Array(7).fill(9);
    assert.equal(ring.copyCqes(one), 1);
    assert.deepEqual([...one], [5, 0, 0, 0, 9, 9, 9]);
    assert.equal(ring.cqReady, 3);
    const all = new Int32Array(40).fill(9);
    assert.equal(ring.copyCqes(all), 3);
    assert.deepEqual([...all.subarray(0, 13)], [6, 0, 0, 0, 7, 0, 0, 0, -2, -1, -123, 0, 9]);
    assert.equal(ring.copyCqes(all), 0);
    assert.equal(ring.inFlight, 0);
  });

  it("is refused with what is no function and no Int32Array", () => {
    using ring = new Ring({ entries: 4 });
    nops(ring, 1);
    ring.submit();
    for (const wrong of [undefined, null, 1, "f", {}]) {
      assert.throws(() => ring.drain(wrong as never), { name: "TypeError" });
      assert.throws(() => ring.forEachCqe(wrong as never), { name: "TypeError" });
      assert.throws(() => ring.copyCqes(wrong as never), { name: "TypeError" });
    }
    assert.throws(() => ring.copyCqes(new Uint32Array(8) as never), { name: "TypeError" });
    assert.deepEqual(drained(ring), [[0, 0, 0]]);
  });

  it("tells a failure as an error", () => {
    using ring = new Ring({ entries: 4 });
    entry(ring).prepRead(-1, alloc(1), 1, 0);
    entry(ring).prepNop();
    ring.submitAndWait(2);
    const failure = ring.peekCqe();
    const error = failure?.error("read");
    assert.ok(error instanceof UringError);
    assert.deepEqual([error.code, error.errno, error.syscall], ["EBADF", EBADF, "read"]);
    assert.match(error.message, /^EBADF: bad file descriptor, read/);
    ring.cqAdvance(1);
    assert.equal(ring.peekCqe()?.error(), null);
    ring.cqAdvance(1);
  });

  it("counts what is under way", () => {
    using ring = new Ring({ entries: 8 });
    using ends = pipe();
    assert.equal(ring.inFlight, 0);
    nops(ring, 2);
    assert.equal(ring.inFlight, 0);
    ring.submit();
    assert.equal(ring.inFlight, 2);
    drained(ring);
    assert.equal(ring.inFlight, 0);
    // A multishot is one operation, however many completions it has.
    entry(ring).prepPollMultishot(ends.read, abi.POLLIN).setData64(1);
    ring.submit();
    const memory = alloc(8);
    for (let i = 0; i < 3; i++) {
      writeFromThread(ends.write);
      const [[userData, res, flags]] = reap(ring, 1) as [Completion];
      assert.deepEqual([userData, res, flags], [1, abi.POLLIN, abi.IORING_CQE_F_MORE]);
      assert.equal(ring.inFlight, 1);
      assert.equal(
        run(ring, (sqe) => sqe.prepRead(ends.read, memory, 8, -1)),
        1,
      );
    }
    entry(ring).prepCancel64(1, 0).setData64(2);
    assert.deepEqual(reap(ring, 2).sort(), [
      [1, -ECANCELED, 0],
      [2, 0, 0],
    ]);
    assert.equal(ring.inFlight, 0);
  });
});

describe("flags of a completion", () => {
  it("hold the buffer's id, negative from 0x8000 on", () => {
    using ring = new Ring({ entries: 8 });
    using ends = pipe();
    const ids = [0, 1, 0x7fff, 0x8000, 0xffff];
    const GROUP = 7;
    const memory = alloc(16 * ids.length);
    for (const [i, id] of ids.entries()) {
      assert.equal(
        run(ring, (sqe) => sqe.prepProvideBuffers(memory.slice(16 * i), 16, 1, GROUP, id)),
        0,
      );
    }
    const left = new Set(ids);
    const check = (userData: number, res: number, flags: number) => {
      assert.deepEqual([userData, res], [3, 5]);
      assert.ok(Object.is(flags, flags | 0), "a signed 32-bit integer");
      assert.equal(flags & 0xffff, abi.IORING_CQE_F_BUFFER);
      const id = flags >>> abi.IORING_CQE_BUFFER_SHIFT;
      assert.equal(flags < 0, id >= 0x8000);
      assert.ok(left.delete(id), `buffer ${id}`);
      assert.equal(text(memory.slice(16 * ids.indexOf(id)), 5), "12345");
    };
    for (const round of range(ids.length)) {
      assert.equal(
        run(ring, (sqe) => sqe.prepWrite(ends.write, bytes("12345"), 5, -1)),
        5,
      );
      entry(ring).prepRead(ends.read, 0, 16, -1).setBufferGroup(GROUP).setData64(3);
      assert.equal(ring.submitAndWait(1, { timeout: LONG }), 1);
      const cqe = ring.peekCqe() as Cqe;
      assert.equal(cqe.bufferId, cqe.flags >>> abi.IORING_CQE_BUFFER_SHIFT);
      if (round % 2 === 0) {
        ring.drain(check);
      } else {
        const words = new Int32Array(4);
        assert.equal(ring.copyCqes(words), 1);
        check(words[0] as number, words[2] as number, words[3] as number);
      }
    }
    assert.equal(left.size, 0);
    // The group is empty now.
    entry(ring).prepRead(ends.read, 0, 16, -1).setBufferGroup(GROUP);
    assert.deepEqual(reap(ring, 1), [[0, -105, 0]]);
  });

  it("tell more to come, notifications and buffers apart", () => {
    using ring = new Ring({ entries: 4 });
    nops(ring, 1);
    ring.submit();
    const cqe = ring.peekCqe();
    assert.deepEqual(
      [cqe?.flags, cqe?.more, cqe?.notification, cqe?.bufferId, cqe?.big],
      [0, false, false, -1, undefined],
    );
  });
});

describe("a callback of drain", () => {
  const filled = (count: number, options: RingOptions = { entries: 16 }) => {
    const ring = new Ring(options);
    nops(ring, count);
    ring.submit();
    return ring;
  };

  it("that throws has had its completion, the others come next", () => {
    using ring = filled(5);
    const seen: number[] = [];
    const failure = new Error("from the callback");
    for (let i = 0; i < 5; i++) {
      assert.throws(
        () =>
          ring.drain((userData) => {
            seen.push(userData);
            throw failure;
          }),
        (error) => error === failure,
      );
      assert.deepEqual([ring.cqReady, ring.inFlight], [4 - i, 4 - i]);
    }
    assert.deepEqual(seen, range(5));
    assert.deepEqual(drained(ring), []);
    exercise(ring);
  });

  it("that submits sees its operation's completion in a later drain", () => {
    using ring = filled(3);
    let submitted = 0;
    const seen: number[] = [];
    assert.equal(
      ring.drain((userData) => {
        seen.push(userData);
        entry(ring)
          .prepNop()
          .setData64(100 + userData);
        submitted += ring.submit();
      }),
      3,
    );
    assert.equal(submitted, 3);
    assert.deepEqual(seen, [0, 1, 2]);
    assert.deepEqual(
      drained(ring).map(([userData]) => userData),
      [100, 101, 102],
    );
  });

  it("that fills the queue again in each callback goes on for ever without loss", () => {
    using ring = new Ring({ entries: 4, cqEntries: 4 });
    nops(ring, 4);
    ring.submit();
    const seen: number[] = [];
    for (let round = 0; seen.length < 2000 && round < 2000; round++) {
      ring.drain((userData) => {
        seen.push(userData);
        entry(ring)
          .prepNop()
          .setData64(userData + 4);
        ring.submit();
      });
    }
    assert.deepEqual(seen, range(seen.length));
    assert.ok(seen.length >= 2000);
    assert.equal(ring.inFlight, 4);
  });

  it("that drains takes the rest", () => {
    using ring = filled(5);
    const outer: number[] = [];
    const inner: number[] = [];
    let innerCount = 0;
    const outerCount = ring.drain((userData) => {
      outer.push(userData);
      if (userData === 1) innerCount = ring.drain((userData) => inner.push(userData));
    });
    assert.deepEqual(
      [outer, inner],
      [
        [0, 1],
        [2, 3, 4],
      ],
    );
    assert.deepEqual([outerCount, innerCount], [2, 3]);
    assert.deepEqual([ring.cqReady, ring.inFlight], [0, 0]);
  });

  it("that drains, submits and throws in turns still sees each completion once", () => {
    using ring = filled(8, { entries: 8 });
    const seen: number[] = [];
    let next = 8;
    const callback = (userData: number, depth: number) => {
      seen.push(userData);
      if (next < 500) {
        entry(ring).prepNop().setData64(next++);
        if (userData % 3 === 0) ring.submit();
      }
      if (userData % 5 === 0 && depth < 4) ring.drain((inner) => callback(inner, depth + 1));
      if (userData % 7 === 0) throw new Error("again");
    };
    for (let round = 0; seen.length < 500 && round < 2000; round++) {
      try {
        ring.submit();
        ring.drain((userData) => callback(userData, 0));
      } catch (error) {
        assert.equal((error as Error).message, "again");
      }
    }
    assert.deepEqual(seen, range(500));
    assert.equal(ring.inFlight, 0);
  });

  it("that looks, copies or advances does so from the next completion on", () => {
    using ring = filled(6);
    const seen: number[] = [];
    const words = new Int32Array(4);
    ring.drain((userData) => {
      seen.push(userData);
      if (userData === 0) {
        assert.equal(ring.peekCqe()?.userData, 1);
        assert.equal(ring.cqReady, 5);
        ring.cqAdvance(1);
      }
      if (userData === 2) {
        assert.equal(ring.copyCqes(words), 1);
        assert.equal(words[0], 3);
      }
    });
    assert.deepEqual(seen, [0, 2, 4, 5]);
    assert.equal(ring.inFlight, 0);
  });

  it("that closes the ring is the last", () => {
    for (const memory of ["owned", "mapped"] as const) {
      const ring = filled(5, { entries: 8, memory });
      const seen: number[] = [];
      const count = ring.drain((userData) => {
        seen.push(userData);
        if (userData === 2) assert.deepEqual(ring.close(), { leaked: 0 });
      });
      assert.deepEqual([seen, count], [[0, 1, 2], 3]);
      assert.equal(ring.closed, true);
    }
  });

  it("that closes the ring and throws is the last", () => {
    for (const memory of ["owned", "mapped"] as const) {
      const ring = filled(5, { entries: 8, memory });
      assert.throws(
        () =>
          ring.drain(() => {
            ring.close();
            throw new Error("closed it");
          }),
        { message: "closed it" },
      );
      assert.throws(() => ring.drain(() => {}), { name: "TypeError", message: "the ring is closed" });
    }
  });

  it("that closes the ring and opens another leaves that alone", () => {
    const ring = filled(5, { entries: 8 });
    let other: Ring | undefined;
    const seen: number[] = [];
    ring.drain((userData) => {
      seen.push(userData);
      ring.close();
      other = filled(4, { entries: 8 });
    });
    assert.deepEqual(seen, [0]);
    assert.deepEqual(
      drained(other as Ring).map(([userData]) => userData),
      [0, 1, 2, 3],
    );
    other?.close();
  });
});

describe("a callback of forEachCqe", () => {
  const filled = (count: number, memory: "owned" | "mapped" = "owned") => {
    const ring = new Ring({ entries: 16, memory });
    nops(ring, count);
    ring.submit();
    return ring;
  };

  it("that throws leaves everything to be consumed", () => {
    using ring = filled(3);
    assert.throws(
      () =>
        ring.forEachCqe((cqe) => {
          if (cqe.userData === 1) throw new Error("from the callback");
        }),
      { message: "from the callback" },
    );
    assert.equal(drained(ring).length, 3);
  });

  it("that consumes each as it comes sees all", () => {
    using ring = filled(5);
    const seen: number[] = [];
    const left = ring.forEachCqe((cqe) => {
      seen.push(cqe.userData);
      ring.cqAdvance(1);
    });
    assert.deepEqual([left, seen], [0, range(5)]);
    assert.equal(ring.inFlight, 0);
  });

  it("that consumes more than it was shown goes on after that", () => {
    using ring = filled(6);
    const shown: number[] = [];
    const left = ring.forEachCqe((cqe) => {
      shown.push(cqe.userData);
      if (cqe.userData === 1) assert.equal(ring.copyCqes(new Int32Array(4 * 4)), 4);
    });
    assert.deepEqual([left, shown], [2, [0, 1, 4, 5]]);
    ring.cqAdvance(left);
    assert.equal(ring.inFlight, 0);
  });

  it("that drains leaves none to show, and none to advance over", () => {
    using ring = filled(5);
    const shown: number[] = [];
    const left = ring.forEachCqe((cqe) => {
      shown.push(cqe.userData);
      assert.equal(drained(ring).length, 5);
    });
    assert.deepEqual([left, shown], [0, [0]]);
    ring.cqAdvance(left);
    assert.equal(ring.inFlight, 0);
    exercise(ring);
  });

  it("that submits is not shown what that completes", () => {
    using ring = filled(3);
    const shown: number[] = [];
    const slots = ring.forEachCqe((cqe) => {
      shown.push(cqe.userData);
      entry(ring)
        .prepNop()
        .setData64(50 + cqe.userData);
      ring.submit();
    });
    assert.deepEqual([slots, shown], [3, [0, 1, 2]]);
    ring.cqAdvance(slots);
    assert.deepEqual(
      drained(ring).map(([userData]) => userData),
      [50, 51, 52],
    );
  });

  it("that closes the ring is the last, and leaves none to advance over", () => {
    for (const memory of ["owned", "mapped"] as const) {
      const ring = filled(5, memory);
      const shown: number[] = [];
      const left = ring.forEachCqe((cqe) => {
        shown.push(cqe.userData);
        if (cqe.userData === 1) ring.close();
      });
      assert.deepEqual([left, shown], [0, [0, 1]]);
    }
  });
});

describe("a full completion queue", () => {
  /** Submits no-ops, eight at a time, into a queue for eight completions. */
  function overflowing(count: number, flags: number): Ring {
    const ring = new Ring({ entries: 8, cqEntries: 8, flags });
    for (let from = 0; from < count; from += 8) {
      nops(ring, 8, from);
      assert.equal(ring.submit(), 8);
    }
    assert.equal(ring.cqHasOverflow, true);
    assert.equal(ring.cqReady, 8);
    return ring;
  }

  for (const [name, flags] of Object.entries({
    "without flags": 0,
    "with IORING_SETUP_CQE32": abi.IORING_SETUP_CQE32,
    "with IORING_SETUP_DEFER_TASKRUN": DEFER,
  })) {
    it(`loses nothing and keeps the order, ${name}`, () => {
      const COUNT = 4000;
      using ring = overflowing(COUNT, flags);
      assert.equal(ring.inFlight, COUNT);
      const seen: number[] = [];
      for (let i = 0; seen.length < COUNT && i < COUNT; i++) ring.drain((userData) => seen.push(userData));
      assert.deepEqual(seen, range(COUNT));
      assert.deepEqual([ring.cqHasOverflow, ring.cqOverflow, ring.cqReady, ring.inFlight], [false, 0, 0, 0]);
      exercise(ring);
    });

    it(`comes out by every way of looking, ${name}`, () => {
      const COUNT = 400;
      using ring = overflowing(COUNT, flags);
      const seen: number[] = [];
      const words = new Int32Array(8);
      for (let i = 0; seen.length < COUNT && i < COUNT; i++) {
        if (i % 4 === 0) {
          const copied = ring.copyCqes(words);
          for (const at of range(copied)) seen.push(words[4 * at] as number);
        }
        if (i % 4 === 1) {
          const cqe = ring.peekCqe();
          if (cqe !== null) {
            seen.push(cqe.userData);
            ring.cqAdvance(1);
          }
        }
        if (i % 4 === 2) ring.cqAdvance(ring.forEachCqe((cqe) => seen.push(cqe.userData)));
        if (i % 4 === 3) {
          const cqe = ring.waitCqe({ timeout: LONG });
          if (cqe !== null) {
            seen.push(cqe.userData);
            ring.cqAdvance(1);
          }
        }
      }
      assert.deepEqual(seen, range(COUNT));
      assert.equal(ring.cqHasOverflow, false);
    });
  }

  it("is refilled by waits, getEvents and submit", () => {
    using ring = overflowing(40, 0);
    const take = () => drained(ring).map(([userData]) => userData);
    assert.deepEqual(take(), range(8, 0));
    assert.equal(ring.getEvents(), 0);
    assert.equal(ring.cqReady, 8);
    assert.deepEqual(take(), range(8, 8));
    assert.equal(ring.submitAndWait(8), 0);
    assert.deepEqual(take(), range(8, 16));
    assert.equal(ring.submit(), 0);
    assert.deepEqual(take(), range(8, 24));
    assert.equal(ring.submitAndGetEvents(), 0);
    assert.deepEqual(take(), range(8, 32));
    assert.deepEqual(take(), []);
  });

  it("can be closed with completions left over", () => {
    const ring = overflowing(800, 0);
    assert.deepEqual(ring.close(), { leaked: 0 });
  });
});
