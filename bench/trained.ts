import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { parseYaml } from "../src/config/load.ts";
import { sentence, UserError } from "../src/errors.ts";
import { readMetrics } from "../src/experiment/metrics-log.ts";
import { loadFigures } from "../src/experiment/probe.ts";
import { writeAtomic } from "../src/files/atomic.ts";
import { parseJson } from "../src/files/json.ts";
import { median } from "./statistics.ts";

/** Rounded to six digits, in folders and files alike, so that both give the same table. Tables show three. */
const measured = z.number().overwrite((value) => Number(value.toPrecision(6)));
const share = measured.min(0).max(1);
const evaluation = z.object({
  step: z.int().nonnegative(),
  knn: share,
  unique: z.record(z.string(), share),
  used: share,
  distinctUsed: z.record(z.string(), share).optional(),
  perplexity: measured,
  embeddingRank: measured.optional(),
});

/** By path, "train.lr". null: the run has no such setting, and the base has one. */
const settings = z.record(z.string(), z.json());

const trained = z.strictObject({
  name: z.string(),
  seed: z.int().nonnegative(),
  settings,
  /** In the order of steps. */
  evaluations: z.array(evaluation).min(1),
  /** Accuracies of the probe at the end, if there was one. */
  linear: share.optional(),
  /** k-NN of the tail with a balanced set as references, if the training set was long-tailed. */
  tail: share.optional(),
  /** The median of all steps. */
  stepSeconds: measured.optional(),
});

/** The form in which a folder's runs are kept: the settings of the base, and each run's differences from them. */
const kept = z.strictObject({ base: settings, runs: z.array(trained) });

/** A training: its figures, and all its settings except the seed. */
export type Trained = z.infer<typeof trained>;
type Settings = z.infer<typeof settings>;

const NAME = /^(.+)-s(\d+)$/;

/**
 * Reads the trainings NAME-sSEED/ARM of a folder, or those of a file written by `keepTrained`, in the order of their
 * names and seeds, without runs that were never evaluated.
 *
 * @throws UserError if the folder or file cannot be read, or has another content
 */
export async function readTrained(place: string): Promise<Trained[]> {
  const found = await stat(place).catch((error: unknown) => {
    throw new UserError(`${place}: cannot be read: ${sentence(error)}`, { cause: error });
  });
  const runs = found.isDirectory() ? await readFolder(place) : await readKept(place);
  return runs.sort((a, b) => a.name.localeCompare(b.name) || a.seed - b.seed);
}

/** Writes a file for `readTrained`, a line per run. `base`: the run from which the others' settings are differences. */
export async function keepTrained(file: string, runs: readonly Trained[], base: string): Promise<void> {
  const first = runs.find(({ name }) => name === base)?.settings ?? {};
  const lines = runs.map((run) => JSON.stringify({ ...run, settings: difference(run.settings, first) }));
  await writeAtomic(file, [`{"base":${JSON.stringify(first)},\n"runs":[\n${lines.join(",\n")}\n]}\n`]);
}

async function readKept(file: string): Promise<Trained[]> {
  const parsed = kept.safeParse(parseJson(await readFile(file, "utf8")));
  if (!parsed.success)
    throw new UserError(`${file}: neither a folder of runs nor a file that recipe-table --keep wrote`);
  const { base, runs } = parsed.data;
  return runs.map((run) => ({ ...run, settings: over(base, run.settings) }));
}

async function readFolder(folder: string): Promise<Trained[]> {
  const runs = (await readdir(folder, { withFileTypes: true })).filter((entry) => entry.isDirectory());
  const found = await Promise.all(
    runs.map(async ({ name: run }) => {
      const [, name, seed] = NAME.exec(run) ?? [];
      if (name === undefined) return [];
      const arms = await readdir(join(folder, run), { withFileTypes: true });
      const read = arms
        .filter((arm) => arm.isDirectory())
        .map((arm) => readOne(join(folder, run), arm.name, name, Number(seed)));
      return (await Promise.all(read)).flat();
    }),
  );
  return found.flat();
}

async function readOne(run: string, arm: string, name: string, seed: number): Promise<Trained[]> {
  const folder = join(run, arm);
  const lines = await readMetrics(join(folder, "metrics.jsonl"));
  const evaluations = lines.flatMap((line) => evaluation.safeParse(line).data ?? []);
  if (evaluations.length === 0) return [];
  const probed = await loadFigures(folder);
  const tail = probed?.balanced?.groups?.tail.knn;
  const seconds = lines.flatMap(({ stepSeconds }) => (typeof stepSeconds === "number" ? stepSeconds : []));
  return [
    trained.parse({
      name,
      seed,
      settings: await settingsOf(join(run, "config.yaml"), arm),
      evaluations,
      ...(probed !== null && { linear: probed.linear }),
      ...(typeof tail === "number" && { tail }),
      ...(seconds.length > 0 && { stepSeconds: median(seconds) }),
    }),
  ];
}

/** The settings as written by the run's version. Those of an earlier version need not be valid today. */
const configFile = z.object({ arms: z.record(z.string(), z.record(z.string(), z.json())) });

async function settingsOf(file: string, arm: string): Promise<Settings> {
  const text = await readFile(file, "utf8").catch(() => "");
  const { seed: _, ...own } = configFile.safeParse(parseYaml(text, file)).data?.arms[arm] ?? {};
  if (Object.keys(own).length === 0) throw new UserError(`${file}: has no settings of ${arm}`);
  return Object.fromEntries(leaves(own));
}

/** Flattens settings to paths. A list counts as one setting. */
function leaves(group: Settings, path: readonly string[] = []): [string, Settings[string]][] {
  return Object.entries(group).flatMap(([key, value]): [string, Settings[string]][] => {
    const at = [...path, key];
    if (value !== null && typeof value === "object" && !Array.isArray(value)) return leaves(value, at);
    return [[at.join("."), value]];
  });
}

function difference(own: Settings, base: Settings): Settings {
  const left = Object.keys(base).filter((path) => !(path in own));
  const changed = Object.entries(own).filter(
    ([path, value]) => JSON.stringify(value) !== JSON.stringify(base[path]),
  );
  return Object.fromEntries([...changed, ...left.map((path) => [path, null] as const)]);
}

function over(base: Settings, own: Settings): Settings {
  return Object.fromEntries(Object.entries({ ...base, ...own }).filter(([, value]) => value !== null));
}
