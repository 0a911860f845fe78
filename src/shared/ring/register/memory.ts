import { runtime } from "#runtime";
import {
  IORING_ENTER_EXT_ARG,
  IORING_ENTER_EXT_ARG_REG,
  IORING_ENTER_GETEVENTS,
  IORING_FEAT_REG_REG_RING,
  IORING_MEM_REGION_REG_WAIT_ARG,
  IORING_MEM_REGION_TYPE_USER,
  IORING_REGISTER_MEM_REGION,
  IORING_REGISTER_RING_FDS,
  IORING_UNREGISTER_RING_FDS,
  io_uring_mem_region_reg,
  io_uring_reg_wait,
  io_uring_region_desc,
} from "../../abi/index.ts";
import { bits32, u32, whole } from "../../structs/fields.ts";
import { Argument } from "../argument.ts";
import { registerError } from "../diagnosis.ts";
import { errnoError } from "../errno.ts";
import { allocInternal, Pinned } from "../pinned.ts";
import { Region } from "../region.ts";
import type { ResizeOptions } from "../resize.ts";
import { viewOrUnmap } from "../setup.ts";
import { WAIT_SLOT, WaitRegion } from "../wait-region.ts";
import { CancelRegistration } from "./cancel.ts";

const EBADF = 9;
const EFAULT = 14;
const EBUSY = 16;
const EEXIST = 17;
const EINVAL = 22;

/** Kernel memory is given in these. The pages of some arm64 kernels are as large. */
const PAGE = 65536;
const MAX_REGION = 2 ** 31;
const MAX_WAITS = 2 ** 20;

/** The memory a ring is made of and shares with the kernel, and how the kernel is to find the ring. */
export class MemoryRegistration extends CancelRegistration {
  /** How many waits are registered; unknown of a region that the caller made. */
  #waits: number = Number.POSITIVE_INFINITY;

  /**
   * Gives the ring an index in this thread's table of rings, which saves every system call on it the look-up of the fd.
   * Rings do so by themselves as long as the table's 16 places last, so this is for after `unregisterRingFd()`.
   *
   * @throws UringError EEXIST when it has one, EBUSY when the table is full. Linux 5.18. See
   * io_uring_register_ring_fd(3).
   */
  registerRingFd(): void {
    this.assertOpen();
    if (this.hasIndex)
      throw this.#refuse(EEXIST, "The ring has an index already: rings get one by themselves");
    const result = this.registerIndex();
    if (result >= 0) return;
    const full = -result === EBUSY ? "This thread's table of rings is full: it has 16 places" : undefined;
    throw registerError(-result, IORING_REGISTER_RING_FDS, full);
  }

  /**
   * Gives the index in this thread's table of rings back: from now on system calls go by the fd.
   *
   * @throws UringError EINVAL when the ring has none, EBADF when it has nothing else. Linux 5.18. See
   * io_uring_unregister_ring_fd(3).
   */
  unregisterRingFd(): void {
    this.assertOpen();
    if (!this.hasIndex) throw this.#refuse(EINVAL, "The ring has no index");
    if (this.ownFd < 0)
      throw this.#refuse(EBADF, "The ring has no fd: without its index nothing would reach it");
    const result = this.unregisterIndex();
    if (result < 0) throw registerError(-result, IORING_UNREGISTER_RING_FDS);
  }

  /**
   * Closes the ring's fd; everything goes on by its index. `ring.fd` is -1 from now on: other rings can no longer send
   * this one messages, and it ends with its thread.
   *
   * @throws UringError EBADF when it has no fd, EINVAL when it has no index, or without `IORING_FEAT_REG_REG_RING`. Linux
   * 6.3. See io_uring_close_ring_fd(3).
   */
  closeRingFd(): void {
    this.assertOpen();
    if ((this.features & IORING_FEAT_REG_REG_RING) === 0) {
      throw this.#refuse(EINVAL, "The feature IORING_FEAT_REG_REG_RING came with Linux 6.3");
    }
    if (!this.hasIndex)
      throw this.#refuse(EINVAL, "The ring has no index to go on with: registerRingFd() first");
    if (this.ownFd < 0) throw this.#refuse(EBADF, "The ring has no fd");
    this.closeFd();
  }

  /**
   * Changes the size of the queues. Entries not yet submitted and completions not yet read move along; `Sqe` objects handed
   * out before no longer work.
   *
   * @param sizes what is absent stays, but `cqEntries` follows `entries`
   * @throws UringError EINVAL on a ring without `IORING_SETUP_DEFER_TASKRUN`, EOVERFLOW where there would not be room for
   * what is in the queues, ENOMEM, EEXIST on a thread that does not own the ring: the ring then goes on as it was.
   * TypeError from a callback that is given completions. Linux 6.13. See io_uring_resize_rings(3).
   */
  resizeRings(sizes: ResizeOptions): void {
    this.resize(sizes);
  }

  /**
   * Shares memory with the kernel for parameters, one region a ring, until that is closed.
   *
   * @param memory whole pages, from `alloc` (aligned and a multiple of 64 KiB suits every machine); or a number of bytes
   * for memory of the kernel's, which is mapped here and needs the ring's fd
   * @param flags `IORING_MEM_REGION_REG_WAIT_ARG` for registered waits, on a ring not yet enabled; else 0
   * @throws UringError EBUSY for a second region, EINVAL for parts of pages, or waits on an enabled ring. Linux 6.13. See
   * io_uring_register_region(3).
   */
  registerRegion(memory: Pinned | number, flags = 0): Region {
    this.assertOpen();
    const bits = bits32(flags, "flags");
    if (memory instanceof Pinned) {
      this.#region(Pinned.addressOf(memory), Pinned.lengthOf(memory), bits);
      this.holdForGood(memory);
      return new Region(() => memory.bytes);
    }
    const size = whole(memory, 1, MAX_REGION, "the region's size");
    if (this.ownFd < 0)
      throw new TypeError("memory of the kernel's is mapped by the ring's fd, and this ring has none");
    const length = Math.ceil(size / PAGE) * PAGE;
    const shim = runtime.load();
    const address = shim.map(this.ownFd, length, this.#region(0, length, bits));
    if (address < 0) throw errnoError(-address, "mmap");
    const buffer = viewOrUnmap(shim, address, length);
    this.whenClosed(() => {
      // Operations of other rings may have been given a part of it. The caller may have detached it himself.
      if (!buffer.detached) buffer.transfer(0);
      shim.retire(address, length);
    });
    const bytes = new Uint8Array(buffer, 0, size);
    return new Region(() => bytes);
  }

  /**
   * Registers options for waits: `submitAndWaitReg` then names one, and the kernel has nothing to copy. On a ring set up
   * with `IORING_SETUP_R_DISABLED` that is not yet enabled. The memory is the ring's until that is closed.
   *
   * @param count how many
   * @throws UringError EINVAL on an enabled ring, EBUSY for a second region. Linux 6.13. See io_uring_register_region(3).
   *
   * @example
   * ```ts
   * import { Ring } from "uring";
   * import { IORING_SETUP_R_DISABLED } from "uring/abi";
   *
   * using ring = new Ring({ flags: IORING_SETUP_R_DISABLED });
   * const waits = ring.registerWaitRegion(2);
   * waits.set(0, { timeout: 10 });
   * ring.enableRings();
   * // -ETIME: the time was up.
   * console.log(ring.submitAndWaitReg(1, 0)); // -62
   * ```
   */
  registerWaitRegion(count: number): WaitRegion {
    whole(count, 1, MAX_WAITS, "the number of waits");
    const memory = allocInternal(Math.ceil((count * WAIT_SLOT) / PAGE) * PAGE);
    try {
      this.#region(memory.address, memory.byteLength, IORING_MEM_REGION_REG_WAIT_ARG);
    } catch (error) {
      memory[Symbol.dispose]();
      throw error;
    }
    this.whenClosed(() => memory[Symbol.dispose]());
    this.#waits = count;
    return new WaitRegion(memory, count);
  }

  /**
   * As `submitAndWait`, with options that are registered.
   *
   * @param index the slot of the `WaitRegion`
   * @returns as `submitAndWait`
   * @throws UringError EFAULT for a slot that is not within the region, or on a ring without. Linux 6.13. See
   * io_uring_submit_and_wait_reg(3).
   */
  submitAndWaitReg(count: number, index: number): number {
    const offset = whole(index, 0, MAX_WAITS, "a slot's number") * io_uring_reg_wait.sizeof;
    // The region is whole pages: what the kernel finds behind the slots would be a wait for ever.
    if (index >= this.#waits) {
      throw errnoError(EFAULT, "io_uring_enter", {
        hint: `${this.#waits} waits are registered: 0 is the first`,
      });
    }
    const flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | IORING_ENTER_EXT_ARG_REG;
    return this.submitWith(u32(count, "number of completions"), flags, offset, io_uring_reg_wait.sizeof);
  }

  /** Registers a region at an address, 0 for one of the kernel's; where that can be mapped from. */
  #region(address: number, size: number, flags: number): number {
    const reg = io_uring_mem_region_reg;
    const region = io_uring_region_desc;
    using argument = new Argument(reg.sizeof + region.sizeof);
    const { view } = argument;
    view.setBigUint64(reg.region_uptr, BigInt(argument.address + reg.sizeof), true);
    view.setBigUint64(reg.flags, BigInt(flags), true);
    view.setBigUint64(reg.sizeof + region.user_addr, BigInt(address), true);
    view.setBigUint64(reg.sizeof + region.size, BigInt(size), true);
    view.setUint32(reg.sizeof + region.flags, address === 0 ? 0 : IORING_MEM_REGION_TYPE_USER, true);
    this.register(IORING_REGISTER_MEM_REGION, argument.address, 1, {
      [EBUSY]: "The ring has a region already",
      [EINVAL]:
        (flags & IORING_MEM_REGION_REG_WAIT_ARG) !== 0
          ? "Waits are registered on a ring set up with IORING_SETUP_R_DISABLED that is not yet enabled"
          : "A region is whole pages, aligned to a page",
    });
    return Number(view.getBigUint64(reg.sizeof + region.mmap_offset, true));
  }

  #refuse(errno: number, hint: string): Error {
    return errnoError(errno, "io_uring_register", { hint });
  }
}
