// Lets Node run the TypeScript sources: `node --import ./register.mjs FILE.ts`.
import { register } from "node:module";

register("./bin/typescript-hooks.mjs", import.meta.url);
