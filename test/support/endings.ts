import assert from "node:assert/strict";
import { it } from "node:test";
import { type OperationOptions, Proactor } from "uring";
import { reason } from "./rejections.ts";
import { openFds, untilFds } from "./ring.ts";
import { withShim } from "./runtime.ts";

const bench = { timeout: 60_000 };

/** An operation that does not end by itself, and what it needs, which is given back at the end. */
export interface Pending extends Partial<Disposable> {
  call(options: OperationOptions): Promise<unknown>;
}

/** Shows that an operation ends early in every way it can be asked to, and leaves nothing behind. */
export function endsEarly(name: string, make: (proactor: Proactor) => Pending | Promise<Pending>): void {
  it(`${name} ends by a signal at each point of its life, by its timeout, and by close`, bench, async () => {
    const before = openFds();
    const proactor = new Proactor();
    const pending = await make(proactor);
    const { submitted } = proactor.counters;

    assert.equal(await reason(pending.call({ signal: AbortSignal.abort("before") })), "before");

    const queued = new AbortController();
    const never = pending.call({ signal: queued.signal });
    queued.abort("queued");
    assert.equal(proactor.inFlight, 0);
    assert.equal(await reason(never), "queued");
    assert.equal(proactor.counters.submitted, submitted);

    const flying = new AbortController();
    const cut = pending.call({ signal: flying.signal });
    proactor.flush();
    assert.equal(proactor.inFlight, 1);
    flying.abort("in flight");
    flying.abort("again");
    assert.equal(await reason(cut), "in flight");
    assert.equal(proactor.inFlight, 0);

    const start = performance.now();
    const late = await reason(pending.call({ timeout: 20 }));
    assert.ok(late instanceof DOMException, String(late));
    assert.deepEqual([late.name, late.message], ["TimeoutError", `${name} took longer than its timeout`]);
    assert.ok(performance.now() - start >= 19);
    assert.equal(proactor.inFlight, 0);

    const closed = reason(pending.call({}));
    proactor.flush();
    assert.deepEqual(await proactor.close(), { leaked: 0 });
    assert.match(String(await closed), new RegExp(`ECANCELED: .*, ${name}. The proactor was closed`));
    pending[Symbol.dispose]?.();
    await untilFds(before.length);
  });
}

/**
 * A proactor on which one operation is given up just after the kernel has done it, before that is looked at.
 *
 * @param call the operation, which must be done at once
 */
export async function giveUpWhenDone(
  call: (proactor: Proactor, options: OperationOptions) => Promise<unknown>,
): Promise<Proactor> {
  const controller = new AbortController();
  let armed = false;
  const proactor = withShim(
    (real) => ({
      enter(...args) {
        const result = real.enter(...args);
        if (armed) controller.abort("given up");
        return result;
      },
    }),
    () => new Proactor(),
  );
  proactor.ring.registerFilesSparse(4);
  const given = reason(call(proactor, { signal: controller.signal }));
  armed = true;
  assert.equal(await given, "given up");
  armed = false;
  assert.equal(proactor.counters.completed, 1);
  return proactor;
}
