import assert from "node:assert/strict";
import { alloc, encodeSockaddr, type Mem, type Pinned, Ring, type SocketAddress, type Sqe } from "uring";
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOCKET_URING_OP_SETSOCKOPT,
  sockaddr_storage,
} from "uring/abi";
import { shim } from "../support/runtime.ts";
import { mustCall } from "../support/system.ts";
import { PATIENCE_MS } from "./durations.ts";
import type { Bench } from "./support.ts";

/** What is bound to an address, and the address. */
export interface Bound {
  readonly fd: number;
  readonly address: Pinned;
}

/** `AF_INET` and its like. */
type Family = typeof AF_INET | typeof AF_INET6 | typeof AF_UNIX;

let names = 0;

/** An address of a family on this machine, at a port or name that is free. */
export function anyAddress(family: Family): Pinned {
  const addresses: Record<Family, SocketAddress> = {
    [AF_INET]: { family: "ipv4", address: "127.0.0.1", port: 0 },
    [AF_INET6]: { family: "ipv6", address: "::1", port: 0 },
    [AF_UNIX]: { family: "unix", abstract: `uring-${process.pid}-${names++}` },
  };
  return encodeSockaddr(addresses[family]);
}

/** The address a socket is bound to, as getsockname(2) tells it. */
export function boundAddress(fd: number): Pinned {
  using length = alloc(4);
  const address = alloc(sockaddr_storage.sizeof);
  const view = new DataView(length.bytes.buffer, length.bytes.byteOffset, 4);
  view.setUint32(0, address.byteLength, true);
  mustCall("getsockname", fd, address.address, length.address);
  return address.slice(0, view.getUint32(0, true));
}

/** A socket's option, as getsockopt(2) tells it. */
export function socketOption(fd: number, level: number, name: number): number {
  using value = alloc(8);
  const view = new DataView(value.bytes.buffer, value.bytes.byteOffset, 8);
  view.setUint32(4, 4, true);
  mustCall("getsockopt", fd, level, name, value.address, value.address + 4);
  assert.equal(view.getUint32(4, true), 4);
  return view.getInt32(0, true);
}

/** Sockets of this machine for a test, made with a ring of their own, and closed when the test ends. */
export class Network {
  readonly #ring = new Ring({ entries: 8 });
  readonly #owned = new Set<number>();

  constructor(bench: Bench) {
    bench.defer(() => {
      for (const fd of this.#owned) shim().close(fd);
      assert.deepEqual(this.#ring.close(), { leaked: 0 });
    });
  }

  /** Runs one operation to its end; its result. */
  run(fill: (sqe: Sqe) => unknown): number {
    const sqe = this.#ring.getSqe();
    assert.ok(sqe);
    fill(sqe);
    let result = Number.NaN;
    assert.equal(this.#ring.submitAndWait(1, { timeout: PATIENCE_MS }), 1);
    this.#ring.drain((_, res) => {
      result = res;
    });
    assert.ok(!Number.isNaN(result), "an operation of the other side did not end");
    return result;
  }

  /** Runs one operation that must not fail. */
  must(fill: (sqe: Sqe) => unknown): number {
    const result = this.run(fill);
    assert.ok(result >= 0, `errno ${-result}`);
    return result;
  }

  /** Has an fd closed when the test ends. */
  own(fd: number): number {
    assert.ok(fd >= 0, `errno ${-fd}`);
    this.#owned.add(fd);
    return fd;
  }

  /** Closes a socket now. */
  close(fd: number): void {
    if (this.#owned.delete(fd)) assert.equal(shim().close(fd), 0);
  }

  socket(family: Family = AF_INET, type: number = SOCK_STREAM): number {
    return this.own(this.must((sqe) => sqe.prepSocket(family, type, 0, 0)));
  }

  /** A socket bound to an address of its own. */
  bound(family: Family = AF_INET, type: number = SOCK_DGRAM): Bound {
    const fd = this.socket(family, type);
    const any = anyAddress(family);
    this.must((sqe) => sqe.prepBind(fd, any, any.byteLength));
    return { fd, address: boundAddress(fd) };
  }

  /** A stream socket that listens. `flags` are `SOCK_NONBLOCK` or 0. */
  listener({ family = AF_INET, flags = 0, backlog = 128 }: ListenerOptions = {}): Bound {
    const bound = this.bound(family, SOCK_STREAM | flags);
    this.must((sqe) => sqe.prepListen(bound.fd, backlog));
    return bound;
  }

  /** Connects a blocking socket to where somebody listens, or sets a datagram socket's peer. */
  connect(fd: number, address: Pinned): void {
    this.must((sqe) => sqe.prepConnect(fd, address, address.byteLength));
  }

  /** A new socket that is connected to where somebody listens. */
  client(address: Pinned, family: Family = AF_INET): number {
    const fd = this.socket(family);
    this.connect(fd, address);
    return fd;
  }

  /** Two stream sockets that are connected: who connected, and who accepted. */
  streamPair(family: Family = AF_INET, flags = 0): [client: number, server: number] {
    const listener = this.listener({ family });
    const client = this.client(listener.address, family);
    const server = this.own(this.must((sqe) => sqe.prepAccept(listener.fd, 0, 0, flags)));
    this.close(listener.fd);
    if ((flags & SOCK_NONBLOCK) !== 0) nonBlocking(client);
    return [client, server];
  }

  /** Two datagram sockets, of which the first sends to the second. */
  datagramPair(family: Family = AF_INET): [sender: number, receiver: Bound] {
    const receiver = this.bound(family, SOCK_DGRAM);
    const sender = this.socket(family, SOCK_DGRAM);
    this.connect(sender, receiver.address);
    return [sender, receiver];
  }

  /** Sets an option whose value is an int. */
  setOption(fd: number, level: number, name: number, value: number): void {
    const memory = int32(value);
    this.must((sqe) => sqe.prepCmdSock(SOCKET_URING_OP_SETSOCKOPT, fd, level, name, memory, 4));
  }

  /** Sends all of some bytes on a stream, or as one datagram. */
  send(fd: number, bytes: Mem, length: number, flags = 0): void {
    assert.equal(
      this.run((sqe) => sqe.prepSend(fd, bytes, length, flags)),
      length,
    );
  }
}

interface ListenerOptions {
  family?: Family;
  flags?: number;
  backlog?: number;
}

const F_SETFL = 4;
const O_NONBLOCK = 0o4000;

/** Makes an fd non-blocking. */
export function nonBlocking(fd: number): void {
  mustCall("fcntl", fd, F_SETFL, O_NONBLOCK);
}

/** Memory with an int in it. */
export function int32(value: number): Pinned {
  const memory = alloc(4);
  new DataView(memory.bytes.buffer, memory.bytes.byteOffset, 4).setInt32(0, value, true);
  return memory;
}

/** Memory whose bytes count up from `first`, each modulo 251, so that what is out of place shows. */
export function counting(length: number, first = 0): Pinned {
  const memory = alloc(length);
  const { bytes } = memory;
  for (let i = 0; i < length; i++) bytes[i] = (first + i) % 251;
  return memory;
}
