import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { packageRoot } from "../../../src/files/paths.ts";
import { EXCLUDED } from "./excluded.ts";
import { GROUPS } from "./groups.ts";
import { runSpecs, type SpecResult } from "./results.ts";
import { pageOf, rowsOf, shareOf, tableOf } from "./table.ts";

const PAGE = join(packageRoot, "docs", "conformance.md");

describe("tfjs-core's own specs on backend torch", function () {
  this.timeout(300_000);
  let results: SpecResult[];

  before(async () => {
    results = await runSpecs();
    process.stdout.write(`\n${tableOf(rowsOf(results))}\n\n`);
  });

  for (const group of Object.keys(GROUPS)) {
    it(`${group}: passes every spec that is not excluded, and fails every one that is`, () => {
      const row = rowsOf(results).find((each) => each.group === group);
      assert.ok(row !== undefined && row.specs > 0);
      assert.deepEqual(
        row.wrong.map(({ name, passed, why }) => `${name}: ${passed ? "is excluded and passes" : why}`),
        [],
      );
      assert.ok(shareOf(row) >= 0.95, `${row.passed} of ${row.specs - row.otherTypes} pass`);
    });
  }

  it("has specs in every file of a group", () => {
    const found = new Set(results.map(({ file }) => file));
    const empty = Object.values(GROUPS).flatMap((files) => files.filter((file) => !found.has(file)));
    assert.deepEqual(empty, []);
  });

  it("excludes specs that exist, each once", () => {
    const names = EXCLUDED.flatMap(({ specs }) => specs);
    const known = new Set(results.map(({ name }) => name));
    assert.deepEqual(
      names.filter((name, at) => !known.has(name) || names.indexOf(name) !== at),
      [],
    );
  });

  it("is what docs/conformance.md says", async () => {
    const page = pageOf(rowsOf(results));
    if (process.env.UPDATE === "1") await writeFile(PAGE, page);
    assert.equal(await readFile(PAGE, "utf8"), page, "UPDATE=1 writes the page anew");
  });
});
