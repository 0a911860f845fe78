import { alloc, decodeSockaddr, type Proactor, type SocketAddress } from "uring";
import * as abi from "uring/abi";
import { runtime } from "#runtime";
import { onKernel } from "./older-kernel.ts";
import { mustCall, syscall } from "./system.ts";

/** An address on this machine whose port is for the kernel to choose. */
export const LOCAL: SocketAddress = { family: "ipv4", address: "127.0.0.1", port: 0 };

/** Sockets of one test, which are closed at the end of its block. */
export class Sockets implements Disposable {
  readonly #proactor: Proactor;
  readonly #fds = new Set<number>();

  constructor(proactor: Proactor) {
    this.#proactor = proactor;
  }

  /** Has an fd closed at the end. */
  own(fd: number): number {
    this.#fds.add(fd);
    return fd;
  }

  /** Closes one of them now. */
  close(fd: number): void {
    this.#fds.delete(fd);
    mustCall("close", fd);
  }

  /** Both ends of a connection in the Unix domain. */
  pair(type: number = abi.SOCK_STREAM): [number, number] {
    using fds = alloc(8);
    mustCall("socketpair", abi.AF_UNIX, type | abi.SOCK_CLOEXEC, 0, fds.address);
    const view = new DataView(fds.bytes.buffer, fds.bytes.byteOffset, 8);
    return [this.own(view.getInt32(0, true)), this.own(view.getInt32(4, true))];
  }

  /** A socket that is bound, and its address. */
  async bound(
    type: number = abi.SOCK_DGRAM,
    address: SocketAddress = LOCAL,
  ): Promise<{ fd: number; address: SocketAddress }> {
    const family = { ipv4: abi.AF_INET, ipv6: abi.AF_INET6, unix: abi.AF_UNIX, other: -1 }[address.family];
    const fd = this.own(await this.#proactor.socket(family, type));
    await this.#proactor.bind(fd, address);
    return { fd, address: nameOf(fd) };
  }

  /** A socket that waits for connections, and its address. */
  async listener(address: SocketAddress = LOCAL): Promise<{ fd: number; address: SocketAddress }> {
    const bound = await this.bound(abi.SOCK_STREAM, address);
    await this.#proactor.listen(bound.fd);
    return bound;
  }

  /** A socket that is connected to an address. */
  async client(address: SocketAddress, family: number = abi.AF_INET): Promise<number> {
    const fd = this.own(await this.#proactor.socket(family, abi.SOCK_STREAM));
    await this.#proactor.connect(fd, address);
    return fd;
  }

  /** Both ends of a connection over TCP: who connected, and who accepted. */
  async connection(): Promise<[number, number]> {
    const { fd, address } = await this.listener();
    const [client, server] = await Promise.all([this.client(address), this.#proactor.accept(fd)]);
    this.close(fd);
    return [client, this.own(server)];
  }

  [Symbol.dispose](): void {
    for (const fd of this.#fds) mustCall("close", fd);
  }
}

/** The address a socket has, as getsockname(2) tells it. */
export function nameOf(fd: number): SocketAddress {
  using memory = alloc(132);
  const view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset, 132);
  view.setUint32(128, 128, true);
  mustCall("getsockname", fd, memory.address, memory.address + 128);
  return decodeSockaddr(memory, view.getUint32(128, true)) as SocketAddress;
}

/** Whether an fd is closed in programs this one becomes; `undefined` where it is not open. */
export function closesOnExec(fd: number): boolean | undefined {
  const F_GETFD = 1;
  const flags = syscall("fcntl", fd, F_GETFD);
  return flags < 0 ? undefined : (flags & 1) !== 0;
}

/** A few turns of the event loop. */
export async function turns(count = 5): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Waits until something is so, which must be soon. */
export async function until(so: () => boolean, what: string): Promise<void> {
  const end = performance.now() + 20_000;
  while (!so()) {
    if (performance.now() > end) throw new Error(`never came: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** As `onKernel`, for as long as a promise takes. */
export async function lastingOnKernel(version: string, run: () => Promise<void>): Promise<void> {
  const { load } = runtime;
  const older = onKernel(version, () => runtime.load());
  runtime.load = () => older;
  try {
    await run();
  } finally {
    runtime.load = load;
  }
}
