// The ways to have an eventfd wake the event loop that were compared. Each calls back after a signal, once or more.

import { Socket } from "node:net";
import { runtime } from "#runtime";
import { Relay } from "./relay.ts";

const isDeno = "Deno" in globalThis;

/** What the peer's library does. */
export interface Peer {
  /** The monotonic clock in microseconds, as the peer's stamps are. */
  now(): number;
  /** Writes an eventfd whose reads wait, and two connected sockets. */
  open(fds: Uint8Array): void;
  /** Has a thread call back for each signal of an eventfd whose reads wait. */
  watch(eventfd: number, onWake: () => void): void;
}

/** What a ring is to signal, and what there is to do before each wait. */
interface Waker {
  readonly eventfd: number;
  prepare?(): void;
}

export const wakers: Readonly<Record<string, (onWake: () => void, peer: Peer) => Waker>> = {
  /** The runtime's own loop waits for the eventfd. */
  eventfd(onWake) {
    const eventfd = runtime.load().eventfd();
    runtime.watch(eventfd, onWake);
    return { eventfd };
  },

  relay(onWake, peer) {
    const fds = new Int32Array(new ArrayBuffer(12));
    peer.open(new Uint8Array(fds.buffer));
    const [eventfd, waker, watched] = fds as unknown as [number, number, number];
    const relay = new Relay([eventfd, waker]);
    if (isDeno) {
      const callback = () => {
        onWake();
        return true;
      };
      const socket = new Socket({ fd: watched, onread: { buffer: new Uint8Array(64), callback } });
      socket.resume();
    } else {
      const { Bun } = globalThis as unknown as { Bun: { connect(options: object): void } };
      Bun.connect({ fd: watched, socket: { data: onWake } });
    }
    return { eventfd, prepare: () => relay.prepare() };
  },

  thread(onWake, peer) {
    const fds = new Int32Array(new ArrayBuffer(12));
    peer.open(new Uint8Array(fds.buffer));
    const eventfd = fds[0] as number;
    peer.watch(eventfd, onWake);
    return { eventfd };
  },
};

const SYMBOLS = {
  peer_now: [[], "f64"],
  peer_open: [["buffer"], "i32"],
  peer_watch: [["i32", "function"], "i32"],
} as const;

/** Opens the peer's library. */
export async function openPeer(path: string): Promise<Peer> {
  // In a variable, since Deno would look for it before anything runs.
  const name = "bun:ffi";
  // biome-ignore lint/suspicious/noExplicitAny: of two runtimes, of which the compiler knows one
  const ffi: any = isDeno ? (globalThis as any).Deno : await import(name);
  const signatures = Object.entries(SYMBOLS).map(([symbol, [from, to]]) => [
    symbol,
    isDeno ? { parameters: from, result: to } : { args: from, returns: to },
  ]);
  const { symbols } = ffi.dlopen(path, Object.fromEntries(signatures));
  return {
    now: symbols.peer_now,
    open: symbols.peer_open,
    watch(eventfd, onWake) {
      const pointer = isDeno
        ? ffi.UnsafeCallback.threadSafe({ parameters: [], result: "void" }, onWake).pointer
        : new ffi.JSCallback(onWake, { args: [], returns: "void", threadsafe: true }).ptr;
      symbols.peer_watch(eventfd, pointer);
    },
  };
}
