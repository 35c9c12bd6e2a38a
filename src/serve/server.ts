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

/** Longest name of a run or mixture: none is as long as the hash that stands for one in the name of a file. */
const MAX_NAME = 60;

export interface MixtureServerOptions {
  settings: Settings;
  endpoint: string;
  /** Keys, without which nobody beyond this machine is served. */
  security?: Security;
  /** Seconds that any wait may take. */
  deadline: number;
  /** Where mixtures are kept from one server to the next; none are where it is left out. */
  stateDir?: string;
  /** Whether it belongs to the one script that started it, and so may run what that names. */
  owned?: boolean;
  /** Told what happens, a sentence each. */
  log(line: string): void;
}

/** Mixtures for drop-in heads: one for each run and name, made at its first hello, side by side. */
export class MixtureServer {
  private readonly rooms = new Map<string, MixtureRoom>();
  /** K x D of every mixture that is held or being opened. */
  private readonly numbers = new Map<string, number>();
  /** To begin a mixture costs some ten milliseconds, in which the others wait. */
  private readonly openings = new Rate(LIMITS.openings, LIMITS.openingsPerSecond);
  private bridge!: BridgeServer;
  private stopping = false;

  private constructor(private readonly options: MixtureServerOptions) {}

  /** @throws UserError where the endpoint cannot be used. */
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

  /** Resolves where the server can hear nobody any more: stop it, which keeps what it has. */
  get failed(): Promise<RunError> {
    return this.bridge.failed;
  }

  /** The mixtures that are held. */
  get mixtures(): readonly MixtureRoom[] {
    return [...this.rooms.values()];
  }

  /**
   * Lets the steps under way end, says goodbye to everybody, and keeps the mixtures.
   *
   * @throws RunError that names those that could not be kept, once all the others are.
   */
  async stop(): Promise<void> {
    this.stopping = true;
    for (const room of this.mixtures) room.hold();
    await Promise.all(this.mixtures.map((room) => room.idle()));
    const lost: string[] = [];
    const keeping = this.mixtures.map((room) =>
      this.keep(room).catch((error) => lost.push(`${room.title} is not kept: ${sentence(error)}`)),
    );
    await Promise.all(keeping); // before the goodbye: what lies on the ranks' device goes with them
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
      throw new RejectError("busy", "many mixtures have begun here just now: try again in a second");
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

  /** Throws RejectError where a mixture is too large beside the others. The script that owns a server has it to itself. */
  private makeRoom(key: string, { components, dim, chosen }: MixtureSettings): void {
    if (this.options.owned) return;
    checkNumbers(components, dim);
    const size = components * dim;
    if (chosen.placement === "host" && size > LIMITS.numbersInNode) {
      throw new RejectError(
        "shape",
        `${components} prototypes of dimension ${dim} are too many for a server that scripts share: K x D is at most ${LIMITS.numbersInNode} in Node, ${LIMITS.numbers} with placement=device`,
      );
    }
    const others = [...this.numbers.values()].reduce((sum, each) => sum + each, 0);
    if (others + size > LIMITS.numbersInAll) {
      throw new RejectError(
        "busy",
        `the mixtures here have ${others} numbers of prototypes: with ${size} more they would have more than ${LIMITS.numbersInAll}`,
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
    log(`${room.title} is kept at step ${step}: ${file}`);
  }
}

/** A rank that is busy elsewhere may not answer for long. */
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
