import type { Remark } from "./data.ts";
import { count, escapeXml } from "./format.ts";
import { swatch } from "./summary-table.ts";

/** Remarks to read before the figures, as an HTML list; "" if there are none. The live page uses the same markup. */
export function remarksList(remarks: readonly Remark[], colors: ReadonlyMap<string, string>): string {
  if (remarks.length === 0) return "";
  const items = remarks.map(({ arm, level, text, step }) => {
    const of = arm === null ? "" : `${swatch(arm, colors.get(arm) ?? "var(--faint)")} `;
    const when = step === undefined ? "" : ` <small>step ${count(step)}</small>`;
    return `<li class="${level}">${of}${escapeXml(text)}${when}</li>`;
  });
  return `<ul class="warnings">${items.join("")}</ul>`;
}
