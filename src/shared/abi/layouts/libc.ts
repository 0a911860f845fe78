/**
 * Layouts of the kernel's and libc's other structs that io_uring takes: `sizeof` is the size of the struct, every other entry the byte offset of
 * the member of that name. Members of a union share an offset; a dotted name is a member of an anonymous inner struct.
 */

/** A piece of memory: where it begins, and its length. */
export const iovec = {
  sizeof: 16,
  iov_base: 0,
  iov_len: 8,
} as const;

/** A message to send or receive. */
export const msghdr = {
  sizeof: 56,
  msg_name: 0,
  msg_namelen: 8,
  msg_iov: 16,
  msg_iovlen: 24,
  msg_control: 32,
  msg_controllen: 40,
  msg_flags: 48,
} as const;

/** Head of a control message. */
export const cmsghdr = {
  sizeof: 16,
  cmsg_len: 0,
  cmsg_level: 8,
  cmsg_type: 12,
  __cmsg_data: 16,
} as const;

/** Head of any socket address. */
export const sockaddr = {
  sizeof: 16,
  sa_family: 0,
  sa_data: 2,
} as const;

/** An IPv4 address; port and address are big endian. */
export const sockaddr_in = {
  sizeof: 16,
  sin_family: 0,
  sin_port: 2,
  sin_addr: 4,
  sin_zero: 8,
} as const;

/** An IPv6 address; port and flow label are big endian. */
export const sockaddr_in6 = {
  sizeof: 28,
  sin6_family: 0,
  sin6_port: 2,
  sin6_flowinfo: 4,
  sin6_addr: 8,
  sin6_scope_id: 24,
} as const;

/** A Unix domain address. */
export const sockaddr_un = {
  sizeof: 110,
  sun_family: 0,
  sun_path: 2,
} as const;

/** Room for any socket address. */
export const sockaddr_storage = {
  sizeof: 128,
  ss_family: 0,
  __ss_padding: 2,
  __ss_align: 120,
} as const;

/** An IPv4 address, big endian. */
export const in_addr = {
  sizeof: 4,
  s_addr: 0,
} as const;

/** The 16 bytes of an IPv6 address. */
export const in6_addr = {
  sizeof: 16,
  __in6_u: 0,
  "__in6_u.__u6_addr8": 0,
  "__in6_u.__u6_addr16": 0,
  "__in6_u.__u6_addr32": 0,
} as const;

/** A duration or a point in time. */
export const __kernel_timespec = {
  sizeof: 16,
  tv_sec: 0,
  tv_nsec: 8,
} as const;

/** What statx reports about a file. */
export const statx = {
  sizeof: 256,
  stx_mask: 0,
  stx_blksize: 4,
  stx_attributes: 8,
  stx_nlink: 16,
  stx_uid: 20,
  stx_gid: 24,
  stx_mode: 28,
  __spare0: 30,
  stx_ino: 32,
  stx_size: 40,
  stx_blocks: 48,
  stx_attributes_mask: 56,
  stx_atime: 64,
  stx_btime: 80,
  stx_ctime: 96,
  stx_mtime: 112,
  stx_rdev_major: 128,
  stx_rdev_minor: 132,
  stx_dev_major: 136,
  stx_dev_minor: 140,
  stx_mnt_id: 144,
  stx_dio_mem_align: 152,
  stx_dio_offset_align: 156,
  __spare3: 160,
} as const;

/** A point in time, as statx reports it. */
export const statx_timestamp = {
  sizeof: 16,
  tv_sec: 0,
  tv_nsec: 8,
  __reserved: 12,
} as const;

/** Argument of openat2. */
export const open_how = {
  sizeof: 24,
  flags: 0,
  mode: 8,
  resolve: 16,
} as const;

/** One futex of a wait for many. */
export const futex_waitv = {
  sizeof: 24,
  val: 0,
  uaddr: 8,
  flags: 16,
  __reserved: 20,
} as const;

/** One fd of poll. */
export const pollfd = {
  sizeof: 8,
  fd: 0,
  events: 4,
  revents: 6,
} as const;

/** What waitid reports about a child. */
export const siginfo_t = {
  sizeof: 128,
  si_signo: 0,
  si_errno: 4,
  si_code: 8,
  si_pid: 16,
  si_uid: 20,
  si_status: 24,
  si_utime: 32,
  si_stime: 40,
} as const;

/** A set of signals. */
export const sigset_t = {
  sizeof: 128,
  __val: 0,
} as const;

/** A set of CPUs. */
export const cpu_set_t = {
  sizeof: 128,
  __bits: 0,
} as const;
