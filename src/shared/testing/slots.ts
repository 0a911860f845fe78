// The table of files that a ring has, whose slots are direct descriptors.

import { IORING_FILE_INDEX_ALLOC, IORING_REGISTER_FILES_SKIP } from "../abi/index.ts";
import type { SimulatedFile } from "./descriptors.ts";
import { Resource, type Tags, UNTAGGED } from "./resource.ts";
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
  if (files === undefined) return fileIndex === IORING_FILE_INDEX_ALLOC ? -ENFILE : -ENXIO;
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
export function updateSlots(
  world: World,
  ring: SimulatedRing,
  offset: number,
  fds: DataView,
  tags: Tags = UNTAGGED,
): number {
  const { files } = ring;
  if (files === undefined) return -ENXIO;
  const count = fds.byteLength / 4;
  const allocates = offset === IORING_FILE_INDEX_ALLOC;
  if (!allocates && offset + count > files.length) return -EINVAL;
  for (let i = 0; i < count; i++) {
    const fd = fds.getInt32(4 * i, true);
    const skips = fd === IORING_REGISTER_FILES_SKIP && !allocates;
    if (tags.of(i) !== 0n && (skips || fd === -1)) return i === 0 ? -EINVAL : i;
    if (skips) continue;
    const file = fd < 0 ? undefined : world.descriptors.get(fd);
    // A slot is empty by the time that Linux finds there to be nothing to put into it.
    if (!allocates) put(files, offset + i, file, tags, i);
    if (file === undefined && (fd !== -1 || allocates)) return i === 0 ? -EBADF : i;
    if (!allocates) continue;
    const slot = install(world, ring, file as SimulatedFile, IORING_FILE_INDEX_ALLOC);
    if (slot < 0) return i === 0 ? slot : i;
    fds.setInt32(4 * i, slot, true);
  }
  return count;
}

/** Empties all slots, the last first as Linux does, and takes the table away. */
export function dropFiles(ring: SimulatedRing): void {
  for (const file of ring.files?.reverse() ?? []) file?.release();
  ring.files = undefined;
}

function put(
  files: (Resource<SimulatedFile> | undefined)[],
  slot: number,
  file: SimulatedFile | undefined,
  tags: Tags = UNTAGGED,
  i = 0,
): number {
  if (slot < 0 || slot >= files.length) return -EINVAL;
  if (file !== undefined) file.references++;
  files[slot]?.release();
  const tag = tags.of(i);
  files[slot] =
    file &&
    new Resource(file, () => {
      file.release();
      tags.tell(tag);
    });
  return 0;
}
