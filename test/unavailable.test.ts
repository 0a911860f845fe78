// Where io_uring is switched off, filtered or exhausted: each says what it is, and what to do.
//
// The sysctl is the whole machine's: it is really set, for some milliseconds, only with `URING_TEST_SYSCTL=1`.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { available, Ring, type RingOptions, UringError, UringUnavailableError } from "uring";
import { IORING_SETUP_CLAMP, IORING_SETUP_CQSIZE, IORING_SETUP_NO_MMAP } from "uring/abi";
import { account, runChild } from "./support/child.ts";
import { kernelTakes, withShim } from "./support/runtime.ts";

const CONFINE = fileURLToPath(new URL("native/launch/build/confine", import.meta.url));
const CAP_IPC_LOCK = 14;
const CAP_SYS_ADMIN = 21;
const EPERM = 1;
const ENOSYS = 38;

interface Seen {
  readonly availability: { readonly ok: boolean; readonly reason?: string; readonly remedy?: string };
  readonly seen: {
    readonly name: string;
    readonly code: string;
    readonly reason: string;
    readonly remedy: string;
    readonly message: string;
    readonly syscall: string;
    readonly cause: { readonly code: string };
    readonly rings: number;
    readonly again: boolean;
  };
}

/** What a program sees that is started under the limits named. */
function confined(limits: readonly string[], args: readonly string[] = []): Seen {
  const ended = runChild("confined-child.ts", args, { launcher: [CONFINE, ...limits, "--"] });
  assert.equal(ended.status, 0, account(ended));
  return JSON.parse(ended.stdout.trim().split("\n").at(-1) as string) as Seen;
}

describe("a seccomp filter", () => {
  for (const [errno, code] of [
    [EPERM, "EPERM"],
    [ENOSYS, "ENOSYS"],
  ] as const) {
    it(`that answers ${code} is named as what forbids the calls`, () => {
      const { availability, seen } = confined([`errno=${errno}`]);
      assert.equal(seen.name, "UringUnavailableError");
      assert.equal(seen.code, "ERR_URING_UNAVAILABLE");
      assert.equal(seen.reason, "seccomp");
      assert.match(seen.message, /seccomp/);
      assert.match(seen.message, new RegExp(code));
      assert.match(seen.remedy, /docker run --security-opt/);
      assert.equal(seen.cause.code, code);
      assert.deepEqual(availability, { ok: false, reason: "seccomp", remedy: seen.remedy });
    });
  }
});

const SYSCTL = "/proc/sys/kernel/io_uring_disabled";
/** Runs a function while the sysctl has another value. */
function underSysctl<T>(value: number, run: () => T): T {
  const before = readFileSync(SYSCTL, "utf8");
  writeFileSync(SYSCTL, String(value));
  try {
    return run();
  } finally {
    writeFileSync(SYSCTL, before);
  }
}

/** As `new Ring()` and `available()` are, taken in one go: the whole machine is without io_uring meanwhile. */
function refusal(): { error: unknown; answer: ReturnType<typeof available> } {
  let error: unknown;
  try {
    new Ring({ entries: 8 }).close();
  } catch (caught) {
    error = caught;
  }
  return { error, answer: available() };
}

describe("the sysctl kernel.io_uring_disabled", () => {
  const check = ({ error, answer }: ReturnType<typeof refusal>, value: number, remedy: RegExp) => {
    assert.ok(error instanceof UringUnavailableError);
    assert.equal(error.reason, "sysctl");
    assert.ok(error.message.includes(`kernel.io_uring_disabled is ${value}`), error.message);
    assert.match(error.remedy, remedy);
    assert.ok(error.cause instanceof UringError && error.cause.code === "EPERM");
    assert.ok(!answer.ok);
    assert.equal(answer.reason, "sysctl");
    assert.equal(answer.remedy, error.remedy);
  };

  it("is asked for by value", () => {
    const as = (value: number) => withShim({ setup: () => -EPERM, sysctlDisabled: () => value }, refusal);
    check(as(2), 2, /every process/);
    check(as(1), 1, /kernel.io_uring_group/);
  });

  if (process.env.URING_TEST_SYSCTL !== "1") return;

  it("at 2 is named as what switches io_uring off", () => {
    check(underSysctl(2, refusal), 2, /off for every process.*sysctl kernel.io_uring_disabled=0/);
    assert.ok(available().ok);
  });

  it("at 1 is named to those whom it shuts out", () => {
    const { availability, seen } = underSysctl(1, () => confined([`without=${CAP_SYS_ADMIN}`]));
    assert.equal(seen.reason, "sysctl");
    assert.match(seen.message, /kernel.io_uring_disabled is 1/);
    assert.match(seen.remedy, /kernel.io_uring_group/);
    assert.deepEqual(availability, { ok: false, reason: "sysctl", remedy: seen.remedy });
  });

  it("at 1 does not concern those it lets in", () => {
    assert.equal(underSysctl(1, refusal).error, undefined);
  });
});

describe("a limit that is reached", () => {
  for (const memory of ["owned", "mapped"] as const) {
    const skip =
      memory === "owned" && !kernelTakes(IORING_SETUP_NO_MMAP)
        ? "this kernel takes no memory for rings"
        : false;

    it(`of locked memory is told from others, in ${memory} memory`, { skip }, () => {
      const { seen } = confined(
        [`without=${CAP_IPC_LOCK}`, `memlock=${2 << 20}`],
        ["exhaust", "1024", memory],
      );
      assert.equal(seen.name, "UringError");
      assert.equal(seen.code, "ENOMEM");
      assert.equal(seen.syscall, "io_uring_setup");
      assert.match(seen.message, /locked memory.*ulimit -l/);
      // A ring of 1024 entries takes 64 KiB for these, and 32 KiB for its completions.
      assert.ok(seen.rings >= 2 && seen.rings <= 21, `${seen.rings} rings`);
      assert.ok(seen.again, "there is no ring after all were closed");
    });

    it(`of locked memory suffices for rings one after the other, in ${memory} memory`, { skip }, () => {
      const { seen } = confined([`without=${CAP_IPC_LOCK}`, `memlock=${2 << 20}`], ["turns", "1024", memory]);
      assert.equal(seen.name, "none");
    });

    it(`of file descriptors is told from others, in ${memory} memory`, { skip }, () => {
      const { seen } = confined(["nofile=80"], ["exhaust", "8", memory]);
      assert.equal(seen.name, "UringError");
      assert.equal(seen.code, "EMFILE");
      assert.match(seen.message, /file descriptor.*ulimit -n/);
      assert.ok(seen.rings > 5 && seen.rings < 80, `${seen.rings} rings`);
      assert.ok(seen.again, "there is no ring after all were closed");
    });
  }
});

describe("a size that no ring has", () => {
  const refuse = (
    options: Record<string, unknown>,
    error: typeof RangeError | typeof TypeError,
    what: RegExp,
  ) => {
    assert.throws(
      () => new Ring(options as RingOptions),
      (thrown: Error) => thrown instanceof error && what.test(thrown.message),
    );
  };

  it("is refused by name and bounds", () => {
    for (const entries of [0, -1, 1.5, 32769, 2 ** 32, Number.NaN, Number.POSITIVE_INFINITY]) {
      refuse({ entries }, RangeError, /^entries must be a whole number from 1 to 32768, not /);
    }
    for (const entries of ["8", 8n, {}, true]) refuse({ entries }, TypeError, /^entries must be a number/);
    refuse({ entries: 8, cqEntries: 65537 }, RangeError, /^cqEntries .* 65536/);
    refuse({ entries: 8, cqEntries: 4 }, RangeError, /cqEntries \(4\) must be at least entries \(8\)/);
    refuse({ flags: IORING_SETUP_CQSIZE, IORING_SETUP_NO_MMAP }, TypeError, /cqEntries/);
  });

  it("is cut to the largest there is where that is asked for", () => {
    using ring = new Ring({ entries: 1_000_000, cqEntries: 2_000_000, flags: IORING_SETUP_CLAMP });
    assert.equal(ring.params.sqEntries, 32768);
    assert.equal(ring.params.cqEntries, 65536);
  });
});
