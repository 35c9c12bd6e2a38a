import { type Context, type Figure, type Row, rowOfEach } from "../figure.ts";
import { python } from "../process.ts";
import { type ArmSpec, allSamples, inTurns } from "../turns.ts";

interface Setting {
  components: number;
  batch: number;
  /** Views of an image that the student sees; the teacher sees two. */
  views: number;
  /** With device placement. */
  goal?: number;
}

/** The paper's setting, and the best arm so far. */
const DIAGONAL = { covariance: "diagonal", weights: "estimated" };
/** Its products are twice as wide. */
const DIAGONAL_GOAL = 1.3;

function settings({ device }: Context): Setting[] {
  const sizes =
    device === "cpu"
      ? [
          { components: 8192, batch: 64, goal: 1 },
          { components: 65_536, batch: 32, goal: 0.9 },
        ]
      : [{ components: 65_536, batch: 64, goal: 0.9 }];
  return sizes.flatMap(({ goal, ...size }): Setting[] => [
    { ...size, views: 10, goal },
    { ...size, views: 2 },
  ]);
}

/** Compares the whole step of a drop-in head with joint prototypes and with those of a mixture. */
export const head: Figure = {
  title: "A step of a drop-in head: loss, backward, AdamW, the teacher's average",
  how: (context) =>
    `Meta's head of 384-2048-2048-256, random features, each arm in a process of its own, in turns; median (least to greatest) of ${rounds(context)} rounds.`,
  measure: (context) => rowOfEach(settings(context), context, measureOne),
};

const rounds = ({ device, quick }: Pick<Context, "device" | "quick">) =>
  quick ? 2 : device === "cpu" ? 7 : 5;

async function measureOne(setting: Setting, context: Context): Promise<Row> {
  const { components, batch, views, goal } = setting;
  const { device, quick } = context;
  context.note(`K = ${components}, ${batch} images, ${views} views`);
  const seconds = quick ? 0.2 : device === "cpu" ? 3 : 0.5;
  const arm = (prototypes: string, attach?: object): ArmSpec => ({
    command: python("head", {
      prototypes,
      components,
      batch,
      views,
      device,
      seconds,
      ...(attach !== undefined && { attach }),
    }),
  });
  const answers = await inTurns(
    {
      joint: arm("joint"),
      device: arm("online-gmm", attachment({ components }, "device")),
      "device, diagonal": arm("online-gmm", attachment({ components, ...DIAGONAL }, "device")),
      ...(device === "cpu" && { host: arm("online-gmm", attachment({ components }, "host")) }),
    },
    rounds(context),
    context,
  );
  return {
    setting: { K: components, images: batch, views: views > 2 ? `2 + ${views - 2}` : "2" },
    arms: allSamples(answers, "ms", "ms"),
    ratios: [
      { of: "device", to: "joint", ...(goal !== undefined && { atMost: goal }) },
      {
        of: "device, diagonal",
        to: "joint",
        ...(goal !== undefined && { atMost: DIAGONAL_GOAL * goal }),
      },
      ...(device === "cpu" ? [{ of: "host", to: "joint" }] : []),
    ],
  };
}

/** The configuration for `mixhead.attach`. */
export function attachment(plugin: object, placement: string): object {
  return { plugin, placement };
}
