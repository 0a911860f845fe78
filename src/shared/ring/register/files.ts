import {
  IORING_REGISTER_FILE_ALLOC_RANGE,
  IORING_REGISTER_FILES,
  IORING_REGISTER_FILES_UPDATE,
  IORING_REGISTER_FILES_UPDATE2,
  IORING_REGISTER_FILES2,
  IORING_RSRC_REGISTER_SPARSE,
  IORING_UNREGISTER_FILES,
  io_uring_file_index_range,
  io_uring_rsrc_update,
} from "../../abi/index.ts";
import { u32, whole } from "../../structs/fields.ts";
import { Argument } from "../argument.ts";
import type { Int64 } from "../entry.ts";
import { BufferRegistration, TagArray } from "./buffers.ts";

const ENXIO = 6;
const EBADF = 9;
const EBUSY = 16;
const EINVAL = 22;
const EMFILE = 24;
const EOVERFLOW = 75;

const HINTS = {
  [ENXIO]: "The ring has no table of files",
  [EBADF]: "One of the fds is not open, or is a ring's",
  [EBUSY]: "The ring has a table of files already: unregister it first, or update its slots",
  [EMFILE]:
    "The table has more slots than the process may have files open (`ulimit -n`): raise that limit, or take fewer",
};

const UPDATE_HINTS = {
  ...HINTS,
  [EINVAL]: "The slots end beyond the table, or an empty slot was given a tag",
};

/** The registration calls for files that operations then name by slot, with `Direct`. */
export class FileRegistration extends BufferRegistration {
  /**
   * Registers files: operations on `new Direct(slot)` save the kernel the look-up of an fd. The kernel has references of
   * its own, so the fds may be closed.
   *
   * @param fds one for each slot; -1 leaves a slot empty
   * @throws UringError EBUSY when the ring has a table already, EBADF for an fd that is not open, EMFILE for a table
   * larger than the process's limit of open files. See io_uring_register_files(3).
   *
   * @example
   * ```ts
   * import { alloc, Direct, Ring } from "uring";
   *
   * using ring = new Ring();
   * ring.registerFiles([0, -1]);
   * // ring.getSqe()?.prepRead(new Direct(0), alloc(64), 64, -1);
   * ```
   */
  registerFiles(fds: readonly number[]): void {
    using table = new FdArray(fds);
    this.register(IORING_REGISTER_FILES, table.address, table.count, HINTS);
  }

  /**
   * As `registerFiles`, with a tag for each: once a file has been replaced or unregistered and no operation uses it any
   * more, a completion comes with the tag as `userData`, `res` 0 and `flags` 0. A tag of 0 stands for none.
   *
   * Until then the ring does not count as idle. Linux 5.13. See io_uring_register_files_tags(3).
   *
   * @param tags one for each file; 0 for an empty slot
   */
  registerFilesTags(fds: readonly number[], tags: readonly Int64[]): void {
    using table = new FdArray(fds);
    using words = new TagArray(tags, table.count);
    this.registerResources(IORING_REGISTER_FILES2, table.count, 0, table.address, words.addressOrNone, {
      ...HINTS,
      [EINVAL]: "An empty slot was given a tag, or there are no slots",
    });
    this.expectCompletions(words.used(table.count));
  }

  /**
   * Makes a table of empty slots, for `registerFilesUpdate` and for operations that open straight into a slot. Linux
   * 5.19. See io_uring_register_files_sparse(3).
   *
   * @param nr how many, at most the process's limit of open files (`ulimit -n`)
   */
  registerFilesSparse(nr: number): void {
    const count = u32(nr, "number of files");
    this.registerResources(IORING_REGISTER_FILES2, count, IORING_RSRC_REGISTER_SPARSE, 0, 0, HINTS);
  }

  /**
   * Replaces the files of some slots. Operations under way go on with those they have. See
   * io_uring_register_files_update(3).
   *
   * @param offset the first slot
   * @param fds what to put there: -1 clears a slot, `IORING_REGISTER_FILES_SKIP` leaves it as it is
   * @returns how many slots were updated or skipped: all, or those before the first that failed
   */
  registerFilesUpdate(offset: number, fds: readonly number[]): number {
    const first = u32(offset, "offset");
    const layout = io_uring_rsrc_update;
    using table = new FdArray(fds);
    using argument = new Argument(layout.sizeof);
    const { view } = argument;
    view.setUint32(layout.offset, first, true);
    view.setBigUint64(layout.data, BigInt(table.address), true);
    return this.register(IORING_REGISTER_FILES_UPDATE, argument.address, table.count, UPDATE_HINTS);
  }

  /**
   * As `registerFilesUpdate`, with a tag for each file as for `registerFilesTags`. Linux 5.13. See
   * io_uring_register_files_update_tag(3).
   *
   * @param tags one for each file, 0 where a slot is cleared or skipped
   */
  registerFilesUpdateTag(offset: number, fds: readonly number[], tags?: readonly Int64[]): number {
    const first = u32(offset, "offset");
    using table = new FdArray(fds);
    using words = new TagArray(tags, table.count);
    const opcode = IORING_REGISTER_FILES_UPDATE2;
    const done = this.updateResources(
      opcode,
      first,
      table.count,
      table.address,
      words.addressOrNone,
      UPDATE_HINTS,
    );
    this.expectCompletions(words.used(done));
    return done;
  }

  /**
   * Unregisters all files. Operations under way go on with theirs. See io_uring_unregister_files(3).
   *
   * @throws UringError ENXIO when there are none
   */
  unregisterFiles(): void {
    this.register(IORING_UNREGISTER_FILES, 0, 0, HINTS);
  }

  /**
   * Sets the slots among which the kernel picks where an operation opens into any free one (`IORING_FILE_INDEX_ALLOC`);
   * the others are the caller's to assign. Linux 6.0. See io_uring_register_file_alloc_range(3).
   *
   * @param off the first slot
   * @param len how many
   * @throws UringError EINVAL or EOVERFLOW when they end beyond the table
   */
  registerFileAllocRange(off: number, len: number): void {
    const layout = io_uring_file_index_range;
    using argument = new Argument(layout.sizeof);
    const { view } = argument;
    view.setUint32(layout.off, u32(off, "offset"), true);
    view.setUint32(layout.len, u32(len, "length"), true);
    const beyond = "The range ends beyond the table of files";
    const hints = { [EINVAL]: `${beyond}, or the ring has none`, [EOVERFLOW]: beyond };
    this.register(IORING_REGISTER_FILE_ALLOC_RANGE, argument.address, 0, hints);
  }
}

/** An array of fds for one call. */
class FdArray extends Argument {
  readonly count: number;

  constructor(fds: readonly number[]) {
    if (!Array.isArray(fds)) throw new TypeError("an array of fds is needed");
    const checked = Array.from(fds, (fd) => whole(fd, -0x8000_0000, 0x7fff_ffff, "fd"));
    super(Math.max(checked.length * 4, 1));
    this.count = checked.length;
    for (const [i, fd] of checked.entries()) this.view.setInt32(i * 4, fd, true);
  }
}
