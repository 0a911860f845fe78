import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { alloc, type Pinned, Proactor, type ProactorOptions } from "uring";
import { type KernelOptions, pattern, Random, type SimulatedKernel, simulateKernel } from "uring/testing";
import { Arena, type Block } from "../../src/shared/ring/arena.ts";
import { Settlements } from "./settlements.ts";

/** Nothing here takes so long that ends. */
const LATE_MS = 10_000;

/** What an operation came to: its value, or what its promise was rejected with. */
export type Fate = { readonly value: unknown } | { readonly reason: unknown };

/** A simulated kernel that a race is run on, and what must hold whoever wins it. */
export class Race {
  readonly seed: number;
  readonly random: Random;
  readonly kernel: SimulatedKernel;
  /** What was sent to proactors that is nobody's. */
  forged = 0;
  /** Whether operations may be left over: then nothing is said of what is still under way. */
  leaks = false;
  readonly #options: ProactorOptions;
  readonly #proactors: Proactor[] = [];
  readonly #settlements: Settlements;
  readonly #wrong: string[] = [];
  readonly #give: Arena["give"] = Arena.prototype.give;

  constructor(seed: number, kernel: KernelOptions, options: ProactorOptions) {
    this.seed = seed;
    this.random = new Random(seed + 1_000_003);
    this.kernel = simulateKernel({ ...kernel, seed });
    this.#options = options;
    this.#settlements = new Settlements((message) => this.#wrong.push(message));
    const given = (block: Block) => this.#given(block);
    const give = this.#give;
    Arena.prototype.give = function (this: Arena, block: Block): void {
      given(block);
      give.call(this, block);
    };
  }

  #given({ buffer, offset, order }: Block): void {
    const users = this.kernel.usersOf(new Uint8Array(buffer, offset, 2 ** order));
    if (users.length > 0) this.#wrong.push(`memory was given back that ${users.join(", ")} uses`);
  }

  proactor(options: ProactorOptions = this.#options): Proactor {
    const proactor = new Proactor(options);
    this.#proactors.push(proactor);
    return proactor;
  }

  /** Lets a random while pass: none, a few microtasks, a few turns of the event loop. */
  async pause(most = 4): Promise<void> {
    const some = this.random.below(most + 1);
    if (this.random.oneIn(2)) for (let i = 0; i < some; i++) await undefined;
    else for (let i = 0; i < some; i++) await setImmediate();
  }

  /** Reads, and checks what came of it. */
  async read(proactor: Proactor, options: object = {}): Promise<Fate> {
    const memory: Pinned = alloc(64);
    const { bytes } = memory;
    bytes.fill(0xa5);
    const offset = this.random.below(1000);
    const early = this.random.oneIn(3);
    const fate = fateOf(proactor.read(0, memory, { ...options, offset }));
    if (early) memory[Symbol.dispose]();
    const came = await fate;
    if (!early && "value" in came) {
      const count = came.value as number;
      assert.deepEqual(bytes.slice(0, count), pattern(offset, count));
    }
    memory[Symbol.dispose]();
    return came;
  }

  /** What comes of something that must come to an end. */
  async within<T>(promise: Promise<T>): Promise<T> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`it does not end: ${this.#account()}`)), LATE_MS);
    });
    try {
      return await Promise.race([promise, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #account(): string {
    const states = this.#proactors.map(({ inFlight, counters, ring, closed }) =>
      JSON.stringify({
        inFlight,
        counters,
        closed,
        ...(ring.closed ? {} : { unsubmitted: ring.sqReady, pending: ring.pending }),
      }),
    );
    return `${states.join(", ")}; the kernel has ${this.kernel.inFlight.join(", ") || "nothing"}`;
  }

  /** Closes what is open, and looks whether all is as it must be. */
  async end(): Promise<void> {
    const stale = this.#proactors.reduce((sum, { counters }) => sum + counters.stale, 0);
    for (const proactor of this.#proactors) {
      assert.ok(proactor.closed || proactor.inFlight === 0, `${proactor.inFlight} operations are in flight`);
      const { leaked } = await proactor.close();
      assert.equal(leaked > 0, this.leaks);
    }
    assert.deepEqual(this.#wrong, []);
    assert.equal(this.#settlements.settled, this.#settlements.made, "not every promise was settled");
    assert.equal(stale, this.forged, "completions that were nobody's");
    assert.deepEqual(this.kernel.violations, []);
    if (this.leaks) return;
    assert.deepEqual(this.kernel.inFlight, []);
    assert.deepEqual([...this.kernel.openFds], []);
  }

  [Symbol.dispose](): void {
    this.#settlements[Symbol.dispose]();
    Arena.prototype.give = this.#give;
    this.kernel[Symbol.dispose]();
  }
}

export async function fateOf(promise: Promise<unknown>): Promise<Fate> {
  try {
    return { value: await promise };
  } catch (reason) {
    return { reason };
  }
}

interface Setting {
  readonly seeds?: number;
  readonly kernel?: KernelOptions;
  readonly proactor?: ProactorOptions;
}

/** Runs a race once for each seed; what it gave. A failure names the seed that does it again. */
export async function replay<T>(
  { seeds = 200, kernel = {}, proactor = {} }: Setting,
  run: (race: Race) => Promise<T>,
): Promise<T[]> {
  const all: T[] = [];
  for (let seed = 0; seed < seeds; seed++) {
    using race = new Race(seed, { trace: false, ...kernel }, proactor);
    try {
      all.push(await race.within(run(race)));
      await race.within(race.end());
    } catch (error) {
      const { message } = error as Error;
      throw new Error(`seed ${seed}: ${message}`, { cause: error });
    }
  }
  return all;
}
