/**
 * node --import ./register.mjs bench/recipe-table.ts FOLDER [NAME]: the runs of FOLDER that are called NAME-sSEED, a
 * line each; then their means over seeds, and how they differ from those of NAME (default: the first).
 */
import { sentence, UserError } from "../src/errors.ts";
import { aligned } from "../src/report/table.ts";
import { meanLines, readTrained, runLines } from "./recipe.ts";

try {
  const [folder, chosen] = process.argv.slice(2);
  if (folder === undefined) throw new UserError("say which folder: recipe-table FOLDER [NAME]");
  const trained = await readTrained(folder);
  const first = chosen ?? trained[0]?.name;
  if (first === undefined) throw new UserError(`${folder} has no evaluated run that is called NAME-sSEED`);
  console.log(`${aligned(runLines(trained))}\n`);
  console.log(aligned(meanLines(trained, first)));
} catch (error) {
  console.error(sentence(error));
  process.exitCode = 1;
}
