// Leaves 128 accepts pending that nobody connects to, and closes the ring:
// `pending-accepts <listeners> <flags> <close> [<threads>]`, with so many listeners, `SOCK_NONBLOCK` or 0, and `close` to
// close the listeners first. `RLIMIT_NPROC` is lowered to so many threads before the first ring is made, which decides how
// many workers there may be.
import { alloc, Ring } from "uring";
import { AF_INET, SOCK_STREAM } from "uring/abi";
import { mustCall } from "../../support/system.ts";
import { anyAddress } from "../sockets.ts";

const RLIMIT_NPROC = 6;
const ECANCELED = 125;

const [listeners, flags, close, threads] = process.argv.slice(2);
if (threads !== undefined) {
  const limits = alloc(16);
  const view = new DataView(limits.bytes.buffer, limits.bytes.byteOffset, 16);
  mustCall("prlimit64", 0, RLIMIT_NPROC, 0, limits.address);
  view.setBigUint64(0, BigInt(threads), true);
  mustCall("prlimit64", 0, RLIMIT_NPROC, limits.address, 0);
}
const ring = new Ring({ entries: 256 });

function results(): number[] {
  const all: number[] = [];
  ring.drain((_, res) => all.push(res));
  return all;
}

function run(): number {
  ring.submitAndWait(1, { timeout: 5000 });
  return results()[0] as number;
}

const address = anyAddress(AF_INET);
const fds = Array.from({ length: Number(listeners) }, () => {
  ring.getSqe()?.prepSocket(AF_INET, SOCK_STREAM | Number(flags), 0, 0);
  const fd = run();
  ring.getSqe()?.prepBind(fd, address, address.byteLength);
  if (run() !== 0) throw new Error("bind");
  ring.getSqe()?.prepListen(fd, 128);
  if (run() !== 0) throw new Error("listen");
  return fd;
});
for (let i = 0; i < 128; i++) ring.getSqe()?.prepAccept(fds[i % fds.length] as number, 0, 0, 0);
if (ring.submit() !== 128) throw new Error("not every accept was taken");
if (close === "close") for (const fd of fds) mustCall("close", fd);
ring.submitAndWait(1, { timeout: 50 });
for (const res of results()) if (res !== -ECANCELED) throw new Error(`an accept ended with ${res}`);
const { leaked } = ring.close();
process.exit(leaked === 0 ? 42 : 1);
