// A file as users write them: imported by name, from anywhere, with types that go as it is loaded.
import { tf } from "mixhead";
import { connect, TorchBackend, withBackend } from "mixhead/backend-torch";

interface Answer {
  product: number[];
  isBackend: boolean;
}

export async function answer(): Promise<Answer> {
  const connection = await connect({ device: "cpu", threads: 1 });
  try {
    return await withBackend("torch", connection.backend, async () => {
      const a = tf.tensor2d([1, 2, 3, 4], [2, 2]);
      const product = Array.from(await tf.matMul(a, a).data());
      return { product, isBackend: connection.backend instanceof TorchBackend };
    });
  } finally {
    await connection.close();
  }
}

/** What has a type only in TypeScript is no line of the JavaScript. */
type Vector = tf.Tensor1D;

/** Fails at its line 27. */
export const unique = (x: Vector): tf.Tensor => tf.unique(x).values;
