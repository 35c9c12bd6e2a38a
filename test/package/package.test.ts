import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { publint } from "publint";
import { packageRoot } from "../../src/files/paths.ts";

const modules = join(packageRoot, "node_modules");

/** What a user of the package writes: every entry point, in TypeScript. */
const PROJECT = `
import { cosine, type MetricsHook, RunError, tf } from "mixhead";
import { connect, type Connection } from "mixhead/backend-torch";
import { createPlugin, openBackend, type PluginFactory, type PrototypePlugin } from "mixhead/plugins";

const factory: PluginFactory = (given): PrototypePlugin => createPlugin("online-gmm", given);
const hook: MetricsHook = () => {};
const link: Connection | undefined = undefined;
await openBackend("wasm");
const sum: number = tf.tidy(() => tf.sum(tf.ones([2, 3])).dataSync()[0] ?? 0);
console.log(sum, cosine({ from: 0, to: 1, steps: 10 }).text, typeof factory, typeof hook, typeof connect, RunError.name, link);
`;

describe("the npm package", () => {
  let project: string;
  let tarball: string;

  before(() => {
    execFileSync(process.execPath, [join(packageRoot, "bin", "package.mjs")], { stdio: "ignore" });
    tarball = join(packageRoot, "build", `mixhead-${version()}.tgz`);
    project = mkdtempSync(join(tmpdir(), "mixhead-package-"));
    install();
  });
  after(() => rmSync(project, { recursive: true, force: true }));

  function version(): string {
    const { version } = JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8"));
    assert.equal(typeof version, "string");
    return String(version);
  }

  /** As npm would, with this repository's packages in place of the registry's. */
  function install(): void {
    const target = join(project, "node_modules", "mixhead");
    mkdirSync(target, { recursive: true });
    execFileSync("tar", ["-xzf", tarball, "-C", target, "--strip-components=1"]);
    for (const name of readdirSync(modules))
      if (!name.startsWith(".")) symlinkSync(join(modules, name), join(project, "node_modules", name));
  }

  function run(program: string, ...args: string[]): string {
    return execFileSync(process.execPath, [program, ...args], { cwd: project, encoding: "utf8" });
  }

  it("has nothing that publint objects to", async () => {
    const { messages } = await publint({ pkgDir: join(project, "node_modules", "mixhead"), strict: true });
    assert.deepEqual(messages, []);
  });

  it("has declarations that TypeScript resolves as Node resolves the code", async () => {
    const analysis = await checkPackage(createPackageFromTarballData(readFileSync(tarball)));
    assert.ok(analysis.types !== false, "it has no types");
    // Resolution by Node 10 and by CommonJS is not promised: the package is ESM and has subpaths.
    const promised = analysis.problems.filter(
      (problem) => "resolutionKind" in problem && problem.resolutionKind === "node16-esm",
    );
    assert.deepEqual(promised, []);
  });

  it("compiles and runs in an empty TypeScript project", () => {
    writeFileSync(join(project, "package.json"), JSON.stringify({ type: "module" }));
    writeFileSync(join(project, "index.ts"), PROJECT);
    const options = [
      "--strict",
      "--module",
      "nodenext",
      "--target",
      "es2023",
      "--types",
      "node",
      "--skipLibCheck",
    ];
    run(join(modules, "typescript", "bin", "tsc"), ...options, "index.ts");
    assert.equal(
      run("index.js").trim(),
      "6 cosine(0 to 1, 10 steps) function function function RunError undefined",
    );
  });

  it("brings the command line", () => {
    const program = join(project, "node_modules", "mixhead", "bin", "mixhead.mjs");
    assert.match(run(program, "--help"), /Usage: mixhead/);
    assert.equal(run(program, "--version").trim(), version());
  });
});
