import { Error as ErrorLevel, parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import { chartConfig } from "./theme.ts";

/** Draws a Vega-Lite chart as SVG in the theme of the reports, without a browser. */
export async function renderChart(spec: TopLevelSpec): Promise<string> {
  const compiled = compile(spec, { config: chartConfig }).spec;
  const view = new View(parse(compiled), { renderer: "none", logLevel: ErrorLevel });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}
