// The table of files that a ring has, whose slots are direct descriptors.

import { IORING_FILE_INDEX_ALLOC, IORING_REGISTER_FILES_SKIP } from "../abi/index.ts";
import type { SimulatedFile } from "./descriptors.ts";
import type { SimulatedRing } from "./ring.ts";
import type { World } from "./world.ts";

const ENXIO = 6;
const EBADF = 9;
const EINVAL = 22;
const ENFILE = 23;

/** Gives a new file a descriptor: an fd where the entry's `file_index` is 0, else a slot. The entry's result. */
export function install(world: World, ring: SimulatedRing, file: SimulatedFile, fileIndex: number): number {
  if (fileIndex === 0) return world.descriptors.open(file);
  const { files } = ring;
  if (files === undefined) return -ENXIO;
  if (fileIndex !== IORING_FILE_INDEX_ALLOC) return put(files, fileIndex - 1, file);
  const [from, end] = ring.slots;
  const slot = files.findIndex((taken, i) => taken === undefined && i >= from && i < end);
  if (slot < 0) return -ENFILE;
  put(files, slot, file);
  return slot;
}

/** Empties a slot; 0 or `-errno`. */
export function closeSlot(ring: SimulatedRing, slot: number): number {
  const { files } = ring;
  if (files === undefined) return -ENXIO;
  if (slot >= files.length) return -EINVAL;
  return files[slot] === undefined ? -EBADF : put(files, slot, undefined);
}

/** Gives slots other files; how many, or `-errno`. */
export function updateSlots(world: World, ring: SimulatedRing, offset: number, fds: DataView): number {
  const { files } = ring;
  if (files === undefined) return -ENXIO;
  const count = fds.byteLength / 4;
  const allocates = offset === IORING_FILE_INDEX_ALLOC;
  if (!allocates && offset + count > files.length) return -EINVAL;
  for (let i = 0; i < count; i++) {
    const fd = fds.getInt32(4 * i, true);
    if (fd === IORING_REGISTER_FILES_SKIP && !allocates) continue;
    const file = fd < 0 ? undefined : world.descriptors.get(fd);
    if (file === undefined && (fd !== -1 || allocates)) return i === 0 ? -EBADF : i;
    if (!allocates) put(files, offset + i, file);
    else {
      const slot = install(world, ring, file as SimulatedFile, IORING_FILE_INDEX_ALLOC);
      if (slot < 0) return i === 0 ? slot : i;
      fds.setInt32(4 * i, slot, true);
    }
  }
  return count;
}

function put(files: (SimulatedFile | undefined)[], slot: number, file: SimulatedFile | undefined): number {
  if (slot < 0 || slot >= files.length) return -EINVAL;
  if (file !== undefined) file.references++;
  files[slot]?.release();
  files[slot] = file;
  return 0;
}
