/** The clock of a run, as schedules and plugins see it. */
export interface Clock {
  /** Steps taken before this one: 0, 1, ... */
  step: number;
  /** Length of the run's schedules in steps (`train.steps`), at least 1. */
  steps: number;
  /** Passes over the training set that are complete: floor(step * batch / images). */
  epoch: number;
}
