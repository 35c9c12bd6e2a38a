import assert from "node:assert/strict";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as tf from "@tensorflow/tfjs-core";
import { z } from "zod";
import { closeBackend, openBackend } from "../../../src/backend/backend.ts";
import { withBackend } from "../../../src/backend/context.ts";
import { connect } from "../../../src/backend/torch/index.ts";
import { UserError } from "../../../src/errors.ts";
import { importFile } from "../../../src/files/import-file.ts";
import { Recorded } from "./recorded.ts";

const userFile = z.object({
  answer: z.custom<() => Promise<unknown>>((value) => typeof value === "function"),
  unique: z.custom<(x: tf.Tensor1D) => tf.Tensor>((value) => typeof value === "function"),
});

describe("connect", function () {
  this.timeout(120_000);
  let folder: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-user-"));
    await cp(fileURLToPath(new URL("user-file.ts", import.meta.url)), join(folder, "user-file.ts"));
  });
  after(() => rm(folder, { recursive: true }));

  it("is there by the name mixhead/backend-torch in a user's file, whose lines errors name", async () => {
    const { answer, unique } = userFile.parse(await importFile(join(folder, "user-file.ts")));
    assert.deepEqual(await answer(), { product: [7, 10, 15, 22], isBackend: true });
    assert.throws(() => new Recorded().on(() => unique(tf.tensor1d([1]))), /Unique.*user-file\.ts:27:/);
  });

  it("makes torch a backend for tf.setBackend, and takes it back", async () => {
    const connection = await connect({ device: "cpu", threads: 1 });
    assert.equal(connection.device, "cpu");
    assert.ok(await tf.setBackend("torch"));
    assert.equal(tf.backend(), connection.backend);
    assert.deepEqual(await tf.sum(tf.ones([3, 50])).data(), Float32Array.of(150));
    const { kernelMs, wallMs } = await tf.time(() => tf.matMul(tf.ones([64, 64]), tf.ones([64, 64])));
    assert.ok(Number(kernelMs) > 0 && Number(kernelMs) <= wallMs);
    await connection.close();
    await connection.close();
    assert.equal(tf.findBackendFactory("torch"), null);
    await openBackend("wasm");
  });

  it("keeps several apart", async () => {
    const [one, two] = await Promise.all([connect({ device: "cpu" }), connect({ device: "cpu" })]);
    try {
      const values = await Promise.all(
        [one, two].map(({ backend }, at) =>
          withBackend("torch", backend, () => tf.add(tf.scalar(at), tf.scalar(1)).data()),
        ),
      );
      assert.deepEqual(values, [Float32Array.of(1), Float32Array.of(2)]);
      assert.notEqual(one.pid, two.pid);
    } finally {
      await Promise.all([one.close(), two.close()]);
    }
  });

  it("reports a wrong option in one sentence", async () => {
    await assert.rejects(connect({ python: "/no/such/python" }), (error: Error) => {
      return error instanceof UserError && error.message.includes("/no/such/python");
    });
    await assert.rejects(connect({ device: "toaster" }), (error: Error) => {
      return /toaster/.test(error.message) && !error.message.includes("\n");
    });
  });

  it("is what the configuration's backend=torch does, until it is closed", async () => {
    const lines: string[] = [];
    assert.equal(await openBackend("torch", (line) => lines.push(line)), "torch");
    assert.match(lines.join(), /^The mixture runs on PyTorch \((cpu|cuda.*)\), as configured\.$/);
    assert.deepEqual(await tf.exp(tf.scalar(0)).data(), Float32Array.of(1));
    await closeBackend();
    await openBackend("wasm");
  });
});
