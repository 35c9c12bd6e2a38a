import { basename, extname } from "node:path";
import { SingleBar } from "cli-progress";
import type { Command } from "commander";
import { openBackend } from "../backend/backend.ts";
import { UserError } from "../errors.ts";
import { writeAtomic } from "../files/atomic.ts";
import { readUnitRows, rowLengths, unitRows, type Vectors } from "../files/rows.ts";
import { quantile } from "../metrics/quantile.ts";
import { effectiveRank } from "../metrics/rank.ts";
import {
  EPSILONS,
  type Geometry,
  type GeometryInUse,
  geometry,
  geometryInUse,
} from "../metrics/uniqueness.ts";
import { usage, wins } from "../metrics/usage.ts";
import { type Diagnosis, diagnosisTable, diagnosisWords } from "../report/diagnosis.ts";
import { drawDiagnosis, pictureForms } from "../report/diagnosis-plot.ts";
import { EPSILON_GRID } from "../report/figures.ts";
import { count } from "../report/format.ts";
import { type FoundPrototypes, readPrototypes, remarks } from "./read-prototypes.ts";

/** The name of the tensor of directions in a layer with weight norm. */
const WEIGHT_NORM = /\.(weight_v|original1)(\.original)?$/;

interface Options {
  key?: string;
  embeddings?: string;
  plot?: string;
  json?: boolean;
}

/** `mixhead diagnose FILE`: how far any prototypes have collapsed. */
export function diagnose(program: Command): void {
  program
    .command("diagnose")
    .description("how far any prototypes have collapsed")
    .argument(
      "<file>",
      "prototypes as .npy, or a checkpoint with them in it (.safetensors, .pth, a DCP folder)",
    )
    .option("--key <name>", "the tensor in the checkpoint (default: the last layer, found by its name)")
    .option(
      "--embeddings <file>",
      "N x D embeddings as .npy, to measure also how many prototypes are used, and distinct among these",
    )
    .option(
      "--plot <file>",
      `the picture to draw, ${pictureForms.join(", ")} (default: FILE's name with .diagnosis.svg)`,
    )
    .option("--json", "print one JSON object and nothing else")
    .action(diagnosePrototypes);
}

async function diagnosePrototypes(file: string, options: Options): Promise<void> {
  const plot = options.plot ?? `${basename(file, extname(file))}.diagnosis.svg`;
  const form = extname(plot).toLowerCase();
  if (!pictureForms.includes(form)) {
    throw new UserError(`--plot ${plot}: allowed file extensions: ${pictureForms.join(", ")}`);
  }
  const embeddings = options.embeddings === undefined ? undefined : await readUnitRows(options.embeddings);
  const prototypes = await readPrototypes(file, options.key);
  await openBackend("auto");
  const won = embeddings && (await winsOf(embeddings, options.embeddings ?? "", prototypes, file));
  const measured = await withProgress((onProgress): Promise<Geometry & Partial<GeometryInUse>> => {
    const epsilons = [...new Set([...EPSILONS, ...EPSILON_GRID])];
    const how = { epsilons, source: file, onProgress };
    return won ? geometryInUse(prototypes, won, how) : geometry(prototypes, how);
  });
  const diagnosis: Diagnosis = {
    prototypes: prototypes.rows,
    dim: prototypes.dim,
    unique: reported(measured.unique),
    nearest: nearestOf(measured),
    effectiveRank: await effectiveRank(prototypes, { source: file }),
    ...(won && usage(won)),
    ...(measured.distinctUsed && { distinctUsed: reported(measured.distinctUsed) }),
  };
  const words = diagnosisWords(diagnosis, embeddings?.rows);
  const table = diagnosisTable(diagnosis);
  const text = `${headline(file, prototypes)}\n\n${table}\n\n${words}\n`;
  process.stdout.write(options.json === true ? `${JSON.stringify(diagnosis)}\n` : text);
  if (options.json === true && options.plot === undefined) return;

  const title = `${basename(file)}: ${count(prototypes.rows)} prototypes of ${prototypes.dim} dimensions`;
  const curve = (shares: Record<string, number>) =>
    EPSILON_GRID.map((epsilon) => [epsilon, shares[epsilon] ?? 0] as const);
  const drawn = {
    unique: curve(measured.unique),
    ...(measured.distinctUsed && { distinctUsed: curve(measured.distinctUsed) }),
    nearest: measured.nearest,
  };
  const picture = await drawDiagnosis({ title, words, table, ...drawn }, form);
  await writeAtomic(plot, [picture]);
  if (options.json !== true) process.stdout.write(`\nplot: ${plot}\n`);
}

/** Keeps the epsilons that every report shows. */
function reported(shares: Record<string, number>): Record<string, number> {
  return Object.fromEntries(EPSILONS.map((epsilon) => [epsilon, shares[epsilon] ?? Number.NaN]));
}

function nearestOf({ nearest }: Geometry): Diagnosis["nearest"] {
  const sorted = nearest.toSorted();
  return { median: quantile(sorted, 0.5), p01: quantile(sorted, 0.01) };
}

/** The number of embeddings that each prototype wins. Normalises a copy of the prototypes. */
async function winsOf(
  embeddings: Vectors,
  source: string,
  prototypes: Vectors,
  file: string,
): Promise<Int32Array> {
  const unit = { ...prototypes, data: prototypes.data.slice() };
  unitRows(unit.data, unit.dim, file);
  return wins(embeddings, unit, { source });
}

function headline(file: string, found: FoundPrototypes): string {
  const where = found.key ? `${file}: ${found.key}` : file;
  const what = `${where}, ${count(found.rows)} prototypes of ${found.dim} dimensions${lengthWords(file, found)}`;
  return [what, ...remarks(found)].join("\n");
}

/** The lengths of the rows, unless all are 1. Empty for weight norm, which stores the lengths in another tensor. */
function lengthWords(file: string, { key, data, dim }: FoundPrototypes): string {
  if (key !== undefined && WEIGHT_NORM.test(key)) return "";
  const sorted = rowLengths(data, dim, file).toSorted();
  const [low, median, high] = [0, 0.5, 1].map((q) => Number(quantile(sorted, q).toPrecision(3)));
  if (low === 1 && high === 1) return "";
  return low === high ? ` and length ${low}` : ` and length ${low} to ${high} (median ${median})`;
}

/** Shows a progress bar on standard error, unless the work is short. */
async function withProgress<T>(work: (onProgress: (done: number) => void) => Promise<T>): Promise<T> {
  const bar = new SingleBar({
    format: "comparing prototypes {bar} {percentage}%  {eta_formatted} left",
    clearOnComplete: true,
    barsize: 30,
  });
  let shown = false;
  try {
    return await work((done) => {
      if (!shown && done < 0.5) bar.start(100, 0);
      shown = true;
      bar.update(Math.round(100 * done));
    });
  } finally {
    bar.stop();
  }
}
