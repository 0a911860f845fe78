import assert from "node:assert/strict";
import { UringError } from "uring";

/** What a promise is rejected with. */
export async function reason(promise: Promise<unknown>): Promise<unknown> {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    return error;
  }
  return assert.fail(`resolved with ${value}`);
}

/** The code of the UringError that a promise is rejected with. */
export async function code(promise: Promise<unknown>): Promise<string> {
  const error = await reason(promise);
  assert.ok(error instanceof UringError, String(error));
  return error.code;
}
