import { percent } from "../../report/format.ts";
import type { Point, RunState } from "../messages.ts";

/** What one chart shows of each training. */
export interface Spec {
  title: string;
  caption: string;
  value(point: Point): number | undefined;
  text(value: number): string;
  /** At the axis; default: `text`. */
  tick?(value: number): string;
  /** A share, drawn from 0 to 1. */
  whole?: boolean;
  /** A level of the run, drawn across. */
  level?: { name: string; value(run: RunState): number | null };
}

/** The charts in their order on the page. */
export const specs: readonly Spec[] = [
  {
    title: "k-NN accuracy",
    caption: "A vote of the 20 nearest training images, on the frozen teacher's features.",
    value: ({ knn }) => knn,
    text: (value) => percent(value, 1),
    tick: (value) => percent(value, 0),
    level: { name: "untrained", value: ({ untrained }) => untrained },
  },
  {
    title: "Distinct and used at 0.5",
    caption:
      "Share of prototypes that win at least one training image; those within a cosine distance of 0.5 of each other count once.",
    value: ({ distinctUsed5 }) => distinctUsed5,
    text: (value) => percent(value),
    tick: (value) => percent(value, 0),
    whole: true,
  },
  {
    title: "Loss",
    caption: "Each arm has its own targets, so compare the shapes of the curves, not their heights.",
    value: ({ loss }) => loss,
    text: (value) => value.toFixed(2),
  },
  {
    title: "Online probe",
    caption:
      "Running accuracy of a linear classifier trained beside the encoder. It lags behind, and it sees crops.",
    value: ({ online }) => online,
    text: (value) => percent(value, 1),
    tick: (value) => percent(value, 0),
  },
  {
    title: "Unique at 0.25",
    caption:
      "Share of prototypes, used or not; those within a cosine distance of 0.25 of each other count once.",
    value: ({ unique25 }) => unique25,
    text: (value) => percent(value),
    tick: (value) => percent(value, 0),
    whole: true,
  },
  {
    title: "Unique at 0.5",
    caption: "The same at 0.5: only prototypes in clearly different directions count as two.",
    value: ({ unique5 }) => unique5,
    text: (value) => percent(value),
    tick: (value) => percent(value, 0),
    whole: true,
  },
  {
    title: "Used prototypes",
    caption:
      "Share of prototypes that win at least one training image. An unused prototype may be distinct, but is useless.",
    value: ({ used }) => used,
    text: (value) => percent(value),
    tick: (value) => percent(value, 0),
    whole: true,
  },
  {
    title: "Spread of the embeddings",
    caption: "1 minus the length of their mean: 0 if all are at one point, near 1 if they fill the sphere.",
    value: ({ spread }) => spread,
    text: (value) => value.toFixed(2),
    whole: true,
  },
  {
    title: "Entropy of the responsibilities",
    caption: "In nats, for arms with a mixture: 0 if each embedding belongs to a single component.",
    value: ({ entropy }) => entropy,
    text: (value) => value.toFixed(2),
  },
];

const pluginSpecs = new Map<string, Spec>();

/** The charts of plugins' own scalars, by name. Each name always has the same chart. */
export function pluginSpecsOf(points: readonly (readonly Point[])[]): Spec[] {
  const names = points.flatMap((own) => own.flatMap(({ scalars = {} }) => Object.keys(scalars)));
  return [...new Set(names)].sort().map((name) => {
    const spec = pluginSpecs.get(name) ?? {
      title: name,
      caption: "As the plugin tells it of its steps.",
      value: ({ scalars = {} }: Point) => scalars[name],
      text: (value: number) => String(Number(value.toPrecision(4))),
    };
    pluginSpecs.set(name, spec);
    return spec;
  });
}
