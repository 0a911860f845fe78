/**
 * `uring/testing`: a kernel in place of the real one, for tests that decide what completes, when, and with which result.
 *
 * @module
 */

export { Random } from "./random.ts";
