/**
 * Limits of a message and of a peer's resources; docs/bridge.md has them in one table. Each is far above what a
 * training needs: DINOv3 has 262,144 prototypes of dimension 512, which is 2^27 numbers.
 */
export const LIMITS = {
  /** Ranks of a world. */
  world: 4096,
  /** K x D of a hello, and of all mixtures of a shared server. */
  numbers: 2 ** 27,
  numbersInAll: 2 ** 28,
  /** K x D of a mixture that a shared server computes itself: a larger one would delay the others. */
  numbersInNode: 2 ** 22,
  /** Runs and mixtures that a server holds at a time; a connection has one. */
  mixtures: 256,
  /** Mixtures that may begin on a shared server: at once, and a second in the long run. */
  openings: 16,
  openingsPerSecond: 2,
  /** Ranks that are connected. */
  ranks: 4096,
  /** Messages of connections without a welcome: at once, and a second in the long run. The rest are dropped unread. */
  strangersMessages: 512,
  strangersMessagesPerSecond: 512,
  /** Unread messages of one connection. */
  unread: 64,
  /** Bytes of a header; of a header before the welcome. */
  headerBytes: 2 ** 20,
  strangersHeaderBytes: 2 ** 16,
  /** Entries of a header, over all its lists and maps. */
  entries: 2 ** 14,
  /** Capabilities that a hello names. */
  capabilities: 64,
  /** Tensors of a message, and dimensions of each. */
  tensors: 1024,
  dimensions: 8,
  /** Values of the clock, and texts of a result. */
  scalars: 1024,
  /** Frames and bytes of a message after its header. */
  frames: 2 ** 14,
  messageBytes: 2 ** 31,
  /** N x K of the targets that a step makes in Node. */
  targets: 2 ** 29,
  /** Characters of a name, a generation, a device, a reason. */
  text: 1024,
  /** Characters of an error message. */
  sentence: 400,
  /** Messages that zeromq queues for a peer; bytes and messages that wait behind these. */
  queued: 16,
  pendingBytes: 2 ** 26,
  pendingMessages: 4096,
  /** Pending requests of one rank (state, load, result). */
  requests: 16,
} as const;

/** Shortens a text to `most` characters. */
export function short(text: string, most: number = LIMITS.sentence): string {
  return text.length <= most ? text : `${text.slice(0, most)}...`;
}
