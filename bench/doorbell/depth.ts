// How often a completion wakes the event loop, with one and with many in flight: of reads of its input by the kernel's own
// threads, which end when they like, by the doorbell alone; and of a proactor's reads past the page cache, where the input is a
// file of a megabyte or more that can be read so. Prints a line a depth.

import { alloc, Proactor, Ring } from "uring";
import {
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_SETUP_TASKRUN_FLAG,
  IOSQE_ASYNC,
  O_DIRECT,
  O_RDONLY,
} from "uring/abi";
import { runtime } from "#runtime";
import { Doorbell } from "../../src/shared/proactor/doorbell.ts";

const OPERATIONS = 20_000;
const FILE = 0;
const BLOCK = 4096;
const BLOCKS = 256;

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

await using proactor = new Proactor();
const file = await proactor.open(`/proc/self/fd/${FILE}`, O_RDONLY | O_DIRECT);
for (const depth of [1, 32]) {
  const wakes = proactor.counters.wakes;
  let left = OPERATIONS;
  const lane = async () => {
    const block = alloc(BLOCK);
    while (left-- > 0) await proactor.read(file, block, { offset: (left % BLOCKS) * BLOCK });
  };
  await Promise.all(Array.from({ length: depth }, lane));
  const each = (proactor.counters.wakes - wakes) / OPERATIONS;
  console.log(`${runtime.name} depth ${depth}: ${each.toFixed(3)} wakes a read past the page cache`);
}
await proactor.closeFd(file);
