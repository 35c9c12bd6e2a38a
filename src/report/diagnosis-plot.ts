import type { TopLevelSpec } from "vega-lite";
import { renderChart } from "./chart.ts";
import { escapeXml } from "./format.ts";
import { figure, htmlPage } from "./layout.ts";
import { sideBySide, toPng } from "./picture.ts";
import { armColors, muted, paper } from "./theme.ts";

/** Published uniqueness of trained models (arXiv 2510.20108), and the positions of labels. */
const PUBLISHED = [
  { epsilon: 0.025, share: 0.0125, name: "DINO 1.5 %, DINOv2 1.0 %", shares: [0.015, 0.01] },
  { epsilon: 0.025, share: 0.108, name: "CARP 10.8 %", shares: [0.108] },
  { epsilon: 0.025, share: 0.9995, name: "CAPI 99.9 %\ndecoupled CARP 100 %", shares: [0.999, 1] },
  { epsilon: 0.5, share: 0.39, name: "CAPI 39 %", shares: [0.39] },
];

const PANEL = { width: 440, height: 280 };
const BINS = 40;
const color = armColors(["decoupled"]).get("decoupled") ?? muted;

/** The content of a diagnosis's figure. */
export interface DiagnosisPicture {
  /** The name of the checkpoint or file. */
  title: string;
  words: string;
  table: string;
  /** [epsilon, share], ascending. */
  unique: readonly (readonly [number, number])[];
  /** Likewise, if use is known. */
  distinctUsed?: readonly (readonly [number, number])[];
  /** Cosine distance of each prototype to its nearest other one. */
  nearest: ArrayLike<number>;
}

/** The file formats of `drawDiagnosis`. */
export const pictureForms: readonly string[] = [".svg", ".png", ".html"];

/** Draws uniqueness over epsilon with published values, and the histogram of nearest distances, as a file's content. */
export async function drawDiagnosis(content: DiagnosisPicture, form: string): Promise<string | Uint8Array> {
  const { title, words, table, nearest } = content;
  const panels: [string, string] = [
    await renderChart(epsilonSpec(content)),
    await renderChart(histogramSpec(nearest)),
  ];
  if (form === ".html") {
    const figures = [
      figure(
        "Unique at any distance",
        "",
        panels[0],
        `The further to the right the curve stays high, the further apart the prototypes lie; circles are published models.${content.distinctUsed === undefined ? "" : " Dashed: only prototypes that win an embedding."}`,
      ),
      figure(
        "Nearest neighbours",
        "",
        panels[1],
        "Cosine distance of each prototype to its nearest neighbour: a peak at 0 means copies.",
      ),
    ];
    const head = `<header><p class="kind">mixhead diagnosis</p><h1>${escapeXml(title)}</h1><p class="finding">${escapeXml(words)}</p></header>`;
    return htmlPage(
      title,
      `${head}<pre>${escapeXml(table)}</pre><div class="figures">${figures.join("")}</div>`,
    );
  }
  const svg = sideBySide(title, panels, PANEL);
  return form === ".png" ? toPng(svg) : svg;
}

function epsilonSpec({
  unique,
  distinctUsed = [],
}: Pick<DiagnosisPicture, "unique" | "distinctUsed">): TopLevelSpec {
  const x = {
    field: "epsilon",
    type: "quantitative" as const,
    title: "cosine distance that counts as different (log scale)",
    scale: { type: "log" as const, nice: false },
    axis: { format: "~g", values: [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1] },
  };
  const y = {
    field: "share",
    type: "quantitative" as const,
    title: `unique prototypes; ${distinctUsed.length === 0 ? "" : "dashed: and used; "}circles: published`,
    scale: { domain: [0, 1] },
    axis: { format: ".0%", tickCount: 5 },
  };
  const circles = PUBLISHED.flatMap(({ epsilon, shares }) => shares.map((share) => ({ epsilon, share })));
  const labels = PUBLISHED.map(({ epsilon, share, name }) => ({ epsilon, share, name }));
  return {
    ...PANEL,
    autosize: { type: "fit", contains: "padding" },
    layer: [
      ...[{ stroke: paper, strokeWidth: 3, color: paper }, { color: muted }].map((style) => ({
        data: { values: labels },
        mark: {
          type: "text" as const,
          fontSize: 10,
          align: "left" as const,
          lineBreak: "\n",
          dx: 8,
          dy: { expr: "datum.share > 0.9 ? 13 : -5" },
          ...style,
        },
        encoding: { x, y, text: { field: "name" } },
      })),
      {
        data: { values: distinctUsed.map(([epsilon, share]) => ({ epsilon, share })) },
        mark: { type: "line", color, strokeDash: [6, 4] },
        encoding: { x, y },
      },
      {
        data: { values: unique.map(([epsilon, share]) => ({ epsilon, share })) },
        mark: { type: "line", color },
        encoding: { x, y },
      },
      {
        data: { values: circles },
        mark: { type: "point", color: muted, fill: paper, fillOpacity: 1, size: 34, strokeWidth: 1.4 },
        encoding: { x, y },
      },
    ],
  };
}

function histogramSpec(nearest: ArrayLike<number>): TopLevelSpec {
  const values = Array.from(nearest).filter(Number.isFinite);
  const top = values.reduce((most, value) => Math.max(most, Math.ceil(value * 10) / 10), 0.1);
  const bins = new Float64Array(BINS);
  for (const value of values) {
    const bin = Math.min(BINS - 1, Math.floor((value / top) * BINS));
    bins[bin] = (bins[bin] ?? 0) + 1 / values.length;
  }
  return {
    ...PANEL,
    autosize: { type: "fit", contains: "padding" },
    data: {
      values: Array.from(bins, (share, bin) => ({
        from: (bin * top) / BINS,
        to: ((bin + 1) * top) / BINS,
        share,
      })),
    },
    mark: { type: "rect", color, stroke: paper, strokeWidth: 0.8 },
    encoding: {
      x: {
        field: "from",
        type: "quantitative",
        scale: { domain: [0, top], nice: false },
        title: "cosine distance to the nearest other prototype",
        axis: { tickCount: 6, format: "~g" },
      },
      x2: { field: "to" },
      y: {
        field: "share",
        type: "quantitative",
        title: `share of prototypes, in bins of ${(top / BINS).toPrecision(2)}`,
        axis: { format: ".0%", tickCount: 5 },
      },
    },
  };
}
