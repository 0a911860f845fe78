import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { alloc, Proactor, type TraceEvent, type TraceFile } from "uring";
import { O_RDONLY, POLLIN } from "uring/abi";
import { pipe } from "./support/harness.ts";
import { code } from "./support/rejections.ts";
import { bytes, range } from "./support/ring.ts";

const bench = { timeout: 60_000 };

/** Checks a trace against the rules of the format; its operations as pairs of events. */
function pairs(file: TraceFile): [TraceEvent, TraceEvent][] {
  // What a file holds, not what objects may.
  const { traceEvents, displayTimeUnit } = JSON.parse(JSON.stringify(file)) as TraceFile;
  assert.ok(["ms", "ns"].includes(displayTimeUnit));
  const open = new Map<string, TraceEvent>();
  const found: [TraceEvent, TraceEvent][] = [];
  let last = Number.NEGATIVE_INFINITY;
  for (const event of traceEvents) {
    assert.equal(typeof event.name, "string");
    assert.ok(event.cat.length > 0);
    assert.ok(Number.isFinite(event.ts) && event.ts >= last, `at ${event.ts} after ${last}`);
    last = event.ts;
    assert.ok(Number.isInteger(event.pid) && Number.isInteger(event.tid));
    assert.equal(event.pid, process.pid);
    assert.equal(typeof event.args, "object");
    const key = `${event.cat} ${event.id}`;
    if (event.ph === "i") {
      assert.equal(event.s, "t");
    } else if (event.ph === "b") {
      assert.match(String(event.id), /^0x[0-9a-f]+$/);
      assert.ok(!open.has(key), `a second beginning of ${key}`);
      open.set(key, event);
    } else {
      assert.equal(event.ph, "e");
      const begun = open.get(key);
      assert.ok(begun, `an end of ${key} without a beginning`);
      open.delete(key);
      assert.equal(event.name, begun.name);
      found.push([begun, event]);
    }
  }
  assert.deepEqual([...open], []);
  return found;
}

function summary(file: TraceFile): unknown[][] {
  return pairs(file).map(([{ name, args }, end]) => [name, args.target, args.bytes, end.args.result]);
}

describe("a trace", () => {
  it("has operations from call to end, and what made them go on", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    using memory = alloc(8);
    using trace = proactor.trace();
    const before = (performance.timeOrigin + performance.now()) * 1000;
    const read = proactor.read(ends.read, memory);
    await new Promise((resolve) => setTimeout(resolve, 20));
    await proactor.write(ends.write, bytes("ping"));
    await read;
    assert.equal(await code(proactor.closeFd(-1)), "EBADF");
    const after = (performance.timeOrigin + performance.now()) * 1000;
    const file = trace.toJSON();
    assert.deepEqual(summary(file).sort(), [
      ["close", -1, 0, -9],
      ["read", ends.read, 8, 4],
      ["write", ends.write, 4, 4],
    ]);
    const [[begun, ended]] = pairs(file).filter(([{ name }]) => name === "read") as [
      [TraceEvent, TraceEvent],
    ];
    assert.ok(ended.ts - begun.ts >= 19_000, `${ended.ts - begun.ts} microseconds`);
    for (const { ts } of file.traceEvents) assert.ok(ts >= before - 2 && ts <= after + 2);
    const names = new Set(file.traceEvents.filter(({ ph }) => ph === "i").map(({ name }) => name));
    assert.ok(names.has("enter"));
    assert.equal(file.otherData.dropped, 0);
  });

  it("has what was called before, and what has not ended", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    using others = pipe();
    const controller = new AbortController();
    const entry = new Promise<number>((complete) => {
      proactor.entry({ complete })?.prepPollAdd(others.read, POLLIN);
    });
    const plain = proactor.read(ends.read, alloc(8));
    const special = proactor.read(ends.read, alloc(8), { signal: controller.signal });
    proactor.flush();
    using trace = proactor.trace();
    const queued = proactor.read(ends.read, alloc(8), { signal: controller.signal });
    assert.deepEqual(summary(trace.toJSON()).sort(), [
      ["entry", -1, 0, "in flight"],
      ...range(3).map(() => ["read", ends.read, 8, "in flight"]),
    ]);
    controller.abort();
    await Promise.allSettled([special, queued]);
    assert.deepEqual(
      summary(trace.toJSON()).map(([, , , result]) => result),
      [-125, -125, "in flight", "in flight"],
    );
    await proactor.write(others.write, bytes("x"));
    assert.equal(await entry, POLLIN);
    const ofEntry = summary(trace.toJSON()).find(([name]) => name === "entry");
    assert.deepEqual(ofEntry, ["entry", -1, 0, POLLIN]);
    trace[Symbol.dispose]();
    await proactor.write(ends.write, bytes("x"));
    assert.equal(await plain, 1);
    assert.equal(summary(trace.toJSON()).filter(([, , , result]) => result === "in flight").length, 1);
  });

  it("names paths, timeouts and what callers describe themselves", bench, async () => {
    await using proactor = new Proactor();
    using ends = pipe();
    using trace = proactor.trace();
    assert.equal(await code(proactor.open("/nowhere", O_RDONLY)), "ENOENT");
    await assert.rejects(proactor.read(ends.read, alloc(1), { timeout: 1 }), { name: "TimeoutError" });
    await new Promise<void>((resolve) => {
      const complete = (_: number, __: number, last: boolean) => last && resolve();
      proactor.entry({ complete })?.prepClose(-1);
    });
    const found = new Map(pairs(trace.toJSON()).map(([begun, ended]) => [begun.name, { begun, ended }]));
    assert.equal(found.get("openat")?.begun.args.path, "/nowhere");
    assert.equal(found.get("read")?.ended.args.result, -125);
    assert.equal(found.get("entry")?.ended.args.result, -9);
  });

  it("keeps the latest where there is more than it is to keep", bench, async () => {
    await using proactor = new Proactor();
    using trace = proactor.trace({ limit: 10 });
    for (let i = 0; i < 20; i++) await proactor.nop();
    await proactor.closeFd(-1).catch(() => {});
    const file = trace.toJSON();
    assert.ok(file.traceEvents.length <= 20);
    assert.equal(summary(file).at(-1)?.[0], "close");
    assert.ok(file.otherData.dropped >= 11, `${file.otherData.dropped} dropped`);
  });

  it("is the only one at a time", bench, async () => {
    await using proactor = new Proactor();
    const trace = proactor.trace();
    assert.throws(() => proactor.trace(), { name: "TypeError", message: /being traced/ });
    trace[Symbol.dispose]();
    trace[Symbol.dispose]();
    using next = proactor.trace();
    trace[Symbol.dispose]();
    await proactor.nop();
    assert.equal(summary(next.toJSON()).length, 1);
    assert.deepEqual(summary(trace.toJSON()), []);
    for (const limit of [0, 0.5, -1]) assert.throws(() => proactor.trace({ limit }), RangeError);
  });

  it("of a chain, and of a proactor that is closed, has all members", bench, async () => {
    const proactor = new Proactor();
    using ends = pipe();
    using trace = proactor.trace();
    const chain = proactor.chain();
    void chain.closeFd(-1);
    void chain.nop();
    void chain.read(ends.read, alloc(1), { timeout: 1000 });
    assert.equal(await code(chain.submit()), "EBADF");
    const read = proactor.read(ends.read, alloc(1));
    proactor.flush();
    await Promise.all([code(read), proactor.close()]);
    assert.deepEqual(
      summary(trace.toJSON())
        .map(([name, , , result]) => [name, result])
        .sort(),
      [
        ["close", -9],
        ["nop", -125],
        ["read", -125],
        ["read", -125],
      ],
    );
  });
});
