/** Groups of ops, and the files of tfjs-core's `dist` that have their specs; gradients of an op are specified with it. */
export const GROUPS: Record<string, string[]> = {
  "arithmetic of one": ops(
    "abs acos acosh asin asinh atan atanh ceil clip_by_value cos cosh elu erf exp expm1 floor is_finite is_inf is_nan",
    "leaky_relu log log1p log_sigmoid neg reciprocal relu relu6 round rsqrt selu sigmoid sign sin sinh softplus sqrt",
    "square step tan tanh",
  ),
  "arithmetic of two": ops("add add_n arithmetic binary_ops bitwise_and floordiv sub"),
  comparison: ops("equal greater greater_equal less less_equal not_equal"),
  logic: ops("logical_and logical_not logical_or logical_xor"),
  reductions: ops(
    "all any arg_max arg_min bincount dense_bincount euclidean_norm log_sum_exp max mean min moments norm prod sum",
  ),
  matMul: ops("mat_mul fused/fused_mat_mul linalg/band_part linalg/gram_schmidt linalg/qr"),
  softmax: ops("softmax log_softmax"),
  gather: ops("gather gather_nd"),
  scatter: ops("scatter_nd sparse_to_dense tensor_scatter_update unsorted_segment_sum"),
  "topk and searches": ops("in_top_k lower_bound search_sorted topk upper_bound"),
  "concat, stack, split": ops("concat meshgrid split stack unstack"),
  slice: ops("slice slice1d slice2d slice3d slice4d strided_slice"),
  tile: ops("broadcast_to tile"),
  pad: ops("mirror_pad pad"),
  cumsum: ops("cumprod cumsum"),
  where: ops("boolean_mask setdiff1d_async where where_async"),
  einsum: ops("einsum"),
  "order of elements": ops(
    "expand_dims reverse reverse_1d reverse_2d reverse_3d reverse_4d squeeze transpose",
  ),
  "creation, one-hot": ops("diag eye fill linspace one_hot ones ones_like range zeros zeros_like"),
  "tensors, casts": ["tensor_test", "buffer_test", "variable_test", ...ops("clone")],
  gradients: [
    "gradients_test",
    ...["adadelta", "adagrad", "adam", "adamax", "momentum", "rmsprop", "sgd"].map(
      (name) => `optimizers/${name}_optimizer_test`,
    ),
    "optimizers/optimizer_test",
  ],
  losses: ops(
    "losses/absolute_difference losses/compute_weighted_loss losses/cosine_distance losses/hinge_loss",
    "losses/huber_loss losses/log_loss losses/mean_squared_error losses/sigmoid_cross_entropy",
    "losses/softmax_cross_entropy confusion_matrix dropout moving_average",
  ),
  "engine: memory, profiles": ["engine_test", "debug_mode_test", "profiler_test"],
};

function ops(...names: string[]): string[] {
  return names.flatMap((line) => line.split(" ")).map((name) => `ops/${name}_test`);
}
