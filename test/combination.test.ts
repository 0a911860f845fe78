// What no kernel takes together in the entries of one ring is refused here, with a sentence.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { alloc, Msghdr, Ring, type Sqe } from "uring";
import * as abi from "uring/abi";
import { entry, exercise, reap } from "./support/ring.ts";
import { onEnter, withShim } from "./support/runtime.ts";

const EINVAL = 22;
const SKIP = abi.IOSQE_CQE_SKIP_SUCCESS;
const DRAIN = abi.IOSQE_IO_DRAIN;

/** Submits, and expects to be told why not, before the kernel is asked; the ring. */
function refused(message: RegExp, ...fills: ((sqe: Sqe) => Sqe)[]): { ring: Ring; entries: Sqe[] } {
  let asked = 0;
  const ring = withShim(
    onEnter(() => asked++),
    () => new Ring({ entries: 8 }),
  );
  const entries = fills.map((fill) => fill(entry(ring)));
  for (const submit of [
    () => ring.submit(),
    () => ring.submitAndWait(1),
    () => ring.submitAndWait(1, { timeout: 5 }),
    () => ring.submitAndGetEvents(),
  ]) {
    assert.throws(submit, { name: "TypeError", message });
  }
  assert.equal(asked, 0);
  return { ring, entries };
}

describe("receiving again and again without a buffer group", () => {
  const sentence = /no kernel takes entry 1 .* takes buffers of a group: setBufferGroup\(\) says which/;

  for (const [name, fill] of [
    ["recv", (sqe: Sqe) => sqe.prepRecvMultishot(0, 0, 0, 0)],
    ["recvmsg", (sqe: Sqe) => sqe.prepRecvmsgMultishot(0, new Msghdr({ iov: [] }), 0)],
  ] as const) {
    it(`is refused, and can be set right: ${name}`, () => {
      const { ring, entries } = refused(sentence, (sqe) => sqe.prepNop(), fill);
      entries[1]?.setBufferGroup(3);
      assert.equal(ring.submit(), 2);
      // Standard input is no socket.
      assert.equal(reap(ring, 2).length, 2);
      exercise(ring);
      ring.close();
    });
  }

  it("is what the kernel refuses as well", () => {
    using ring = new Ring({ entries: 8 });
    entry(ring).prepRecv(0, alloc(8), 8, 0).setIoprio(abi.IORING_RECV_MULTISHOT);
    assert.deepEqual(reap(ring, 1), [[0, -EINVAL, 0]]);
  });

  it("does not keep the ring from being closed", () => {
    const { ring } = refused(/takes buffers of a group/, (sqe) => sqe.prepRecvMultishot(0, 0, 0, 0));
    assert.deepEqual(ring.close(), { leaked: 0 });
  });
});

describe("a drain after an operation without completion on success", () => {
  const sentence = /IOSQE_IO_DRAIN can not wait on a ring where IOSQE_CQE_SKIP_SUCCESS was used/;
  const nop = (flags: number) => (sqe: Sqe) => sqe.prepNop().setFlags(flags);

  it("is refused in one entry, in a chain, and in a later submission", () => {
    refused(sentence, nop(SKIP | DRAIN)).ring.close();
    refused(sentence, nop(SKIP | abi.IOSQE_IO_LINK), nop(DRAIN)).ring.close();
    using ring = new Ring({ entries: 8 });
    entry(ring).prepRead(-1, alloc(8), 8, 0).setFlags(SKIP);
    assert.equal(reap(ring, 1).length, 1);
    nop(DRAIN)(entry(ring));
    assert.throws(() => ring.submit(), { name: "TypeError", message: sentence });
  });

  it("is not refused where the flag was taken back before it was submitted", () => {
    using ring = new Ring({ entries: 8 });
    nop(0)(nop(SKIP)(entry(ring)));
    nop(DRAIN)(entry(ring));
    assert.deepEqual(
      reap(ring, 2).map(([, res]) => res),
      [0, 0],
    );
    assert.deepEqual(ring.close(), { leaked: 0 });
  });

  it("is not refused before it", () => {
    using ring = new Ring({ entries: 8 });
    nop(DRAIN)(entry(ring));
    entry(ring).prepRead(-1, alloc(8), 8, 0).setFlags(SKIP);
    assert.deepEqual(
      reap(ring, 2)
        .map(([, res]) => res)
        .sort(),
      [-9, 0],
    );
  });
});
