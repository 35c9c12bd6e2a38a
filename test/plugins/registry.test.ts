import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openBackend } from "../../src/backend/backend.ts";
import { plugin as pluginSchema } from "../../src/config/schema.ts";
import { UserError } from "../../src/errors.ts";
import { openPlugin } from "../../src/plugins/registry.ts";
import { at, clusteredRows, difference, matrix, take } from "./support.ts";

const D = 8;
const create = (kind: string, components = 4, start?: Float32Array) =>
  openPlugin(pluginSchema.parse({ kind, components }), {
    dim: D,
    seed: 1,
    start,
  });

/** A plugin of a user's, in TypeScript, that imports a value, a type and a neighbour. */
const source = `
import * as tf from "@tensorflow/tfjs-core";
import type { PrototypePlugin } from "mixhead";
import { label } from "./neighbour.ts";

export default ({ components, dim, seed, config, start }: Record<string, any>): PrototypePlugin => {
  const c: tf.Tensor2D = start ? tf.tensor2d(start, [components, dim]) : tf.fill([components, dim], seed + config.variance);
  return {
    name: label, components, dim,
    async step(h: tf.Tensor2D) {
      const responsibilities = tf.fill([h.shape[0], components], 1 / components) as tf.Tensor2D;
      return { responsibilities, touched: new Int32Array(0), scalars: {} };
    },
    prototypes: () => c,
    parameters: async () => ({}), state: async () => ({}), load: () => {}, dispose: () => c.dispose(),
  };
};
`;

describe("openPlugin", function () {
  this.timeout(60_000);
  let folder: string;
  const file = async (name: string, text: string) => {
    await writeFile(join(folder, name), text);
    return join(folder, name);
  };
  const refuses = (work: Promise<unknown>, words: RegExp) =>
    assert.rejects(work, (error) => {
      assert.ok(error instanceof UserError, String(error));
      assert.match(error.message, words);
      assert.ok(!error.message.includes("\n"), error.message);
      return true;
    });

  before(async () => {
    await openBackend("wasm");
    folder = await mkdtemp(join(tmpdir(), "mixhead-plugin-"));
    await file("neighbour.ts", 'export const label: string = "mine";');
  });
  after(() => rm(folder, { recursive: true }));

  for (const kind of ["online-gmm", "frozen", "kmeans", "sinkhorn"]) {
    it(`makes ${kind}, at random directions or at given rows, and steps with it`, async () => {
      const start = Float32Array.from(clusteredRows(4, D, 5).flat());
      for (const given of [undefined, start]) {
        const plugin = await create(kind, 4, given);
        assert.deepEqual([plugin.name, plugin.components, plugin.dim], [kind, 4, D]);
        const rows = matrix(await plugin.parameters(), "prototypes");
        assert.ok(rows.every((row) => Math.abs(Math.hypot(...row) - 1) < 1e-6));
        if (given) assert.ok(difference(rows.flat(), [...given]) < 1e-6);
        const { r } = await take(plugin, clusteredRows(3, D, 1), at(0));
        assert.equal(r.length, 3);
        plugin.dispose();
      }
    });
  }

  it("keeps frozen prototypes in place, and reports that it touches none", async () => {
    const plugin = await create("frozen");
    const before = await plugin.state();
    const { touched } = await take(plugin, clusteredRows(3, D, 1), at(0));
    assert.deepEqual(touched, new Int32Array(0));
    assert.deepEqual(await plugin.state(), before);
    plugin.dispose();
  });

  it("loads a user's TypeScript file from a folder outside the package", async () => {
    for (const surroundings of ["", "{}", '{"type": "commonjs"}']) {
      const inner = join(folder, `inner${surroundings.length}`);
      await mkdir(inner);
      if (surroundings !== "") await writeFile(join(inner, "package.json"), surroundings);
      await writeFile(join(inner, "neighbour.ts"), 'export const label: string = "mine";');
      await writeFile(join(inner, "plugin.ts"), source);
      const plugin = await create(join(inner, "plugin.ts"));
      assert.equal(plugin.name, "mine");
      assert.ok(
        Math.abs((await plugin.prototypes().data())[0] ?? 0) - 1.02 < 1e-6,
        "seed and settings arrive",
      );
      const { r } = await take(plugin, clusteredRows(2, D, 1), at(0));
      assert.deepEqual(r, [Array(4).fill(0.25), Array(4).fill(0.25)], "on the same tfjs");
      plugin.dispose();
      const start = Float32Array.from({ length: 4 * D }, (_, i) => i);
      const started = await create(join(inner, "plugin.ts"), 4, start);
      assert.deepEqual(await started.prototypes().data(), start);
      started.dispose();
    }
  });

  it("takes JavaScript files, modules or not", async () => {
    const make =
      "({ components, dim }) => ({ name: 'js', components, dim, step() {}, prototypes() {}, parameters() {}, state() {}, load() {}, dispose() {} })";
    for (const [name, text] of [
      ["module.mjs", `export default ${make};`],
      ["plain.js", `export default ${make};`],
      ["common.js", `module.exports = ${make};`],
      ["late.mjs", `const make = ${make}; export default async (options) => make(options);`],
      [
        "class.mjs",
        `class Mine { constructor(o) { Object.assign(this, (${make})(o)); } who() { return this.name } } export default (o) => new Mine(o);`,
      ],
    ] as const) {
      const plugin = await create(await file(name, text));
      assert.equal(plugin.name, "js", name);
      if ("who" in plugin && typeof plugin.who === "function") assert.equal(plugin.who(), "js");
    }
  });

  it("reports the fault of a file in one sentence", async () => {
    await refuses(create("gmm"), /plugin.kind is "gmm"; allowed: online-gmm, frozen, kmeans, .*or a path/);
    await refuses(create(join(folder, "missing.ts")), /cannot read .*missing.ts: no such file/);
    await refuses(
      create(await file("syntax.ts", "export default (x: => 3;")),
      /syntax.ts cannot be loaded: line 1/,
    );
    await refuses(
      create(await file("throws.ts", "throw new Error('no licence\\nat all')")),
      /cannot be loaded: no licence$/,
    );
    await refuses(
      create(await file("import.ts", "import 'nowhere'; export default 1;")),
      /cannot be loaded: .*nowhere/,
    );
    await refuses(
      create(await file("none.ts", "export const plugin = 3;")),
      /no default export that is a function/,
    );
    await refuses(
      create(await file("number.mjs", "export default 3;")),
      /no default export that is a function/,
    );
    await refuses(
      create(await file("fails.mjs", "export default () => { throw new Error('K is odd') };")),
      /failed to make its plugin: K is odd/,
    );
    await refuses(create(await file("nothing.mjs", "export default () => {};")), /makes no plugin/);
    const broken = (text: string) =>
      `export default (o) => ({ name: 'x', ...o, step() {}, prototypes() {}, parameters() {}, state() {}, load() {}, dispose() {}, ${text} })`;
    await refuses(
      create(await file("k.mjs", broken("components: 5"))),
      /components: the configuration has 4/,
    );
    await refuses(create(await file("d.mjs", broken("dim: 5"))), /dim: the embeddings have 8/);
    await refuses(create(await file("s.mjs", broken("step: 1"))), /step: a method of this name is needed/);
  });

  describe("with options of its own", () => {
    const optioned = (name: string, schema: string) =>
      file(
        name,
        `import { z } from "zod";
${schema === "" ? "" : `export const options = ${schema};`}
export default (given) => ({ ...given, name: JSON.stringify(given.options), step() {}, prototypes() {}, parameters() {}, state() {}, load() {}, dispose() {} });`,
      );
    const given = (kind: string, options?: Record<string, unknown>) =>
      openPlugin(pluginSchema.parse({ kind, components: 4, options }), { dim: D, seed: 1 });
    const schema =
      'z.strictObject({ rate: z.number().positive().max(1).default(0.5), rows: z.enum(["far", "any"]).optional() })';

    it("gets them as the schema in its file gives them, and an empty object without a schema", async () => {
      const kind = await optioned("optioned.ts", schema);
      assert.equal((await given(kind, { rows: "any" })).name, '{"rate":0.5,"rows":"any"}');
      assert.equal((await given(kind)).name, '{"rate":0.5}');
      assert.equal((await given(await optioned("bare.ts", ""))).name, "{}");
    });

    it("names the file, the wrong option and the allowed values", async () => {
      const kind = await optioned("optioned.ts", schema);
      await refuses(
        given(kind, { rate: "x" }),
        /optioned\.ts: plugin\.options\.rate is "x"; allowed: a number$/,
      );
      await refuses(
        given(kind, { rate: 2 }),
        /optioned\.ts: plugin\.options\.rate is 2; allowed: .* at most 1$/,
      );
      await refuses(given(kind, { rows: "near" }), /plugin\.options\.rows is "near"; allowed: far, any$/);
      await refuses(
        given(kind, { rat: 1 }),
        /optioned\.ts: plugin\.options\.rat is not a setting; the nearest is plugin\.options\.rate$/,
      );
    });

    it("refuses options if the file exports no schema", async () => {
      await refuses(
        given("kmeans", { rate: 1 }),
        /plugin\.options are for a plugin in a file.*; kmeans has its/,
      );
      await refuses(
        given(await optioned("bare.ts", ""), { rate: 1 }),
        /bare\.ts takes no plugin\.options: it exports no schema/,
      );
      await refuses(given(await optioned("no.ts", "{ rate: 1 }")), /"options" is not a zod schema/);
      await refuses(
        given(await optioned("refining.ts", "z.any().refine(() => { throw new Error('not today') })")),
        /refining\.ts: its schema of plugin\.options failed: not today$/,
      );
    });

    it("refuses a schema whose options a record cannot give back", async () => {
      const transformed = "z.object({ rate: z.number().default(1).transform((rate) => 2 * rate) })";
      await refuses(given(await optioned("double.ts", transformed)), /values that a record cannot hold/);
    });
  });
});
