// Ends with operations pending that nothing will complete: timeouts, and polls of another ring's fd or, as the argument
// says, of its own.
import { encodeTimespec, Ring } from "uring";
import { IOSQE_IO_LINK, POLLIN } from "uring/abi";

const ring = new Ring({ entries: 8 });
const other = new Ring({ entries: 8 });
const itself = process.argv[2] === "itself";
ring.getSqe()?.prepTimeout(encodeTimespec(10_000), 1000, 0);
ring
  .getSqe()
  ?.prepPollAdd(itself ? ring.fd : other.fd, POLLIN)
  .setFlags(itself ? 0 : IOSQE_IO_LINK);
if (!itself) ring.getSqe()?.prepLinkTimeout(encodeTimespec(10_000), 0);
const count = ring.submit();
if (count !== (itself ? 2 : 3)) throw new Error(`${count} entries were taken`);
process.exit(42);
