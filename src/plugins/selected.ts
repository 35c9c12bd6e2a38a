import * as tf from "@tensorflow/tfjs-core";

/**
 * `next` where `ok` (a bool, or one for each row) is true, else `old`: the choice is made where the tensors are, and nothing is
 * read. Without `ok` it is `next`. A tensor that stands in both is passed through; the others of `next` are
 * disposed of.
 */
export function selected<T extends { [N in keyof T]: tf.Tensor | undefined }>(
  ok: tf.Tensor | undefined,
  next: T,
  old: T,
): T {
  if (ok === undefined) return next;
  const chosen = { ...next };
  for (const name in next) chosen[name] = choose(ok, next[name], old[name]);
  return chosen;
}

function choose<T extends tf.Tensor | undefined>(ok: tf.Tensor, next: T, old: T): T {
  if (next === undefined || old === undefined || next === old) return next;
  const kept = tf.tidy(() => tf.where<T & tf.Tensor>(ok, next, old));
  next.dispose();
  return kept;
}
