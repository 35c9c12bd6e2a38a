// Runs tfjs-core's own specs on backend torch with a Python of its own: `specs.ts RESULTS.json`. Specs are one program
// with globals of jasmine's, so they have a process of their own.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { build } from "esbuild";
import { z } from "zod";
import { connect } from "../../../src/backend/torch/index.ts";
import { GROUPS } from "./groups.ts";
import type { SpecResult } from "./results.ts";

const NAME = "torch";
const require = createRequire(import.meta.url);
const [out = ""] = process.argv.slice(2);

interface Suite {
  id: string;
  children?: Suite[];
}

interface Done {
  id: string;
  fullName: string;
  status: string;
  failedExpectations: { message: string }[];
}

interface Jasmine {
  getEnv(): {
    configure(options: object): void;
    topSuite(): { children: Suite[] };
    addReporter(reporter: { specDone(done: Done): void }): void;
    execute(): Promise<unknown>;
  };
}

const core = z.looseObject({
  boot: z.custom<(core: unknown) => Jasmine>((boot) => typeof boot === "function"),
});
const jasmineCore: unknown = require("jasmine-core");
const environment = core.parse(jasmineCore).boot(jasmineCore).getEnv();
environment.configure({ random: false, failSpecWithNoExpectations: false });

/** Which file each spec is from. */
const files = new Map<string, string>();
let known = 0;

/** Loads a file of specs: what it adds to jasmine's suites is its own. */
function load(file: string, specs: () => void): void {
  specs();
  const suites = environment.topSuite().children;
  const mark = ({ id, children }: Suite) => {
    if (children === undefined) files.set(id, file);
    else children.forEach(mark);
  };
  suites.slice(known).forEach(mark);
  known = suites.length;
}

/** tfjs-core's modules as they are compiled, with the specs beside them, as one file that Node can load. */
async function bundle(folder: string): Promise<string> {
  const dist = join(dirname(require.resolve("@tensorflow/tfjs-core/package.json")), "dist");
  const all = Object.values(GROUPS).flat();
  const contents = [
    'require("./index");',
    'require("./public/chained_ops/register_all_chained_ops");',
    `require("./jasmine_util").setTestEnvs([{ name: "${NAME}", backendName: "${NAME}", isDataSync: false }]);`,
    ...all.map((file) => `conformance.load("${file}", () => require("./${file}"));`),
  ];
  const outfile = join(folder, "specs.cjs");
  await build({
    stdin: { contents: contents.join("\n"), resolveDir: dist },
    outfile,
    bundle: true,
    platform: "node",
    format: "cjs",
    mainFields: ["module", "main"],
    ignoreAnnotations: true, // the package says that its specs have no side effects
    logLevel: "error",
    nodePaths: [join(dist, "..", "..", "..")],
  });
  return outfile;
}

const results: SpecResult[] = [];
environment.addReporter({
  specDone: ({ id, fullName, status, failedExpectations }) => {
    const name = fullName.replaceAll(` ${NAME} {}`, "");
    const why = failedExpectations.map(({ message }) => message).join("; ");
    results.push({ file: files.get(id) ?? "", name, passed: status === "passed", why });
  },
});

const folder = await mkdtemp(join(tmpdir(), "mixhead-specs-"));
const connection = await connect({ device: "cpu", threads: 1 });
try {
  const file = await bundle(folder);
  Object.assign(globalThis, { conformance: { load } });
  require(file);
  await environment.execute();
  await writeFile(out, JSON.stringify(results));
} finally {
  await connection.close();
  await rm(folder, { recursive: true });
}
process.exit(0);
