import { setTimeout as sleep } from "node:timers/promises";
import { RejectError } from "../bridge/errors.ts";
import type { Hello, Room } from "../bridge/room.ts";
import type { Security } from "../bridge/security.ts";
import { BridgeServer } from "../bridge/server.ts";
import { RunError, sentence } from "../errors.ts";
import { MixtureRoom } from "./room.ts";
import { forgetMixture, readMixture, saveMixture } from "./saved.ts";
import { type Settings, settingsFor } from "./settings.ts";

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
    const key = JSON.stringify([run, mixture]);
    const saved = stateDir === undefined ? undefined : await readMixture(stateDir, run, mixture);
    const room = await MixtureRoom.open(hello, saved, {
      log,
      settingsFor: (each) => settingsFor(each, this.options.settings, this.options.owned),
      ended: (lost) => {
        this.rooms.delete(key);
        void this.bridge.drop(run, mixture, "");
        log(`${room.title} has ended after ${room.steps} steps`);
        room.dispose();
        if (stateDir !== undefined && !lost) forgetMixture(stateDir, run, mixture);
      },
    });
    this.rooms.set(key, room);
    const from = saved ? `, at step ${saved.step}` : "";
    log(`${room.title} begins${from}: ${room.components} components of dimension ${room.dim}`);
    return room;
  }

  private async keep(room: MixtureRoom): Promise<void> {
    const { stateDir, log, deadline } = this.options;
    if (stateDir === undefined || room.steps === 0) return;
    const { run, name, steps: step } = room;
    const state = await within(deadline, room.state());
    const file = await saveMixture(stateDir, run, name, { step, state });
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
