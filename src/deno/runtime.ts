import { Socket } from "node:net";
import process from "node:process";
import { UringUnavailableError } from "../shared/errors.ts";
import { type Runtime, type Shim, SYMBOLS, type Watch } from "../shared/runtime.ts";
import { keptMemory, loadShim, NotAllowedError } from "../shared/shim.ts";

const COUNTER_BYTES = 8;

/** What Node's sockets are made of, as far as it is used, which no declaration tells. */
interface Bindings {
  binding(name: "pipe_wrap"): {
    readonly Pipe: new (type: number) => { open(fd: number): number };
    readonly constants: { readonly SOCKET: number };
  };
}

let shim: Shim | undefined;

/** io_uring through `Deno.dlopen`. */
export const runtime: Runtime = {
  name: "deno",
  mainThread: !isWorker(),

  load() {
    shim ??= loadShim(
      {
        os: Deno.build.os,
        arch: Deno.build.arch,
        override: override(),
        root: new URL("../../", import.meta.url),
      },
      open,
    );
    return shim;
  },

  allocate(pages, shared) {
    const kept = this.mainThread || shared ? undefined : keptMemory(this.load(), pages);
    return kept ?? new WebAssembly.Memory({ initial: pages, maximum: pages, shared }).buffer;
  },

  watch(eventfd, onSignal) {
    let closed = false;
    const callback = () => {
      if (!closed) onSignal();
      return true;
    };
    // A socket looks at what it is given and takes no eventfd; the handle below does not look.
    const { Pipe, constants } = (process as unknown as Bindings).binding("pipe_wrap");
    const handle = new Pipe(constants.SOCKET);
    const failure = handle.open(eventfd);
    if (failure !== 0) {
      throw new Error(
        `Deno's event loop does not wait for an eventfd: a handle on it failed with ${failure}`,
      );
    }
    const options = { handle, readable: true, onread: { buffer: new Uint8Array(COUNTER_BYTES), callback } };
    const socket = new Socket(options as unknown as ConstructorParameters<typeof Socket>[0]);
    socket.resume();
    return {
      ref: () => void socket.ref(),
      unref: () => void socket.unref(),
      close() {
        closed = true;
        socket.destroy();
      },
    };
  },

  turn(callback) {
    turns ??= new Turns(this);
    turns.next(callback);
  },
};

let turns: Turns | undefined;

/**
 * Turns of the event loop in which it looks at its sockets, which between immediates Deno does now and then: they were kept
 * waiting for half a second. An eventfd that it waits for it finds where it finds those. One that can be read from the start
 * it would read without looking for others.
 */
class Turns {
  #eventfd = -1;
  #watch: Watch | undefined;
  #callbacks: (() => void)[] = [];

  constructor(runtime: Runtime) {
    const eventfd = shim?.eventfd() ?? -1;
    if (eventfd < 0) return;
    try {
      this.#watch = runtime.watch(eventfd, () => this.#take());
      this.#watch.unref();
      this.#eventfd = eventfd;
    } catch {
      shim?.close(eventfd);
    }
  }

  next(callback: () => void): void {
    // Without an eventfd timers alone have their turn.
    if (this.#watch === undefined) {
      setTimeout(callback, 0);
      return;
    }
    this.#callbacks.push(callback);
    this.#watch.ref();
    shim?.signal(this.#eventfd);
  }

  #take(): void {
    const callbacks = this.#callbacks;
    this.#callbacks = [];
    this.#watch?.unref();
    for (const callback of callbacks) callback();
  }
}

/** Deno has two kinds of Workers, and each shows in its own way alone. */
function isWorker(): boolean {
  const { process } = globalThis as {
    process?: { getBuiltinModule?(name: string): { isMainThread?: boolean } | undefined };
  };
  const threads = process?.getBuiltinModule?.("node:worker_threads");
  return "WorkerGlobalScope" in globalThis || threads?.isMainThread === false;
}

/** `URING_SHIM`, asked for only where that needs no prompt. */
function override(): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable: "URING_SHIM" });
  return state === "granted" ? Deno.env.get("URING_SHIM") : undefined;
}

function open(path: string): Shim {
  let symbols: Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];
  try {
    symbols = Deno.dlopen(path, SYMBOLS).symbols;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw new NotAllowedError(error.message, { cause: error });
    throw error;
  }
  return {
    address: symbols.uring_address as Shim["address"],
    setup: symbols.uring_setup,
    enter: symbols.uring_enter,
    register: symbols.uring_register,
    map: symbols.uring_map,
    unmap: symbols.uring_unmap,
    retire: symbols.uring_retire,
    discard: symbols.uring_discard,
    keep: symbols.uring_keep,
    close: symbols.uring_close,
    eventfd: symbols.uring_eventfd,
    signal: symbols.uring_signal,
    errnoName: symbols.uring_errno_name as Shim["errnoName"],
    kernelRelease: symbols.uring_kernel_release as Shim["kernelRelease"],
    sysctlDisabled: symbols.uring_sysctl_disabled,
    describe: symbols.uring_describe as Shim["describe"],
    view,
  };
}

function view(address: number, length: number): ArrayBuffer {
  try {
    const pointer = Deno.UnsafePointer.create(BigInt(address));
    if (pointer === null) throw new RangeError("address 0 has no memory");
    return Deno.UnsafePointerView.getArrayBuffer(pointer, length);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
    throw new UringUnavailableError(
      "permission",
      "Deno lets no code look at mapped memory under a path-scoped --allow-ffi",
      'Start the program with a plain --allow-ffi, or leave the ring\'s memory "owned" (kernels from about 6.10).',
      error,
    );
  }
}
