import { z } from "zod";
import { config } from "./schema.ts";

/** The JSON schema of a configuration file, for editors: `# yaml-language-server: $schema=...`. */
export function jsonSchema(): string {
  return `${JSON.stringify(z.toJSONSchema(config, { io: "input" }), null, 2)}\n`;
}

const node = z.looseObject({
  description: z.string().optional(),
  default: z.unknown().optional(),
  enum: z.array(z.unknown()).optional(),
  type: z.string().optional(),
  properties: z.record(z.string(), z.unknown()).optional(),
});

/** A reference of all settings as a Markdown table: name, default, meaning. */
export function markdown(): string {
  const schema = z.toJSONSchema(config, { io: "input" });
  return [
    "# Configuration",
    "",
    "A configuration is a YAML file; what it leaves out has the default below. On the command line",
    "`key.sub=value` overrides it. This page is made from `src/config/schema.ts` by `npm run schema`.",
    "",
    "| setting | default | what it means |",
    "| --- | --- | --- |",
    ...rowsOf(schema, []),
    "",
  ].join("\n");
}

function rowsOf(schema: unknown, path: string[]): string[] {
  const { properties, description, enum: values, default: fallback, type } = node.parse(schema);
  if (properties !== undefined) {
    return Object.entries(properties).flatMap(([key, value]) => rowsOf(value, [...path, key]));
  }
  const meaning = [values?.join(", "), description].filter((text) => text !== undefined).join(": ");
  const shown = fallback === undefined ? "" : `\`${JSON.stringify(fallback)}\``;
  return [`| \`${path.join(".")}\` | ${shown} | ${(meaning || typeName(type)).replaceAll("|", "\\|")} |`];
}

function typeName(type: string | undefined): string {
  return { integer: "a whole number", number: "a number", string: "a text" }[type ?? ""] ?? "";
}
