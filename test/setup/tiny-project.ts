import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pythonPath } from "../../src/files/python.ts";
import { run } from "../../src/setup/shell.ts";

/** Builds a wheel of one module from the standard library alone; the project's build backend is made of it, too. */
const WHEEL = `
import zipfile

def wheel(folder, name, version):
    file = f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(f"{folder}/{file}", "w") as archive:
        archive.writestr(f"{name}.py", f"version = {version!r}")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(f"{info}/RECORD", "")
    return file

def build_editable(folder, config_settings=None, metadata_directory=None):
    return wheel(folder, "project", "1.0")
`;

const PYPROJECT = `
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "project"
version = "1.0"
`;

/**
 * A project in `folder` with a lock of one package, `thing`. Its wheels are in `wheels`, from where
 * pip takes them when its environment is `PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels`.
 */
export async function writeTinyProject(folder: string, wheels: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await mkdir(wheels, { recursive: true });
  await writeFile(join(folder, "backend.py"), WHEEL);
  await writeFile(join(folder, "pyproject.toml"), PYPROJECT);
  for (const version of ["1.0", "2.0"]) {
    const build = `import backend; backend.wheel(${JSON.stringify(wheels)}, "thing", "${version}")`;
    await run(pythonPath(), ["-c", build], { cwd: folder });
  }
}

export async function writeLock(folder: string, wheels: string, version: string): Promise<void> {
  const wheel = await readFile(join(wheels, `thing-${version}-py3-none-any.whl`));
  const hash = createHash("sha256").update(wheel).digest("hex");
  await writeFile(join(folder, "requirements.lock"), `thing==${version} \\\n    --hash=sha256:${hash}\n`);
}
