import { runtime } from "#runtime";
import * as abi from "../abi/index.ts";
import { type UringError, UringUnavailableError } from "../errors.ts";
import { errnoError, kernelRelease } from "./errno.ts";

const EPERM = 1;
const ENOMEM = 12;
const EACCES = 13;
const EEXIST = 17;
const EINVAL = 22;
const ENFILE = 23;
const EMFILE = 24;
const ENOSYS = 38;
const EBADR = 53;
const EBADFD = 77;
const EOWNERDEAD = 130;

/** Setup flags that came after the kernel floor, with the release that brought them. */
const FLAG_KERNELS: readonly (readonly [name: string, flag: number, kernel: string])[] = [
  ["IORING_SETUP_SUBMIT_ALL", abi.IORING_SETUP_SUBMIT_ALL, "5.18"],
  ["IORING_SETUP_COOP_TASKRUN", abi.IORING_SETUP_COOP_TASKRUN, "5.19"],
  ["IORING_SETUP_TASKRUN_FLAG", abi.IORING_SETUP_TASKRUN_FLAG, "5.19"],
  ["IORING_SETUP_SQE128", abi.IORING_SETUP_SQE128, "5.19"],
  ["IORING_SETUP_CQE32", abi.IORING_SETUP_CQE32, "5.19"],
  ["IORING_SETUP_SINGLE_ISSUER", abi.IORING_SETUP_SINGLE_ISSUER, "6.0"],
  ["IORING_SETUP_DEFER_TASKRUN", abi.IORING_SETUP_DEFER_TASKRUN, "6.1"],
  ["IORING_SETUP_NO_MMAP", abi.IORING_SETUP_NO_MMAP, "6.5"],
  ["IORING_SETUP_REGISTERED_FD_ONLY", abi.IORING_SETUP_REGISTERED_FD_ONLY, "6.5"],
  ["IORING_SETUP_NO_SQARRAY", abi.IORING_SETUP_NO_SQARRAY, "6.6"],
  ["IORING_SETUP_HYBRID_IOPOLL", abi.IORING_SETUP_HYBRID_IOPOLL, "6.13"],
  ["IORING_SETUP_CQE_MIXED", abi.IORING_SETUP_CQE_MIXED, "6.18"],
  ["IORING_SETUP_SQE_MIXED", abi.IORING_SETUP_SQE_MIXED, "6.19"],
  ["IORING_SETUP_SQ_REWIND", abi.IORING_SETUP_SQ_REWIND, "7.0"],
];

/**
 * The error for a ring that could not be set up, with the cause as far as it can be told.
 *
 * @param flags the flags the caller asked for
 * @param step what failed: the setup itself, mapping its memory, or finding huge pages for it
 */
export function setupError(
  errno: number,
  flags: number,
  step: "setup" | "mmap" | "huge" = "setup",
): UringError | UringUnavailableError {
  if (step === "setup") {
    const unavailable = blocked(errno);
    if (unavailable !== undefined) return unavailable;
  }
  const syscall = step === "setup" ? "io_uring_setup" : "mmap";
  return errnoError(errno, syscall, { hint: step === "huge" ? HUGE_HINT : setupHint(errno, flags) });
}

const HUGE_HINT =
  "There are not enough free huge pages of 2 MiB: `sysctl vm.nr_hugepages` sets how many the system keeps; " +
  "or leave the option memory out";

/** Tells a kernel without io_uring from one where it is switched off or filtered. `undefined` for other failures. */
export function blocked(errno: number): UringUnavailableError | undefined {
  if (errno !== ENOSYS && errno !== EPERM && errno !== EACCES) return undefined;
  const cause = errnoError(errno, "io_uring_setup");
  const release = kernelRelease();
  const disabled = runtime.load().sysctlDisabled();
  if (errno === EPERM && (disabled === 1 || disabled === 2)) {
    return new UringUnavailableError(
      "sysctl",
      `the sysctl kernel.io_uring_disabled is ${disabled}`,
      disabled === 2
        ? "It is off for every process: an administrator can run `sysctl kernel.io_uring_disabled=0`."
        : "It is off for processes without CAP_SYS_ADMIN outside the group of `sysctl kernel.io_uring_group`: an " +
            "administrator can add the user to that group or run `sysctl kernel.io_uring_disabled=0`.",
      cause,
    );
  }
  if (errno === ENOSYS && older(release, "5.1")) return tooOld("io_uring", cause);
  return new UringUnavailableError(
    "seccomp",
    `the call is refused with ${cause.code} although the kernel, ${release}, has it: a seccomp filter or security ` +
      "module forbids it",
    "Containers do so by default: start with `docker run --security-opt seccomp=unconfined`, or better with a profile " +
      "that allows io_uring_setup, io_uring_enter and io_uring_register.",
    cause,
  );
}

/**
 * The error for a kernel that is older than the least that works.
 *
 * @param what it is older than
 */
export function tooOld(what: string, cause?: unknown): UringUnavailableError {
  return new UringUnavailableError(
    "kernel",
    `this kernel, ${kernelRelease()}, is older than ${what}`,
    "Linux 5.11 is the least that works, 6.1 the least that works well.",
    cause,
  );
}

function setupHint(errno: number, flags: number): string | undefined {
  if (errno === ENOMEM) {
    return (
      "A ring's memory counts against the user's limit of locked memory (`ulimit -l`): raise it, close rings, or ask for " +
      "fewer entries"
    );
  }
  if (errno === EMFILE) return "The process has no file descriptor left: close some, or raise `ulimit -n`";
  if (errno === ENFILE) return "The system has no file left: `sysctl fs.file-max`";
  if (errno === EINVAL) {
    const release = kernelRelease();
    const absent = FLAG_KERNELS.filter(([, flag, kernel]) => {
      return (flags & flag) !== 0 && older(release, kernel);
    });
    if (absent.length > 0) {
      return `This kernel is ${release}: ${absent.map(([name, , kernel]) => `${name} came with Linux ${kernel}`).join(", ")}`;
    }
    const options = [
      [abi.IORING_SETUP_SQ_AFF, "sqThreadCpu is no CPU that this process may run on"],
      [abi.IORING_SETUP_ATTACH_WQ, "attachWq is no io_uring"],
    ] as const;
    const perhaps = options.filter(([flag]) => (flags & flag) !== 0).map(([, cause]) => `, or ${cause}`);
    return `Kernel ${release} refuses this set of flags, 0x${flags.toString(16)}; a newer one may take it${perhaps.join("")}`;
  }
  return undefined;
}

/**
 * The error for an `io_uring_enter(2)` that failed in a way no caller can go on from.
 *
 * @param flags the call's
 */
export function enterError(errno: number, flags = 0): UringError {
  const waits = (flags & abi.IORING_ENTER_EXT_ARG) !== 0;
  const hints: Record<number, string | undefined> = {
    [EINVAL]: waits ? newer("absolute and minWait", "6.12") : undefined,
    [EEXIST]: "A ring with IORING_SETUP_SINGLE_ISSUER belongs to the thread that created or enabled it",
    [EBADFD]: "The ring is disabled: enable it with enableRings()",
    [EBADR]: "Completions were lost: the system had no memory to keep those that did not fit into the queue",
    [EOWNERDEAD]: "The kernel's poller thread of this ring has died",
    [ENOMEM]: "The kernel had no memory for the requests",
  };
  return errnoError(errno, "io_uring_enter", { hint: hints[errno] });
}

/** Registration calls that came after the kernel floor, with the release that brought them. */
const REGISTER_KERNELS: readonly (readonly [name: string, opcode: number, kernel: string])[] = [
  ["IORING_REGISTER_FILES2", abi.IORING_REGISTER_FILES2, "5.13"],
  ["IORING_REGISTER_FILES_UPDATE2", abi.IORING_REGISTER_FILES_UPDATE2, "5.13"],
  ["IORING_REGISTER_BUFFERS2", abi.IORING_REGISTER_BUFFERS2, "5.13"],
  ["IORING_REGISTER_BUFFERS_UPDATE", abi.IORING_REGISTER_BUFFERS_UPDATE, "5.13"],
  ["IORING_REGISTER_IOWQ_AFF", abi.IORING_REGISTER_IOWQ_AFF, "5.14"],
  ["IORING_UNREGISTER_IOWQ_AFF", abi.IORING_UNREGISTER_IOWQ_AFF, "5.14"],
  ["IORING_REGISTER_IOWQ_MAX_WORKERS", abi.IORING_REGISTER_IOWQ_MAX_WORKERS, "5.15"],
  ["IORING_REGISTER_RING_FDS", abi.IORING_REGISTER_RING_FDS, "5.18"],
  ["IORING_UNREGISTER_RING_FDS", abi.IORING_UNREGISTER_RING_FDS, "5.18"],
  ["IORING_REGISTER_PBUF_RING", abi.IORING_REGISTER_PBUF_RING, "5.19"],
  ["IORING_UNREGISTER_PBUF_RING", abi.IORING_UNREGISTER_PBUF_RING, "5.19"],
  ["IORING_REGISTER_SYNC_CANCEL", abi.IORING_REGISTER_SYNC_CANCEL, "6.0"],
  ["IORING_REGISTER_FILE_ALLOC_RANGE", abi.IORING_REGISTER_FILE_ALLOC_RANGE, "6.0"],
  ["IORING_REGISTER_PBUF_STATUS", abi.IORING_REGISTER_PBUF_STATUS, "6.8"],
  ["IORING_REGISTER_NAPI", abi.IORING_REGISTER_NAPI, "6.9"],
  ["IORING_UNREGISTER_NAPI", abi.IORING_UNREGISTER_NAPI, "6.9"],
  ["IORING_REGISTER_CLOCK", abi.IORING_REGISTER_CLOCK, "6.12"],
  ["IORING_REGISTER_CLONE_BUFFERS", abi.IORING_REGISTER_CLONE_BUFFERS, "6.12"],
  ["IORING_REGISTER_SEND_MSG_RING", abi.IORING_REGISTER_SEND_MSG_RING, "6.13"],
  ["IORING_REGISTER_RESIZE_RINGS", abi.IORING_REGISTER_RESIZE_RINGS, "6.13"],
  ["IORING_REGISTER_MEM_REGION", abi.IORING_REGISTER_MEM_REGION, "6.13"],
  ["IORING_REGISTER_ZCRX_IFQ", abi.IORING_REGISTER_ZCRX_IFQ, "6.15"],
  ["IORING_REGISTER_QUERY", abi.IORING_REGISTER_QUERY, "6.18"],
  ["IORING_REGISTER_ZCRX_CTRL", abi.IORING_REGISTER_ZCRX_CTRL, "6.19"],
  ["IORING_REGISTER_BPF_FILTER", abi.IORING_REGISTER_BPF_FILTER, "7.0"],
];

/**
 * The error for an `io_uring_register(2)` that failed.
 *
 * @param hint what the caller knows of the likely cause
 */
export function registerError(errno: number, opcode: number, hint?: string): UringError {
  const [name, , kernel] = REGISTER_KERNELS.find(([, known]) => known === opcode) ?? [];
  if (errno === EINVAL && name !== undefined && kernel !== undefined) {
    const absent = newer(name, kernel);
    if (absent !== undefined) return errnoError(errno, "io_uring_register", { hint: absent });
  }
  const hints: Record<number, string> = {
    [EEXIST]: "A ring with IORING_SETUP_SINGLE_ISSUER belongs to the thread that created or enabled it",
    [ENOMEM]:
      "Registered memory counts against the user's limit of locked memory (`ulimit -l`): raise it or register less",
    [EACCES]: "The ring's restrictions do not allow this registration",
  };
  return errnoError(errno, "io_uring_register", { hint: hint ?? hints[errno] });
}

/** The sentence for what came with a later kernel than this one; `undefined` where this one has it. */
export function newer(what: string, kernel: string): string | undefined {
  const release = kernelRelease();
  return older(release, kernel)
    ? `${what} came with Linux ${kernel}, and this kernel is ${release}`
    : undefined;
}

/** Whether a kernel release such as "6.1.0-13-amd64" comes before a version. */
export function older(release: string, version: string): boolean {
  const [has = 0, hasMinor = 0] = release.split(/[.-]/).map(Number);
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return has < major || (has === major && hasMinor < minor);
}
