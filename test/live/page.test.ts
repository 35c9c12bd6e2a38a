import assert from "node:assert/strict";
import { once } from "node:events";
import { truncate } from "node:fs/promises";
import { IncomingMessage, request } from "node:http";
import type { Browser, Page } from "playwright-core";
import { noteFailure } from "../../src/experiment/failure.ts";
import { serveLive } from "../../src/live/server.ts";
import { openBrowser } from "../browser.ts";
import { InventedRun } from "./invented-run.ts";

describe("the live page", () => {
  let browser: Browser;
  let invented: InventedRun;
  let live: Awaited<ReturnType<typeof serveLive>>;
  let page: Page;
  let complaints: string[];
  let strangers: string[];

  before(async () => {
    browser = await openBrowser();
  });
  after(() => browser.close());
  beforeEach(async () => {
    invented = await InventedRun.create(["joint", "decoupled"]);
    live = await serveLive(invented.run.folder);
  });
  afterEach(async () => {
    await page.close();
    await live.close();
    await invented.remove();
  });

  /** @param script runs in the page before any of its own */
  async function open(width: number, script = ""): Promise<void> {
    page = await browser.newPage({ viewport: { width, height: 900 } });
    await page.addInitScript(script);
    complaints = [];
    strangers = [];
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) complaints.push(message.text());
    });
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("request", (request) => {
      if (!request.url().startsWith(live.url) && !request.url().startsWith("data:"))
        strangers.push(request.url());
    });
    await page.goto(live.url);
  }

  const shows = (text: string | RegExp) => page.getByText(text).first().waitFor();
  /** How many of a chart's pixels have an arm's colour: what its curve covers. */
  const inked = (title: string, rgb: readonly number[]) =>
    page
      .locator("figure", { has: page.getByRole("heading", { name: title, exact: true }) })
      .evaluate((figure, [r, g, b]) => {
        const canvas = figure.querySelector("canvas");
        const pixels = canvas?.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height).data ?? [];
        let found = 0;
        for (let at = 0; at < pixels.length; at += 4) {
          if (pixels[at] === r && pixels[at + 1] === g && pixels[at + 2] === b) found++;
        }
        return found;
      }, rgb);
  const decoupled = [0x00, 0x72, 0xb2];
  /** How many of a chart's pixels are of the decoupled arm's band: its blue, mostly transparent. */
  const shaded = (title: string) =>
    page
      .locator("figure", { has: page.getByRole("heading", { name: title, exact: true }) })
      .evaluate((figure) => {
        const canvas = figure.querySelector("canvas");
        const pixels = canvas?.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height).data ?? [];
        let found = 0;
        for (let at = 0; at < pixels.length; at += 4) {
          const [r = 0, b = 0, alpha = 0] = [pixels[at], pixels[at + 2], pixels[at + 3]];
          if (alpha > 20 && alpha < 90 && b > r + 100) found++;
        }
        return found;
      });

  for (const width of [390, 1280]) {
    it(`draws a run that grows while it is open, ${width} pixels wide`, async () => {
      await open(width);
      await shows("waiting for the first measurement");
      const end = await invented.begin();
      for (const job of [0, 1]) await invented.train(job, 0, 500);
      await shows("step 500 of 2,000");
      await shows(/^running · about \d+ min left$/);
      const before = await inked("Loss", decoupled);
      assert.ok(before > 50, `${before} pixels`);
      for (const job of [0, 1]) await invented.train(job, 500, 2000);
      await end();
      await shows(/^complete$/);
      await shows("step 2,000 of 2,000");
      for (const title of ["k-NN accuracy", "Unique at 0.25", "Unique at 0.5", "Used prototypes"]) {
        assert.ok((await inked(title, decoupled)) > 50, title);
      }
      const beyond = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
      assert.equal(beyond, 0, "the page scrolls sideways");
      assert.deepEqual(complaints, []);
      assert.deepEqual(strangers, []);
    });
  }

  it("draws each of a plugin's scalars under its name", async () => {
    await open(1280);
    await invented.train(1, 0, 500, { moved: 2, live: 0.5 });
    await shows("step 500 of 2,000");
    for (const name of ["live", "moved"]) assert.ok((await inked(name, decoupled)) > 50, name);
    await invented.replace(["joint", "decoupled"], 1000);
    await invented.train(1, 0, 250);
    await shows("step 250 of 1,000");
    assert.equal(await page.getByRole("heading", { name: "moved", exact: true }).count(), 0);
    assert.deepEqual(complaints, []);
  });

  it("draws in a browser whose language is no language tag, as it is without a locale", async () => {
    await open(1280, `Object.defineProperty(Navigator.prototype, "language", { get: () => "en-US@posix" })`);
    await invented.train(1, 0, 500);
    await shows("step 500 of 2,000");
    assert.ok((await inked("Loss", decoupled)) > 50);
    assert.deepEqual(complaints, []);
  });

  it("leaves room for the label of the last step", async () => {
    await open(1300);
    await invented.train(1, 0, 1500);
    await shows("step 1,500 of 2,000");
    const edge = await page
      .locator("figure")
      .first()
      .evaluate((figure) => {
        const canvas = figure.querySelector("canvas");
        const { width = 2, height = 1 } = canvas ?? {};
        return Array.from<number>(canvas?.getContext("2d")?.getImageData(width - 2, 0, 2, height).data ?? []);
      });
    assert.ok(edge.length > 0);
    assert.ok(edge.every((value) => value === 0));
  });

  it("counts a difference that rounds to nothing as no loss", async () => {
    await open(390);
    const evaluation = { spread: 0.8, unique: {}, used: 0.5, perplexity: 9, seconds: 5 };
    await invented.write(1, JSON.stringify({ ...evaluation, step: 0, knn: 0.3 }));
    await invented.write(1, JSON.stringify({ ...evaluation, step: 250, knn: 0.29999 }));
    await shows("+0.0 points over the untrained encoder");
  });

  it("survives a cut of the metrics, as a resumed run cuts them, and a damaged line", async () => {
    await open(1280);
    await invented.train(1, 0, 1000);
    await shows("step 1,000 of 2,000");
    await truncate(invented.metrics(1), 0);
    await invented.train(1, 0, 250);
    await shows("step 250 of 2,000");
    await invented.write(1, '{"step": 260, "loss":\u0000 damaged');
    await shows("One line of metrics.jsonl could not be read.");
    await invented.train(1, 260, 300);
    await shows("step 300 of 2,000");
    assert.deepEqual(complaints, []);
  });

  it("says that a run was stopped and how to resume, and why an arm failed", async () => {
    await open(390);
    await invented.train(0, 0, 500);
    await shows("stopped · continue with: npx mixhead resume demo");
    const [job] = invented.run.jobs;
    if (job !== undefined) await noteFailure(job, "the GPU's memory is full");
    await shows("Failed: the GPU's memory is full");
  });

  it("says in words what goes wrong, and in which arm", async () => {
    await open(390);
    await invented.train(0, 0, 500);
    await invented.train(1, 0, 500, { spread: 0.01 });
    const warning = page.locator("#warnings li.warning");
    await warning.waitFor();
    assert.match((await warning.textContent()) ?? "", /decoupled.*narrow cone/);
  });

  it("draws the seeds of an arm as their mean, in a band that is their 95 % interval", async () => {
    await live.close();
    await invented.remove();
    invented = await InventedRun.create(["decoupled"], { seeds: [0, 1, 2] });
    live = await serveLive(invented.run.folder);
    await open(1280);
    await invented.train(0, 0, 500);
    await shows("step 500 of 6,000");
    const alone = await shaded("Loss");
    await invented.train(1, 0, 500, { loss: 4 });
    await invented.train(2, 0, 500, { loss: 9 });
    await shows("step 1,500 of 6,000");
    await shows("Curves are means over the seeds");
    const together = await shaded("Loss");
    assert.ok(together > 20 * (alone + 1), `${alone} pixels of band for one seed, ${together} for three`);
  });

  it("follows a run that is replaced under the same name by one with another arm", async () => {
    await open(1280);
    await invented.train(0, 0, 500);
    await shows("step 500 of 2,000");
    await invented.replace(["frozen"], 700);
    await shows("step 0 of 700");
    assert.equal(await page.locator("figure").count(), 0);
    assert.equal(await page.getByText("joint", { exact: true }).count(), 0);
  });

  it("says that the connection is lost, and reconnects when the server restarts", async () => {
    await open(1280);
    await invented.train(1, 0, 500);
    await shows("step 500 of 2,000");
    const port = Number(new URL(live.url).port);
    await live.close();
    await page.locator("#lost").waitFor();
    await invented.train(1, 500, 1000);
    live = await serveLive(invented.run.folder, port);
    await shows("step 1,000 of 2,000");
    await page.locator("#lost").waitFor({ state: "hidden" });
    assert.equal(await page.locator("figure").count(), 8);
  });

  it("answers under this machine's own names only, so that no other site can read it", async () => {
    await open(390);
    const asked = async (host: string, origin?: string) => {
      const headers = { host, ...(origin !== undefined && { origin }) };
      const [response] = await once(request(live.url, { headers }).end(), "response");
      assert.ok(response instanceof IncomingMessage);
      return response.resume().statusCode;
    };
    assert.equal(new URL(live.url).hostname, "127.0.0.1");
    assert.equal(await asked("localhost:7000"), 200);
    assert.equal(await asked("elsewhere.example"), 403);
    assert.equal(await asked("localhost:7000", "http://localhost:7000"), 200);
    for (const origin of ["https://elsewhere.example", "http://localhost:8000", "null"])
      assert.equal(await asked("localhost:7000", origin), 403);
  });
});

describe("the port of the live page", () => {
  it("is the first free one from 6160, or the one that is asked for", async () => {
    const invented = await InventedRun.create(["joint"]);
    const first = await serveLive(invented.run.folder);
    const second = await serveLive(invented.run.folder);
    try {
      const [one, two] = [first, second].map(({ url }) => Number(new URL(url).port));
      assert.ok(one !== undefined && two !== undefined && one >= 6160 && two > one);
      await assert.rejects(serveLive(invented.run.folder, one), /port \d+ is taken/);
    } finally {
      await first.close();
      await second.close();
      await invented.remove();
    }
  });
});
