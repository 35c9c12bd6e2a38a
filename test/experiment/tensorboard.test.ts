import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import crc32c from "crc-32/crc32c.js";
import { resolveConfig } from "../../src/config/load.ts";
import type { Job } from "../../src/experiment/run-folder.ts";
import { tensorboard } from "../../src/experiment/tensorboard.ts";

/** One event: its step, and what else it holds. */
interface Event {
  step: number;
  fileVersion?: string;
  /** 1 where a session starts at `step`. */
  session?: number;
  scalars: Record<string, number>;
}

type Fields = { number: number; value: number | Buffer }[];

/** Reads an event file by the descriptions of TFRecord, protobuf's wire format and event.proto. */
function readEvents(file: Buffer): Event[] {
  const events: Event[] = [];
  for (let at = 0; at < file.length; ) {
    const length = Number(file.readBigUInt64LE(at));
    assert.equal(file.readUInt32LE(at + 8), masked(file.subarray(at, at + 8)), "checksum of the length");
    const data = file.subarray(at + 12, at + 12 + length);
    assert.equal(file.readUInt32LE(at + 12 + length), masked(data), "checksum of the data");
    events.push(readEvent(readFields(data)));
    at += 16 + length;
  }
  return events;
}

function masked(data: Buffer): number {
  const crc = BigInt(crc32c.buf(data) >>> 0);
  const rotated = ((crc >> 15n) | (crc << 17n)) & 0xffffffffn;
  return Number((rotated + 0xa282ead8n) & 0xffffffffn);
}

function readEvent(fields: Fields): Event {
  const event: Event = { step: 0, scalars: {} };
  for (const { number, value } of fields) {
    if (number === 1) assert.ok(Math.abs(Number(value) - Date.now() / 1000) < 600, "wall time in seconds");
    if (number === 2) event.step = Number(value);
    if (number === 3) event.fileVersion = String(value);
    if (number === 7 && Buffer.isBuffer(value)) event.session = Number(readFields(value)[0]?.value);
    if (number === 5 && Buffer.isBuffer(value)) {
      for (const { value: scalar } of readFields(value)) {
        assert.ok(Buffer.isBuffer(scalar));
        const [tag, simple] = readFields(scalar);
        event.scalars[String(tag?.value)] = Number(simple?.value);
      }
    }
  }
  return event;
}

function readFields(data: Buffer): Fields {
  const fields: Fields = [];
  let at = 0;
  const varint = () => {
    for (let value = 0, scale = 1; ; scale *= 128) {
      const byte = data[at++] ?? 0;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < data.length) {
    const key = varint();
    const number = key >> 3;
    const wireType = key & 7;
    if (wireType === 0) fields.push({ number, value: varint() });
    if (wireType === 1) fields.push({ number, value: data.readDoubleLE(at) });
    if (wireType === 5) fields.push({ number, value: data.readFloatLE(at) });
    if (wireType === 2) {
      const length = varint();
      fields.push({ number, value: data.subarray(at, at + length) });
      at += length;
    }
    at += { 0: 0, 1: 8, 2: 0, 5: 4 }[wireType] ?? Number.NaN;
  }
  return fields;
}

describe("TensorBoard", () => {
  let folder: string;
  let job: Job;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-tensorboard-"));
    job = { arm: "joint", seed: 0, label: "joint", config: resolveConfig({}), folder };
  });
  afterEach(() => rm(folder, { recursive: true }));

  async function written(): Promise<Event[][]> {
    const names = (await readdir(join(folder, "tensorboard"))).sort();
    assert.ok(names.every((name) => name.startsWith("events.out.tfevents.")));
    return Promise.all(
      names.map(async (name) => readEvents(await readFile(join(folder, "tensorboard", name)))),
    );
  }

  it("has the checksum that its records ask for", () => {
    assert.equal(crc32c.buf(Buffer.from("123456789")) >>> 0, 0xe3069283);
  });

  it("gets every number that is measured, at its step, as soon as it is measured", async () => {
    const hook = tensorboard();
    hook(job, { step: 10, loss: 6.5, spread: 0.25 });
    hook(job, { step: 300, knn: 0.5, unique: { "0.025": 1, "0.5": 0.75 }, used: 0.125 });
    const [events] = await written();
    assert.deepEqual(events, [
      { step: 0, fileVersion: "brain.Event:2", scalars: {} },
      { step: 10, session: 1, scalars: {} },
      { step: 10, scalars: { loss: 6.5, spread: 0.25 } },
      { step: 300, scalars: { knn: 0.5, "unique/0.025": 1, "unique/0.5": 0.75, used: 0.125 } },
    ]);
  });

  it("gets a loss of NaN, and skips values that are missing", async () => {
    const hook = tensorboard();
    hook(job, { step: 1, loss: Number.NaN, note: "text" });
    hook(job, { step: 2, loss: null });
    const [events] = await written();
    assert.deepEqual(events?.slice(2), [{ step: 1, scalars: { loss: Number.NaN } }]);
  });

  it("learns from a resumed session from which step on earlier values are void", async () => {
    tensorboard()(job, { step: 500, loss: 1 });
    tensorboard()(job, { step: 260, loss: 2 });
    const files = await written();
    assert.deepEqual(
      files.map((events) => events[1]),
      [
        { step: 500, session: 1, scalars: {} },
        { step: 260, session: 1, scalars: {} },
      ],
    );
  });

  it("holds steps and tags of any size", async () => {
    const hook = tensorboard();
    const long = `probe.${"x".repeat(300)}`;
    hook(job, { step: 5_000_000_000, [long]: 1 });
    const [events] = await written();
    assert.deepEqual(events?.at(-1), { step: 5_000_000_000, scalars: { [long]: 1 } });
  });
});
