// Programs that are driven by run(), or wait for messages: `run-child.ts <which>`. What they print tells whether they end.

import { alloc, Proactor } from "uring";
import { pipe } from "./harness.ts";
import { bytes } from "./ring.ts";
import { writesFromThread } from "./system.ts";

const programs: Record<string, () => Promise<void>> = {
  /** Nothing but the blocking drive keeps this going. */
  async driven() {
    const proactor = new Proactor();
    const ends = pipe();
    const got = alloc(1);
    const serve = async () => {
      for (let i = 0; i < 100; i++) await proactor.read(ends.read, got);
      console.log("served");
    };
    void serve();
    const writer = writesFromThread(ends.write, { count: 100, pauseMs: 1 });
    await proactor.run();
    writer.join();
    console.log(`wakes ${proactor.counters.wakes}`);
  },

  async exit() {
    const proactor = new Proactor();
    void proactor.read(pipe().read, alloc(1)).catch(() => {});
    setTimeout(() => process.exit(3), 50);
    await proactor.run({ slice: 10 });
  },

  async messages() {
    const proactor = new Proactor({ addressable: true });
    const timer = setTimeout(() => void proactor.post(proactor.address, 5), 100);
    timer.unref();
    for await (const message of proactor.messages()) {
      console.log(message);
      break;
    }
    console.log("done");
  },

  /** An address alone keeps nothing running. */
  async address() {
    const proactor = new Proactor({ addressable: true });
    await proactor.post(proactor.address, 1);
    console.log("posted");
  },

  /** Nor does an iteration that is over. */
  async left() {
    const proactor = new Proactor({ addressable: true });
    const messages = proactor.messages();
    const pending = messages.next();
    await messages.return();
    if ((await pending).done === true) console.log("done");
  },

  async unref() {
    const proactor = new Proactor({ addressable: true }).unref();
    void proactor.messages().next();
    await proactor.write(1, bytes("waits\n"));
  },
};

await programs[process.argv[2] ?? ""]?.();
