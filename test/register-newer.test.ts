// What newer kernels, or special devices, have: used where it is there, explained where it is not.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  alloc,
  available,
  type BpfFilter,
  query,
  Ring,
  registerBpfFilterTask,
  UringError,
  type ZcrxOptions,
} from "uring";
import * as abi from "uring/abi";
import { account, runChild } from "./support/child.ts";
import { exercise } from "./support/ring.ts";
import { kernelTakes, release, type Shim, withShim } from "./support/runtime.ts";

const EPERM = 1;
const ENXIO = 6;
const EINVAL = 22;
const EOPNOTSUPP = 95;

const DEFER = abi.IORING_SETUP_SINGLE_ISSUER | abi.IORING_SETUP_DEFER_TASKRUN;
const LARGE = DEFER | abi.IORING_SETUP_CQE32;

function fails(code: string, message: RegExp) {
  return { name: "UringError", code, syscall: "io_uring_register", message };
}

/** A kernel that answers one registration itself, given the argument's memory. */
function answering(
  op: number,
  answer: (view: DataView, real: Shim) => number,
): (real: Shim) => Partial<Shim> {
  return (real) => ({
    register: (fd, opcode, arg, count) =>
      (opcode & 0xff) === op
        ? answer(new DataView(real.view(arg, 4096)), real)
        : real.register(fd, opcode, arg, count),
  });
}

/** Bytes at an address, as they are now. */
function bytesAt(real: Shim, address: bigint, length: number): Uint8Array {
  return new Uint8Array(real.view(Number(address), length)).slice();
}

const answered = (() => {
  try {
    return query();
  } catch (error) {
    if (error instanceof UringError && error.code === "EINVAL") return undefined;
    throw error;
  }
})();
const canQuery = answered === undefined ? { skip: "query came with Linux 6.18" } : {};

describe("query", () => {
  it("tells what rings and probes tell, and needs none", canQuery, () => {
    const { requestOpcodes, registerOpcodes, features, setupFlags, enterFlags, sqeFlags, queryOpcodes } =
      query();
    using ring = new Ring({ entries: 1 });
    assert.equal(requestOpcodes, ring.probe().lastOp + 1);
    assert.equal(features, ring.features);
    assert.ok(registerOpcodes > abi.IORING_REGISTER_QUERY);
    assert.equal(enterFlags & abi.IORING_ENTER_EXT_ARG, abi.IORING_ENTER_EXT_ARG);
    assert.equal(sqeFlags & 0x7f, 0x7f);
    assert.ok(queryOpcodes >= 1);
    const io = available();
    assert.equal(io.ok && io.features, features);
    for (const flag of [
      abi.IORING_SETUP_SQE128,
      abi.IORING_SETUP_SUBMIT_ALL,
      abi.IORING_SETUP_CQE_MIXED,
      abi.IORING_SETUP_SQE_MIXED,
      abi.IORING_SETUP_SQ_REWIND,
    ]) {
      // Queues of some kinds go with other flags alone.
      const also = flag === abi.IORING_SETUP_SQ_REWIND ? abi.IORING_SETUP_NO_SQARRAY : 0;
      assert.equal((setupFlags & flag) !== 0, kernelTakes(flag | also), `flag 0x${flag.toString(16)}`);
    }
  });

  it("tells null of what the kernel does not know", canQuery, () => {
    const { queryOpcodes, zcrx, queues } = query();
    assert.equal(zcrx === null, queryOpcodes <= abi.IO_URING_QUERY_ZCRX);
    assert.equal(queues === null, queryOpcodes <= abi.IO_URING_QUERY_SCQ);
  });

  it("reads each answer from its place", () => {
    const header = abi.io_uring_query_hdr;
    const answers = [
      [abi.IO_URING_QUERY_OPCODES, abi.io_uring_query_opcode.sizeof, [60, 40, 5]],
      [abi.IO_URING_QUERY_ZCRX, abi.io_uring_query_zcrx.sizeof, []],
      [abi.IO_URING_QUERY_SCQ, abi.io_uring_query_scq.sizeof, []],
    ] as const;
    const result = withShim(
      answering(abi.IORING_REGISTER_QUERY, (head, real) => {
        let view = head;
        for (const [op, size] of answers) {
          assert.equal(view.getUint32(header.query_op, true), op);
          assert.equal(view.getUint32(header.size, true), size);
          assert.equal(view.getInt32(header.result, true), 0);
          const data = new DataView(real.view(Number(view.getBigUint64(header.query_data, true)), size));
          if (op === abi.IO_URING_QUERY_OPCODES) {
            const o = abi.io_uring_query_opcode;
            for (const [i, at] of [
              o.nr_request_opcodes,
              o.nr_register_opcodes,
              o.nr_query_opcodes,
            ].entries()) {
              data.setUint32(at, 60 + i, true);
            }
            const masks = [o.feature_flags, o.ring_setup_flags, o.enter_flags, o.sqe_flags];
            for (const [i, at] of masks.entries()) data.setBigUint64(at, BigInt(2 ** 40 + i), true);
          } else if (op === abi.IO_URING_QUERY_ZCRX) {
            const z = abi.io_uring_query_zcrx;
            data.setBigUint64(z.register_flags, 11n, true);
            data.setBigUint64(z.area_flags, 12n, true);
            data.setUint32(z.nr_ctrl_opcodes, 13, true);
            data.setUint32(z.features, 14, true);
            data.setUint32(z.rq_hdr_size, 15, true);
            data.setUint32(z.rq_hdr_alignment, 16, true);
          } else {
            data.setBigUint64(abi.io_uring_query_scq.hdr_size, 17n, true);
            data.setBigUint64(abi.io_uring_query_scq.hdr_alignment, 18n, true);
          }
          const next = view.getBigUint64(header.next_entry, true);
          if (next !== 0n) view = new DataView(real.view(Number(next), header.sizeof));
        }
        return 0;
      }),
      query,
    );
    assert.deepEqual(result, {
      requestOpcodes: 60,
      registerOpcodes: 61,
      queryOpcodes: 62,
      features: 2 ** 40,
      setupFlags: 2 ** 40 + 1,
      enterFlags: 2 ** 40 + 2,
      sqeFlags: 2 ** 40 + 3,
      zcrx: {
        registerFlags: 11,
        areaFlags: 12,
        ctrlOpcodes: 13,
        features: 14,
        refillHeaderSize: 15,
        refillHeaderAlignment: 16,
      },
      queues: { headerSize: 17, headerAlignment: 18 },
    });
  });

  it("is explained to a kernel before 6.18", () => {
    withShim({ ...release("6.17.3"), register: () => -EINVAL }, () =>
      assert.throws(
        query,
        fails("EINVAL", /IORING_REGISTER_QUERY came with Linux 6\.18, and this kernel is 6\.17\.3/),
      ),
    );
  });
});

const RETURN_ALLOW = { code: 0x06, k: 1 };
const filter: BpfFilter = {
  opcode: abi.IORING_OP_NOP,
  program: [{ code: 0x20, k: 8 }, { code: 0x15, jt: 1, jf: 255, k: 0xffff_ffff }, RETURN_ALLOW],
  flags: 1,
  pduSize: 24,
};

describe("a BPF filter", () => {
  it("is given to the kernel as it is, for a ring or a task", () => {
    let calls = 0;
    const check = answering(abi.IORING_REGISTER_BPF_FILTER, (view, real) => {
      const at = abi.io_uring_bpf.filter;
      const f = abi.io_uring_bpf_filter;
      assert.equal(view.getUint16(abi.io_uring_bpf.cmd_type, true), abi.IO_URING_BPF_CMD_FILTER);
      assert.equal(view.getUint32(at + f.opcode, true), abi.IORING_OP_NOP);
      assert.equal(view.getUint32(at + f.flags, true), 1);
      assert.equal(view.getUint32(at + f.filter_len, true), 3);
      assert.equal(view.getUint8(at + f.pdu_size), 24);
      const program = bytesAt(real, view.getBigUint64(at + f.filter_ptr, true), 24);
      assert.deepEqual(
        [...program],
        [0x20, 0, 0, 0, 8, 0, 0, 0, 0x15, 0, 1, 255, 255, 255, 255, 255, 0x06, 0, 0, 0, 1, 0, 0, 0],
      );
      calls++;
      return 0;
    });
    withShim(check, () => {
      using ring = new Ring({ entries: 4 });
      ring.registerBpfFilter(filter);
      registerBpfFilterTask(filter);
    });
    assert.equal(calls, 2);
  });

  it("is refused where it can be none, before the kernel is asked", () => {
    const check = answering(abi.IORING_REGISTER_BPF_FILTER, () => assert.fail("the kernel was asked"));
    withShim(check, () => {
      using ring = new Ring({ entries: 4 });
      const wrong: [unknown, string][] = [
        [undefined, "TypeError"],
        [null, "TypeError"],
        [{}, "TypeError"],
        [{ opcode: 1 }, "TypeError"],
        [{ ...filter, opcode: "1" }, "TypeError"],
        [{ ...filter, opcode: 256 }, "RangeError"],
        [{ ...filter, program: [] }, "RangeError"],
        [{ ...filter, program: "ret" }, "TypeError"],
        [{ ...filter, program: Array.from({ length: 4097 }, () => RETURN_ALLOW) }, "RangeError"],
        [{ ...filter, program: [null] }, "TypeError"],
        [{ ...filter, program: [{}] }, "TypeError"],
        [{ ...filter, program: [{ code: 65536 }] }, "RangeError"],
        [{ ...filter, program: [{ code: 6, jt: 256 }] }, "RangeError"],
        [{ ...filter, program: [{ code: 6, jf: -1 }] }, "RangeError"],
        [{ ...filter, program: [{ code: 6, k: 2 ** 32 }] }, "RangeError"],
        [{ ...filter, flags: 2 ** 32 }, "RangeError"],
        [{ ...filter, pduSize: 256 }, "RangeError"],
      ];
      for (const [value, name] of wrong) {
        const what = JSON.stringify(value)?.slice(0, 80);
        assert.throws(() => ring.registerBpfFilter(value as BpfFilter), { name }, what);
        assert.throws(() => registerBpfFilterTask(value as BpfFilter), { name }, what);
      }
      ring.close();
      assert.throws(() => ring.registerBpfFilter(filter), {
        name: "TypeError",
        message: "the ring is closed",
      });
    });
  });

  it("is explained where the kernel has none", () => {
    const check = (real: Shim) => ({
      ...answering(abi.IORING_REGISTER_BPF_FILTER, () => -EINVAL)(real),
      ...release("6.18.44"),
    });
    const explained = fails(
      "EINVAL",
      /IORING_REGISTER_BPF_FILTER came with Linux 7\.0, and this kernel is 6\.18\.44/,
    );
    withShim(check, () => {
      using ring = new Ring({ entries: 4 });
      assert.throws(() => ring.registerBpfFilter(filter), explained);
      assert.throws(() => registerBpfFilterTask(filter), explained);
    });
  });

  it("is taken by this kernel, or that is explained", () => {
    // In a process of its own: a task's filter is for good.
    const ended = runChild("filter-child.ts", []);
    assert.equal(ended.status, 0, account(ended));
    const outcome = ended.stdout.trim();
    assert.match(
      outcome,
      /^(refused as asked|explained: EINVAL.* IORING_REGISTER_BPF_FILTER came with Linux 7\.0.*)$/,
    );
  });
});

describe("zero-copy receive", () => {
  const area = alloc(65536);
  const options: ZcrxOptions = { ifIndex: 1, rxQueue: 0, entries: 64, area };

  it("is given the interface, the queue, the area and memory for what is given back", () => {
    const check = answering(abi.IORING_REGISTER_ZCRX_IFQ, (view, real) => {
      const ifq = abi.io_uring_zcrx_ifq_reg;
      assert.equal(view.getUint32(ifq.if_idx, true), 3);
      assert.equal(view.getUint32(ifq.if_rxq, true), 5);
      assert.equal(view.getUint32(ifq.rq_entries, true), 64);
      assert.equal(view.getUint32(ifq.flags, true), 2);
      assert.equal(view.getUint32(ifq.rx_buf_len, true), 8192);
      const { buffer: region } = bytesAt(
        real,
        view.getBigUint64(ifq.region_ptr, true),
        abi.io_uring_region_desc.sizeof,
      );
      const regionView = new DataView(region);
      const size = regionView.getBigUint64(abi.io_uring_region_desc.size, true);
      assert.ok(size >= 64n * BigInt(abi.io_uring_zcrx_rqe.sizeof) && size % 65536n === 0n);
      assert.equal(
        regionView.getUint32(abi.io_uring_region_desc.flags, true),
        abi.IORING_MEM_REGION_TYPE_USER,
      );
      const at = view.getBigUint64(ifq.area_ptr, true);
      const areaView = new DataView(real.view(Number(at), abi.io_uring_zcrx_area_reg.sizeof));
      assert.equal(Number(areaView.getBigUint64(abi.io_uring_zcrx_area_reg.addr, true)), area.address);
      assert.equal(Number(areaView.getBigUint64(abi.io_uring_zcrx_area_reg.len, true)), 65536);
      // What the kernel answers.
      areaView.setBigUint64(abi.io_uring_zcrx_area_reg.rq_area_token, 2n ** 48n, true);
      view.setUint32(ifq.zcrx_id, 7, true);
      view.setUint32(ifq.rq_entries, 128, true);
      view.setUint32(ifq.rx_buf_len, 4096, true);
      const offsets = abi.io_uring_zcrx_offsets;
      view.setUint32(ifq.offsets + offsets.head, 8, true);
      view.setUint32(ifq.offsets + offsets.tail, 16, true);
      view.setUint32(ifq.offsets + offsets.rqes, 64, true);
      return 0;
    });
    withShim(check, () => {
      using ring = new Ring({ entries: 8, flags: LARGE });
      const queue = ring.registerIfq({ ...options, ifIndex: 3, rxQueue: 5, flags: 2, rxBufLen: 8192 });
      const { memory, ...refill } = queue.refill;
      assert.deepEqual([queue.zcrxId, queue.areaToken, queue.rxBufLen], [7, 2n ** 48n, 4096]);
      assert.deepEqual(refill, { head: 8, tail: 16, rqes: 64, entries: 128 });
      assert.ok(memory.byteLength >= 65536);
    });
  });

  it("is refused by what this machine lacks, with a sentence", () => {
    using ring = new Ring({ entries: 8, flags: LARGE });
    // A loopback interface has no queue that could be had, and this kernel perhaps no zero-copy receive.
    assert.throws(
      () => ring.registerIfq(options),
      (error) => {
        assert.ok(error instanceof UringError, String(error));
        assert.ok(["EPERM", "EINVAL", "EOPNOTSUPP", "ENODEV"].includes(error.code), error.message);
        return true;
      },
    );
    exercise(ring);
    using small = new Ring({ entries: 8 });
    assert.throws(() => small.registerIfq(options), { name: "UringError" });
  });

  for (const [errno, code, message] of [
    [EPERM, "EPERM", /needs CAP_NET_ADMIN/],
    [EOPNOTSUPP, "EOPNOTSUPP", /can not deliver into this process's memory/],
    [EINVAL, "EINVAL", /IORING_SETUP_DEFER_TASKRUN and IORING_SETUP_CQE32 or IORING_SETUP_CQE_MIXED/],
  ] as const) {
    it(`is refused with ${code} for a reason that is told`, () => {
      withShim(
        answering(abi.IORING_REGISTER_ZCRX_IFQ, () => -errno),
        () => {
          using ring = new Ring({ entries: 8 });
          assert.throws(() => ring.registerIfq(options), fails(code, message));
        },
      );
    });
  }

  it("is explained to kernels before 6.15, its control before 6.19", () => {
    const old = (real: Shim) => ({
      ...release("6.14.0"),
      register: (...args: Parameters<Shim["register"]>) =>
        (args[1] & 0xff) >= abi.IORING_REGISTER_ZCRX_IFQ ? -EINVAL : real.register(...args),
    });
    withShim(old, () => {
      using ring = new Ring({ entries: 8 });
      assert.throws(
        () => ring.registerIfq(options),
        fails("EINVAL", /IORING_REGISTER_ZCRX_IFQ came with Linux 6\.15, and this kernel is 6\.14\.0/),
      );
      assert.throws(
        () => ring.registerZcrxCtrl(0, 0),
        fails("EINVAL", /IORING_REGISTER_ZCRX_CTRL came with Linux 6\.19, and this kernel is 6\.14\.0/),
      );
    });
  });

  it("is controlled by a queue's number, and gives an fd where that is asked for", () => {
    const check = answering(abi.IORING_REGISTER_ZCRX_CTRL, (view) => {
      assert.equal(view.getUint32(abi.zcrx_ctrl.zcrx_id, true), 7);
      const op = view.getUint32(abi.zcrx_ctrl.op, true);
      view.setInt32(abi.zcrx_ctrl.zc_export + abi.zcrx_ctrl_export.zcrx_fd, 33, true);
      return op > 5 ? -ENXIO : 0;
    });
    withShim(check, () => {
      using ring = new Ring({ entries: 8 });
      assert.equal(ring.registerZcrxCtrl(7, abi.ZCRX_CTRL_EXPORT), 33);
      assert.equal(ring.registerZcrxCtrl(7, abi.ZCRX_CTRL_FLUSH_RQ), 0);
      assert.throws(() => ring.registerZcrxCtrl(7, 6), fails("ENXIO", /./));
      for (const wrong of [-1, 2 ** 32, 0.5]) {
        assert.throws(() => ring.registerZcrxCtrl(wrong, 0), RangeError);
        assert.throws(() => ring.registerZcrxCtrl(0, wrong), RangeError);
      }
    });
    using ring = new Ring({ entries: 8 });
    assert.throws(() => ring.registerZcrxCtrl(0, abi.ZCRX_CTRL_FLUSH_RQ), { name: "UringError" });
  });

  it("is refused where it can be none, before the kernel is asked", () => {
    withShim(
      answering(abi.IORING_REGISTER_ZCRX_IFQ, () => assert.fail("the kernel was asked")),
      () => {
        using ring = new Ring({ entries: 8 });
        const gone = alloc(65536);
        gone[Symbol.dispose]();
        const wrong: [unknown, string][] = [
          [undefined, "TypeError"],
          [{}, "TypeError"],
          [{ ...options, area: new Uint8Array(65536) }, "TypeError"],
          [{ ...options, area: gone }, "TypeError"],
          [{ ...options, entries: 0 }, "RangeError"],
          [{ ...options, entries: 32769 }, "RangeError"],
          [{ ...options, ifIndex: -1 }, "RangeError"],
          [{ ...options, rxQueue: "0" }, "TypeError"],
          [{ ...options, flags: 2 ** 32 }, "RangeError"],
          [{ ...options, rxBufLen: -1 }, "RangeError"],
        ];
        for (const [value, name] of wrong) {
          assert.throws(() => ring.registerIfq(value as ZcrxOptions), { name });
        }
      },
    );
  });
});
