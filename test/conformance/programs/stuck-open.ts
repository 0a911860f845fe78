// Ends with an open that waits, by IOSQE_IO_DRAIN or a link, for a read of an empty pipe:
// `stuck-open <path> <flags of the read> <flags of the open>`.
import { alloc, cstring, Ring } from "uring";
import { AT_FDCWD, O_CREAT, O_RDWR } from "uring/abi";
import { pipe } from "../../support/harness.ts";
import { mustCall } from "../../support/system.ts";

const [path = "", readFlags, openFlags] = process.argv.slice(2);
const ring = new Ring({ entries: 8 });
const ends = pipe();
ring.getSqe()?.prepRead(ends.read, alloc(8), 8, -1).setFlags(Number(readFlags));
ring
  .getSqe()
  ?.prepOpenat(AT_FDCWD, cstring(path), O_CREAT | O_RDWR, 0o600)
  .setFlags(Number(openFlags));
ring.submit();
mustCall("close", mustCall("dup", ring.fd));
if (ring.submitAndWait(1, { timeout: 50 }) >= 0) throw new Error("something completed");
process.exit(42);
