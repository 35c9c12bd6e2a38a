import { InvalidArgumentError } from "commander";

/** Parses an option's value as a whole number within bounds. */
export function wholeNumber(least: number, most = Number.POSITIVE_INFINITY): (text: string) => number {
  const allowed = most < Number.POSITIVE_INFINITY ? `from ${least} to ${most}` : `of at least ${least}`;
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < least || value > most) {
      throw new InvalidArgumentError(`allowed: a whole number ${allowed}.`);
    }
    return value;
  };
}
