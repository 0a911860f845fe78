import { UringError } from "../errors.ts";
import { alloc, type Pinned } from "../ring/pinned.ts";
import type { Ring } from "../ring/ring.ts";
import { Lease, type Lessor, POISON } from "./lease.ts";

/** The kernel pins whole pages: smaller buffers would each have one of its own all the same. */
const SMALLEST = 12;
/** The kernel registers no larger ones. */
const LARGEST = 30;
/** How many buffers are registered; further ones are lent as they are. */
const SLOTS = 1024;

const CACHED = 64 * 1024 * 1024;

/** How a pool is made. */
export interface BufferPoolOptions {
  /** A ring to register the buffers with, so that the kernel need not map them for each read and write. */
  ring?: Ring | undefined;
  /** How many bytes of buffers that nobody has are kept for the next; 64 MiB unless given. */
  cached?: number | undefined;
  /**
   * Fills released memory with 0xdb, and looks at it before it is lent again: `lend` then throws where somebody has
   * written to it meanwhile.
   */
  debug?: boolean | undefined;
}

/** A buffer, lent or waiting. */
interface Buffer {
  readonly order: number;
  readonly memory: Pinned;
  /** Its place, also in the ring's table where it is registered there. */
  readonly id: number;
  readonly registered: boolean;
  /** Bytes that hold what released memory is filled with. */
  poisoned: number;
  /** Where it was lent last, in debug mode. */
  lender: string | undefined;
}

/**
 * Buffers that the kernel can be given, in sizes of powers of two from 4 KiB to 1 GiB, lent instead of allocated.
 *
 * Those of a proactor's `pool` are registered with its ring as far as the limit of locked memory allows: `read` and
 * `write` use them as fixed buffers then, which saves the kernel work; elsewhere they are memory as any other. The ring's
 * table of buffers is the pool's from the first `lend` on.
 *
 * @example
 * ```ts
 * import { Proactor } from "uring";
 *
 * await using proactor = new Proactor();
 * using buffer = proactor.pool.lend(1000);
 * console.log(buffer.bytes.length); // 1000
 * ```
 */
export class BufferPool {
  readonly #ring: Ring | undefined;
  readonly #most: number;
  readonly #lessor: Lessor;
  readonly #waiting: Buffer[][] = [];
  readonly #lent: (Buffer | undefined)[] = [];
  /** Places that nobody has. */
  readonly #places: number[] = [];
  #next = 0;
  #lentBytes = 0;
  #cachedBytes = 0;
  /** Whether the ring has a table for the buffers, once it was asked. */
  #table: boolean | undefined;
  #open = true;

  constructor(options: BufferPoolOptions = {}) {
    const { ring, cached = CACHED, debug = false } = options;
    if (!(cached >= 0)) throw new RangeError(`cached must be a number of bytes, not ${cached}`);
    this.#ring = ring;
    this.#most = cached;
    this.#lessor = { debug, ring, release: (...lent) => this.#release(...lent) };
  }

  /** Bytes of the buffers that are lent. */
  get lent(): number {
    return this.#lentBytes;
  }

  /** Bytes of the buffers that wait for being lent. */
  get cached(): number {
    return this.#cachedBytes;
  }

  /**
   * Lends memory, which holds what its last user has left there.
   *
   * @param bytes how many, 1 to 2^30
   * @returns the memory, yours until you dispose of the lease
   * @throws RangeError for a size that can not be; UringError ENOMEM where there is not so much; TypeError once the pool
   * is closed
   */
  lend(bytes: number): Lease {
    if (!this.#open) throw new TypeError("this pool is closed: it lends nothing any more");
    const order = orderOf(bytes);
    const waiting = this.#waiting[order]?.pop();
    if (waiting !== undefined) this.#cachedBytes -= 2 ** order;
    const buffer = waiting ?? this.#make(order);
    if (this.#lessor.debug) {
      check(buffer);
      buffer.lender = new Error("lent").stack;
    }
    this.#lent[buffer.id] = buffer;
    this.#lentBytes += 2 ** order;
    const view = buffer.memory.bytes.subarray(0, bytes);
    return new Lease(this.#lessor, view, buffer.id, buffer.registered ? buffer.id : -1);
  }

  /** Lends nothing any more, and gives back what waits; what is lent follows as it is released. */
  [Symbol.dispose](): void {
    this.#open = false;
    for (const buffer of this.#waiting.flat()) this.#discard(buffer);
    this.#waiting.length = 0;
    this.#cachedBytes = 0;
  }

  #release(bufferId: number, byteLength: number): void {
    const buffer = this.#lent[bufferId] as Buffer;
    const size = 2 ** buffer.order;
    this.#lent[buffer.id] = undefined;
    this.#lentBytes -= size;
    buffer.poisoned = byteLength;
    if (!this.#open || this.#cachedBytes + size > this.#most) {
      this.#discard(buffer);
      return;
    }
    this.#cachedBytes += size;
    const list = this.#waiting[buffer.order];
    if (list === undefined) this.#waiting[buffer.order] = [buffer];
    else list.push(buffer);
  }

  #make(order: number): Buffer {
    const memory = alloc(2 ** order);
    const id = this.#places.pop() ?? this.#next++;
    return { order, memory, id, registered: this.#register(id, memory), poisoned: 0, lender: undefined };
  }

  #discard({ id, memory, registered }: Buffer): void {
    const ring = this.#ring;
    // The table may be gone.
    if (registered && ring?.closed === false) attempt(() => ring.registerBuffersUpdateTag(id, [null]));
    memory[Symbol.dispose]();
    this.#places.push(id);
  }

  /** Registers a buffer; whether that could be. */
  #register(id: number, memory: Pinned): boolean {
    const ring = this.#ring;
    if (ring === undefined || ring.closed || id >= SLOTS) return false;
    this.#table ??= attempt(() => ring.registerBuffersSparse(SLOTS));
    return this.#table && attempt(() => ring.registerBuffersUpdateTag(id, [memory]));
  }
}

/** Does what the kernel may refuse: without a table, an older one, or memory beyond the limit, all works but slower. */
function attempt(register: () => unknown): boolean {
  try {
    register();
    return true;
  } catch (error) {
    if (error instanceof UringError) return false;
    throw error;
  }
}

function orderOf(bytes: number): number {
  if (!Number.isInteger(bytes) || bytes < 1 || bytes > 2 ** LARGEST) {
    throw new RangeError(`a buffer has 1 to 2^${LARGEST} bytes, not ${bytes}`);
  }
  return Math.max(SMALLEST, 32 - Math.clz32(bytes - 1));
}

/** Throws where released memory was written to. The buffer is then lent to nobody any more. */
function check({ memory, poisoned, lender }: Buffer): void {
  const written = memory.bytes.subarray(0, poisoned).findIndex((byte) => byte !== POISON);
  if (written < 0) return;
  throw new Error(
    `byte ${written} of a buffer was written to after the buffer had been released. It had been ${lender}`,
  );
}
