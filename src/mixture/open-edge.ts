import type { Config } from "../config/schema.ts";
import { Device } from "./device.ts";
import { DeviceEdge } from "./device-edge.ts";
import type { Edge } from "./edge.ts";
import { HostEdge } from "./host-edge.ts";
import type { MixtureOptions, MixtureParts } from "./mixture.ts";
import type { Placement } from "./placement.ts";

const GIB = 2 ** 30;

/**
 * Opens a new mixture at a placement, and returns its edge.
 *
 * @throws UserError if the configured plugin is not available
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

/** A device for ranks that have not joined yet, with the configured memory limit. */
export function deviceOf(bridge: Config["bridge"]): Device {
  return new Device(deviceBytes(bridge).memory);
}

/** The memory limit in bytes; empty if there is none. */
export function deviceBytes({ deviceMemory }: Config["bridge"]): { memory?: number } {
  return deviceMemory === undefined ? {} : { memory: Math.floor(deviceMemory * GIB) };
}
