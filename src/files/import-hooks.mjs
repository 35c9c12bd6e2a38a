// Node's loader, for files of a user's, wherever they lie: TypeScript without a tsconfig or a package.json
// around it, and mixhead and its parts, tfjs-core and zod by name, as the very modules that run here.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { onItsLines } from "./source-lines.mjs";

const root = new URL("../../", import.meta.url).href;
const shared = /^(mixhead(\/.*)?|@tensorflow\/tfjs-core|zod)$/;

const isUsers = (url) =>
  url?.startsWith("file:") && !url.startsWith(`${root}src/`) && !url.includes("/node_modules/");

export function resolve(specifier, context, next) {
  if (!isUsers(context.parentURL)) return next(specifier, context);
  // From here, "mixhead" is this package itself.
  if (shared.test(specifier)) return next(specifier, { ...context, parentURL: import.meta.url });
  return next(specifier, context);
}

export async function load(url, context, next) {
  const path = isUsers(url) ? fileURLToPath(url) : "";
  if (!/\.(ts|mts|js)$/.test(path)) return next(url, context);
  const text = await readFile(path, "utf8");
  // As Node 22 does by itself: a .js file with import or export in it is a module.
  if (path.endsWith(".js") && !/^\s*(import|export)\b/m.test(text)) return next(url, context);
  return {
    format: "module",
    shortCircuit: true,
    source: path.endsWith(".js") ? text : transpile(text, path),
  };
}

function transpile(text, path) {
  const { outputText, diagnostics, sourceMapText } = ts.transpileModule(text, {
    fileName: path,
    reportDiagnostics: true,
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023, sourceMap: true },
  });
  const [error] = diagnostics ?? [];
  if (error === undefined) return onItsLines(outputText, sourceMapText);
  const line = error.file?.getLineAndCharacterOfPosition(error.start ?? 0).line ?? 0;
  throw new SyntaxError(`line ${line + 1}: ${ts.flattenDiagnosticMessageText(error.messageText, " ")}`);
}
