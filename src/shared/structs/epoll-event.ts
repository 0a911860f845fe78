import { epoll_event as layout } from "../abi/index.ts";
import type { Pinned } from "../ring/pinned.ts";
import { bits32, type Memory, target, u64, viewOf, whole } from "./fields.ts";

/** An event of epoll: `EPOLL*` bits, and 64 bits that are the caller's. */
export interface EpollEvent {
  readonly events: number;
  readonly data: number | bigint;
}

/**
 * Writes a `struct epoll_event`, as `prepEpollCtl` takes it; its size is 12 bytes on x64 and 16 on arm64.
 *
 * @param event the events to wait for, and the value that comes back with them
 * @param into memory to write to, by default new memory
 * @returns the struct; it must stay as it is until the operation has been submitted
 * @throws RangeError for values that the fields do not hold; TypeError for another type
 */
export function encodeEpollEvent<M extends Memory = Pinned>(event: EpollEvent, into?: M): M {
  const events = bits32(event.events, "events");
  const data = u64(event.data, "data");
  const memory = target(into, layout.sizeof, "epoll_event");
  const view = viewOf(memory, layout.sizeof, "epoll_event");
  view.setUint32(layout.events, events, true);
  view.setBigUint64(layout.data, data, true);
  return memory;
}

/**
 * Reads the `struct epoll_event`s that `prepEpollWait` has filled in. See epoll_wait(2).
 *
 * @param memory what was given to the operation
 * @param count how many events there are: the completion's result
 * @throws RangeError where memory holds fewer
 */
export function decodeEpollEvents(memory: Memory, count: number): { events: number; data: bigint }[] {
  const most = Math.floor(memory.byteLength / layout.sizeof);
  whole(count, 0, most, "count");
  return Array.from({ length: count }, (_, i) => {
    const view = viewOf(memory, layout.sizeof, "epoll_event", i * layout.sizeof);
    return { events: view.getUint32(layout.events, true), data: view.getBigUint64(layout.data, true) };
  });
}
