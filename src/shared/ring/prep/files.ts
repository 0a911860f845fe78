import {
  AT_FDCWD,
  IORING_OP_CLOSE,
  IORING_OP_FGETXATTR,
  IORING_OP_FSETXATTR,
  IORING_OP_GETXATTR,
  IORING_OP_LINKAT,
  IORING_OP_MKDIRAT,
  IORING_OP_OPENAT,
  IORING_OP_OPENAT2,
  IORING_OP_RENAMEAT,
  IORING_OP_SETXATTR,
  IORING_OP_STATX,
  IORING_OP_SYMLINKAT,
  IORING_OP_UNLINKAT,
  open_how,
  statx,
} from "../../abi/index.ts";
import { Direct, type Target } from "../direct.ts";
import type { Mem } from "../entry.ts";
import { IoPrep } from "./io.ts";

/**
 * Prep helpers for opening and closing files, and for what is done to them by name.
 *
 * Paths and names are NUL-terminated memory, as `cstring` makes it. A relative path starts at the directory `dfd`, a
 * plain fd or `AT_FDCWD` for the working directory.
 */
export class FilesPrep extends IoPrep {
  /**
   * Opens a file, its path starting at a directory.
   *
   * @param flags `O_*`
   * @param mode permission bits of a file that is created
   *
   * The completion's `res` is the new fd, the caller's to close; -ENOENT, -EACCES, -EMFILE and the like. `path` is the
   * operation's until then. Linux 5.6. See io_uring_prep_openat(3), openat(2).
   */
  prepOpenat(dfd: number, path: Mem, flags: number, mode: number): this {
    return this.opFlags(flags).rw(IORING_OP_OPENAT, plain(dfd), this.path(path), mode, 0);
  }

  /**
   * Opens a file, its path starting at a directory, into the ring's table of registered files.
   *
   * @param flags `O_*` without `O_CLOEXEC`
   * @param mode permission bits of a file that is created
   * @param slot where to put it, in place of what is there; `IORING_FILE_INDEX_ALLOC` for any free slot
   *
   * The completion's `res` is 0, or the slot taken of those free; -ENFILE when none is, or without a table (there -ENXIO for
   * a slot), -EINVAL with `O_CLOEXEC`. `path` is the operation's until then. Linux 5.15. See io_uring_prep_openat_direct(3).
   */
  prepOpenatDirect(dfd: number, path: Mem, flags: number, mode: number, slot: number | Direct): this {
    return this.fileSlot(slot).prepOpenat(dfd, path, flags, mode);
  }

  /**
   * Opens a file.
   *
   * @param flags `O_*`
   * @param mode permission bits of a file that is created
   *
   * The completion's `res` is the new fd, the caller's to close; -ENOENT, -EACCES, -EMFILE and the like. `path` is the
   * operation's until then. Linux 5.6. See io_uring_prep_open(3), open(2).
   */
  prepOpen(path: Mem, flags: number, mode: number): this {
    return this.prepOpenat(AT_FDCWD, path, flags, mode);
  }

  /**
   * Opens a file into the ring's table of registered files.
   *
   * @param flags `O_*` without `O_CLOEXEC`
   * @param mode permission bits of a file that is created
   * @param slot where to put it, in place of what is there; `IORING_FILE_INDEX_ALLOC` for any free slot
   *
   * The completion's `res` and errors are those of `prepOpenatDirect`. `path` is the operation's until then.
   * Linux 5.15. See io_uring_prep_open_direct(3).
   */
  prepOpenDirect(path: Mem, flags: number, mode: number, slot: number | Direct): this {
    return this.fileSlot(slot).prepOpenat(AT_FDCWD, path, flags, mode);
  }

  /**
   * Opens a file as a `struct open_how` says, which can confine how its path is resolved.
   *
   * @param how the 24 bytes of a `struct open_how`, as `encodeOpenHow` makes them
   *
   * The completion's `res` is the new fd, the caller's to close; -EINVAL for an unknown flag, -EXDEV and -ELOOP where
   * `RESOLVE_*` forbids the path. `path` and `how` are the operation's until then.
   * Linux 5.6. See io_uring_prep_openat2(3), openat2(2).
   */
  prepOpenat2(dfd: number, path: Mem, how: Mem): this {
    const howAddress = this.data(how, open_how.sizeof);
    return this.rw(IORING_OP_OPENAT2, plain(dfd), this.path(path), open_how.sizeof, howAddress);
  }

  /**
   * Opens a file as `prepOpenat2` does, into the ring's table of registered files.
   *
   * @param how the 24 bytes of a `struct open_how`, its flags without `O_CLOEXEC`
   * @param slot where to put it, in place of what is there; `IORING_FILE_INDEX_ALLOC` for any free slot
   *
   * The completion's `res` is 0, or the slot taken of those free; errors as for `prepOpenat2` and `prepOpenatDirect`.
   * `path` and `how` are the operation's until then. Linux 5.15. See io_uring_prep_openat2_direct(3).
   */
  prepOpenat2Direct(dfd: number, path: Mem, how: Mem, slot: number | Direct): this {
    return this.fileSlot(slot).prepOpenat2(dfd, path, how);
  }

  /**
   * Closes a file descriptor.
   *
   * The completion's `res` is 0; -EBADF where nothing is open, or for the fd of a ring. Other operations on the fd
   * must have been submitted before. Linux 5.6. See io_uring_prep_close(3), close(2).
   */
  prepClose(fd: number): this {
    return this.rw(IORING_OP_CLOSE, plain(fd), 0, 0, 0);
  }

  /**
   * Takes a file out of the ring's table of registered files, which closes it once nothing uses it any more.
   *
   * @param slot a slot, never `IORING_FILE_INDEX_ALLOC`: as in liburing that would close the fd 0
   *
   * The completion's `res` is 0; -EBADF for an empty slot, -EINVAL for one beyond the table, -ENXIO without a table.
   * Linux 5.15. See io_uring_prep_close_direct(3).
   */
  prepCloseDirect(slot: number | Direct): this {
    const index = slot instanceof Direct ? Direct.slotOf(slot) : slot;
    // The first store is there for its check, since the addition would make a number of anything.
    return this.fileIndex(index)
      .fileIndex((index + 1) | 0)
      .rw(IORING_OP_CLOSE, 0, 0, 0, 0);
  }

  /**
   * Reads what is known about a file.
   *
   * @param flags `AT_*`, such as `AT_EMPTY_PATH` with the path `""` for `dfd` itself
   * @param mask `STATX_*`: what is asked for
   * @param statxbuf 256 bytes for a `struct statx`
   *
   * The completion's `res` is 0; -ENOENT, -EACCES and the like. `path` and `statxbuf` are the operation's until then.
   * Linux 5.6. See io_uring_prep_statx(3), statx(2).
   */
  prepStatx(dfd: number, path: Mem, flags: number, mask: number, statxbuf: Mem): this {
    const bufAddress = this.data(statxbuf, statx.sizeof);
    return this.opFlags(flags).rw(IORING_OP_STATX, plain(dfd), this.path(path), mask, bufAddress);
  }

  /**
   * Removes a name of a file, or an empty directory, its path starting at a directory.
   *
   * @param flags `AT_REMOVEDIR` for a directory, 0 for anything else
   *
   * The completion's `res` is 0; -ENOENT, -EISDIR, -ENOTEMPTY and the like. `path` is the operation's until then.
   * Linux 5.11. See io_uring_prep_unlinkat(3), unlinkat(2).
   */
  prepUnlinkat(dfd: number, path: Mem, flags: number): this {
    return this.opFlags(flags).rw(IORING_OP_UNLINKAT, plain(dfd), this.path(path), 0, 0);
  }

  /**
   * Removes a name of a file, or an empty directory.
   *
   * @param flags `AT_REMOVEDIR` for a directory, 0 for anything else
   *
   * The completion's `res` is 0; -ENOENT, -EISDIR, -ENOTEMPTY and the like. `path` is the operation's until then.
   * Linux 5.11. See io_uring_prep_unlink(3), unlink(2).
   */
  prepUnlink(path: Mem, flags: number): this {
    return this.prepUnlinkat(AT_FDCWD, path, flags);
  }

  /**
   * Renames a file, the paths starting at two directories.
   *
   * @param flags `RENAME_*`, 0 to replace what has the new name
   *
   * The completion's `res` is 0; -ENOENT, -EXDEV between file systems, -EEXIST with `RENAME_NOREPLACE`. Both paths are
   * the operation's until then. Linux 5.11. See io_uring_prep_renameat(3), renameat2(2).
   */
  prepRenameat(oldDfd: number, oldPath: Mem, newDfd: number, newPath: Mem, flags: number): this {
    return this.twoPaths(IORING_OP_RENAMEAT, oldDfd, oldPath, newDfd, newPath, flags);
  }

  /**
   * Renames a file, in place of what has the new name.
   *
   * The completion's `res` is 0; -ENOENT, -EXDEV between file systems and the like. Both paths are the operation's
   * until then. Linux 5.11. See io_uring_prep_rename(3), rename(2).
   */
  prepRename(oldPath: Mem, newPath: Mem): this {
    return this.twoPaths(IORING_OP_RENAMEAT, AT_FDCWD, oldPath, AT_FDCWD, newPath, 0);
  }

  /**
   * Makes a directory, its path starting at a directory.
   *
   * @param mode its permission bits
   *
   * The completion's `res` is 0; -EEXIST, -ENOENT and the like. `path` is the operation's until then.
   * Linux 5.15. See io_uring_prep_mkdirat(3), mkdirat(2).
   */
  prepMkdirat(dfd: number, path: Mem, mode: number): this {
    return this.rw(IORING_OP_MKDIRAT, plain(dfd), this.path(path), mode, 0);
  }

  /**
   * Makes a directory.
   *
   * @param mode its permission bits
   *
   * The completion's `res` is 0; -EEXIST, -ENOENT and the like. `path` is the operation's until then.
   * Linux 5.15. See io_uring_prep_mkdir(3), mkdir(2).
   */
  prepMkdir(path: Mem, mode: number): this {
    return this.prepMkdirat(AT_FDCWD, path, mode);
  }

  /**
   * Makes a symbolic link, its path starting at a directory.
   *
   * @param target what the link says, whether there is such a file or not
   *
   * The completion's `res` is 0; -EEXIST, -ENOENT and the like. `target` and `linkPath` are the operation's until then.
   * Linux 5.15. See io_uring_prep_symlinkat(3), symlinkat(2).
   */
  prepSymlinkat(target: Mem, newDfd: number, linkPath: Mem): this {
    return this.rw(IORING_OP_SYMLINKAT, plain(newDfd), this.path(target), 0, this.path(linkPath));
  }

  /**
   * Makes a symbolic link.
   *
   * @param target what the link says, whether there is such a file or not
   *
   * The completion's `res` is 0; -EEXIST, -ENOENT and the like. `target` and `linkPath` are the operation's until then.
   * Linux 5.15. See io_uring_prep_symlink(3), symlink(2).
   */
  prepSymlink(target: Mem, linkPath: Mem): this {
    return this.prepSymlinkat(target, AT_FDCWD, linkPath);
  }

  /**
   * Gives a file another name, the paths starting at two directories.
   *
   * @param flags `AT_SYMLINK_FOLLOW`, `AT_EMPTY_PATH` or 0
   *
   * The completion's `res` is 0; -EEXIST, -EXDEV between file systems, -EPERM for directories. Both paths are the
   * operation's until then. Linux 5.15. See io_uring_prep_linkat(3), linkat(2).
   */
  prepLinkat(oldDfd: number, oldPath: Mem, newDfd: number, newPath: Mem, flags: number): this {
    return this.twoPaths(IORING_OP_LINKAT, oldDfd, oldPath, newDfd, newPath, flags);
  }

  /**
   * Gives a file another name.
   *
   * @param flags `AT_SYMLINK_FOLLOW` or 0
   *
   * The completion's `res` is 0; -EEXIST, -EXDEV between file systems, -EPERM for directories. Both paths are the
   * operation's until then. Linux 5.15. See io_uring_prep_link(3), link(2).
   */
  prepLink(oldPath: Mem, newPath: Mem, flags: number): this {
    return this.twoPaths(IORING_OP_LINKAT, AT_FDCWD, oldPath, AT_FDCWD, newPath, flags);
  }

  /**
   * Reads an extended attribute of a file, by path.
   *
   * @param name such as `"user.mime_type"`
   * @param len how much of `value` may be written, 0 to ask for the attribute's length
   *
   * The completion's `res` is the attribute's length; -ENODATA where there is none, -ERANGE where `len` is too little.
   * `name`, `value` and `path` are the operation's until then. Linux 5.19. See io_uring_prep_getxattr(3), getxattr(2).
   */
  prepGetxattr(name: Mem, value: Mem, path: Mem, len: number): this {
    return this.addr3(this.path(path)).xattr(IORING_OP_GETXATTR, 0, name, value, 0, len);
  }

  /**
   * Sets an extended attribute of a file, by path.
   *
   * @param name such as `"user.mime_type"`
   * @param flags `XATTR_CREATE`, `XATTR_REPLACE` or 0 for either
   * @param len how many bytes of `value` to set, at most 65536
   *
   * The completion's `res` is 0; -EEXIST and -ENODATA as `flags` ask, -ENOSPC, -EOPNOTSUPP, -E2BIG. `name`, `value` and
   * `path` are the operation's until then. Linux 5.19. See io_uring_prep_setxattr(3), setxattr(2).
   */
  prepSetxattr(name: Mem, value: Mem, path: Mem, flags: number, len: number): this {
    return this.addr3(this.path(path)).xattr(IORING_OP_SETXATTR, 0, name, value, flags, len);
  }

  /**
   * Reads an extended attribute of an open file.
   *
   * @param fd older kernels answer -EBADF to a `Direct`; 6.18 takes one
   * @param len how much of `value` may be written, 0 to ask for the attribute's length
   *
   * The completion's `res` is the attribute's length; -ENODATA where there is none, -ERANGE where `len` is too little.
   * `name` and `value` are the operation's until then. Linux 5.19. See io_uring_prep_fgetxattr(3), fgetxattr(2).
   */
  prepFgetxattr(fd: Target, name: Mem, value: Mem, len: number): this {
    return this.xattr(IORING_OP_FGETXATTR, fd, name, value, 0, len);
  }

  /**
   * Sets an extended attribute of an open file.
   *
   * @param fd older kernels answer -EBADF to a `Direct`; 6.18 takes one
   * @param flags `XATTR_CREATE`, `XATTR_REPLACE` or 0 for either
   * @param len how many bytes of `value` to set, at most 65536
   *
   * The completion's `res` is 0; -EEXIST and -ENODATA as `flags` ask, -ENOSPC, -EOPNOTSUPP, -E2BIG. `name` and `value`
   * are the operation's until then. Linux 5.19. See io_uring_prep_fsetxattr(3), fsetxattr(2).
   */
  prepFsetxattr(fd: Target, name: Mem, value: Mem, flags: number, len: number): this {
    return this.xattr(IORING_OP_FSETXATTR, fd, name, value, flags, len);
  }

  private twoPaths(
    opcode: number,
    oldDfd: number,
    oldPath: Mem,
    newDfd: number,
    newPath: Mem,
    flags: number,
  ): this {
    this.opFlags(flags);
    return this.rw(opcode, plain(oldDfd), this.path(oldPath), plain(newDfd), this.path(newPath));
  }

  private xattr(opcode: number, fd: Target, name: Mem, value: Mem, flags: number, len: number): this {
    const valueAddress = this.data(value, len >>> 0);
    return this.opFlags(flags).rw(opcode, fd, this.path(name), len, valueAddress);
  }
}

/** An fd where the kernel takes no slot of the file table. */
function plain(fd: number): number {
  if ((fd | 0) === fd) return fd;
  if (typeof fd === "number") throw new RangeError(`an fd must be a whole number of 32 bits, not ${fd}`);
  throw new TypeError(`a plain fd is needed, not ${fd === null ? "null" : typeof fd}`);
}
