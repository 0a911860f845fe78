// What becomes of iterators that nobody has any more. Run by proactor-multishot.test.ts, a process a part.

import assert from "node:assert/strict";
import { Proactor } from "uring";
import * as abi from "uring/abi";
import { collectGarbage } from "./child.ts";
import { Sockets, turns, until } from "./proactor-sockets.ts";
import { bytes, openFds } from "./ring.ts";
import { mustCall } from "./system.ts";

const proactor = new Proactor();
const sockets = new Sockets(proactor);
const byte = bytes("x");

/** Collects until something is so. */
async function collectUntil(so: () => boolean, what: string): Promise<void> {
  await until(() => {
    collectGarbage();
    return so();
  }, what);
}

/** Pulls once from iterators that nobody keeps; how many are then in flight. */
async function drop(listener: number, receivers: readonly number[]): Promise<void> {
  sockets.own((await proactor.acceptMultishot(listener).next()).value as number);
  for (const receiver of receivers) {
    const lease = (await proactor.recvMultishot(receiver).next()).value;
    lease?.[Symbol.dispose]();
  }
  void proactor.timeoutMultishot(1000).next();
}

const parts: Record<string, () => Promise<void>> = {
  async dropped() {
    const { fd, address } = await sockets.listener();
    for (let i = 0; i < 10; i++) await sockets.client(address);
    const pairs = Array.from({ length: 20 }, () => sockets.pair(abi.SOCK_SEQPACKET));
    for (const [a] of pairs) for (let i = 0; i < 3; i++) mustCall("write", a, byte.address, 1);
    const before = openFds().length;
    await drop(
      fd,
      pairs.map(([, b]) => b),
    );
    const group = proactor.defaultBufferGroup();
    // A stack may hold the last one or two by chance, and the timer's promise keeps its iterator.
    await collectUntil(() => proactor.inFlight <= 4, "the end of what was dropped");
    await turns();
    assert.ok(group.available >= 256 - 2 * 3, `${group.available}`);
    assert.ok(openFds().length <= before + 1 + 9 + 4, `${openFds().length} after ${before}`);
  },

  async pending() {
    const pairs = Array.from({ length: 10 }, () => sockets.pair());
    const pulls = pairs.map(([, b]) => proactor.recvMultishot(b).next());
    for (let i = 0; i < 10; i++) {
      collectGarbage();
      await turns(2);
    }
    assert.equal(proactor.inFlight, 10);
    for (const [a] of pairs) mustCall("write", a, byte.address, 1);
    for (const pull of pulls) assert.equal((await pull).value?.byteLength, 1);
  },

  async exit() {
    const { fd } = await sockets.listener();
    const [a, b] = sockets.pair();
    void proactor.acceptMultishot(fd).next();
    const receiving = proactor.recvMultishot(b);
    mustCall("write", a, byte.address, 1);
    await receiving.next();
    void receiving.next();
    for (let i = 0; i < 5; i++) mustCall("write", a, byte.address, 1);
    void proactor.timeoutMultishot(1).next();
    await turns();
  },
};
await parts[process.argv[2] ?? ""]?.();
console.log("done");
process.exit(0);
