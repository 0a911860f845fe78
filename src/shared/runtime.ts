/**
 * The one contract each JavaScript runtime implements, in `src/bun`, `src/deno` and `src/none`. The shared core reaches
 * it as `#runtime` and knows nothing else of where it runs.
 */
export interface Runtime {
  /** `"bun"`, `"deno"` or `"none"`. */
  readonly name: string;

  /** Whether this is the process's first thread, not a Worker. */
  readonly mainThread: boolean;

  /** Loads the native library at the first call. Throws `UringUnavailableError` where that can not be done. */
  load(): Shim;

  /**
   * New zeroed memory that the kernel may be given: page-aligned, never moved, and refusing `transfer` and
   * `structuredClone`. Throws a `RangeError` where there is none.
   *
   * In a Worker what is not shared outlives the thread instead, see `Shim.keep`: engines free a terminated Worker's memory
   * while the kernel still writes to it.
   *
   * @param pages how many 64 KiB pages
   * @param shared whether other threads are to see it, as a `SharedArrayBuffer`
   */
  allocate(pages: number, shared: boolean): ArrayBuffer | SharedArrayBuffer;

  /**
   * Has the event loop wait for an eventfd, whose counter it reads and so sets back.
   *
   * @param eventfd one whose reads do not wait, the runtime's from now on to close unless it throws
   * @param onSignal called on the event loop after the eventfd has been signalled, once for however many times; must not
   * throw
   */
  watch(eventfd: number, onSignal: () => void): Watch;

  /**
   * Calls back when the event loop has looked at all that it waits for: timers and sockets that are due have had their turn
   * then, or have it next. Keeps the process running until then.
   */
  turn(callback: () => void): void;
}

/** An eventfd that the event loop waits for. At first it keeps the process running. */
export interface Watch {
  /** Keeps the process running. */
  ref(): void;
  /** Lets the process end although a signal may come. */
  unref(): void;
  /** Ends it, for good: calls nothing back from now on, and closes the fd now or within a turn of the event loop. */
  close(): void;
}

/**
 * The native library's functions as the runtime's FFI presents them. All arguments are checked before they get here:
 * what an FFI makes of a wrong type differs and may be anything. Results are as in C, `-errno` for failure.
 */
export interface Shim {
  /** The address of a view's first byte. The view must outlive every use of the number. */
  address(view: Uint8Array): number;
  /** `io_uring_setup(2)`; `params` is the address of a `struct io_uring_params`. */
  setup(entries: number, params: number): number;
  /** `io_uring_enter(2)`; `arg` is an address or 0. */
  enter(
    fd: number,
    toSubmit: number,
    minComplete: number,
    flags: number,
    arg: number,
    argSize: number,
  ): number;
  /** `io_uring_register(2)`; `arg` is an address or 0. */
  register(fd: number, opcode: number, arg: number, nrArgs: number): number;
  /** Maps a ring's memory, or with `fd` -1 anonymous huge pages; the address or `-errno`. */
  map(fd: number, length: number, offset: number): number;
  /** Undoes `map`. Every view of the memory must have been detached. */
  unmap(address: number, length: number): number;
  /** As `unmap`, and keeps the addresses out of use: operations may have been given them. */
  retire(address: number, length: number): number;
  /** Exchanges pages of private anonymous memory for new ones, all zero. */
  discard(address: number, length: number): number;
  /**
   * Memory that outlives this thread, all zero: nothing frees it, another thread may be given it after this one's end. The
   * address or `-errno`.
   */
  keep(length: number): number;
  /** `close(2)`. */
  close(fd: number): number;
  /** A new `eventfd(2)` whose reads do not wait; its fd or `-errno`. */
  eventfd(): number;
  /** Adds one to an eventfd's counter; below zero `-errno`. */
  signal(eventfd: number): number;
  /** Writes `"EINVAL: invalid argument"` with a NUL; the length, 0 for a number that is no errno. */
  errnoName(errno: number, out: Uint8Array, size: number): number;
  /** Writes the kernel's release with a NUL; the length or `-errno`. */
  kernelRelease(out: Uint8Array, size: number): number;
  /** The sysctl `kernel.io_uring_disabled`, or `-errno`. */
  sysctlDisabled(): number;
  /** Writes the library's version and the layouts its compiler saw; how many 32-bit words there are. */
  describe(out: Uint8Array, count: number): number;
  /** The memory at an address, as a buffer that does not own it. Throws where the runtime's permissions forbid. */
  view(address: number, length: number): ArrayBuffer;
}

/** The exported symbols and their signatures, in the type names that both FFIs share. */
export const SYMBOLS = {
  uring_address: { parameters: ["buffer"], result: "f64" },
  uring_setup: { parameters: ["u32", "f64"], result: "i32" },
  uring_enter: { parameters: ["i32", "u32", "u32", "u32", "f64", "u32"], result: "i32" },
  uring_register: { parameters: ["i32", "u32", "f64", "u32"], result: "i32" },
  uring_map: { parameters: ["i32", "f64", "f64"], result: "f64" },
  uring_unmap: { parameters: ["f64", "f64"], result: "i32" },
  uring_retire: { parameters: ["f64", "f64"], result: "i32" },
  uring_discard: { parameters: ["f64", "f64"], result: "i32" },
  uring_keep: { parameters: ["f64"], result: "f64" },
  uring_close: { parameters: ["i32"], result: "i32" },
  uring_eventfd: { parameters: [], result: "i32" },
  uring_signal: { parameters: ["i32"], result: "i32" },
  uring_errno_name: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  uring_kernel_release: { parameters: ["buffer", "u32"], result: "i32" },
  uring_sysctl_disabled: { parameters: [], result: "i32" },
  uring_describe: { parameters: ["buffer", "u32"], result: "i32" },
} as const;
