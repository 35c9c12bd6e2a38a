import { AsyncLocalStorage } from "node:async_hooks";
import * as tf from "@tensorflow/tfjs-core";

interface Chosen {
  name: string;
  instance: tf.KernelBackend;
}

const chosen = new AsyncLocalStorage<Chosen>();
let installed = false;

/**
 * Runs `work`, including everything it awaits, with its own active backend. Concurrent work keeps its own one, and
 * outside `tf.setBackend` decides as usual.
 *
 * tfjs has a single active backend per process. But mixtures on several devices share the process, and take turns
 * at every `await`.
 *
 * @param name the name under which the backend's kernels are registered
 */
export function withBackend<T>(name: string, instance: tf.KernelBackend, work: () => T): T {
  install();
  return chosen.run({ name, instance }, work);
}

/** Makes the active backend of tfjs's engine depend on the asynchronous context. */
function install(): void {
  if (installed) return;
  installed = true;
  const engine: object = tf.engine();
  follow(engine, "backendName", ({ name }) => name);
  follow(engine, "backendInstance", ({ instance }) => instance);
  // Inside a context, do not wait for a backend that is starting elsewhere.
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
