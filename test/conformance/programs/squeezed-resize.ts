// Has a ring grow while the process may have hardly any more address space:
// `squeezed-resize <owned|mapped> <flags> <errno>...`. Ends with 42 if that failed with one of these, or with 0 among them
// did not, and the ring goes on.
import { Ring, type RingMemoryKind, type RingOptions } from "uring";
import { withShim } from "../../support/runtime.ts";
import { syscallInTightSpace } from "../../support/system.ts";
import { outcome } from "../outcome.ts";

const [memory, flags, ...expected] = process.argv.slice(2);
const options: RingOptions = { entries: 8, flags: Number(flags), memory: memory as RingMemoryKind };

const ring = withShim(
  // Only where the library makes them: the runtime may need memory for anything else.
  {
    map: (fd, length, offset) => {
      const [PROT_READ, PROT_WRITE, MAP_SHARED] = [1, 2, 1];
      return syscallInTightSpace("mmap", 0, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
    },
    register: (...args) => syscallInTightSpace("io_uring_register", ...args),
  },
  () => {
    const ring = new Ring(options);
    const result = outcome(() => ring.resizeRings({ entries: 256, cqEntries: 512 }));
    if (!expected.map(Number).includes(-result)) throw new Error(`to grow: ${result}`);
    return ring;
  },
);
ring.getSqe()?.prepNop().setData64(7);
ring.submitAndWait(1, { timeout: 5000 });
const found: number[] = [];
ring.drain((userData, res) => found.push(userData, res));
if (found.join() !== "7,0") throw new Error(`a no-op completes with ${found}`);
process.exit(42);
