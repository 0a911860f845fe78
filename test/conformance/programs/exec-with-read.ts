// Becomes another program, which ends with code 42, while a read of a megabyte past the page cache is under way:
// `exec-with-read <file> <flags of the ring>`.
import { constants } from "node:fs";
import { alloc, cstring, type Pinned, Ring } from "uring";
import { AT_FDCWD } from "uring/abi";
import { mustCall } from "../../support/system.ts";

const SIZE = 1 << 20;

const [path, flags] = process.argv.slice(2);

/** A list of strings as execve(2) takes it. */
function list(strings: readonly Pinned[]): Pinned {
  const memory = alloc(8 * (strings.length + 1));
  const addresses = new BigUint64Array(memory.bytes.buffer, memory.bytes.byteOffset, strings.length);
  for (const [i, { address }] of strings.entries()) addresses[i] = BigInt(address);
  return memory;
}

const file = mustCall("openat", AT_FDCWD, cstring(path as string).address, constants.O_DIRECT);
const args = ["/bin/sh", "-c", "exit 42"].map(cstring);
const [argv, envp] = [list(args), list([])];
const ring = new Ring({ flags: Number(flags) });
ring.getSqe()?.prepRead(file, alloc(SIZE), SIZE, 0);
if (ring.submit() !== 1) throw new Error("the read was not taken");
mustCall("execve", (args[0] as Pinned).address, argv.address, envp.address);
