/**
 * What a message may bring, and what one peer may cost. docs/bridge.md has the same in one table. Each is far above
 * what a training needs: DINOv3 has 262,144 prototypes of dimension 512, which is 2^27 numbers.
 */
export const LIMITS = {
  /** Ranks of a world. */
  world: 4096,
  /** K x D of a hello, and of all mixtures of a server that scripts share. */
  numbers: 2 ** 27,
  numbersInAll: 2 ** 28,
  /** K x D of a mixture that such a server computes itself: more than that would hold up the others. */
  numbersInNode: 2 ** 22,
  /** Runs and mixtures that a server holds at a time; a connection has one. */
  mixtures: 256,
  /** Mixtures that may begin at a time on a server that scripts share, and a second in the long run. */
  openings: 16,
  openingsPerSecond: 2,
  /** Ranks that are connected. */
  ranks: 4096,
  /** Messages of connections that were not welcomed, at a time and a second in the long run; others are dropped unread. */
  strangersMessages: 512,
  strangersMessagesPerSecond: 512,
  /** Messages of one connection that wait to be read. */
  unread: 64,
  /** Bytes of a header; of whoever was not welcomed yet. */
  headerBytes: 2 ** 20,
  strangersHeaderBytes: 2 ** 16,
  /** Entries of a header, counted over all of its lists and maps. */
  entries: 2 ** 14,
  /** Names of what a client can do. */
  capabilities: 64,
  /** Tensors of a message, and dimensions of each. */
  tensors: 1024,
  dimensions: 8,
  /** Values of the clock, and texts of a result. */
  scalars: 1024,
  /** Frames and bytes of a message after its header. */
  frames: 2 ** 14,
  messageBytes: 2 ** 31,
  /** Numbers of the targets that a step makes in Node, N x K. */
  targets: 2 ** 29,
  /** Characters of a name, a generation, a device, a reason. */
  text: 1024,
  /** Characters of a sentence that answers a message. */
  sentence: 400,
  /** Messages that zeromq holds for a peer, and bytes that wait for it behind these. */
  queued: 16,
  pendingBytes: 2 ** 26,
  pendingMessages: 4096,
  /** Requests of one rank (state, load, result) that may be under way. */
  requests: 16,
} as const;

/** A sentence of bounded length, in one line. */
export function short(text: string, most: number = LIMITS.sentence): string {
  return text.length <= most ? text : `${text.slice(0, most)}...`;
}
