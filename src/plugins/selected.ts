import * as tf from "@tensorflow/tfjs-core";

/**
 * Selects `next` if `ok` (a bool, or one per row) is true, else `old`. The selection happens on the tensors' device;
 * nothing is read. Without `ok` it is `next`. A tensor in both is returned as it is; the other tensors of `next` are
 * disposed.
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
