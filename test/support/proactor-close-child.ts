// Ends of processes and threads in the middle of everything: `proactor-close-child.ts <which>`. Run by
// proactor-close.test.ts, a process each, since the failure of these is a crash or a hang.

import assert from "node:assert/strict";
import { setImmediate, setTimeout } from "node:timers/promises";
import { alloc, Proactor } from "uring";
import { Canaries } from "./canaries.ts";
import { collectGarbage } from "./child.ts";
import { DirectFile } from "./direct-file.ts";
import { pipe } from "./harness.ts";
import type { Work } from "./proactor-thread.ts";
import { Random } from "./random.ts";
import { LONG, openFds, ringFds, untilFds } from "./ring.ts";
import { writesFromThread } from "./system.ts";
import { Thread, type ThreadKind } from "./thread.ts";

const THREADS = 10;
/** How many fds an engine may have for itself. */
const SPARE = 8;
/**
 * Engines do not close what a terminated thread had them watch: the eventfds of its proactors' doorbells, and in Deno one for
 * the turn that each was about to have.
 */
const EVENTFDS = 2 * 4 * THREADS;
const SIZE = 8 << 20;
/** What ends the process itself. */
const ends: ReadonlySet<string> = new Set(["exit", "interrupted", "uncaught"]);

/** Everything that can be under way. */
async function inMidFlight(): Promise<void> {
  const ends = pipe();
  const busy = pipe();
  const file = new DirectFile(SIZE);
  for (let i = 0; i < 4; i++) {
    const proactor = new Proactor({ entries: 64, cqEntries: 1024 });
    const goOn = async (operation: () => Promise<unknown>) => {
      for (;;) await operation();
    };
    for (let j = 0; j < 8; j++) {
      void proactor.read(ends.read, alloc(4096));
      void proactor.read(ends.read, new Uint8Array(5000), { timeout: 3_600_000 });
      void goOn(() => proactor.read(busy.read, alloc(64)));
      void goOn(() => proactor.nop());
    }
    const large = alloc(SIZE);
    const small = alloc(1);
    void goOn(() => proactor.read(file.fd, large, { offset: 0 }));
    void goOn(() => proactor.write(busy.write, small));
    await proactor.ready();
  }
  // The file has a name no more once this process holds it alone.
  file.unlink();
  for (let i = 0; i < 10; i++) await setImmediate();
}

const programs: Record<string, () => Promise<void>> = {
  async exit() {
    await inMidFlight();
    process.exit(7);
  },

  async interrupted() {
    await inMidFlight();
    process.kill(process.pid, "SIGINT");
  },

  async uncaught() {
    await inMidFlight();
    throw new Error("nobody catches this");
  },

  /** Receivers that throw, told of the end by a close. */
  async throwing() {
    let caught = 0;
    process.on("uncaughtException", () => caught++);
    const ends = pipe();
    const proactor = new Proactor();
    const memory = alloc(64);
    for (let i = 0; i < 10; i++) {
      proactor
        .entry({
          complete() {
            throw new Error("from a receiver");
          },
        })
        ?.prepRead(ends.read, memory, 64, -1);
    }
    await setTimeout(5);
    const { leaked } = await proactor.close();
    await setTimeout(5);
    console.log(`${caught} caught, leaked ${leaked}`);
  },

  /** Promises that nobody keeps settle all the same, and what they were given stays until then. */
  async dropped() {
    const ends = pipe();
    const proactor = new Proactor();
    const random = new Random(3);
    let settled = 0;
    const drop = () => {
      for (let i = 0; i < 200; i++) {
        const bytes = new Uint8Array(random.pick([1, 100, 999, 1001, 5000]));
        void proactor.read(ends.read, bytes, { length: 1 }).then(() => settled++);
        void proactor.read(ends.read, alloc(64), { length: 1 });
      }
    };
    drop();
    await proactor.ready();
    for (let i = 0; i < 5; i++) {
      await setTimeout(1);
      collectGarbage();
    }
    const canaries = new Canaries(random);
    writesFromThread(ends.write, { count: 400 }).join();
    const end = performance.now() + LONG;
    while (proactor.inFlight > 0 && performance.now() < end) await setImmediate();
    collectGarbage();
    canaries.check();
    assert.equal(proactor.inFlight, 0);
    assert.equal(settled, 200);
  },

  /** Proactors that were closed are let go of, whatever they were asked for last. */
  async closed() {
    const count = 20;
    // The ring is what the engine behind the proactor holds.
    const alive: WeakRef<Proactor["ring"]>[] = [];
    const ends = pipe();
    for (let i = 0; i < count; i++) {
      alive.push(
        await (async () => {
          const proactor = new Proactor();
          const receiver = { complete: () => {} };
          void proactor.read(ends.read, alloc(64)).catch(() => {});
          proactor.entry(receiver)?.prepRead(ends.read, alloc(64), 64, -1);
          await proactor.nop({ timeout: 1000 });
          await setTimeout(1);
          void proactor.read(ends.read, alloc(64)).catch(() => {});
          assert.deepEqual(await proactor.close({ deadline: LONG }), { leaked: 0 });
          return new WeakRef(proactor.ring);
        })(),
      );
    }
    const left = () => alive.filter((ring) => ring.deref() !== undefined).length;
    const end = performance.now() + LONG;
    // A stack may hold the last one or two by chance.
    while (left() > 2 && performance.now() < end) {
      await setTimeout(1);
      collectGarbage();
    }
    assert.ok(left() <= 2, `${left()} of ${count} are kept`);
  },

  /** Threads end with operations in flight, and leave neither rings nor writes behind. */
  async threads() {
    const kind = process.argv[3] as ThreadKind;
    const random = new Random(5);
    const file = new DirectFile(SIZE);
    for (let round = 0; round < 2; round++) {
      const pipes = Array.from({ length: THREADS }, () => [pipe(), pipe()] as const);
      const before = openFds().length;
      const threads = pipes.map(() => new Thread("proactor-thread.ts", kind));
      const writers = pipes.map(([, busy]) => writesFromThread(busy.write, { count: 2000, pauseMs: 0.1 }));
      const counts = await Promise.all(
        threads.map((each, i) => {
          const [silent, busy] = pipes[i] as (typeof pipes)[number];
          const work: Work = { silent: silent.read, busy: busy.read, direct: file.fd, size: SIZE };
          return each.call<number>("begin", work);
        }),
      );
      assert.ok(
        counts.every((count) => count >= 16),
        String(counts),
      );
      await Promise.all(threads.map((each) => each.terminate()));
      const canaries = new Canaries(random);
      for (const writer of writers) assert.equal(writer.join(), 2000);
      collectGarbage();
      canaries.check();
      await untilFds(before + EVENTFDS + SPARE);
      assert.equal(ringFds(), 0);
      canaries.check();
      for (const [silent, busy] of pipes) {
        silent[Symbol.dispose]();
        busy[Symbol.dispose]();
      }
    }
    file[Symbol.dispose]();
  },
};

await programs[process.argv[2] as string]?.();
// Not printed where the process was to end before.
if (!ends.has(process.argv[2] as string)) console.log("done");
