// The benchmarks: `npm run bench [-- --runtime bun|deno] [--smoke] [--proactor]`, with the last the proactor's alone.

import { main, run } from "./project.mjs";
import { parseArguments, runtimeEnvironment } from "./runtimes.mjs";
import { setUp } from "./setup.mjs";

/** What keeps each engine from collecting garbage: then the heap's growth is what was allocated. */
const withoutCollection = {
  bun: { flags: [], env: { BUN_JSC_useGC: "0" } },
  deno: { flags: ["--v8-flags=--min-semi-space-size=512,--max-semi-space-size=512"], env: {} },
};

main((args) => {
  setUp(["shim", "twins"]);
  const { runtimes, rest } = parseArguments(args);
  const codes = runtimes.flatMap(({ name, title, executable, script }) => {
    console.log(`\n== ${title}`);
    const start = (file, flags, env) => {
      const [command, ...others] = script(file);
      return run(executable, [command, ...flags, ...others, ...rest], {
        env: { ...runtimeEnvironment(), ...env },
      });
    };
    const { flags, env } = withoutCollection[name];
    const codes = [start("bench/proactor/main.ts", [], {})];
    if (!rest.includes("--proactor"))
      codes.push(start("bench/main.ts", [], {}), start("bench/heap.ts", flags, env));
    return codes;
  });
  return codes.find((code) => code !== 0) ?? 0;
});
