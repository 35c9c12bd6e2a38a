import type { Vectors } from "../../src/files/rows.ts";
import type { ArmRecord, Measurement, Remark, ReportData } from "../../src/report/data.ts";
import { normals } from "../metrics/rows.ts";
import { inventedNearest, inventedProbe } from "./invented-probe.ts";

/** Figures of the size that real runs have: a joint arm that collapses, a decoupled one that does not. */
export interface Invention {
  seeds?: number;
  arms?: readonly string[];
  K?: number;
  /** k-NN of each arm at the end, in the order of the arms. */
  knn?: readonly number[];
  /** Whether the features were probed and images kept, as at the end of a training. */
  probed?: boolean;
  classes?: number;
  longTailed?: boolean;
  remarks?: readonly Remark[];
}

const CLASS_NAMES = "airplane automobile bird cat deer dog frog horse ship truck".split(" ");
const D = 64;
const STEPS = 5000;

/** A run that never was, the same for the same wishes. */
export function invented({
  seeds = 1,
  arms = ["joint", "decoupled"],
  K = 1024,
  knn = [0.523, 0.561, 0.474],
  probed = false,
  classes = 10,
  longTailed = false,
  remarks = [],
}: Invention = {}): ReportData {
  const seedList = Array.from({ length: seeds }, (_, seed) => seed);
  const records = arms.map((name, arm): ArmRecord => {
    const normal = normals(arm + 99);
    return {
      ...armRecord(name, seedList, K, knn[arm] ?? 0.5),
      classNames: classes === CLASS_NAMES.length ? CLASS_NAMES : [],
      classCounts: Array.from({ length: classes }, (_, rank) =>
        longTailed ? Math.floor(5000 * 100 ** (-rank / (classes - 1))) : 5000,
      ),
      probes: probed ? seedList.map(() => inventedProbe(normal, classes, longTailed)) : [],
      ...(probed && { nearest: inventedNearest(K, classes) }),
    };
  });
  return {
    kind: "run",
    remarks,
    title: "cifar10-compare",
    figures: {
      untrained: { knn: 0.308 },
      seconds: 5230,
      arms: Object.fromEntries(
        records.map((record, arm) => {
          const last = record.trainings[0]?.measurements.at(-1);
          const end = knn[arm] ?? 0.5;
          return [
            record.name,
            {
              knn: end,
              unique: last?.unique ?? {},
              used: last?.used ?? 0,
              ...(last?.distinctUsed && { distinctUsed: last.distinctUsed }),
              perplexity: K * 0.55 * (last?.used ?? 0),
              steps: STEPS,
              seeds: seedList,
              ...(seeds > 1 ? { interval: { knn: [end - 0.008, end + 0.008] as [number, number] } } : {}),
              seconds: 2400 + 170 * arm,
            },
          ];
        }),
      ),
    },
    arms: records,
    details: [
      {
        title: "Configuration",
        text: "seed: 0\nmethod: dino\nprototypes: decoupled\ndata: {name: cifar10}\n",
      },
      { title: "Versions", text: "mixhead 0.1.0\nnode 20.20.2\ntorch 2.14.1\n<script>alert(1)</script>\n" },
    ],
  };
}

function armRecord(
  name: string,
  seeds: readonly number[],
  K: number,
  knn: number,
): Omit<ArmRecord, "classNames" | "classCounts" | "probes"> {
  const collapses = name === "joint";
  const dead = name === "decoupled" ? 0.3 : 0;
  const normal = normals(name.length);
  const classes = Array.from({ length: 10 }, () => vector(normal, 1));
  const sample = rows(1000, (i) => add(classes[i % 10] ?? [], vector(normal, 0.75)));
  const crowds = Array.from({ length: 60 }, (_, i) => add(classes[i % 10] ?? [], vector(normal, 0.7)));
  const prototypes = rows(K, (k) => {
    if (name === "frozen" || k < dead * K) return vector(normal, 1);
    if (collapses) return add(crowds[k % 60] ?? [], vector(normal, 0.12));
    return add(classes[k % 10] ?? [], vector(normal, 0.7));
  });
  const wins = Int32Array.from({ length: K }, (_, k) =>
    k < dead * K ? 0 : Math.max(1, Math.round(20 * Math.exp(0.9 * normal()))),
  );
  return {
    name,
    trainings: seeds.map((seed) => ({ seed, measurements: course(normals(seed + 7), collapses, dead, knn) })),
    prototypes,
    wins,
    sample,
  };
}

function course(normal: () => number, collapses: boolean, dead: number, knn: number): Measurement[] {
  const measurements: Measurement[] = [];
  for (let step = 0; step <= STEPS; step += 10) {
    const t = step / STEPS;
    if (step > 0)
      measurements.push({
        step,
        loss: 4.2 + 2.6 * Math.exp(-6 * t) + 0.06 * normal(),
        online: 0.1 + 0.3 * (1 - Math.exp(-5 * t)),
        spread: 0.6 + 0.3 * t + 0.02 * normal(),
        ...(!collapses && { entropy: 2 + Math.exp(-4 * t) + 0.05 * normal() }),
      });
    if (step % 250 !== 0) continue;
    const learned = 1 - Math.exp(-5 * t);
    const used = dead > 0 ? Math.min(1 - dead, 0.12 + 0.62 * t) : 1;
    const half = collapses ? 1 / (1 + Math.exp(14 * (t - 0.27))) : 1 - 0.72 * t;
    const unique = { "0.025": 1, "0.1": 1 - 0.03 * t, "0.25": 1 - 0.21 * t * t, "0.5": Math.max(0.05, half) };
    const both = Object.entries(unique).map(([epsilon, share]) => [epsilon, used * share]);
    measurements.push({
      step,
      knn: 0.308 + (knn - 0.308) * (learned / (1 - Math.exp(-5))) + (step > 0 ? 0.004 * normal() : 0),
      unique,
      used,
      distinctUsed: Object.fromEntries(both),
      effectiveRank: 60 - (collapses ? 35 : 8) * t + normal(),
      embeddingRank: 12 + 20 * t + normal(),
      alignment: 0.5 - 0.2 * t + 0.02 * normal(),
      uniformity: -2 - 0.8 * t + 0.03 * normal(),
    });
  }
  return measurements;
}

function vector(normal: () => number, length: number): number[] {
  return Array.from({ length: D }, () => (length * normal()) / Math.sqrt(D));
}

function add(a: readonly number[], b: readonly number[]): number[] {
  return a.map((x, d) => x + (b[d] ?? 0));
}

function rows(count: number, row: (index: number) => number[]): Vectors {
  const data = new Float32Array(count * D);
  for (let i = 0; i < count; i++) {
    const values = row(i);
    const length = Math.hypot(...values);
    data.set(
      values.map((x) => x / length),
      i * D,
    );
  }
  return { rows: count, dim: D, data };
}
