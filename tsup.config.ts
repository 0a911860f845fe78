import { defineConfig } from "tsup";

// One build a runtime folder. `splitting` gives all entries of a folder one copy of the core: two copies would
// mean two default rings and failing `instanceof`.
const config: ReturnType<typeof defineConfig> = defineConfig(
  ["bun", "deno", "none"].map((runtime) => ({
    name: runtime,
    entry: [`src/${runtime}/*.ts`, `!src/${runtime}/runtime.ts`],
    outDir: `dist/${runtime}`,
    format: "esm",
    target: "es2022",
    platform: "neutral",
    splitting: true,
    sourcemap: true,
    clean: true,
    dts: false,
    external: ["bun:ffi", /^node:/],
    noExternal: ["#runtime"],
    tsconfig: `src/${runtime}/tsconfig.json`,
    esbuildOptions(options) {
      options.conditions = [runtime];
    },
  })),
);

export default config;
