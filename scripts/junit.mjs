// Reads the JUnit reports of `bun test` and `deno test`, which differ in more than their spelling.

import { existsSync, readFileSync } from "node:fs";

const entities = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

/**
 * The full names ("suite > test") of the tests that passed, failed and were skipped, and the files they are in; all
 * empty without a report.
 */
export function readJunit(file) {
  const counts = { passed: [], failed: [], skipped: [], files: new Set() };
  const cases = existsSync(file) ? [...parseCases(readFileSync(file, "utf8"))] : [];
  const groups = new Set(
    cases.flatMap(({ path }) => path.slice(0, -1).map((_, at) => join(path.slice(0, at + 1)))),
  );
  for (const { path, outcome, source } of cases) {
    counts.files.add(source);
    // Deno reports a suite, and a test that has subtests, as a test beside its parts.
    if (!groups.has(join(path))) counts[outcome].push(join(path));
  }
  return counts;
}

function* parseCases(text) {
  for (const [, attributes, body = ""] of text.matchAll(
    /<testcase\b((?:\s[\w:]+="[^"]*")*)\s*(?:\/>|>(.*?)<\/testcase>)/gs,
  )) {
    const name = attribute(attributes, "name");
    const suites = attribute(attributes, "classname");
    // Bun names the suites in `classname`, innermost first; Deno puts them in the name and the file in `classname`.
    const isBun = attribute(attributes, "file") !== "";
    const source = (isBun ? attribute(attributes, "file") : suites).replace(/^\.\//, "");
    const path = isBun && suites !== "" ? [...suites.split(" > ").reverse(), name] : name.split(" > ");
    const outcome = /<(failure|error)\b/.test(body)
      ? "failed"
      : /<skipped\b/.test(body)
        ? "skipped"
        : "passed";
    yield { path, outcome, source };
  }
}

function attribute(attributes, name) {
  const value = attributes.match(new RegExp(`\\s${name}="([^"]*)"`))?.[1] ?? "";
  return value.replace(/&(?:#(\d+)|(\w+));/g, (_, code, entity) => {
    return code === undefined ? entities[entity] : String.fromCodePoint(Number(code));
  });
}

function join(path) {
  return path.join(" > ");
}
