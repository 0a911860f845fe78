import {
  IORING_SETUP_CQE32,
  IORING_SETUP_SQE128,
  IORING_SETUP_SQPOLL,
  io_cqring_offsets,
  io_sqring_offsets,
  io_uring_params,
} from "uring/abi";

const { sq_off, cq_off } = io_uring_params;

/** A ring's shared memory as the kernel sees it, looked at past the library. Sequence numbers are 32-bit integers. */
export class RingView {
  #params: DataView;
  #rings: DataView | undefined;
  #sqes: ArrayBuffer | undefined;

  /** @param params the kernel's answer */
  constructor(params: DataView) {
    this.#params = copy(params);
  }

  get flags(): number {
    return this.#params.getUint32(io_uring_params.flags, true);
  }

  /** How long the two parts of its memory are. */
  get lengths(): { rings: number; sqes: number } {
    const cqes = this.#params.getUint32(cq_off + io_cqring_offsets.cqes, true);
    return { rings: cqes + this.cqEntries * this.#cqeSize, sqes: this.sqEntries * this.#sqeSize };
  }

  /** Whether it is known where the memory is. */
  get visible(): boolean {
    return this.#rings !== undefined && this.#sqes !== undefined;
  }

  /** Tells where the memory is. */
  show(rings: ArrayBuffer, sqes: ArrayBuffer): void {
    this.#rings = new DataView(rings);
    this.#sqes = sqes;
  }

  /** The memory is given back: nothing may look at it any more. */
  hide(): void {
    this.#rings = this.#sqes = undefined;
  }

  /** The ring is to be looked for at other places from now on. */
  move(params: DataView): void {
    const flags = this.flags;
    this.hide();
    this.#params = copy(params);
    this.#params.setUint32(io_uring_params.flags, flags, true);
  }

  get sqEntries(): number {
    return this.#params.getUint32(io_uring_params.sq_entries, true);
  }

  get cqEntries(): number {
    return this.#params.getUint32(io_uring_params.cq_entries, true);
  }

  /** The first entry that the kernel has not taken. */
  get sqHead(): number {
    return this.#word(sq_off + io_sqring_offsets.head);
  }

  /** The first entry that it has not been shown. */
  get sqTail(): number {
    return this.#word(sq_off + io_sqring_offsets.tail);
  }

  get sqFlags(): number {
    return this.#word(sq_off + io_sqring_offsets.flags);
  }

  get cqHead(): number {
    return this.#word(cq_off + io_cqring_offsets.head);
  }

  get cqTail(): number {
    return this.#word(cq_off + io_cqring_offsets.tail);
  }

  /** Posts a completion in the kernel's stead. */
  post(userData: bigint, res: number, flags = 0): void {
    const tail = this.cqTail;
    const completion = this.completion(tail);
    completion.setBigUint64(0, userData, true);
    completion.setInt32(8, res, true);
    completion.setInt32(12, flags, true);
    const place = this.#params.getUint32(cq_off + io_cqring_offsets.tail, true);
    (this.#rings as DataView).setInt32(place, tail + 1, true);
  }

  get cqFlags(): number {
    return this.#word(cq_off + io_cqring_offsets.flags);
  }

  get polled(): boolean {
    return (this.flags & IORING_SETUP_SQPOLL) !== 0;
  }

  /** An entry by its number. */
  entry(at: number): DataView {
    const slot = (at & (this.sqEntries - 1)) * this.#sqeSize;
    return new DataView(this.#sqes as ArrayBuffer, slot, 64);
  }

  /** A slot of the completion queue by its number. */
  completion(at: number): DataView {
    const { buffer } = this.#rings as DataView<ArrayBuffer>;
    const cqes = this.#params.getUint32(cq_off + io_cqring_offsets.cqes, true);
    return new DataView(buffer, cqes + (at & (this.cqEntries - 1)) * this.#cqeSize, 16);
  }

  get #sqeSize(): number {
    return (this.flags & IORING_SETUP_SQE128) !== 0 ? 128 : 64;
  }

  get #cqeSize(): number {
    return (this.flags & IORING_SETUP_CQE32) !== 0 ? 32 : 16;
  }

  /** A word of the rings, by where the parameters tell its place. */
  #word(offset: number): number {
    return (this.#rings as DataView).getInt32(this.#params.getUint32(offset, true), true);
  }
}

function copy(params: DataView): DataView {
  const bytes = new Uint8Array(io_uring_params.sizeof);
  bytes.set(new Uint8Array(params.buffer, params.byteOffset, io_uring_params.sizeof));
  return new DataView(bytes.buffer);
}
