// A thread that is in the middle of everything when it is terminated. Run by proactor-close-child.ts.

import { alloc, Proactor } from "uring";
import { serve } from "./thread.ts";

/** What there is to be done: two pipes to read, of which something comes out of one, and a file opened for O_DIRECT. */
export interface Work {
  readonly silent: number;
  readonly busy: number;
  readonly direct: number;
  readonly size: number;
}

async function forEver(operation: () => Promise<unknown>): Promise<void> {
  for (;;) await operation();
}

serve({
  /** Begins operations of which some wait, some are under way, and others follow one another; how many are in flight. */
  async begin({ silent, busy, direct, size }: Work): Promise<number> {
    const proactor = new Proactor({ entries: 64, cqEntries: 1024 });
    const fail = (error: unknown) => {
      throw error;
    };
    for (let i = 0; i < 8; i++) {
      proactor.read(silent, alloc(4096)).catch(fail);
      proactor.read(silent, new Uint8Array(5000), { timeout: 3_600_000 }).catch(fail);
      forEver(() => proactor.read(busy, alloc(64))).catch(fail);
      forEver(() => proactor.nop()).catch(fail);
    }
    const memory = alloc(size);
    forEver(() => proactor.read(direct, memory, { offset: 0 })).catch(fail);
    await proactor.ready();
    return proactor.inFlight;
  },
});
