// What of io_uring and liburing the tests exercise in each runtime: `npm run coverage [-- --runtime bun|deno] [parts of
// file names]`. Prints what this kernel has and no test exercises, and fails where that is on no list of reasons. A run of
// everything writes docs/coverage.md.

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { release, tmpdir } from "node:os";
import { join } from "node:path";

import { main, root, Stop } from "./project.mjs";
import { parseArguments } from "./runtimes.mjs";
import { setUp } from "./setup.mjs";
import { findTests, runFiles } from "./suite.mjs";

const longestFile = 5 * 60_000;
const page = join(root, "docs/coverage.md");

const read = (file) => JSON.parse(readFileSync(join(root, "test/data", file), "utf8"));
const kernels = read("kernels.json");
const reasons = read("unexercised.json");
const kernel = release().split(".").slice(0, 2).join(".");

const intro = `# Coverage

Everything that io_uring's header and liburing 2.15 have, with the first kernel that has it. This page is printed by
\`npm run coverage\`, here on Linux ${kernel}: it runs every test with a runtime that looks at the memory shared with the
kernel. An operation, a helper or a flag of an entry counts as exercised in a runtime when the kernel took an entry with it,
the operation succeeded, and the program consumed its completion; a registration or a flag of one when the call succeeded.
Worker threads that tests start are not looked at, nor child processes, unless a test asserts what they have done.

Every constant, and every member of every struct, is exported from \`uring/abi\`: \`test/abi.test.ts\` compares them with
the header, and \`test/coverage.test.ts\` makes sure that nothing is missing on this page.
`;

main((args) => {
  setUp(["shim", "harness", "launchers"]);
  const { runtimes, rest } = parseArguments(args);
  const files = ["test", "test/conformance"].flatMap((folder) => findTests(folder, rest));
  if (files.length === 0) throw new Stop(`no test file matches ${rest.join(" ")}`);
  const folder = mkdtempSync(join(tmpdir(), "uring-coverage-"));
  try {
    const seen = new Map(runtimes.map((runtime) => [runtime.title, runRecorded(runtime, files, folder)]));
    const sections = tables(seen);
    const never = sections.flatMap(({ rows }) => rows).filter((row) => row.missing.length > 0);
    for (const { name, first, missing } of never) {
      console.log(
        `never exercised in ${missing.join(", ")}: ${name}${first === "" ? "" : ` (Linux ${first})`}`,
      );
    }
    for (const name of stale(sections)) console.log(`exercised, but in test/data/unexercised.json: ${name}`);
    if (rest.length > 0 || runtimes.length < 2) return 0;
    writeFileSync(page, print(sections));
    console.log(`${page} is written`);
    return never.length === 0 && stale(sections).length === 0 ? 0 : 1;
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/**
 * The names of everything that tests exercise in a runtime. Some tests measure time or memory, which the recording costs:
 * whether they pass beside it is not asked.
 */
function runRecorded(runtime, files, folder) {
  console.log(`\n== ${runtime.title}`);
  const log = join(folder, `${runtime.name}.txt`);
  const output = join(folder, "output.txt");
  for (const file of files) {
    const started = performance.now();
    const { passed, failed } = runFiles(runtime, [file], join(folder, "report.xml"), {
      timeout: longestFile,
      env: { URING_COVERAGE: log },
      preload: "test/support/recorder.ts",
      output,
    });
    rmSync(join(folder, "report.xml"), { force: true });
    // A page without what it would have shown would be wrong.
    if (passed.length === 0) throw new Stop(`${readFileSync(output, "utf8")}\n${file} did not run`);
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    console.log(`${file} (${seconds} s): ${passed.length} passed, ${failed.length} did not`);
    for (const name of failed) console.log(`  ${name}`);
  }
  return new Set(existsSync(log) ? readFileSync(log, "utf8").split("\n") : []);
}

/** Every table of the page: its title, its columns, and a row for each name. */
function tables(seen) {
  const row = (name, first, evidence, ...cells) => {
    const unseen = [...seen].filter(([, names]) => !evidence.every((fact) => names.has(fact)));
    const missing = unseen.map(([title]) => title);
    const reason = reasons[name] ?? (isNewer(first) ? `newer than Linux ${kernel}` : undefined);
    const excused = missing.length > 0 && reason !== undefined;
    const exercised = [...seen.keys()].filter((title) => !missing.includes(title)).join(", ");
    const shown = evidence.length === 0 ? "no call of the kernel" : excused ? `no: ${reason}` : exercised;
    return { name, first, missing: excused ? [] : missing, exercised, cells: [...cells, shown || "no"] };
  };
  const simple = (title, names) => ({
    title,
    columns: ["exercised in"],
    rows: Object.entries(names).map(([name, first]) => row(name, first, [name])),
  });
  return [
    simple("Operations", kernels.operations),
    {
      title: "Prep helpers",
      columns: ["method", "exercised in"],
      rows: Object.entries(kernels.helpers).map(([name, first]) => {
        const method = `Sqe.${methodName(name)}`;
        return row(name, first, [method], `\`${method}\``);
      }),
    },
    simple("Registrations", kernels.registrations),
    {
      title: "Other functions",
      columns: ["counterpart", "exercised in"],
      rows: Object.entries(kernels.functions).map(([name, [first, counterpart, registration]]) => {
        const member = counterpart.includes(".") || counterpart === "Ring" ? [counterpart] : [];
        const evidence = [...member, ...(registration === undefined ? [] : [registration])];
        return row(name, first, evidence, `\`${counterpart}\``);
      }),
    },
    {
      title: "Flags and values",
      columns: ["of", "exercised in"],
      rows: Object.entries(kernels.flags).flatMap(([group, names]) =>
        Object.entries(names).map(([name, first]) => row(name, first, [name], words(group))),
      ),
    },
  ];
}

/** As `methodName` in test/support/prep-table.ts. */
function methodName(helper) {
  if (helper === "__io_uring_prep_uring_cmd") return "prepUringCmdOp";
  return helper.replace(/^io_uring_/, "").replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
}

function words(name) {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

function isNewer(first) {
  const [major = 0, minor = 0] = first.split(".").map(Number);
  const [has = 0, hasMinor = 0] = kernel.split(".").map(Number);
  return major > has || (major === has && minor > hasMinor);
}

/** What has a reason for staying unexercised, and is exercised. */
function stale(sections) {
  const exercised = sections.flatMap(({ rows }) => rows).filter((row) => row.exercised !== "");
  return exercised.map(({ name }) => name).filter((name) => name in reasons);
}

function print(sections) {
  const tables = sections.map(({ title, columns, rows }) => {
    const head = ["name", "first kernel", ...columns];
    const lines = rows.map(
      ({ name, first, cells }) => `| \`${name}\` | ${first || "-"} | ${cells.join(" | ")} |`,
    );
    return [`## ${title}`, "", `| ${head.join(" | ")} |`, `|${" --- |".repeat(head.length)}`, ...lines].join(
      "\n",
    );
  });
  const without = Object.entries(kernels.withoutCounterpart).map(([name, why]) => `- \`${name}\`: ${why}`);
  return `${intro}\n${tables.join("\n\n")}\n\n## Functions of liburing without a counterpart\n\n${without.join("\n")}\n`;
}
