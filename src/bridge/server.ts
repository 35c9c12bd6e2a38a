import { setImmediate as yieldToEvents } from "node:timers/promises";
import { Router } from "zeromq";
import { RunError, sentence, UserError } from "../errors.ts";
import { checkHello } from "./admission.ts";
import { encodeReject } from "./answers.ts";
import { decodeHeader, decodeTensors, encode, type Frames, type Tensors } from "./codec.ts";
import { commonVersion, type Dialect, knownCapabilities } from "./dialect.ts";
import { chooseEndpoint, type Endpoint } from "./endpoint.ts";
import { RejectError, WireError } from "./errors.ts";
import { FailureDetector, HEARTBEAT } from "./failure-detector.ts";
import { LIMITS } from "./limits.ts";
import { Outbox } from "./outbox.ts";
import { FRAME_BYTES, type Header } from "./protocol.ts";
import { Rate } from "./rate.ts";
import type { Hello, Room } from "./room.ts";
import { hashSecret } from "./secret.ts";
import { AllowList, type Security } from "./security.ts";
import { type Rank, World } from "./world.ts";

export interface ServerOptions {
  /** Makes the room of a run and mixture at its first hello. If it throws, the hello is rejected. */
  open(hello: Hello): Promise<Room>;
  /** "auto" (default): an ipc socket in a private folder; or ipc://PATH, tcp://HOST:PORT. */
  endpoint?: string;
  /** Encrypts every connection and admits known clients only; required for TCP beyond loopback. */
  security?: Security;
  /** Seconds that a step waits for the remaining ranks, from the first rank's rows on. Default 60. */
  deadline?: number;
  /** Seconds that a rank may take for each command. Default 3600. */
  commandDeadline?: number;
}

interface Peer extends Rank {
  world: World;
  outbox: Outbox;
  /** Limits how often it may repeat its hello, since a welcome may be large. */
  repeats: Rate;
  /** The number of its pending requests: states, loads, results. */
  requests: number;
}

type HelloHeader = Extract<Header, { type: "hello" }>;

/** Messages that are read in a row before other work runs, so that a flood does not block it. */
const IN_A_ROW = 8;
/** Repeated hellos of a rank: the number at once, and the number a second. */
const REPEATS = [8, 1] as const;

/**
 * The plugin's side of the bridge: one ROUTER, any number of rooms. It handles ranks, steps and bytes, and knows
 * nothing about mixtures.
 */
export class BridgeServer {
  private readonly peers = new Map<string, Peer>();
  private readonly worlds = new Map<string, Promise<World>>();
  private readonly joining = new Set<string>();
  private readonly failures: FailureDetector;
  private readonly loop: Promise<void>;
  private closed = false;
  /** The number of messages that have been read. */
  private read = 0;
  /** Resolves if the socket fails before `close`: no further message will arrive. */
  readonly failed: Promise<RunError>;
  private readonly strangers = new Rate(LIMITS.strangersMessages, LIMITS.strangersMessagesPerSecond);

  private constructor(
    private readonly options: ServerOptions,
    private readonly socket: Router,
    private readonly place: Endpoint,
    private readonly allowList: AllowList | undefined,
  ) {
    const pingAll = () => {
      for (const peer of this.peers.values())
        peer.send(encode({ type: "ping", generation: peer.generation }));
    };
    this.failures = new FailureDetector(socket, () => this.read, pingAll);
    this.loop = this.receive();
    this.failed = new Promise((resolve) => {
      const tell = (why: string) => {
        if (!this.closed) resolve(new RunError("internal", `the socket at ${place.address} failed: ${why}`));
      };
      this.loop.then(
        () => tell("it was closed"),
        (error) => tell(sentence(error)),
      );
    });
  }

  /** Binds and serves. Throws UserError if the endpoint cannot be used. */
  static async start(options: ServerOptions): Promise<BridgeServer> {
    const { security, endpoint = "auto" } = options;
    const place = await chooseEndpoint(endpoint, security !== undefined);
    let allowList: AllowList | undefined;
    let socket: Router | undefined;
    try {
      allowList = security && (await AllowList.open(security));
      socket = new Router({
        ...HEARTBEAT,
        mandatory: true,
        sendTimeout: 0, // a send is queued or fails immediately
        sendHighWaterMark: LIMITS.queued,
        receiveHighWaterMark: LIMITS.unread,
        maxMessageSize: FRAME_BYTES,
        linger: 1000,
        ...allowList?.socketOptions,
      });
      await socket.bind(place.address);
      return new BridgeServer(options, socket, place, allowList);
    } catch (cause) {
      socket?.close();
      await allowList?.close();
      await place.remove();
      if (cause instanceof UserError) throw cause;
      throw new UserError(`cannot listen on ${place.address}: ${sentence(cause)}`, { cause });
    }
  }

  /** Where ranks connect. */
  get endpoint(): string {
    return this.socket.lastEndpoint ?? this.place.address;
  }

  /**
   * Forgets a room and tells its ranks `reason`; the next hello opens it anew. Settles when the room has finished
   * all earlier requests.
   */
  async drop(run: string, mixture: string, reason: string): Promise<void> {
    for (const [id, peer] of this.peers) {
      if (peer.hello.run !== run || peer.hello.mixture !== mixture) continue;
      peer.send(encode({ type: "bye", generation: peer.generation, reason }));
      this.peers.delete(id);
    }
    const dropped = this.worlds.get(roomKey({ run, mixture }));
    this.worlds.delete(roomKey({ run, mixture }));
    const world = await dropped?.catch(() => undefined); // the rank that opened it was told
    world?.dispose();
    await world?.idle;
  }

  /** Settles when a room has finished all requests of its ranks so far. */
  async idle(run: string, mixture: string): Promise<void> {
    const world = await this.worlds.get(roomKey({ run, mixture }));
    await world?.idle;
  }

  /** Says goodbye to every rank and stops: no socket, timer or folder is left. */
  async close(reason = ""): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    for (const peer of this.peers.values()) {
      peer.send(encode({ type: "bye", generation: peer.generation, reason }));
      peer.outbox.flush();
    }
    this.peers.clear();
    this.failures.stop();
    try {
      this.socket.close();
      await this.loop;
    } catch (error) {
      process.emitWarning(`the socket at ${this.place.address} did not close: ${sentence(error)}`);
    }
    await this.allowList?.close();
    for (const world of await Promise.allSettled(this.worlds.values())) {
      if (world.status === "fulfilled") world.value.dispose();
    }
    await this.place.remove();
  }

  /** The only receive loop: a second one would fail with EBUSY. */
  private async receive(): Promise<void> {
    for await (const [routing, ...frames] of this.socket) {
      if (!routing) continue;
      if (++this.read % IN_A_ROW === 0) await yieldToEvents();
      const peer = this.peers.get(id(routing));
      if (!peer && !this.strangers.take()) continue;
      try {
        this.dispatch(routing, peer, frames);
      } catch (error) {
        if (!(error instanceof WireError)) process.emitWarning(sentence(error));
        this.complain(routing, error);
      }
    }
  }

  private dispatch(routing: Uint8Array, peer: Peer | undefined, frames: Frames): void {
    const header = decodeHeader(frames, peer ? LIMITS.headerBytes : LIMITS.strangersHeaderBytes);
    const read = () => decodeTensors(header, frames);
    if (header.type === "hello") void this.hello(routing, header, toHello(header, read()));
    if (!peer || !("generation" in header) || header.generation !== peer.generation) return;
    const { world } = peer;
    switch (header.type) {
      case "embeddings":
        world.embeddings(peer, header, read);
        break;
      case "state":
        this.request(peer, () => world.state(peer));
        break;
      case "load":
        this.request(peer, () => world.load(peer, header.step, read));
        break;
      case "result":
        this.request(peer, () => world.result(peer, header, read));
        break;
      case "values":
        world.values(peer, header, read);
        break;
      case "failed":
        world.failed(peer, header);
        break;
      case "ping":
        world.ping(peer);
        break;
      case "bye":
        this.peers.delete(id(routing));
        world.leave(peer, header.reason);
        break;
    }
  }

  /** Starts a rank's request. A rank with too many pending requests gets an error. */
  private request(peer: Peer, work: () => Promise<void>): void {
    if (peer.requests >= LIMITS.requests) {
      peer.world.fail(peer, "order", `${LIMITS.requests} requests are under way: wait for their answers`);
      return;
    }
    peer.requests++;
    work()
      .catch((error) => peer.send(encodeReject(error, "state")))
      .finally(() => peer.requests--);
  }

  private async hello(routing: Uint8Array, header: HelloHeader, hello: Hello): Promise<void> {
    const { generation } = header;
    const dialect = toDialect(header);
    const key = id(routing);
    const known = this.peers.get(key);
    if (this.joining.has(key)) return; // its welcome is being prepared
    if (known?.generation === generation) {
      if (known.welcome && known.repeats.take()) known.send(known.welcome.frames);
      return;
    }
    this.joining.add(key);
    try {
      if (known) throw new RejectError("busy", "this connection belongs to another rank already");
      checkHello(hello);
      if (this.peers.size >= LIMITS.ranks) {
        throw new RejectError("busy", `${LIMITS.ranks} ranks are connected, which is the most`);
      }
      const world = await this.world(hello);
      const outbox = new Outbox(
        (message) => this.socket.send([routing, ...message]),
        (error) => this.lose(routing, error),
      );
      const peer: Peer = {
        world,
        hello,
        dialect,
        generation,
        outbox,
        send: (message) => this.socket.closed || outbox.push(message),
        repeats: new Rate(...REPEATS),
        requests: 0,
      };
      this.peers.set(key, peer);
      await world.join(peer);
    } catch (error) {
      if (!known) this.peers.delete(key);
      this.tell(routing, encodeReject(error, "unknown", dialect.version));
    } finally {
      this.joining.delete(key);
    }
  }

  /** The world of a run and mixture, made at its first hello. */
  private world(hello: Hello): Promise<World> {
    const key = roomKey(hello);
    let world = this.worlds.get(key);
    if (!world) {
      if (this.worlds.size >= LIMITS.mixtures) {
        throw new RejectError("busy", `${LIMITS.mixtures} mixtures are held here, which is the most`);
      }
      const { deadline = 60, commandDeadline = 3600 } = this.options;
      const deadlines = { step: deadline * 1000, command: commandDeadline * 1000 };
      world = this.options.open(hello).then((room) => new World(room, hello.world, deadlines));
      this.worlds.set(key, world);
      world.catch(() => this.worlds.delete(key));
    }
    return world;
  }

  /** Answers an invalid message: a rank gets an error for its step, a stranger is rejected. */
  private complain(routing: Uint8Array, error: unknown): void {
    const peer = this.peers.get(id(routing));
    const code = error instanceof WireError ? error.code : "shape";
    if (peer) peer.world.fail(peer, code === "version" ? "shape" : code, sentence(error));
    else
      this.tell(
        routing,
        encodeReject(new RejectError(code === "dtype" ? "shape" : code, sentence(error)), "shape"),
      );
  }

  /** Sends a message to a peer that is not a rank. If it cannot be sent at once, it is dropped. */
  private tell(routing: Uint8Array, message: Frames): void {
    if (!this.socket.closed) this.socket.send([routing, ...message]).catch(() => {});
  }

  /** Removes a peer to which a send failed. */
  private lose(routing: Uint8Array, error: unknown): void {
    const peer = this.peers.get(id(routing));
    this.failures.afterUnread(() => {
      if (peer === undefined || this.peers.get(id(routing)) !== peer) return;
      this.peers.delete(id(routing));
      peer.world.lose(peer, `its process ended or its connection broke (${sentence(error)})`);
    });
  }
}

function id(routing: Uint8Array): string {
  return Buffer.from(routing.buffer, routing.byteOffset, routing.byteLength).toString("hex");
}

function roomKey({ run, mixture }: { run: string; mixture: string }): string {
  return JSON.stringify([run, mixture]);
}

function toDialect(header: HelloHeader): Dialect {
  const version = commonVersion(header) ?? header.version; // the codec refuses a hello without a common one
  return { version, capabilities: knownCapabilities(header.capabilities) };
}

function toHello(header: HelloHeader, tensors: Tensors): Hello {
  const { run, mixture, rank, world, components, dim, start, config, executor, device } = header;
  const { prototypes } = tensors;
  const secret = hashSecret(header.secret ?? "");
  const hello = { run, mixture, rank, world, components, dim, start, config, secret, executor, device };
  if (!prototypes) return hello;
  const [n = 0, d = 0] = prototypes.shape;
  if (prototypes.dtype !== "float32" || prototypes.shape.length !== 2) {
    throw new WireError("shape", "the starting prototypes are K x D, float32");
  }
  return { ...hello, prototypes: { data: prototypes.data, n, d } };
}
