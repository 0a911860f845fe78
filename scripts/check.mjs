// Lint, format and types of everything: `npm run check`.

import { main, run } from "./project.mjs";
import { findRuntimes, runtimeEnvironment } from "./runtimes.mjs";
import { setUp } from "./setup.mjs";

const projects = ["tsconfig.json", "src/shared", "src/bun", "src/deno", "src/none"];

main(() => {
  setUp([]);
  const [deno] = findRuntimes("deno");
  const steps = [
    ["biome", "node_modules/.bin/biome", ["check"]],
    ...projects.map((project) => [`tsc ${project}`, "node_modules/.bin/tsc", ["-p", project]]),
    ["deno check", deno.executable, ["check", "--quiet", "src/deno", "test", "examples", "bench"]],
  ];
  const failed = steps.filter(([, program, args]) => run(program, args, { env: runtimeEnvironment() }) !== 0);
  if (failed.length > 0) console.error(`\nfailed: ${failed.map(([name]) => name).join(", ")}`);
  return failed.length === 0 ? 0 : 1;
});
