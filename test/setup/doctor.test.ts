import assert from "node:assert/strict";
import { z } from "zod";
import { temporaryFolder } from "./folder.ts";
import { mixhead } from "./mixhead.ts";

const Report = z.strictObject({
  ok: z.boolean(),
  findings: z.array(
    z.strictObject({
      name: z.string(),
      state: z.enum(["ok", "absent", "missing"]),
      is: z.string(),
      toDo: z.string().optional(),
    }),
  ),
});

describe("mixhead doctor", () => {
  const folder = temporaryFolder();

  it("finds everything that training needs after set-up, from any folder", async () => {
    const { status, out } = await mixhead(["doctor", "--json"], { cwd: folder.path });
    assert.equal(status, 0);
    const { ok, findings } = Report.parse(JSON.parse(out));
    assert.equal(ok, true);
    const names = findings.map(({ name }) => name);
    for (const name of ["Node", "Python", "PyTorch", "CUDA", "tfjs backend", "data: cifar10"])
      assert.ok(names.includes(name), name);
  });

  it("fails if something is missing, and says what to do about each", async () => {
    const env = { MIXHEAD_PYTHON: "/no/such/python", MIXHEAD_DATA: folder.path };
    const { status, out } = await mixhead(["doctor"], { env });
    assert.equal(status, 1);
    assert.match(out, /^missing +Python .*MIXHEAD_PYTHON.*\n +-> ./m);
    assert.match(out, /^missing +data: cifar10 .*\n +-> .*npm run setup/m);
  });
});
