// Waits for a connection that nobody makes, until a signal ends the process after a second.
import { spawn } from "node:child_process";
import { Ring } from "uring";
import { AF_INET, SOCK_STREAM } from "uring/abi";
import { anyAddress } from "../sockets.ts";

const ring = new Ring({ entries: 8 });

function run(): number {
  ring.submitAndWait(1, { timeout: 5000 });
  let result = Number.NaN;
  ring.drain((_, res) => {
    result = res;
  });
  return result;
}

ring.getSqe()?.prepSocket(AF_INET, SOCK_STREAM, 0, 0);
const fd = run();
const address = anyAddress(AF_INET);
ring.getSqe()?.prepBind(fd, address, address.byteLength);
run();
ring.getSqe()?.prepListen(fd, 128);
run();
spawn("sh", ["-c", `sleep 1; kill -TERM ${process.pid}`], { stdio: "ignore" });
ring.getSqe()?.prepAccept(fd, 0, 0, 0);
ring.submitAndWait(1);
throw new Error("something connected");
