import { appendFileSync, mkdirSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import crc32c from "crc-32/crc32c.js";
import { fileError } from "../files/errors.ts";
import type { MetricsHook } from "./hooks.ts";

/**
 * Writes measurements as TensorBoard scalars into `tensorboard/` beside each training's metrics.jsonl;
 * `tensorboard --logdir runs/NAME` shows them. Every session writes its own file, which first withdraws
 * earlier scalars from its first step on, because a resumed run repeats these steps.
 */
export function tensorboard(): MetricsHook {
  const files = new Map<string, EventFile>();
  return ({ folder }, { step, ...line }) => {
    let file = files.get(folder);
    if (file === undefined) {
      file = new EventFile(join(folder, "tensorboard"), step);
      files.set(folder, file);
    }
    file.append(step, scalarsOf(line));
  };
}

/** Counts this process's files, so that two in the same second have different names. */
let begun = 0;

/** Numbers by tag; those of a group, such as unique, as "unique/0.5". Other values are ignored. */
function scalarsOf(line: Record<string, unknown>, prefix = ""): [tag: string, value: number][] {
  return Object.entries(line).flatMap(([name, value]): [string, number][] => {
    if (typeof value === "number") return [[prefix + name, value]];
    if (typeof value !== "object" || value === null || Array.isArray(value)) return [];
    return scalarsOf({ ...value }, `${prefix}${name}/`);
  });
}

/**
 * An event file: TFRecords, each a protobuf message `Event` of tensorflow/core/util/event.proto. Each
 * record is written at once, so that a killed run loses none.
 */
class EventFile {
  private readonly path: string;

  constructor(folder: string, firstStep: number) {
    mkdirSync(folder, { recursive: true });
    const second = String(Math.floor(Date.now() / 1000)).padStart(10, "0");
    this.path = join(folder, `events.out.tfevents.${second}.${hostname()}.${process.pid}.${begun++}`);
    this.write(0, FILE_VERSION, text("brain.Event:2"));
    this.write(firstStep, SESSION_LOG, Buffer.concat([tag(STATUS, VARINT), varint(START)]));
  }

  append(step: number, scalars: readonly [string, number][]): void {
    if (scalars.length === 0) return;
    const values = scalars.map(([name, value]) =>
      field(VALUE, Buffer.concat([field(TAG, text(name)), tag(SIMPLE_VALUE, FIXED32), float(value)])),
    );
    this.write(step, SUMMARY, Buffer.concat(values));
  }

  private write(step: number, kind: number, content: Buffer): void {
    const event = [tag(WALL_TIME, FIXED64), double(Date.now() / 1000), tag(STEP, VARINT), varint(step)];
    try {
      appendFileSync(this.path, record(Buffer.concat([...event, field(kind, content)])));
    } catch (error) {
      throw fileError("write", this.path, error);
    }
  }
}

// Field numbers of Event, SessionLog, Summary and Summary.Value.
const WALL_TIME = 1;
const STEP = 2;
const FILE_VERSION = 3;
const SUMMARY = 5;
const SESSION_LOG = 7;
const STATUS = 1;
const START = 1;
const VALUE = 1;
const TAG = 1;
const SIMPLE_VALUE = 2;

// Protobuf's wire types.
const VARINT = 0;
const FIXED64 = 1;
const LENGTH = 2;
const FIXED32 = 5;

/** A TFRecord: the length, its checksum, the data, their checksum. */
function record(data: Buffer): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(data.length));
  return Buffer.concat([length, checksum(length), data, checksum(data)]);
}

/** CRC-32C, rotated and offset as the format requires, so that checksums of checksums still detect errors. */
function checksum(data: Buffer): Buffer {
  const crc = crc32c.buf(data) >>> 0;
  const masked = Buffer.alloc(4);
  masked.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
  return masked;
}

function tag(number: number, wireType: number): Buffer {
  return varint((number << 3) | wireType);
}

/** A field that is a string or a message. */
function field(number: number, content: Buffer): Buffer {
  return Buffer.concat([tag(number, LENGTH), varint(content.length), content]);
}

/** A whole number from 0: seven bits per byte, lowest first. */
function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...bytes, rest]);
    bytes.push((rest % 128) + 128);
  }
}

function text(value: string): Buffer {
  return Buffer.from(value, "utf8");
}

function float(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}

function double(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return bytes;
}
