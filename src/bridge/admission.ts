import { RejectError } from "./errors.ts";
import { LIMITS } from "./limits.ts";
import type { Hello, Room } from "./room.ts";
import { mayGoOn } from "./secret.ts";

/** What a hello is checked against: a room, and the ranks of its world that have joined. */
export interface Admission {
  room: Pick<Room, "components" | "dim" | "secret">;
  /** How many ranks the world has. */
  size: number;
  present: Hello[];
  /** Why no step can be taken until every rank has left; undefined if steps can be taken. */
  broken: string | undefined;
}

/** Checks a hello before a room is opened for it. Throws RejectError if no room could accept it. */
export function checkHello({ rank, world, components, dim, prototypes }: Hello): void {
  if (rank >= world) {
    throw new RejectError("rank", `rank ${rank} of ${world} does not exist: ranks count from 0`);
  }
  checkNumbers(components, dim);
  if (prototypes) checkNumbers(prototypes.n, prototypes.d);
}

/** Throws RejectError if a mixture of K x D is too large for any server. */
export function checkNumbers(components: number, dim: number): void {
  if (components * dim <= LIMITS.numbers) return;
  throw new RejectError(
    "shape",
    `${components} prototypes of dimension ${dim} are too many: K x D is at most ${LIMITS.numbers}`,
  );
}

/** Throws RejectError if a run began with a secret and the hello has another. `ours`: the hash of the run's secret. */
export function checkSecret({ run, secret }: Hello, ours = ""): void {
  if (mayGoOn(secret, ours)) return;
  throw new RejectError(
    "secret",
    `run "${run}" began with a secret that this client does not have: continue it from the account that began it (or with its MIXHEAD_SECRET), or give this run another name`,
  );
}

/** Throws RejectError if a rank does not fit into the world or the room. */
export function admit(hello: Hello, { room, size, present, broken }: Admission): void {
  const { run, rank, world, components, dim, start } = hello;
  const who = `rank ${rank} of run "${run}"`;
  checkSecret(hello, room.secret); // before anything is said about the run
  if (present.some((each) => each.rank === rank)) {
    throw new RejectError(
      "busy",
      `${who} is held by another process; if that was killed just now, try again in a few seconds`,
    );
  }
  if (broken !== undefined) {
    throw new RejectError(
      "busy",
      `${who} has to wait until the other ranks of its world have left: ${broken}`,
    );
  }
  if (world !== size) {
    throw new RejectError("rank", `${who} claims a world of ${world} ranks; this world has ${size}`);
  }
  const differ = (theirs: number, ours: number) => theirs > 0 && ours > 0 && theirs !== ours;
  if (differ(components, room.components) || differ(dim, room.dim)) {
    throw new RejectError(
      "shape",
      `${who} has ${components} prototypes of dimension ${dim}; the mixture has ${room.components} of dimension ${room.dim}`,
    );
  }
  const other = present.find((each) => each.start !== "");
  if (start !== "" && other && other.start !== start) {
    throw new RejectError("state", `${who} starts from other prototypes than rank ${other.rank}`);
  }
}
