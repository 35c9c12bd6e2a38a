/** The output of a Python process without terminal colours. */
export function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: an escape character is what a colour starts with
  return text.replace(/\x1b\[[0-9;]*m/g, "");
}

/**
 * The error message in a traceback or log of Python: its last line. Pythonia's exceptions have an empty message and
 * hold the coloured traceback in their stack.
 */
export function pythonSentence(text: string): string {
  const lines = plain(text)
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  const last = lines.at(-1) ?? "";
  return last.replace(/^(\*\*\* JS \*\*\*|\u{1F309})\s*/u, "");
}
