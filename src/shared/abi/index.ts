/**
 * `uring/abi`: the constants and struct layouts of io_uring, under the names C knows them by.
 *
 * ```ts
 * import { IORING_SETUP_SQPOLL, io_uring_cqe } from "uring/abi";
 *
 * console.log(IORING_SETUP_SQPOLL, io_uring_cqe.res, io_uring_cqe.sizeof); // 2 8 16
 * ```
 *
 * @module
 */

export * from "./arch.ts";
export * from "./constants/files.ts";
export * from "./constants/io_uring.ts";
export * from "./constants/net.ts";
export * from "./constants/poll.ts";
export * from "./constants/process.ts";
export { fieldSizes } from "./layouts/field-sizes.ts";
export * from "./layouts/io_uring.ts";
export * from "./layouts/libc.ts";
