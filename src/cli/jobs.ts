import { wholeNumber } from "./whole-number.ts";

/** The option for the number of trainings that run at once. */
export const JOBS = [
  "--jobs <n>",
  "trainings that run at once (default: one per GPU, or without GPUs one per core)",
  wholeNumber(1, 1024),
] as const;
