import uPlot from "uplot";
import { count, percent } from "../../report/format.ts";
import { FONT, faint, grid, ink, muted, paper } from "../../report/theme.ts";
import type { Point, RunState } from "../messages.ts";
import { byId, element, swatch } from "./dom.ts";

/** What one chart shows of each training. */
interface Spec {
  title: string;
  caption: string;
  value(point: Point): number | undefined;
  text(value: number): string;
  /** At the axis; as `text` where it is left out. */
  tick?(value: number): string;
  /** A share, drawn from 0 to 1. */
  whole?: boolean;
  /** A level of the run, drawn across. */
  level?: { name: string; value(run: RunState): number | null };
}

const specs: Spec[] = [
  {
    title: "k-NN accuracy",
    caption: "Of a vote of the 20 nearest training images, on the frozen teacher's features.",
    value: ({ knn }) => knn,
    text: (value) => percent(value, 1),
    tick: (value) => percent(value, 0),
    level: { name: "untrained", value: ({ untrained }) => untrained },
  },
  {
    title: "Loss",
    caption: "Arms have targets of their own, so compare the shapes of their losses, not the heights.",
    value: ({ loss }) => loss,
    text: (value) => value.toFixed(2),
  },
  {
    title: "Unique at 0.25",
    caption: "Share of prototypes that are left when those within a cosine distance of 0.25 count once.",
    value: ({ unique25 }) => unique25,
    text: (value) => percent(value),
    tick: (value) => percent(value, 0),
    whole: true,
  },
  {
    title: "Unique at 0.5",
    caption: "The same at 0.5, where only prototypes that point to clearly different places count as two.",
    value: ({ unique5 }) => unique5,
    text: (value) => percent(value),
    tick: (value) => percent(value, 0),
    whole: true,
  },
  {
    title: "Used prototypes",
    caption:
      "Share of prototypes that win at least one training image: an unused one is distinct, and useless.",
    value: ({ used }) => used,
    text: (value) => percent(value),
    tick: (value) => percent(value, 0),
    whole: true,
  },
  {
    title: "Spread of the embeddings",
    caption:
      "1 minus the length of their mean: 0 where all lie at one point, near 1 where they fill the sphere.",
    value: ({ spread }) => spread,
    text: (value) => value.toFixed(2),
    whole: true,
  },
  {
    title: "Entropy of the responsibilities",
    caption: "In nats, of the mixture's arms: 0 where each embedding belongs to one component.",
    value: ({ entropy }) => entropy,
    text: (value) => value.toFixed(2),
  },
];

/** More points than this a curve are averaged in bins. */
const MOST_POINTS = 240;
/** Up to so many, each is marked. */
const MARKED = 40;
const HEIGHT = 240;

/** The curves of a run: one chart for each measure that has any points, a line for each training. */
export class Charts {
  private readonly charts = new Map<Spec, Chart>();

  constructor(
    private readonly arms: readonly string[],
    private readonly colors: ReadonlyMap<string, string>,
  ) {}

  show(run: RunState, trainings: readonly (readonly Point[])[]): void {
    for (const spec of specs) {
      const curves = trainings.map((points) => curve(points, spec));
      if (curves.every(([x]) => x.length === 0)) {
        this.charts.get(spec)?.remove();
        this.charts.delete(spec);
        continue;
      }
      let chart = this.charts.get(spec);
      if (chart === undefined) {
        chart = new Chart(spec, this.arms, this.colors);
        this.charts.set(spec, chart);
        byId("charts").replaceChildren(...specs.flatMap((one) => this.charts.get(one)?.figure ?? []));
      }
      chart.show(curves, spec.level?.value(run) ?? null);
    }
  }

  remove(): void {
    for (const chart of this.charts.values()) chart.remove();
  }
}

type Curve = [x: number[], y: number[]];

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

  /** @param level what the dashed line across is at; null: there is none */
  show(curves: readonly Curve[], level: number | null): void {
    const [x = [], ...ys] = uPlot.join(curves.map(([xs, ys]) => [xs, ys]));
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
    const { spec } = this;
    const names = [...new Set(this.arms)];
    // Where curves coincide, the first one still shows around the others; seeds of an arm are thin lines.
    const width = (arm: string) =>
      names.length < this.arms.length ? 1.5 : 2.2 + 1.4 * (names.length - 1 - names.indexOf(arm));
    const axis = { font: `11px ${FONT}`, stroke: muted, ticks: { show: false } };
    return {
      width: 300,
      height: HEIGHT,
      legend: { show: false },
      padding: [10, 12, 0, 0],
      cursor: {
        y: false,
        drag: { x: false, y: false },
        sync: { key: "steps" },
        points: { size: 7, width: 2, fill: paper },
      },
      hooks: { setCursor: [() => this.showLegend()] },
      scales: {
        x: { time: false, range: (_, __, max) => [0, Math.max(1, max)] },
        y: spec.whole
          ? { range: [0, 1] }
          : { range: (_, min, max) => (min === null ? [0, 1] : uPlot.rangeNum(min, max, 0.1, true)) },
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
        ...this.arms.map((arm) => ({
          stroke: this.colors.get(arm) ?? ink,
          width: width(arm),
          spanGaps: true,
          points: {
            show: (plot: uPlot, index: number) => marked(plot.data[index] ?? []),
            size: 6,
            width: 1,
            fill: this.colors.get(arm) ?? ink,
          },
        })),
      ],
    };
  }

  /** The values under the cursor, or the newest ones. */
  private showLegend(): void {
    const index = this.plot.cursor.idx ?? null;
    const at = (series: uPlot.AlignedData[number]) => newestTo(series, index ?? series.length - 1);
    const [x = [], across = [], ...ys] = this.plot.data;
    const values = new Map<string, number[]>();
    ys.forEach((series, training) => {
      const arm = this.arms[training] ?? "";
      const value = at(series);
      if (value !== null) values.set(arm, [...(values.get(arm) ?? []), value]);
    });
    const level = at(across);
    const text = (numbers: number[]) => this.spec.text(numbers.reduce((a, b) => a + b, 0) / numbers.length);
    const step = index === null ? undefined : x[index];
    this.legend.replaceChildren(
      ...[...values].map(([arm, numbers]) =>
        swatch(arm, this.colors.get(arm) ?? ink, element("b", {}, text(numbers))),
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

/** The measured values of one training, averaged over bins of equally many where there are many. */
function curve(points: readonly Point[], { value }: Spec): Curve {
  const measured = points.flatMap((point) => {
    const y = value(point);
    return y === undefined ? [] : [{ x: point.step, y }];
  });
  const bin = Math.ceil(measured.length / MOST_POINTS);
  if (bin <= 1) return [measured.map(({ x }) => x), measured.map(({ y }) => y)];
  const starts = Array.from({ length: Math.ceil(measured.length / bin) }, (_, index) => index * bin);
  const mean = (of: (one: { x: number; y: number }) => number) =>
    starts.map((start) => {
      const part = measured.slice(start, start + bin);
      return part.reduce((sum, one) => sum + of(one), 0) / part.length;
    });
  return [mean(({ x }) => x), mean(({ y }) => y)];
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
