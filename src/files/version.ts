import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { packageRoot } from "./paths.ts";

const text = readFileSync(join(packageRoot, "package.json"), "utf8");

/** Of mixhead. */
export const { version } = z.object({ version: z.string() }).parse(JSON.parse(text));
