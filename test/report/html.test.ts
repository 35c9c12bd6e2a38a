import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-wasm";
import type { Browser } from "playwright-core";
import type { Remark } from "../../src/report/data.ts";
import { reportHtml } from "../../src/report/html.ts";
import { openBrowser } from "../browser.ts";
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

const REMARKS: Remark[] = [
  {
    arm: "joint",
    level: "failure",
    text: "Failed: the worker was killed. Its last evaluation is of step 500.",
  },
  { arm: "decoupled", level: "note", step: 5000, text: "12 % of the components are used so far." },
];

describe("the page of a run", () => {
  let browser: Browser;
  let folder: string;
  before(async () => {
    await tf.setBackend("wasm");
    folder = await mkdtemp(join(tmpdir(), "mixhead-report-"));
    browser = await openBrowser();
  });
  after(async () => {
    await browser.close();
    await rm(folder, { recursive: true });
  });

  const runs: Record<string, Invention> = {
    "two arms": {},
    "three arms of three seeds": { arms: ["joint", "decoupled", "frozen"], seeds: 3 },
    "one arm": { arms: ["decoupled"] },
    "two probed arms": { probed: true, remarks: REMARKS },
    "three arms on a long tail": {
      arms: ["joint", "decoupled", "frozen"],
      seeds: 3,
      probed: true,
      longTailed: true,
    },
    "arms of several runs with many classes": {
      arms: ["a/joint", "a/decoupled", "b/joint", "b/decoupled", "b/components=256 retention=0.99"],
      seeds: 2,
      probed: true,
      classes: 300,
    },
  };
  /** Over training, at the end, and of what else is measured; spheres; dots or curves of classes, images; bars. */
  const figuresOf = ({ arms = ["", ""], probed = false, longTailed = false }: Invention) =>
    9 + 6 + arms.length + (probed ? 2 + arms.length : 0) + (longTailed ? 4 : 0);
  for (const [name, wishes] of Object.entries(runs)) {
    for (const width of [390, 1280]) {
      it(`of ${name} is whole, quiet and legible at ${width} pixels`, async () => {
        const file = join(folder, "report.html");
        await writeFile(file, await reportHtml(invented(wishes)));
        const seen = await look(browser, pathToFileURL(file).href, width);
        assert.deepEqual(seen.problems, []);
        assert.deepEqual(seen.requests, []);
        assert.equal(seen.overflow, 0, "the page scrolls sideways");
        assert.equal(seen.figures.length, figuresOf(wishes));
        for (const { title, marks } of seen.figures) assert.ok(marks > 0, `${title} is empty`);
        assert.deepEqual(seen.overlaps, []);
        assert.ok(seen.smallest >= 8, `text of ${seen.smallest} pixels`);
      });
    }
  }

  it("shades intervals if there are several seeds, and says so; with one there is nothing to shade", async () => {
    const [one, three] = [await reportHtml(invented()), await reportHtml(invented({ seeds: 3 }))];
    assert.doesNotMatch(one, /mark-area|95&nbsp;% intervals/);
    assert.match(three, /means over seeds \(3\); shaded areas are 95&nbsp;% intervals/);
    const knn = three.slice(three.indexOf("<h3>k-NN accuracy</h3>")).split("</figure>")[0] ?? "";
    assert.equal(knn.match(/mark-area/g)?.length, 2);
  });

  it("draws every scalar of a plugin, even a constant one", async () => {
    const data = invented();
    const told = data.arms.map((arm) => ({
      ...arm,
      trainings: arm.trainings.map((training) => ({
        ...training,
        measurements: training.measurements.map((line) =>
          arm.name === "joint" || line.knn !== undefined
            ? line
            : { ...line, scalars: { moved: line.step % 3, live: 0.5, none: 0, "<b>": 1e-6 * line.step } },
        ),
      })),
    }));
    const file = join(folder, "report.html");
    await writeFile(file, await reportHtml({ ...data, arms: told }));
    const seen = await look(browser, pathToFileURL(file).href, 390);
    const marks = new Map(seen.figures.map((figure) => [figure.title, figure.marks]));
    for (const name of ["moved", "live", "none", "<b>"]) assert.ok((marks.get(name) ?? 0) > 0, name);
    assert.deepEqual([seen.problems, seen.overlaps], [[], []]);
    assert.ok(!(await reportHtml(data)).includes("What does the plugin report?"));
  });

  it("leaves out sections that a run has no data for: probes, images, remarks", async () => {
    const html = await reportHtml(invented());
    for (const absent of ["Which classes", "What do prototypes", 'class="warnings"']) {
      assert.ok(!html.includes(absent), absent);
    }
  });

  it("lists problems above the figures, the gravest first, with arm and step", async () => {
    const html = await reportHtml(invented({ remarks: REMARKS }));
    const list = html.slice(html.indexOf('<ul class="warnings">'), html.indexOf("<table"));
    assert.match(
      list,
      /class="failure">.*joint.*the worker was killed.*class="note">.*12&nbsp;%.*step 5,000/s,
    );
  });

  it("names the classes if they are few, and orders a long tail's by training images", async () => {
    const html = await reportHtml(invented({ probed: true, longTailed: true }));
    const picture = html.slice(html.indexOf("<h3>k-NN by class")).split("</figure>")[0] ?? "";
    assert.match(picture, /airplane.*automobile.*truck/s);
    assert.match(html, /Linear probe: head, medium, tail, balanced references/);
  });

  it("gives an arm one colour on the whole page, also if only some arms have a figure", async () => {
    const some = invented({ arms: ["a/joint", "b/joint"], seeds: 2, probed: true });
    const [first, second] = invented({
      arms: ["a/joint", "b/joint"],
      seeds: 2,
      probed: true,
      longTailed: true,
    }).arms;
    const arms = [some.arms[0], second].flatMap((arm) => (arm && first ? { ...first, ...arm } : []));
    const html = await reportHtml({ ...some, arms });
    const picture = html.slice(html.indexOf("<h3>k-NN: head")).split("</figure>")[0] ?? "";
    const [, color = ""] = /background:(#\w+)"><\/i>b\/joint/.exec(picture) ?? [];
    assert.ok(html.slice(0, html.indexOf("<section")).includes(`${color}"></i>b/joint`));
    assert.match(picture, new RegExp(`fill="${color}"`));
    assert.ok(!picture.includes("a/joint"));
    assert.doesNotMatch(html, />[^<]*NaN/);
  });

  it("shows images unchanged, with a description in words", async () => {
    const file = join(folder, "images.html");
    await writeFile(file, await reportHtml(invented({ probed: true })));
    const page = await browser.newPage();
    try {
      await page.goto(pathToFileURL(file).href);
      const images = await page.locator(".sheet img").evaluateAll((all) =>
        all.map((image) => ({
          alt: image.getAttribute("alt") ?? "",
          width: "naturalWidth" in image ? image.naturalWidth : 0,
        })),
      );
      assert.equal(images.length, 2 * 12);
      for (const { alt, width } of images) {
        assert.match(alt, /nearest to prototype \d+: (airplane|cat|frog|truck|\w+), /);
        assert.equal(width, 8 * 33 - 1);
      }
      const rendering = await page.evaluate(
        "getComputedStyle(document.querySelector('.sheet img')).imageRendering",
      );
      assert.equal(rendering, "pixelated");
    } finally {
      await page.close();
    }
  });

  it("has the table as text, Markdown, LaTeX and CSV, each selected by one click", async () => {
    const file = join(folder, "copies.html");
    await writeFile(file, await reportHtml(invented({ seeds: 3, arms: ["joint", "50%_of, it"] })));
    const page = await browser.newPage();
    try {
      await page.goto(pathToFileURL(file).href);
      for (const [form, begins] of Object.entries({
        "plain text": "k-NN",
        Markdown: "| arm | k-NN | k-NN from |",
        LaTeX: "\\begin{tabular}{lr",
        CSV: "arm,k-NN,k-NN from,k-NN to,distinctUsed 0.025",
      })) {
        const details = page.locator("details", { hasText: `Table as ${form}` });
        await details.locator("summary").click();
        await details.locator("pre").click();
        const selected = String(await page.evaluate("getSelection().toString()")).trim();
        assert.equal(selected, (await details.locator("pre").innerText()).trim());
        assert.ok(selected.startsWith(begins), selected);
        if (form === "LaTeX") assert.ok(selected.includes("50\\%\\_of, it & 56.1 \\%"), selected);
        if (form === "CSV") assert.ok(selected.includes('"50%_of, it",0.561,'), selected);
      }
    } finally {
      await page.close();
    }
  });

  it("draws uniqueness and use on axes from 0 to 100 %", async () => {
    const html = await reportHtml(invented());
    const titles = [
      "Distinct and used at 0.5",
      "Distinct and used at any distance",
      "Unique at 0.25",
      "Used",
    ];
    for (const title of titles) {
      const picture = html.slice(html.indexOf(`<h3>${title}`)).split("</figure>")[0] ?? "";
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
  page.on("request", (request) => {
    if (request.url() !== url && !request.url().startsWith("data:")) requests.push(request.url());
  });
  try {
    await page.goto(url);
    const overflow = await page.locator("html").evaluate((html) => html.scrollWidth - html.clientWidth);
    const pictures = await page.locator("figure").evaluateAll((figures) =>
      figures.map((figure) => ({
        title: figure.querySelector("h3")?.textContent ?? "",
        marks: figure.querySelectorAll(
          ".mark-line path[d*=L], path.dots[d*=M], .mark-rect path, .mark-symbol path, img",
        ).length,
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
