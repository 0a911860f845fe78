import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { alloc, Direct, type Ring, type Target } from "uring";
import { IORING_OP_TEE, O_CREAT, O_RDWR } from "uring/abi";
import { type Pipe, pipe } from "../support/harness.ts";
import { Random } from "../support/random.ts";
import { brief, entry } from "./completions.ts";
import { int32s, isOpen, open, owned, read, textMemory, write } from "./descriptors.ts";
import { allRings, type Bench, conformance } from "./support.ts";

const { EBADF, EINVAL, ESPIPE } = constants.errno;

const everywhere = { rings: allRings };
const SIZE = 65536;

/** A file of 64 KiB to read, one to write, and pipes, each as fd or as slot of the file table. */
interface Ends {
  readonly content: Uint8Array;
  readonly input: Target;
  readonly output: Target;
  readonly outputPath: string;
  readonly first: { readonly read: Target; readonly write: Target };
  readonly second: { readonly read: Target; readonly write: Target };
  /** The pipes as fds, in either case. */
  readonly pipes: [Pipe, Pipe];
}

function ends(bench: Bench, ring: Ring, registered: boolean): Ends {
  const content = new Random(4).bytes(SIZE);
  const inputPath = bench.path("input");
  writeFileSync(inputPath, content);
  const outputPath = bench.path("output");
  const pipes: [Pipe, Pipe] = [pipe(), pipe()];
  bench.defer(() => {
    for (const one of pipes) one[Symbol.dispose]();
  });
  const fds = [
    open(bench, inputPath, O_RDWR),
    open(bench, outputPath, O_RDWR | O_CREAT),
    ...pipes.flatMap((one) => [one.read, one.write]),
  ];
  if (registered) ring.registerFiles(fds);
  const [input, output, read1, write1, read2, write2] = fds.map((fd, slot) =>
    registered ? new Direct(slot) : fd,
  ) as [Target, Target, Target, Target, Target, Target];
  return {
    content,
    input,
    output,
    outputPath,
    first: { read: read1, write: write1 },
    second: { read: read2, write: write2 },
    pipes,
  };
}

/** Moves 64 KiB, in as many steps as it takes. The offsets, where they are not -1, move along. */
function moveAll(
  bench: Bench,
  ring: Ring,
  [from, fromOffset]: [Target, number],
  [to, toOffset]: [Target, number],
): void {
  for (let moved = 0; moved < SIZE; ) {
    const [at, into] = [fromOffset, toOffset].map((offset) => (offset < 0 ? -1 : offset + moved)) as [
      number,
      number,
    ];
    const res = bench.run(ring, (sqe) => sqe.prepSplice(from, at, to, into, SIZE - moved, 0));
    assert.ok(res > 0 && res <= SIZE - moved, `result ${res} after ${moved} bytes`);
    moved += res;
  }
}

/** The same with fds and with slots of the table, where that is what `IOSQE_FIXED_FILE` and `SPLICE_F_FD_IN_FIXED` are for. */
function both(behaviour: string, body: (bench: Bench, ring: Ring, registered: boolean) => void): void {
  for (const registered of [false, true]) {
    conformance(
      "liburing/splice",
      `${behaviour}${registered ? ", with registered files" : ""}`,
      (bench) => {
        body(bench, bench.ring(), registered);
      },
      everywhere,
    );
  }
}

// ------------------------------------------------------------------------------------------------ liburing/splice

for (const offset of [-1, 0]) {
  both(
    `bytes move from a file at offset ${offset} through two pipes into a file`,
    (bench, ring, registered) => {
      const { content, input, output, outputPath, first, second } = ends(bench, ring, registered);
      moveAll(bench, ring, [input, offset], [first.write, -1]);
      moveAll(bench, ring, [first.read, -1], [second.write, -1]);
      moveAll(bench, ring, [second.read, -1], [output, 0]);
      assert.ok(readFileSync(outputPath).equals(content));
    },
  );
}

both("nothing moves where the length is 0", (bench, ring, registered) => {
  const { first, second, pipes } = ends(bench, ring, registered);
  write(pipes[0].write, "content");
  assert.equal(
    bench.run(ring, (sqe) => sqe.prepSplice(first.read, -1, second.write, -1, 0, 0)),
    0,
  );
  assert.equal(
    bench.run(ring, (sqe) => sqe.prepTee(first.read, second.write, 0, 0)),
    0,
  );
  assert.equal(read(pipes[0].read), "content");
});

both("an fd or slot that is not open is refused on either side", (bench, ring, registered) => {
  const { first, second, pipes } = ends(bench, ring, registered);
  write(pipes[0].write, "content");
  const closed = registered ? new Direct(100) : -1;
  for (const [from, to] of [
    [closed, second.write],
    [first.read, closed],
  ] as const) {
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepSplice(from, -1, to, -1, 7, 0)),
      -EBADF,
    );
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepTee(from, to, 7, 0)),
      -EBADF,
    );
  }
});

both("an offset for a pipe is refused on either side", (bench, ring, registered) => {
  const { input, output, first, second } = ends(bench, ring, registered);
  const splice = (from: Target, at: number, to: Target, into: number) =>
    bench.run(ring, (sqe) => sqe.prepSplice(from, at, to, into, SIZE, 0));
  assert.equal(splice(input, -1, first.write, 0), -ESPIPE);
  assert.equal(splice(input, 0, first.write, 0), -ESPIPE);
  assert.equal(splice(first.read, 0, output, -1), -ESPIPE);
  assert.equal(splice(first.read, 0, output, 0), -ESPIPE);
  assert.equal(splice(first.read, 0, second.write, -1), -ESPIPE);
  assert.equal(splice(first.read, -1, second.write, 0), -ESPIPE);
});

both("tee copies a pipe's bytes and leaves them there", (bench, ring, registered) => {
  const { content, input, first, second, pipes } = ends(bench, ring, registered);
  moveAll(bench, ring, [input, 0], [first.write, -1]);
  const copied = bench.run(ring, (sqe) => sqe.prepTee(first.read, second.write, SIZE, 0));
  assert.ok(copied > 0 && copied <= SIZE, `result ${copied}`);
  for (const [fd, length] of [
    [pipes[1].read, copied],
    [pipes[0].read, SIZE],
  ] as const) {
    const memory = alloc(SIZE);
    let count = 0;
    while (count < length) {
      const at = count;
      const res = bench.run(ring, (sqe) => sqe.prepRead(fd, memory.slice(at), length - at, -1));
      assert.ok(res > 0, `result ${res}`);
      count += res;
    }
    assert.ok(Buffer.from(memory.bytes.slice(0, length)).equals(content.subarray(0, length)));
  }
});

both("tee refuses what is no pipe, and offsets", (bench, ring, registered) => {
  const { input, output, first, second, pipes } = ends(bench, ring, registered);
  write(pipes[0].write, "content");
  const tee = (from: Target, to: Target) => bench.run(ring, (sqe) => sqe.prepTee(from, to, SIZE, 0));
  assert.equal(tee(input, second.write), -EINVAL);
  assert.equal(tee(first.read, output), -EINVAL);
  // The helper leaves no place for offsets: as a splice, which has them in the same fields, made a tee.
  const offsets = (into: number, at: number) =>
    bench.run(ring, (sqe) =>
      sqe.prepSplice(first.read, 0, second.write, 0, 7, 0).prepRw(IORING_OP_TEE, second.write, at, 7, into),
    );
  assert.equal(offsets(8, 0), -EINVAL);
  assert.equal(offsets(0, 8), -EINVAL);
  assert.equal(read(pipes[0].read), "content");
});

// ------------------------------------------------------------------------------------------------ tokio/fs/test_file_splice

conformance(
  "tokio/fs/test_file_splice",
  "bytes at a file's start move into a pipe",
  (bench) => {
    const ring = bench.ring();
    const { content, input, pipes } = ends(bench, ring, false);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepSplice(input, 0, pipes[0].write, -1, 1024, 0)),
      1024,
    );
    const memory = alloc(2048);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepRead(pipes[0].read, memory, 2048, -1)),
      1024,
    );
    assert.deepEqual(Array.from(memory.bytes.slice(0, 1024)), Array.from(content.slice(0, 1024)));
  },
  everywhere,
);

// ------------------------------------------------------------------------------------------------ tokio/pipe/test_pipe

conformance(
  "tokio/pipe/test_pipe",
  "a pipe's two ends are made, and what is written to one comes out of the other",
  (bench) => {
    const ring = bench.ring();
    const fds = alloc(8);
    int32s(fds).fill(-1);
    assert.equal(
      bench.run(ring, (sqe) => sqe.prepPipe(fds, 0)),
      0,
    );
    const [reading, writing] = int32s(fds) as unknown as [number, number];
    for (const fd of [reading, writing]) {
      assert.ok(isOpen(fd), `fd ${fd}`);
      owned(bench, fd);
    }
    const text = "0123456789abcdef".repeat(192);
    assert.equal(text.length, 3 * 1024);
    entry(ring).prepWrite(writing, textMemory(text), text.length, 0).setData64(1);
    assert.deepEqual(brief(bench.complete(ring, 1)), [[1, 3072, 0]]);
    assert.equal(read(reading), text);
  },
  everywhere,
);
