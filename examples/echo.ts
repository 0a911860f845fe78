/**
 * A server that sends back what it is sent, until it is interrupted:
 *
 *     bun examples/echo.ts 7000
 *     deno run --allow-ffi examples/echo.ts 7000
 *
 * One operation accepts every connection, one a connection receives all that comes, into buffers that are lent to it.
 */
import process from "node:process";

import { Proactor } from "uring";
import { AF_INET, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET } from "uring/abi";

const port = Number(process.argv[2] ?? 7000);

await using proactor = new Proactor();
const server = await proactor.socket(AF_INET, SOCK_STREAM);
await proactor.setsockopt(server, SOL_SOCKET, SO_REUSEADDR, 1);
await proactor.bind(server, { family: "ipv4", address: "127.0.0.1", port });
await proactor.listen(server);
console.log(`listening on port ${port}`);

for await (const connection of proactor.acceptMultishot(server)) {
  serve(connection).catch((error: unknown) => console.error(error));
}

async function serve(connection: number): Promise<void> {
  try {
    for await (using lease of proactor.recvMultishot(connection)) {
      for (let sent = 0; sent < lease.byteLength; ) {
        sent += await proactor.send(connection, lease.bytes.subarray(sent));
      }
    }
  } finally {
    await proactor.closeFd(connection);
  }
}
