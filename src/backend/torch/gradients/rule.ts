import * as tf from "@tensorflow/tfjs-core";

/** The result of a rule: for each input a function that computes the derivative of the loss. */
type Derivatives = Record<string, () => tf.Tensor>;

/** Computes the derivatives of a loss by a kernel's inputs from those by its outputs. */
export interface Rule {
  /** Inputs that `of` needs; for a kernel of a list of tensors, all of them. */
  needs?: readonly string[] | "all";
  /** Whether it needs the kernel's result, which comes after the inputs. */
  needsResult?: boolean;
  of(dy: tf.Tensor, saved: Saved, attributes: tf.NamedAttrMap, dys: tf.Tensor[]): Derivatives;
}

/** Rules by the kernels' names. */
export type Rules = Record<string, Rule>;

/** The tensors that a rule needs, by position. */
interface Saved {
  (place: number): tf.Tensor;
  all: readonly tf.Tensor[];
}

/** Registers rules with tfjs for kernels that have none. The rules of the whole tfjs package are equivalent. */
export function register(rules: Rules): void {
  for (const [kernelName, { needs = [], needsResult = false, of }] of Object.entries(rules)) {
    const known: tf.GradConfig | undefined = tf.getGradient(kernelName);
    if (known !== undefined) continue;
    tf.registerGradient({
      kernelName,
      ...(needs === "all" ? { saveAllInputs: true } : { inputsToSave: [...needs] }),
      outputsToSave: [needsResult],
      gradFunc: (given, saved, attributes) => {
        const dys = Array.isArray(given) ? given : [given];
        return of(tensorAt(dys, 0), placed(saved), attributes, dys);
      },
    });
  }
}

function placed(all: readonly tf.Tensor[]): Saved {
  return Object.assign((place: number) => tensorAt(all, place), { all });
}

function tensorAt(tensors: readonly tf.Tensor[], place: number): tf.Tensor {
  const tensor = tensors[place];
  if (tensor === undefined) throw new TypeError(`the gradient lacks tensor ${place}`);
  return tensor;
}

/** The rule of an elementwise function f: dx = dy f'(x). */
export const slope = (derivative: (x: tf.Tensor) => tf.Tensor): Rule => ({
  needs: ["x"],
  of: (dy, saved) => ({ x: () => tf.mul(dy, derivative(float(saved(0)))) }),
});

/** The same if f' is easier to compute from y = f(x). */
export const slopeByResult = (derivative: (y: tf.Tensor) => tf.Tensor): Rule => ({
  needsResult: true,
  of: (dy, saved) => ({ x: () => tf.mul(dy, derivative(saved(0))) }),
});

/** The rule of a function whose derivative is 0 wherever it exists. */
export const flat = (...inputs: readonly string[]): Rule => ({
  needs: inputs,
  of: (_, saved) =>
    Object.fromEntries(inputs.map((name, place) => [name, () => tf.zerosLike(float(saved(place)))])),
});

export function float(x: tf.Tensor): tf.Tensor {
  return tf.cast(x, "float32");
}

/** Sums over broadcast axes, back to the original shape. */
export function summedTo(dx: tf.Tensor, shape: number[]): tf.Tensor {
  const axes = tf.broadcast_util.getReductionAxes(shape, dx.shape);
  return tf.reshape(axes.length > 0 ? tf.sum(dx, axes) : dx, shape);
}

/** The axes in an attribute; all axes if it has none. */
export function axesOf(attribute: unknown, shape: number[]): number[] {
  if (typeof attribute === "number") return tf.util.parseAxisParam(attribute, shape);
  if (Array.isArray(attribute)) return tf.util.parseAxisParam(attribute.map(Number), shape);
  return shape.map((_, axis) => axis);
}

export function numbersOf(attribute: unknown): number[] {
  return Array.isArray(attribute) ? attribute.map(Number) : [Number(attribute)];
}
