/** Keys that identify a schedule in a configuration. A schedule is replaced as a whole, not key by key. */
const SCHEDULES = ["linear", "cosine", "exponential", "step", "warmup", "custom"];

/** Merges settings group by group. Those of `over` take precedence. */
export function overlay(under: unknown, over: unknown): unknown {
  if (!isGroup(under) || !isGroup(over)) return over;
  const result = new Map(Object.entries(under));
  for (const [key, value] of Object.entries(over)) {
    if (value !== undefined) result.set(key, overlay(result.get(key), value));
  }
  return Object.fromEntries(result);
}

/** Whether a value is a group of settings, and not a list, a schedule or a function. */
export function isGroup(value: unknown): value is object {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const [[key, inner] = [], ...others] = Object.entries(value);
  return !(others.length === 0 && SCHEDULES.includes(key ?? "") && typeof inner !== "number");
}
