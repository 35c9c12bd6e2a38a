import type { Figure } from "../figure.ts";
import { backends } from "./backends.ts";
import { em } from "./em.ts";
import { head } from "./head.ts";
import { memory, peak } from "./memory.ts";
import { train } from "./train.ts";
import { views } from "./views.ts";
import { wire } from "./wire.ts";

/** The figures, by their names in `npm run bench`. */
export const figures: Readonly<Record<string, Figure>> = {
  head,
  em,
  train,
  wire,
  memory,
  peak,
  backends,
  views,
};
