import uPlot from "uplot";
import { count } from "../../report/format.ts";
import { type MeanPoint, overSeeds } from "../../report/over-seeds.ts";
import { FONT, faint, grid, ink, muted, paper } from "../../report/theme.ts";
import type { Point, RunState } from "../messages.ts";
import { byId, element, swatch } from "./dom.ts";
import { pluginSpecsOf, type Spec, specs } from "./specs.ts";

/** More points than this a curve are averaged in bins. */
const MOST_POINTS = 240;
/** Up to so many, each is marked. */
const MARKED = 40;
const HEIGHT = 240;
/** Half a label of the last step lies beyond the plot: so much is left for it. */
const BESIDE = 30;
/** Of a plot's series: after the steps and the level come, for each arm, its mean, low and high. */
const FIRST_ARM = 2;

/** The curves of a run: one chart for each measure that has any points, a line for each arm, over seeds with its interval. */
export class Charts {
  private readonly charts = new Map<Spec, Chart>();

  /** @param trainings the arm of each */
  constructor(
    private readonly trainings: readonly string[],
    private readonly colors: ReadonlyMap<string, string>,
  ) {}

  show(run: RunState, points: readonly (readonly Point[])[]): void {
    const arms = [...new Set(this.trainings)];
    const all = [...specs, ...pluginSpecsOf(points)];
    for (const spec of new Set([...all, ...this.charts.keys()])) {
      const curves = arms.map((arm) => {
        const own = points.filter((_, training) => this.trainings[training] === arm);
        return overSeeds(
          own.map((seed) => measured(seed, spec)),
          MOST_POINTS,
          (n) => run.reach[n] ?? 0,
        );
      });
      if (curves.every((curve) => curve.length === 0)) {
        this.charts.get(spec)?.remove();
        this.charts.delete(spec);
        continue;
      }
      let chart = this.charts.get(spec);
      if (chart === undefined) {
        chart = new Chart(spec, arms, this.colors);
        this.charts.set(spec, chart);
        byId("charts").replaceChildren(...all.flatMap((one) => this.charts.get(one)?.figure ?? []));
      }
      chart.show(curves, spec.level?.value(run) ?? null);
    }
  }

  remove(): void {
    for (const chart of this.charts.values()) chart.remove();
  }
}

class Chart {
  readonly figure: HTMLElement;
  private readonly legend = element("p", { class: "legend" });
  private readonly plot: uPlot;
  private readonly resized: ResizeObserver;

  constructor(
    private readonly spec: Spec,
    private readonly arms: readonly string[],
    private readonly colors: ReadonlyMap<string, string>,
  ) {
    const holder = element("div", { class: "plot" });
    this.figure = element(
      "figure",
      {},
      element("h3", {}, spec.title),
      this.legend,
      holder,
      element("figcaption", {}, spec.caption),
    );
    this.plot = new uPlot(this.options(), [[]], holder);
    this.resized = new ResizeObserver(() => {
      this.plot.setSize({ width: holder.clientWidth, height: HEIGHT });
    });
    this.resized.observe(holder);
  }

  /** @param level the height of the dashed line; null: none */
  show(curves: readonly (readonly MeanPoint[])[], level: number | null): void {
    const [x = [], ...ys] = uPlot.join(
      curves.map((curve) => [
        curve.map((point) => point.x),
        curve.map(({ y }) => y),
        curve.map(({ low }) => low ?? null),
        curve.map(({ high }) => high ?? null),
      ]),
    );
    const across = Array.from(x, () => level);
    this.plot.setData([x, across, ...ys]);
    this.showLegend();
  }

  remove(): void {
    this.resized.disconnect();
    this.plot.destroy();
    this.figure.remove();
  }

  private options(): uPlot.Options {
    const { spec, arms } = this;
    const colors = arms.map((arm) => this.colors.get(arm) ?? ink);
    const axis = { font: `11px ${FONT}`, stroke: muted, ticks: { show: false } };
    return {
      width: 300,
      height: HEIGHT,
      legend: { show: false },
      padding: [10, BESIDE, 0, 0],
      cursor: {
        y: false,
        drag: { x: false, y: false },
        sync: { key: "steps" },
        points: { size: 7, width: 2, fill: paper },
      },
      hooks: { setCursor: [() => this.showLegend()] },
      scales: {
        x: { time: false, range: (_, __, max) => [0, Math.max(1, max)] },
        y: spec.whole ? { range: [0, 1] } : { range: (plot) => rangeOf(plot) },
      },
      // The step axis comes second, so that its line lies over the grid's.
      axes: [
        {
          ...axis,
          scale: "y",
          side: 3,
          grid: { stroke: grid, width: 1 },
          values: (_, ticks) => ticks.map((tick) => (spec.tick ?? spec.text)(tick)),
          size: 52,
          gap: 6,
          space: 32,
        },
        {
          ...axis,
          scale: "x",
          side: 2,
          grid: { show: false },
          border: { show: true, stroke: faint, width: 1 },
          values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? count(tick) : "")),
          label: "training step",
          labelFont: axis.font,
          labelSize: 18,
          labelGap: 0,
          size: 28,
          space: 70,
        },
      ],
      series: [
        {},
        { stroke: faint, width: 1.5, dash: [5, 4], points: { show: false } },
        ...colors.flatMap((color, arm) => [
          {
            stroke: color,
            // Where curves coincide, the first one still shows around the others.
            width: 2.2 + 1.4 * (arms.length - 1 - arm),
            spanGaps: true,
            points: {
              show: (plot: uPlot, index: number) => marked(plot.data[index] ?? []),
              size: 6,
              width: 1,
              fill: color,
            },
          },
          ...[0, 1].map(() => ({ width: 0, points: { show: false } })),
        ]),
      ],
      // Between an arm's high and low, which follow its mean.
      bands: colors.map((color, arm) => ({
        series: [FIRST_ARM + 3 * arm + 2, FIRST_ARM + 3 * arm + 1],
        fill: `${color}2a`,
      })),
    };
  }

  /** The values under the cursor, or the newest ones. */
  private showLegend(): void {
    const index = this.plot.cursor.idx ?? null;
    const at = (series: uPlot.AlignedData[number]) => newestTo(series, index ?? series.length - 1);
    const [x = [], across = []] = this.plot.data;
    const values = this.arms.flatMap((arm, place) => {
      const value = at(this.plot.data[FIRST_ARM + 3 * place] ?? []);
      return value === null ? [] : [[arm, value] as const];
    });
    const level = at(across);
    const step = index === null ? undefined : x[index];
    this.legend.replaceChildren(
      ...values.map(([arm, value]) =>
        swatch(arm, this.colors.get(arm) ?? ink, element("b", {}, this.spec.text(value))),
      ),
      ...(level === null || this.spec.level === undefined
        ? []
        : [
            element(
              "span",
              { class: "level" },
              this.spec.level.name,
              element("b", {}, this.spec.text(level)),
            ),
          ]),
      ...(step === undefined || step === null ? [] : [element("span", {}, `at step ${count(step)}`)]),
    );
  }
}

/** One training's curve. */
function measured(points: readonly Point[], { value }: Spec) {
  return points.flatMap((point) => {
    const y = value(point);
    return y === undefined ? [] : [{ x: point.step, y }];
  });
}

/** What holds the curves and the level; a wide interval of few seeds stretches it by half to either side at most. */
function rangeOf({ data: [, across = [], ...series] }: uPlot): [number, number] {
  const known = (values: uPlot.AlignedData[number]) => Array.from(values).filter((value) => value != null);
  const of = (place: number) => series.filter((_, index) => index % 3 === place).flatMap(known);
  const means = [...of(0), ...known(across)];
  if (means.length === 0) return [0, 1];
  const [low, high] = [Math.min(...means), Math.max(...means)];
  const reach = (high - low || Math.abs(high) / 10) / 2;
  const least = Math.max(Math.min(low, ...of(1)), low - reach);
  const most = Math.min(Math.max(high, ...of(2)), high + reach);
  const [from, to] = uPlot.rangeNum(least, most, 0.1, true);
  return [from ?? least, to ?? most];
}

function newestTo(series: uPlot.AlignedData[number], index: number): number | null {
  for (let i = index; i >= 0; i--) {
    const value = series[i];
    if (value !== null && value !== undefined) return value;
  }
  return null;
}

function marked(series: uPlot.AlignedData[number]): boolean {
  let values = 0;
  for (const value of series) if (value !== null && value !== undefined) values++;
  return values <= MARKED;
}
