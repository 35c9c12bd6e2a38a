import { decodeHeader, decodeTensors, type Frames, type Tensors } from "../../src/bridge/codec.ts";
import type { Header } from "../../src/bridge/protocol.ts";

export interface Message {
  header: Header;
  tensors: Tensors;
}

/** Decodes a whole message, header and tensors. The server reads them one after the other. Throws WireError. */
export function decode(frames: Frames): Message {
  const header = decodeHeader(frames);
  return { header, tensors: decodeTensors(header, frames) };
}
