import { sentence, UserError } from "../src/errors.ts";
import { writeAtomic } from "../src/files/atomic.ts";
import { toPng } from "../src/report/picture.ts";
import { readTrained, type Trained } from "./trained.ts";

/**
 * Runs a program that draws. Its arguments are PLACE (as in recipe-table), OUT (an .svg or a .png), and those in
 * `usage`. Prints errors as one sentence, and sets the exit status.
 */
export async function draw(
  usage: string,
  picture: (trained: readonly Trained[], rest: readonly string[]) => Promise<string>,
): Promise<void> {
  try {
    const [place, out, ...rest] = process.argv.slice(2);
    if (place === undefined || out === undefined || !/\.(svg|png)$/.test(out))
      throw new UserError(`say what to draw: ${usage}`);
    const svg = await picture(await readTrained(place), rest);
    await writeAtomic(out, [out.endsWith(".png") ? toPng(svg) : svg]);
  } catch (error) {
    console.error(sentence(error));
    process.exitCode = 1;
  }
}
