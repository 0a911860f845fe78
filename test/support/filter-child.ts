// Filters a task's no-ops, which is for good, and tells what became of one. Run by register-newer.test.ts.

import { alloc, Ring, registerBpfFilterTask, UringError } from "uring";
import { IORING_OP_NOP, IORING_OP_READ } from "uring/abi";
import { run } from "./ring.ts";

const EACCES = 13;
const RETURN = 0x06;

try {
  registerBpfFilterTask({ opcode: IORING_OP_READ, program: [{ code: RETURN, k: 1 }] });
  registerBpfFilterTask({ opcode: IORING_OP_NOP, program: [{ code: RETURN, k: 0 }] });
  using ring = new Ring({ entries: 4 });
  const nop = run(ring, (sqe) => sqe.prepNop());
  const read = run(ring, (sqe) => sqe.prepRead(-1, alloc(8), 8, 0));
  console.log(nop === -EACCES && read !== -EACCES ? "refused as asked" : `nop: ${nop}, read: ${read}`);
} catch (error) {
  if (!(error instanceof UringError)) throw error;
  console.log(`explained: ${error.message}`);
}
