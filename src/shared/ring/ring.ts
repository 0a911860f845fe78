import { NewerRegistration } from "./register/newer.ts";

/**
 * An io_uring: a pair of queues shared with the kernel.
 *
 * This layer is manual: `getSqe` and a prep helper describe an operation, `submit` hands it to the kernel, `drain` reads
 * what has completed, and `user_data` tells which is which. Nothing runs in the background. A ring is for the thread that
 * made it. See io_uring(7).
 *
 * @example
 * ```ts
 * import { cstring, Ring } from "uring";
 * import { AT_FDCWD, O_RDONLY } from "uring/abi";
 *
 * using ring = new Ring({ entries: 8 });
 * ring.getSqe()?.prepOpenat(AT_FDCWD, cstring("/proc/version"), O_RDONLY, 0).setData64(1);
 * ring.submitAndWait(1);
 * ring.drain((userData, res) => console.log(userData, res > 0)); // 1 true
 * ```
 */
export class Ring extends NewerRegistration {}
