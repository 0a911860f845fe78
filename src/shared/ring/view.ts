import { runtime } from "#runtime";

/** A buffer as far as its memory may move, which older libraries of types do not know yet. */
type Buffer = ArrayBufferLike & { resizable?: boolean; growable?: boolean; detached?: boolean };

// A subclass or an own property may say anything of a view. The kernel must be told what the engine knows.
const length = engineGetter<number>("byteLength");
const buffer = engineGetter<Buffer>("buffer");

function engineGetter<T>(name: "byteLength" | "buffer"): (this: Uint8Array) => T {
  const typedArray = Object.getPrototypeOf(Uint8Array.prototype);
  return Object.getOwnPropertyDescriptor(typedArray, name)?.get as (this: Uint8Array) => T;
}

/** How many bytes a view has. Throws a `TypeError` for what only looks like one. */
export function viewLength(view: Uint8Array): number {
  return length.call(view);
}

/** The buffer that a view's bytes are in: what keeps them reachable. */
export function viewBuffer(view: Uint8Array): ArrayBufferLike {
  return buffer.call(view);
}

/** Throws a `TypeError` unless the memory behind a view is its own, and stays where it is. */
export function checkView(view: Uint8Array): void {
  // JavaScriptCore keeps small arrays inside the object until their buffer is asked for, and moves them then.
  const memory: Buffer = buffer.call(view);
  if (memory.detached === true)
    throw new TypeError("the view's buffer is detached: its memory is no longer its own");
  if (memory.resizable === true || memory.growable === true) {
    throw new TypeError("the view's buffer is resizable: memory the kernel knows must not move or shrink");
  }
}

/**
 * The address of a caller's view, once it is sure that the memory behind it stays where it is.
 *
 * @throws TypeError for what is no Uint8Array, or is detached, resizable or shared memory that may grow
 */
export function viewAddress(view: unknown): number {
  if (!(view instanceof Uint8Array)) {
    throw new TypeError("memory must be a Pinned, a Uint8Array, or a raw address as a number or bigint");
  }
  checkView(view);
  return length.call(view) === 0 ? 0 : runtime.load().address(view);
}
