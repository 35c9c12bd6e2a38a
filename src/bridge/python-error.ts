/** What a Python process wrote, without the colours of a terminal. */
export function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: an escape character is what a colour starts with
  return text.replace(/\x1b\[[0-9;]*m/g, "");
}

/**
 * The sentence in what Python wrote as it failed: the last line of a traceback or of a log. Pythonia's
 * exceptions have an empty message and hold the traceback, coloured, in their stack.
 */
export function pythonSentence(text: string): string {
  const lines = plain(text)
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  const last = lines.at(-1) ?? "";
  return last.replace(/^(\*\*\* JS \*\*\*|\u{1F309})\s*/u, "");
}
