import { join } from "node:path";
import { writeAtomic } from "../files/atomic.ts";
import { packageRoot } from "../files/paths.ts";
import { jsonSchema, markdown } from "./reference.ts";

await writeAtomic(join(packageRoot, "configs", "schema.json"), [jsonSchema()]);
await writeAtomic(join(packageRoot, "docs", "configuration.md"), [markdown()]);
