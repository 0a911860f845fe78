import {
  alloc,
  type BufferRing,
  type BufferRingOptions,
  type BufferSlot,
  Cancel,
  CpuSet,
  Direct,
  query,
  type Region,
  Restrictions,
  type Ring,
  registerSyncMsg,
  SignalSet,
  type WaitRegion,
} from "uring";
import type { World } from "./fuzz-prep.ts";
import { anything, bits32, int64, memory, notMemory } from "./fuzz-values.ts";

/** What a ring was given by its registrations, for later calls to use. */
interface Given {
  readonly bufferRings: BufferRing[];
  readonly regions: Region[];
  readonly waits: WaitRegion[];
  readonly personalities: number[];
}

const given = new WeakMap<Ring, Given>();

function of(ring: Ring): Given {
  let found = given.get(ring);
  if (found === undefined) {
    found = { bufferRings: [], regions: [], waits: [], personalities: [] };
    given.set(ring, found);
  }
  return found;
}

/** What `make` gives, but now and then anything at all. */
function or<T>(world: World, make: () => T): T {
  return world.random.below(8) === 0 ? (anything(world.random) as T) : make();
}

function list<T>(world: World, make: () => T): T[] {
  return or(world, () => Array.from({ length: world.random.below(5) }, () => or(world, make)));
}

function slot({ random }: World): BufferSlot {
  return random.below(4) === 0 ? null : memory(random);
}

/** An fd for a table of files: one of ours, none, or "leave it". */
function file({ random, fds }: World): number {
  return random.below(4) === 0 ? random.pick([-1, -2]) : random.pick(fds);
}

function small(world: World): number {
  return or(world, () => world.random.below(6));
}

/** At most 64 buffers, so that memory does not run out; buffers of a caller's own among them. */
function bufferRingOptions(world: World): BufferRingOptions {
  const { random } = world;
  const entries = random.pick([1, 2, 3, 8, 64]);
  const made: Record<string, unknown> = { group: small(world), entries };
  if (random.below(2) === 0) made.bufferSize = random.pick([1, 64, 4096]);
  else made.buffers = list(world, () => alloc(random.pick([1, 64, 1000])));
  if (random.below(3) === 0) made.flags = random.pick([1, 2, 3]);
  if (random.below(4) === 0) made.firstId = small(world);
  if (random.below(4) === 0) made.fill = false;
  if (random.below(6) === 0) made.minLeft = random.below(100);
  if (random.below(6) === 0) {
    const hostile = anything(random);
    const name = random.pick([
      "group",
      "entries",
      "bufferSize",
      "buffers",
      "firstId",
      "flags",
      "minLeft",
      "fill",
    ]);
    if (!(typeof hostile === "number" && hostile > 32768)) made[name] = hostile;
  }
  return or(world, () => made as unknown as BufferRingOptions);
}

function match(world: World): Cancel {
  const { random } = world;
  let cancel = random.pick([
    () => Cancel.any(),
    () => Cancel.userData(int64(random)),
    () => Cancel.fd(fd(world)),
  ])();
  for (let i = random.below(3); i > 0; i--) {
    cancel = random.pick([
      () => cancel.all(),
      () => cancel.op(or(world, () => random.below(66))),
      () => cancel.userData(int64(random)),
      () => cancel.fd(or(world, () => new Direct(random.below(8)))),
    ])();
  }
  return cancel;
}

function fd(world: World): number {
  return or(world, () => world.random.pick(world.fds));
}

/** What restricts a ring restricts how it can be closed: its operations may not all be waited for. */
function restrict(world: World, ring: Ring): void {
  const { random } = world;
  const restrictions = new Restrictions();
  for (let i = random.below(6); i > 0; i--) {
    random.pick([
      () => restrictions.registerOp(small(world)),
      () => restrictions.sqeOp(or(world, () => random.below(66))),
      () => restrictions.sqeFlagsAllowed(or(world, () => random.below(256))),
      () => restrictions.sqeFlagsRequired(small(world)),
    ])();
  }
  ring.registerRestrictions(or(world, () => restrictions));
  world.asked.skip = true;
}

/** Once a ring's fd is closed its number is anyone's. */
function closeRingFd({ fds }: World, ring: Ring): void {
  const at = fds.indexOf(ring.fd);
  ring.closeRingFd();
  if (at >= 0) fds.splice(at, 1);
}

function useBufferRing(world: World, ring: Ring): void {
  const { random } = world;
  const { bufferRings } = of(ring);
  if (bufferRings.length === 0) return;
  const bufferRing = random.pick(bufferRings);
  const id = () => or(world, () => random.below(66));
  random.pick<() => unknown>([
    () => bufferRing.add(id(), random.below(2) === 0 ? undefined : (anything(random) as number)),
    () => bufferRing.add(id()).advance(),
    () => bufferRing.advance(anything(random) as number),
    () => bufferRing.recycle(id()),
    () => bufferRing.get(id(), random.below(2) === 0 ? undefined : small(world)).fill(1),
    () =>
      bufferRing
        .bytes(
          or(world, () => bits32(random)),
          or(world, () => random.below(100)),
        )
        .fill(2),
    () =>
      bufferRing.pieces(
        or(world, () => bits32(random)),
        or(world, () => random.below(1000)),
      ),
    () => bufferRing.available(),
    () => bufferRing.head(),
    () => ring.bufRingCqAdvance(bufferRing, small(world), small(world)),
    () => ring.freeBufRing(bufferRing),
    () => bufferRing.free(),
  ])();
}

function useRegion(world: World, ring: Ring): void {
  const { regions, waits } = of(ring);
  const { random } = world;
  const region = regions[0];
  if (region !== undefined) region.bytes.fill(0, 0, 64);
  waits[0]?.set(
    small(world),
    or(world, () => ({ timeout: random.below(3), minWait: random.below(2) })),
  );
  // Without a registered time-out this would wait for ever.
  if (waits[0] !== undefined) ring.submitAndWaitReg(0, small(world));
}

/**
 * Everything that can be registered with a ring, with values that fit and others. Left out is what outlives the ring:
 * filters of the whole task.
 */
export const registrations: ((world: World, ring: Ring) => unknown)[] = [
  (world, ring) => ring.registerBuffers(list(world, () => slot(world))),
  (world, ring) =>
    ring.registerBuffersTags(
      list(world, () => slot(world)),
      list(world, () => int64(world.random)),
    ),
  (world, ring) => ring.registerBuffersSparse(small(world)),
  (world, ring) =>
    ring.registerBuffersUpdateTag(
      small(world),
      list(world, () => slot(world)),
    ),
  (world, ring) =>
    ring.registerBuffersUpdateTag(
      small(world),
      list(world, () => slot(world)),
      list(world, () => int64(world.random)),
    ),
  (_, ring) => ring.unregisterBuffers(),
  (world, ring) => ring.cloneBuffers(fd(world), small(world)),
  (world, ring) => ring.cloneBuffers(ring, small(world)),
  (world, ring) => ring.cloneBuffersOffset(fd(world), small(world), small(world), small(world), small(world)),
  (world, ring) => ring.registerFiles(list(world, () => file(world))),
  (world, ring) =>
    ring.registerFilesTags(
      list(world, () => file(world)),
      list(world, () => int64(world.random)),
    ),
  (world, ring) => ring.registerFilesSparse(small(world)),
  (world, ring) =>
    ring.registerFilesUpdate(
      small(world),
      list(world, () => file(world)),
    ),
  (world, ring) =>
    ring.registerFilesUpdateTag(
      small(world),
      list(world, () => file(world)),
      list(world, () => int64(world.random)),
    ),
  (_, ring) => ring.unregisterFiles(),
  (world, ring) => ring.registerFileAllocRange(small(world), small(world)),
  (world, ring) => of(ring).bufferRings.push(ring.setupBufRing(bufferRingOptions(world))),
  useBufferRing,
  useBufferRing,
  useBufferRing,
  (world, ring) => ring.freeBufRing(or(world, () => anything(world.random)) as BufferRing),
  (world, ring) =>
    ring.registerBufRing({
      address: notMemory(world.random) as number,
      entries: or(world, () => 8),
      group: small(world),
      flags: small(world),
    }),
  (world, ring) => ring.unregisterBufRing(small(world)),
  (world, ring) => ring.bufRingHead(small(world)),
  (world, ring) => ring.registerEventfd(fd(world)),
  (world, ring) => ring.registerEventfdAsync(fd(world)),
  (_, ring) => ring.unregisterEventfd(),
  (world, ring) => ring.cqEventfdToggle(or(world, () => world.random.below(2) === 0)),
  (world, ring) => ring.setIowait(or(world, () => world.random.below(2) === 0)),
  (world, ring) =>
    ring.registerNapi(or(world, () => ({ busyPollTimeout: small(world), preferBusyPoll: false }))),
  (_, ring) => ring.unregisterNapi(),
  (world, ring) => ring.registerClock(small(world)),
  (world, ring) =>
    ring.registerIowqAff(
      or(world, () => (world.random.below(2) === 0 ? new CpuSet([0]) : list(world, () => 0))),
    ),
  (_, ring) => ring.unregisterIowqAff(),
  (world, ring) => ring.registerIowqMaxWorkers(or(world, () => ({ bounded: small(world), unbounded: 3 }))),
  (_, ring) => of(ring).personalities.push(ring.registerPersonality()),
  (world, ring) => ring.unregisterPersonality(or(world, () => of(ring).personalities.pop() ?? 0)),
  (world, ring) => world.random.below(8) === 0 && restrict(world, ring),
  (world, ring) =>
    ring.registerSyncCancel(
      or(world, () => match(world)),
      { timeout: world.random.below(3) },
    ),
  (_, ring) => ring.registerRingFd(),
  (_, ring) => ring.unregisterRingFd(),
  (world, ring) => world.random.below(8) === 0 && closeRingFd(world, ring),
  (world, ring) =>
    ring.resizeRings(or(world, () => ({ entries: world.random.pick([1, 4, 64, 500]), cqEntries: 1024 }))),
  (world, ring) =>
    of(ring).regions.push(
      ring.registerRegion(
        or(world, () => alloc(65536)),
        small(world),
      ),
    ),
  (world, ring) =>
    of(ring).regions.push(ring.registerRegion(world.random.pick([4096, 65536, 0, -1]), small(world))),
  (world, ring) => of(ring).waits.push(ring.registerWaitRegion(small(world))),
  useRegion,
  (world, ring) =>
    ring.registerIfq(or(world, () => ({ ifIndex: 99999, rxQueue: 0, entries: 8, area: alloc(65536) }))),
  (world, ring) => ring.registerZcrxCtrl(small(world), small(world)),
  (world, ring) =>
    ring.registerBpfFilter(or(world, () => ({ opcode: 0, program: list(world, () => ({ code: 6 })) }))),
  (world) => registerSyncMsg(fd(world), small(world), int64(world.random), 0),
  (world) => new SignalSet(list(world, () => small(world))).add(small(world)).mask,
  () => query(),
];

/** Registers something, or uses what was registered. */
export function register(world: World, ring: Ring): void {
  world.random.pick(registrations)(world, ring);
}
