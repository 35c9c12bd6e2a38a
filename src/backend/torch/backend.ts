import * as tf from "@tensorflow/tfjs-core";
import type { Dtype, Run } from "../../bridge/executor-run.ts";
import { UserError } from "../../errors.ts";
import { asDtype, copyOf, Datum, type Operand, operandOf, sizeOf } from "./datum.ts";
import { Device, type DeviceOptions, type Purposes } from "./device.ts";
import { registerGradients } from "./gradients/index.ts";
import { registerKernels } from "./kernels/index.ts";
import { type Attributes, type Link, MAX_LITERAL, type Spec } from "./program.ts";
import { type Entry, inBrackets, type Site } from "./sites.ts";

/** Tensors of a run with a special meaning for the rank that executes it. */
export interface Purpose {
  /** The rows that the rank holds, from `announce`. */
  rows?: tf.TensorInfo;
  /** A float32 vector whose values are sent with the rank's next message. */
  metrics?: tf.TensorInfo;
  /** (K, D): the prototypes from now on. */
  prototypes?: tf.TensorInfo;
  /** (N, K): the targets of this step. */
  targets?: tf.TensorInfo;
}

/**
 * A tfjs backend whose kernels PyTorch executes in another process; one instance per device. Kernels are queued,
 * with shapes and dtypes inferred here, and only `data()` waits. `flush` makes one program of the queue.
 */
export class TorchBackend extends tf.KernelBackend {
  private readonly device: Device;
  private readonly moved = new WeakMap<tf.DataId, Datum>();
  private count = 0;

  /** `link` sends the runs that `data()` needs. The caller of `flush` sends the others. */
  constructor(link: Link, options: DeviceOptions = {}) {
    super();
    this.device = new Device(link, options);
    registerGradients();
    registerKernels((backend) => {
      if (backend instanceof TorchBackend) return backend;
      throw new TypeError("the kernels of backend torch need a TorchBackend");
    });
  }

  override write(values: tf.BackendValues, shape: number[], dtype: tf.DataType): tf.DataId {
    return this.give(this.written(values, shape, asDtype(dtype, "tensor"))).dataId;
  }

  override move(
    id: tf.DataId,
    values: tf.BackendValues,
    shape: number[],
    dtype: tf.DataType,
    refs: number,
  ): void {
    const { dataId: datum } = this.written(values, shape, asDtype(dtype, "tensor"));
    datum.id = id;
    datum.refs = refs;
    this.count += 1;
    this.moved.set(id, datum);
  }

  override read(id: tf.DataId): Promise<tf.BackendValues> {
    const datum = this.find(id);
    if (datum === undefined)
      return Promise.reject(new UserError("this tensor is on no device, or was disposed"));
    if (datum.values !== undefined) return Promise.resolve(copyOf(datum.values, datum.dtype));
    return this.device.read(datum);
  }

  override readSync(): tf.BackendValues {
    throw new UserError(
      "the values of this tensor are on the device, and nothing here waits for it: write `await x.data()` or `await x.array()` instead of `x.dataSync()` or `x.arraySync()`",
    );
  }

  override disposeData(id: tf.DataId, force = false): boolean {
    const datum = this.find(id);
    if (datum === undefined || datum.refs === 0) return true;
    datum.refs = force ? 0 : datum.refs - 1;
    if (datum.refs > 0) return false;
    this.count -= 1;
    this.device.release(datum);
    return true;
  }

  override incRef(id: tf.DataId): void {
    const datum = this.find(id);
    if (datum !== undefined) datum.refs += 1;
  }

  override refCount(id: tf.DataId): number {
    return this.find(id)?.refs ?? 0;
  }

  override numDataIds(): number {
    return this.count;
  }

  /** `numBytesOnDevice`: bytes on the device after the runs so far. */
  override memory(): { unreliable: boolean; numBytesOnDevice: number } {
    return { unreliable: false, numBytesOnDevice: this.device.bytes };
  }

  override floatPrecision(): 16 | 32 {
    return 32;
  }

  override timerAvailable(): boolean {
    return true;
  }

  /** Milliseconds until the device has finished the operations that `work` queued. */
  override async time(work: () => void): Promise<tf.BackendTimingInfo> {
    const start = performance.now();
    work();
    const [end] = this.op("Fill", [this.constant([0], [])], { shape: [1] }, [["float32", [1]]], undefined);
    if (end !== undefined) await this.device.read(end.dataId);
    return { kernelMs: performance.now() - start };
  }

  /** Frees all tensors on the device. tfjs's `engine().reset()` calls this and may use the backend again. */
  override dispose(): void {
    this.count = 0;
    this.device.reset();
  }

  // The interface to the wire.

  /** A tensor for rows that the rank holds. The next `flush` has to name it as its `rows`. */
  announce(shape: [number, number]): tf.Tensor2D {
    const datum = new Datum("float32", shape, sizeOf(shape));
    this.device.expect(datum);
    const tensor = tf.engine().makeTensorFromTensorInfo(this.give(operandOf(datum)), this);
    if (!isMatrix(tensor)) throw new TypeError("rows are a matrix");
    return tensor;
  }

  /**
   * Returns everything that is queued, reads included, as one run for the caller to send; null if there is nothing.
   *
   * @throws the error of a device that is gone; UserError if a tensor of `purpose` is on another device
   */
  flush(purpose: Purpose = {}): Run | null {
    const purposes: Purposes = {};
    for (const name of ["rows", "metrics", "prototypes", "targets"] as const) {
      const tensor = purpose[name];
      if (tensor !== undefined) purposes[name] = this.operand(tensor, name, undefined);
    }
    return this.device.flush(purposes);
  }

  /** The values that a run read, "0", "1", ... in the order of its reads. */
  values(seq: number, tensors: Readonly<Record<string, { data: tf.TypedArray }>>): void {
    this.device.values(seq, tensors);
  }

  /** Handles a failed run. `at`: the index of the instruction that failed, or -1; `code`, `message`: the executor's. */
  failed(seq: number, at: number, code: string, message: string): void {
    this.device.failed(seq, at, code, message);
  }

  /** The device is gone: pending reads and all later calls fail with `error`. */
  lost(error: Error): void {
    this.device.lost(error);
  }

  // The interface to kernels.

  /** The operand for a tfjs tensor. @throws UserError if it was disposed or is on another device */
  operand({ dataId, shape, dtype }: tf.TensorInfo, kernel: string, site: Site | undefined): Operand {
    const known = tf.engine().state.tensorInfo.get(dataId);
    if (known === undefined) {
      throw new UserError(`${kernel}: a disposed tensor is used again${inBrackets(site)}`);
    }
    if (known.backend !== this && known.backend instanceof TorchBackend) {
      throw new UserError(
        `${kernel}: a tensor of another device is used${inBrackets(site)}; read it with \`await x.data()\` there, and make a tensor of it here`,
      );
    }
    if (known.backend !== this) tf.engine().moveData(this, dataId);
    const datum = this.find(dataId);
    if (datum === undefined) throw new Error(`${kernel}: an input has no data`);
    return { dataId: datum, shape, dtype: asDtype(dtype, kernel) };
  }

  /** The line of code that calls a kernel. */
  siteOf(kernel: string, entry: Entry): Site {
    return this.device.siteOf(kernel, entry);
  }

  /** Queues a kernel. @throws UserError if the queue or the memory would exceed its limit */
  op(
    kernel: string,
    inputs: readonly Operand[],
    attributes: Attributes,
    specs: readonly Spec[],
    site: Site | undefined,
  ): Operand[] {
    return this.device.op(kernel, inputs, attributes, specs, site);
  }

  /** A small tensor of known numbers, which is sent with every run that uses it. */
  constant(values: ArrayLike<number>, shape: number[], dtype: Dtype = "float32"): Operand {
    const datum = new Datum(dtype, shape, sizeOf(shape));
    datum.values = copyOf(values, dtype);
    datum.literal = true;
    return operandOf(datum);
  }

  /** Returns an operand to tfjs as a tensor, which adds a reference to its data. */
  give({ dataId: datum, shape, dtype }: Operand): tf.TensorInfo {
    if (datum.refs === 0) this.count += 1;
    datum.refs += 1;
    return { dataId: datum.id, shape, dtype };
  }

  /** An operand for values written by JavaScript: a literal if small, a Fill if all are equal, else an upload. */
  private written(values: tf.BackendValues, shape: number[], dtype: Dtype): Operand {
    const size = sizeOf(shape);
    const copy = copyOf(values, dtype);
    if (copy.length !== size) throw new Error(`${copy.length} numbers do not fill [${shape.join(", ")}]`);
    if (size <= MAX_LITERAL) return this.constant(copy, shape, dtype);
    const [first = 0] = copy;
    if (copy.every((value) => Object.is(value, first))) {
      const site = this.siteOf("Fill", this.write);
      const [filled] = this.op(
        "Fill",
        [this.constant([first], [], dtype)],
        { shape },
        [[dtype, shape]],
        site,
      );
      if (filled !== undefined) return filled;
    }
    const datum = new Datum(dtype, shape, size);
    datum.values = copy;
    return operandOf(datum);
  }

  private find(id: tf.DataId): Datum | undefined {
    return id instanceof Datum ? id : this.moved.get(id);
  }
}

function isMatrix(tensor: tf.Tensor): tensor is tf.Tensor2D {
  return tensor.rank === 2;
}
