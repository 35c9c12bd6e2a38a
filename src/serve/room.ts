import { setImmediate as yieldToEvents } from "node:timers/promises";
import type { Tensor } from "../bridge/codec.ts";
import { RejectError } from "../bridge/errors.ts";
import type { Run } from "../bridge/executor-run.ts";
import type { Answer, Batch, Hello, Room, Rows, RunFailure, Welcome } from "../bridge/room.ts";
import { printable } from "../errors.ts";
import type { NamedTensors } from "../files/tensors.ts";
import type { Edge } from "../mixture/edge.ts";
import { openEdge } from "../mixture/open-edge.ts";
import { checkExecutor, placementLine } from "../mixture/placement.ts";
import { drawAhead } from "../plugins/random.ts";
import { firstDifference } from "./difference.ts";
import { Measures } from "./measures.ts";
import type { SavedMixture } from "./saved.ts";
import { asksForSettings, type MixtureSettings } from "./settings.ts";
import { Spare } from "./spare.ts";

/** The only tensor of a state that merely starts a mixture: another head's prototypes (K x D). */
const START = "prototypes";

/** What a room needs from its server. */
export interface Host {
  /** @throws RejectError or UserError if the hello's settings are invalid or do not fit the server's. */
  settingsFor(hello: Hello): MixtureSettings;
  /** Reserves the mixture's size. @throws RejectError if it does not fit beside the others. */
  makeRoom(settings: MixtureSettings): void;
  /** Called when the last rank has left, or was lost together with the mixture on its device. */
  ended(lost: boolean): void;
  /** Logs one sentence. */
  log(line: string): void;
}

/** The mixture of the drop-in heads of one run: it takes a step on every batch of teacher rows. */
export class MixtureRoom implements Room {
  readonly components: number;
  readonly dim: number;
  private readonly ranks = new Set<number>();
  private measures: Measures;
  private spare: Spare;
  private latest: Record<string, number> = {};
  private held = false;
  private over = false;
  private underWay: Promise<unknown> = Promise.resolve();

  private constructor(
    readonly run: string,
    readonly name: string,
    private readonly settings: MixtureSettings,
    private readonly edge: Edge,
    /** Steps taken. */
    private taken: number,
    /** The hash of the rows that it started from; "" if the plugin made its own. */
    private readonly start: string,
    /** The hash of its run's secret; "": none. */
    readonly secret: string,
    private readonly host: Host,
  ) {
    this.components = settings.components;
    this.dim = settings.dim;
    this.measures = new Measures(this.components, this.dim);
    this.spare = new Spare(this.components);
  }

  /** @throws UserError or RejectError if the settings, the starting prototypes or the saved state do not fit. */
  static async open(hello: Hello, saved: SavedMixture | undefined, host: Host): Promise<MixtureRoom> {
    const settings = host.settingsFor(hello);
    const { config, dim, targets, chosen, rankTargets } = settings;
    if (chosen.placement === "device") checkExecutor(hello);
    host.makeRoom(settings);
    const parts = { plugin: config.plugin, targets: targets && !rankTargets ? config.targets : null };
    const begin = saved ? undefined : hello.prototypes;
    const options = { dim, seed: config.seed, use: true, start: begin, warn: host.log };
    const forget = await drawAhead(settings.components, dim, config.seed, "directions");
    const edge = await openEdge(chosen.placement, parts, options, config.bridge).finally(forget);
    if (saved) edge.load(saved.state);
    host.log(placementLine(chosen));
    const { run, mixture: name, start } = hello;
    const steps = saved?.step ?? 0;
    const { secret } = saved ?? hello;
    return new MixtureRoom(run, name, settings, edge, steps, saved ? "" : start, secret, host);
  }

  /** Its name in messages. */
  get title(): string {
    const { run, name } = this;
    return printable(name === "default" ? `run "${run}"` : `run "${run}", mixture "${name}"`);
  }

  get steps(): number {
    return this.taken;
  }

  /** True once its last rank has said goodbye: the run will not continue. */
  get ended(): boolean {
    return this.over;
  }

  /** The scalars of the last answer, for the status line. */
  get scalars(): Record<string, number> {
    return this.latest;
  }

  async welcome(hello: Hello): Promise<Welcome> {
    const { rank, start } = hello;
    if (this.edge.device !== undefined) checkExecutor(hello);
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
      config: JSON.stringify({ ...this.settings.config, placement: this.edge.placement }),
      commands: [],
      ...(await this.edge.welcome()),
    };
  }

  step(batch: Batch): Promise<Answer> {
    if (this.held) return new Promise(() => {}); // the server says goodbye to its rank
    const answer = this.take(batch);
    this.underWay = answer.catch(() => {});
    return answer;
  }

  /** Takes no further step. */
  hold(): void {
    this.held = true;
  }

  /** Settles when the current step, if any, is taken and its answer is sent. */
  async idle(): Promise<void> {
    await this.underWay;
    await yieldToEvents();
  }

  private async take(batch: Batch): Promise<Answer> {
    const { step, epoch, drifted: [drifted] = [] } = batch;
    const clock = { step, epoch, steps: this.settings.config.train.steps };
    const { rows, targets, run, scalars, bad } = await this.edge.step(batch, clock);
    this.taken = step + 1;
    const measured = this.measures.note(step, () => this.edge.prototypesInUse());
    this.latest = { ...scalars, ...measured };
    const enough = this.enoughComponents(batch, scalars.used);
    return {
      scalars: {
        ...this.latest,
        ...this.settings.rankTargets?.(clock),
        ...(bad && { badStep: bad.step, badRow: bad.row }),
        ...(drifted !== undefined && { drifted }),
        ...(enough !== null && { enoughComponents: enough }),
      },
      commands: [],
      ...(rows && { rows }),
      ...(targets && { targets }),
      ...(run && { run }),
    };
  }

  state(): Promise<NamedTensors> {
    return this.edge.state();
  }

  /** Loads a saved state, or starts over from prototypes if the state holds nothing else. */
  async load(step: number, state: NamedTensors): Promise<void> {
    const { [START]: start, ...rest } = state;
    if (start && Object.keys(rest).length === 0) {
      await this.edge.restart(this.startRows(start));
    } else {
      this.edge.load(state);
    }
    this.taken = step;
    this.measures.stop();
    this.measures = new Measures(this.components, this.dim);
    this.spare = new Spare(this.components);
  }

  attach(send: (run: Run) => void): void {
    this.edge.device?.attach(send);
  }

  values(seq: number, tensors: Tensor[]): void {
    this.edge.device?.values(seq, tensors);
  }

  failed(_rank: number, failure: RunFailure): string | undefined {
    return this.edge.device?.failed(failure).message;
  }

  /**
   * A mixture on the ranks' device is lost with the last rank. One in this process waits for the ranks to come back if
   * it has taken a step.
   */
  lost(rank: number, why: string): void {
    this.ranks.delete(rank);
    if (this.ranks.size > 0 || (this.edge.device === undefined && this.taken > 0)) return;
    this.edge.device?.lost(`${this.title}: rank ${rank} was lost: ${why}`);
    this.host.ended(true);
  }

  empty(): void {
    if (this.ranks.size === 0 && this.taken === 0) this.host.ended(true);
  }

  left(rank: number): void {
    this.ranks.delete(rank);
    if (this.ranks.size > 0) return;
    this.over = true;
    this.edge.device?.lost(`${this.title}: its last rank has left`);
    this.host.ended(false);
  }

  dispose(): void {
    this.measures.stop();
    this.edge.dispose();
  }

  /** Throws RejectError if a later hello asks for other settings than the mixture has, which are fixed. */
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

  /** Null for frozen prototypes: their use does not tell how many learned ones would be enough. */
  private enoughComponents({ rows, announced }: Batch, used: number | undefined): number | null {
    if (used === undefined || this.settings.config.plugin.kind === "frozen") return null;
    return this.spare.note(used, rows?.n ?? announced?.n ?? 0);
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
