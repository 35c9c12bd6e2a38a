import type { z } from "zod";
import { isGroup, overlay } from "../config/overlay.ts";
import type { ScheduleConfig } from "../config/schedule.ts";
import type { config } from "../config/schema.ts";
import { UserError } from "../errors.ts";
import type { Values } from "../plugins/registry.ts";
import { CUSTOM, type PluginFactory } from "../plugins/registry.ts";
import type { Schedule } from "../schedules/schedule.ts";
import { fileName } from "./invocation.ts";

type Input = z.input<typeof config>;

/**
 * The settings of docs/configuration.md. A schedule may also be a Schedule object, and `plugin.kind` may
 * be a function that makes the plugin.
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

/** The names of settings as in overrides, such as "plugin.forgetting.retention". */
export type SettingName = NamesIn<Settings>;

type NamesIn<T> = {
  [K in keyof T & string]-?: unknown extends T[K]
    ? K
    : IsGroup<NonNullable<T[K]>> extends true
      ? `${K}.${NamesIn<NonNullable<T[K]>>}`
      : K;
}[keyof T & string];

/** A union with a member that is not an object, such as a schedule with its number, is a value, not a group. */
type IsGroup<T> = [T] extends [object] ? ([T] extends [readonly unknown[]] ? false : true) : false;

/** The type of a setting's value. */
export type SettingValue<Name extends string, In = Settings> = Name extends `${infer Group}.${infer Rest}`
  ? Group extends keyof In
    ? SettingValue<Rest, NonNullable<In[Group]>>
    : never
  : Name extends keyof In
    ? In[Name]
    : never;

/** Settings in the form of a record, and the functions that a record can only name. */
export interface Described {
  record: unknown;
  values: Values;
}

/** Converts settings to a record. @throws UserError if a function is not allowed, or if two have the same name */
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
        `${path} is a function; if a schedule is allowed here, write schedule(f, "what it does")`,
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

/** JavaScript's names of anonymous functions: of a value, an `export default`, the value of `kind`. */
const UNNAMED: readonly string[] = ["", "default", "kind"];

/** The name of a plugin's factory in records: its own, or that of the experiment file if it is anonymous. */
export function factoryName({ name }: PluginFactory): string {
  return UNNAMED.includes(name) ? (fileName() ?? "plugin") : name;
}

/** Registers a function under its name in records. @throws UserError if another function has that name */
export function named<T>(known: Map<string, T>, name: string, value: T): void {
  const other = known.get(name) ?? value;
  if (other !== value) {
    throw new UserError(`two functions are called "${name}": records cannot tell them apart, rename one`);
  }
  known.set(name, value);
}

/** Merges an arm's settings over those of all arms. */
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
