// Opens the backend that is named on the command line and multiplies with it: a script for backend.test.ts.
import * as tf from "@tensorflow/tfjs-core";
import { openBackend } from "../../src/backend/backend.ts";
import { sentence } from "../../src/errors.ts";

const choice = process.argv[2];
if (choice !== "auto" && choice !== "tensorflow" && choice !== "wasm") throw new Error(`${choice}?`);
try {
  console.log(await openBackend(choice, console.log));
  const ones = tf.ones([2, 3]);
  console.log((await tf.matMul(ones, tf.transpose(ones)).data()).join(" "));
} catch (error) {
  console.log(error instanceof Error ? error.name : "", sentence(error));
}
