import { openBackend } from "../../src/backend/backend.ts";
import { onEachBackend } from "../backend/available.ts";
import { DeviceRank } from "../mixture/device-rank.ts";
import { hardSettings } from "./settings.ts";
import { onDevice, onHost } from "./subject.ts";
import { takeHardSteps } from "./take.ts";

// `npm run numbers` does the same for 100,000 steps.
const SEED = 1;

onEachBackend("a mixture on batches that are hard", (backend) => {
  for (const setting of hardSettings)
    it(`${setting.name}: stays finite and within its bounds`, async () => {
      const subject = await onHost(setting, SEED);
      await takeHardSteps(subject, setting, backend === "torch" ? 40 : 100, SEED).finally(() =>
        subject.end(),
      );
    });
});

describe("a mixture on a rank's device on batches that are hard", function () {
  this.timeout(60_000);
  let rank: DeviceRank;
  before(async () => {
    await openBackend("wasm");
    rank = await DeviceRank.start();
  });
  after(() => rank.kill());

  for (const setting of hardSettings)
    it(`${setting.name}: stays finite and within its bounds`, async () => {
      const subject = await onDevice(rank, setting, SEED);
      await takeHardSteps(subject, setting, 20, SEED).finally(() => subject.end());
    });
});
