import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { packageRoot } from "../files/paths.ts";
import { run } from "./shell.ts";

const Opened = z.object({ backend: z.enum(["tensorflow", "wasm"]), why: z.string() });

/** Opens a tfjs backend and computes with it in a separate process. Returns which one it was, and why. */
export async function probeBackend(choice: "auto" | "tensorflow"): Promise<z.infer<typeof Opened>> {
  const suffix = extname(fileURLToPath(import.meta.url));
  const probe = fileURLToPath(new URL(`probe-backend${suffix}`, import.meta.url));
  const loader = suffix === ".ts" ? ["--import", join(packageRoot, "register.mjs")] : [];
  return Opened.parse(JSON.parse(await run(process.execPath, [...loader, probe, choice])));
}
