// The main job: `npm run demo [-- --runtime bun|deno] [arguments of examples/copy.ts]`.

import { main } from "./project.mjs";
import { parseArguments, runInEach } from "./runtimes.mjs";
import { setUp } from "./setup.mjs";

main((args) => {
  setUp(["shim"]);
  const { runtimes, rest } = parseArguments(args);
  return runInEach(runtimes, "examples/copy.ts", rest);
});
