import type { BackendValues, TypedArray } from "@tensorflow/tfjs-core";
import { RunError } from "../../errors.ts";
import { copyOf, type Datum } from "./datum.ts";
import type { Instruction } from "./queue.ts";

/** Somebody who waits for values. */
export interface Read {
  datum: Datum;
  resolve(values: BackendValues): void;
  reject(error: Error): void;
}

/** A run on its way: what has to be done when it ends well, and what when it does not. */
export interface Flight {
  seq: number;
  program: string;
  code: readonly Instruction[];
  inputs: readonly Datum[];
  /** What the run brings into being: outputs and uploads. */
  made: readonly Datum[];
  free: readonly number[];
  /** By the handle's place in the run's `reads`. */
  reads: readonly (readonly Read[])[];
}

/** A run without reads is never answered where it ends well, so the oldest of these are forgotten. */
const MOST = 64;

/** The runs that may still be answered. The executor takes them in order. */
export class Flights {
  private readonly flights = new Map<number, Flight>();

  add(flight: Flight): void {
    this.flights.set(flight.seq, flight);
    if (this.flights.size <= MOST) return;
    for (const [seq, { reads }] of this.flights) {
      if (reads.length > 0) continue;
      this.flights.delete(seq);
      return;
    }
  }

  /** Takes a run off. Of those before it only the values may still be on their way. */
  take(seq: number): Flight | undefined {
    const flight = this.flights.get(seq);
    for (const [earlier, { reads }] of this.flights) {
      if (earlier === seq || (earlier < seq && reads.length === 0)) this.flights.delete(earlier);
    }
    return flight;
  }

  /** Takes all of them off. */
  takeAll(): Flight[] {
    const all = [...this.flights.values()];
    this.flights.clear();
    return all;
  }
}

/** Hands the values out. A tensor that two wait for is copied, so that none sees what the other does to it. */
export function deliver(flight: Flight, tensors: Readonly<Record<string, { data: TypedArray }>>): void {
  for (const [at, waiting] of flight.reads.entries()) {
    const data = tensors[at]?.data;
    for (const [i, { datum, resolve, reject }] of waiting.entries()) {
      if (data?.length !== datum.size) {
        reject(new RunError("protocol", `the executor sent no values for read ${at} of run ${flight.seq}`));
      } else {
        resolve(i === 0 ? data : copyOf(data, datum.dtype));
      }
    }
  }
}
