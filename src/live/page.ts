import { escapeXml } from "../report/format.ts";
import { style } from "../report/layout.ts";

/** What the live page adds to the style of the reports. */
const liveStyle = `
#state { font-size: 17px; margin: 0; }
.light { display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 9px; background: var(--faint); }
.light.running { background: #009e73; }
.light.complete { background: #0072b2; }
.light.stopped { background: #e69f00; }
.light.failed { background: #d55e00; }
#lost { margin: 0 0 16px; padding: 8px 14px; border-radius: 6px; background: #fff4e5; }
#arms { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 20px; margin: 28px 0 8px; }
.card { border: 1px solid var(--grid); border-radius: 10px; padding: 18px 20px 16px; min-width: 0; }
.card h3 { display: flex; justify-content: space-between; align-items: baseline; gap: 12px; font-size: 17px; }
.card h3 small { font-weight: normal; }
.progress { height: 6px; border-radius: 3px; background: var(--grid); overflow: hidden; margin: 12px 0 6px; }
.progress i { display: block; height: 100%; background: var(--arm); }
.steps { margin: 0 0 14px; color: var(--muted); font-size: 14px; font-variant-numeric: tabular-nums; }
.card dl { display: grid; grid-template-columns: repeat(4, auto); justify-content: space-between; gap: 14px 12px; margin: 0; font-variant-numeric: tabular-nums; }
.card dl div:first-child { grid-column: 1 / -1; }
dt { color: var(--muted); font-size: 13.5px; }
dd { margin: 0; font-size: 23px; line-height: 1.25; font-weight: 600; letter-spacing: -0.01em; }
dl div:first-child dd { display: inline-block; font-size: 40px; margin-right: 12px; }
dl div:first-child dd.more { font-size: 14px; font-weight: normal; letter-spacing: 0; color: var(--muted); margin: 0; }
#seeds { margin: 28px 0 0; }
#charts { margin-top: 32px; }
.legend b { color: var(--ink); font-weight: 600; margin-left: 7px; font-variant-numeric: tabular-nums; }
.level::before { content: ""; display: inline-block; width: 16px; margin-right: 7px; border-top: 2px dashed var(--faint); vertical-align: 4px; }
.plot { margin: 8px 0 4px; min-height: 240px; overflow: hidden; }
@media (max-width: 720px) {
  .card { padding: 14px 14px 12px; }
  .card dl { grid-template-columns: 1fr 1fr; gap: 10px 8px; }
  dl div:first-child dd { font-size: 34px; }
}
`;

/** uPlot asks Intl for the browser's language, which without a locale is "en-US@posix": Intl refuses that. */
const language = `Object.defineProperty(navigator, "language", { value: "en-US" });`;

/** The live page: everything else comes through its modules and their stream of events. */
export function pageHtml(name: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeXml(name)} · mixhead</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/uplot.css">
<style>${style}${liveStyle}</style>
<script>${language}</script>
<script type="importmap">{ "imports": { "uplot": "/uplot.js" } }</script>
<script type="module" src="/src/live/client/main.ts"></script>
</head>
<body><main>
<p id="lost" role="alert" hidden>The connection to mixhead watch is lost; the page tries again by itself.</p>
<header><p class="kind">mixhead run, live</p><h1>${escapeXml(name)}</h1><p id="state" role="status"></p></header>
<ul id="warnings" class="warnings"></ul>
<section id="arms" aria-label="Arms"></section>
<p id="seeds" class="key" hidden>Curves are means over the seeds that have come so far, shaded their 95&nbsp;% intervals by Student's t.</p>
<section id="charts" class="figures" aria-label="Curves"></section>
</main></body>
</html>
`;
}
