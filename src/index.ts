// What experiment files and plugins import: `import { compare, cosine } from "mixhead"`.
export {
  compare,
  type ExperimentOptions,
  experiment,
  sweep,
  type Vary,
} from "./api/experiment.ts";
export type { LoopAnswer, PrototypeRows, TargetRows } from "./api/loop-answer.ts";
export type { ExperimentResult } from "./api/result.ts";
export { openSession, type Session, type SessionOptions, type SessionStep } from "./api/session.ts";
export type { SettingName, Settings } from "./api/settings.ts";
export { RunError, UserError } from "./errors.ts";
export type { MetricsHook } from "./experiment/hooks.ts";
export type { MetricsLine } from "./experiment/metrics-log.ts";
export type { ArmSummary, Difference, Summary, TrainingFigures } from "./experiment/summary.ts";
export { tensorboard } from "./experiment/tensorboard.ts";
export { geometryInUse, uniqueness } from "./metrics/uniqueness.ts";
export { usage } from "./metrics/usage.ts";
export * from "./plugins/index.ts";
export {
  type Clock,
  constant,
  cosine,
  exponential,
  linear,
  type Schedule,
  schedule,
  step,
  warmup,
} from "./schedules/schedule.ts";
