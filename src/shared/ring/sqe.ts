import { ProcessPrep } from "./prep/process.ts";

/**
 * An entry of the submission queue, from `ring.getSqe()`: one method for every prep helper of liburing, and setters for
 * what all operations have in common.
 *
 * Every method returns the entry. It is the caller's until `ring.submit()`; methods throw afterwards, since the kernel may
 * be reading. A helper that refuses its arguments leaves a fresh entry the no-op that it was.
 *
 * @example
 * ```ts
 * import { alloc, Ring } from "uring";
 *
 * using buffer = alloc(4096);
 * using ring = new Ring({ entries: 8 });
 * ring.getSqe()?.prepRead(0, buffer, 4096, -1).setData64(1);
 * ring.submit();
 * ```
 */
export class Sqe extends ProcessPrep {}
