// Programs that end, or do not, by what a proactor has in flight: `proactor-child.ts <which>`.

import { alloc, Proactor } from "uring";
import { pipe } from "./harness.ts";
import { bytes } from "./ring.ts";

const programs: Record<string, () => Promise<void>> = {
  async idle() {
    new Proactor();
  },

  async settled() {
    const proactor = new Proactor();
    const ends = pipe();
    const read = proactor.read(ends.read, alloc(8));
    await new Promise((resolve) => setTimeout(resolve, 20));
    await proactor.write(ends.write, bytes("x"));
    await read;
  },

  async unreferenced() {
    const proactor = new Proactor();
    void proactor.read(pipe().read, alloc(8));
    await new Promise((resolve) => setTimeout(resolve, 20));
    proactor.unref();
  },

  async "unreferenced-with-limits"() {
    const proactor = new Proactor();
    // Waits in a thread of the kernel's, which a timer of the runtime's own limits.
    void proactor.splice(pipe().read, pipe().write, 1, { timeout: 60_000 });
    void proactor.read(pipe().read, alloc(8), { timeout: 60_000 });
    await new Promise((resolve) => setTimeout(resolve, 20));
    proactor.unref();
  },

  async "exit-in-flight"() {
    const proactor = new Proactor();
    void proactor.read(pipe().read, alloc(8));
    await new Promise((resolve) => setTimeout(resolve, 20));
    process.exit(7);
  },

  async dropped() {
    for (let i = 0; i < 100; i++) void new Proactor({ entries: 8, cqEntries: 64 }).nop();
  },

  async default() {
    const proactor = new Proactor();
    for (let i = 0; i < 1000; i++) void proactor.nop();
    await proactor.nop();
  },

  async waiting() {
    const proactor = new Proactor();
    const ends = pipe();
    const read = proactor.read(ends.read, alloc(8));
    // Keeps nothing running itself.
    const timer = setTimeout(async () => {
      console.log("still here");
      await proactor.write(ends.write, bytes("ping"));
    }, 100);
    timer.unref();
    console.log(`read ${await read}`);
  },

  async interrupted() {
    const proactor = new Proactor();
    const read = proactor.read(pipe().read, alloc(8));
    setTimeout(() => process.kill(process.pid, "SIGINT"), 50);
    await read;
  },

  async "throwing-receiver"() {
    process.on("uncaughtException", (error) => console.log(`caught: ${error.message}`));
    const proactor = new Proactor();
    proactor
      .entry({
        complete() {
          throw new Error("from a receiver");
        },
      })
      ?.prepNop();
    const nops = await Promise.all(Array.from({ length: 64 }, () => proactor.nop()));
    await new Promise((resolve) => setTimeout(resolve, 20));
    console.log(`${nops.length} nops`);
  },
};

await programs[process.argv[2] as string]?.();
