// Holds src to the table of folders in docs/architecture.md: what each may import, and no cycles.
import { readFileSync } from "node:fs";

const page = readFileSync(new URL("docs/architecture.md", import.meta.url), "utf8");
const [, table = ""] = page.split("## Which folder may import which\n");

/** The table's lines, "    folder  those it may import". */
const folders = [...table.matchAll(/^ {4}(\S+) {2,}(\S.*)$/gm)].map(([, folder, allowed]) => ({
  folder,
  allowed: allowed === "-" ? [] : allowed.split(" "),
}));
if (folders.length === 0) throw new Error("docs/architecture.md has no table of folders");

export default {
  forbidden: [
    { name: "no-cycles", severity: "error", from: {}, to: { circular: true } },
    ...folders.map(({ folder, allowed }) => ({
      name: `folder-${folder}`,
      severity: "error",
      from: { path: `^src/${folder}/` },
      to: {
        path: "^src/",
        pathNot: ["^src/errors[.]ts$", ...[folder, ...allowed].map((name) => `^src/${name}/`)],
      },
    })),
    {
      name: "folder-in-the-table",
      severity: "error",
      from: { path: "^src/[^/]+/", pathNot: folders.map(({ folder }) => `^src/${folder}/`) },
      to: {},
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { extensions: [".ts", ".mjs", ".js", ".json"] },
  },
};
