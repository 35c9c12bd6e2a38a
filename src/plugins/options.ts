import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { explain } from "../config/explain.ts";
import { configYaml, parseYaml } from "../config/load.ts";
import { sentence, UserError } from "../errors.ts";

type Options = Record<string, unknown>;

/**
 * Parses the options of a plugin in a file by the schema that the file exports as `options`, and fills in the
 * defaults. The result is stored in records, so it has to be plain data that the schema accepts unchanged.
 *
 * @param file the plugin's name in error messages
 * @returns undefined if the file exports no schema and no options are given
 * @throws UserError with a sentence for each mistake
 */
export async function parseOptions(
  file: string,
  schema: unknown,
  given: Options | undefined,
): Promise<Options | undefined> {
  if (schema === undefined) {
    if (given === undefined) return undefined;
    throw new UserError(
      `${file} takes no plugin.options: it exports no schema for them, such as options = z.strictObject({ rate: z.number() })`,
    );
  }
  if (!(schema instanceof z.ZodType)) {
    throw new UserError(
      `${file}: its export "options" is not a zod schema, such as z.strictObject({ rate: z.number() })`,
    );
  }
  const options = await parsed(file, schema, given ?? {});
  if (!(await isFixed(schema, options))) {
    throw new UserError(
      `${file}: its schema transforms plugin.options into values that a record cannot hold: let it keep them unchanged, and compute in the factory`,
    );
  }
  return options;
}

async function parsed(file: string, schema: z.ZodType, given: Options): Promise<Options> {
  // Nested as in a configuration, so that error messages have the whole path.
  const whole = z.object({ plugin: z.object({ options: schema.pipe(z.record(z.string(), z.unknown())) }) });
  const input = { plugin: { options: given } };
  try {
    const { data, error } = await whole.safeParseAsync(input);
    if (error === undefined) return data.plugin.options;
    const lines = explain(error, input, whole).split("\n");
    throw new UserError(lines.map((line) => `${file}: ${line}`).join("\n"));
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${file}: its schema of plugin.options failed: ${sentence(error)}`, { cause: error });
  }
}

async function isFixed(schema: z.ZodType, options: Options): Promise<boolean> {
  const recorded = parseYaml(configYaml(options), "options");
  const again = await schema.safeParseAsync(recorded);
  return again.success && isDeepStrictEqual(again.data, options);
}
