import type { BetweenConfig, ScheduleConfig } from "../config/schedule.ts";
import { UserError } from "../errors.ts";

/** The clock of a run, as schedules and plugins see it. */
export interface Clock {
  /** Steps taken before this one: 0, 1, ... */
  step: number;
  /** Length of the run's schedules in steps (`train.steps`), at least 1. */
  steps: number;
  /** Completed passes over the training set: floor(step * batch / images). */
  epoch: number;
}

/** A value that depends on the clock. Schedules accept schedules as values, so they compose. */
export interface Schedule {
  (clock: Clock): number;
  /** Its form in records, such as "cosine(0.2 to 1, 500 steps)". */
  readonly text: string;
  /** Its smallest and largest value, if they are known beforehand. */
  readonly range: readonly [low: number, high: number] | undefined;
  /** Its form in a configuration; {custom: text} if it contains a user's function. */
  readonly config: ScheduleConfig;
}

/** Users' functions by their name in a configuration, `{custom: name}`. */
export type OwnSchedules = ReadonlyMap<string, Schedule>;

/** A path from one value to another. `steps`: its length; by default that of the run. */
export interface Between {
  from: number | Schedule;
  to: number | Schedule;
  steps?: number | undefined;
}

/** Makes a schedule of any function of the clock. Records show `text`, by default the function's source. */
export function schedule(
  value: (clock: Clock) => number,
  text = value.toString(),
  range?: readonly [number, number],
): Schedule {
  return made(value, text, range, { custom: text });
}

export function constant(value: number): Schedule {
  return made(() => value, String(value), [value, value], value);
}

/** from + (to - from) t, with t from 0 to 1 over `steps`; then `to`. */
export function linear(path: Between): Schedule {
  return between(
    "linear",
    path,
    (from, to, t) => from * (1 - t) + to * t,
    (linear) => ({ linear }),
  );
}

/** to + (from - to) (1 + cos(pi t)) / 2: flat at both ends. */
export function cosine(path: Between): Schedule {
  return between(
    "cosine",
    path,
    (from, to, t) => {
      const left = (1 + Math.cos(Math.PI * t)) / 2;
      return from * left + to * (1 - left);
    },
    (cosine) => ({ cosine }),
  );
}

/**
 * from (to / from)^t: the same factor at every step.
 *
 * @throws UserError if an end is not above 0
 */
export function exponential(path: Between): Schedule {
  const positive = "an exponential schedule goes from a value above 0 to a value above 0";
  for (const end of [asSchedule(path.from), asSchedule(path.to)]) {
    if (end.range && !(end.range[0] > 0)) throw new UserError(`${positive}, not ${end.text}`);
  }
  return between(
    "exponential",
    path,
    (from, to, t) => {
      if (!(from > 0 && to > 0)) throw new UserError(`${positive}, not from ${from} to ${to}`);
      return from * (to / from) ** t;
    },
    (exponential) => ({ exponential }),
  );
}

/** `from`, multiplied by `factor` at each of the steps `at`. */
export function step(options: { from: number; at: readonly number[]; factor: number }): Schedule {
  const { from, at, factor } = options;
  const values = [...at, 0].map((_, passed) => from * factor ** passed);
  return made(
    (clock) => from * factor ** at.filter((change) => clock.step >= change).length,
    `step(${from}, times ${factor} at ${at.join(", ")})`,
    [Math.min(...values), Math.max(...values)],
    { step: { from, at: [...at], factor } },
  );
}

/**
 * Linear from `from` to the first value of `to`, over `steps`; then `to` over the rest of the run. The
 * clock of `to` starts when the warm-up ends.
 */
export function warmup(options: {
  steps: number;
  from?: number | undefined;
  to: number | Schedule;
}): Schedule {
  const { steps, from = 0 } = options;
  const to = asSchedule(options.to);
  const text = `warmup(${from}, ${steps} steps, then ${to.text})`;
  return made(
    (clock) => {
      const rest = { ...clock, steps: Math.max(1, clock.steps - steps) };
      if (clock.step >= steps) return to({ ...rest, step: clock.step - steps });
      const t = clock.step / steps;
      return from * (1 - t) + to({ ...rest, step: 0 }) * t;
    },
    text,
    to.range && [Math.min(from, to.range[0]), Math.max(from, to.range[1])],
    isOwn(to) ? { custom: text } : { warmup: { steps, from, to: to.config } },
  );
}

/**
 * Makes the schedule that a configuration describes.
 *
 * @throws UserError if it is a custom one that is not in `own`
 */
export function parseSchedule(config: ScheduleConfig, own: OwnSchedules = new Map()): Schedule {
  if (typeof config === "number") return constant(config);
  if ("linear" in config) return linear(parseBetween(config.linear, own));
  if ("cosine" in config) return cosine(parseBetween(config.cosine, own));
  if ("exponential" in config) return exponential(parseBetween(config.exponential, own));
  if ("step" in config) return step(config.step);
  if ("warmup" in config) return warmup({ ...config.warmup, to: parseSchedule(config.warmup.to, own) });
  const found = own.get(config.custom);
  if (found === undefined) {
    throw new UserError(
      `the schedule "${config.custom}" is a function, which only an experiment file can define`,
    );
  }
  return found;
}

/**
 * The same schedule, restricted to allowed values. `name` and `words` form the error message:
 * "annealing is 2; it must be above 0".
 *
 * @throws UserError for a value that is not allowed: at once if the range is known, else from the
 * returned schedule, at the first step with such a value
 */
export function within(
  inner: Schedule,
  name: string,
  words: string,
  allowed: (value: number) => boolean,
): Schedule {
  const checked = (value: number): number => {
    if (!allowed(value)) throw new UserError(`${name} is ${value} (${inner.text}); it must be ${words}`);
    return value;
  };
  inner.range?.forEach(checked);
  return made((clock) => checked(inner(clock)), inner.text, inner.range, inner.config);
}

function parseBetween({ from, to, steps }: BetweenConfig, own: OwnSchedules): Between {
  return { from: parseSchedule(from, own), to: parseSchedule(to, own), steps };
}

function made(
  value: (clock: Clock) => number,
  text: string,
  range: readonly [number, number] | undefined,
  config: ScheduleConfig,
): Schedule {
  return Object.assign((clock: Clock) => value(clock), { text, range, config });
}

function isOwn({ config }: Schedule): boolean {
  return typeof config === "object" && "custom" in config;
}

function asSchedule(value: number | Schedule): Schedule {
  return typeof value === "number" ? constant(value) : value;
}

function between(
  name: string,
  path: Between,
  value: (from: number, to: number, t: number) => number,
  config: (path: BetweenConfig) => ScheduleConfig,
): Schedule {
  const [from, to] = [asSchedule(path.from), asSchedule(path.to)];
  const { steps } = path;
  const text = `${name}(${from.text} to ${to.text}${steps === undefined ? "" : `, ${steps} steps`})`;
  const ends = from.range && to.range ? [...from.range, ...to.range] : undefined;
  return made(
    (clock) => {
      const [a, b] = [from(clock), to(clock)];
      const t = Math.min(1, clock.step / (steps ?? clock.steps));
      // Rounding must not leave the path's range: a beta of 1 + 1e-16 would be refused.
      return Math.min(Math.max(value(a, b, t), Math.min(a, b)), Math.max(a, b));
    },
    text,
    ends && [Math.min(...ends), Math.max(...ends)],
    isOwn(from) || isOwn(to)
      ? { custom: text }
      : config({ from: from.config, to: to.config, ...(steps !== undefined && { steps }) }),
  );
}
