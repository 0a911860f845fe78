import type { Ring, RingOptions } from "uring";
import { IORING_OFF_SQ_RING, io_cqring_offsets, io_sqring_offsets, io_uring_params } from "uring/abi";
import { shim, withShim } from "../support/runtime.ts";
import type { Bench } from "./support.ts";

/** A ring, and the flags word of its submission queue as the kernel has it: `IORING_SQ_*`. Until the ring is closed. */
export interface WatchedRing {
  readonly ring: Ring;
  readonly sqFlags: () => number;
}

/** A ring whose flags word can be seen at any time, without the library looking at it. */
export function watchedRing(bench: Bench, options: RingOptions = {}): WatchedRing {
  let rings = 0;
  let flagsAt = 0;
  const ring = withShim(
    (real) => ({
      setup(entries, params) {
        const fd = real.setup(entries, params);
        if (fd >= 0) {
          const view = new DataView(real.view(params, io_uring_params.sizeof));
          rings = Number(view.getBigUint64(io_uring_params.cq_off + io_cqring_offsets.user_addr, true));
          flagsAt = view.getUint32(io_uring_params.sq_off + io_sqring_offsets.flags, true);
        }
        return fd;
      },
      map(fd, length, offset) {
        const address = real.map(fd, length, offset);
        if (offset === IORING_OFF_SQ_RING) rings = address;
        return address;
      },
    }),
    () => bench.ring(options),
  );
  const word = new Int32Array(shim().view(rings + flagsAt, 4));
  return { ring, sqFlags: () => Atomics.load(word, 0) };
}
