import * as abi from "uring/abi";
import { flagFacts, valueFacts } from "./entry-facts.ts";
import { kernels } from "./kernels.ts";

const names = Object.keys(kernels.registrations);

/** Memory at an address. */
type Peek = (address: number, length: number) => DataView;
type Reader = (peek: Peek, arg: number, nrArgs: number) => string[];

const { io_uring_rsrc_register: resources, io_uring_restriction: restriction } = abi;

const sparse: Reader = (peek, arg) =>
  flagFacts("resources", peek(arg, resources.sizeof).getUint32(resources.flags, true));

/** What the arguments of registrations show beside the registration itself. */
const readers: Readonly<Record<number, Reader>> = {
  [abi.IORING_REGISTER_FILES2]: sparse,
  [abi.IORING_REGISTER_BUFFERS2]: sparse,
  [abi.IORING_REGISTER_FILES_UPDATE](peek, arg, nrArgs) {
    const { data } = abi.io_uring_rsrc_update;
    const fds = Number(peek(arg + data, 8).getBigUint64(0, true));
    return valuesAt(peek(fds, 4 * nrArgs), "filesUpdate");
  },
  [abi.IORING_REGISTER_FILES_UPDATE2](peek, arg) {
    const layout = abi.io_uring_rsrc_update2;
    const update = peek(arg, layout.sizeof);
    const fds = Number(update.getBigUint64(layout.data, true));
    return valuesAt(peek(fds, 4 * update.getUint32(layout.nr, true)), "filesUpdate");
  },
  [abi.IORING_REGISTER_PROBE](peek, arg) {
    const { ops } = abi.io_uring_probe;
    return flagFacts("probe", peek(arg + ops, abi.io_uring_probe_op.sizeof).getUint16(2, true));
  },
  [abi.IORING_REGISTER_RESTRICTIONS]: (peek, arg, nrArgs) =>
    Array.from({ length: nrArgs }, (_, i) =>
      peek(arg + i * restriction.sizeof, 2).getUint16(0, true),
    ).flatMap((opcode) => valueFacts("restriction", opcode)),
  [abi.IORING_REGISTER_IOWQ_MAX_WORKERS]: () => ["IO_WQ_BOUND", "IO_WQ_UNBOUND"],
  [abi.IORING_REGISTER_PBUF_RING]: (peek, arg) =>
    flagFacts("bufferRing", peek(arg + abi.io_uring_buf_reg.flags, 2).getUint16(0, true)),
  [abi.IORING_REGISTER_SYNC_CANCEL]: (peek, arg) =>
    flagFacts("cancel", peek(arg + abi.io_uring_sync_cancel_reg.flags, 4).getUint32(0, true)),
  [abi.IORING_REGISTER_CLONE_BUFFERS]: (peek, arg) =>
    flagFacts("clone", peek(arg + abi.io_uring_clone_buffers.flags, 4).getUint32(0, true)),
  [abi.IORING_REGISTER_MEM_REGION](peek, arg) {
    const region = peek(arg, abi.io_uring_mem_region_reg.sizeof);
    const description = Number(region.getBigUint64(abi.io_uring_mem_region_reg.region_uptr, true));
    const type = peek(description + abi.io_uring_region_desc.flags, 4).getUint32(0, true);
    return [
      ...flagFacts("memoryRegion", Number(region.getBigUint64(abi.io_uring_mem_region_reg.flags, true))),
      ...flagFacts("memoryRegionType", type),
    ];
  },
  [abi.IORING_REGISTER_SEND_MSG_RING]: () => ["IORING_MSG_DATA"],
  [abi.IORING_REGISTER_QUERY](peek, arg) {
    const layout = abi.io_uring_query_hdr;
    const answered: string[] = [];
    for (let at = arg; at !== 0; ) {
      const head = peek(at, layout.sizeof);
      if (head.getInt32(layout.result, true) >= 0) {
        answered.push(...valueFacts("query", head.getUint32(layout.query_op, true)));
      }
      at = Number(head.getBigUint64(layout.next_entry, true));
    }
    return answered;
  },
};

function valuesAt(fds: DataView, group: string): string[] {
  return Array.from({ length: fds.byteLength / 4 }, (_, i) =>
    valueFacts(group, fds.getInt32(4 * i, true)),
  ).flat();
}

/** The names of a registration that the kernel has made, and of every flag in its argument. */
export function registrationFacts(opcode: number, peek: Peek, arg: number, nrArgs: number): string[] {
  const name = names[opcode];
  return [...(name === undefined ? [] : [name]), ...(readers[opcode]?.(peek, arg, nrArgs) ?? [])];
}
