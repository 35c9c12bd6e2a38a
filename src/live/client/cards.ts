import { count, duration, percent } from "../../report/format.ts";
import type { ArmState, RunState } from "../messages.ts";
import { byId, element, swatch } from "./dom.ts";

/** The head of the page: the run's state and the time that is left. */
export function showRun(run: RunState): void {
  const parts = [
    run.state === "waiting" ? "waiting for the first measurement" : run.state,
    run.secondsLeft === null ? null : `about ${duration(run.secondsLeft)} left`,
    ["stopped", "failed"].includes(run.state) ? `continue with: ${run.wayOn}` : null,
  ];
  byId("state").replaceChildren(
    element("i", { class: `light ${run.state}` }),
    parts.filter((part) => part !== null).join(" · "),
  );
  byId("seeds").toggleAttribute("hidden", !run.arms.some(({ seeds }) => seeds > 1));
  document.title = `${run.state} · ${run.name} · mixhead`;
}

/** Failures, warnings and notes, the gravest first. */
export function showWarnings(run: RunState, colors: ReadonlyMap<string, string>): void {
  const found = run.arms.flatMap(({ name, warnings }) => warnings.map((warning) => ({ name, ...warning })));
  const failed = run.arms.flatMap(({ name, failures }) =>
    failures.map((text) =>
      element("li", { class: "failure" }, swatch(name, colors.get(name) ?? ""), ` Failed: ${text}`),
    ),
  );
  const items = found
    .sort((a, b) => Number(a.level === "note") - Number(b.level === "note"))
    .map(({ name, level, step, text }) =>
      element(
        "li",
        { class: level },
        swatch(name, colors.get(name) ?? ""),
        ` ${text} `,
        element("small", {}, `step ${count(step)}`),
      ),
    );
  if (run.unreadable > 0) {
    const lines = run.unreadable === 1 ? "One line" : `${count(run.unreadable)} lines`;
    items.push(element("li", { class: "note" }, `${lines} of metrics.jsonl could not be read.`));
  }
  byId("warnings").replaceChildren(...failed, ...items);
}

/** A card for each arm: its progress and newest figures. */
export function showArms(run: RunState, colors: ReadonlyMap<string, string>): void {
  byId("arms").replaceChildren(
    ...run.arms.map((arm) => card(arm, run.untrained, colors.get(arm.name) ?? "")),
  );
}

function card(arm: ArmState, untrained: number | null, color: string): HTMLElement {
  const { knn, distinctUsed5, unique5, used, loss } = arm.figures;
  const share = arm.steps === 0 ? 0 : arm.step / arm.steps;
  const left =
    arm.state === "running" && arm.secondsLeft !== null ? ` · ${duration(arm.secondsLeft)} left` : "";
  const seeds = arm.seeds > 1 ? ` · ${arm.seeds} seeds` : "";
  return element(
    "article",
    { class: "card", style: `--arm:${color}` },
    element("h3", {}, swatch(arm.name, color), element("small", {}, arm.state)),
    element("div", { class: "progress" }, element("i", { style: `width:${(100 * share).toFixed(1)}%` })),
    element("p", { class: "steps" }, `step ${count(arm.step)} of ${count(arm.steps)}${seeds}${left}`),
    element(
      "dl",
      {},
      figure("k-NN accuracy", shareText(knn, 1), gain(knn, untrained)),
      figure("distinct and used at 0.5", shareText(distinctUsed5)),
      figure("unique at 0.5", shareText(unique5)),
      figure("used", shareText(used)),
      figure("loss", loss === null ? "–" : loss.toFixed(2)),
    ),
  );
}

function figure(name: string, value: string, more: string | null = null): HTMLElement {
  return element(
    "div",
    {},
    element("dt", {}, name),
    element("dd", {}, value),
    more === null ? null : element("dd", { class: "more" }, more),
  );
}

function shareText(share: number | null, digits?: number): string {
  return share === null ? "–" : percent(share, digits);
}

function gain(knn: number | null, untrained: number | null): string | null {
  if (knn === null || untrained === null) return null;
  const points = Number((100 * (knn - untrained)).toFixed(1));
  return `${points < 0 ? "−" : "+"}${Math.abs(points).toFixed(1)} points over the untrained encoder`;
}
