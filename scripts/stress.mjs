// The proactor under stress: `npm run stress [-- --operations n] [--doorbell n] [--seed n] [--runtime bun|deno]`.
// `--operations` are of every kind and ended in every way, `--doorbell` are wakes; a million of each unless given.

import { main, run } from "./project.mjs";
import { parseArguments, runtimeEnvironment } from "./runtimes.mjs";
import { setUp } from "./setup.mjs";

/** What lets a program collect garbage. */
const flags = { bun: [], deno: ["--no-check", "--v8-flags=--expose-gc"] };

main((args) => {
  setUp(["shim", "harness"]);
  const { runtimes, rest } = parseArguments(args);
  const asked = rest.includes("--operations") || rest.includes("--doorbell");
  const amount = asked ? [] : ["--operations", "1000000", "--doorbell", "1000000"];
  const codes = runtimes.map(({ name, title, executable, script }) => {
    console.log(`\n== ${title}`);
    const [command, ...others] = script("test/support/proactor-stress.ts");
    return run(executable, [command, ...flags[name], ...others, ...amount, ...rest], {
      env: runtimeEnvironment(),
    });
  });
  return codes.find((code) => code !== 0) ?? 0;
});
