// Opens the backend that is named on the command line and multiplies with it: a script for backend.test.ts.
import * as tf from "@tensorflow/tfjs-core";
import { openBackend } from "../../src/backend/backend.ts";
import { config } from "../../src/config/schema.ts";
import { sentence } from "../../src/errors.ts";

try {
  console.log(await openBackend(config.shape.backend.parse(process.argv[2]), console.log));
  const ones = tf.ones([2, 3]);
  console.log((await tf.matMul(ones, tf.transpose(ones)).data()).join(" "));
} catch (error) {
  console.log(error instanceof Error ? error.name : "", sentence(error));
}
