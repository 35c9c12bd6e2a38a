// What experiment files and plugins import: `import { compare, cosine } from "mixhead"`.
export * as tf from "@tensorflow/tfjs-core";
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
export { geometryInUse, uniqueness } from "./metrics/uniqueness.ts";
export { usage } from "./metrics/usage.ts";
export type { Components } from "./plugins/online-gmm/components.ts";
export {
  type Covariance,
  diagonal as diagonalCovariance,
  shared as sharedCovariance,
  spherical as sphericalCovariance,
} from "./plugins/online-gmm/covariance.ts";
export {
  type Assign,
  type EStep,
  hard as hardEStep,
  soft as softEStep,
} from "./plugins/online-gmm/e-step.ts";
export { byNothing, byResponsibility, byTime, type Forgetting } from "./plugins/online-gmm/forgetting.ts";
export { begin as beginComponents, type Start as ComponentsStart } from "./plugins/online-gmm/init.ts";
export { accumulate, estimate } from "./plugins/online-gmm/m-step.ts";
export { type Sums as BatchSums, sumsOf as batchSums } from "./plugins/online-gmm/statistics.ts";
export type { NamedTensors, PrototypePlugin, StepResult } from "./plugins/plugin.ts";
export { directions, generator } from "./plugins/random.ts";
export { type BuiltIn, createPlugin, type PluginFactory, type PluginOptions } from "./plugins/registry.ts";
export { tensorboard } from "./report/tensorboard.ts";
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
