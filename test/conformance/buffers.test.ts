import assert from "node:assert/strict";
import { constants } from "node:os";
import { alloc, Iovecs, type Ring, type Sqe } from "uring";
import { IORING_CQE_BUFFER_SHIFT, IORING_CQE_F_BUFFER, IORING_CQE_F_SOCK_NONEMPTY, iovec } from "uring/abi";
import { entry } from "./completions.ts";
import { counting, Network } from "./sockets.ts";
import { allRings, type Bench, conformance } from "./support.ts";

const { ENOBUFS, ENOENT } = constants.errno;
const BUFFER = IORING_CQE_F_BUFFER;

const everywhere = { rings: allRings };

/** Runs one operation that picks a buffer; its result, and flags without whether there is more to receive. */
function pick(
  bench: Bench,
  ring: Ring,
  fill: (sqe: Sqe) => Sqe,
  group: number,
): [res: number, flags: number] {
  fill(entry(ring)).setBufferGroup(group);
  const { res, flags } = bench.one(ring);
  return [res, flags & ~IORING_CQE_F_SOCK_NONEMPTY];
}

// ------------------------------------------------------------------------------------------------ tokio/net/test_tcp_buffer_select

conformance(
  "tokio/net/test_tcp_buffer_select",
  "a receive takes a buffer of its group, or is told that there is none; the others can be removed",
  (bench) => {
    const ring = bench.ring();
    const network = new Network(bench);
    const [client, server] = network.streamPair();
    const data = counting(1280);
    const [one, two] = [0xdead, 0xdeae];
    const receive = (group: number) => pick(bench, ring, (sqe) => sqe.prepRecv(server, 0, 1024, 0), group);
    const remove = (group: number) => bench.run(ring, (sqe) => sqe.prepRemoveBuffers(1, group));

    const single = alloc(1024);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepProvideBuffers(single, 1024, 1, one, 0)),
      0,
    );
    network.send(client, data, 1280);
    assert.deepEqual(receive(one), [1024, BUFFER]);
    assert.deepEqual(single.bytes, data.bytes.slice(0, 1024));
    assert.deepEqual(receive(one), [-ENOBUFS, 0]);

    const pair = alloc(2048);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepProvideBuffers(pair, 1024, 2, two, 0)),
      0,
    );
    const [res, flags] = receive(two);
    assert.equal(res, 256);
    assert.equal(flags & 0xffff, BUFFER);
    const id = flags >>> IORING_CQE_BUFFER_SHIFT;
    assert.ok(id === 0 || id === 1, `buffer ${id}`);
    assert.deepEqual(pair.slice(1024 * id, 256).bytes, data.bytes.slice(1024));
    assert.equal(remove(two), 1);
    assert.equal(remove(0xdeaf), -ENOENT);
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/net/test_tcp_buffer_select_readv

/** An iovec without memory, and a length. */
function lengthOnly(length: number): number {
  const memory = alloc(iovec.sizeof);
  const view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset, memory.byteLength);
  view.setBigUint64(iovec.iov_len, BigInt(length), true);
  return memory.address;
}

for (const { what, iovecs } of [
  { what: "has none", iovecs: () => lengthOnly(512) },
  { what: "is not used", iovecs: () => new Iovecs([alloc(512)]) },
]) {
  conformance(
    "tokio/net/test_tcp_buffer_select_readv",
    `a read into an iovec whose memory ${what} takes a buffer of its group`,
    (bench) => {
      const ring = bench.ring();
      const network = new Network(bench);
      const [client, server] = network.streamPair();
      const [data, memory] = [counting(512), alloc(512)];
      assert.equal(
        bench.run(ring, (sqe) => sqe.prepProvideBuffers(memory, 512, 1, 0xdeae, 200)),
        0,
      );
      network.send(client, data, 512);
      assert.deepEqual(
        pick(bench, ring, (sqe) => sqe.prepReadv(server, iovecs(), 1, 0), 0xdeae),
        [512, BUFFER | (200 << IORING_CQE_BUFFER_SHIFT)],
      );
      assert.deepEqual(memory.bytes, data.bytes);
    },
    everywhere,
  );
}
