// Lets Node run the TypeScript sources: `node --import ./register.mjs FILE.ts`.
import { register } from "node:module";

process.setSourceMapsEnabled(true); // errors name the lines of the sources
register("./bin/typescript-hooks.mjs", import.meta.url);
