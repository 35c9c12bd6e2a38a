import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import chromium from "@sparticuz/chromium";
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-wasm";
import { type Browser, chromium as playwright } from "playwright-core";
import { reportHtml } from "../../src/report/html.ts";
import { type Invention, invented } from "./invented.ts";

/** What a browser makes of a page, at one width. */
interface Seen {
  problems: string[];
  requests: string[];
  overflow: number;
  /** By figure: its heading, and how many marks it has in the colours of the arms. */
  figures: { title: string; marks: number }[];
  /** Pairs of texts within one picture that lie on each other. */
  overlaps: string[];
  /** The smallest text of a picture, in pixels of the screen. */
  smallest: number;
}

describe("the page of a run", () => {
  let browser: Browser;
  let folder: string;
  before(async () => {
    await tf.setBackend("wasm");
    folder = await mkdtemp(join(tmpdir(), "mixhead-report-"));
    browser = await playwright.launch({
      executablePath: await chromium.executablePath(),
      args: ["--no-sandbox"],
    });
  });
  after(async () => {
    await browser.close();
    await rm(folder, { recursive: true });
  });

  const runs: Record<string, Invention> = {
    "two arms": {},
    "three arms of three seeds": { arms: ["joint", "decoupled", "frozen"], seeds: 3 },
    "one arm": { arms: ["decoupled"] },
  };
  for (const [name, wishes] of Object.entries(runs)) {
    for (const width of [390, 1280]) {
      it(`of ${name} is whole, quiet and legible at ${width} pixels`, async () => {
        const file = join(folder, "report.html");
        await writeFile(file, await reportHtml(invented(wishes)));
        const seen = await look(browser, pathToFileURL(file).href, width);
        assert.deepEqual(seen.problems, []);
        assert.deepEqual(seen.requests, []);
        assert.equal(seen.overflow, 0, "the page scrolls sideways");
        assert.equal(seen.figures.length, 8 + (wishes.arms?.length ?? 2));
        for (const { title, marks } of seen.figures) assert.ok(marks > 0, `${title} is empty`);
        assert.deepEqual(seen.overlaps, []);
        assert.ok(seen.smallest >= 8, `text of ${seen.smallest} pixels`);
      });
    }
  }

  it("draws uniqueness and use on axes from 0 to 100 %", async () => {
    const html = await reportHtml(invented());
    for (const title of ["Unique at 0.25", "Unique at 0.5", "Unique at any distance", "Used prototypes"]) {
      const picture = html.slice(html.indexOf(`<h3>${title}</h3>`)).split("</figure>")[0] ?? "";
      assert.match(picture, />0%</);
      assert.match(picture, />100%</);
    }
  });

  it("shows what comes from a run as text, never as markup", async () => {
    const data = invented({ arms: ["<b>bold</b>"] });
    const html = await reportHtml({ ...data, title: "<script>alert(1)</script>" });
    assert.doesNotMatch(html, /<script|<b>/);
    assert.match(html, /&lt;script&gt;alert\(1\)&lt;\/script&gt;/);
  });

  it("is the same for the same run", async () => {
    assert.equal(await reportHtml(invented()), await reportHtml(invented()));
  });
});

async function look(browser: Browser, url: string, width: number): Promise<Seen> {
  const page = await browser.newPage({ viewport: { width, height: 900 } });
  const problems: string[] = [];
  const requests: string[] = [];
  page.on("console", (message) => problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("request", (request) => request.url() !== url && requests.push(request.url()));
  try {
    await page.goto(url);
    const overflow = await page.locator("html").evaluate((html) => html.scrollWidth - html.clientWidth);
    const pictures = await page.locator("figure").evaluateAll((figures) =>
      figures.map((figure) => ({
        title: figure.querySelector("h3")?.textContent ?? "",
        marks: figure.querySelectorAll(".mark-line path[d*=L], path.dots[d*=M]").length,
        texts: [...figure.querySelectorAll("svg text:not([stroke])")].map((text) => {
          const { left, right, top, bottom } = text.getBoundingClientRect();
          return { text: text.textContent ?? "", left, right, top, bottom };
        }),
      })),
    );
    return {
      problems,
      requests,
      overflow,
      figures: pictures,
      overlaps: pictures.flatMap(({ texts }) => overlapping(texts.filter(({ text }) => text !== ""))),
      smallest: Math.min(...pictures.flatMap(({ texts }) => texts.map(({ top, bottom }) => bottom - top))),
    };
  } finally {
    await page.close();
  }
}

interface Box {
  text: string;
  left: number;
  right: number;
  top: number;
  bottom: number;
}

/** Boxes of text are a little higher than the letters. */
function overlapping(boxes: readonly Box[]): string[] {
  return boxes.flatMap((a, i) =>
    boxes
      .slice(i + 1)
      .filter(
        (b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3,
      )
      .map((b) => `${a.text} / ${b.text}`),
  );
}
