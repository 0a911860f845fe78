/**
 * Layouts of io_uring's structs: `sizeof` is the size of the struct, every other entry the byte offset of
 * the member of that name. Members of a union share an offset; a dotted name is a member of an anonymous inner struct.
 */

/** A submission queue entry; on an SQE128 ring `cmd` goes on for another 64 bytes. */
export const io_uring_sqe = {
  sizeof: 64,
  opcode: 0,
  flags: 1,
  ioprio: 2,
  fd: 4,
  off: 8,
  addr2: 8,
  cmd_op: 8,
  __pad1: 12,
  addr: 16,
  splice_off_in: 16,
  level: 16,
  optname: 20,
  len: 24,
  rw_flags: 28,
  fsync_flags: 28,
  poll_events: 28,
  poll32_events: 28,
  sync_range_flags: 28,
  msg_flags: 28,
  timeout_flags: 28,
  accept_flags: 28,
  cancel_flags: 28,
  open_flags: 28,
  statx_flags: 28,
  fadvise_advice: 28,
  splice_flags: 28,
  rename_flags: 28,
  unlink_flags: 28,
  hardlink_flags: 28,
  xattr_flags: 28,
  msg_ring_flags: 28,
  uring_cmd_flags: 28,
  waitid_flags: 28,
  futex_flags: 28,
  install_fd_flags: 28,
  nop_flags: 28,
  pipe_flags: 28,
  user_data: 32,
  buf_index: 40,
  buf_group: 40,
  personality: 42,
  splice_fd_in: 44,
  file_index: 44,
  zcrx_ifq_idx: 44,
  optlen: 44,
  addr_len: 44,
  __pad3: 46,
  addr3: 48,
  __pad2: 56,
  attr_ptr: 48,
  attr_type_mask: 56,
  optval: 48,
  cmd: 48,
} as const;

/** Protection information of a read or write, at `attr_ptr`. */
export const io_uring_attr_pi = {
  sizeof: 32,
  flags: 0,
  app_tag: 2,
  len: 4,
  addr: 8,
  seed: 16,
  rsvd: 24,
} as const;

/** A completion queue entry; on a CQE32 ring `big_cqe` holds 16 more bytes. */
export const io_uring_cqe = {
  sizeof: 16,
  user_data: 0,
  res: 8,
  flags: 12,
  big_cqe: 16,
} as const;

/** Where the parts of the SQ ring lie in its memory. */
export const io_sqring_offsets = {
  sizeof: 40,
  head: 0,
  tail: 4,
  ring_mask: 8,
  ring_entries: 12,
  flags: 16,
  dropped: 20,
  array: 24,
  resv1: 28,
  user_addr: 32,
} as const;

/** Where the parts of the CQ ring lie in its memory. */
export const io_cqring_offsets = {
  sizeof: 40,
  head: 0,
  tail: 4,
  ring_mask: 8,
  ring_entries: 12,
  overflow: 16,
  cqes: 20,
  flags: 24,
  resv1: 28,
  user_addr: 32,
} as const;

/** What `io_uring_setup` takes and answers. */
export const io_uring_params = {
  sizeof: 120,
  sq_entries: 0,
  cq_entries: 4,
  flags: 8,
  sq_thread_cpu: 12,
  sq_thread_idle: 16,
  features: 20,
  wq_fd: 24,
  resv: 28,
  sq_off: 40,
  cq_off: 80,
} as const;

/** Argument of `IORING_REGISTER_FILES_UPDATE`. */
export const io_uring_files_update = {
  sizeof: 16,
  offset: 0,
  resv: 4,
  fds: 8,
} as const;

/** A region of memory that application and kernel share. */
export const io_uring_region_desc = {
  sizeof: 64,
  user_addr: 0,
  size: 8,
  flags: 16,
  id: 20,
  mmap_offset: 24,
  __resv: 32,
} as const;

/** Argument of `IORING_REGISTER_MEM_REGION`. */
export const io_uring_mem_region_reg = {
  sizeof: 32,
  region_uptr: 0,
  flags: 8,
  __resv: 16,
} as const;

/** Argument of registering tagged or sparse files and buffers. */
export const io_uring_rsrc_register = {
  sizeof: 32,
  nr: 0,
  flags: 4,
  resv2: 8,
  data: 16,
  tags: 24,
} as const;

/** Argument of updating files, and of registering ring fds. */
export const io_uring_rsrc_update = {
  sizeof: 16,
  offset: 0,
  resv: 4,
  data: 8,
} as const;

/** Argument of updating tagged files and buffers. */
export const io_uring_rsrc_update2 = {
  sizeof: 32,
  offset: 0,
  resv: 4,
  data: 8,
  tags: 16,
  nr: 24,
  resv2: 28,
} as const;

/** What a probe says about one operation. */
export const io_uring_probe_op = {
  sizeof: 8,
  op: 0,
  resv: 1,
  flags: 2,
  resv2: 4,
} as const;

/** Head of a probe. */
export const io_uring_probe = {
  sizeof: 16,
  last_op: 0,
  ops_len: 1,
  resv: 2,
  resv2: 4,
  ops: 16,
} as const;

/** One restriction of a ring. */
export const io_uring_restriction = {
  sizeof: 16,
  opcode: 0,
  register_op: 2,
  sqe_op: 2,
  sqe_flags: 2,
  resv: 3,
  resv2: 4,
} as const;

/** Restrictions of every ring a task creates. */
export const io_uring_task_restriction = {
  sizeof: 16,
  flags: 0,
  nr_res: 2,
  resv: 4,
  restrictions: 16,
} as const;

/** Argument of `IORING_REGISTER_CLOCK`. */
export const io_uring_clock_register = {
  sizeof: 16,
  clockid: 0,
  __resv: 4,
} as const;

/** Argument of `IORING_REGISTER_CLONE_BUFFERS`. */
export const io_uring_clone_buffers = {
  sizeof: 32,
  src_fd: 0,
  flags: 4,
  src_off: 8,
  dst_off: 12,
  nr: 16,
  pad: 20,
} as const;

/** One buffer of a buffer ring. */
export const io_uring_buf = {
  sizeof: 16,
  addr: 0,
  len: 8,
  bid: 12,
  resv: 14,
} as const;

/** Head of a buffer ring; it overlays the first entry, whose last two bytes are the tail. */
export const io_uring_buf_ring = {
  sizeof: 16,
  resv1: 0,
  resv2: 8,
  resv3: 12,
  tail: 14,
  bufs: 0,
} as const;

/** Argument of `IORING_REGISTER_PBUF_RING`. */
export const io_uring_buf_reg = {
  sizeof: 40,
  ring_addr: 0,
  ring_entries: 8,
  bgid: 12,
  flags: 14,
  min_left: 16,
  resv: 20,
} as const;

/** Argument of `IORING_REGISTER_PBUF_STATUS`. */
export const io_uring_buf_status = {
  sizeof: 40,
  buf_group: 0,
  head: 4,
  resv: 8,
} as const;

/** Argument of `IORING_REGISTER_NAPI`. */
export const io_uring_napi = {
  sizeof: 16,
  busy_poll_to: 0,
  prefer_busy_poll: 4,
  pad: 5,
  resv: 8,
} as const;

/** A registered wait argument. */
export const io_uring_reg_wait = {
  sizeof: 64,
  ts: 0,
  min_wait_usec: 16,
  flags: 20,
  sigmask: 24,
  sigmask_sz: 32,
  pad: 36,
  pad2: 48,
} as const;

/** Extended argument of `io_uring_enter`. */
export const io_uring_getevents_arg = {
  sizeof: 24,
  sigmask: 0,
  sigmask_sz: 8,
  min_wait_usec: 12,
  ts: 16,
} as const;

/** Argument of `IORING_REGISTER_SYNC_CANCEL`. */
export const io_uring_sync_cancel_reg = {
  sizeof: 64,
  addr: 0,
  fd: 8,
  flags: 12,
  timeout: 16,
  opcode: 32,
  pad: 33,
  pad2: 40,
} as const;

/** Argument of `IORING_REGISTER_FILE_ALLOC_RANGE`. */
export const io_uring_file_index_range = {
  sizeof: 16,
  off: 0,
  len: 4,
  resv: 8,
} as const;

/** Head of each buffer that a multishot recvmsg fills. */
export const io_uring_recvmsg_out = {
  sizeof: 16,
  namelen: 0,
  controllen: 4,
  payloadlen: 8,
  flags: 12,
} as const;

/** A timespec, as io_uring's own headers spell it. */
export const io_timespec = {
  sizeof: 16,
  tv_sec: 0,
  tv_nsec: 8,
} as const;

/** Zero-copy receive: an entry of the refill queue. */
export const io_uring_zcrx_rqe = {
  sizeof: 16,
  off: 0,
  len: 8,
  __pad: 12,
} as const;

/** Zero-copy receive: the second half of a completion. */
export const io_uring_zcrx_cqe = {
  sizeof: 16,
  off: 0,
  __pad: 8,
} as const;

/** Zero-copy receive: where the parts of the refill ring lie. */
export const io_uring_zcrx_offsets = {
  sizeof: 32,
  head: 0,
  tail: 4,
  rqes: 8,
  __resv2: 12,
  __resv: 16,
} as const;

/** Zero-copy receive: the memory packets go to. */
export const io_uring_zcrx_area_reg = {
  sizeof: 48,
  addr: 0,
  len: 8,
  rq_area_token: 16,
  flags: 24,
  dmabuf_fd: 28,
  __resv2: 32,
} as const;

/** Argument of `IORING_REGISTER_ZCRX_IFQ`. */
export const io_uring_zcrx_ifq_reg = {
  sizeof: 96,
  if_idx: 0,
  if_rxq: 4,
  rq_entries: 8,
  flags: 12,
  area_ptr: 16,
  region_ptr: 24,
  offsets: 32,
  zcrx_id: 64,
  rx_buf_len: 68,
  __resv: 72,
} as const;

/** Zero-copy receive: argument of flushing the refill queue. */
export const zcrx_ctrl_flush_rq = {
  sizeof: 48,
  __resv: 0,
} as const;

/** Zero-copy receive: argument of exporting an interface queue. */
export const zcrx_ctrl_export = {
  sizeof: 48,
  zcrx_fd: 0,
  __resv1: 4,
} as const;

/** Argument of `IORING_REGISTER_ZCRX_CTRL`. */
export const zcrx_ctrl = {
  sizeof: 72,
  zcrx_id: 0,
  op: 4,
  __resv: 8,
  zc_export: 24,
  zc_flush: 24,
} as const;

/** Head of each query of `IORING_REGISTER_QUERY`. */
export const io_uring_query_hdr = {
  sizeof: 40,
  next_entry: 0,
  query_data: 8,
  query_op: 16,
  size: 20,
  result: 24,
  __resv: 28,
} as const;

/** Answer to `IO_URING_QUERY_OPCODES`. */
export const io_uring_query_opcode = {
  sizeof: 48,
  nr_request_opcodes: 0,
  nr_register_opcodes: 4,
  feature_flags: 8,
  ring_setup_flags: 16,
  enter_flags: 24,
  sqe_flags: 32,
  nr_query_opcodes: 40,
  __pad: 44,
} as const;

/** Answer to `IO_URING_QUERY_ZCRX`. */
export const io_uring_query_zcrx = {
  sizeof: 40,
  register_flags: 0,
  area_flags: 8,
  nr_ctrl_opcodes: 16,
  features: 20,
  rq_hdr_size: 24,
  rq_hdr_alignment: 28,
  __resv2: 32,
} as const;

/** Answer to `IO_URING_QUERY_SCQ`. */
export const io_uring_query_scq = {
  sizeof: 16,
  hdr_size: 0,
  hdr_alignment: 8,
} as const;

/** What a BPF filter sees of a request. */
export const io_uring_bpf_ctx = {
  sizeof: 40,
  user_data: 0,
  opcode: 8,
  sqe_flags: 9,
  pdu_size: 10,
  pad: 11,
  socket: 16,
  "socket.family": 16,
  "socket.type": 20,
  "socket.protocol": 24,
  open: 16,
  "open.flags": 16,
  "open.mode": 24,
  "open.resolve": 32,
} as const;

/** A BPF filter for one operation. */
export const io_uring_bpf_filter = {
  sizeof: 64,
  opcode: 0,
  flags: 4,
  filter_len: 8,
  pdu_size: 12,
  resv: 13,
  filter_ptr: 16,
  resv2: 24,
} as const;

/** Argument of `IORING_REGISTER_BPF_FILTER`. */
export const io_uring_bpf = {
  sizeof: 72,
  cmd_type: 0,
  cmd_flags: 2,
  resv: 4,
  filter: 8,
} as const;
