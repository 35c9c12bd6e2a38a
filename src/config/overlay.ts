/** What a schedule in a configuration is called by its one key: it is replaced as a whole. */
const SCHEDULES = ["linear", "cosine", "exponential", "step", "warmup", "custom"];

/** Settings laid over settings, group by group: what `over` says holds, what it leaves out is as it was. */
export function overlay(under: unknown, over: unknown): unknown {
  if (!isGroup(under) || !isGroup(over)) return over;
  const result = new Map(Object.entries(under));
  for (const [key, value] of Object.entries(over)) {
    if (value !== undefined) result.set(key, overlay(result.get(key), value));
  }
  return Object.fromEntries(result);
}

/** A group of settings: no list, no schedule, no function. */
export function isGroup(value: unknown): value is object {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const [[key, inner] = [], ...others] = Object.entries(value);
  return !(others.length === 0 && SCHEDULES.includes(key ?? "") && typeof inner !== "number");
}
