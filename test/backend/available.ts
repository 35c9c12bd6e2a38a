import type { BackendName } from "../../src/backend/backend.ts";
import { closeBackend, openBackend } from "../../src/backend/backend.ts";
import { loadTensorflow } from "../../src/backend/tensorflow.ts";

interface Available {
  name: BackendName;
  /** Why it cannot run here. */
  missing: string | undefined;
}

/** The backends that compute in this process. */
export const backends: readonly Available[] = [
  { name: "wasm", missing: undefined },
  { name: "tensorflow", missing: loadTensorflow() },
];

const all: readonly Available[] = [...backends, { name: "torch", missing: undefined }];

/** The same tests on every backend, torch in a Python of its own; one that does not load is skipped with its reason in the title. */
export function onEachBackend(title: string, tests: (backend: BackendName) => void): void {
  for (const { name, missing } of all) {
    const skipped = missing === undefined ? "" : ` (skipped: ${missing})`;
    describe(`${title} on ${name}${skipped}`, function () {
      this.timeout(60_000);
      before(async function () {
        if (missing === undefined) await openBackend(name);
        else this.skip();
      });
      after(async () => {
        await closeBackend();
        await openBackend("wasm"); // for whatever follows
      });
      tests(name);
    });
  }
}
