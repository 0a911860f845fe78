import {
  alloc,
  cstring,
  Direct,
  encodeOpenHow,
  encodeSockaddr,
  encodeTimespec,
  FutexWaitv,
  Iovecs,
  Msghdr,
  type Sqe,
} from "uring";
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  IORING_OP_NOP,
  IORING_OP_URING_CMD,
  IORING_OP_URING_CMD128,
  IOSQE_CQE_SKIP_SUCCESS,
  IOSQE_IO_DRAIN,
  P_PID,
  SOL_SOCKET,
} from "uring/abi";
import { anything, bits32, int64, memory, notMemory } from "./fuzz-values.ts";
import { type Helper, helpers, methodName } from "./prep-table.ts";
import type { Random } from "./random.ts";

/** What a fuzz may touch: nothing else is ever named to the kernel. */
export interface World {
  readonly random: Random;
  /** A folder of the harness's own. Every path is in it. */
  readonly folder: string;
  /** Fds of the harness's files, pipes, sockets and rings. */
  readonly fds: number[];
  /** Those of them that are sockets. */
  readonly sockets: number[];
  /** Fds that operations gave, to be closed. */
  readonly spare: number[];
  /** What entries of the present ring asked for, where that bears on whether its operations can be waited for. */
  asked: { skip: boolean; drain: boolean; zeroCopy: boolean };
}

/** What makes an argument, by its name in liburing, or by the helper's and its own. `undefined` leaves it to its type. */
const makers: Record<string, (world: World) => unknown> = {
  fd: target,
  sockfd: socket,
  fd_in: target,
  fd_out: target,
  dfd: anyFd,
  olddfd: anyFd,
  newdfd: anyFd,
  newdirfd: anyFd,
  epfd: anyFd,
  "prep_epoll_ctl fd": anyFd,
  // A number that is closed again goes to whatever the runtime opens next: only what nobody else has ever had.
  "prep_close fd": ({ random, spare }) => (random.below(2) === 0 ? -1 : (spare.pop() ?? 2 ** 30)),
  path,
  oldpath: path,
  newpath: path,
  linkpath: path,
  "prep_symlink target": path,
  "prep_symlinkat target": path,
  name: ({ random }) => cstring(random.pick(["user.fuzz", "user.other", "trusted.fuzz", "nonsense", ""])),
  iovecs,
  "prep_futex_waitv futex": futexWaitv,
  msg,
  ts: ({ random }) => encodeTimespec(random.pick([0, 0.001, 1, 5, 10_000_000])),
  how: ({ random }) => encodeOpenHow({ flags: BigInt(bits32(random) >>> 0), mode: random.below(0o10000) }),
  "prep_connect addr": address,
  "prep_bind addr": address,
  "prep_sendto addr": address,
  dest_addr: address,
  // Advice is for memory that is nobody else's.
  "prep_madvise addr": ({ random }) => alloc(random.pick([4096, 65536, 131072])),
  "prep_madvise64 addr": ({ random }) => alloc(random.pick([4096, 65536, 131072])),
  // Whoever clears up after this may have no way into a folder but its mode.
  "prep_mkdir mode": ({ random }) => bits32(random) | 0o700,
  "prep_mkdirat mode": ({ random }) => bits32(random) | 0o700,
  "prep_rw addr": () => 0,
  "prep_rw op": ({ random }) => random.pick([IORING_OP_NOP, IORING_OP_NOP + 256, 1e9, 0.5, "0"]),
  "prep_uring_cmd op": ({ random }) =>
    random.pick([IORING_OP_URING_CMD, IORING_OP_URING_CMD128, 0.5, -(2 ** 40), null]),
  // No more than this of the disk, or what no file system takes.
  "prep_fallocate len": ({ random }) => random.pick([0, 1, 4096, 1 << 20, -1, 2n ** 63n, 0.5, "1"]),
  domain: ({ random }) => random.pick([AF_UNIX, AF_INET, AF_INET6, -1, 255, 1e6]),
  type: ({ random }) => random.pick([1, 2, 5, 1 | 0o4000, -1, 255]),
  protocol: ({ random }) => random.pick([0, 0, 6, 17, -1]),
  level: ({ random }) => random.pick([SOL_SOCKET, SOL_SOCKET, -1, 1e6]),
  // Of this process's own children there are none.
  idtype: () => P_PID,
  id: () => 2 ** 22 + 1,
  source_fd: slot,
  target_fd: slot,
  file_index: slot,
  user_data: ({ random }) => int64(random),
};

function target(world: World): unknown {
  return world.random.below(6) === 0 ? new Direct(world.random.below(8)) : anyFd(world);
}

function anyFd({ random, fds }: World): number {
  return random.below(10) === 0 ? random.pick([-1, -100, 2 ** 30]) : random.pick(fds);
}

function socket(world: World): unknown {
  return world.sockets.length > 0 && world.random.below(8) > 0
    ? world.random.pick(world.sockets)
    : target(world);
}

function slot({ random }: World): unknown {
  return random.pick([0, 1, new Direct(2), 0xfffffffe, 0xffffffff, -1]);
}

function path({ random, folder }: World): unknown {
  const name = random.pick(["a", "b", "c", "d", "d/e", "d/f", "no/where", ".", "a/", "x".repeat(300)]);
  const text = `${folder}/${name}`;
  return random.below(2) === 0 ? cstring(text) : new TextEncoder().encode(`${text}\0`);
}

function address({ random, folder }: World): unknown {
  switch (random.below(5)) {
    case 0:
      return encodeSockaddr({ family: "unix", path: `${folder}/${random.pick(["s", "t", "a"])}` });
    case 1:
      return encodeSockaddr({ family: "ipv6", address: "::1", port: 9 });
    case 2:
      return encodeSockaddr({
        family: "other",
        number: 200 + random.below(100),
        data: random.bytes(random.below(100)),
      });
    default:
      return encodeSockaddr({ family: "ipv4", address: "127.0.0.1", port: random.pick([0, 9]) });
  }
}

function iovecs({ random }: World): Iovecs {
  return new Iovecs(Array.from({ length: 1 + random.below(20) }, () => memory(random)));
}

function msg(world: World): Msghdr {
  const { random } = world;
  return new Msghdr({
    ...(random.below(3) > 0 ? { iov: iovecs(world) } : {}),
    ...(random.below(3) > 0 ? { nameLength: random.below(129) } : {}),
    ...(random.below(3) > 0 ? { control: memory(random) } : {}),
  });
}

function futexWaitv({ random }: World): FutexWaitv {
  return new FutexWaitv(
    Array.from({ length: 1 + random.below(5) }, () => ({ futex: alloc(16), value: random.below(2) })),
  );
}

/** An argument: mostly such as the helper wants, now and then anything. */
function argument(world: World, helper: string, name: string, type: string, size: number): unknown {
  const { random } = world;
  const key = `${helper} ${name}`;
  const maker = makers[key] ?? makers[name];
  const raw = type === "ptr";
  // What stands for an address or an fd must never be any other number.
  const bound =
    raw || (maker !== undefined && !["user_data", "source_fd", "target_fd", "file_index"].includes(name));
  if (
    name === "fd" &&
    /accept|connect|bind|listen|shutdown|msg$|msg_|sock/.test(helper) &&
    random.below(4) > 0
  ) {
    return socket(world);
  }
  if (random.below(16) === 0) return bound ? notNumber(world) : anything(random);
  if (maker !== undefined) return maker(world);
  if (raw) return random.below(6) === 0 ? 0 : memory(random);
  if (["nbytes", "len", "length", "optlen", "addrlen", "addr_len"].includes(name)) {
    return random.pick([0, 1, 4, 16, 64, 100, 4096, size, size + 1, bits32(random)]);
  }
  if (/^(nr|nr_vecs|nr_fds|nr_futex|maxevents|count)$/.test(name))
    return random.pick([0, 1, 2, 5, bits32(random)]);
  return type === "u64" || type === "s64" || type === "size" ? int64(random) : bits32(random);
}

function notNumber({ random }: World): unknown {
  for (;;) {
    const value = notMemory(random);
    if (!(typeof value === "number" && Number.isInteger(value) && value !== 0)) return value;
  }
}

/** Whether an operation's result is an fd, which must not leak. */
function givesFd(helper: string): boolean {
  return /^prep_(open|accept|multishot_accept|socket)/.test(helper) && !helper.includes("direct");
}

/** Calls one helper with arguments made for it or not; whether the completion's result is an fd. */
export function prepare(world: World, sqe: Sqe): boolean {
  const { random } = world;
  const { helper: long, args } = random.pick(preps);
  const helper = long.replace(/^_*io_uring_/, "");
  if (helper.includes("_zc")) world.asked.zeroCopy = true;
  const size = random.pick([8, 64, 1000, 4096]);
  const values = args.map(([name, type]) =>
    argument(world, long.startsWith("__") ? "prep_uring_cmd" : helper, name, type, size),
  );
  const methods = sqe as unknown as Record<string, (...values: unknown[]) => unknown>;
  methods[methodName(long)]?.(
    ...values.slice(0, random.below(40) === 0 ? random.below(values.length + 1) : values.length),
  );
  return givesFd(helper);
}

const preps: Helper[] = helpers.filter(({ helper }) => helper.includes("_prep_"));

/** Calls a setter. An operation that gives an fd must say so when it does. */
export function decorate(world: World, sqe: Sqe, fd: boolean): void {
  const { random } = world;
  const hostile = random.below(8) === 0;
  const value = (make: () => unknown) => (hostile ? anything(random) : make()) as number;
  const flags = () => {
    const bits = value(() => random.below(256) & (fd ? ~IOSQE_CQE_SKIP_SUCCESS : 255));
    if (typeof bits === "number" && (bits & IOSQE_CQE_SKIP_SUCCESS) !== 0) {
      if (fd) return 0;
      world.asked.skip = true;
    }
    if (typeof bits === "number" && (bits & IOSQE_IO_DRAIN) !== 0) world.asked.drain = true;
    return bits;
  };
  const setters = [
    () => sqe.setFlags(flags()),
    () => sqe.addFlags(flags()),
    () => sqe.setBufferGroup(value(() => random.below(4))),
    () => sqe.setBufferIndex(value(() => random.below(4))),
    () => sqe.setPersonality(value(() => random.below(4))),
    () => sqe.setIoprio(value(() => 1 << random.below(16))),
    () => sqe.setOptlen(value(() => random.below(5000))),
    () => sqe.toBytes(),
    () => sqe.setData64(value(() => random.u32())),
  ];
  random.pick<() => unknown>(setters)();
}
