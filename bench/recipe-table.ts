/**
 * node --import ./register.mjs bench/recipe-table.ts PLACE [NAME] [--keep FILE]: prints a line for each run of PLACE,
 * then the means over seeds and their differences from those of NAME (default: the first). PLACE is a folder whose runs
 * are called NAME-sSEED, or a file that --keep has written for one.
 */
import { parseArgs } from "node:util";
import { sentence, UserError } from "../src/errors.ts";
import { aligned } from "../src/report/table.ts";
import { meanLines, runLines } from "./recipe.ts";
import { keepTrained, readTrained } from "./trained.ts";

try {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { keep: { type: "string" } },
  });
  const [place, chosen] = positionals;
  if (place === undefined)
    throw new UserError("say which folder or file: recipe-table PLACE [NAME] [--keep FILE]");
  const trained = await readTrained(place);
  const first = chosen ?? trained[0]?.name;
  if (first === undefined) throw new UserError(`${place} has no evaluated run that is called NAME-sSEED`);
  console.log(`${aligned(runLines(trained))}\n`);
  console.log(aligned(meanLines(trained, first)));
  if (values.keep !== undefined) await keepTrained(values.keep, trained, first);
} catch (error) {
  console.error(sentence(error));
  process.exitCode = 1;
}
