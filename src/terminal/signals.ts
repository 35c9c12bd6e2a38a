/** What a scheduler, a shell or a terminal sends to have a process end. */
const ENDING = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
/** What a scheduler sends to warn of an end, each as its user has chosen. */
const WARNING = ["SIGUSR1", "SIGUSR2"] as const;
const ALL = [...ENDING, ...WARNING] as const;

/** Milliseconds. One Ctrl-C may arrive twice, from the terminal and from npx: a repetition within this time does not count. */
const TWICE_MS = 500;

/** Makes this process ignore the signals that would end it or open its debugger. It ends with its owner. */
export function ignoreSignals(): void {
  for (const signal of ALL) process.on(signal, ignore);
}

/** Settles at the first signal that asks a server to end. A warning is for the scripts that it serves. */
export function askedToEnd(): Promise<void> {
  for (const signal of WARNING) process.on(signal, ignore);
  return new Promise((stop) => void onSignals({ stop: () => stop(), quit: () => process.exit(1) }, ENDING));
}

/**
 * Calls `stop` once, at the first signal that says that the end is near, and `quit` at a Ctrl-C after it. Other
 * signals may follow one another, as a scheduler's do; they do not interrupt what `stop` began.
 *
 * Returns a function that restores the former handlers.
 */
export function onSignals(
  { stop, quit }: { stop(signal: NodeJS.Signals): void; quit(): void },
  signals: readonly NodeJS.Signals[] = ALL,
): () => void {
  let stopped: number | undefined;
  const hear = (signal: NodeJS.Signals) => {
    if (stopped === undefined) {
      stopped = performance.now();
      outliveTerminal();
      stop(signal);
    } else if (signal === "SIGINT" && performance.now() - stopped > TWICE_MS) quit();
  };
  for (const signal of signals) process.on(signal, hear);
  return () => {
    for (const signal of signals) process.off(signal, hear);
  };
}

/** The terminal, or a `tee`, may have ended by the same signal; output is lost then. */
function outliveTerminal(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on("error", ignore);
}

function ignore(): void {}
