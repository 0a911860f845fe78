// How often the doorbell rings for an operation, with one and with many in flight. Each is done by one of the kernel's own
// threads, so that it ends when it likes. Prints a line a depth.

import { alloc, Ring } from "uring";
import {
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_SETUP_TASKRUN_FLAG,
  IOSQE_ASYNC,
} from "uring/abi";
import { runtime } from "#runtime";
import { Doorbell } from "../../src/shared/proactor/doorbell.ts";

const OPERATIONS = 20_000;
const FILE = 0;

for (const depth of [1, 32]) {
  using ring = new Ring({
    entries: 64,
    flags: IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
  });
  const memory = alloc(1 << 16);
  let wake = () => {};
  const doorbell = new Doorbell(ring, () => wake());
  const begin = () => ring.getSqe()?.prepRead(FILE, memory, memory.byteLength, 0).addFlags(IOSQE_ASYNC);
  for (let i = 0; i < depth; i++) begin();
  let done = 0;
  while (done < OPERATIONS) {
    doorbell.silence();
    ring.submitAndGetEvents();
    const count = ring.drain(begin);
    done += count;
    if (count > 0 || !doorbell.arm()) continue;
    doorbell.hold(true);
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
    doorbell.hold(false);
  }
  console.log(`${runtime.name} depth ${depth}: ${(doorbell.rings / done).toFixed(3)} rings an operation`);
  doorbell.close();
}
