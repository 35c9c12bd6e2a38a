import { SourceMap } from "node:module";

/** The code with empty lines where types were, so that errors name the lines of the user's file. */
export function onItsLines(code, sourceMap) {
  const map = new SourceMap(JSON.parse(sourceMap));
  const lines = [];
  for (const [at, line] of code
    .replace(/\n\/\/# sourceMappingURL=.*$/, "")
    .split("\n")
    .entries()) {
    const column = line.search(/\S/);
    const { generatedLine, generatedColumn, originalLine } = map.findEntry(at, Math.max(column, 0));
    if (generatedLine === at && generatedColumn === column)
      while (lines.length < originalLine) lines.push("");
    lines.push(line);
  }
  return lines.join("\n");
}
