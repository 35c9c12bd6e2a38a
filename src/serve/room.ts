import { setImmediate as yieldToEvents } from "node:timers/promises";
import { BatchError, RejectError } from "../bridge/errors.ts";
import type { Answer, Batch, Hello, Room, Rows, Welcome } from "../bridge/room.ts";
import { Mixture } from "../experiment/mixture.ts";
import type { NamedTensors } from "../plugins/plugin.ts";
import { firstDifference } from "./difference.ts";
import { Measures } from "./measures.ts";
import type { SavedMixture } from "./saved.ts";
import { asksForSettings, type MixtureSettings } from "./settings.ts";

/** The state that is nothing but a start: another head's prototypes (K x D), to begin anew from. */
const START = "prototypes";

/** What a room asks of its server. */
export interface Host {
  /** @throws RejectError or UserError where no mixture is what a hello asks for. */
  settingsFor(hello: Hello): MixtureSettings;
  /** Told when the last rank has said goodbye. */
  ended(): void;
}

/** The mixture behind the drop-in heads of one run: takes a step on every batch of teacher rows. */
export class MixtureRoom implements Room {
  readonly components: number;
  readonly dim: number;
  private readonly ranks = new Set<number>();
  private measures: Measures;
  private latest: Record<string, number> = {};
  private underWay: Promise<unknown> = Promise.resolve();

  private constructor(
    readonly run: string,
    readonly name: string,
    private readonly settings: MixtureSettings,
    private mixture: Mixture,
    /** Steps taken. */
    private taken: number,
    /** The hash of the rows that it started from; "" where the plugin made its own. */
    private readonly start: string,
    private readonly host: Host,
  ) {
    this.components = settings.components;
    this.dim = settings.dim;
    this.measures = new Measures(this.components, this.dim);
  }

  /** @throws UserError, RejectError where the settings, the start or the saved state do not fit. */
  static async open(hello: Hello, saved: SavedMixture | undefined, host: Host): Promise<MixtureRoom> {
    const settings = host.settingsFor(hello);
    const mixture = await openMixture(settings, saved ? undefined : hello.prototypes);
    if (saved) mixture.load(saved.state);
    const { run, mixture: name, start } = hello;
    return new MixtureRoom(run, name, settings, mixture, saved?.step ?? 0, saved ? "" : start, host);
  }

  /** What people call it. */
  get title(): string {
    return this.name === "default" ? `run "${this.run}"` : `run "${this.run}", mixture "${this.name}"`;
  }

  get steps(): number {
    return this.taken;
  }

  /** What the last answer carried, for whoever watches. */
  get scalars(): Record<string, number> {
    return this.latest;
  }

  async welcome(hello: Hello): Promise<Welcome> {
    const { rank, start } = hello;
    this.holdToSettings(hello);
    if (start !== "" && start !== this.start && !this.ranks.has(rank)) {
      throw new RejectError(
        "state",
        `run "${this.run}" began from other prototypes and has taken ${this.taken} steps: give this run another name`,
      );
    }
    this.ranks.add(rank);
    return {
      step: this.taken,
      config: JSON.stringify(this.settings.config),
      commands: [],
      prototypes: await this.mixture.prototypes(),
    };
  }

  step(batch: Batch): Promise<Answer> {
    const answer = this.take(batch);
    this.underWay = answer.catch(() => {});
    return answer;
  }

  /** Settles when the step under way, if any, is taken and its answer is sent. */
  async idle(): Promise<void> {
    await this.underWay;
    await yieldToEvents();
  }

  private async take({ step, epoch, rows }: Batch): Promise<Answer> {
    if (!rows) throw new BatchError("shape", "a step of a drop-in head needs embeddings");
    const clock = { step, epoch, steps: this.settings.config.train.steps };
    const { rows: changed, targets, winners, scalars } = await this.mixture.step(rows, clock);
    this.taken = step + 1;
    const measured = this.measures.note(step, winners, async () => {
      const { n, d, data } = await this.mixture.prototypes();
      return { rows: n, dim: d, data: new Float32Array(data) };
    });
    this.latest = { ...scalars, ...measured };
    return { scalars: this.latest, commands: [], rows: changed, ...(targets && { targets }) };
  }

  result(): void {
    throw new Error("a drop-in head is given no commands");
  }

  state(): Promise<NamedTensors> {
    return this.mixture.state();
  }

  /** A saved state; or prototypes alone, from which the mixture begins anew. */
  async load(step: number, state: NamedTensors): Promise<void> {
    const { [START]: start, ...rest } = state;
    if (start && Object.keys(rest).length === 0) {
      const next = await openMixture(this.settings, this.startRows(start));
      this.mixture.dispose();
      this.mixture = next;
    } else {
      this.mixture.load(state);
    }
    this.taken = step;
    this.measures.stop();
    this.measures = new Measures(this.components, this.dim);
  }

  lost(rank: number): void {
    this.ranks.delete(rank);
  }

  left(rank: number): void {
    this.ranks.delete(rank);
    if (this.ranks.size === 0) this.host.ended();
  }

  dispose(): void {
    this.measures.stop();
    this.mixture.dispose();
  }

  /** What a later hello asks for would change nothing any more: it has to be what the mixture has. */
  private holdToSettings(hello: Hello): void {
    if (!asksForSettings(hello)) return;
    const { components, dim } = this;
    const asked = this.host.settingsFor({ ...hello, components, dim });
    const difference = firstDifference(this.settings, asked);
    if (difference === null) return;
    throw new RejectError(
      "state",
      `run "${this.run}" began with other settings (${difference}): ask for the same, or give this run another name`,
    );
  }

  private startRows({ shape, data }: NamedTensors[string]): Rows {
    const [n = 0, d = 0] = shape;
    if (n !== this.components || d !== this.dim) {
      throw new RejectError(
        "state",
        `a start of ${shape.join(" x ")} prototypes does not fit a mixture of ${this.components} x ${this.dim}`,
      );
    }
    return { n, d, data };
  }
}

function openMixture({ config, dim, targets }: MixtureSettings, start: Rows | undefined): Promise<Mixture> {
  return Mixture.open(
    { plugin: config.plugin, targets: targets ? config.targets : null },
    { dim, seed: config.seed, ...(start && { start }) },
  );
}
