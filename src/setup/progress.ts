const QUIET_SECONDS = 15;

/** "31 s", "2 m 31 s". */
export function duration(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} m ${seconds % 60} s`;
}

/** Writes a line of set-up to standard error. */
export function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

/**
 * Announces a step, shows its progress (from `note`) while it runs, and says how long it took. On a
 * terminal one line is rewritten every second; elsewhere a line is printed every 15 seconds.
 */
export async function step<T>(title: string, work: (note: (text: string) => void) => Promise<T>): Promise<T> {
  const start = Date.now();
  const terminal = process.stderr.isTTY;
  let doing = "";
  say(title);
  const tick = () => {
    const line = `  ${duration(Date.now() - start)} ${doing}`.slice(0, (process.stderr.columns ?? 100) - 1);
    process.stderr.write(terminal ? `\r\x1b[K${line}` : `${line}\n`);
  };
  const timer = setInterval(tick, terminal ? 1000 : QUIET_SECONDS * 1000);
  try {
    const result = await work((text) => {
      doing = text.trim();
    });
    clearInterval(timer);
    if (terminal) process.stderr.write("\r\x1b[K");
    say(`  done in ${duration(Date.now() - start)}`);
    return result;
  } finally {
    clearInterval(timer);
  }
}
