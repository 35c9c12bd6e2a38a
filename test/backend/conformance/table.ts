import { EXCLUDED } from "./excluded.ts";
import { GROUPS } from "./groups.ts";
import type { SpecResult } from "./results.ts";

/** How the specs of a group of ops ended. */
export interface Row {
  group: string;
  specs: number;
  passed: number;
  /** Excluded because they are about a type of tensors that the backend does not have. */
  otherTypes: number;
  /** Excluded for another reason. */
  excluded: number;
  /** Specs that failed and are not excluded, and excluded ones that pass. */
  wrong: SpecResult[];
}

const excluded = new Map(EXCLUDED.flatMap(({ type, specs }) => specs.map((name) => [name, type] as const)));

export function rowsOf(results: readonly SpecResult[]): Row[] {
  return Object.entries(GROUPS).map(([group, files]) => {
    const own = results.filter(({ file }) => files.includes(file));
    const out = own.filter(({ name }) => excluded.has(name));
    const otherTypes = out.filter(({ name }) => excluded.get(name) === true).length;
    return {
      group,
      specs: own.length,
      passed: own.filter(({ passed }) => passed).length,
      otherTypes,
      excluded: out.length - otherTypes,
      wrong: own.filter(({ name, passed }) => passed === excluded.has(name)),
    };
  });
}

/** The share of a group's specs that pass, of those about types that the backend has. */
export function shareOf({ specs, passed, otherTypes }: Row): number {
  return passed / (specs - otherTypes);
}

/** The table in plain text, or with bars as Markdown has them. */
export function tableOf(rows: readonly Row[]): string {
  const total: Row = { group: "all", specs: 0, passed: 0, otherTypes: 0, excluded: 0, wrong: [] };
  for (const row of rows) {
    for (const key of ["specs", "passed", "otherTypes", "excluded"] as const) total[key] += row[key];
  }
  const cells = [
    ["group", "specs", "passed", "strings, complex", "other exclusions", "passed", "of the rest"],
    ...[...rows, total].map((row) => [
      row.group,
      ...[row.specs, row.passed, row.otherTypes, row.excluded].map((count) => count.toLocaleString("en")),
      percent(row.passed / row.specs),
      percent(shareOf(row)),
    ]),
  ];
  const widths = cells[0]?.map((_, at) => Math.max(...cells.map((line) => line[at]?.length ?? 0))) ?? [];
  const [head = "", ...lines] = cells.map((line) => {
    const padded = line.map((cell, at) =>
      at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0),
    );
    return `| ${padded.join(" | ")} |`;
  });
  const rule = widths.map((width, at) => (at === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`));
  return [head, `| ${rule.join(" | ")} |`, ...lines].join("\n");
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

/** docs/conformance.md, whole. */
export function pageOf(rows: readonly Row[]): string {
  const exclusions = EXCLUDED.map(
    ({ reason, specs }) => `### ${reason}\n\n${specs.map((name) => `- ${name}`).join("\n")}`,
  );
  return `# Conformance of backend torch with tfjs

This page shows which of tfjs-core's own specs (version 4.22.0, from its npm package) pass on backend torch with a Python
executor on the CPU. \`npx mocha test/backend/conformance/conformance.test.ts\` runs them. It fails if a spec fails that is
not excluded, if an excluded one passes, or if less than 95 % of a group pass, leaving out specs about strings and complex
numbers. With \`UPDATE=1\` it writes this page.

\`test/backend/conformance/groups.ts\` lists the files of specs in each group, \`excluded.ts\` lists the exclusions and their
reasons. Specs about \`dataSync\` are not among them: tfjs-core skips them for a backend that declares that it has none. The
gradients' rules are the backend's own (\`src/backend/torch/gradients/\`); the specs of each op test them.

${tableOf(rows)}

"strings, complex" counts specs about types of tensors that the backend does not have. The last column leaves them
out; the one before includes them.

## Exclusions

${exclusions.join("\n\n")}
`;
}
