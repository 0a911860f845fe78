import { alloc } from "uring";
import { io_uring_params } from "uring/abi";
import { runtime } from "#runtime";
import type { Shim } from "../../src/shared/runtime.ts";

export type { Shim } from "../../src/shared/runtime.ts";

/** The native library as the runtime under test presents it. */
export function shim(): Shim {
  return runtime.load();
}

/**
 * Runs a function in a world where some calls of the native library answer otherwise: this is how old kernels and full
 * tables are tested. Rings made inside keep the changed library for life.
 *
 * @param overrides the calls to replace; a function gets the real library, to pass on what it does not refuse
 */
export function withShim<T>(overrides: Partial<Shim> | ((real: Shim) => Partial<Shim>), run: () => T): T {
  const { load } = runtime;
  const real = load.call(runtime);
  const changed = { ...real, ...(typeof overrides === "function" ? overrides(real) : overrides) };
  runtime.load = () => changed;
  try {
    return run();
  } finally {
    runtime.load = load;
  }
}

/** The flags in the `struct io_uring_params` at an address, as `Shim.setup` is given it. */
export function setupFlags(real: Shim, params: number): number {
  return new Uint32Array(real.view(params, io_uring_params.sizeof))[io_uring_params.flags / 4] as number;
}

/** Overrides of a kernel that refuses set-up flags it does not know. */
export function without(flags: number): (real: Shim) => Partial<Shim> {
  return (real) => ({
    setup: (entries, params) =>
      (setupFlags(real, params) & flags) !== 0 ? -22 : real.setup(entries, params),
  });
}

/** Overrides that tell of every enter, and pass it on. */
export function onEnter(tell: () => void): (real: Shim) => Partial<Shim> {
  return (real) => ({
    enter(...args) {
      tell();
      return real.enter(...args);
    },
  });
}

/** An override that makes the kernel call itself by another release. */
export function release(name: string): Pick<Shim, "kernelRelease"> {
  return {
    kernelRelease(out) {
      out.set(new TextEncoder().encode(`${name}\0`));
      return name.length;
    },
  };
}

/**
 * Whether this kernel sets up rings with these flags. Asks it directly, not through the library under test.
 * `IORING_SETUP_NO_MMAP` goes without the memory it needs: a kernel that knows it then answers EFAULT.
 */
export function kernelTakes(flags: number): boolean {
  const params = alloc(io_uring_params.sizeof);
  new DataView(params.bytes.buffer, params.bytes.byteOffset).setUint32(io_uring_params.flags, flags, true);
  const fd = shim().setup(4, params.address);
  if (fd >= 0) shim().close(fd);
  return fd >= 0 || fd === -14;
}
