import type { Command } from "commander";
import { UserError } from "../errors.ts";
import { findTrained } from "../experiment/trained.ts";
import { dataDir } from "../files/paths.ts";
import { percent } from "../report/format.ts";
import { type ProbeFigures, probeFigures } from "../report/probe-figures.ts";
import { aligned } from "../report/table.ts";
import { askPython } from "./ask-python.ts";
import { wholeNumber } from "./whole-number.ts";

interface Options {
  arm?: string;
  seed?: number;
  json?: boolean;
}

const GROUPS = ["head", "medium", "tail"] as const;
/** If there are more classes than this, they are not listed. */
const MOST_CLASSES = 20;

/** `mixhead evaluate RUN|CHECKPOINT|WEIGHTS|FEATURES.npz`: k-NN, linear, per class, head, medium and tail. */
export function evaluate(program: Command): void {
  program
    .command("evaluate")
    .description("k-NN, linear, per class, head/medium/tail of frozen features")
    .argument(
      "<of>",
      "a run, a checkpoint's folder, a state dict (.pt, .pth, .safetensors) with encoder.name=..., or an .npz with train_x, train_y, test_x, test_y",
    )
    .argument("[key=value...]", "settings that override the run's, such as data.test=1000 or device=cpu")
    .option("--arm <arm>", "the arm, if the run has several (default: decoupled, or the only one)")
    .option("--seed <n>", "the seed, if the run has several (default: the first)", wholeNumber(0))
    .option("--json", "print one JSON object and nothing else")
    .action(evaluateEncoder);
}

async function evaluateEncoder(of: string, overrides: string[], options: Options): Promise<void> {
  const { label, args } = of.endsWith(".npz")
    ? featuresCall(of, overrides, options)
    : await encoderCall(of, overrides, options);
  const result = probeFigures.parse(await askPython("mixhead.worker.evaluate", [...args, "--json"]));
  process.stdout.write(`${options.json ? JSON.stringify(result) : `${label}\n\n${tables(result)}`}\n`);
}

function featuresCall(file: string, overrides: readonly string[], { arm, seed }: Options) {
  const [needless] = [
    ...overrides,
    ...(arm === undefined ? [] : ["--arm"]),
    ...(seed === undefined ? [] : ["--seed"]),
  ];
  if (needless !== undefined)
    throw new UserError(`${file} holds features, to which no setting applies: leave out ${needless}`);
  return { label: file, args: [file] };
}

async function encoderCall(of: string, overrides: readonly string[], choice: Options) {
  const { label, path, config, notes } = await findTrained(of, overrides, choice);
  for (const note of notes) process.stderr.write(`${note}\n`);
  return {
    label: `${label}: ${config.encoder.name} on ${config.data.name}${config.data.heldOut === undefined ? "" : ", held-out training images"}`,
    args: [path, "--config", JSON.stringify(config), "--data-dir", dataDir()],
  };
}

/** The figures as text: by k, by group and by class, with columns for balanced references if there are any. */
function tables({ balanced, ...own }: ProbeFigures): string {
  const columns = balanced === undefined ? [own] : [own, balanced];
  const row = (name: string, ...values: (number | null | undefined)[]) => [
    name,
    ...values.map((value) => percent(value ?? Number.NaN, 1)),
  ];
  const references = balanced === undefined ? [] : [["references", "long-tailed", "balanced"]];
  const whole = [
    ...references,
    ...Object.keys(own.knn).map((k) => row(`k-NN, k = ${k}`, ...columns.map(({ knn }) => knn[k]))),
    row("linear", ...columns.map(({ linear }) => linear)),
  ];
  const heading = [
    "",
    "k-NN",
    "linear",
    ...(balanced === undefined ? [] : ["k-NN, balanced", "linear, balanced"]),
  ];
  const groups = GROUPS.map((group) =>
    row(group, ...columns.flatMap((one) => [one.groups?.[group].knn, one.groups?.[group].linear])),
  );
  const classes = own.perClass.knn.map((_, label) =>
    row(`class ${label}`, ...columns.flatMap(({ perClass: { knn, linear } }) => [knn[label], linear[label]])),
  );
  return [
    aligned(whole),
    ...(own.groups === undefined ? [] : [aligned([heading, ...groups])]),
    classes.length > MOST_CLASSES
      ? `${classes.length} classes; --json lists them`
      : aligned([heading, ...classes]),
  ].join("\n\n");
}
