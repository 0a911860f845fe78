// Ends at once with a ring that is not closed, whose poller thread is bound to a CPU.
import { Ring } from "uring";
import { IORING_SETUP_SQ_AFF, IORING_SETUP_SQPOLL } from "uring/abi";

const flags = IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF;
const { params } = new Ring({ entries: 1958, flags, sqThreadCpu: 0, sqThreadIdle: 943 });
if (params.sqEntries !== 2048 || params.sqThreadCpu !== 0 || params.sqThreadIdle !== 943) {
  throw new Error(JSON.stringify(params));
}
process.exit(42);
