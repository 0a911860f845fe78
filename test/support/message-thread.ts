// A proactor of a thread that others send messages to. Run by proactor-messages.test.ts.

import { alloc, Proactor, type ProactorAddress } from "uring";
import { pipe } from "./harness.ts";
import { serve } from "./thread.ts";

const proactor = new Proactor({ addressable: true });

serve({
  address: () => proactor.address,

  /** The next messages. */
  async receive(count: number): Promise<number[]> {
    const all: number[] = [];
    for await (const message of proactor.messages()) {
      all.push(message);
      if (all.length === count) break;
    }
    return all;
  },

  /** Sends numbers counting up. */
  async send(to: ProactorAddress, from: number, count: number): Promise<void> {
    await Promise.all(Array.from({ length: count }, (_, i) => proactor.post(to, from + i)));
  },

  /** Answers so many messages, each by the number after it. */
  async answer(to: ProactorAddress, count: number): Promise<void> {
    let left = count;
    for await (const message of proactor.messages()) {
      await proactor.post(to, message + 1);
      if (--left === 0) break;
    }
  },

  /** Begins what does not end: waits for messages and bytes, and sends messages all the while. */
  async leave(to: ProactorAddress): Promise<{ read: number; write: number }> {
    const ends = pipe();
    void proactor.read(ends.read, alloc(4096));
    void (async () => {
      for await (const message of proactor.messages()) await proactor.post(to, message);
    })();
    void (async () => {
      for (;;) await proactor.post(to, -1);
    })();
    await proactor.ready();
    return { read: ends.read, write: ends.write };
  },

  close: () => proactor.close(),
});
