import { UserError } from "../errors.ts";
import { isSchedule } from "./settings.ts";

/** One combination of varied settings. */
export interface Variation {
  /** Such as "components=256 retention=0.9". */
  name: string;
  settings: unknown;
}

/** Every combination of the values in `vary`, varying the last setting fastest. @throws UserError if there is none */
export function variations(vary: Readonly<Record<string, readonly unknown[] | undefined>>): Variation[] {
  const paths = Object.keys(vary);
  const last = (path: string) => path.split(".").at(-1) ?? path;
  const short = paths.map((path) =>
    paths.some((other) => other !== path && last(other) === last(path)) ? path : last(path),
  );
  let all: { names: string[]; settings: [path: string, value: unknown][] }[] = [{ names: [], settings: [] }];
  for (const [at, path] of paths.entries()) {
    const values = vary[path];
    if (!Array.isArray(values) || values.length === 0) {
      throw new UserError(`vary: ${path} needs a list of values`);
    }
    all = all.flatMap(({ names, settings }) =>
      values.map((value: unknown) => ({
        names: [...names, `${short[at]}=${textOf(value)}`],
        settings: [...settings, [path, value] satisfies [string, unknown]],
      })),
    );
  }
  if (paths.length === 0) throw new UserError("vary: it has no setting");
  const variations = all.map(({ names, settings }) => ({
    name: names.join(" "),
    settings: nested(settings),
  }));
  const twice = variations.find(({ name }, at) => variations.findIndex((one) => one.name === name) < at);
  if (twice === undefined) return variations;
  throw new UserError(`vary: two of its values make an arm called "${twice.name}"; use compare to name them`);
}

/** A value as part of the name of an arm, which is also the name of a folder. */
function textOf(value: unknown): string {
  const text = isSchedule(value)
    ? value.text
    : typeof value === "function"
      ? value.name
      : typeof value === "object"
        ? JSON.stringify(value)
        : String(value);
  return text.replace(/[^A-Za-z0-9._=+-]+/g, "-").replace(/^-|-$/g, "");
}

/** Settings from names such as "plugin.forgetting.retention". */
function nested(settings: readonly [path: string, value: unknown][]): unknown {
  const root = new Map<string, [string, unknown][]>();
  const here = new Map<string, unknown>();
  for (const [path, value] of settings) {
    const dot = path.indexOf(".");
    if (dot === -1) here.set(path, value);
    else {
      const key = path.slice(0, dot);
      root.set(key, [...(root.get(key) ?? []), [path.slice(dot + 1), value]]);
    }
  }
  for (const [key, inner] of root) here.set(key, nested(inner));
  return Object.fromEntries(here);
}
