/** Tensors by name, as in checkpoints and messages: float32, row-major. */
export type NamedTensors = Record<string, { shape: number[]; data: Float32Array }>;
