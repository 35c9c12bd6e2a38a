import { Router } from "zeromq";
import { sentence, UserError } from "../errors.ts";
import { encodeReject } from "./answers.ts";
import { decodeHeader, decodeTensors, encode, type Frames, type Tensors } from "./codec.ts";
import { chooseEndpoint, type Endpoint } from "./endpoint.ts";
import { RejectError, WireError } from "./errors.ts";
import { FRAME_BYTES, type Header } from "./protocol.ts";
import type { Hello, Room } from "./room.ts";
import { AllowList, type Security } from "./security.ts";
import { type Rank, World } from "./world.ts";

export interface ServerOptions {
  /** Makes the room of a run and mixture at its first hello. What it throws rejects that hello. */
  open(hello: Hello): Promise<Room>;
  /** "auto" (default): an ipc socket in a private folder; or ipc://PATH, tcp://HOST:PORT. */
  endpoint?: string;
  /** Encrypts every connection and lets in known clients only; needed for TCP beyond loopback. */
  security?: Security;
  /** Seconds that a step waits for the ranks that have not sent theirs. Default 60. */
  deadline?: number;
}

interface Peer extends Rank {
  world: World;
}

type HelloHeader = Extract<Header, { type: "hello" }>;

const HEARTBEAT = { heartbeatInterval: 2000, heartbeatTimeout: 6000, heartbeatTimeToLive: 6000 };
/** Milliseconds after a disconnect at which every peer is tried: the router learns of it a little later. */
const PROBES = [5, 50, 500];
/** Milliseconds between two looks at whether all that had come is read. */
const UNREAD_MS = 5;
/** Others may go on sending. */
const MOST_LOOKS = 200;

/**
 * The plugin's end of the wire: one ROUTER, any number of rooms. It knows ranks, steps and bytes,
 * and nothing of mixtures.
 */
export class BridgeServer {
  private readonly peers = new Map<string, Peer>();
  private readonly worlds = new Map<string, Promise<World>>();
  private readonly joining = new Set<string>();
  private readonly probes = new Set<NodeJS.Timeout>();
  private readonly loop: Promise<void>;

  private constructor(
    private readonly options: ServerOptions,
    private readonly socket: Router,
    private readonly place: Endpoint,
    private readonly allowList: AllowList | undefined,
  ) {
    socket.events.on("disconnect", () => this.probeSoon());
    this.loop = this.receive();
  }

  /** Binds and serves. Throws UserError where the endpoint cannot be used. */
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
        sendTimeout: 0, // with no high water mark every send is queued at once or fails for good
        sendHighWaterMark: 0,
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
   * Forgets a room, whose ranks are told `reason`; the next hello opens it anew. Settles when the room is done with
   * what was asked of it before.
   */
  async drop(run: string, mixture: string, reason: string): Promise<void> {
    for (const [id, peer] of this.peers) {
      if (peer.hello.run !== run || peer.hello.mixture !== mixture) continue;
      peer.send(encode({ type: "bye", generation: peer.generation, reason }));
      this.peers.delete(id);
    }
    const dropped = this.worlds.get(roomKey({ run, mixture }));
    this.worlds.delete(roomKey({ run, mixture }));
    const world = await dropped?.catch(() => undefined); // whoever asked for it was told
    world?.dispose();
    await world?.idle;
  }

  /** Settles when a room is done with all that its ranks have asked of it so far. */
  async idle(run: string, mixture: string): Promise<void> {
    const world = await this.worlds.get(roomKey({ run, mixture }));
    await world?.idle;
  }

  /** Says goodbye to every rank and stops: no socket, timer or folder is left. */
  async close(reason = ""): Promise<void> {
    if (this.socket.closed) return;
    for (const peer of this.peers.values()) {
      peer.send(encode({ type: "bye", generation: peer.generation, reason }));
    }
    this.peers.clear();
    for (const probe of this.probes) clearTimeout(probe);
    this.socket.close();
    await this.loop;
    await this.allowList?.close();
    for (const world of await Promise.allSettled(this.worlds.values())) {
      if (world.status === "fulfilled") world.value.dispose();
    }
    await this.place.remove();
  }

  /** The only receiver: a second one would fail with EBUSY. */
  private async receive(): Promise<void> {
    for await (const [routing, ...frames] of this.socket) {
      if (!routing) continue;
      try {
        this.dispatch(routing, frames);
      } catch (error) {
        if (!(error instanceof WireError)) process.emitWarning(sentence(error));
        this.complain(routing, error);
      }
    }
  }

  private dispatch(routing: Uint8Array, frames: Frames): void {
    const header = decodeHeader(frames);
    const read = () => decodeTensors(header, frames);
    const peer = this.peers.get(id(routing));
    if (header.type === "hello") void this.hello(routing, header, toHello(header, read()));
    if (!peer || !("generation" in header) || header.generation !== peer.generation) return;
    const { world } = peer;
    switch (header.type) {
      case "embeddings":
        world.embeddings(peer, header, read);
        break;
      case "state":
        world.state(peer);
        break;
      case "load":
        world.load(peer, header.step, read).catch((error) => peer.send(encodeReject(error, "state")));
        break;
      case "result":
        world.result(peer, header, read);
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

  private async hello(routing: Uint8Array, { generation }: HelloHeader, hello: Hello): Promise<void> {
    const key = id(routing);
    const known = this.peers.get(key);
    if (this.joining.has(key)) return; // its welcome is on the way
    if (known?.generation === generation) {
      if (known.welcome) known.send(known.welcome.frames);
      return;
    }
    this.joining.add(key);
    try {
      if (known) throw new RejectError("busy", "this connection belongs to another rank already");
      const world = await this.world(hello);
      const send = (message: Frames) => this.send(routing, message);
      const peer: Peer = { world, hello, generation, send, owes: 0 };
      this.peers.set(key, peer);
      await world.join(peer);
    } catch (error) {
      if (!known) this.peers.delete(key);
      this.send(routing, encodeReject(error, "unknown"));
    } finally {
      this.joining.delete(key);
    }
  }

  /** The world of a run and mixture, made at its first hello. */
  private world(hello: Hello): Promise<World> {
    const key = roomKey(hello);
    let world = this.worlds.get(key);
    if (!world) {
      const deadline = (this.options.deadline ?? 60) * 1000;
      world = this.options.open(hello).then((room) => new World(room, hello.world, deadline));
      this.worlds.set(key, world);
      world.catch(() => this.worlds.delete(key));
    }
    return world;
  }

  /** Answers bytes that are no message: a rank learns it as an error of its step, a stranger is rejected. */
  private complain(routing: Uint8Array, error: unknown): void {
    const peer = this.peers.get(id(routing));
    const code = error instanceof WireError ? error.code : "shape";
    if (peer) peer.world.fail(peer, code === "version" ? "shape" : code, sentence(error));
    else
      this.send(
        routing,
        encodeReject(new RejectError(code === "dtype" ? "shape" : code, sentence(error)), "shape"),
      );
  }

  private send(routing: Uint8Array, message: Frames): void {
    if (this.socket.closed) return;
    this.socket.send([routing, ...message]).catch((error) => this.lose(routing, error));
  }

  /**
   * A disconnect event does not say whose: a ping finds out, since nothing can be sent to a peer
   * that is gone. Messages that it had sent before are read first.
   */
  private probeSoon(): void {
    for (const wait of PROBES) {
      const probe = setTimeout(() => {
        this.probes.delete(probe);
        for (const peer of this.peers.values())
          peer.send(encode({ type: "ping", generation: peer.generation }));
      }, wait);
      this.probes.add(probe);
    }
  }

  /** What a peer had sent before it went is read first, however busy this process is. */
  private lose(routing: Uint8Array, error: unknown, looks = 0): void {
    const peer = this.peers.get(id(routing));
    if (!peer) return;
    if (!this.socket.closed && this.socket.readable && looks < MOST_LOOKS) {
      const again = setTimeout(() => {
        this.probes.delete(again);
        this.lose(routing, error, looks + 1);
      }, UNREAD_MS);
      this.probes.add(again);
      return;
    }
    this.peers.delete(id(routing));
    peer.world.lose(peer, `its process ended or its connection broke (${sentence(error)})`);
  }
}

function id(routing: Uint8Array): string {
  return Buffer.from(routing.buffer, routing.byteOffset, routing.byteLength).toString("hex");
}

function roomKey({ run, mixture }: { run: string; mixture: string }): string {
  return JSON.stringify([run, mixture]);
}

function toHello(header: HelloHeader, tensors: Tensors): Hello {
  const { run, mixture, rank, world, components, dim, start, config, executor, device } = header;
  const { prototypes } = tensors;
  const hello = { run, mixture, rank, world, components, dim, start, config, executor, device };
  if (!prototypes) return hello;
  const [n = 0, d = 0] = prototypes.shape;
  if (prototypes.dtype !== "float32" || prototypes.shape.length !== 2) {
    throw new WireError("shape", "the starting prototypes are K x D, float32");
  }
  return { ...hello, prototypes: { data: prototypes.data, n, d } };
}
