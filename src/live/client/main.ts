import { armColors } from "../../report/theme.ts";
import type { Point, Points, RunState } from "../messages.ts";
import { showArms, showRun, showWarnings } from "./cards.ts";
import { Charts } from "./charts.ts";
import { byId } from "./dom.ts";

/** An answer that is no stream of events ends an EventSource for good: a new one is tried so often. */
const RETRY_MS = 2000;

let run: RunState | undefined;
let points: Point[][] = [];
let charts: Charts | undefined;
let scheduled = false;

function connect(): void {
  const events = new EventSource("/events");
  events.addEventListener("open", () => byId("lost").setAttribute("hidden", ""));
  events.addEventListener("error", () => {
    byId("lost").removeAttribute("hidden");
    if (events.readyState === EventSource.CLOSED) setTimeout(connect, RETRY_MS);
  });
  // The page and its server share src/live/messages.ts, so messages are not checked.
  events.addEventListener("run", ({ data }) => takeRun(JSON.parse(data)));
  events.addEventListener("points", ({ data }) => takePoints(JSON.parse(data)));
}

function takeRun(next: RunState): void {
  if (String(next.trainings) !== String(run?.trainings)) {
    charts?.remove();
    charts = new Charts(next.trainings, armColors(next.arms.map(({ name }) => name)));
    points = next.trainings.map(() => []);
  }
  run = next;
  schedule();
}

function takePoints({ training, from, points: fresh }: Points): void {
  points[training] = [...(points[training] ?? []).slice(0, from), ...fresh];
  schedule();
}

/** Draws once for all that arrives together. */
function schedule(): void {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    draw();
  });
}

function draw(): void {
  if (run === undefined) return;
  const colors = armColors(run.arms.map(({ name }) => name));
  showRun(run);
  showWarnings(run, colors);
  showArms(run, colors);
  charts?.show(run, points);
}

connect();
