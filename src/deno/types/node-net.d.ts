// What is used of Node's sockets, which Deno brings: its own declarations, for the compiler that checks this folder, have none
// of Node's modules.

declare module "node:net" {
  export class Socket {
    constructor(options: {
      fd: number;
      readable: boolean;
      onread: { buffer: Uint8Array; callback(bytes: number): boolean };
    });
    resume(): this;
    ref(): this;
    unref(): this;
    destroy(): this;
  }
}
