import { closest } from "fastest-levenshtein";
import { z } from "zod";

type Issue = z.core.$ZodIssue;

/**
 * Explains validation errors, one sentence per line. For an unknown key it gives the nearest known one,
 * for a wrong value the value and what is allowed.
 */
export function explain(error: z.ZodError, input: unknown, schema: z.ZodType): string {
  return error.issues.map((issue) => sentenceOf(issue, input, schema)).join("\n");
}

function sentenceOf(issue: Issue, input: unknown, schema: z.ZodType): string {
  const at = issue.path.map(String);
  if (issue.code === "unrecognized_keys") {
    const known = keysAt(z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }), at);
    return issue.keys
      .map((key) => {
        const name = [...at, key].join(".");
        const nearest = known.length > 0 ? `; the nearest is ${[...at, closest(key, known)].join(".")}` : "";
        return `${name} is not a setting${nearest}`;
      })
      .join("\n");
  }
  const name = at.length > 0 ? at.join(".") : "the configuration";
  const value = valueAt(input, at);
  const is = value === undefined ? `${name} is missing` : `${name} is ${JSON.stringify(value)}`;
  return `${is}; allowed: ${allowed(issue)}`;
}

/** The allowed values, in words. */
function allowed(issue: Issue): string {
  switch (issue.code) {
    case "invalid_value":
      return issue.values.map(String).join(", ");
    case "invalid_type":
      return (
        {
          int: "a whole number",
          number: "a number",
          object: "a group of settings",
          record: "a group of settings",
          tuple: "a list",
          array: "a list",
        }[issue.expected as string] ?? `a ${issue.expected}`
      );
    case "too_small":
      return `${noun(issue.origin)} ${issue.inclusive ? "of at least" : "above"} ${issue.minimum}`;
    case "too_big":
      return `${noun(issue.origin)} ${issue.inclusive ? "of at most" : "below"} ${issue.maximum}`;
    default:
      return issue.message;
  }
}

function noun(origin: string): string {
  return (
    { int: "a whole number", number: "a number", string: "a text of a length", array: "a list of a length" }[
      origin
    ] ?? "a value"
  );
}

function valueAt(input: unknown, path: string[]): unknown {
  let value = input;
  for (const key of path) {
    if (typeof value !== "object" || value === null) return undefined;
    value = new Map<string, unknown>(Object.entries(value)).get(key);
  }
  return value;
}

const node = z.looseObject({ properties: z.record(z.string(), z.unknown()).optional() });

/** The names in a group of settings, from the JSON schema. */
function keysAt(schema: unknown, path: string[]): string[] {
  const parsed = node.safeParse(schema);
  if (!parsed.success || parsed.data.properties === undefined) return [];
  const [first, ...rest] = path;
  return first === undefined
    ? Object.keys(parsed.data.properties)
    : keysAt(parsed.data.properties[first], rest);
}
