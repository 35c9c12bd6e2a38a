/** How often it is checked whether the owner's process is still this one's parent. */
const CHECK_MS = 1000;

/**
 * Settles when the process that started this one has ended, however it ended: its end of standard
 * input closes with it, or, where a fork of it still holds that open, this process has another parent.
 * Settles, too, when `signal` aborts. Until then this process does not end by itself.
 */
export async function ownerEnded(signal: AbortSignal): Promise<void> {
  const owner = process.ppid;
  let check: NodeJS.Timeout | undefined;
  await new Promise<void>((resolve) => {
    check = setInterval(() => process.ppid !== owner && resolve(), CHECK_MS);
    signal.addEventListener("abort", () => resolve());
    process.stdin
      .once("end", resolve)
      .once("error", () => resolve())
      .resume();
  });
  clearInterval(check);
  process.stdin.destroy(); // what a fork holds open would keep this process from ending
}
