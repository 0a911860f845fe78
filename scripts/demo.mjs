// The main job: `npm run demo [-- --runtime bun|deno] [file to copy]`, then what this kernel supports.

import { main } from "./project.mjs";
import { parseArguments, runInEach } from "./runtimes.mjs";
import { setUp } from "./setup.mjs";

main((args) => {
  setUp(["shim"]);
  const { runtimes, rest } = parseArguments(args);
  const code = runInEach(runtimes, "examples/demo.ts", rest);
  // The kernel is the same in each.
  return code || runInEach(runtimes.slice(0, 1), "examples/features.ts", []);
});
