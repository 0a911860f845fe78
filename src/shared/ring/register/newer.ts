import {
  IORING_MEM_REGION_TYPE_USER,
  IORING_REGISTER_BPF_FILTER,
  IORING_REGISTER_ZCRX_CTRL,
  IORING_REGISTER_ZCRX_IFQ,
  io_uring_region_desc,
  io_uring_zcrx_area_reg,
  io_uring_zcrx_ifq_reg,
  io_uring_zcrx_offsets,
  io_uring_zcrx_rqe,
  ZCRX_CTRL_EXPORT,
  zcrx_ctrl,
  zcrx_ctrl_export,
} from "../../abi/index.ts";
import { bits32, u32, whole } from "../../structs/fields.ts";
import { Argument } from "../argument.ts";
import { type BpfFilter, bpfArgument } from "../bpf-filter.ts";
import { alloc, Pinned } from "../pinned.ts";
import { MemoryRegistration } from "./memory.ts";
import { object } from "./values.ts";

const EPERM = 1;
const EINVAL = 22;
const EOPNOTSUPP = 95;

const PAGE = 65536;

/** A receive queue of a network device, and where its packets are to go. */
export interface ZcrxOptions {
  /** The interface's number, as `ip link` shows it. */
  readonly ifIndex: number;
  /** The receive queue, from 0. Packets must have been steered to it (`ethtool`). */
  readonly rxQueue: number;
  /** How many entries the queue has by which buffers are given back. */
  readonly entries: number;
  /** Where packets go, in whole pages: the ring's until that is closed. */
  readonly area: Pinned;
  /** `ZCRX_REG_*`, or-ed. */
  readonly flags?: number;
  /** Bytes in each buffer; 0, as without, for a page. Linux 7.0. */
  readonly rxBufLen?: number;
}

/** A receive queue that delivers into the area. */
export interface ZcrxQueue {
  /** Its number with the ring, for `prepRecvZc`-like entries (`zcrx_ifq_idx`). */
  readonly zcrxId: number;
  /** Goes into the offsets of buffers given back. */
  readonly areaToken: bigint;
  /** The queue by which buffers are given back: its memory, and where the kernel's head, the tail and the entries lie. */
  readonly refill: {
    readonly memory: Pinned;
    readonly head: number;
    readonly tail: number;
    readonly rqes: number;
    readonly entries: number;
  };
  /** Bytes in each buffer. */
  readonly rxBufLen: number;
}

/** What only newer kernels, or special devices, have. */
export class NewerRegistration extends MemoryRegistration {
  /**
   * Has a network device's receive queue deliver into memory of this process, for `IORING_OP_RECV_ZC`.
   *
   * @throws UringError EPERM without CAP_NET_ADMIN, EOPNOTSUPP where the device can not, EINVAL on a ring without
   * `IORING_SETUP_DEFER_TASKRUN` and large completions. Linux 6.15. See io_uring_register_ifq(3).
   */
  registerIfq(options: ZcrxOptions): ZcrxQueue {
    const { ifIndex, rxQueue, entries, area, flags = 0, rxBufLen = 0 } = object(options, "options");
    if (!(area instanceof Pinned)) throw new TypeError("area must be memory from alloc()");
    whole(entries, 1, 32768, "entries");
    const ifq = io_uring_zcrx_ifq_reg;
    const region = io_uring_region_desc;
    const areaReg = io_uring_zcrx_area_reg;
    const atRegion = ifq.sizeof;
    const atArea = atRegion + region.sizeof;
    using argument = new Argument(atArea + areaReg.sizeof);
    const { view, address } = argument;
    view.setUint32(ifq.if_idx, u32(ifIndex, "ifIndex"), true);
    view.setUint32(ifq.if_rxq, u32(rxQueue, "rxQueue"), true);
    view.setUint32(ifq.rq_entries, entries, true);
    view.setUint32(ifq.flags, bits32(flags, "flags"), true);
    view.setUint32(ifq.rx_buf_len, u32(rxBufLen, "rxBufLen"), true);
    view.setBigUint64(ifq.region_ptr, BigInt(address + atRegion), true);
    view.setBigUint64(ifq.area_ptr, BigInt(address + atArea), true);
    view.setBigUint64(atArea + areaReg.addr, BigInt(Pinned.addressOf(area)), true);
    view.setBigUint64(atArea + areaReg.len, BigInt(Pinned.lengthOf(area)), true);
    const memory = alloc(PAGE * (1 + Math.ceil((2 * entries * io_uring_zcrx_rqe.sizeof) / PAGE)));
    view.setBigUint64(atRegion + region.user_addr, BigInt(memory.address), true);
    view.setBigUint64(atRegion + region.size, BigInt(memory.byteLength), true);
    view.setUint32(atRegion + region.flags, IORING_MEM_REGION_TYPE_USER, true);
    try {
      this.register(IORING_REGISTER_ZCRX_IFQ, address, 1, {
        [EPERM]: "Taking a device's receive queue needs CAP_NET_ADMIN",
        [EOPNOTSUPP]: "The network device can not deliver into this process's memory",
        [EINVAL]:
          "It takes a ring with IORING_SETUP_DEFER_TASKRUN and IORING_SETUP_CQE32 or IORING_SETUP_CQE_MIXED, a queue that " +
          "the interface has, and an area of whole pages",
      });
    } catch (error) {
      memory[Symbol.dispose]();
      throw error;
    }
    // The device writes to both for as long as there are packets.
    this.holdForGood(area);
    this.holdForGood(memory);
    const offset = (member: number) => view.getUint32(ifq.offsets + member, true);
    return {
      zcrxId: view.getUint32(ifq.zcrx_id, true),
      areaToken: view.getBigUint64(atArea + areaReg.rq_area_token, true),
      refill: {
        memory,
        head: offset(io_uring_zcrx_offsets.head),
        tail: offset(io_uring_zcrx_offsets.tail),
        rqes: offset(io_uring_zcrx_offsets.rqes),
        entries: view.getUint32(ifq.rq_entries, true),
      },
      rxBufLen: view.getUint32(ifq.rx_buf_len, true),
    };
  }

  /**
   * Has the kernel look at the buffers given back (`ZCRX_CTRL_FLUSH_RQ`), or makes an fd of a queue by which another ring
   * can share it (`ZCRX_CTRL_EXPORT`).
   *
   * @param zcrxId as `registerIfq` gave it
   * @param op `ZCRX_CTRL_*`
   * @returns the fd, for `ZCRX_CTRL_EXPORT`; 0 otherwise
   * @throws UringError EINVAL on a kernel before 6.19; ENXIO for a number that is no queue's. See
   * io_uring_register_zcrx_ctrl(3).
   */
  registerZcrxCtrl(zcrxId: number, op: number): number {
    using argument = new Argument(zcrx_ctrl.sizeof);
    argument.view.setUint32(zcrx_ctrl.zcrx_id, u32(zcrxId, "zcrxId"), true);
    argument.view.setUint32(zcrx_ctrl.op, u32(op, "op"), true);
    this.register(IORING_REGISTER_ZCRX_CTRL, argument.address, 0);
    return op === ZCRX_CTRL_EXPORT
      ? argument.view.getInt32(zcrx_ctrl.zc_export + zcrx_ctrl_export.zcrx_fd, true)
      : 0;
  }

  /**
   * Filters the ring's requests of one operation: those that the program returns 0 for are refused with -EACCES.
   *
   * @throws UringError EINVAL on a kernel before 7.0, or for a program it refuses. See io_uring_register_bpf_filter(3).
   */
  registerBpfFilter(filter: BpfFilter): void {
    using argument = bpfArgument(filter);
    this.register(IORING_REGISTER_BPF_FILTER, argument.address, 1);
  }
}
