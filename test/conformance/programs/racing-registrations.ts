// Has two threads register no buffers at all on new rings, at once, for so many milliseconds:
// `racing-registrations <milliseconds>`. Ends with 42 if every call was refused in the way that it should be.
import { Ring } from "uring";
import { IORING_REGISTER_BUFFERS } from "uring/abi";
import { syscallInThread } from "../../support/system.ts";

const EFAULT = 14;
const EINVAL = 22;

const end = performance.now() + Number(process.argv[2]);
let rounds = 0;
for (; rounds === 0 || performance.now() < end; rounds++) {
  using ring = new Ring({ entries: 100 });
  const { fd } = ring;
  const threads = [0, 1].map(() => syscallInThread("io_uring_register", fd, IORING_REGISTER_BUFFERS, 0, 0));
  for (const thread of threads) {
    const result = thread.join();
    if (result !== -EINVAL && result !== -EFAULT) throw new Error(`round ${rounds}: ${result}`);
  }
}
process.exit(42);
