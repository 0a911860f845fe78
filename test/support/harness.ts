import { fileURLToPath } from "node:url";
import { shim } from "./runtime.ts";

/** Signatures in the type names that both FFIs share. */
const SYMBOLS = {
  harness_pipe: ["buffer"],
  harness_write_from_thread: ["i32"],
  harness_write_at_sleep: ["i32"],
  harness_write_at_sleep_join: [],
  harness_watch_at_sleep: ["i32"],
  harness_watch_at_sleep_join: [],
  harness_signals_start: [],
  harness_signals_stop: [],
  harness_syscall: ["i32", "f64", "f64", "f64", "f64", "f64", "f64"],
  harness_squeezed_syscall: ["i32", "f64", "f64", "f64", "f64", "f64", "f64"],
  harness_thread_syscall: ["i32", "f64", "f64", "f64", "f64", "f64", "f64"],
  harness_thread_write: ["i32", "i32", "i32", "i32"],
  harness_thread_join: ["i32"],
  harness_child: ["i32", "i32", "i32"],
  harness_child_syscall: ["i32", "f64", "f64", "f64", "f64", "f64", "f64"],
  harness_child_syscall_exec: ["i32", "f64", "f64", "f64", "f64", "f64", "f64"],
  harness_poller_start: ["f64", "f64", "buffer", "i32"],
  harness_poller_wake: [],
  harness_poller_wait: ["i32"],
  harness_poller_stop: [],
} as const;

/** What has another result than an `i32`. */
const RESULTS: Partial<Record<keyof typeof SYMBOLS, string>> = {
  harness_child_syscall: "f64",
  harness_child_syscall_exec: "f64",
  harness_squeezed_syscall: "f64",
  harness_syscall: "f64",
  harness_thread_join: "f64",
};

type Symbols = Record<keyof typeof SYMBOLS, (...args: (number | Uint8Array)[]) => number>;

interface DenoFfi {
  dlopen(path: string, symbols: object): { symbols: Symbols };
}

interface BunFfi {
  dlopen(path: string, symbols: object): { symbols: Symbols };
}

/** The harness's functions as they are; what is below and in system.ts is for tests. */
export const native: Symbols = await open(
  fileURLToPath(new URL("../native/build/harness.so", import.meta.url)),
);

async function open(path: string): Promise<Symbols> {
  const { Deno } = globalThis as unknown as { Deno?: DenoFfi };
  if (Deno !== undefined) return Deno.dlopen(path, signatures("parameters", "result")).symbols;
  // In a variable, since Deno would look for it before anything runs.
  const name = "bun:ffi";
  const ffi: BunFfi = await import(name);
  return ffi.dlopen(path, signatures("args", "returns")).symbols;
}

function signatures(parameters: string, result: string): object {
  return Object.fromEntries(
    (Object.keys(SYMBOLS) as (keyof typeof SYMBOLS)[]).map((name) => [
      name,
      { [parameters]: SYMBOLS[name], [result]: RESULTS[name] ?? "i32" },
    ]),
  );
}

function check(result: number, what: string): void {
  if (result < 0) throw new Error(`${what}: errno ${-result}`);
}

/** Both ends of a pipe, closed at the end of the block unless they are before. */
export class Pipe {
  readonly read: number;
  readonly write: number;
  readonly #open: Set<number>;

  constructor() {
    const fds = new Int32Array(new ArrayBuffer(8));
    check(native.harness_pipe(new Uint8Array(fds.buffer)), "pipe");
    [this.read, this.write] = fds as unknown as [number, number];
    this.#open = new Set(fds);
  }

  /** Closes one end. */
  close(fd: number): void {
    if (this.#open.delete(fd)) check(shim().close(fd), "close");
  }

  [Symbol.dispose](): void {
    for (const fd of this.#open) this.close(fd);
  }
}

/** A pipe. */
export function pipe(): Pipe {
  return new Pipe();
}

/** Has another thread write one byte, `x`, and waits until it has. */
export function writeFromThread(fd: number): void {
  check(native.harness_write_from_thread(fd), "write");
}

/** Has another thread write one byte as soon as this thread sleeps in `io_uring_enter`, which `body` is to make it do. */
export function writeAtSleep<T>(fd: number, body: () => T): T {
  check(native.harness_write_at_sleep(fd), "pthread_create");
  try {
    return body();
  } finally {
    check(native.harness_write_at_sleep_join(), "write");
  }
}

/**
 * How many threads of the system are blocked on I/O at least, while this one sleeps in `io_uring_enter`, which `body` is
 * to make it do. Another thread looks, and then writes one byte, `x`.
 */
export function blockedOnIo(fd: number, body: () => void): number {
  check(native.harness_watch_at_sleep(fd), "pthread_create");
  let least = -1;
  try {
    body();
  } finally {
    least = native.harness_watch_at_sleep_join();
  }
  check(least, "read /proc/stat");
  return least;
}

/** Runs a function while another thread sends this one SIGUSR2 every millisecond. */
export function underSignals<T>(body: () => T): T {
  check(native.harness_signals_start(), "pthread_create");
  try {
    return body();
  } finally {
    check(native.harness_signals_stop(), "pthread_join");
  }
}
