import { dlopen, type Pointer, toArrayBuffer } from "bun:ffi";
import { Readable } from "node:stream";
import { type Runtime, type Shim, SYMBOLS, type Watch } from "../shared/runtime.ts";
import { keptMemory, loadShim } from "../shared/shim.ts";

const COUNTER_BYTES = 8;

let shim: Shim | undefined;

/** io_uring through `bun:ffi`. */
export const runtime: Runtime = {
  name: "bun",
  mainThread: Bun.isMainThread,

  load() {
    shim ??= loadShim(
      {
        os: process.platform,
        arch: process.arch,
        override: process.env.URING_SHIM,
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
    // Of the ways to wait for an fd that is no socket the one that can be let go: Bun gives a stream of a file these two
    // methods when it becomes one of Node's. They count, from none, while the stream itself counts as held until then.
    const stream = Readable.fromWeb(Bun.file(eventfd).stream() as never) as Readable &
      Pick<Watch, "ref" | "unref">;
    let held = true;
    let closed = false;
    stream.ref();
    // What the stream's source pushes is taken here and not in an event, behind a buffer: a signal has half as far to go.
    const readOn = () => {
      if (!closed) stream._read(COUNTER_BYTES);
    };
    stream.push = (chunk: unknown) => {
      // Its end.
      if (chunk === null) return false;
      if (!closed) onSignal();
      queueMicrotask(readOn);
      return true;
    };
    stream.read(0);
    // It does not close what it was given, and leaves the event loop before it tells.
    stream.on("close", () => shim?.close(eventfd));
    return {
      ref() {
        if (!held) stream.ref();
        held = true;
      },
      unref() {
        if (held) stream.unref();
        held = false;
      },
      close() {
        closed = true;
        stream.destroy();
      },
    };
  },

  turn(callback) {
    setImmediate(callback);
  },
};

function open(path: string): Shim {
  const { symbols } = dlopen(path, {
    uring_address: signature("uring_address"),
    uring_setup: signature("uring_setup"),
    uring_enter: signature("uring_enter"),
    uring_register: signature("uring_register"),
    uring_map: signature("uring_map"),
    uring_unmap: signature("uring_unmap"),
    uring_retire: signature("uring_retire"),
    uring_discard: signature("uring_discard"),
    uring_keep: signature("uring_keep"),
    uring_close: signature("uring_close"),
    uring_eventfd: signature("uring_eventfd"),
    uring_signal: signature("uring_signal"),
    uring_errno_name: signature("uring_errno_name"),
    uring_kernel_release: signature("uring_kernel_release"),
    uring_sysctl_disabled: signature("uring_sysctl_disabled"),
    uring_describe: signature("uring_describe"),
  });
  return {
    address: symbols.uring_address,
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
    errnoName: symbols.uring_errno_name,
    kernelRelease: symbols.uring_kernel_release,
    sysctlDisabled: symbols.uring_sysctl_disabled,
    describe: symbols.uring_describe,
    view: (address, length) => toArrayBuffer(address as Pointer, 0, length),
  };
}

/** A symbol's signature under the names that `bun:ffi` gives the two parts. */
function signature<Name extends keyof typeof SYMBOLS>(name: Name) {
  const { parameters, result } = SYMBOLS[name];
  return { args: parameters, returns: result } as const;
}
