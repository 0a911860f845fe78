import { runtime } from "#runtime";

/**
 * The address of a caller's view, once it is sure that the memory behind it stays where it is.
 *
 * @throws TypeError for what is no Uint8Array, or is detached, resizable or shared memory that may grow
 */
export function viewAddress(view: unknown): number {
  if (!(view instanceof Uint8Array)) {
    throw new TypeError("memory must be a Pinned, a Uint8Array, or a raw address as a number or bigint");
  }
  // JavaScriptCore keeps small arrays inside the object until their buffer is asked for, and moves them then.
  const buffer: ArrayBufferLike & { resizable?: boolean; growable?: boolean; detached?: boolean } =
    view.buffer;
  if (buffer.detached === true)
    throw new TypeError("the view's buffer is detached: its memory is no longer its own");
  if (buffer.resizable === true || buffer.growable === true) {
    throw new TypeError("the view's buffer is resizable: memory the kernel knows must not move or shrink");
  }
  if (view.byteLength === 0) return 0;
  return runtime.load().address(view);
}
