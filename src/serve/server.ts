import { setTimeout as sleep } from "node:timers/promises";
import { checkNumbers, checkSecret } from "../bridge/admission.ts";
import { RejectError } from "../bridge/errors.ts";
import { LIMITS } from "../bridge/limits.ts";
import { Rate } from "../bridge/rate.ts";
import type { Hello, Room } from "../bridge/room.ts";
import type { Security } from "../bridge/security.ts";
import { BridgeServer } from "../bridge/server.ts";
import { printable, RunError, sentence } from "../errors.ts";
import { MixtureRoom } from "./room.ts";
import { forgetMixture, readMixture, saveMixture } from "./saved.ts";
import { type MixtureSettings, type Settings, settingsFor } from "./settings.ts";

/** The maximum length of a name: shorter than the hash that may replace one in a file name, so they never collide. */
const MAX_NAME = 60;

export interface MixtureServerOptions {
  settings: Settings;
  endpoint: string;
  /** Keys, required to serve other machines. */
  security?: Security;
  /** Seconds that any wait may take. */
  deadline: number;
  /** Where mixtures are saved for the next server; if left out, none are saved. */
  stateDir?: string;
  /** Whether it belongs to one script, which started it, and so may run plugin files that the script names. */
  owned?: boolean;
  /** Logs an event, one sentence each. */
  log(line: string): void;
}

/** Serves mixtures to drop-in heads: one for each run and name, made at its first hello. */
export class MixtureServer {
  private readonly rooms = new Map<string, MixtureRoom>();
  /** K x D of every mixture that is open or being opened. */
  private readonly numbers = new Map<string, number>();
  /** Opening a mixture takes about ten milliseconds, in which the others wait. */
  private readonly openings = new Rate(LIMITS.openings, LIMITS.openingsPerSecond);
  private bridge!: BridgeServer;
  private stopping = false;

  private constructor(private readonly options: MixtureServerOptions) {}

  /** @throws UserError if the endpoint cannot be used. */
  static async start(options: MixtureServerOptions): Promise<MixtureServer> {
    const server = new MixtureServer(options);
    const { endpoint, deadline, security } = options;
    server.bridge = await BridgeServer.start({
      endpoint,
      deadline,
      ...(security && { security }),
      open: (hello) => server.open(hello),
    });
    return server;
  }

  get endpoint(): string {
    return this.bridge.endpoint;
  }

  /** Resolves if the socket fails and no further message can arrive. Then call `stop`, which saves the mixtures. */
  get failed(): Promise<RunError> {
    return this.bridge.failed;
  }

  /** The open mixtures. */
  get mixtures(): readonly MixtureRoom[] {
    return [...this.rooms.values()];
  }

  /**
   * Finishes the current steps, saves the mixtures, and says goodbye to all ranks.
   *
   * @throws RunError, after saving the others, that names the mixtures that could not be saved.
   */
  async stop(): Promise<void> {
    this.stopping = true;
    for (const room of this.mixtures) room.hold();
    await Promise.all(this.mixtures.map((room) => room.idle()));
    const lost: string[] = [];
    const keeping = this.mixtures.map((room) =>
      this.keep(room).catch((error) => {
        if (!room.ended) lost.push(`${room.title} was not saved: ${sentence(error)}`);
      }),
    );
    await Promise.all(keeping); // before the goodbye: mixtures on a rank's device end with the rank
    await this.bridge.close("the server was stopped");
    for (const room of this.mixtures) room.dispose();
    this.rooms.clear();
    if (lost.length > 0) throw new RunError("internal", lost.join("; "));
  }

  private async open(hello: Hello): Promise<Room> {
    const { run, mixture } = hello;
    const { stateDir, log } = this.options;
    if (this.stopping) throw new RejectError("unknown", "the server is stopping");
    if (run.length > MAX_NAME || mixture.length > MAX_NAME) {
      throw new RejectError("unknown", `the name of a run or mixture has at most ${MAX_NAME} characters`);
    }
    if (!this.options.owned && !this.openings.take()) {
      throw new RejectError("busy", "too many mixtures began here just now: try again in a second");
    }
    const key = JSON.stringify([run, mixture]);
    const saved = stateDir === undefined ? undefined : await readMixture(stateDir, run, mixture);
    checkSecret(hello, saved?.secret);
    const room: MixtureRoom = await MixtureRoom.open(hello, saved, {
      log: (line) => log(printable(line)),
      settingsFor: (each) => settingsFor(each, this.options.settings, this.options.owned),
      makeRoom: (settings) => this.makeRoom(key, settings),
      ended: (lost) => {
        this.forget(key);
        void this.bridge.drop(run, mixture, "");
        log(`${room.title} has ended after ${room.steps} steps`);
        room.dispose();
        if (stateDir !== undefined && !lost) forgetMixture(stateDir, run, mixture);
      },
    }).catch((error) => {
      this.forget(key);
      throw error;
    });
    this.rooms.set(key, room);
    const from = saved ? `, at step ${saved.step}` : "";
    log(`${room.title} begins${from}: ${room.components} components of dimension ${room.dim}`);
    return room;
  }

  private forget(key: string): void {
    this.rooms.delete(key);
    this.numbers.delete(key);
  }

  /** Reserves a mixture's size. Throws RejectError if it is too large beside the others. A script's own server has no limit. */
  private makeRoom(key: string, { components, dim, chosen }: MixtureSettings): void {
    if (this.options.owned) return;
    checkNumbers(components, dim);
    const size = components * dim;
    if (chosen.placement === "host" && size > LIMITS.numbersInNode) {
      throw new RejectError(
        "shape",
        `${components} prototypes of dimension ${dim} are too many for a shared server: K x D is at most ${LIMITS.numbersInNode} in Node, ${LIMITS.numbers} with placement=device`,
      );
    }
    const others = [...this.numbers.values()].reduce((sum, each) => sum + each, 0);
    if (others + size > LIMITS.numbersInAll) {
      throw new RejectError(
        "busy",
        `the mixtures here hold K x D = ${others} in all: with ${size} more they would exceed ${LIMITS.numbersInAll}`,
      );
    }
    this.numbers.set(key, size);
  }

  private async keep(room: MixtureRoom): Promise<void> {
    const { stateDir, log, deadline } = this.options;
    if (stateDir === undefined || room.steps === 0) return;
    const { run, name, steps: step } = room;
    const state = await within(deadline, room.state());
    const file = await saveMixture(stateDir, run, name, { step, state, secret: room.secret });
    log(`${room.title} is saved at step ${step}: ${file}`);
  }
}

/** Awaits work for at most `seconds`, since a busy rank may not answer for long. */
async function within<T>(seconds: number, work: Promise<T>): Promise<T> {
  const timer = new AbortController();
  try {
    const late = sleep(seconds * 1000, undefined, { signal: timer.signal }).then(() => {
      throw new RunError("deadline", `its rank did not answer within ${seconds} s`);
    });
    return await Promise.race([work, late]);
  } finally {
    timer.abort();
  }
}
