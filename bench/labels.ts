import { UserError } from "../src/errors.ts";
import { armColors, muted, shade } from "../src/report/theme.ts";
import type { Trained } from "./trained.ts";

/**
 * Parses NAME=LABEL arguments in order; a NAME alone is its own label.
 *
 * @throws UserError if no run has the name, or if two labels are the same
 */
export function labelsOf(named: readonly string[], trained: readonly Trained[]): Map<string, string> {
  const labels = new Map(
    named.map((argument): [string, string] => {
      const [name = "", ...label] = argument.split("=");
      return [name, label.length > 0 ? label.join("=") : name];
    }),
  );
  const known = [...new Set(trained.map(({ name }) => name))];
  const missing = [...labels.keys()].find((name) => !known.includes(name));
  if (missing !== undefined)
    throw new UserError(`there is no evaluated run called ${missing}; there are ${known.join(", ")}`);
  if (new Set(labels.values()).size < labels.size)
    throw new UserError("two labels are the same: every line needs its own");
  return labels;
}

/** A colour for each label. Labels that agree up to a comma share a colour, in increasingly dark shades. */
export function colorsOf(labels: readonly string[]): Map<string, string> {
  const families = labels.map((label) => label.replace(/,.*/, ""));
  const colors = armColors([...new Set(families)]);
  const colorOf = (family: string, at: number) => {
    const before = families.slice(0, at).filter((other) => other === family).length;
    return shade(colors.get(family) ?? muted, 0.6 ** before);
  };
  return new Map(labels.map((label, at) => [label, colorOf(families[at] ?? label, at)]));
}
