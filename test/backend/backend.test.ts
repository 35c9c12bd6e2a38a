import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { backends } from "./available.ts";

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** Opens a backend in a process of its own; what it printed, line by line. */
function open(choice: string, ...flags: string[]) {
  const args = [...flags, "--import", path("../../register.mjs"), path("open.ts"), choice];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8", cwd: "/" });
  return { lines: stdout.trimEnd().split("\n"), stderr };
}

const withoutTfjsNode = ["--require", path("without-tfjs-node.cjs")];

describe("openBackend", function () {
  this.timeout(60_000);

  for (const { name, missing } of backends) {
    const skipped = missing === undefined ? "" : ` (skipped: ${missing})`;
    it(`opens ${name} from any folder, without a word on standard error${skipped}`, function () {
      if (missing !== undefined) this.skip();
      const { lines, stderr } = open(name);
      assert.deepEqual(lines, [`The mixture runs on tfjs ${name}, as configured.`, name, "3 3 3 3"]);
      assert.equal(stderr, "");
    });
  }

  it("falls back to wasm if tfjs-node is not installed, and says so in one sentence", () => {
    assert.deepEqual(open("auto", ...withoutTfjsNode).lines, [
      "The mixture runs on tfjs wasm, since tensorflow does not load: tfjs-node is not installed.",
      "wasm",
      "3 3 3 3",
    ]);
  });

  it("says what to do if tensorflow is chosen and does not load", () => {
    assert.deepEqual(open("tensorflow", ...withoutTfjsNode).lines, [
      "UserError backend tensorflow does not load: tfjs-node is not installed; run npm start, which sets it up, or choose backend=wasm",
    ]);
  });

  const { missing } = backends.find(({ name }) => name === "tensorflow") ?? {};
  const skipped = missing === undefined ? "" : ` (skipped: ${missing})`;
  it(`keeps its memory whole when signals interrupt a product${skipped}`, async function () {
    if (missing !== undefined) this.skip();
    const child = spawn(process.execPath, ["--import", path("../../register.mjs"), path("under-signals.ts")]);
    let printed = "";
    child.stdout.on("data", (chunk) => {
      printed += chunk;
    });
    const signals = setInterval(() => printed !== "" && child.kill("SIGWINCH"), 1);
    const [code, signal] = await once(child, "exit");
    clearInterval(signals);
    assert.deepEqual([code, signal, printed], [0, null, "ready\nunharmed\n"]);
  });
});
