import type { z } from "zod";
import { isGroup, overlay } from "../config/overlay.ts";
import type { config, ScheduleConfig } from "../config/schema.ts";
import { UserError } from "../errors.ts";
import type { Values } from "../experiment/values.ts";
import { CUSTOM, type PluginFactory } from "../plugins/registry.ts";
import type { Schedule } from "../schedules/schedule.ts";
import { fileName } from "./invocation.ts";

type Input = z.input<typeof config>;

/**
 * The settings of docs/configuration.md. Where a schedule may stand, a Schedule of the schedules'
 * functions may; and `plugin.kind` may be a function that makes the plugin.
 */
export type Settings = WithSchedules<Omit<Input, "plugin">> & {
  plugin?: WithSchedules<Omit<NonNullable<Input["plugin"]>, "kind">> & { kind?: string | PluginFactory };
};

type WithSchedules<T> = [ScheduleConfig] extends [T]
  ? T | Schedule
  : T extends readonly unknown[]
    ? T
    : T extends object
      ? { [K in keyof T]: WithSchedules<T[K]> }
      : T;

/** The names of settings as overrides write them, such as "plugin.forgetting.retention". */
export type SettingName = NamesIn<Settings>;

type NamesIn<T> = {
  [K in keyof T & string]-?: unknown extends T[K]
    ? K
    : IsGroup<NonNullable<T[K]>> extends true
      ? `${K}.${NamesIn<NonNullable<T[K]>>}`
      : K;
}[keyof T & string];

/** A union with something in it that is no object, such as a schedule with its number, is a value. */
type IsGroup<T> = [T] extends [object] ? ([T] extends [readonly unknown[]] ? false : true) : false;

/** What a setting may be. */
export type SettingValue<Name extends string, In = Settings> = Name extends `${infer Group}.${infer Rest}`
  ? Group extends keyof In
    ? SettingValue<Rest, NonNullable<In[Group]>>
    : never
  : Name extends keyof In
    ? In[Name]
    : never;

/** Settings as a record can hold them, and the functions that it can only name. */
export interface Described {
  record: unknown;
  values: Values;
}

/** @throws UserError where a function stands where none may, or two have one name. */
export function describeSettings(settings: unknown): Described {
  const schedules = new Map<string, Schedule>();
  let factory: PluginFactory | undefined;
  const recorded = (value: unknown, path: string): unknown => {
    if (isSchedule(value)) {
      if (typeof value.config === "object" && "custom" in value.config) named(schedules, value.text, value);
      return value.config;
    }
    if (typeof value === "function" && path === "plugin.kind" && isFactory(value)) {
      factory = value;
      return `${CUSTOM}${factoryName(value)}`;
    }
    if (typeof value === "function") {
      throw new UserError(
        `${path} is a function; where a schedule may stand, write schedule(f, "what it does")`,
      );
    }
    if (!isGroup(value)) return value;
    return Object.fromEntries(
      Object.entries(value)
        .filter(([, inner]) => inner !== undefined)
        .map(([key, inner]) => [key, recorded(inner, path === "" ? key : `${path}.${key}`)]),
    );
  };
  const record = recorded(settings, "");
  return { record, values: { schedules, factory } };
}

/** What JavaScript calls a function that nobody has named: a value, an `export default`, the value of `kind`. */
const UNNAMED: readonly string[] = ["", "default", "kind"];

/** What records call a plugin's factory: its name, or the experiment file's where it has none. */
export function factoryName({ name }: PluginFactory): string {
  return UNNAMED.includes(name) ? (fileName() ?? "plugin") : name;
}

/** Notes what a record will call a function. @throws UserError where another function has that name already. */
export function named<T>(known: Map<string, T>, name: string, value: T): void {
  const other = known.get(name) ?? value;
  if (other !== value) {
    throw new UserError(`two functions are called "${name}": records could not tell them apart, rename one`);
  }
  known.set(name, value);
}

/** An arm's settings laid over those of all arms. */
export function overlayDescribed(under: Described, over: Described): Described {
  const schedules = new Map(under.values.schedules);
  for (const [name, schedule] of over.values.schedules) named(schedules, name, schedule);
  return {
    record: overlay(under.record, over.record),
    values: { schedules, factory: over.values.factory ?? under.values.factory },
  };
}

export function isSchedule(value: unknown): value is Schedule {
  return typeof value === "function" && "text" in value && "config" in value;
}

function isFactory(value: unknown): value is PluginFactory {
  return typeof value === "function";
}
