/** A share as a percentage with significant digits: "52.3 %", "1.5 %", "79 %". */
export function percent(share: number, digits = share > 0 && share < 0.1 ? 1 : 0): string {
  return Number.isFinite(share) ? `${(100 * share).toFixed(digits)} %` : "–";
}

/** "42 s", "21 min", "3 h 5 min". */
export function duration(seconds: number): string {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** "65,536". */
export function count(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

/** Keeps a number and its percent sign on one line, in HTML. */
export function unbroken(html: string): string {
  return html.replaceAll(" %", "&nbsp;%");
}

export function escapeXml(text: string): string {
  const names: Record<string, string> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#39;",
  };
  return text.replace(/[&<>"']/g, (character) => names[character] ?? character);
}
