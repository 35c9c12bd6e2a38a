import { percent } from "../../report/format.ts";
import type { Point, RunState } from "../messages.ts";

/** What one chart shows of each training. */
export interface Spec {
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

/** The charts in their order on the page. */
export const specs: readonly Spec[] = [
  {
    title: "k-NN accuracy",
    caption: "Of a vote of the 20 nearest training images, on the frozen teacher's features.",
    value: ({ knn }) => knn,
    text: (value) => percent(value, 1),
    tick: (value) => percent(value, 0),
    level: { name: "untrained", value: ({ untrained }) => untrained },
  },
  {
    title: "Distinct and used at 0.5",
    caption:
      "Share of prototypes that win a training image and are left when those within a cosine distance of 0.5 count once.",
    value: ({ distinctUsed5 }) => distinctUsed5,
    text: (value) => percent(value),
    tick: (value) => percent(value, 0),
    whole: true,
  },
  {
    title: "Loss",
    caption: "Arms have targets of their own, so compare the shapes of their losses, not the heights.",
    value: ({ loss }) => loss,
    text: (value) => value.toFixed(2),
  },
  {
    title: "Online probe",
    caption:
      "Running accuracy of a linear classifier that learns beside the encoder: it lags, and it sees crops.",
    value: ({ online }) => online,
    text: (value) => percent(value, 1),
    tick: (value) => percent(value, 0),
  },
  {
    title: "Unique at 0.25",
    caption:
      "Share of prototypes, used or not, that are left when those within a cosine distance of 0.25 count once.",
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

const told = new Map<string, Spec>();

/** The charts of what plugins tell of themselves, by name; one and the same chart whenever it is asked for. */
export function toldIn(points: readonly (readonly Point[])[]): Spec[] {
  const names = points.flatMap((own) => own.flatMap(({ scalars = {} }) => Object.keys(scalars)));
  return [...new Set(names)].sort().map((name) => {
    const spec = told.get(name) ?? {
      title: name,
      caption: "As the plugin tells it of its steps.",
      value: ({ scalars = {} }: Point) => scalars[name],
      text: (value: number) => String(Number(value.toPrecision(4))),
    };
    told.set(name, spec);
    return spec;
  });
}
