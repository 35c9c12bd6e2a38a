// Shows how to put your own mathematics between embeddings and targets: the standard mixture's targets are sharpened in
// rows of which it is sure. The loop is an ordinary run: evaluated, checkpointed, resumed, with a report.
//   npx mixhead run examples/step-loop.ts                     a minute
// What to expect: runs/step-loop/loop/metrics.jsonl has "certainty" beside the loss: the mean over rows of the largest
// target. It was between .04 and .07 throughout, with 1,024 prototypes.
import { openSession, tf } from "mixhead";

const session = await openSession({
  data: { train: 5000, test: 1000 },
  train: { stop: 100, batch: 64, evaluateEvery: 50 },
});
for await (const step of session.steps()) {
  const { rows, targets: standard, scalars } = await session.mixture.step(step); // prototypes move here
  const [targets, certainty] = tf.tidy(() => {
    const p = tf.tensor2d(standard.data, [standard.n, standard.k]);
    const sure = tf.max(p, 1, true);
    const sharp = tf.pow(p, tf.add(1, sure)); // the surer the row, the sharper
    return [tf.div<tf.Tensor2D>(sharp, tf.sum(sharp, 1, true)), tf.mean(sure)];
  });
  step.answer({ rows, targets, scalars: { ...scalars, certainty: (await certainty.data())[0] ?? 0 } });
  certainty.dispose();
}
