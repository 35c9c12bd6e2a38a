import { z } from "zod";

const share = z.number().min(0).max(1);
/** null if no test image is of the class or group. */
const both = z.strictObject({ knn: share.nullable(), linear: share.nullable() });
const classifierFigures = z.strictObject({
  /** By k. */
  knn: z.record(z.string(), share),
  linear: share,
  linearRate: z.number().positive(),
  perClass: z.strictObject({ knn: z.array(share.nullable()), linear: z.array(share.nullable()) }),
  /** If the training set is long-tailed. */
  groups: z.strictObject({ head: both, medium: both, tail: both }).optional(),
});

/** Accuracies of both classifiers with frozen features and one set of references. */
export type ClassifierFigures = z.infer<typeof classifierFigures>;

/** The output of `mixhead evaluate --json`, and the evaluation.json of a training. */
export const probeFigures = classifierFigures.extend({
  /** The same with a balanced version of a long-tailed training set as references. */
  balanced: classifierFigures.optional(),
});
export type ProbeFigures = z.infer<typeof probeFigures>;
