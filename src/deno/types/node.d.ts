// What is used of Node's modules, which Deno brings: for the compiler that checks this folder, whose declarations have none.

declare module "node:net" {
  export class Socket {
    constructor(options: object);
    resume(): this;
    ref(): this;
    unref(): this;
    destroy(): this;
  }
}

declare module "node:process" {
  const process: object;
  export default process;
}
