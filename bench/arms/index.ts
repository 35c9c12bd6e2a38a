import { emBackend } from "./em-backend.ts";

const arms: Readonly<Record<string, (options: unknown) => Promise<void>>> = { "em-backend": emBackend };

/** Runs an arm of a figure in this process. */
export async function beArm(name = "", options = "{}"): Promise<void> {
  const arm = arms[name];
  if (arm === undefined) throw new Error(`there is no arm "${name}"`);
  await arm(JSON.parse(options));
}
