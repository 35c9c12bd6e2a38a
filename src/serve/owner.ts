/** The interval of the checks whether the owner's process is still this one's parent. */
const CHECK_MS = 1000;

/**
 * Settles when the process that started this one has ended, for any reason: standard input closes or, if a fork of the
 * owner still holds it open, this process gets another parent. Settles, too, when `signal` aborts. Until then it keeps
 * this process alive.
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
  process.stdin.destroy(); // if a fork holds it open, it would keep this process alive
}
