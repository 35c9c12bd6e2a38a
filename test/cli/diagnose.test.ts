import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { diagnose } from "../../src/cli/diagnose.ts";
import { writeSafetensors } from "../../src/files/safetensors.ts";
import { writeNpy } from "../files/write-npy.ts";
import { randomRows, rowsOf } from "../metrics/rows.ts";
import { mixhead } from "./command.ts";

// Hooks outside of a suite would run for every file.
describe("in a folder of its own", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  /** Four directions, the first one three times: rows that are not of unit length. */
  const six = rowsOf([
    [2, 0, 0],
    [0, 3, 0],
    [5, 0, 0],
    [0, 0, 1],
    [-1, 0, 0],
    [7, 0, 0],
  ]);

  async function npy(name: string, { rows, dim, data } = six): Promise<string> {
    await writeNpy(join(folder, name), [rows, dim], data);
    return name;
  }

  describe("mixhead diagnose", () => {
    it("prints one JSON object and nothing else, and leaves no file", async () => {
      const { status, stdout } = await mixhead(folder, "diagnose", await npy("six.npy"), "--json");
      assert.equal(status, 0);
      const { effectiveRank, ...rest } = JSON.parse(stdout);
      assert.deepEqual(rest, {
        prototypes: 6,
        dim: 3,
        unique: { "0.025": 4 / 6, "0.1": 4 / 6, "0.25": 4 / 6, "0.5": 4 / 6 },
        nearest: { median: 0.5, p01: 0 },
      });
      // Singular values 2, 1 and 1.
      assert.ok(Math.abs(effectiveRank - Math.exp(1.5 * Math.log(2))) < 1e-9);
      assert.deepEqual(await readdir(folder), ["six.npy"]);
    });

    it("counts prototypes that win and are distinct, if given embeddings", async () => {
      // Two embeddings at the first direction, of which the first row is one, and one at the fourth row.
      const embeddings = rowsOf([
        [1, 0, 0],
        [0.9, 0.1, 0],
        [0, 0, 1],
      ]);
      await npy("e.npy", embeddings);
      const { stdout } = await mixhead(
        folder,
        "diagnose",
        await npy("six.npy"),
        "--embeddings",
        "e.npy",
        "--json",
      );
      const { unique, used, distinctUsed } = JSON.parse(stdout);
      assert.equal(used, 2 / 6);
      assert.deepEqual(distinctUsed, { "0.025": 2 / 6, "0.1": 2 / 6, "0.25": 2 / 6, "0.5": 2 / 6 });
      assert.equal(unique["0.5"], 4 / 6);
    });

    it("explains its figures in words, counts wins of embeddings, and draws a picture", async () => {
      await npy("head.npy", randomRows(300, 8, 1, 4, 0.001));
      await npy("embeddings.npy", randomRows(700, 8, 2));
      const { status, stdout } = await mixhead(
        folder,
        "diagnose",
        "head.npy",
        "--embeddings",
        "embeddings.npy",
      );
      assert.equal(status, 0);
      assert.match(stdout, /head\.npy, 300 prototypes of 8 dimensions/);
      assert.match(stdout, /used prototypes +\d/);
      assert.match(stdout, /and used +4 +4 +4 +3\n/);
      assert.match(stdout, /Of 300 prototypes 4 are truly distinct/);
      assert.match(stdout, /plot: head\.diagnosis\.svg\n$/);
      assert.match(await readFile(join(folder, "head.diagnosis.svg"), "utf8"), /^<svg /);
    });

    it("finds the last layer in a checkpoint and says which it took", async () => {
      const tensor = { shape: [six.rows, six.dim], data: six.data };
      const names = [
        "student.head.last_layer.weight_v",
        "teacher.head.last_layer.weight_v",
        "blocks.0.weight",
      ];
      await writeSafetensors(
        join(folder, "c.safetensors"),
        Object.fromEntries(names.map((name) => [name, tensor])),
      );
      const { stdout } = await mixhead(folder, "diagnose", "c.safetensors");
      assert.match(stdout, /^c\.safetensors: teacher\.head\.last_layer\.weight_v, 6 prototypes/);
      assert.match(stdout, /also found: student\.head\.last_layer\.weight_v/);
      await assert.rejects(diagnoseHere("c.safetensors", "--key", "nothing"), {
        name: "UserError",
        message: /has no tensor of the name nothing; its 2-D tensors: .*blocks\.0\.weight \(6 x 3\)/,
      });
    });

    it("says how long the rows are if that means something", async () => {
      const lengths = async (name: string, key: string, scale: number) => {
        const data = six.data.map((value) => value * scale);
        await writeSafetensors(join(folder, name), { [key]: { shape: [six.rows, six.dim], data } });
        return (await mixhead(folder, "diagnose", name)).stdout.split("\n")[0];
      };
      const what = "6 prototypes of 3 dimensions";
      assert.equal(
        await lengths("free.safetensors", "last_layer.weight", 0.1),
        `free.safetensors: last_layer.weight, ${what} and length 0.1 to 0.7 (median 0.25)`,
      );
      assert.equal(
        await lengths("norm.safetensors", "last_layer.weight_v", 0.1),
        `norm.safetensors: last_layer.weight_v, ${what}`,
      );
    });

    it("takes the last layer of a projector if no name identifies it, and says that this is a guess", async () => {
      const tensor = { shape: [six.rows, six.dim], data: six.data };
      const square = { shape: [3, 3], data: six.data.slice(9) };
      await writeSafetensors(join(folder, "c.safetensors"), {
        "projector.teacher.2.weight": square,
        "projector.teacher.4.weight": tensor,
      });
      const { stdout } = await mixhead(folder, "diagnose", "c.safetensors");
      assert.match(stdout, /^c\.safetensors: projector\.teacher\.4\.weight, 6 prototypes/);
      assert.match(
        stdout,
        /\(a guess: no name identifies the prototypes, and projector\.teacher\.4\.weight is the last layer of a projector;/,
      );
    });

    it("answers a bad row with one sentence and exit status 2, and draws nothing", async () => {
      await npy(
        "bad.npy",
        rowsOf([
          [1, 0],
          [0, 0],
        ]),
      );
      const { status, stdout, stderr } = await mixhead(folder, "diagnose", "bad.npy");
      assert.equal(status, 2);
      assert.equal(stdout, "");
      assert.equal(stderr, "mixhead: bad.npy: row 1 is all zero\n");
      assert.deepEqual(await readdir(folder), ["bad.npy"]);
    });

    it("names the fault of any other input", async () => {
      await npy("six.npy");
      await npy(
        "nan.npy",
        rowsOf([
          [1, 0, 0],
          [0, 1, 0],
          [Number.NaN, 1, 0],
        ]),
      );
      await npy("narrow.npy", rowsOf([[1, 2]]));
      await writeFile(join(folder, "text.txt"), "1 2 3\n");
      await mkdir(join(folder, "ckpt"));
      await writeFile(join(folder, "pointer.npy"), "version https://git-lfs.github.com/spec/v1\n");
      for (const [args, message] of [
        [["nan.npy"], /nan\.npy: row 2 is not finite$/],
        [["six.npy", "--embeddings", "nan.npy"], /nan\.npy: row 2 is not finite$/],
        [
          ["six.npy", "--embeddings", "narrow.npy"],
          /narrow\.npy has rows of 2 numbers, but the prototypes have 3$/,
        ],
        [["missing.npy"], /cannot read .*missing\.npy: no such file/],
        [
          ["ckpt"],
          /ckpt is a folder, but not a checkpoint of torch\.distributed\.checkpoint: .*; it is empty$/,
        ],
        [["text.txt"], /text\.txt is a text file, not a checkpoint$/],
        [["pointer.npy"], /pointer\.npy is a Git LFS pointer, not the file itself: run git lfs pull$/],
        [["six.npy", "--plot", "x.gif"], /x\.gif: allowed file extensions: \.svg, \.png, \.html$/],
        [["six.npy", "--key", "a"], /six\.npy holds a single array: --key applies to checkpoints only$/],
      ] as const) {
        await assert.rejects(diagnoseHere(...args), { name: "UserError", message });
      }
    });
  });

  /** The command in this process: starting another takes seconds. */
  async function diagnoseHere(...args: string[]): Promise<void> {
    const program = new Command("mixhead");
    diagnose(program);
    const files = args.map((arg) =>
      /\.(npy|txt|gif|safetensors)$|^ckpt$/.test(arg) ? join(folder, arg) : arg,
    );
    await program.parseAsync(["diagnose", ...files], { from: "user" });
  }
});
