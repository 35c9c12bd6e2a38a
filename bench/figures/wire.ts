import type { Figure, Row } from "../figure.ts";
import { python } from "../process.ts";
import { inTurns, samplesOf } from "../turns.ts";
import { attachment } from "./head.ts";

const LIMIT = 1024;
const STEPS = 30;

/** The traffic between the rank and Node in a step. */
export const wire: Figure = {
  title: "Bytes on the wire a step",
  how: () =>
    `A drop-in head, 32 images, 2 + 8 views: median (least to greatest) of ${STEPS} steps after the first 3, headers included. Now and then the plugin reads the prototypes to measure how unique they are.`,
  async measure(context) {
    const rows: Row[] = [];
    for (const components of [1024, 8192]) {
      const arm = (placement: string) => ({
        command: python("wire", {
          prototypes: "online-gmm",
          components,
          batch: 32,
          views: 10,
          device: context.device,
          attach: attachment({ components }, placement),
        }),
      });
      const answers = await inTurns({ host: arm("host"), device: arm("device") }, STEPS, context);
      const [host, device] = [answers.get("host"), answers.get("device")];
      rows.push({
        setting: { K: components },
        arms: {
          "host, to Node": samplesOf(host, "up", "bytes"),
          "host, from Node": samplesOf(host, "down", "bytes"),
          "device, to Node": { ...samplesOf(device, "up", "bytes"), atMost: LIMIT },
          "device, from Node": { ...samplesOf(device, "down", "bytes"), atMost: LIMIT },
        },
        ratios: [],
      });
    }
    return rows;
  },
};
