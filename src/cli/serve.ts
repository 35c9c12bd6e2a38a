import { join, relative } from "node:path";
import type { Command } from "commander";
import { closeBackend, openBackend } from "../backend/backend.ts";
import { resolveConfig } from "../config/load.ts";
import { runsDir } from "../files/paths.ts";
import { openKeys } from "../serve/keys.ts";
import { ownerEnded } from "../serve/owner.ts";
import { MixtureServer } from "../serve/server.ts";
import { readSettings, type Settings } from "../serve/settings.ts";
import { Status } from "../serve/status.ts";
import { askedToEnd, ignoreSignals } from "../terminal/signals.ts";

interface Options {
  endpoint?: string;
  keys?: string;
  state?: string;
  owned?: boolean;
  json?: boolean;
}

/** `mixhead serve [CONFIG] [key=value ...]`: the plugin as a server for drop-in heads. */
export function serve(program: Command): void {
  program
    .command("serve")
    .description("the plugin as a server for drop-in heads")
    .argument("[config]", "a YAML file (default: K and D are those of each run's first hello)")
    .argument("[key=value...]", "settings that override the file's, such as plugin.variance=0.05")
    .option("--endpoint <endpoint>", "ipc://PATH or tcp://HOST:PORT (default: a private socket)")
    .option(
      "--keys <folder>",
      "the folder of CURVE keys for a server that other machines can reach; created if missing",
    )
    .option(
      "--state <folder>",
      "the folder to load mixtures from at the start and to save them to at the end (default: runs/serve-TIME)",
    )
    .option("--owned", "end with the process that started this one, and save nothing")
    .option("--json", "print the endpoint as JSON")
    .action(async (file: string | undefined, overrides: string[], options: Options) => {
      const isFile = file !== undefined && !file.includes("=");
      const settings = isFile
        ? await readSettings(file, overrides)
        : await readSettings(undefined, file === undefined ? [] : [file, ...overrides]);
      await serveUntilStopped(settings, options);
    });
}

const STATUS_MS = 10_000;

const OPEN =
  "every user of this machine can connect to this server and fill its memory with an endless message. If the machine has other users, use the default socket or --keys FOLDER";

/**
 * Serves until a signal. An owned server ignores signals and serves until its owner ends.
 *
 * @throws the error of the socket, or an uncaught error, after the mixtures are saved
 */
async function serveUntilStopped(settings: Settings, options: Options): Promise<void> {
  const { bridge, backend } = resolveConfig(settings.given, [], settings.source);
  const stateDir = options.state ?? (options.owned ? undefined : join(runsDir(), `serve-${timestamp()}`));
  const log = (line: string) => void process.stderr.write(`${line}\n`);
  const failed = new AbortController();
  if (options.owned) ignoreSignals();
  const thrown = firstUncaught();
  const stopped = options.owned ? ownerEnded(failed.signal) : askedToEnd();
  try {
    await openBackend(backend, options.owned ? undefined : log);
    const server = await MixtureServer.start({
      settings,
      endpoint: options.endpoint ?? bridge.endpoint,
      deadline: bridge.deadline,
      owned: options.owned === true,
      ...(options.keys !== undefined && { security: await openKeys(options.keys) }),
      ...(stateDir !== undefined && { stateDir }),
      log: options.owned ? () => {} : log,
    });
    process.stdout.write(announcement(server.endpoint, stateDir, options.json === true));
    if (server.endpoint.startsWith("tcp:") && options.keys === undefined) log(OPEN);
    const status = new Status();
    const show = () => status.lines(server.mixtures, performance.now()).forEach(log);
    const timer = options.owned ? undefined : setInterval(show, STATUS_MS);
    const failure = await Promise.race([stopped, server.failed, thrown]);
    clearInterval(timer);
    await server.stop();
    if (failure instanceof Error) throw failure;
  } finally {
    process.setUncaughtExceptionCaptureCallback(null);
    failed.abort();
    await closeBackend();
  }
}

/** Resolves to the first uncaught error. An event would not do: the listener of tfjs's wasm throws the error again. */
function firstUncaught(): Promise<Error> {
  return new Promise((resolve) => {
    process.setUncaughtExceptionCaptureCallback((error) => {
      process.setUncaughtExceptionCaptureCallback(null);
      resolve(error);
    });
  });
}

function announcement(endpoint: string, stateDir: string | undefined, json: boolean): string {
  if (json) return `${JSON.stringify({ endpoint })}\n`;
  const kept =
    stateDir === undefined ? "" : `mixtures are saved to ${relative("", stateDir)} when the server stops\n`;
  return `listening on ${endpoint}\n${kept}for scripts: MIXHEAD_ENDPOINT=${endpoint}\n`;
}

/** The local time, such as 2025-01-31-235959. */
function timestamp(): string {
  const now = new Date(Date.now() - new Date().getTimezoneOffset() * 60_000);
  return now.toISOString().slice(0, 19).replace("T", "-").replaceAll(":", "");
}
