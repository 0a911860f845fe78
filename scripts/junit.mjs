// Reads the JUnit reports of `bun test` and `deno test`, which differ in more than their spelling.

import { existsSync, readFileSync } from "node:fs";

const entities = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

/**
 * The full names ("suite > test") of the tests that passed, failed and were skipped, the files they are in, and why each
 * that failed did, in a few lines; all empty without a report.
 */
export function readJunit(file) {
  const counts = { passed: [], failed: [], skipped: [], files: new Set(), reasons: new Map() };
  const cases = existsSync(file) ? [...parseCases(readFileSync(file, "utf8"))] : [];
  const groups = new Set(
    cases.flatMap(({ path }) => path.slice(0, -1).map((_, at) => join(path.slice(0, at + 1)))),
  );
  for (const { path, outcome, source, reason } of cases) {
    counts.files.add(source);
    // Deno reports a suite, and a test that has subtests, as a test beside its parts.
    if (!groups.has(join(path))) counts[outcome].push(join(path));
    if (outcome === "failed") counts.reasons.set(join(path), reason);
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
    yield { path, outcome, source, reason: firstLines(body) };
  }
}

/** What a failed test's report says, without the places in the code. Deno has the message in the body, Bun in `message`. */
function firstLines(body) {
  const [, attributes = "", text = ""] = body.match(/<(?:failure|error)\b((?:[^>"]|"[^"]*")*)>([^<]*)/) ?? [];
  const lines = `${unescaped(attributes.match(/\smessage="([^"]*)"/)?.[1] ?? "")}\n${unescaped(text)}`.split(
    "\n",
  );
  const said = lines.map((line) => line.trim()).filter((line) => line !== "" && !line.startsWith("at "));
  return [...new Set(said)].slice(0, 12).join("\n");
}

function attribute(attributes, name) {
  const value = attributes.match(new RegExp(`\\s${name}="([^"]*)"`))?.[1] ?? "";
  return unescaped(value);
}

function unescaped(text) {
  return text.replace(/&(?:#(\d+)|(\w+));/g, (_, code, entity) => {
    return code === undefined ? entities[entity] : String.fromCodePoint(Number(code));
  });
}

function join(path) {
  return path.join(" > ");
}
