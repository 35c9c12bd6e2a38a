import * as tf from "@tensorflow/tfjs-core";
import type { Answer, Rows } from "../bridge/room.ts";
import type { PluginConfig, TargetsConfig } from "../config/schema.ts";
import { unitBatch } from "../plugins/batch.ts";
import { checked, checkPrototypes } from "../plugins/checked.ts";
import type { NamedTensors, PrototypePlugin } from "../plugins/plugin.ts";
import { createPlugin, isBuiltIn } from "../plugins/registry.ts";
import { createTargets, type Targets } from "../plugins/targets.ts";
import type { Clock } from "../schedules/schedule.ts";
import type { Values } from "./values.ts";

export interface MixtureStep extends Required<Pick<Answer, "rows">>, Pick<Answer, "targets"> {
  /** For each row of the batch, the component that answers for most of it. */
  winners: Int32Array;
  /** What the plugin wants in the metrics. */
  scalars: Record<string, number>;
}

/**
 * A plugin and the targets made with it, from arrays to arrays: what stands between the embeddings
 * that come from a rank and the targets that go back.
 */
export class Mixture {
  private constructor(
    readonly plugin: PrototypePlugin,
    private readonly targets: Targets | null,
  ) {}

  /**
   * `targets`: null where nobody needs them; `values`: what the configuration can only name.
   *
   * @throws UserError where the configuration names a plugin that cannot be had.
   */
  static async open(
    config: { plugin: PluginConfig; targets: TargetsConfig | null },
    options: { dim: number; seed: number; start?: Rows; values?: Values | undefined },
  ): Promise<Mixture> {
    const { dim, seed, start, values } = options;
    const { kind, components } = config.plugin;
    const targets = config.targets && createTargets(config.targets, values?.schedules);
    const plugin = await createPlugin(config.plugin, { dim, seed, start, ...values });
    if (isBuiltIn(kind)) return new Mixture(plugin, targets);
    const held = checked(plugin, kind);
    await checkPrototypes(held.prototypes(), components, dim, kind);
    return new Mixture(held, targets);
  }

  /** One step on a batch, whose rows are brought to unit length; everything changes or, where it throws, nothing. */
  async step(rows: Rows, clock: Clock): Promise<MixtureStep> {
    const sent = tf.tensor2d(rows.data, [rows.n, rows.d]);
    const h = await unitBatch(sent).finally(() => sent.dispose());
    try {
      const result = await this.plugin.step(h, clock);
      const targets = this.targets?.of(h, this.plugin, result, clock);
      const winners: tf.Tensor1D = tf.argMax(result.responsibilities, 1);
      result.responsibilities.dispose();
      return {
        rows: await this.changedRows(result.touched),
        ...(targets && {
          targets: { n: rows.n, k: this.plugin.components, data: await taken<"float32">(targets) },
        }),
        winners: await taken<"int32">(winners),
        scalars: result.scalars,
      };
    } finally {
      h.dispose();
    }
  }

  /** The prototypes, K x D. */
  async prototypes(): Promise<Rows> {
    const { components: n, dim: d } = this.plugin;
    return { n, d, data: await this.plugin.prototypes().data<"float32">() };
  }

  async state(): Promise<NamedTensors> {
    return {
      ...prefixed("plugin", await this.plugin.state()),
      ...prefixed("targets", (await this.targets?.state()) ?? {}),
    };
  }

  /** @throws UserError, and changes nothing, where the state does not fit. */
  load(state: NamedTensors): void {
    this.plugin.load(unprefixed("plugin", state));
    this.targets?.load(unprefixed("targets", state));
  }

  dispose(): void {
    this.plugin.dispose();
    this.targets?.dispose();
  }

  private async changedRows(touched: Int32Array | "all"): Promise<MixtureStep["rows"]> {
    const d = this.plugin.dim;
    if (touched === "all") return { d, data: (await this.prototypes()).data };
    if (touched.length === 0) return { d, data: new Float32Array(0), indices: touched };
    const rows = tf.tidy(() => tf.gather(this.plugin.prototypes(), tf.tensor1d(touched, "int32")));
    return { d, data: await taken<"float32">(rows), indices: touched };
  }
}

/** The numbers of a tensor that nobody needs afterwards. */
async function taken<D extends "float32" | "int32">(tensor: tf.Tensor): Promise<tf.DataTypeMap[D]> {
  const data = await tensor.data<D>();
  tensor.dispose();
  return data;
}

/** A part of a state, under names that no other part has. */
export function prefixed(prefix: string, state: NamedTensors): NamedTensors {
  return Object.fromEntries(Object.entries(state).map(([name, tensor]) => [`${prefix}.${name}`, tensor]));
}

/** What `prefixed` was given. */
export function unprefixed(prefix: string, state: NamedTensors): NamedTensors {
  return Object.fromEntries(
    Object.entries(state)
      .filter(([name]) => name.startsWith(`${prefix}.`))
      .map(([name, tensor]) => [name.slice(prefix.length + 1), tensor]),
  );
}
