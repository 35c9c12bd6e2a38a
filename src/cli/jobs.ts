import { wholeNumber } from "./whole-number.ts";

/** The option that says how many trainings go on at once. */
export const JOBS = [
  "--jobs <n>",
  "trainings at once (default: one for each GPU, or else for each core)",
  wholeNumber(1, 1024),
] as const;
