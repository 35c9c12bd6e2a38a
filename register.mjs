// Lets Node run the TypeScript sources: `node --import ./register.mjs FILE.ts`.
import { register } from "node:module";

register("ts-node/esm/transpile-only", import.meta.url);
