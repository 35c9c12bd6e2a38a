import { join } from "node:path";
import { z } from "zod";
import { packageRoot } from "./paths.ts";
import { run } from "./shell.ts";

const Opened = z.object({ backend: z.enum(["tensorflow", "wasm"]), why: z.string() });

/** Opens a tfjs backend and computes with it, in a process of its own; which one it was, and why. */
export async function probeBackend(choice: "auto" | "tensorflow"): Promise<z.infer<typeof Opened>> {
  const register = join(packageRoot, "register.mjs");
  const probe = join(packageRoot, "src", "setup", "probe-backend.ts");
  return Opened.parse(JSON.parse(await run(process.execPath, ["--import", register, probe, choice])));
}
