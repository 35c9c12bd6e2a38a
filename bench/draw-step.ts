import type { TopLevelSpec } from "vega-lite";
import { readTrace } from "../src/experiment/trace.ts";
import { writeAtomic } from "../src/files/atomic.ts";
import { renderChart } from "../src/report/chart.ts";
import { toPng } from "../src/report/picture.ts";
import { ink, paper } from "../src/report/theme.ts";
import { type Lane, type Span, stepsOf, timesOf } from "./steps.ts";

const LANES: readonly Lane[] = ["rank", "device", "device, other stream", "Node"];
const LANE_TITLES: Record<Lane, string> = {
  rank: "rank, Python",
  device: "GPU",
  "device, other stream": "GPU, mixture",
  Node: "Node",
};
const COLORS: Readonly<Record<string, string>> = {
  load: "#c9d1da",
  augment: "#9fb3c8",
  teacher: "#56b4e9",
  announce: "#7b5ea7",
  student: "#0072b2",
  wait: "#d55e00",
  program: "#009e73",
  loss: "#1b2430",
  queue: "#009e73",
  answer: "#b8dccf",
};
interface Panel {
  title: string;
  spans: Span[];
  began: number;
  /** Milliseconds. */
  length: number;
}

/**
 * Draws the step of median length of each trace, "TITLE=FILE", one below the other on the same time scale.
 * `out`: an .svg or a .png.
 */
export async function drawSteps(traces: readonly string[], out: string): Promise<void> {
  const panels: Panel[] = [];
  for (const named of traces) {
    const [title = "", file = title] = named.split("=");
    panels.push(middleStep(title, stepsOf(await readTrace(file))));
  }
  const svg = await renderChart(chart(panels));
  await writeAtomic(out, [out.endsWith(".png") ? toPng(svg) : svg]);
}

function middleStep(title: string, steps: Map<number, Span[]>): Panel {
  const whole = [...steps.values()].flatMap((spans) => {
    const step = spans.find(({ name, lane }) => name === "step" && lane === "rank");
    const times = timesOf(spans);
    return step && times ? [{ title, spans, began: step.began, length: times.step }] : [];
  });
  const sorted = whole.slice(Math.floor(whole.length / 4)).sort((a, b) => a.length - b.length);
  const middle = sorted[sorted.length >> 1];
  if (middle === undefined) throw new Error(`${title}: the trace has no whole step`);
  return middle;
}

function chart(panels: readonly Panel[]): TopLevelSpec {
  const end = Math.max(...panels.map(({ length }) => length));
  const last = panels.at(-1);
  const drawn = panels.map((panel) => panelSpec(panel, end, panel === last ? "ms" : null));
  return { vconcat: drawn, spacing: 14, background: paper };
}

function holdsName({ name, began, ended }: Span, end: number): boolean {
  return (ended - began) / 1e3 > 0.01 * end * name.length;
}

function liesWithin(inner: Span, outer: Span): boolean {
  const both = inner !== outer && inner.lane === outer.lane;
  return both && inner.began >= outer.began && inner.ended <= outer.ended;
}

function panelSpec({ title, spans, began, length }: Panel, end: number, unit: string | null) {
  const shown = spans.filter(({ name }) => COLORS[name] !== undefined);
  const drawn = shown
    // Spans within another are drawn after it, and the outer one is not labelled.
    .toSorted((a, b) => b.ended - b.began - (a.ended - a.began))
    .map((span) => ({
      name: span.name,
      lane: LANE_TITLES[span.lane],
      from: (span.began - began) / 1e3,
      to: Math.min((span.ended - began) / 1e3, end),
      label: holdsName(span, end) && !shown.some((other) => liesWithin(other, span)) ? span.name : "",
    }));
  const lanes = LANES.map((lane) => LANE_TITLES[lane]).filter((lane) =>
    drawn.some((span) => span.lane === lane),
  );
  const x = {
    field: "from",
    type: "quantitative" as const,
    scale: { domain: [0, end], nice: false },
    axis: { title: unit, tickCount: 8 },
  };
  const y = { field: "lane", type: "nominal" as const, sort: lanes, axis: { title: null, labelLimit: 200 } };
  return {
    title: {
      text: `${title}: ${length.toFixed(length < 100 ? 1 : 0)} ms`,
      anchor: "start" as const,
      color: ink,
      fontSize: 13,
    },
    width: 760,
    height: 30 * lanes.length,
    data: { values: drawn },
    layer: [
      {
        mark: { type: "bar" as const, height: 22 },
        encoding: {
          x,
          x2: { field: "to" },
          y,
          color: {
            field: "name",
            type: "nominal" as const,
            scale: { domain: Object.keys(COLORS), range: Object.values(COLORS) },
            legend: null,
          },
        },
      },
      {
        mark: { type: "text" as const, align: "left" as const, dx: 4, color: paper, fontSize: 10.5 },
        encoding: { x, y, text: { field: "label" } },
      },
    ],
  };
}
