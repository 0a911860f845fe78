import type { UringError } from "../errors.ts";
import { errnoError, kernelRelease } from "../ring/errno.ts";
import type { Kind, Subject } from "./operation.ts";

const OF_AGE = new Set([22, 38, 95]);
const ENOSYS = 38;
const ENOBUFS = 105;
const ECANCELED = 125;

/** The error for an operation that ended with `-errno`. */
export function failure(kind: Kind, errno: number, about: Subject = {}): UringError {
  const release = kernelRelease();
  // EINVAL, ENOSYS and EOPNOTSUPP are also what an older kernel says to what it has never heard of.
  const old = OF_AGE.has(errno) && older(release, kind.since);
  const hint = old ? needs(kind, release) : undefined;
  return errnoError(errno, kind.name, { hint, ...about });
}

/** The error for an operation that the kernel does not have. */
export function unsupported(kind: Kind): UringError {
  return errnoError(ENOSYS, kind.name, { hint: needs(kind, kernelRelease()) });
}

/** The reason to end an operation that takes too long. */
export function timeoutError(kind: Kind): DOMException {
  return new DOMException(`${kind.name} took longer than its timeout`, "TimeoutError");
}

/** The error for an operation that ends because the proactor does. */
export function closedError(name: string): UringError {
  return errnoError(ECANCELED, name, { hint: "The proactor was closed" });
}

/** The error for a member of a chain that was cancelled with what comes before it. */
export function brokenChain(kind: Kind): UringError {
  return errnoError(ECANCELED, kind.name, {
    hint: "What comes before it in its chain has failed, or moved fewer bytes than it was to",
  });
}

/** The error for a member of a chain that was never handed over. */
export function notSubmitted(kind: Kind): UringError {
  return errnoError(ECANCELED, kind.name, { hint: "Its chain was not submitted" });
}

/** The error for messages that nobody has taken. */
export function tooManyMessages(lost: number, room: number): UringError {
  return errnoError(ENOBUFS, "msg_ring", {
    hint: `${lost} messages came while ${room} waited to be taken, and are lost: take them sooner`,
  });
}

function needs(kind: Kind, release: string): string {
  return `The operation ${kind.name} needs Linux ${kind.since}, and this is ${release}`;
}

/** Whether a kernel's release is before a version such as "6.7". */
function older(release: string, version: string): boolean {
  const [major = 0, minor = 0] = release.split(".").map(Number.parseFloat);
  const [wantMajor = 0, wantMinor = 0] = version.split(".").map(Number);
  return major < wantMajor || (major === wantMajor && minor < wantMinor);
}
