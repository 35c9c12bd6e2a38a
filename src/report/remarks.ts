import type { Remark } from "./data.ts";
import { count, escapeXml } from "./format.ts";
import { swatch } from "./summary-table.ts";

/** What to know before one reads the figures, as an HTML list; "" where there is nothing. The live page looks the same. */
export function remarksList(remarks: readonly Remark[], colors: ReadonlyMap<string, string>): string {
  if (remarks.length === 0) return "";
  const items = remarks.map(({ arm, level, text, step }) => {
    const of = arm === null ? "" : `${swatch(arm, colors.get(arm) ?? "var(--faint)")} `;
    const when = step === undefined ? "" : ` <small>step ${count(step)}</small>`;
    return `<li class="${level}">${of}${escapeXml(text)}${when}</li>`;
  });
  return `<ul class="warnings">${items.join("")}</ul>`;
}
