// When a process ends that has a doorbell. Run by doorbell.test.ts, which looks at what is printed.

import { BelledRing } from "./belled-ring.ts";
import { child, writesFromThread } from "./system.ts";

const belled = new BelledRing();
const { doorbell, pipe } = belled;
/** Long enough for a process with nothing to do to end. */
const LATER_MS = 300;

/** Has another process write: a thread's code may be gone before the thread is, where this process ends first. */
function writeLater(): void {
  child({ delayMs: LATER_MS, fd: pipe.write });
}

function begin(): void {
  belled.read(1);
  doorbell.silence();
  if (!doorbell.arm()) throw new Error("something is there already");
}

const parts: Record<string, () => void | Promise<void>> = {
  unheld() {
    begin();
    writeLater();
    void belled.next().then(() => console.log("rung"));
    doorbell.hold(false);
  },

  async held() {
    begin();
    writeLater();
    await belled.next();
    console.log("rung");
    begin();
  },

  /** Held and let go again often, in the end held once more. */
  toggled() {
    begin();
    for (let i = 0; i < 1001; i++) doorbell.hold(i % 2 === 0);
    writeLater();
    void belled.next().then(() => console.log("rung"));
  },

  /** Held from before there is anything to hold. */
  early() {
    doorbell.hold(true);
    begin();
    writeLater();
    void belled.next().then(() => console.log("rung"));
  },

  other() {
    begin();
    writeLater();
    const timer = setTimeout(() => console.log("late"), 30_000);
    void belled.next().then(() => {
      console.log("rung");
      clearTimeout(timer);
    });
    doorbell.hold(false);
  },

  closed() {
    begin();
    doorbell.hold(true);
    doorbell.close();
  },

  exit() {
    begin();
    doorbell.hold(true);
    belled.write();
    process.exit(0);
  },

  /** Every wake is one of its own, and then bytes come when they like. */
  async many() {
    const count = 20_000;
    for (let i = 0; i < count; i++) {
      belled.read(i);
      if (!doorbell.arm()) throw new Error("something is there already");
      belled.write();
      await belled.rung();
      const [userData, res] = await belled.next();
      if (userData !== i || res !== 1) throw new Error(`completion ${userData} with ${res}, not ${i}`);
    }
    console.log(doorbell.rings);
    const writer = writesFromThread(pipe.write, { count, pauseMs: 0.02 });
    for (let i = 0; i < count; i++) {
      belled.read(i);
      await belled.next();
    }
    console.log(writer.join());
    belled[Symbol.dispose]();
  },
};
await parts[process.argv[2] ?? ""]?.();
