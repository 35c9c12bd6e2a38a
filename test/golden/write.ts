/**
 * Writes the golden messages: `node --import ./register.mjs test/golden/write.ts`. A change to these
 * files is a change of the protocol: both sides have to read and write them alike. Raise the version then, keep the
 * files of the last one in a folder of its own, such as version-2, and read those too.
 */
import { writeFileSync } from "node:fs";
import { encode } from "../../src/bridge/codec.ts";
import { MESSAGES } from "./messages.ts";

for (const [name, [header, tensors]] of Object.entries(MESSAGES)) {
  const frames = encode(header, tensors).map((frame) => Buffer.from(frame).toString("hex"));
  writeFileSync(new URL(`${name}.json`, import.meta.url), `${JSON.stringify({ frames }, null, 1)}\n`);
}
