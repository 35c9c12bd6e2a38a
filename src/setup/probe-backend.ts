// Opens the tfjs backend named by the argument, multiplies two matrices, and prints which backend it was as JSON. Runs
// in a separate process, since a broken native addon can crash it.
import * as tf from "@tensorflow/tfjs-core";
import { z } from "zod";
import { openBackend } from "../backend/backend.ts";

const choice = z.enum(["auto", "tensorflow", "wasm"]).parse(process.argv[2]);
let why = "";
const backend = await openBackend(choice, (line) => {
  why = line;
});
const a = tf.tensor2d([1, 2, 3, 4], [2, 2]);
const product = Array.from(await tf.matMul(a, a).data()).join();
if (product !== "7,10,15,22") throw new Error(`tfjs ${backend} multiplied matrices to ${product}`);
process.stdout.write(JSON.stringify({ backend, why }));
