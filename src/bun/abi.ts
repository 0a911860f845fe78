export * from "../shared/abi/index.ts";
