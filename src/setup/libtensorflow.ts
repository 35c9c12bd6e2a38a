import { existsSync } from "node:fs";
import { mkdir, readdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheDir } from "../files/paths.ts";
import { run } from "./shell.ts";

const VERSION = "2.21.0";

/** One wheel serves every Python: only the C library in it is used. */
const WHEEL = {
  requirement: `tensorflow-cpu==${VERSION} --hash=sha256:2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c`,
  platform: [
    "--python-version=3.11",
    "--implementation=cp",
    "--abi=cp311",
    "--platform=manylinux_2_27_x86_64",
  ],
};

/** Extracts the two libraries and the C headers from the wheel. */
const UNPACK = `
import sys, zipfile
wheel, target = sys.argv[1:]
headers = ("tensorflow/c/", "tensorflow/core/platform/ctstring", "tsl/platform/ctstring", "xla/tsl/c/")
wanted = tuple("tensorflow/include/" + header for header in headers) + ("tensorflow/libtensorflow_",)
with zipfile.ZipFile(wheel) as archive:
    archive.extractall(target, [name for name in archive.namelist() if name.startswith(wanted)])
`;

/** The names under which tfjs-node's build and its addon look for the libraries. */
const LINKS = {
  "libtensorflow.so": "libtensorflow_cc.so.2",
  "libtensorflow.so.2.9.1": "libtensorflow_cc.so.2",
  "libtensorflow_framework.so": "libtensorflow_framework.so.2",
};

/** The folder of the wheel's unpacked libtensorflow, with `include/` and `lib/`. */
export const libtensorflow = join(cacheDir, `libtensorflow-${VERSION}`);

/** Fetches the wheel and unpacks the files that a build of tfjs-node needs, all or none of them. */
export async function fetchLibtensorflow(python: string, note: (text: string) => void): Promise<void> {
  if (existsSync(libtensorflow)) return;
  const partial = `${libtensorflow}.partial`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(join(partial, "lib"), { recursive: true });
  const requirements = join(partial, "requirements.txt");
  await writeFile(requirements, `${WHEEL.requirement}\n`);
  const download = ["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--progress-bar=off"];
  await run(python, [...download, ...WHEEL.platform, "--require-hashes", "-r", requirements, "-d", partial], {
    env: { PIP_CONSTRAINT: "" },
    onLine: note,
  });
  const wheel = (await readdir(partial)).find((name) => name.endsWith(".whl"));
  if (wheel === undefined) throw new Error("pip downloaded no wheel of tensorflow-cpu");
  note("unpacking");
  await run(python, ["-c", UNPACK, join(partial, wheel), partial]);
  await rename(join(partial, "tensorflow", "include"), join(partial, "include"));
  for (const library of new Set(Object.values(LINKS)))
    await rename(join(partial, "tensorflow", library), join(partial, "lib", library));
  for (const [name, library] of Object.entries(LINKS)) await symlink(library, join(partial, "lib", name));
  for (const name of [wheel, "tensorflow", "requirements.txt"])
    await rm(join(partial, name), { recursive: true });
  await rename(partial, libtensorflow);
}
