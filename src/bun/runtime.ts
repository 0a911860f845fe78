import { dlopen, type Pointer, toArrayBuffer } from "bun:ffi";
import { type Runtime, type Shim, SYMBOLS } from "../shared/runtime.ts";
import { keptMemory, loadShim } from "../shared/shim.ts";

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

  watch(fd, onReadable) {
    let socket: Bun.Socket | undefined;
    let closed = false;
    const options = {
      fd,
      socket: {
        // Called before connect returns: it is connected.
        open(opened: Bun.Socket) {
          socket = opened;
        },
        data() {
          if (!closed) onReadable();
        },
      },
    };
    // The declarations know fds for listening alone.
    void Bun.connect(options as unknown as Bun.UnixSocketOptions);
    return {
      ref: () => socket?.ref(),
      unref: () => socket?.unref(),
      close() {
        closed = true;
        socket?.terminate();
      },
    };
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
    uring_discard: signature("uring_discard"),
    uring_keep: signature("uring_keep"),
    uring_close: signature("uring_close"),
    uring_eventfd: signature("uring_eventfd"),
    uring_socketpair: signature("uring_socketpair"),
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
    discard: symbols.uring_discard,
    keep: symbols.uring_keep,
    close: symbols.uring_close,
    eventfd: symbols.uring_eventfd,
    socketpair: symbols.uring_socketpair,
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
