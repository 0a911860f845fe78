import { runtime } from "#runtime";
import {
  IO_URING_QUERY_OPCODES,
  IO_URING_QUERY_SCQ,
  IO_URING_QUERY_ZCRX,
  IORING_REGISTER_QUERY,
  io_uring_query_hdr,
  io_uring_query_opcode,
  io_uring_query_scq,
  io_uring_query_zcrx,
} from "../abi/index.ts";
import { Argument } from "./argument.ts";
import { registerError } from "./diagnosis.ts";

/** What a kernel's io_uring can do. Masks are exact up to 2^53. */
export interface KernelQuery {
  /** How many operations it knows: `IORING_OP_*` below this number, some of them perhaps not built in. */
  readonly requestOpcodes: number;
  /** How many calls of `io_uring_register(2)`: `IORING_REGISTER_*` below this number. */
  readonly registerOpcodes: number;
  /** Every `IORING_FEAT_*` it has. */
  readonly features: number;
  /** Every `IORING_SETUP_*` flag it takes. */
  readonly setupFlags: number;
  /** Every `IORING_ENTER_*` flag it takes. */
  readonly enterFlags: number;
  /** Every `IOSQE_*` flag it takes. */
  readonly sqeFlags: number;
  /** How many queries it answers; 0 where it does not tell. */
  readonly queryOpcodes: number;
  /** Of zero-copy receive; `null` where the kernel does not tell. */
  readonly zcrx: {
    readonly registerFlags: number;
    readonly areaFlags: number;
    readonly ctrlOpcodes: number;
    readonly features: number;
    readonly refillHeaderSize: number;
    readonly refillHeaderAlignment: number;
  } | null;
  /** Of the queues' memory; `null` where the kernel does not tell. */
  readonly queues: { readonly headerSize: number; readonly headerAlignment: number } | null;
}

const QUERIES = [
  [IO_URING_QUERY_OPCODES, io_uring_query_opcode.sizeof],
  [IO_URING_QUERY_ZCRX, io_uring_query_zcrx.sizeof],
  [IO_URING_QUERY_SCQ, io_uring_query_scq.sizeof],
] as const;

/**
 * Asks the kernel what its io_uring can do. Needs no ring.
 *
 * @throws UringError EINVAL on a kernel before 6.18: there `ring.features` and `ring.probe()` tell, and set-up by trying.
 * See io_uring_register_query(3).
 *
 * @example
 * ```ts
 * import { query } from "uring";
 * import { IORING_SETUP_SQE_MIXED } from "uring/abi";
 *
 * const { setupFlags } = query();
 * console.log("entries of mixed sizes:", (setupFlags & IORING_SETUP_SQE_MIXED) !== 0);
 * ```
 */
export function query(): KernelQuery {
  const layout = io_uring_query_hdr;
  const heads = QUERIES.length * layout.sizeof;
  using argument = new Argument(QUERIES.reduce((sum, [, size]) => sum + size, heads));
  const { view, address } = argument;
  let data = heads;
  const answers = QUERIES.map(([op, size], i) => {
    const head = i * layout.sizeof;
    const next = i + 1 < QUERIES.length ? address + head + layout.sizeof : 0;
    view.setBigUint64(head + layout.next_entry, BigInt(next), true);
    view.setBigUint64(head + layout.query_data, BigInt(address + data), true);
    view.setUint32(head + layout.query_op, op, true);
    view.setUint32(head + layout.size, size, true);
    data += size;
    return { head, at: data - size };
  });
  const result = runtime.load().register(-1, IORING_REGISTER_QUERY, address, 0);
  if (result < 0) throw registerError(-result, IORING_REGISTER_QUERY);

  const u32 = (at: number) => view.getUint32(at, true);
  const u64 = (at: number) => Number(view.getBigUint64(at, true));
  const [opcodes, zcrx, queues] = answers.map(({ head, at }) =>
    view.getInt32(head + layout.result, true) === 0 ? at : -1,
  ) as [number, number, number];
  const o = io_uring_query_opcode;
  const z = io_uring_query_zcrx;
  const q = io_uring_query_scq;
  return {
    requestOpcodes: u32(opcodes + o.nr_request_opcodes),
    registerOpcodes: u32(opcodes + o.nr_register_opcodes),
    features: u64(opcodes + o.feature_flags),
    setupFlags: u64(opcodes + o.ring_setup_flags),
    enterFlags: u64(opcodes + o.enter_flags),
    sqeFlags: u64(opcodes + o.sqe_flags),
    queryOpcodes: u32(opcodes + o.nr_query_opcodes),
    zcrx:
      zcrx < 0
        ? null
        : {
            registerFlags: u64(zcrx + z.register_flags),
            areaFlags: u64(zcrx + z.area_flags),
            ctrlOpcodes: u32(zcrx + z.nr_ctrl_opcodes),
            features: u32(zcrx + z.features),
            refillHeaderSize: u32(zcrx + z.rq_hdr_size),
            refillHeaderAlignment: u32(zcrx + z.rq_hdr_alignment),
          },
    queues:
      queues < 0
        ? null
        : { headerSize: u64(queues + q.hdr_size), headerAlignment: u64(queues + q.hdr_alignment) },
  };
}
