import { emBackend } from "./em-backend.ts";

const arms: Readonly<Record<string, (options: unknown) => Promise<void>>> = { "em-backend": emBackend };

/** Makes this process an arm that a figure has asked for. */
export async function beArm(name = "", options = "{}"): Promise<void> {
  const arm = arms[name];
  if (arm === undefined) throw new Error(`there is no arm "${name}"`);
  await arm(JSON.parse(options));
}
