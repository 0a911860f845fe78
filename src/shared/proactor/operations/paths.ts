import * as abi from "../../abi/index.ts";
import type { Direct, Target } from "../../ring/direct.ts";
import { u32 } from "../../ring/prep/integers.ts";
import { u64, whole } from "../../structs/fields.ts";
import { encodeOpenHow, type OpenHow } from "../../structs/open-how.ts";
import { decodeStatx, type Statx } from "../../structs/statx.ts";
import type { Kind, Operation, Subject } from "../operation.ts";
import { NO_OPTIONS, type OperationOptions } from "../options.ts";
import { type Path, Strings } from "./arguments.ts";
import { attempt, type Memory } from "./base.ts";
import { FileOperations } from "./files.ts";
import { discard, type OpenedOptions, opened, type Slot, slotOf } from "./opened.ts";

/** Where a relative path starts. */
export interface PathOptions extends OperationOptions {
  /** The fd of a directory; the working directory unless given. */
  dir?: number | undefined;
}

/** Where two relative paths start. */
export interface TwoPathsOptions extends PathOptions {
  /** The fd of the directory where the second path starts, unless it starts where the first does. */
  newDir?: number | undefined;
  /** `RENAME_*` flags of renameat2(2), or `AT_*` flags of linkat(2). */
  flags?: number | undefined;
}

/** How a file is opened as openat2(2) does. */
export interface Open2Options extends PathOptions {
  /** Whether the fd is closed in programs this one becomes; so unless given. */
  cloexec?: boolean | undefined;
}

/** How a file is opened. */
export interface OpenOptions extends Open2Options {
  /** Permission bits of a file that is created; 0o666 unless given, less the process's umask. */
  mode?: number | undefined;
}

/** How a directory is made. */
export interface MkdirOptions extends PathOptions {
  /** Its permission bits; 0o777 unless given, less the process's umask. */
  mode?: number | undefined;
}

/** What a name is removed from. */
export interface UnlinkOptions extends PathOptions {
  /** `AT_REMOVEDIR` for a directory. */
  flags?: number | undefined;
}

/** What is asked about a file. */
export interface StatxOptions extends PathOptions {
  /** `STATX_*`; `STATX_BASIC_STATS | STATX_BTIME` unless given. */
  mask?: number | undefined;
  /** `AT_SYMLINK_NOFOLLOW` and its like. */
  flags?: number | undefined;
}

/** How much of an extended attribute is read. */
export interface GetxattrOptions extends OperationOptions {
  /** How many bytes there is room for, from 1 on; 4096 unless given. 65536 are enough for every attribute. */
  length?: number | undefined;
}

/** How an extended attribute is set. */
export interface SetxattrOptions extends OperationOptions {
  /** How many bytes of the memory, from its start; all of it where it is left out. */
  length?: number | undefined;
  /** `XATTR_CREATE` or `XATTR_REPLACE`; either is done unless given. */
  flags?: number | undefined;
}

const path = ({ extra }: Operation): Subject => ({ path: (extra as Strings<unknown>).text });
const paths = ({ extra }: Operation): Subject => {
  const { text, secondText } = extra as Strings;
  return { path: text, dest: secondText };
};
const nothing = (): undefined => undefined;

type Opening = Strings<Slot>;

const openedBy = ({ extra }: Operation, res: number): Target => opened((extra as Opening).values, res);

const OPENAT: Kind = {
  name: "openat",
  opcode: abi.IORING_OP_OPENAT,
  since: "5.6",
  blocks: true,
  prepare(sqe, { target, length, flags, extra }) {
    const { first, values: slot } = extra as Opening;
    if (slot === undefined) sqe.prepOpenat(target as number, first, flags, length);
    else sqe.prepOpenatDirect(target as number, first, flags, length, slot);
  },
  value: openedBy,
  discard: (operation, res) => discard(operation, openedBy(operation, res)),
  about: path,
};

const OPENAT2: Kind = {
  ...OPENAT,
  name: "openat2",
  opcode: abi.IORING_OP_OPENAT2,
  prepare(sqe, { target, extra }) {
    const { first, memory, values: slot } = extra as Opening;
    if (slot === undefined) sqe.prepOpenat2(target as number, first, memory.address);
    else sqe.prepOpenat2Direct(target as number, first, memory.address, slot);
  },
};

const STATX: Kind = {
  name: "statx",
  opcode: abi.IORING_OP_STATX,
  since: "5.6",
  blocks: true,
  prepare(sqe, { target, length, flags, extra }) {
    const { first, memory } = extra as Strings<boolean>;
    sqe.prepStatx(target as number, first, flags, length, memory.address);
  },
  value: ({ extra }) => decodeStatx((extra as Strings).memory),
  about: (operation) => ((operation.extra as Strings<boolean>).values ? path(operation) : {}),
};

const UNLINKAT: Kind = {
  name: "unlinkat",
  opcode: abi.IORING_OP_UNLINKAT,
  since: "5.11",
  blocks: true,
  prepare: (sqe, { target, flags, extra }) =>
    sqe.prepUnlinkat(target as number, (extra as Strings).first, flags),
  value: nothing,
  about: path,
};

const RENAMEAT: Kind = {
  name: "renameat2",
  opcode: abi.IORING_OP_RENAMEAT,
  since: "5.11",
  blocks: true,
  prepare(sqe, { target, offset, flags, extra }) {
    const { first, second } = extra as Strings;
    sqe.prepRenameat(target as number, first, offset, second, flags);
  },
  value: nothing,
  about: paths,
};

const LINKAT: Kind = {
  ...RENAMEAT,
  name: "linkat",
  opcode: abi.IORING_OP_LINKAT,
  since: "5.15",
  prepare(sqe, { target, offset, flags, extra }) {
    const { first, second } = extra as Strings;
    sqe.prepLinkat(target as number, first, offset, second, flags);
  },
};

const MKDIRAT: Kind = {
  name: "mkdirat",
  opcode: abi.IORING_OP_MKDIRAT,
  since: "5.15",
  blocks: true,
  prepare: (sqe, { target, length, extra }) =>
    sqe.prepMkdirat(target as number, (extra as Strings).first, length),
  value: nothing,
  about: path,
};

const SYMLINKAT: Kind = {
  name: "symlinkat",
  opcode: abi.IORING_OP_SYMLINKAT,
  since: "5.15",
  blocks: true,
  prepare(sqe, { target, extra }) {
    const { first, second } = extra as Strings;
    sqe.prepSymlinkat(first, target as number, second);
  },
  value: nothing,
  about: paths,
};

/** A copy of the attribute that the kernel has written. */
const attribute = ({ extra }: Operation, res: number): Uint8Array =>
  (extra as Strings).memory.bytes.slice(0, res);

const GETXATTR: Kind = {
  name: "getxattr",
  opcode: abi.IORING_OP_GETXATTR,
  since: "5.19",
  blocks: true,
  prepare(sqe, { length, extra }) {
    const { first, second, memory } = extra as Strings;
    sqe.prepGetxattr(second, memory.address, first, length);
  },
  value: attribute,
  about: path,
};

const FGETXATTR: Kind = {
  name: "fgetxattr",
  opcode: abi.IORING_OP_FGETXATTR,
  since: "5.19",
  blocks: true,
  prepare(sqe, { target, length, extra }) {
    const { first, memory } = extra as Strings;
    sqe.prepFgetxattr(target, first, memory.address, length);
  },
  value: attribute,
};

const SETXATTR: Kind = {
  name: "setxattr",
  opcode: abi.IORING_OP_SETXATTR,
  since: "5.19",
  blocks: true,
  prepare(sqe, { address, length, flags, extra }) {
    const { first, second } = extra as Strings;
    sqe.prepSetxattr(second, address, first, flags, length);
  },
  value: nothing,
  about: path,
};

const FSETXATTR: Kind = {
  name: "fsetxattr",
  opcode: abi.IORING_OP_FSETXATTR,
  since: "5.19",
  blocks: true,
  prepare: (sqe, { target, address, length, flags, extra }) =>
    sqe.prepFsetxattr(target, (extra as Strings).first, address, flags, length),
  value: nothing,
};

/**
 * Operations on files by their paths. A path is text, or its bytes where they are no text; the kernel works on a copy of it.
 * Errors name it.
 */
export abstract class PathOperations extends FileOperations {
  /**
   * Opens a file. A FIFO that nobody has open at its other end is not waited for, but opened as with `O_NONBLOCK`: ENXIO for
   * writing, at once for reading.
   *
   * @param flags `O_*`; `O_CLOEXEC` is added unless `cloexec` is false
   * @param options with `direct`, into the table of registered files
   * @returns the fd, the caller's to close, or the `Direct`; what an operation opens that was aborted is closed at once
   * @throws UringError ENOENT, EACCES, EMFILE and the like, ENFILE where no slot is free, ENXIO without a table. Linux 5.6,
   * into a slot 5.15, into a free one 5.19. See io_uring_prep_openat(3), openat(2).
   *
   * @example
   * ```ts
   * import { alloc, Proactor } from "uring";
   * import { O_RDONLY } from "uring/abi";
   *
   * await using proactor = new Proactor();
   * using memory = alloc(64);
   * const fd = await proactor.open("/proc/self/comm", O_RDONLY);
   * console.log((await proactor.read(fd, memory)) > 0); // true
   * await proactor.closeFd(fd);
   * ```
   */
  open(path: Path, flags: number, options?: OpenOptions & { direct?: undefined }): Promise<number>;
  open(path: Path, flags: number, options: OpenOptions & Required<OpenedOptions>): Promise<Direct>;
  open(
    path: Path,
    flags: number,
    options: OpenOptions & OpenedOptions = NO_OPTIONS,
  ): Promise<number | Direct> {
    return attempt(() => {
      const { dir = abi.AT_FDCWD, mode = 0o666, cloexec = true, direct } = options;
      const slot = slotOf(direct);
      const all = slot === undefined && cloexec ? u32(flags, "flags") | abi.O_CLOEXEC : flags;
      return this.call(OPENAT, dir, null, mode, 0, all, options, new Strings([path], 0, slot));
    });
  }

  /**
   * Opens a file, and can confine how its path is resolved.
   *
   * @param how `flags` are `O_*`, to which `O_CLOEXEC` is added unless `cloexec` is false, `resolve` are `RESOLVE_*`;
   * `mode` is needed with `O_CREAT` and `O_TMPFILE`, and with them alone
   * @param options with `direct`, into the table of registered files
   * @returns as `open`
   * @throws UringError as `open`, EINVAL for an unknown flag, EXDEV and ELOOP where `RESOLVE_*` forbids the path, EAGAIN where
   * `RESOLVE_CACHED` does. Linux 5.6, into a slot 5.15, into a free one 5.19. See io_uring_prep_openat2(3), openat2(2).
   */
  openat2(path: Path, how: OpenHow, options?: Open2Options & { direct?: undefined }): Promise<number>;
  openat2(path: Path, how: OpenHow, options: Open2Options & Required<OpenedOptions>): Promise<Direct>;
  openat2(
    path: Path,
    how: OpenHow,
    options: Open2Options & OpenedOptions = NO_OPTIONS,
  ): Promise<number | Direct> {
    return attempt(() => {
      const { dir = abi.AT_FDCWD, cloexec = true, direct } = options;
      const slot = slotOf(direct);
      const flags =
        slot === undefined && cloexec ? u64(how.flags, "flags") | BigInt(abi.O_CLOEXEC) : how.flags;
      const struct = encodeOpenHow({ ...how, flags }, new Uint8Array(abi.open_how.sizeof));
      const strings = new Strings([path], struct.length, slot);
      strings.memory.bytes.set(struct);
      return this.call(OPENAT2, dir, null, 0, 0, 0, options, strings);
    });
  }

  /**
   * Reads what is known about a file.
   *
   * @param file a path, or an fd of any kind
   * @throws UringError ENOENT, EACCES, EBADF and the like. Linux 5.6. See io_uring_prep_statx(3), statx(2).
   */
  statx(file: Path | number, options: StatxOptions = NO_OPTIONS): Promise<Statx> {
    return attempt(() => {
      const { mask = abi.STATX_BASIC_STATS | abi.STATX_BTIME, flags = 0, dir = abi.AT_FDCWD } = options;
      const open = typeof file === "number";
      const strings = new Strings([open ? "" : file], abi.statx.sizeof, !open);
      const all = open ? u32(flags, "flags") | abi.AT_EMPTY_PATH : flags;
      return this.call(STATX, open ? file : dir, null, mask, 0, all, options, strings);
    });
  }

  /**
   * Removes a name of a file, or with the flag `AT_REMOVEDIR` an empty directory.
   *
   * @throws UringError ENOENT, EISDIR, ENOTDIR, ENOTEMPTY and the like. Linux 5.11. See io_uring_prep_unlinkat(3),
   * unlinkat(2).
   */
  unlink(path: Path, options: UnlinkOptions = NO_OPTIONS): Promise<void> {
    return attempt(() => {
      const { dir = abi.AT_FDCWD, flags = 0 } = options;
      return this.call(UNLINKAT, dir, null, 0, 0, flags, options, new Strings([path], 0, undefined));
    });
  }

  /**
   * Renames a file, in place of what has the new name unless the flags forbid that.
   *
   * @throws UringError ENOENT, EXDEV between file systems, EEXIST with `RENAME_NOREPLACE`. Linux 5.11. See
   * io_uring_prep_renameat(3), renameat2(2).
   */
  rename(path: Path, newPath: Path, options: TwoPathsOptions = NO_OPTIONS): Promise<void> {
    return attempt(() => {
      const { dir = abi.AT_FDCWD, newDir = dir, flags = 0 } = options;
      const strings = new Strings([path, newPath], 0, undefined);
      return this.call(RENAMEAT, dir, null, 0, newDir, flags, options, strings);
    });
  }

  /**
   * Gives a file another name.
   *
   * @param options of flags `AT_SYMLINK_FOLLOW`, and `AT_EMPTY_PATH` with the path `""` for what `dir` is itself
   * @throws UringError ENOENT, EEXIST, EXDEV between file systems, EPERM for directories. Linux 5.15. See
   * io_uring_prep_linkat(3), linkat(2).
   */
  link(path: Path, newPath: Path, options: TwoPathsOptions = NO_OPTIONS): Promise<void> {
    return attempt(() => {
      const { dir = abi.AT_FDCWD, newDir = dir, flags = 0 } = options;
      const strings = new Strings([path, newPath], 0, undefined);
      return this.call(LINKAT, dir, null, 0, newDir, flags, options, strings);
    });
  }

  /**
   * Makes a symbolic link.
   *
   * @param target what the link says, whether there is such a file or not
   * @throws UringError ENOENT, EEXIST and the like. Linux 5.15. See io_uring_prep_symlinkat(3), symlinkat(2).
   */
  symlink(target: Path, path: Path, options: PathOptions = NO_OPTIONS): Promise<void> {
    return attempt(() => {
      const { dir = abi.AT_FDCWD } = options;
      return this.call(SYMLINKAT, dir, null, 0, 0, 0, options, new Strings([target, path], 0, undefined));
    });
  }

  /**
   * Makes a directory.
   *
   * @throws UringError ENOENT, EEXIST and the like. Linux 5.15. See io_uring_prep_mkdirat(3), mkdirat(2).
   */
  mkdir(path: Path, options: MkdirOptions = NO_OPTIONS): Promise<void> {
    return attempt(() => {
      const { dir = abi.AT_FDCWD, mode = 0o777 } = options;
      return this.call(MKDIRAT, dir, null, mode, 0, 0, options, new Strings([path], 0, undefined));
    });
  }

  /**
   * Reads an extended attribute of a file.
   *
   * @param name such as `"user.mime_type"`
   * @returns its bytes, the caller's own
   * @throws UringError ENODATA where there is none, ERANGE where it has more bytes than the option `length`, EOPNOTSUPP.
   * Linux 5.19. See io_uring_prep_getxattr(3), getxattr(2).
   */
  getxattr(path: Path, name: Path, options: GetxattrOptions = NO_OPTIONS): Promise<Uint8Array> {
    return attempt(() => {
      const { length = ROOM } = options;
      const strings = new Strings([path, name], checkRoom(length), undefined);
      return this.call(GETXATTR, -1, null, length, 0, 0, options, strings);
    });
  }

  /**
   * Reads an extended attribute of an open file. A `Direct` takes a newer kernel than the operation does.
   *
   * @param name such as `"user.mime_type"`
   * @returns its bytes, the caller's own
   * @throws UringError as `getxattr`, EBADF. Linux 5.19. See io_uring_prep_fgetxattr(3), fgetxattr(2).
   */
  fgetxattr(target: Target, name: Path, options: GetxattrOptions = NO_OPTIONS): Promise<Uint8Array> {
    return attempt(() => {
      const { length = ROOM } = options;
      const strings = new Strings([name], checkRoom(length), undefined);
      return this.call(FGETXATTR, target, null, length, 0, 0, options, strings);
    });
  }

  /**
   * Sets an extended attribute of a file.
   *
   * @param name such as `"user.mime_type"`
   * @param value at most 65536 bytes, which must stay as they are until the promise settles
   * @throws UringError EEXIST and ENODATA as the flags ask, ENOSPC, EOPNOTSUPP, E2BIG. Linux 5.19. See
   * io_uring_prep_setxattr(3), setxattr(2).
   */
  setxattr(path: Path, name: Path, value: Memory, options: SetxattrOptions = NO_OPTIONS): Promise<void> {
    return attempt(() => {
      const { length, flags = 0 } = options;
      const strings = new Strings([path, name], 0, undefined);
      return this.call(SETXATTR, -1, value, length, 0, flags, options, strings);
    });
  }

  /**
   * Sets an extended attribute of an open file. A `Direct` takes a newer kernel than the operation does.
   *
   * @param name such as `"user.mime_type"`
   * @param value at most 65536 bytes, which must stay as they are until the promise settles
   * @throws UringError as `setxattr`, EBADF. Linux 5.19. See io_uring_prep_fsetxattr(3), fsetxattr(2).
   */
  fsetxattr(target: Target, name: Path, value: Memory, options: SetxattrOptions = NO_OPTIONS): Promise<void> {
    return attempt(() => {
      const { length, flags = 0 } = options;
      return this.call(
        FSETXATTR,
        target,
        value,
        length,
        0,
        flags,
        options,
        new Strings([name], 0, undefined),
      );
    });
  }
}

/** Room for an attribute: what most file systems have for all of a file's. */
const ROOM = 4096;

/** More than none: asked for 0 bytes the kernel tells the attribute's size. */
const checkRoom = (length: number): number => whole(length, 1, 65536, "length");
