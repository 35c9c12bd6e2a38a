import { Presets, SingleBar } from "cli-progress";
import type { Command } from "commander";
import { closeBackend, openBackend } from "../backend/backend.ts";
import { resolveConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { RunError, UserError } from "../errors.ts";
import { type FitMeasurement, fitPlugin } from "../experiment/fit.ts";
import { readUnitRows, unitRows, type Vectors } from "../files/rows.ts";
import type { PrototypePlugin } from "../plugins/plugin.ts";
import { openPlugin } from "../plugins/registry.ts";
import { onSignals } from "../terminal/signals.ts";
import { readPrototypes, remarks } from "./read-prototypes.ts";

/** Idle components do not restart: the mixture is estimated from the data alone. */
const ESTIMATE = { use: { share: 0 } };

interface Options {
  out: string;
  init?: string;
  key?: string;
}

/** `mixhead fit EMBEDDINGS.npy --out DIR [--init PROTOTYPES] [key=value ...]`: the plugin alone. */
export function fit(program: Command): void {
  program
    .command("fit")
    .description("the plugin alone over saved embeddings")
    .argument("<embeddings>", "a .npy file with one embedding per row")
    .argument("[key=value...]", "settings, such as plugin.components=256 fit.epochs=3")
    .requiredOption("--out <dir>", "the folder for the fitted mixture and metrics.jsonl")
    .option("--init <file>", "initial prototypes: a .npy file, or a checkpoint that contains them")
    .option("--key <name>", "the tensor in the checkpoint of --init (default: the last layer)")
    .action(async (file: string, overrides: string[], options: Options) => {
      const start = await readStart(options);
      const config = resolveConfig(
        { plugin: { ...ESTIMATE, ...(start && { components: start.rows }) } },
        overrides,
      );
      const embeddings = await readUnitRows(file);
      if (start !== undefined) checkStart(start, embeddings, config.plugin.components, options.init);
      const backend = await openBackend(config.backend, note);
      try {
        const plugin = await openPlugin(config.plugin, {
          dim: embeddings.dim,
          seed: config.seed,
          // Selecting among components reads them back, and on torch every read waits for Python.
          dense: backend === "torch",
          start: start?.data,
        });
        await fitWith(plugin, embeddings, config, options.out).finally(() => plugin.dispose());
      } finally {
        await closeBackend();
      }
    });
}

/** Reads the prototypes of --init as rows of unit length. Prints the name of a checkpoint's tensor. */
async function readStart({ init, key }: Options): Promise<Vectors | undefined> {
  if (init === undefined) {
    if (key !== undefined)
      throw new UserError("--key names a tensor in the checkpoint of --init, so it needs --init too");
    return undefined;
  }
  const found = await readPrototypes(init, key);
  unitRows(found.data, found.dim, init);
  if (found.key !== undefined) note([`starts from ${init}: ${found.key}`, ...remarks(found)].join("\n"));
  return found;
}

/** Fits with a progress bar. An interruption ends the fit early and keeps the mixture so far. */
async function fitWith(
  plugin: PrototypePlugin,
  embeddings: Vectors,
  { fit }: Config,
  out: string,
): Promise<void> {
  const abort = new AbortController();
  const unsubscribe = onSignals({ stop: () => abort.abort(), quit: () => process.exit(1) });
  const bar = new SingleBar(
    {
      stream: process.stderr,
      format: "fit {bar} {value}/{total} steps, {eta_formatted} left",
      noTTYOutput: false,
    },
    Presets.rect,
  );
  const steps = Math.ceil(embeddings.rows / fit.batch) * fit.epochs;
  bar.start(steps, 0);
  try {
    const progress = (step: number) => bar.update(step);
    const last = await fitPlugin({ fit, plugin, embeddings, out, progress, signal: abort.signal });
    bar.stop();
    process.stdout.write(`${describe(last)}\n${out}/mixture.safetensors\n`);
    if (last.step < steps) {
      throw new RunError("interrupted", `interrupted; ${out} holds the mixture so far`);
    }
  } finally {
    bar.stop();
    unsubscribe();
  }
}

/** Checks that the initial prototypes match K and the embeddings' D. */
function checkStart(start: Vectors, embeddings: Vectors, components: number, file = "--init"): void {
  if (start.dim !== embeddings.dim) {
    throw new UserError(
      `${file}: the prototypes have ${start.dim} dimensions, the embeddings ${embeddings.dim}`,
    );
  }
  if (start.rows !== components) {
    throw new UserError(`${file} holds ${start.rows} prototypes, but plugin.components is ${components}`);
  }
}

function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

function describe({ step, unique, used, distinctUsed }: FitMeasurement): string {
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const shares = (byEpsilon: Record<string, number>) =>
    Object.entries(byEpsilon)
      .map(([epsilon, share]) => `${percent(share)} at ${epsilon}`)
      .join(", ");
  return `${step} steps: distinctUsed ${shares(distinctUsed)}; unique ${shares(unique)}; used ${percent(used)}`;
}
