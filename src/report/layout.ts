import { escapeXml } from "./format.ts";
import { FONT, faint, grid, ink, muted, paper } from "./theme.ts";

/** The style sheet of the pages: one column on a phone, two on wider screens. */
export const style = `
:root { --ink: ${ink}; --muted: ${muted}; --faint: ${faint}; --grid: ${grid}; color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: ${paper}; color: var(--ink); font: 16px/1.5 ${FONT}; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 64px; }
.kind { margin: 0 0 4px; color: var(--muted); font-size: 14px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 12px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 21px; margin: 56px 0 16px; padding-top: 20px; border-top: 1px solid var(--grid); }
h3 { font-size: 15px; margin: 0; }
.finding { font-size: 18px; max-width: 50em; margin: 0 0 28px; color: var(--ink); }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 15px; }
th, td { text-align: left; padding: 7px 20px 7px 0; border-bottom: 1px solid var(--grid); font-weight: normal; white-space: nowrap; }
th[scope=row] { color: var(--muted); width: 1%; padding-right: 32px; }
thead th { font-weight: 600; }
.group th { color: var(--ink); font-weight: 600; padding-top: 18px; }
.down { width: auto; min-width: 100%; }
.down th[scope=row] { position: sticky; left: 0; width: auto; min-width: 11em; background: ${paper}; color: var(--ink); }
.down .arm { white-space: normal; overflow-wrap: anywhere; }
.down th, .down td { padding-right: 14px; }
.down thead th { color: var(--muted); font-weight: normal; vertical-align: bottom; white-space: normal; }
.down thead tr:first-child > * { color: var(--ink); font-weight: 600; border: 0; padding-bottom: 0; }
.down .bar { display: none; }
.down small { display: block; }
small { color: var(--muted); font-size: 12.5px; }
.bar { display: inline-block; width: 90px; height: 8px; margin-right: 12px; background: var(--grid); border-radius: 4px; overflow: hidden; vertical-align: 1px; }
.bar i { display: block; height: 100%; }
.figures { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 40px 44px; }
figure { margin: 0; min-width: 0; }
figure svg { display: block; width: 100%; height: auto; margin: 10px 0 4px; }
figcaption { color: var(--muted); font-size: 14px; }
.legend, .key { margin: 2px 0 0; font-size: 13.5px; color: var(--muted); display: flex; flex-wrap: wrap; gap: 2px 18px; }
.key { margin-bottom: 20px; font-size: 14px; }
.arm { white-space: nowrap; }
.arm i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 7px; }
.dot { display: inline-block; width: 7px; height: 7px; border-radius: 50%; background: var(--faint); margin-right: 8px; vertical-align: 1px; }
.dot.used { width: 10px; height: 10px; background: var(--ink); vertical-align: 0; }
.dot.idle { width: 10px; height: 10px; background: none; border: 1.5px solid var(--ink); vertical-align: 0; }
.warnings { list-style: none; margin: 20px 0 28px; padding: 0; max-width: 60em; }
.warnings li { margin: 0 0 8px; padding: 10px 14px; border-left: 4px solid var(--faint); background: #f6f7f9; border-radius: 4px; font-size: 15px; overflow-wrap: anywhere; }
.warnings li.warning { border-color: #d55e00; background: #fff4e5; }
.warnings li.failure { border-color: #b00020; background: #fdecee; }
.warnings .arm { font-weight: 600; margin-right: 6px; }
.warnings small { white-space: nowrap; display: inline; }
.sheet { list-style: none; margin: 10px 0 6px; padding: 0; }
.sheet li { display: grid; grid-template-columns: 5em minmax(0, 1fr); align-items: center; gap: 10px; margin: 0 0 6px; font-variant-numeric: tabular-nums; }
.sheet span { line-height: 1.25; }
.sheet small { display: block; }
.sheet img { display: block; width: 100%; height: auto; image-rendering: pixelated; }
.copy { user-select: all; -webkit-user-select: all; cursor: copy; }
.hint { margin: 8px 0 0; color: var(--muted); font-size: 13.5px; }
details { margin-top: 10px; border-top: 1px solid var(--grid); padding-top: 10px; }
pre + .figures, .table + .figures { margin-top: 36px; }
.table + .key { margin-top: 16px; max-width: 60em; }
section + details { margin-top: 56px; }
summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; font-size: 13px; line-height: 1.45; background: #f6f7f9; padding: 14px; border-radius: 6px; }
@media (max-width: 720px) {
  main { padding: 24px 16px 48px; }
  h1 { font-size: 25px; }
  .finding { font-size: 16.5px; }
  .figures { grid-template-columns: minmax(0, 1fr); }
  table { font-size: 14px; }
  th, td { padding-right: 10px; white-space: normal; }
  th[scope=row] { padding-right: 12px; min-width: 6.8em; }
  .bar { display: block; width: 56px; margin: 0 0 2px; }
  small { display: block; }
  .down th[scope=row] { min-width: 8.5em; }
  pre { font-size: 11px; padding: 12px; }
}
@media print { main { max-width: none; } figure, tr { break-inside: avoid; } }
`;

/** An HTML page without network access and scripts. `body`: HTML. */
export function htmlPage(title: string, body: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>${escapeXml(title)} · mixhead</title>
<style>${style}</style>
</head>
<body><main>
${body}
</main></body>
</html>
`;
}

/** Pictures under a heading. `key`: HTML between the two. */
export function section(title: string, pictures: readonly string[], key = ""): string {
  return `<section><h2>${title}</h2>${key}<div class="figures">${pictures.join("")}</div></section>`;
}

/** A picture (SVG, or other HTML) with a heading, a legend (HTML) and a caption. */
export function figure(title: string, legend: string, picture: string, caption: string): string {
  const labelled = picture.replace(
    "<svg",
    `<svg role="img" aria-label="${escapeXml(`${title}. ${caption}`)}"`,
  );
  return `<figure><h3>${escapeXml(title)}</h3><p class="legend">${legend}</p>${labelled}<figcaption>${escapeXml(caption)}</figcaption></figure>`;
}
