import { alloc, type Mem, Pinned } from "uring";
import type { Random } from "./random.ts";

/** What hostile getters throw: the library must let it pass. */
export class Hostile extends Error {}

const throwing: object = new Proxy(
  {},
  {
    get() {
      throw new Hostile("get");
    },
    has() {
      throw new Hostile("has");
    },
    getPrototypeOf() {
      throw new Hostile("getPrototypeOf");
    },
    ownKeys() {
      throw new Hostile("ownKeys");
    },
  },
);

let asked = 0;
const chameleon: object = {
  valueOf() {
    return asked++ % 3;
  },
  toString() {
    return "1";
  },
};

class Liar extends Uint8Array {
  override get byteLength(): number {
    return 1 << 20;
  }
}

class FarAway extends Uint8Array {
  override get buffer() {
    return new ArrayBuffer(1 << 20);
  }
}

/** Tells the truth once, and then another number. */
class Fickle extends Uint8Array {
  #asked = 0;
  override get byteLength(): number {
    return this.#asked++ < 1 ? super.byteLength : 1 << 20;
  }
}

const detached = new Uint8Array(64);
structuredClone(detached.buffer, { transfer: [detached.buffer] });

const disposedMemory = alloc(512);
const disposedSlice = disposedMemory.slice(8, 64);
disposedMemory[Symbol.dispose]();

/** Values that are no memory, nor an address. Nothing here is a number that could be one. */
const neverMemory: readonly unknown[] = [
  undefined,
  null,
  true,
  false,
  "",
  "5",
  "\0",
  Symbol("s"),
  {},
  [],
  [1, 2, 3],
  () => 1,
  class {},
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  0.5,
  -1.5,
  1e300,
  2 ** 53 + 2,
  -(2 ** 64),
  2n ** 64n,
  -(2n ** 63n) - 1n,
  10n ** 40n,
  throwing,
  chameleon,
  new Date(0),
  new Map(),
  /x/,
  Promise.resolve(1),
  Object.create(null),
  Object.create(Uint8Array.prototype),
  Object.create(Pinned.prototype),
  Object.create(Int32Array.prototype),
  new Proxy(new Uint8Array(64), {}),
  new Proxy(new Uint8Array(64), {
    get(target, key) {
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  }),
  new Proxy(alloc(64), {}),
  Object.create(Pinned.prototype, { address: { value: 4096 }, byteLength: { value: 4096 } }),
  Object.create(alloc(64), { address: { value: 4096 }, byteLength: { value: 4096 } }),
  { address: 4096, byteLength: 4096, bytes: new Uint8Array(8) },
  { buffer: new ArrayBuffer(8), byteLength: 8, byteOffset: 0 },
  new Uint8Array(new ArrayBuffer(64, { maxByteLength: 128 })),
  new Uint8Array(new SharedArrayBuffer(64, { maxByteLength: 128 })),
  new ArrayBuffer(64),
  new SharedArrayBuffer(64),
  new DataView(new ArrayBuffer(64)),
  new Int32Array(16),
  new Float64Array(16),
  new BigInt64Array(16),
  detached,
  disposedMemory,
  disposedSlice,
  new Uint8Array(0),
  new Liar(16),
  new FarAway(16),
  new Fickle(16),
  Object.defineProperty(new Uint8Array(16), "byteLength", { value: 1 << 20 }),
  Object.defineProperty(new Uint8Array(16), "byteLength", {
    get() {
      throw new Hostile("byteLength");
    },
  }),
];

const numbers: readonly (number | bigint)[] = [
  0,
  -0,
  1,
  -1,
  2,
  7,
  255,
  256,
  4095,
  65535,
  65536,
  2 ** 31 - 1,
  2 ** 31,
  -(2 ** 31),
  -(2 ** 31) - 1,
  2 ** 32 - 1,
  2 ** 32,
  -(2 ** 32),
  2 ** 53 - 1,
  2 ** 53,
  -(2 ** 53),
  0n,
  1n,
  -1n,
  2n ** 31n,
  2n ** 32n,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
  -(2n ** 63n),
];

/** Anything at all, where numbers are no addresses. */
export function anything(random: Random): unknown {
  return random.below(2) === 0 ? random.pick(numbers) : random.pick(neverMemory);
}

/** Anything that is no memory: of the valid addresses zero alone. */
export function notMemory(random: Random): unknown {
  return random.below(8) === 0 ? random.pick([0, -0, 0n]) : random.pick(neverMemory);
}

/** A number within 32 bits, mostly small or a few bits. */
export function bits32(random: Random): number {
  switch (random.below(12)) {
    case 1:
      return 1 << random.below(31);
    case 2:
      return (1 << random.below(31)) | (1 << random.below(16));
    case 3:
      return random.below(16);
    case 4:
      return -1;
    case 5:
      return random.u32();
    default:
      return 0;
  }
}

/** An offset or other 64-bit argument that is no address. */
export function int64(random: Random): number | bigint {
  switch (random.below(8)) {
    case 0:
    case 5:
      return 0;
    case 1:
    case 6:
      return -1;
    case 2:
      return random.below(10_000);
    case 3:
      return random.u64();
    default:
      return random.pick(numbers);
  }
}

/** Memory that the kernel may write to: large and small, the library's and the engine's, shared, at odd places. */
export function memory(random: Random): Exclude<Mem, number | bigint> {
  const length = random.pick([1, 4, 8, 15, 16, 24, 64, 100, 128, 256, 999, 1000, 1001, 4096, 65536]);
  switch (random.below(8)) {
    case 0:
      return new Uint8Array(length);
    case 1:
      return new Uint8Array(new ArrayBuffer(length));
    case 2:
      return new Uint8Array(length + 16).subarray(random.below(16));
    case 3:
      return new Uint8Array(new SharedArrayBuffer(length));
    case 4:
      return new (class extends Uint8Array {})(length);
    case 5:
      return alloc(length + 16).slice(random.below(16), length);
    default:
      return alloc(length);
  }
}
