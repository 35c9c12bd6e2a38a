import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";

const specResult = z.strictObject({
  file: z.string(),
  name: z.string(),
  passed: z.boolean(),
  why: z.string(),
});

/** How one of tfjs-core's specs ended. */
export type SpecResult = z.infer<typeof specResult>;

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** Runs all specs of all groups in a process of their own. Throws with what it wrote where it broke down. */
export async function runSpecs(): Promise<SpecResult[]> {
  const folder = await mkdtemp(join(tmpdir(), "mixhead-conformance-"));
  const file = join(folder, "results.json");
  try {
    const child = spawn(process.execPath, [
      "--import",
      path("../../../register.mjs"),
      path("specs.ts"),
      file,
    ]);
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        output = (output + text).slice(-8192);
      });
    }
    const [code] = await once(child, "close");
    if (code !== 0) throw new Error(`the specs broke down (${code}):\n${output}`);
    return z.array(specResult).parse(JSON.parse(await readFile(file, "utf8")));
  } finally {
    await rm(folder, { recursive: true });
  }
}
