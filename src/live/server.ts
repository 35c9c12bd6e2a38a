import { readFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fastify } from "fastify";
import ts from "typescript";
import { UserError } from "../errors.ts";
import { packageRoot } from "../files/paths.ts";
import { type Change, RunFollower } from "./follow.ts";
import { pageHtml } from "./page.ts";

/** The first port that is tried. */
export const FIRST_PORT = 6160;
const PORTS_TRIED = 100;

/** The page's modules, by their place in the repository, which is also their address. */
const MODULES = [
  "src/live/client/main.ts",
  "src/live/client/cards.ts",
  "src/live/client/charts.ts",
  "src/live/client/dom.ts",
  "src/live/client/specs.ts",
  "src/report/theme.ts",
  "src/report/format.ts",
  "src/report/over-seeds.ts",
];

const uplot = dirname(createRequire(import.meta.url).resolve("uplot"));

/** A page that is being served. */
export interface Live {
  url: string;
  close(): Promise<void>;
}

/**
 * Serves the live page of a run, on this machine's own address only.
 *
 * @param runFolder runs/NAME
 * @param port the port to take; without it, the first free one from 6160
 * @throws UserError if the folder is not a run, or if the port is taken
 */
export async function serveLive(runFolder: string, port?: number): Promise<Live> {
  const pages = new Set<ServerResponse>();
  const follower = await RunFollower.open(runFolder, (change) => {
    for (const page of pages) send(page, change);
  });
  const app = fastify({ forceCloseConnections: true });
  // Only this machine's own page: requests with another host name or from another page's origin are refused.
  app.addHook("onRequest", async (request, reply) => {
    const { origin } = request.headers;
    const ours = [`http://${request.host}`, undefined].includes(origin);
    if (!ours || !["127.0.0.1", "localhost"].includes(request.hostname)) await reply.code(403).send();
  });
  const serve = (path: string, type: string, content: () => Promise<string>) =>
    app.get(path, async (_, reply) => reply.type(`${type}; charset=utf-8`).send(await content()));

  serve("/", "text/html", async () => pageHtml(follower.everything().run.name));
  for (const path of MODULES) serve(`/${path}`, "text/javascript", () => moduleSource(path));
  serve("/uplot.js", "text/javascript", () => readFile(join(uplot, "uPlot.esm.js"), "utf8"));
  serve("/uplot.css", "text/css", () => readFile(join(uplot, "uPlot.min.css"), "utf8"));
  app.get("/events", (request, reply) => {
    reply.hijack();
    const page = reply.raw;
    page.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    page.write("retry: 1000\n\n");
    send(page, follower.everything());
    pages.add(page);
    request.raw.on("close", () => pages.delete(page));
  });

  try {
    const url = await listen(app, port);
    return {
      url,
      close: async () => {
        follower.close();
        for (const page of pages) page.destroy();
        await app.close();
      },
    };
  } catch (error) {
    follower.close();
    throw error;
  }
}

function send(page: ServerResponse, { run, points }: Change): void {
  page.write(`event: run\ndata: ${JSON.stringify(run)}\n\n`);
  for (const one of points) page.write(`event: points\ndata: ${JSON.stringify(one)}\n\n`);
}

/** A module as JavaScript: types taken out, imports as they are. */
async function moduleSource(path: string): Promise<string> {
  const source = await readFile(join(packageRoot, path), "utf8");
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
    },
  });
  return outputText;
}

async function listen(app: { listen(at: { host: string; port: number }): Promise<string> }, port?: number) {
  const last = port ?? FIRST_PORT + PORTS_TRIED - 1;
  for (let tried = port ?? FIRST_PORT; ; tried++) {
    try {
      await app.listen({ host: "127.0.0.1", port: tried });
      return `http://127.0.0.1:${tried}/`;
    } catch (error) {
      if (!isTaken(error)) throw error;
      if (tried < last) continue;
      throw new UserError(
        port === undefined
          ? `no port from ${FIRST_PORT} to ${last} is free: give one with --port`
          : `port ${port} is taken: give another with --port, or none`,
      );
    }
  }
}

function isTaken(error: unknown): boolean {
  return (
    error instanceof Error && "code" in error && (error.code === "EADDRINUSE" || error.code === "EACCES")
  );
}
