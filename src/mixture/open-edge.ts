import type { Config } from "../config/schema.ts";
import { Device } from "./device.ts";
import { DeviceEdge } from "./device-edge.ts";
import type { Edge } from "./edge.ts";
import { HostEdge } from "./host-edge.ts";
import type { MixtureOptions, MixtureParts } from "./mixture.ts";
import type { Placement } from "./placement.ts";

const GIB = 2 ** 30;

/**
 * The edge of a new mixture at its placement.
 *
 * @throws UserError where the configuration names a plugin that cannot be had.
 */
export function openEdge(
  placement: Placement,
  parts: MixtureParts,
  options: MixtureOptions,
  bridge: Config["bridge"],
): Promise<Edge> {
  if (placement === "host") return HostEdge.open(parts, options);
  return DeviceEdge.open(parts, options, deviceOf(bridge));
}

/** A device of ranks that will come, with the configured limit of its memory. */
export function deviceOf(bridge: Config["bridge"]): Device {
  return new Device(deviceBytes(bridge).memory);
}

/** That limit in bytes; empty where there is none. */
export function deviceBytes({ deviceMemory }: Config["bridge"]): { memory?: number } {
  return deviceMemory === undefined ? {} : { memory: Math.floor(deviceMemory * GIB) };
}
