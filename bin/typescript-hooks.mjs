// Node's loader for TypeScript: ts-node compiles a file once, and what it made is kept until the file changes.
import { createHash } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { root } from "./packages.mjs";

const kept = join(root, ".cache", "compiled");
const project = join(root, "tsconfig.json");
/** Of what compiles; each file's hash goes on from here. */
const setUp = createHash("sha256")
  .update(await readFile(join(root, "package-lock.json")))
  .update(await readFile(project));
let compiler;

export async function load(url, context, next) {
  const path = url.startsWith("file:") ? fileURLToPath(url) : "";
  const name = relative(root, path);
  if (!/\.ts$/.test(path) || name.startsWith("..") || name.includes("node_modules"))
    return next(url, context);
  return { format: "module", shortCircuit: true, source: await compiled(path, join(kept, `${name}.mjs`)) };
}

async function compiled(path, place) {
  const source = await readFile(path, "utf8");
  const mark = `\n// ${setUp.copy().update(source).digest("hex")}`;
  const before = await readFile(place, "utf8").catch(() => "");
  if (before.endsWith(mark)) return before;
  compiler ??= await start();
  const code = compiler(source, path) + mark;
  await keep(place, code).catch(() => {}); // where nothing can be written, it is compiled again next time
  return code;
}

async function start() {
  const { default: tsNode } = await import("ts-node");
  const { onItsLines } = await import("../src/files/source-lines.mjs");
  const compilerOptions = { module: "esnext", moduleResolution: "bundler" };
  const service = tsNode.create({ transpileOnly: true, project, compilerOptions });
  return (source, path) => {
    const [code, map] = service
      .compile(source, path)
      .split("//# sourceMappingURL=data:application/json;charset=utf-8;base64,");
    return onItsLines(code, Buffer.from(map, "base64").toString("utf8"));
  };
}

/** Another process may be reading or writing the same file. */
async function keep(place, code) {
  const aside = `${place}.${process.pid}`;
  await mkdir(dirname(place), { recursive: true });
  await writeFile(aside, code);
  await rename(aside, place);
}
