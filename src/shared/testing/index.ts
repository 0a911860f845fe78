/**
 * `uring/testing`: a kernel in place of the real one, for tests that decide what completes, when, and with which result.
 *
 * @module
 */

export { pattern } from "./behaviours.ts";
export { SimulatedKernel, simulateKernel } from "./kernel.ts";
export type { OperationState, Outcome, SimulatedOperation } from "./operation.ts";
export { Random } from "./random.ts";
export type { KernelOptions, Policy, TraceEvent, Violation } from "./world.ts";
