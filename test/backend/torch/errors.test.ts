import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { withBackend } from "../../../src/backend/context.ts";
import { type Connection, connect } from "../../../src/backend/torch/index.ts";
import { RunError, UserError } from "../../../src/errors.ts";
import { Recorded } from "./recorded.ts";

/** "errors.test.ts:12" of the line after the one that this is called on. */
function nextLine(): string {
  const [, line = "0"] = /errors\.test\.ts:(\d+)/.exec(new Error().stack?.split("\n")[2] ?? "") ?? [];
  return `errors.test.ts:${Number(line) + 1}:`;
}

function thrown(work: () => unknown): UserError {
  try {
    work();
  } catch (error) {
    if (error instanceof UserError) return error;
    throw error;
  }
  assert.fail("nothing was thrown");
}

async function failureOf(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Error) return error;
  }
  assert.fail("nothing was thrown");
}

/** One sentence: no line breaks, no stack. */
const isSentence = ({ message }: Error) => !/\n|Error:/.test(message);

describe("mistakes on backend torch, before anything is sent", () => {
  const device = new Recorded();

  it("names the replacement of dataSync", () => {
    device.on(() => {
      const x = tf.exp(tf.tensor2d([[1, 2]]));
      for (const read of [() => x.dataSync(), () => x.arraySync(), () => x.bufferSync()]) {
        assert.match(thrown(read).message, /write `await x\.data\(\)`/);
      }
      assert.match(thrown(() => tf.scalar(1).dataSync()).message, /await/);
    });
  });

  it("names a kernel that it does not have, and the line that asked for it", () => {
    device.on(() => {
      const x = tf.tensor4d(new Float32Array(16), [1, 4, 4, 1]);
      const line = nextLine();
      const error = thrown(() => tf.maxPool(x, 2, 1, "same"));
      assert.match(error.message, /no kernel MaxPool/);
      assert.ok(error.message.includes(line), `${error.message} has ${line}`);
      assert.ok(isSentence(error));
    });
  });

  it("names the line that uses a tensor after it was disposed of", () => {
    device.on(() => {
      const x = tf.tensor1d([1]);
      x.dispose();
      const line = nextLine();
      const error = thrown(() => tf.engine().runKernel("Exp", { x }));
      assert.match(error.message, /Exp: a disposed tensor is used again/);
      assert.ok(error.message.includes(line), error.message);
    });
  });

  it("does not take a tensor of another device", () => {
    const x = new Recorded().on(() => tf.exp(tf.tensor1d([1])));
    assert.match(thrown(() => device.on(() => tf.exp(x))).message, /another device/);
  });

  it("has no tensors of strings or complex numbers", () => {
    device.on(() => {
      assert.match(thrown(() => tf.tensor1d(["a"])).message, /not of string/);
      assert.match(thrown(() => tf.complex([1], [2])).message, /no kernel Complex/);
    });
  });

  it("ends a loop that queues for ever", () => {
    const small = new Recorded({ maxQueued: 1000 });
    const error = small.on(() =>
      thrown(() => {
        for (let x: tf.Tensor = tf.scalar(0); ; x = tf.add(x, 1));
      }),
    );
    assert.match(error.message, /^1,000 operations wait .* Add \(.*errors\.test\.ts:\d+:\d+\) end\?/);
    assert.ok(isSentence(error));
  });

  it("names an operation whose result alone exceeds the memory limit", () => {
    const small = new Recorded({ memory: 1 << 20 });
    const error = small.on(() =>
      thrown(() => tf.matMul(tf.ones<tf.Rank.R2>([1024, 8]), tf.ones<tf.Rank.R2>([8, 1024]))),
    );
    assert.match(
      error.message,
      /^BatchMatMul of float32 \[1024, 8\] and float32 \[8, 1024\] would take 4\.0 MiB .*\(.*errors\.test\.ts:\d+:\d+\), but 0\.0 MiB of 1\.0 MiB are taken$/,
    );
  });

  it("checks indices that JavaScript knows", () => {
    device.on(() => {
      const x = tf.zeros([3, 2]);
      assert.match(thrown(() => tf.gather(x, [0, 3])).message, /index value 3 is not in \[0, 2\]/);
      assert.match(thrown(() => tf.gatherND(x, [[2, 2]])).message, /Invalid indices: 2,2/);
    });
  });
});

describe("failures on the device", function () {
  this.timeout(60_000);
  let connection: Connection;
  let failures: Error[];
  const on = <T>(work: () => T): T => withBackend("torch", connection.backend, work);

  before(async () => {
    connection = await connect({ device: "cpu", threads: 1, onFailure: (error) => failures.push(error) });
  });
  beforeEach(() => {
    failures = [];
  });
  after(() => connection?.close());

  /** 16 TB, which no machine gives away. */
  const tooLarge = () => tf.matMul(tf.ones<tf.Rank.R2>([2 ** 21, 1]), tf.ones<tf.Rank.R2>([1, 2 ** 21]));

  it("reject who waits for values with the operation, its shapes, its line and the reason", async () => {
    await on(async () => {
      const line = nextLine();
      const huge = tf.matMul(tf.ones<tf.Rank.R2>([2 ** 21, 1]), tf.ones<tf.Rank.R2>([1, 2 ** 21]));
      const error = await failureOf(tf.sum(huge).data());
      assert.ok(error instanceof UserError && isSentence(error), error.message);
      assert.match(
        error.message,
        /^BatchMatMul of float32 \[2097152, 1\] and float32 \[1, 2097152\] does not fit/,
      );
      assert.ok(error.message.includes(line), `${error.message} has ${line}`);
      assert.deepEqual(failures, [error]);
    });
  });

  it("leave all other tensors unchanged, even those written just before", async () => {
    await on(async () => {
      const x = tf.exp(tf.zeros([3]));
      await x.data();
      const written = tf.tensor1d(Float32Array.from({ length: 100 }, (_, at) => at));
      await assert.rejects(tf.add(tf.sum(tooLarge()), tf.sum(written)).data());
      assert.deepEqual(await x.data(), Float32Array.of(1, 1, 1));
      assert.deepEqual(await tf.sum(written).data(), Float32Array.of(4950));
    });
  });

  it("are reported again, in the same sentence, when a lost result is used", async () => {
    await on(async () => {
      const sum = tf.sum(tooLarge());
      const kept = tf.add(sum, 1);
      const error = await failureOf(sum.data());
      assert.equal(
        thrown(() => tf.exp(kept)),
        error,
      );
      await assert.rejects(kept.data(), error);
      assert.equal(failures.length, 1);
    });
  });

  it("are found if a kernel declares a wrong result", async () => {
    await on(async () => {
      const { backend } = connection;
      const x = backend.operand(tf.exp(tf.zeros([3])), "Lie", undefined);
      const [lie] = backend.op("Sum", [x], { axis: [0], keepDims: false }, [["float32", [7]]], undefined);
      assert.ok(lie !== undefined);
      const tensor = tf.engine().makeTensorFromTensorInfo(backend.give(lie), backend);
      const error = await failureOf(tensor.data());
      assert.match(
        error.message,
        /^Sum of float32 \[3\] failed .* declared to give float32 \[7\]; it gave float32 \[\]/,
      );
    });
  });

  it("name their own line if the same operations came from others before", async () => {
    await on(async () => {
      const x = tf.ones<tf.Rank.R2>([2 ** 21, 1]);
      await tf.sum(x).data();
      for (let times = 0; times < 3; times++) {
        await assert.rejects(tf.sum(tf.matMul(x, x, false, true)).data());
      }
      const line = nextLine();
      const error = await failureOf(tf.sum(tf.matMul(x, x, false, true)).data());
      assert.ok(error.message.includes(line), `${error.message} has ${line}`);
    });
  });

  it("name the line of a step that was repeated", async () => {
    await on(async () => {
      const line = nextLine();
      const huge = (x: tf.Tensor2D, size: number) => tf.matMul(tf.tile(x, [size, 1]), tf.tile(x, [1, size]));
      const x = tf.exp(tf.zeros([1, 1]));
      const step = (size: number) =>
        tf.tidy(() => {
          let y: tf.Tensor = x;
          for (let i = 0; i < 20; i++) y = tf.sin(y);
          return tf.add(tf.sum(huge(tf.reshape(x, [1, 1]), size)), y);
        });
      for (let i = 0; i < 5; i++) await step(2).data();
      const error = await failureOf(step(2 ** 21).data());
      assert.ok(error.message.includes(line), `${error.message} has ${line}`);
    });
  });

  it("reject pending and later reads if the executor has died", async () => {
    const own = await connect({ device: "cpu", threads: 1 });
    try {
      await withBackend("torch", own.backend, async () => {
        const x = tf.exp(tf.zeros([3]));
        await x.data();
        process.kill(own.pid, "SIGKILL");
        const error = await failureOf(tf.sin(x).data());
        assert.ok(error instanceof RunError, error.message);
        assert.match(error.message, /executor is gone|was ended by SIGKILL/);
        assert.throws(() => tf.sin(x), error);
      });
    } finally {
      await own.close();
    }
  });
});
