import { relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

/** The place in the code where an operation was queued. V8 keeps the frames and formats them on access. */
export interface Site {
  stack?: string;
}

/** A function that tfjs calls. */
export type Entry = (...args: never[]) => unknown;

/** Stack frames to record. Many are tfjs's own, between a kernel and the line that called it, above all in gradients. */
const FRAMES = 64;
const OWN = fileURLToPath(new URL(".", import.meta.url));

/** Records the stack below `entry`, the function that tfjs calls. */
export function siteOf(entry: Entry): Site {
  const site: Site = {};
  const before = Error.stackTraceLimit;
  Error.stackTraceLimit = FRAMES;
  Error.captureStackTrace(site, entry);
  Error.stackTraceLimit = before;
  return site;
}

/** "plugin.ts:12:5", the first frame outside tfjs and the backend; "" if there is none. */
function lineOf(site: Site | undefined): string {
  for (const frame of site?.stack?.split("\n").slice(1) ?? []) {
    const place = /\(?((?:file:\/\/)?\/[^()]*|[A-Za-z]:\\[^()]*):(\d+):(\d+)\)?$/.exec(frame.trim());
    if (place === null) continue;
    const [, file = "", line, column] = place;
    const path = file.startsWith("file:") ? fileURLToPath(file.replace(/\?.*$/, "")) : file;
    if (path.includes(`${sep}node_modules${sep}`) || path.startsWith(OWN)) continue;
    const near = relative(process.cwd(), path);
    return `${near.startsWith("..") ? path : near}:${line}:${column}`;
  }
  return "";
}

/** " (plugin.ts:12:5)", for the end of a sentence; "" if the place is unknown. */
export function inBrackets(site: Site | undefined): string {
  const line = lineOf(site);
  return line && ` (${line})`;
}
