import { existsSync } from "node:fs";
import { z } from "zod";
import { sentence } from "../errors.ts";
import { pythonEnv } from "../files/paths.ts";
import { pythonPath } from "../files/python.ts";
import { probeBackend } from "./backend.ts";
import { dataSets } from "./data-sets.ts";
import { environmentIsCurrent } from "./python-environment.ts";
import { CommandFailed, run } from "./shell.ts";
import { addonOutcome } from "./tfjs-addon.ts";

/** One requirement of mixhead. `absent`: optional and not there. `missing`: needed for training and not there. */
export interface Finding {
  name: string;
  state: "ok" | "absent" | "missing";
  is: string;
  /** How to fix it. */
  toDo?: string;
}

/** Examines everything that training needs or can use. Actually starts Python and the tfjs backend. */
export async function examine(): Promise<Finding[]> {
  const parts = await Promise.all([node(), python(), backend(), data()]);
  return parts.flat();
}

/** These are always ok here: bin/mixhead.mjs has checked them before it started this. */
function node(): Finding[] {
  return [
    { name: "Node", state: "ok", is: process.versions.node },
    { name: "npm packages", state: "ok", is: "those of package-lock.json" },
  ];
}

const ASK_PYTHON = `
import json, sys
from importlib.metadata import version
import mixhead, torch
names = ("torchvision", "timm", "lightly", "pyzmq", "msgspec", "safetensors", "scikit-learn")
cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
print(json.dumps({"python": sys.version.split()[0], "torch": torch.__version__, "cuda": cuda,
                  "built": torch.version.cuda, "others": {name: version(name) for name in names}}))
`;

const Answer = z.object({
  python: z.string(),
  torch: z.string(),
  cuda: z.array(z.string()),
  built: z.string().nullable(),
  others: z.record(z.string(), z.string()),
});

async function python(): Promise<Finding[]> {
  const own = process.env.MIXHEAD_PYTHON !== undefined;
  const setUp = own
    ? "install mixhead and what it needs there: pip install './python_env[worker]'"
    : "npm run setup";
  const where = own ? "MIXHEAD_PYTHON" : "python_env/.venv";
  try {
    const answer = Answer.parse(JSON.parse(await run(pythonPath(), ["-c", ASK_PYTHON])));
    const current = own || (await environmentIsCurrent(pythonEnv));
    const others = Object.entries(answer.others).map(([name, version]) => `${name} ${version}`);
    return [
      current
        ? { name: "Python", state: "ok", is: `${answer.python} (${where})` }
        : {
            name: "Python",
            state: "missing",
            is: `${where} does not match requirements.lock`,
            toDo: setUp,
          },
      { name: "PyTorch", state: "ok", is: [answer.torch, ...others].join(", ") },
      cuda(answer),
    ];
  } catch (error) {
    const why = error instanceof CommandFailed ? (error.lines.at(-1) ?? error.message) : sentence(error);
    return [{ name: "Python", state: "missing", is: why, toDo: setUp }];
  }
}

function cuda({ cuda: devices, built }: z.infer<typeof Answer>): Finding {
  if (devices.length > 0) return { name: "CUDA", state: "ok", is: `${built}: ${devices.join(", ")}` };
  if (built === null)
    return {
      name: "CUDA",
      state: "absent",
      is: "this PyTorch is built without it",
      toDo: "if this machine has an NVIDIA GPU, install a PyTorch built with CUDA",
    };
  const driver = existsSync("/proc/driver/nvidia/version");
  return {
    name: "CUDA",
    state: "absent",
    is: "no device: training runs on the CPU",
    toDo: driver
      ? `check that nvidia-smi lists the device and that its driver is new enough for CUDA ${built}`
      : "nothing, unless this machine has an NVIDIA GPU: then install its driver",
  };
}

async function backend(): Promise<Finding[]> {
  try {
    const { backend: name, why } = await probeBackend("auto");
    if (name === "tensorflow")
      return [{ name: "tfjs backend", state: "ok", is: "tensorflow (tfjs-node, native)" }];
    const outcome = await addonOutcome();
    const cause = outcome?.why ? `${why} Set-up found: ${outcome.why}.` : why;
    return [
      {
        name: "tfjs backend",
        state: "absent",
        is: `wasm. ${cause}`,
        toDo: "fix that, then run npm run setup again",
      },
    ];
  } catch (error) {
    return [{ name: "tfjs backend", state: "missing", is: sentence(error), toDo: "npm run setup" }];
  }
}

/** Training needs one data set, and set-up brings CIFAR-10. */
async function data(): Promise<Finding[]> {
  const own = (await dataSets()).filter((set) => set.folder !== undefined);
  return own.map(({ name, folder, present, get }) =>
    present
      ? { name: `data: ${name}`, state: "ok", is: folder ?? "" }
      : {
          name: `data: ${name}`,
          state: name === "cifar10" ? "missing" : "absent",
          is: "not here",
          toDo: get,
        },
  );
}
