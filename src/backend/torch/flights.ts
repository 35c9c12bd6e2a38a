import type { BackendValues, TypedArray } from "@tensorflow/tfjs-core";
import { RunError } from "../../errors.ts";
import type { Instruction } from "./datum.ts";
import { copyOf, type Datum } from "./datum.ts";

/** A pending read of a tensor's values. */
export interface Read {
  datum: Datum;
  resolve(values: BackendValues): void;
  reject(error: Error): void;
}

/** A run that was sent, with the data needed when it succeeds or fails. */
export interface Flight {
  seq: number;
  program: string;
  code: readonly Instruction[];
  inputs: readonly Datum[];
  /** The tensors that the run creates: outputs and uploads. */
  made: readonly Datum[];
  free: readonly number[];
  /** By position in the run's `reads`. */
  reads: readonly (readonly Read[])[];
}

/** A successful run without reads is never answered, so the oldest of these are forgotten beyond this number. */
const MOST = 64;

/** The runs that may still be answered. The executor handles them in order. */
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

  /** Removes and returns a run. Of earlier runs it keeps those with reads, whose values may still arrive. */
  take(seq: number): Flight | undefined {
    const flight = this.flights.get(seq);
    for (const [earlier, { reads }] of this.flights) {
      if (earlier === seq || (earlier < seq && reads.length === 0)) this.flights.delete(earlier);
    }
    return flight;
  }

  /** Removes and returns all runs. */
  takeAll(): Flight[] {
    const all = [...this.flights.values()];
    this.flights.clear();
    return all;
  }
}

/** Resolves the reads of a run. Several reads of one tensor get copies, so that none sees another's changes. */
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
