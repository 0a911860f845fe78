import {
  alloc,
  cstring,
  Direct,
  decodeControl,
  decodeEpollEvents,
  decodeOpenHow,
  decodeRecvmsg,
  decodeSiginfo,
  decodeSockaddr,
  decodeStatx,
  decodeTimespec,
  encodeControl,
  encodeEpollEvent,
  encodeOpenHow,
  encodeSockaddr,
  encodeTimespec,
  FutexWaitv,
  Iovecs,
  Msghdr,
} from "uring";
import { anything, bits32, int64, memory, notMemory } from "./fuzz-values.ts";
import type { Random } from "./random.ts";

type AnyFunction = (...values: unknown[]) => unknown;

/** What a property or an element may be: anything, nested now and then. */
function value(random: Random, depth = 2): unknown {
  switch (random.below(depth > 0 ? 8 : 6)) {
    case 0:
      return bits32(random);
    case 1:
      return int64(random);
    case 2:
      return memory(random);
    case 3:
      return random.pick([
        "ipv4",
        "ipv6",
        "unix",
        "other",
        "rights",
        "udpSegment",
        "timestamp",
        "127.0.0.1",
        "::1",
        "1.2.3.256",
        "fe80::%1",
        "a\0b",
        "é".repeat(60),
      ]);
    case 6:
      return Array.from({ length: random.below(6) }, () => value(random, depth - 1));
    case 7:
      return record(random, depth - 1);
    default:
      return anything(random);
  }
}

const KEYS = [
  "family",
  "address",
  "port",
  "flowInfo",
  "scopeId",
  "path",
  "abstract",
  "number",
  "data",
  "kind",
  "fds",
  "size",
  "interfaceIndex",
  "local",
  "ns",
  "software",
  "hardware",
  "level",
  "type",
  "events",
  "flags",
  "mode",
  "resolve",
  "sec",
  "nsec",
  "iov",
  "name",
  "nameLength",
  "control",
  "futex",
  "value",
  "huge",
];

function record(random: Random, depth: number): Record<string, unknown> {
  return Object.fromEntries(
    Array.from({ length: 1 + random.below(5) }, () => [random.pick(KEYS), value(random, depth)]),
  );
}

/** Something near to what each encoder wants. */
const shapes: ((random: Random) => unknown)[] = [
  (random) => ({ family: "ipv4", address: random.pick(["127.0.0.1", "256.1.1.1"]), port: value(random, 0) }),
  (random) => ({
    family: "ipv6",
    address: "::1",
    port: bits32(random),
    flowInfo: value(random, 0),
    scopeId: value(random, 0),
  }),
  (random) => ({ family: "unix", path: value(random, 0) }),
  (random) => ({ family: "unix", abstract: random.bytes(random.below(120)) }),
  (random) => ({ family: "other", number: bits32(random), data: value(random, 0) }),
  (random) => [{ kind: "rights", fds: value(random, 1) }],
  (random) => [
    { kind: "udpSegment", size: value(random, 0) },
    { kind: "timestamp", ns: value(random, 0) },
  ],
  (random) => [{ kind: "other", level: bits32(random), type: bits32(random), data: memory(random) }],
  (random) => ({ events: bits32(random), data: int64(random) }),
  (random) => ({ flags: int64(random), mode: int64(random), resolve: int64(random) }),
  (random) => ({ sec: int64(random), nsec: bits32(random) }),
  (random) => ({
    iov: [memory(random), value(random, 0)],
    control: memory(random),
    nameLength: random.below(140),
  }),
  (random) => ({ iov: value(random, 1), name: value(random, 1), control: value(random, 0) }),
  (random) => [{ futex: memory(random), value: int64(random), flags: bits32(random) }],
  (random) => [memory(random), memory(random)],
  (random) => value(random),
];

const encoders: readonly AnyFunction[] = [
  encodeControl,
  encodeEpollEvent,
  encodeOpenHow,
  encodeSockaddr,
  encodeTimespec,
] as unknown as AnyFunction[];
const decoders: readonly AnyFunction[] = [
  decodeControl,
  decodeEpollEvents,
  decodeOpenHow,
  decodeRecvmsg,
  decodeSiginfo,
  decodeSockaddr,
  decodeStatx,
  decodeTimespec,
] as unknown as AnyFunction[];
const classes = [FutexWaitv, Iovecs, Msghdr] as unknown as (new (value: unknown) => object)[];

/** Calls something that turns values into structs or back, or makes memory. */
export function convert(random: Random): void {
  switch (random.below(8)) {
    case 0:
    case 1:
      random.pick(encoders)(random.pick(shapes)(random), ...(random.below(2) === 0 ? [into(random)] : []));
      return;
    case 2:
    case 3:
      random.pick(decoders)(
        filled(random),
        ...(random.below(2) === 0 ? [value(random, 1), value(random, 1)] : []),
      );
      return;
    case 4:
    case 5:
      useStruct(random, new (random.pick(classes))(random.pick(shapes)(random)));
      return;
    case 6:
      usePinned(random);
      return;
    default:
      random.pick<AnyFunction>([
        () => cstring(value(random) as string),
        () => new Direct(value(random, 0) as number),
        () => alloc(value(random, 0) as number & { valueOf(): number }, record(random, 0)),
      ])();
  }
}

function into(random: Random): unknown {
  return random.below(4) === 0 ? notMemory(random) : memory(random);
}

/** Memory with random bytes in it, or with small numbers, which lengths may be. */
function filled(random: Random): unknown {
  if (random.below(8) === 0) return notMemory(random);
  const chosen = memory(random);
  const bytes = chosen instanceof Uint8Array ? chosen : chosen.bytes;
  const sparse = random.below(2) === 0;
  for (let i = 0; i < Math.min(bytes.length, 300); i++)
    bytes[i] = sparse && i % 8 !== 0 ? 0 : random.below(256);
  return chosen;
}

/** Reads every property, calls every method with anything, and disposes, which the struct must survive. */
function useStruct(random: Random, struct: object): void {
  const prototype: object = Object.getPrototypeOf(struct);
  for (const [name, property] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
    if (name === "constructor") continue;
    try {
      if (property.get !== undefined) Reflect.get(struct, name);
      else (property.value as AnyFunction).call(struct, value(random, 0));
    } catch (error) {
      if (!(error instanceof TypeError || error instanceof RangeError)) throw error;
    }
  }
  if (random.below(2) === 0) (struct as Disposable)[Symbol.dispose]();
}

function usePinned(random: Random): void {
  const memory = alloc(1 + random.below(5000));
  const part = memory.slice(
    value(random, 0) as number,
    random.below(2) === 0 ? (value(random, 0) as number) : undefined,
  );
  part.bytes.fill(1);
  if (random.below(2) === 0) part[Symbol.dispose]();
}
