// A doorbell of a thread, for the thread that started it to direct. Run by doorbell.test.ts.

import { BelledRing } from "./belled-ring.ts";
import { serve } from "./thread.ts";

const left: BelledRing[] = [];

serve({
  /** Waits for so many bytes, one after the other; how often the doorbell has rung. */
  async wakes(count: number): Promise<number> {
    using belled = new BelledRing();
    for (let i = 0; i < count; i++) {
      belled.read(i);
      if (!belled.doorbell.arm()) throw new Error("something is there already");
      belled.write();
      await belled.rung();
      await belled.next();
    }
    return belled.doorbell.rings;
  },

  /** Leaves an armed doorbell behind; the pipe it waits for. */
  leave(): Record<"read" | "write", number> {
    const belled = new BelledRing();
    left.push(belled);
    belled.read(0);
    belled.doorbell.hold(true);
    if (!belled.doorbell.arm()) throw new Error("something is there already");
    const { read, write } = belled.pipe;
    return { read, write };
  },
});
