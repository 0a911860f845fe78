import { UringUnavailableError } from "../shared/errors.ts";
import type { Runtime } from "../shared/runtime.ts";

/** Where neither Bun nor Deno runs: importing works, using says what to do. */
export const runtime: Runtime = {
  name: "none",
  mainThread: true,
  load: refuse,
  allocate: refuse,
  watch: refuse,
  turn: refuse,
};

function refuse(): never {
  throw new UringUnavailableError(
    "platform",
    "this runtime is neither Bun nor Deno",
    "Run the program with Bun or Deno on Linux, x64 or arm64.",
  );
}
