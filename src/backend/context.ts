import { AsyncLocalStorage } from "node:async_hooks";
import * as tf from "@tensorflow/tfjs-core";

interface Chosen {
  name: string;
  instance: tf.KernelBackend;
}

const chosen = new AsyncLocalStorage<Chosen>();
let installed = false;

/**
 * Does `work` with a backend of its own, which holds for whatever it awaits, too; work beside it keeps its own.
 * Outside, and for what is named nowhere, `tf.setBackend` decides as ever.
 *
 * tfjs has one active backend for the whole process. Mixtures on several devices share the process, and take
 * turns at every `await`.
 *
 * `name`: under which the backend's kernels are registered.
 */
export function withBackend<T>(name: string, instance: tf.KernelBackend, work: () => T): T {
  install();
  return chosen.run({ name, instance }, work);
}

/** Makes what tfjs's engine takes for the active backend a matter of the asynchronous context. */
function install(): void {
  if (installed) return;
  installed = true;
  const engine: object = tf.engine();
  follow(engine, "backendName", ({ name }) => name);
  follow(engine, "backendInstance", ({ instance }) => instance);
  // A backend that still starts elsewhere is nothing to wait for here.
  follow(engine, "pendingBackendInit", () => null);
}

function follow(engine: object, property: string, inContext: (context: Chosen) => unknown): void {
  let elsewhere: unknown = Reflect.get(engine, property);
  Object.defineProperty(engine, property, {
    configurable: true,
    enumerable: true,
    get: () => {
      const context = chosen.getStore();
      return context === undefined ? elsewhere : inContext(context);
    },
    set: (value: unknown) => {
      elsewhere = value;
    },
  });
}
