/**
 * Constants of io_uring under the names of the kernel's headers and of liburing.
 * Unsigned values are positive numbers; a value that a number can not hold exactly is a bigint.
 */

// Operations: the opcode of an SQE.
export const IORING_OP_NOP = 0;
export const IORING_OP_READV = 1;
export const IORING_OP_WRITEV = 2;
export const IORING_OP_FSYNC = 3;
export const IORING_OP_READ_FIXED = 4;
export const IORING_OP_WRITE_FIXED = 5;
export const IORING_OP_POLL_ADD = 6;
export const IORING_OP_POLL_REMOVE = 7;
export const IORING_OP_SYNC_FILE_RANGE = 8;
export const IORING_OP_SENDMSG = 9;
export const IORING_OP_RECVMSG = 10;
export const IORING_OP_TIMEOUT = 11;
export const IORING_OP_TIMEOUT_REMOVE = 12;
export const IORING_OP_ACCEPT = 13;
export const IORING_OP_ASYNC_CANCEL = 14;
export const IORING_OP_LINK_TIMEOUT = 15;
export const IORING_OP_CONNECT = 16;
export const IORING_OP_FALLOCATE = 17;
export const IORING_OP_OPENAT = 18;
export const IORING_OP_CLOSE = 19;
export const IORING_OP_FILES_UPDATE = 20;
export const IORING_OP_STATX = 21;
export const IORING_OP_READ = 22;
export const IORING_OP_WRITE = 23;
export const IORING_OP_FADVISE = 24;
export const IORING_OP_MADVISE = 25;
export const IORING_OP_SEND = 26;
export const IORING_OP_RECV = 27;
export const IORING_OP_OPENAT2 = 28;
export const IORING_OP_EPOLL_CTL = 29;
export const IORING_OP_SPLICE = 30;
export const IORING_OP_PROVIDE_BUFFERS = 31;
export const IORING_OP_REMOVE_BUFFERS = 32;
export const IORING_OP_TEE = 33;
export const IORING_OP_SHUTDOWN = 34;
export const IORING_OP_RENAMEAT = 35;
export const IORING_OP_UNLINKAT = 36;
export const IORING_OP_MKDIRAT = 37;
export const IORING_OP_SYMLINKAT = 38;
export const IORING_OP_LINKAT = 39;
export const IORING_OP_MSG_RING = 40;
export const IORING_OP_FSETXATTR = 41;
export const IORING_OP_SETXATTR = 42;
export const IORING_OP_FGETXATTR = 43;
export const IORING_OP_GETXATTR = 44;
export const IORING_OP_SOCKET = 45;
export const IORING_OP_URING_CMD = 46;
export const IORING_OP_SEND_ZC = 47;
export const IORING_OP_SENDMSG_ZC = 48;
export const IORING_OP_READ_MULTISHOT = 49;
export const IORING_OP_WAITID = 50;
export const IORING_OP_FUTEX_WAIT = 51;
export const IORING_OP_FUTEX_WAKE = 52;
export const IORING_OP_FUTEX_WAITV = 53;
export const IORING_OP_FIXED_FD_INSTALL = 54;
export const IORING_OP_FTRUNCATE = 55;
export const IORING_OP_BIND = 56;
export const IORING_OP_LISTEN = 57;
export const IORING_OP_RECV_ZC = 58;
export const IORING_OP_EPOLL_WAIT = 59;
export const IORING_OP_READV_FIXED = 60;
export const IORING_OP_WRITEV_FIXED = 61;
export const IORING_OP_PIPE = 62;
export const IORING_OP_NOP128 = 63;
export const IORING_OP_URING_CMD128 = 64;

// SQE flags, for `sqe.setFlags`: what holds for any operation.
export const IOSQE_FIXED_FILE = 0x1;
export const IOSQE_IO_DRAIN = 0x2;
export const IOSQE_IO_LINK = 0x4;
export const IOSQE_IO_HARDLINK = 0x8;
export const IOSQE_ASYNC = 0x10;
export const IOSQE_BUFFER_SELECT = 0x20;
export const IOSQE_CQE_SKIP_SUCCESS = 0x40;

// The same SQE flags as bit numbers.
export const IOSQE_FIXED_FILE_BIT = 0;
export const IOSQE_IO_DRAIN_BIT = 1;
export const IOSQE_IO_LINK_BIT = 2;
export const IOSQE_IO_HARDLINK_BIT = 3;
export const IOSQE_ASYNC_BIT = 4;
export const IOSQE_BUFFER_SELECT_BIT = 5;
export const IOSQE_CQE_SKIP_SUCCESS_BIT = 6;

// Special values of a direct descriptor's slot: let the kernel choose, and leave this slot of an update as it is.
export const IORING_FILE_INDEX_ALLOC = 0xffff_ffff;
export const IORING_REGISTER_FILES_SKIP = -2;

// Flags of `io_uring_setup`: what kind of ring it is.
export const IORING_SETUP_IOPOLL = 0x1;
export const IORING_SETUP_SQPOLL = 0x2;
export const IORING_SETUP_SQ_AFF = 0x4;
export const IORING_SETUP_CQSIZE = 0x8;
export const IORING_SETUP_CLAMP = 0x10;
export const IORING_SETUP_ATTACH_WQ = 0x20;
export const IORING_SETUP_R_DISABLED = 0x40;
export const IORING_SETUP_SUBMIT_ALL = 0x80;
export const IORING_SETUP_COOP_TASKRUN = 0x100;
export const IORING_SETUP_TASKRUN_FLAG = 0x200;
export const IORING_SETUP_SQE128 = 0x400;
export const IORING_SETUP_CQE32 = 0x800;
export const IORING_SETUP_SINGLE_ISSUER = 0x1000;
export const IORING_SETUP_DEFER_TASKRUN = 0x2000;
export const IORING_SETUP_NO_MMAP = 0x4000;
export const IORING_SETUP_REGISTERED_FD_ONLY = 0x8000;
export const IORING_SETUP_NO_SQARRAY = 0x0001_0000;
export const IORING_SETUP_HYBRID_IOPOLL = 0x0002_0000;
export const IORING_SETUP_CQE_MIXED = 0x0004_0000;
export const IORING_SETUP_SQE_MIXED = 0x0008_0000;
export const IORING_SETUP_SQ_REWIND = 0x0010_0000;

// Flags of `io_uring_enter`.
export const IORING_ENTER_GETEVENTS = 0x1;
export const IORING_ENTER_SQ_WAKEUP = 0x2;
export const IORING_ENTER_SQ_WAIT = 0x4;
export const IORING_ENTER_EXT_ARG = 0x8;
export const IORING_ENTER_REGISTERED_RING = 0x10;
export const IORING_ENTER_ABS_TIMER = 0x20;
export const IORING_ENTER_EXT_ARG_REG = 0x40;
export const IORING_ENTER_NO_IOWAIT = 0x80;

// Features the kernel reports in `params.features`.
export const IORING_FEAT_SINGLE_MMAP = 0x1;
export const IORING_FEAT_NODROP = 0x2;
export const IORING_FEAT_SUBMIT_STABLE = 0x4;
export const IORING_FEAT_RW_CUR_POS = 0x8;
export const IORING_FEAT_CUR_PERSONALITY = 0x10;
export const IORING_FEAT_FAST_POLL = 0x20;
export const IORING_FEAT_POLL_32BITS = 0x40;
export const IORING_FEAT_SQPOLL_NONFIXED = 0x80;
export const IORING_FEAT_EXT_ARG = 0x100;
export const IORING_FEAT_NATIVE_WORKERS = 0x200;
export const IORING_FEAT_RSRC_TAGS = 0x400;
export const IORING_FEAT_CQE_SKIP = 0x800;
export const IORING_FEAT_LINKED_FILE = 0x1000;
export const IORING_FEAT_REG_REG_RING = 0x2000;
export const IORING_FEAT_RECVSEND_BUNDLE = 0x4000;
export const IORING_FEAT_MIN_TIMEOUT = 0x8000;
export const IORING_FEAT_RW_ATTR = 0x0001_0000;
export const IORING_FEAT_NO_IOWAIT = 0x0002_0000;

// What the kernel says in the flags word of the SQ ring.
export const IORING_SQ_NEED_WAKEUP = 0x1;
export const IORING_SQ_CQ_OVERFLOW = 0x2;
export const IORING_SQ_TASKRUN = 0x4;

// What the application says in the flags word of the CQ ring.
export const IORING_CQ_EVENTFD_DISABLED = 0x1;

// Flags of a CQE; with `IORING_CQE_F_BUFFER` the upper 16 bits are the buffer id.
export const IORING_CQE_F_BUFFER = 0x1;
export const IORING_CQE_F_MORE = 0x2;
export const IORING_CQE_F_SOCK_NONEMPTY = 0x4;
export const IORING_CQE_F_NOTIF = 0x8;
export const IORING_CQE_F_BUF_MORE = 0x10;
export const IORING_CQE_F_SKIP = 0x20;
export const IORING_CQE_F_32 = 0x8000;

// Where the buffer id begins in a CQE's flags.
export const IORING_CQE_BUFFER_SHIFT = 16;

// Fields of a CQE that carries a transmit timestamp (`SOCKET_URING_OP_TX_TIMESTAMP`).
export const IORING_TIMESTAMP_HW_SHIFT = 16;
export const IORING_TIMESTAMP_TYPE_SHIFT = 17;
export const IORING_CQE_F_TSTAMP_HW = 0x0001_0000;

// Offsets at which the kernel's own rings and buffer rings are mapped.
export const IORING_OFF_SQ_RING = 0x0;
export const IORING_OFF_CQ_RING = 0x0800_0000;
export const IORING_OFF_SQES = 0x1000_0000;
export const IORING_OFF_PBUF_RING = 0x8000_0000;
export const IORING_OFF_PBUF_SHIFT = 16;
export const IORING_OFF_MMAP_MASK = 0xf800_0000;

// Attributes a read or write may carry (`attr_type_mask`).
export const IORING_RW_ATTR_FLAG_PI = 0x1;

// Flags of `IORING_OP_URING_CMD`.
export const IORING_URING_CMD_FIXED = 0x1;
export const IORING_URING_CMD_MASK = 0x1;

// Flags of fsync.
export const IORING_FSYNC_DATASYNC = 0x1;

// Flags of timeouts and link timeouts.
export const IORING_TIMEOUT_ABS = 0x1;
export const IORING_TIMEOUT_UPDATE = 0x2;
export const IORING_TIMEOUT_BOOTTIME = 0x4;
export const IORING_TIMEOUT_REALTIME = 0x8;
export const IORING_LINK_TIMEOUT_UPDATE = 0x10;
export const IORING_TIMEOUT_ETIME_SUCCESS = 0x20;
export const IORING_TIMEOUT_MULTISHOT = 0x40;
export const IORING_TIMEOUT_IMMEDIATE_ARG = 0x80;
export const IORING_TIMEOUT_CLOCK_MASK = 0xc;
export const IORING_TIMEOUT_UPDATE_MASK = 0x12;

// Flag of splice and tee: the input is a slot of the fixed-file table.
export const SPLICE_F_FD_IN_FIXED = 0x8000_0000;

// Flags of poll, kept in the SQE's `len`.
export const IORING_POLL_ADD_MULTI = 0x1;
export const IORING_POLL_UPDATE_EVENTS = 0x2;
export const IORING_POLL_UPDATE_USER_DATA = 0x4;
export const IORING_POLL_ADD_LEVEL = 0x8;

// Flags of cancel: what selects the requests, and how many of them.
export const IORING_ASYNC_CANCEL_ALL = 0x1;
export const IORING_ASYNC_CANCEL_FD = 0x2;
export const IORING_ASYNC_CANCEL_ANY = 0x4;
export const IORING_ASYNC_CANCEL_FD_FIXED = 0x8;
export const IORING_ASYNC_CANCEL_USERDATA = 0x10;
export const IORING_ASYNC_CANCEL_OP = 0x20;

// Flags of send and receive, kept in the SQE's `ioprio`.
export const IORING_RECVSEND_POLL_FIRST = 0x1;
export const IORING_RECV_MULTISHOT = 0x2;
export const IORING_RECVSEND_FIXED_BUF = 0x4;
export const IORING_SEND_ZC_REPORT_USAGE = 0x8;
export const IORING_RECVSEND_BUNDLE = 0x10;
export const IORING_SEND_VECTORIZED = 0x20;

// What the notification of a zero-copy send reports in `res`.
export const IORING_NOTIF_USAGE_ZC_COPIED = 0x8000_0000;

// Flags of accept, kept in the SQE's `ioprio`.
export const IORING_ACCEPT_MULTISHOT = 0x1;
export const IORING_ACCEPT_DONTWAIT = 0x2;
export const IORING_ACCEPT_POLL_FIRST = 0x4;

// What `IORING_OP_MSG_RING` sends: data, or a direct descriptor.
export const IORING_MSG_DATA = 0;
export const IORING_MSG_SEND_FD = 1;

// Flags of `IORING_OP_MSG_RING`.
export const IORING_MSG_RING_CQE_SKIP = 0x1;
export const IORING_MSG_RING_FLAGS_PASS = 0x2;

// Flags of `IORING_OP_FIXED_FD_INSTALL`.
export const IORING_FIXED_FD_NO_CLOEXEC = 0x1;

// Flags of `IORING_OP_NOP`.
export const IORING_NOP_INJECT_RESULT = 0x1;
export const IORING_NOP_CQE32 = 0x20;

// Commands that `IORING_OP_URING_CMD` takes on a socket.
export const SOCKET_URING_OP_SIOCINQ = 0;
export const SOCKET_URING_OP_SIOCOUTQ = 1;
export const SOCKET_URING_OP_GETSOCKOPT = 2;
export const SOCKET_URING_OP_SETSOCKOPT = 3;
export const SOCKET_URING_OP_TX_TIMESTAMP = 4;
export const SOCKET_URING_OP_GETSOCKNAME = 5;

// Commands that `IORING_OP_URING_CMD` takes on a block device.
export const BLOCK_URING_CMD_DISCARD = 0x1200;
export const BLOCK_URING_CMD_ZONE_RESET_ALL = 0x1201;

// Operations of `io_uring_register`.
export const IORING_REGISTER_BUFFERS = 0;
export const IORING_UNREGISTER_BUFFERS = 1;
export const IORING_REGISTER_FILES = 2;
export const IORING_UNREGISTER_FILES = 3;
export const IORING_REGISTER_EVENTFD = 4;
export const IORING_UNREGISTER_EVENTFD = 5;
export const IORING_REGISTER_FILES_UPDATE = 6;
export const IORING_REGISTER_EVENTFD_ASYNC = 7;
export const IORING_REGISTER_PROBE = 8;
export const IORING_REGISTER_PERSONALITY = 9;
export const IORING_UNREGISTER_PERSONALITY = 10;
export const IORING_REGISTER_RESTRICTIONS = 11;
export const IORING_REGISTER_ENABLE_RINGS = 12;
export const IORING_REGISTER_FILES2 = 13;
export const IORING_REGISTER_FILES_UPDATE2 = 14;
export const IORING_REGISTER_BUFFERS2 = 15;
export const IORING_REGISTER_BUFFERS_UPDATE = 16;
export const IORING_REGISTER_IOWQ_AFF = 17;
export const IORING_UNREGISTER_IOWQ_AFF = 18;
export const IORING_REGISTER_IOWQ_MAX_WORKERS = 19;
export const IORING_REGISTER_RING_FDS = 20;
export const IORING_UNREGISTER_RING_FDS = 21;
export const IORING_REGISTER_PBUF_RING = 22;
export const IORING_UNREGISTER_PBUF_RING = 23;
export const IORING_REGISTER_SYNC_CANCEL = 24;
export const IORING_REGISTER_FILE_ALLOC_RANGE = 25;
export const IORING_REGISTER_PBUF_STATUS = 26;
export const IORING_REGISTER_NAPI = 27;
export const IORING_UNREGISTER_NAPI = 28;
export const IORING_REGISTER_CLOCK = 29;
export const IORING_REGISTER_CLONE_BUFFERS = 30;
export const IORING_REGISTER_SEND_MSG_RING = 31;
export const IORING_REGISTER_ZCRX_IFQ = 32;
export const IORING_REGISTER_RESIZE_RINGS = 33;
export const IORING_REGISTER_MEM_REGION = 34;
export const IORING_REGISTER_QUERY = 35;
export const IORING_REGISTER_ZCRX_CTRL = 36;
export const IORING_REGISTER_BPF_FILTER = 37;

// Bit of a register operation that says: the ring fd is a registered index.
export const IORING_REGISTER_USE_REGISTERED_RING = 0x8000_0000;

// The two kinds of io-wq worker, as indices of `IORING_REGISTER_IOWQ_MAX_WORKERS`.
export const IO_WQ_BOUND = 0;
export const IO_WQ_UNBOUND = 1;

// Flags of registering files and buffers.
export const IORING_RSRC_REGISTER_SPARSE = 0x1;

// Flags of `IORING_REGISTER_CLONE_BUFFERS`.
export const IORING_REGISTER_SRC_REGISTERED = 0x1;
export const IORING_REGISTER_DST_REPLACE = 0x2;

// Flags of a memory region: who brings the memory.
export const IORING_MEM_REGION_TYPE_USER = 0x1;

// Flags of `IORING_REGISTER_MEM_REGION`.
export const IORING_MEM_REGION_REG_WAIT_ARG = 0x1;

// Flags of a registered wait argument.
export const IORING_REG_WAIT_TS = 0x1;

// Flag of an operation in a probe: the kernel supports it.
export const IO_URING_OP_SUPPORTED = 0x1;

// Flags of a buffer ring.
export const IOU_PBUF_RING_MMAP = 0x1;
export const IOU_PBUF_RING_INC = 0x2;

// Kinds of restriction a ring can be given before it is enabled.
export const IORING_RESTRICTION_REGISTER_OP = 0;
export const IORING_RESTRICTION_SQE_OP = 1;
export const IORING_RESTRICTION_SQE_FLAGS_ALLOWED = 2;
export const IORING_RESTRICTION_SQE_FLAGS_REQUIRED = 3;

// What `IORING_REGISTER_QUERY` can be asked.
export const IO_URING_QUERY_OPCODES = 0;
export const IO_URING_QUERY_ZCRX = 1;
export const IO_URING_QUERY_SCQ = 2;

// Commands and flags of `IORING_REGISTER_BPF_FILTER`.
export const IO_URING_BPF_FILTER_DENY_REST = 0x1;
export const IO_URING_BPF_FILTER_SZ_STRICT = 0x2;
export const IO_URING_BPF_CMD_FILTER = 0x1;

// Zero-copy receive: how an offset names area and place in it, and the flag of an area.
export const IORING_ZCRX_AREA_SHIFT = 48;
export const IORING_ZCRX_AREA_MASK = 0xffff_0000_0000_0000n;
export const IORING_ZCRX_AREA_DMABUF = 0x1;

// Zero-copy receive: flags of registering an interface queue.
export const ZCRX_REG_IMPORT = 0x1;
export const ZCRX_REG_NODEV = 0x2;

// Zero-copy receive: features the kernel reports.
export const ZCRX_FEATURE_RX_PAGE_SIZE = 0x1;

// Zero-copy receive: control operations.
export const ZCRX_CTRL_FLUSH_RQ = 0;
export const ZCRX_CTRL_EXPORT = 1;

// One past the last value of an enumeration, as of the header these constants follow; a newer kernel may know more.
export const IORING_OP_LAST = 65;
export const IORING_REGISTER_LAST = 38;
export const IORING_RESTRICTION_LAST = 4;
export const __ZCRX_CTRL_LAST = 2;
export const __IO_URING_QUERY_MAX = 3;

// System call numbers, the same on x64 and arm64.
export const __NR_io_uring_setup = 425;
export const __NR_io_uring_enter = 426;
export const __NR_io_uring_register = 427;

// The liburing release these constants follow.
export const IO_URING_VERSION_MAJOR = 2;
export const IO_URING_VERSION_MINOR = 15;

// The `user_data` that liburing gives its own timeouts.
export const LIBURING_UDATA_TIMEOUT = 0xffff_ffff_ffff_ffffn;
