// `npm start`: set-up, then the demonstration. What follows `npm start --` is added to its command.
import { setUp } from "./setup.mjs";

const demo = ["compare", "configs/demo/joint.yaml", "configs/demo/decoupled.yaml", "--name", "demo"];

await setUp();
process.argv.splice(2, 0, ...demo);
await import("./mixhead.mjs");
