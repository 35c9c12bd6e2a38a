/**
 * A Node process with a control process and a worker that waits for a plugin which never comes:
 * `node --import ./register.mjs test/bridge/launcher.ts PYTHON LOG`. It survives Ctrl-C, prints the
 * processes' numbers, and says when the worker has ended.
 */
import { PythonControl } from "../../src/bridge/launch.ts";

const [python = "", log = ""] = process.argv.slice(2);
const say = (what: object) => process.stdout.write(`${JSON.stringify(what)}\n`);

process.on("SIGINT", () => say({ interrupted: true }));
const control = await PythonControl.start({ python });
const endpoint = "ipc:///nobody/listens/here";
const env = { OMP_NUM_THREADS: "1" };
const worker = await control.launch({ endpoint, run: "r", mixture: "default", rank: 0, world: 1, env, log });
say({ worker: worker.pid, control: control.pid });
say({ ended: await worker.exited });
await control.close();
