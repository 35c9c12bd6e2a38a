// Multiplies for two seconds while signals arrive: a script for backend.test.ts.
import * as tf from "@tensorflow/tfjs-core";
import { openBackend } from "../../src/backend/backend.ts";

await openBackend("tensorflow");
process.on("SIGWINCH", () => {});
const [h, c, r] = [tf.randomNormal([256, 64]), tf.randomNormal([64, 1024]), tf.randomNormal([1024, 256])];
console.log("ready");
for (const end = performance.now() + 2000; performance.now() < end; ) {
  for (let times = 0; times < 100; times++) tf.dispose([tf.matMul(h, c), tf.matMul(r, h)]);
  await new Promise(setImmediate);
}
console.log("unharmed");
