import {
  IORING_OFF_SQ_RING,
  IORING_OFF_SQES,
  IORING_REGISTER_RESIZE_RINGS,
  IORING_REGISTER_RING_FDS,
  IORING_REGISTER_USE_REGISTERED_RING,
  IORING_SETUP_REGISTERED_FD_ONLY,
  IORING_UNREGISTER_RING_FDS,
  io_cqring_offsets,
  io_sqring_offsets,
  io_uring_params,
  io_uring_rsrc_update,
} from "uring/abi";
import type { Shim } from "../../src/shared/runtime.ts";
import { RingView } from "./ring-view.ts";

/** A native library whose rings can be looked at. */
export interface WatchedRings {
  readonly shim: Shim;
  /** The ring that a call is about, by its fd or its index in the thread's table of rings; undefined for a stranger. */
  ringOf(fd: number, registered: boolean): RingView | undefined;
  /** Memory at an address. */
  peek(address: number, length: number): DataView;
}

/** Follows every ring that is set up through a native library, and where its memory is. */
export function watchRings(real: Shim): WatchedRings {
  const byFd = new Map<number, RingView>();
  const byIndex = new Map<number, RingView>();
  /** Rings by the addresses of what is mapped of them. */
  const byAddress = new Map<number, RingView>();
  /** What is mapped of rings whose other part is yet to come. */
  const half = new Map<RingView, ArrayBuffer>();

  const peek = (address: number, length: number) => new DataView(real.view(address, length));
  const ringOf = (fd: number, registered: boolean) => (registered ? byIndex : byFd).get(fd);
  const givenMemory = (params: DataView) => ({
    rings: Number(params.getBigUint64(io_uring_params.cq_off + io_cqring_offsets.user_addr, true)),
    sqes: Number(params.getBigUint64(io_uring_params.sq_off + io_sqring_offsets.user_addr, true)),
  });
  const show = (ring: RingView, at: { rings: number; sqes: number }) => {
    const { rings, sqes } = ring.lengths;
    if (at.rings !== 0) ring.show(real.view(at.rings, rings), real.view(at.sqes, sqes));
  };

  const shim: Shim = {
    ...real,
    setup(entries, params) {
      const view = peek(params, io_uring_params.sizeof);
      const memory = givenMemory(view);
      const fd = real.setup(entries, params);
      if (fd < 0) return fd;
      const ring = new RingView(view);
      ((ring.flags & IORING_SETUP_REGISTERED_FD_ONLY) !== 0 ? byIndex : byFd).set(fd, ring);
      show(ring, memory);
      return fd;
    },

    register(fd, opcode, arg, nrArgs) {
      const ring = ringOf(fd, (opcode & IORING_REGISTER_USE_REGISTERED_RING) !== 0);
      const call = (opcode & ~IORING_REGISTER_USE_REGISTERED_RING) >>> 0;
      if (ring === undefined) return real.register(fd, opcode, arg, nrArgs);
      if (call === IORING_REGISTER_RESIZE_RINGS) {
        const params = peek(arg, io_uring_params.sizeof);
        const memory = givenMemory(params);
        const result = real.register(fd, opcode, arg, nrArgs);
        if (result < 0) return result;
        // What was mapped of it goes later, and must not take the new memory along.
        for (const [address, owner] of byAddress) if (owner === ring) byAddress.delete(address);
        ring.move(params);
        show(ring, memory);
        return result;
      }
      const result = real.register(fd, opcode, arg, nrArgs);
      if (result < 0) return result;
      if (call === IORING_REGISTER_RING_FDS && result === 1) {
        byIndex.set(peek(arg + io_uring_rsrc_update.offset, 4).getUint32(0, true), ring);
      } else if (call === IORING_UNREGISTER_RING_FDS) {
        byIndex.delete(peek(arg + io_uring_rsrc_update.offset, 4).getUint32(0, true));
      }
      return result;
    },

    map(fd, length, offset) {
      const address = real.map(fd, length, offset);
      const ring = byFd.get(fd);
      if (address < 0 || ring === undefined) return address;
      const rings = half.get(ring);
      if (offset === IORING_OFF_SQ_RING) half.set(ring, real.view(address, length));
      else if (offset === IORING_OFF_SQES && rings !== undefined) {
        half.delete(ring);
        ring.show(rings, real.view(address, length));
      }
      byAddress.set(address, ring);
      return address;
    },

    unmap(address, length) {
      const ring = byAddress.get(address);
      byAddress.delete(address);
      if (ring !== undefined) {
        half.delete(ring);
        ring.hide();
      }
      return real.unmap(address, length);
    },

    close(fd) {
      byFd.delete(fd);
      return real.close(fd);
    },
  };
  return { shim, ringOf, peek };
}
