// Makes and closes a hundred rings. Ends with 42 if each could be made but for the limit of locked memory, which those
// before count against for a while.
import { Ring, UringError } from "uring";

for (let i = 0; i < 100; i++) {
  try {
    const { leaked } = new Ring({ entries: 164 }).close();
    if (leaked > 0) throw new Error(`ring ${i} was not idle`);
  } catch (error) {
    if (!(error instanceof UringError && error.code === "ENOMEM")) throw error;
  }
}
process.exit(42);
