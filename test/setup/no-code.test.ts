import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { extname, join, relative } from "node:path";
import { packageRoot } from "../../src/files/paths.ts";

/** What would run text as code or hand it to a shell, and the only files in which it may stand, with the reason. */
interface Rule {
  what: string;
  pattern: RegExp;
  files: string[];
}

const TYPESCRIPT: Rule[] = [
  { what: "eval", pattern: /(?<![.\w])eval\s*\(/, files: [] },
  { what: "Function", pattern: /(?<![.\w])(?:new\s+)?Function\s*\(/, files: [] },
  { what: "vm", pattern: /["'](?:node:)?vm["']/, files: [] },
  {
    what: "a shell",
    pattern: /\bshell\s*:|\b(?:exec|execSync)\b[^"'\n]*["'](?:node:)?child_process["']/,
    files: [],
  },
  { what: "a worker's text", pattern: /\beval\s*:\s*true/, files: [] },
  // A file that a configuration or the command line names; a shared server takes none from a hello.
  { what: "import of a name", pattern: /\bimport\s*\((?!\s*["'])/, files: ["src/files/import-file.ts"] },
];

const PYTHON: Rule[] = [
  { what: "eval or exec", pattern: /(?<![.\w])(?:eval|exec|__import__)\s*\(/, files: [] },
  // An unpickler that builds records of what it reads, and imports nothing.
  {
    what: "unpickling",
    pattern: /\bpickle\.(?:loads?\b|_?Unpickler)|\b(?:cPickle|dill|joblib|shelve|marshal)\b/,
    files: ["python_env/mixhead/checkpoint/pickled.py"],
  },
  // A line that is printed for the user to copy.
  {
    what: "torch.load",
    pattern: /\btorch\.load\s*\((?!.*weights_only=True)/,
    files: ["python_env/mixhead/worker/export.py"],
  },
  { what: "allow_pickle", pattern: /allow_pickle\s*=\s*True/, files: [] },
  { what: "a shell", pattern: /\bshell\s*=|\bos\.(?:system|popen)\b|\bgetoutput\b/, files: [] },
  { what: "yaml", pattern: /\byaml\.(?:unsafe_)?load\b/, files: [] },
  // Modules of this package, by names that are in it; the module of a worker, which Node names.
  {
    what: "import of a name",
    pattern: /\bimport_module\s*\(/,
    files: [
      "python_env/mixhead/__init__.py",
      "python_env/mixhead/lightning.py",
      "python_env/mixhead/worker/launch.py",
    ],
  },
];

function sources(folder: string, endings: string[]): string[] {
  return readdirSync(join(packageRoot, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && endings.includes(extname(entry.name)))
    .map((entry) => relative(packageRoot, join(entry.parentPath, entry.name)))
    .filter((path) => !path.includes("_plugin"));
}

/** Without whole lines of comment. */
function codeOf(path: string): string[] {
  const lines = readFileSync(join(packageRoot, path), "utf8").split("\n");
  return lines.filter((line) => !/^\s*(?:\/\/|\/?\*|#)/.test(line));
}

function found(paths: string[], { pattern }: Rule): string[] {
  return paths.filter((path) => codeOf(path).some((line) => pattern.test(line)));
}

describe("the sources", () => {
  const sides = [
    ["TypeScript", [...sources("src", [".ts", ".mjs"]), ...sources("bin", [".mjs"])], TYPESCRIPT],
    ["Python", sources("python_env/mixhead", [".py"]), PYTHON],
  ] as const;
  for (const [side, paths, rules] of sides) {
    for (const rule of rules) {
      const where = rule.files.length > 0 ? `in ${rule.files.join(", ")} alone` : "nowhere";
      it(`in ${side} use ${rule.what} ${where}`, () => {
        assert.ok(paths.length > 20);
        assert.deepEqual(found([...paths], rule).sort(), rule.files);
      });
    }
  }
});
