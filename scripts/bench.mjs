// The benchmarks: `npm run bench [-- --runtime bun|deno] [arguments of bench/main.ts]`.

import { main } from "./project.mjs";
import { parseArguments, runInEach } from "./runtimes.mjs";
import { setUp } from "./setup.mjs";

main((args) => {
  setUp(["shim", "twins"]);
  const { runtimes, rest } = parseArguments(args);
  return runInEach(runtimes, "bench/main.ts", rest);
});
