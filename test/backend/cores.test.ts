import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { allowedCores, coresOfQuota } from "../../src/backend/cores.ts";

describe("the cores that are allowed", () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "mixhead-test-"));
  });
  afterEach(() => rm(root, { recursive: true }));

  async function put(files: Record<string, string>): Promise<void> {
    for (const [name, content] of Object.entries(files)) {
      await mkdir(dirname(join(root, name)), { recursive: true });
      await writeFile(join(root, name), `${content}\n`);
    }
  }

  const limited: [string, Record<string, string>][] = [
    ["of its group", { "proc/self/cgroup": "0::/job", "sys/fs/cgroup/job/cpu.max": "190000 100000" }],
    ["above its group", { "proc/self/cgroup": "0::/job/step", "sys/fs/cgroup/job/cpu.max": "100000 100000" }],
    [
      "of a container, which sees its own group as the root",
      { "proc/self/cgroup": "0::/docker/abc", "sys/fs/cgroup/cpu.max": "50000 100000" },
    ],
    [
      "of the first version",
      {
        "proc/self/cgroup": "4:memory:/x\n3:cpu,cpuacct:/job",
        "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "100000",
        "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000",
      },
    ],
  ];
  for (const [where, files] of limited) {
    it(`are those of a quota ${where}`, async () => {
      await put(files);
      assert.equal(allowedCores(root), 1);
    });
  }

  const unlimited: [string, Record<string, string>][] = [
    ["nothing says so", {}],
    ["there is no quota", { "proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000" }],
    [
      "the first version has none",
      {
        "proc/self/cgroup": "3:cpu:/",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
      },
    ],
    ["the quota is larger", { "proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "100000000000 100000" }],
  ];
  for (const [where, files] of unlimited) {
    it(`are those of the process's affinity if ${where}`, async () => {
      await put(files);
      assert.equal(coresOfQuota(root), undefined);
      assert.equal(allowedCores(root), availableParallelism());
    });
  }
});
