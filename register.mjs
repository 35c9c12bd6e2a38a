// Lets Node run the TypeScript sources: `node --import ./register.mjs FILE.ts`.
import { register } from "node:module";
import { fileURLToPath } from "node:url";

// ts-node looks for a tsconfig.json in the current folder, and mixhead is used from any.
process.env.TS_NODE_PROJECT = fileURLToPath(new URL("tsconfig.json", import.meta.url));
register("ts-node/esm/transpile-only", import.meta.url);
