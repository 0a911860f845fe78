import {
  statx as layout,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
  statx_timestamp as timestamp,
} from "../abi/index.ts";
import { type Memory, viewOf } from "./fields.ts";

/**
 * What statx reports about a file, under the names of Node's `BigIntStats`: 64-bit fields are bigints, smaller ones
 * numbers. `mask` tells which fields the kernel filled in. See statx(2).
 */
export class Statx {
  /** `STATX_*` bits of the fields that hold something. */
  readonly mask: number;
  /** Preferred size of reads and writes, in bytes. */
  readonly blksize: number;
  /** `STATX_ATTR_*` bits of the file, among those `attributesMask` has. */
  readonly attributes: bigint;
  /** The attributes this file system knows. */
  readonly attributesMask: bigint;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  /** Kind (`S_IFMT`) and permissions. */
  readonly mode: number;
  readonly ino: bigint;
  /** Size in bytes. */
  readonly size: bigint;
  /** Size on disk in units of 512 bytes. */
  readonly blocks: bigint;
  /** Time of the last access, in nanoseconds since 1970. */
  readonly atimeNs: bigint;
  /** Time of birth, in nanoseconds since 1970. */
  readonly birthtimeNs: bigint;
  /** Time of the last change to the file or what is known about it, in nanoseconds since 1970. */
  readonly ctimeNs: bigint;
  /** Time of the last change to the file's content, in nanoseconds since 1970. */
  readonly mtimeNs: bigint;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  readonly devMajor: number;
  readonly devMinor: number;
  readonly mntId: bigint;
  /** What O_DIRECT wants memory aligned to, in bytes; 0 where there is no O_DIRECT. */
  readonly dioMemAlign: number;
  /** What O_DIRECT wants offsets and lengths aligned to, in bytes. */
  readonly dioOffsetAlign: number;

  /** @internal */
  constructor(view: DataView) {
    const u32 = (offset: number): number => view.getUint32(offset, true);
    const u64 = (offset: number): bigint => view.getBigUint64(offset, true);
    const time = (offset: number): bigint =>
      view.getBigInt64(offset + timestamp.tv_sec, true) * 1_000_000_000n +
      BigInt(u32(offset + timestamp.tv_nsec));
    this.mask = u32(layout.stx_mask);
    this.blksize = u32(layout.stx_blksize);
    this.attributes = u64(layout.stx_attributes);
    this.attributesMask = u64(layout.stx_attributes_mask);
    this.nlink = u32(layout.stx_nlink);
    this.uid = u32(layout.stx_uid);
    this.gid = u32(layout.stx_gid);
    this.mode = view.getUint16(layout.stx_mode, true);
    this.ino = u64(layout.stx_ino);
    this.size = u64(layout.stx_size);
    this.blocks = u64(layout.stx_blocks);
    this.atimeNs = time(layout.stx_atime);
    this.birthtimeNs = time(layout.stx_btime);
    this.ctimeNs = time(layout.stx_ctime);
    this.mtimeNs = time(layout.stx_mtime);
    this.rdevMajor = u32(layout.stx_rdev_major);
    this.rdevMinor = u32(layout.stx_rdev_minor);
    this.devMajor = u32(layout.stx_dev_major);
    this.devMinor = u32(layout.stx_dev_minor);
    this.mntId = u64(layout.stx_mnt_id);
    this.dioMemAlign = u32(layout.stx_dio_mem_align);
    this.dioOffsetAlign = u32(layout.stx_dio_offset_align);
  }

  /** The device the file is on, as stat gives it. */
  get dev(): bigint {
    return device(this.devMajor, this.devMinor);
  }

  /** The device the file is, as stat gives it. */
  get rdev(): bigint {
    return device(this.rdevMajor, this.rdevMinor);
  }

  get atimeMs(): number {
    return milliseconds(this.atimeNs);
  }

  get birthtimeMs(): number {
    return milliseconds(this.birthtimeNs);
  }

  get ctimeMs(): number {
    return milliseconds(this.ctimeNs);
  }

  get mtimeMs(): number {
    return milliseconds(this.mtimeNs);
  }

  get atime(): Date {
    return new Date(this.atimeMs);
  }

  get birthtime(): Date {
    return new Date(this.birthtimeMs);
  }

  get ctime(): Date {
    return new Date(this.ctimeMs);
  }

  get mtime(): Date {
    return new Date(this.mtimeMs);
  }

  isFile(): boolean {
    return (this.mode & S_IFMT) === S_IFREG;
  }

  isDirectory(): boolean {
    return (this.mode & S_IFMT) === S_IFDIR;
  }

  isSymbolicLink(): boolean {
    return (this.mode & S_IFMT) === S_IFLNK;
  }

  isSocket(): boolean {
    return (this.mode & S_IFMT) === S_IFSOCK;
  }

  isFIFO(): boolean {
    return (this.mode & S_IFMT) === S_IFIFO;
  }

  isBlockDevice(): boolean {
    return (this.mode & S_IFMT) === S_IFBLK;
  }

  isCharacterDevice(): boolean {
    return (this.mode & S_IFMT) === S_IFCHR;
  }
}

/**
 * Reads the `struct statx` that `prepStatx` has filled in.
 *
 * @param memory the 256 bytes that were given to the operation
 * @throws RangeError for memory of fewer than 256 bytes
 *
 * @example
 * ```ts
 * import { alloc, cstring, decodeStatx, Ring } from "uring";
 * import { AT_FDCWD, STATX_BASIC_STATS, statx } from "uring/abi";
 *
 * const ring = new Ring({ entries: 8 });
 * const out = alloc(statx.sizeof);
 * ring.getSqe()!.prepStatx(AT_FDCWD, cstring("/etc/hostname"), 0, STATX_BASIC_STATS, out);
 * ring.submitAndWait(1);
 * ring.drain(() => console.log(decodeStatx(out).isFile())); // true
 * ring.close();
 * ```
 */
export function decodeStatx(memory: Memory): Statx {
  return new Statx(viewOf(memory, layout.sizeof, "statx"));
}

function milliseconds(nanoseconds: bigint): number {
  return Number(nanoseconds / 1_000_000n) + Number(nanoseconds % 1_000_000n) / 1e6;
}

/** As glibc's makedev does. */
function device(major: number, minor: number): bigint {
  const [a, b] = [BigInt(major), BigInt(minor)];
  return ((a & 0xfffff000n) << 32n) | ((a & 0xfffn) << 8n) | ((b & 0xffffff00n) << 12n) | (b & 0xffn);
}
