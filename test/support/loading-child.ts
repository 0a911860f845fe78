// What a program sees of the library where its native part is found, or is not, as one line of JSON.

import { available, Ring } from "uring";

const memory = process.argv[2] as "owned" | "mapped" | undefined;
const answer = available();
const report: Record<string, unknown> = { ok: answer.ok };
if (!answer.ok) {
  const { name, message } = answer.error;
  Object.assign(report, { reason: answer.reason, remedy: answer.remedy, name, message });
}
try {
  using ring = new Ring({ entries: 4, ...(memory === undefined ? {} : { memory }) });
  ring.getSqe()?.prepNop().setData64(7);
  ring.submitAndWait(1);
  ring.drain((userData) => {
    report.completed = userData;
  });
} catch (error) {
  report.thrown = (error as { reason?: string }).reason;
  report.says = (error as Error).message;
}
console.log(JSON.stringify(report));
