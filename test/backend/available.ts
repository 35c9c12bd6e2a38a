import type { BackendName } from "../../src/backend/backend.ts";
import { openBackend } from "../../src/backend/backend.ts";
import { loadTensorflow } from "../../src/backend/tensorflow.ts";

/** The backends that tests go through, and why one of them cannot run here. */
export const backends: { name: BackendName; missing: string | undefined }[] = [
  { name: "wasm", missing: undefined },
  { name: "tensorflow", missing: loadTensorflow() },
];

/** The same tests on every backend; one that does not load is skipped with its reason in the title. */
export function onEachBackend(title: string, tests: (backend: BackendName) => void): void {
  for (const { name, missing } of backends) {
    const skipped = missing === undefined ? "" : ` (skipped: ${missing})`;
    describe(`${title} on ${name}${skipped}`, function () {
      this.timeout(60_000);
      before(async function () {
        if (missing === undefined) await openBackend(name);
        else this.skip();
      });
      tests(name);
    });
  }
}
