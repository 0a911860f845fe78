import { IORING_CQE_BUFFER_SHIFT, IORING_CQE_F_BUF_MORE, IOU_PBUF_RING_INC } from "../abi/index.ts";
import { UringError } from "../errors.ts";
import type { BufferRing } from "../ring/buffer-ring.ts";
import { alloc, Pinned } from "../ring/pinned.ts";
import type { Ring } from "../ring/ring.ts";
import { whole } from "../structs/fields.ts";
import { Lease, type Lessor } from "./lease.ts";

/** What a buffer group is made of. */
export interface BufferGroupOptions {
  /** How many buffers there are, a power of two up to 32768; 256 unless given. */
  entries?: number | undefined;
  /** Bytes in each; 16384 unless given. */
  bufferSize?: number | undefined;
  /**
   * Whether data that does not fill a buffer leaves the rest of it to what comes next: fewer buffers then do for many small
   * pieces. A buffer goes back when all leases on it are released. Linux 6.12.
   */
  incremental?: boolean | undefined;
}

/** Who receives into a group's buffers. */
export interface BufferUser {
  /** There are buffers again. */
  buffersBack(): void;
  /** Ends what it does, for a reason; resolves when the kernel is done with it. */
  end(cause: { readonly error: unknown }): Promise<void>;
}

const MOST_ENTRIES = 32768;
const MOST_BYTES = 2 ** 31;
const LAST_GROUP = 0xffff;

/**
 * Buffers that the kernel picks from when data is there: many connections share few of them. What a completion brings is
 * lent, as a `Lease`, and goes back when that is released. Made by `Proactor.bufferGroup`.
 *
 * @example
 * ```ts
 * import { Proactor } from "uring";
 *
 * await using proactor = new Proactor();
 * await using group = proactor.bufferGroup({ entries: 64, bufferSize: 4096 });
 * console.log(group.available, group.lent); // 64 0
 * ```
 */
export class BufferGroup {
  /** The number that entries of one's own name it by: `proactor.entry(receiver)?.prepRecv(…).setBufferGroup(group.id)`. */
  readonly id: number;
  /** How many buffers there are. */
  readonly entries: number;
  /** Bytes in each. */
  readonly bufferSize: number;
  /** Whether data that does not fill a buffer leaves the rest of it to what comes next. */
  readonly incremental: boolean;
  readonly #ring: Ring;
  readonly #buffers: BufferRing;
  readonly #memory: Pinned;
  readonly #lessor: Lessor;
  readonly #users = new Set<BufferUser>();
  readonly #waiting = new Set<BufferUser>();
  /** By buffer: how many leases on it are out. */
  readonly #pieces: Int32Array;
  /** By buffer: whether the kernel is done with it. */
  readonly #used: Uint8Array;
  #lent = 0;
  #away = 0;
  #returns = 0;
  #closed: Promise<void> | undefined;

  /** @internal */
  constructor(ring: Ring, options: BufferGroupOptions, debug: boolean) {
    const { entries = 256, bufferSize = 16384, incremental = false } = options;
    this.entries = whole(entries, 1, MOST_ENTRIES, "entries");
    this.bufferSize = whole(bufferSize, 1, MOST_BYTES / entries, "bufferSize");
    this.incremental = incremental;
    this.#ring = ring;
    this.#memory = alloc(entries * bufferSize);
    try {
      this.#buffers = register(ring, this.#memory, entries, bufferSize, incremental ? IOU_PBUF_RING_INC : 0);
    } catch (error) {
      this.#memory[Symbol.dispose]();
      throw error;
    }
    this.id = this.#buffers.group;
    this.#pieces = new Int32Array(entries);
    this.#used = new Uint8Array(entries);
    this.#lessor = { debug, release: (bufferId) => this.#release(bufferId) };
    // What it says of itself is what the kernel and others go by.
    Object.freeze(this);
  }

  /** @internal All of it, for operations that receive into it: it is not given back before their end. */
  static memoryOf(group: BufferGroup): Pinned {
    return group.#memory;
  }

  /** @internal The bytes that a completion has brought. The buffer is the caller's until `putBack`, or a lease of it. */
  static take(group: BufferGroup, flags: number, res: number): Uint8Array {
    // With `MSG_TRUNC` the kernel tells how long a datagram was, and not how much of it is there.
    const bytes = group.#buffers.bytes(flags, Math.min(res, group.bufferSize));
    if ((flags & IORING_CQE_F_BUF_MORE) === 0) {
      group.#used[flags >>> IORING_CQE_BUFFER_SHIFT] = 1;
      group.#away++;
    }
    return bytes;
  }

  /** @internal Gives a buffer back that was taken, unless leases on it are out. */
  static putBack(group: BufferGroup, flags: number): void {
    group.#giveBack(flags >>> IORING_CQE_BUFFER_SHIFT);
  }

  /** @internal Lends some of the bytes that were taken. */
  static lend(group: BufferGroup, flags: number, bytes: Uint8Array): Lease {
    const buffer = flags >>> IORING_CQE_BUFFER_SHIFT;
    Pinned.use(group.#memory);
    group.#pieces[buffer] = (group.#pieces[buffer] as number) + 1;
    group.#lent++;
    return new Lease(group.#lessor, bytes, buffer, -1);
  }

  /** @internal How often a buffer has come back. */
  static returnsOf(group: BufferGroup): number {
    return group.#returns;
  }

  /** @internal Tells a user that the next buffer has come back; whether there is one that can. */
  static wait(group: BufferGroup, user: BufferUser): boolean {
    if (group.#lent === 0) return false;
    group.#waiting.add(user);
    return true;
  }

  /** @internal A user begins, on a ring that must be the group's. */
  static join(group: BufferGroup, user: BufferUser, ring: Ring): void {
    if (group.#closed !== undefined) throw closedGroup();
    if (group.#ring !== ring) throw new TypeError("the buffer group is another proactor's");
    group.#users.add(user);
  }

  /** @internal A user has ended. */
  static leave(group: BufferGroup, user: BufferUser): void {
    group.#users.delete(user);
    group.#waiting.delete(user);
  }

  /** @internal The ring is closed. `leaked`: the kernel may still write to the buffers. */
  static ringClosed(group: BufferGroup, leaked: boolean): void {
    if (group.#closed !== undefined) return;
    group.#closed = Promise.resolve();
    if (!leaked) group.#memory[Symbol.dispose]();
  }

  /** How many buffers the kernel has to pick from. */
  get available(): number {
    return this.entries - this.#away;
  }

  /** How many leases are out, those included that wait in an iterator. */
  get lent(): number {
    return this.#lent;
  }

  /** Whether `close` was called. */
  get closed(): boolean {
    return this.#closed !== undefined;
  }

  /**
   * Lends what a completion has brought, for receivers of entries of one's own. To be called once for each completion with
   * `IORING_CQE_F_BUFFER`, in their order. Bundles, and `MSG_TRUNC` where the group is incremental, use more buffers than
   * their completions name: they are not for groups.
   *
   * @param flags the completion's
   * @param res the completion's; where it is more than the buffer has, as for a datagram that `MSG_TRUNC` tells the length
   * of, all that the buffer has is lent
   * @throws Error for a buffer that the kernel did not have
   */
  lease(flags: number, res: number): Lease {
    return BufferGroup.lend(this, flags, BufferGroup.take(this, flags, res));
  }

  /**
   * Ends the iterators that receive into the group, and unregisters it. Entries of one's own must have ended before. Leases
   * stay valid until they are released, and the memory is given back after the last of them.
   */
  close(): Promise<void> {
    this.#closed ??= this.#end();
    return this.#closed;
  }

  /** As `close()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #end(): Promise<void> {
    await Promise.all(Array.from(this.#users, (user) => user.end({ error: closedGroup() })));
    this.#buffers.free();
    this.#memory[Symbol.dispose]();
  }

  #release(bufferId: number): void {
    this.#lent--;
    this.#pieces[bufferId] = (this.#pieces[bufferId] as number) - 1;
    Pinned.done(this.#memory);
    this.#giveBack(bufferId);
  }

  #giveBack(buffer: number): void {
    if (this.#used[buffer] === 0 || this.#pieces[buffer] !== 0) return;
    this.#used[buffer] = 0;
    this.#away--;
    this.#returns++;
    if (this.#closed !== undefined || this.#ring.closed || this.#buffers.freed) return;
    this.#buffers.recycle(buffer);
    if (this.#waiting.size === 0) return;
    // All of them: the one that waits longest may have nothing to receive.
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const user of waiting) user.buffersBack();
  }
}

/** Registers a group by a number that is free, the largest there is: small ones are what programs choose themselves. */
function register(
  ring: Ring,
  memory: Pinned,
  entries: number,
  bufferSize: number,
  flags: number,
): BufferRing {
  const buffers = Array.from({ length: entries }, (_, i) => memory.slice(i * bufferSize, bufferSize));
  for (let group = LAST_GROUP; ; group--) {
    try {
      return ring.setupBufRing({ group, entries, buffers, flags });
    } catch (error) {
      if (!(error instanceof UringError && error.code === "EEXIST") || group === 0) throw error;
    }
  }
}

function closedGroup(): TypeError {
  return new TypeError("the buffer group is closed");
}
