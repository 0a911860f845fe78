import { UringUnavailableError } from "./errors.ts";
import type { Shim } from "./runtime.ts";

/** What a runtime tells of where it runs, for finding the native library. */
export interface Host {
  /** The runtime's own names, such as `"linux"` and `"x64"` (or `"x86_64"`). */
  readonly os: string;
  readonly arch: string;
  /** The environment variable `URING_SHIM`, where it is set and may be read. */
  readonly override: string | undefined;
  /** The folder that holds the package's `c/` and `prebuilt/`, ending in a slash. */
  readonly root: URL;
}

const ARCHES: Readonly<Record<string, string>> = {
  x64: "x64",
  x86_64: "x64",
  arm64: "arm64",
  aarch64: "arm64",
};

/** Number of the shim's interface, as `uring_describe` gives it first. */
const SHIM_VERSION = 4;

/** The shim's `SHIM_ARCH` for each architecture: a library of the other would not load, a renamed one might. */
const SHIM_ARCH: Readonly<Record<string, number>> = { x64: 1, arm64: 2 };

/**
 * The layouts the TypeScript side builds on, in the order of the shim's `uring_describe`: sizes and offsets of
 * io_uring_sqe, io_uring_cqe, io_uring_params, getevents_arg, iovec, msghdr, cmsghdr, sockaddr_storage, timespec,
 * open_how, statx. The last word, epoll_event, is packed on x64 alone.
 */
const LAYOUT = [
  64, 4, 8, 16, 24, 28, 32, 40, 44, 48, 16, 8, 12, 120, 20, 40, 80, 24, 16, 56, 16, 32, 48, 16, 128, 16, 24,
  256,
];
const EPOLL_EVENT_SIZE: Readonly<Record<string, number>> = { x64: 12, arm64: 16 };

/** What `open` throws where the runtime's permissions forbid to load a file. */
export class NotAllowedError extends Error {}

/**
 * Finds the native library, opens it and checks that it belongs to this TypeScript.
 *
 * Looks at `URING_SHIM` alone where that is set; else in the repository's build folder, then in the published package's
 * `prebuilt/`.
 *
 * @param open opens one file; throws where it can not
 */
export function loadShim(host: Host, open: (path: string) => Shim): Shim {
  const arch = ARCHES[host.arch];
  if (host.os !== "linux" || arch === undefined) {
    throw new UringUnavailableError(
      "platform",
      `this is ${host.os} on ${host.arch}`,
      "io_uring is a Linux interface; this library supports Linux on x64 and arm64.",
    );
  }
  const candidates =
    host.override !== undefined
      ? [host.override]
      : [`c/build/uring.so`, `prebuilt/linux-${arch}.so`].map((file) =>
          decodeURIComponent(new URL(file, host.root).pathname),
        );

  const failures: string[] = [];
  const forbidden: string[] = [];
  let cause: unknown;
  for (const path of candidates) {
    let shim: Shim;
    try {
      shim = open(path);
    } catch (error) {
      if (error instanceof NotAllowedError) forbidden.push(path);
      failures.push(error instanceof Error ? error.message : String(error));
      cause = error;
      continue;
    }
    verify(shim, arch, path);
    return shim;
  }
  // Any of them may be the one: whether a file is there can not be told either.
  if (forbidden.length > 0) {
    throw new UringUnavailableError(
      "permission",
      `Deno may not load ${forbidden.join(" or ")}`,
      `Start the program with --allow-ffi, or just for this library with --allow-ffi=${forbidden.join(",")}.`,
      cause,
    );
  }
  throw new UringUnavailableError(
    "shim",
    `its native library did not load (${failures.join("; ")})`,
    host.override !== undefined
      ? "The environment variable URING_SHIM names the file to load: correct or unset it."
      : "In a checkout, `npm run setup` builds it; an installed package brings it in prebuilt/, so reinstall the package, " +
          "or set URING_SHIM to the file's path.",
    cause,
  );
}

const PAGE = 65536;

/**
 * Memory that outlives this thread. `undefined` where there is none, or the runtime's permissions let no code look at it:
 * the engine's own then has to do.
 */
export function keptMemory(shim: Shim, pages: number): ArrayBuffer | undefined {
  const address = shim.keep(pages * PAGE);
  if (address < 0) return undefined;
  try {
    return shim.view(address, pages * PAGE);
  } catch (error) {
    if (error instanceof UringUnavailableError) return undefined;
    throw error;
  }
}

/** Throws unless the library's version, architecture and struct layouts are the ones this code was written for. */
function verify(shim: Shim, arch: string, path: string): void {
  const expected = [SHIM_VERSION, SHIM_ARCH[arch], ...LAYOUT, EPOLL_EVENT_SIZE[arch]];
  // A buffer of its own: some engines move small arrays that were made by length.
  const words = new Uint32Array(new ArrayBuffer(4 * (expected.length + 1)));
  const count = shim.describe(new Uint8Array(words.buffer), words.length);
  const wrong = expected.findIndex((word, i) => words[i] !== word);
  if (count === expected.length && wrong === -1) return;
  throw new UringUnavailableError(
    "mismatch",
    `the native library ${path} has version ${words[0]} with ${count} layout facts where this code is for version ` +
      `${SHIM_VERSION} with ${expected.length}` +
      (wrong > 0 ? `, and fact ${wrong} is ${words[wrong]}, not ${expected[wrong]}` : ""),
    "Library and TypeScript must come from the same release: rebuild with `npm run setup`, or reinstall the package.",
  );
}
