import * as abi from "uring/abi";
import type { Shim } from "../../src/shared/runtime.ts";
import { entryFacts, flagFacts } from "./entry-facts.ts";
import { isOlder, kernels } from "./kernels.ts";
import { registrationFacts } from "./registration-facts.ts";
import { release, withShim } from "./runtime.ts";
import { watchRings } from "./watched-rings.ts";

const EINVAL = 22;
const PAGE = 4096;

/** What no kernel has: an entry with it completes with EINVAL, as one that the kernel does not know does. */
const UNKNOWN_OPERATION = 255;

const firstKernels = new Map<string, string>(
  [kernels.operations, kernels.registrations, ...Object.values(kernels.flags)].flatMap(Object.entries),
);

/**
 * Runs a function on a kernel as old as a version, as far as one shows in what it answers: set-up flags, features,
 * operations and their flags, registrations, flags of waits, the probe, and its name.
 */
export function onKernel<T>(version: string, run: () => T): T {
  return withShim((real) => ({ ...olderKernel(real, version), ...release(`${version}.0-test`) }), run);
}

function olderKernel(real: Shim, version: string): Shim {
  const { shim, ringOf, peek } = watchRings(real);
  const isNewer = (name: string) => isOlder(version, firstKernels.get(name) ?? "0.0");
  const knownFlags = (group: string) =>
    Object.entries(kernels.flags[group] as Record<string, string>)
      .filter(([, first]) => !isOlder(version, first))
      .reduce((bits, [name]) => bits | ((abi as unknown as Record<string, number>)[name] as number), 0);

  return {
    ...shim,
    setup(entries, params) {
      const view = peek(params, abi.io_uring_params.sizeof);
      const flags = view.getUint32(abi.io_uring_params.flags, true);
      if (flagFacts("setup", flags).some(isNewer)) return -EINVAL;
      if ((flags & abi.IORING_SETUP_NO_MMAP) !== 0 && isOlder(version, "6.10")) {
        // These want each of the two parts in one piece of physical memory.
        if (entries * 64 > PAGE || entries * 2 * 16 + 64 > PAGE) return -EINVAL;
      }
      const fd = shim.setup(entries, params);
      const { features } = abi.io_uring_params;
      if (fd >= 0) view.setUint32(features, view.getUint32(features, true) & knownFlags("features"), true);
      return fd;
    },

    enter(fd, toSubmit, minComplete, flags, arg, argSize) {
      if (flagFacts("enter", flags).some(isNewer)) return -EINVAL;
      if ((flags & abi.IORING_ENTER_EXT_ARG) !== 0 && isOlder(version, "6.12")) {
        const { min_wait_usec } = abi.io_uring_getevents_arg;
        if (peek(arg + min_wait_usec, 4).getUint32(0, true) !== 0) return -EINVAL;
      }
      const ring = ringOf(fd, (flags & abi.IORING_ENTER_REGISTERED_RING) !== 0);
      if (ring?.visible) {
        for (let at = ring.sqHead; at !== ring.sqTail; at = (at + 1) | 0) {
          const entry = ring.entry(at);
          if (entryFacts(entry).some(isNewer)) entry.setUint8(abi.io_uring_sqe.opcode, UNKNOWN_OPERATION);
        }
      }
      return shim.enter(fd, toSubmit, minComplete, flags, arg, argSize);
    },

    register(fd, opcode, arg, nrArgs) {
      const registered = (opcode & abi.IORING_REGISTER_USE_REGISTERED_RING) !== 0;
      const call = (opcode & ~abi.IORING_REGISTER_USE_REGISTERED_RING) >>> 0;
      if (registered && isNewer("IORING_REGISTER_USE_REGISTERED_RING")) return -EINVAL;
      const asked = call === abi.IORING_REGISTER_PROBE ? [] : registrationFacts(call, peek, arg, nrArgs);
      if (asked.some(isNewer)) return -EINVAL;
      const result = shim.register(fd, opcode, arg, nrArgs);
      if (call === abi.IORING_REGISTER_PROBE && result === 0) forgetNewer(arg, nrArgs);
      return result;
    },
  };

  /** Takes out of a probe's answer what the kernel would not have known. */
  function forgetNewer(arg: number, nrArgs: number): void {
    const { io_uring_probe: probe, io_uring_probe_op: op } = abi;
    const names = Object.keys(kernels.operations);
    const known = names.filter((name) => !isNewer(name)).length;
    const head = peek(arg, probe.sizeof);
    head.setUint8(probe.last_op, known - 1);
    head.setUint8(probe.ops_len, Math.min(known, nrArgs));
    for (let i = known; i < nrArgs; i++) {
      const answer = peek(arg + probe.ops + i * op.sizeof, op.sizeof);
      for (let byte = 0; byte < op.sizeof; byte++) answer.setUint8(byte, 0);
    }
  }
}
