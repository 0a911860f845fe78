// Rings of a thread, for the thread that started it to direct. Run by workers.test.ts and workers-end-child.ts.

import { alloc, cstring, Direct, encodeTimespec, Ring, type RingOptions, type RingTransfer } from "uring";
import { AT_FDCWD, IORING_SETUP_R_DISABLED, IOSQE_ASYNC, O_RDONLY, POLLIN } from "uring/abi";
import { type Completion, entry, exercise, reap, run, text } from "./ring.ts";
import { mustCall } from "./system.ts";
import { serve } from "./thread.ts";

const rings: Ring[] = [];

function ringAt(index: number): Ring {
  const ring = rings[index];
  if (ring === undefined) throw new Error(`there is no ring ${index}`);
  return ring;
}

/** What a ring is from outside. */
export interface RingFacts {
  readonly index: number;
  readonly fd: number;
  readonly flags: number;
  readonly memory: string;
}

function keep(ring: Ring): RingFacts {
  const index = rings.push(ring) - 1;
  return { index, fd: ring.fd, flags: ring.params.flags, memory: ring.memory };
}

/** What operations wait for that never comes: pipes' ends to read from, and sockets that listen. */
export interface Idle {
  readonly pipes: readonly number[];
  readonly listeners: readonly number[];
}

/** Never collected, so that what the kernel may still write to is this thread's memory until its end. */
const used: unknown[] = [];

/** Starts operations of every kind that wait. */
function begin(ring: Ring, { pipes, listeners }: Idle): void {
  for (const [i, fd] of pipes.entries()) {
    const views = [new Uint8Array(100), new Uint8Array(5000)] as const;
    const memory = alloc(4096);
    used.push(views, memory);
    entry(ring).prepRead(fd, views[0], 100, -1);
    entry(ring).prepRead(fd, views[1], 5000, -1);
    entry(ring).prepRead(fd, memory, 4096, -1);
    // In a thread of the kernel's own, which sleeps in the read.
    if (i === 0) entry(ring).prepRead(fd, alloc(64), 64, -1).setFlags(IOSQE_ASYNC);
    entry(ring).prepPollMultishot(fd, POLLIN);
    entry(ring).prepTimeout(encodeTimespec(3_600_000), 0, 0);
    ring.submit();
  }
  for (const fd of listeners) {
    entry(ring).prepAccept(fd, alloc(128), 0, 0);
    entry(ring).prepMultishotAccept(fd, 0, 0, 0);
    ring.submit();
  }
}

serve({
  id: () => mustCall("gettid"),

  /** Memory from `alloc`: where it is, whether it was zero. Leaves something in it. */
  memory(bytes: number) {
    const memory = alloc(bytes);
    const zero = memory.bytes.every((byte) => byte === 0);
    memory.bytes.fill(0xee);
    return { address: memory.address, zero };
  },

  make: (options: RingOptions) => keep(new Ring(options)),
  exercise: (index: number) => exercise(ringAt(index)),
  close: (index: number) => ringAt(index).close(),

  /** A disabled ring, given up: for another thread. */
  detached: (options: RingOptions) =>
    new Ring({ ...options, flags: (options.flags ?? 0) | IORING_SETUP_R_DISABLED }).detach(),
  adopt: (transfer: RingTransfer) => keep(Ring.adopt(transfer)),
  enable: (index: number) => ringAt(index).enableRings(),

  /** Sends messages with data, counting up from a number; the sender's completions. */
  send(index: number, fd: number, count: number, from: number): Completion[] {
    const ring = ringAt(index);
    const all: Completion[] = [];
    for (let i = 0; i < count; i++) {
      entry(ring)
        .prepMsgRing(fd, from + i, 2 ** 40 + from + i, 0)
        .setData64(i);
      if (ring.sqSpaceLeft === 0 || i === count - 1) all.push(...reap(ring, ring.sqReady));
    }
    return all;
  },
  receive: (index: number, count: number): Completion[] => reap(ringAt(index), count),

  /** Opens a file in slot 0 and passes it to a slot of the other ring's; the result. */
  sendFile(index: number, fd: number, path: string, slot: number): number {
    const ring = ringAt(index);
    ring.registerFilesSparse(1);
    const opened = run(ring, (sqe) => sqe.prepOpenatDirect(AT_FDCWD, cstring(path), O_RDONLY, 0, 0));
    if (opened < 0) return opened;
    return run(ring, (sqe) => sqe.prepMsgRingFd(fd, 0, slot, 77, 0));
  },
  fileSlots: (index: number, count: number) => ringAt(index).registerFilesSparse(count),
  readSlot(index: number, slot: number): string {
    const memory = alloc(64);
    const length = run(ringAt(index), (sqe) => sqe.prepRead(new Direct(slot), memory, 64, 0));
    return length < 0 ? `${length}` : text(memory, length);
  },

  /** Makes rings with operations that do not end; how many operations. */
  begin(options: readonly RingOptions[], idle: Idle): number {
    let count = 0;
    for (const each of options) {
      const ring = new Ring(each);
      keep(ring);
      begin(ring, idle);
      count += ring.inFlight;
    }
    return count;
  },
  beginAdopted(transfer: RingTransfer, idle: Idle): number {
    const ring = Ring.adopt(transfer);
    keep(ring);
    ring.enableRings();
    begin(ring, idle);
    return ring.inFlight;
  },
});
