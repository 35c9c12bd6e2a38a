import type { Router } from "zeromq";

/** A peer that answers no heartbeat for this long counts as lost, whether its process has ended or is stopped. */
export const SILENCE_SECONDS = 6;
/** The socket's options: a peer that is silent is disconnected. */
export const HEARTBEAT = {
  heartbeatInterval: 2000,
  heartbeatTimeout: SILENCE_SECONDS * 1000,
  heartbeatTimeToLive: SILENCE_SECONDS * 1000,
};
/** Milliseconds after a disconnect at which every peer is probed: the router notices the disconnect a little later. */
const PROBES = [5, 50, 500];
/** The maximum number of series of probes at a time. */
const MOST_SERIES = 8;
/** Milliseconds between two checks whether all received messages are read. */
const UNREAD_MS = 5;
/** The minimum number of such checks: a send can fail a few milliseconds before the peer's last message, its goodbye, can be read. */
const FEWEST_LOOKS = 4;
/** The maximum number of such checks, since other peers may go on sending. */
const MOST_LOOKS = 200;

/**
 * Finds the peers whose connection broke. A disconnect event does not name the peer. A ping to every peer finds it, since
 * sending to a peer that is gone fails.
 */
export class FailureDetector {
  private readonly timers = new Set<NodeJS.Timeout>();
  private series = 0;
  /** A connection broke, and no series of probes has started since. */
  private probeAgain = false;

  /** `messagesRead`: how many messages have been read from the socket so far. */
  constructor(
    private readonly socket: Router,
    private readonly messagesRead: () => number,
    private readonly pingAll: () => void,
  ) {
    socket.events.on("disconnect", () => this.probe());
  }

  /** Calls `lost` once the messages that a peer sent before are read, however busy this process is. */
  afterUnread(lost: () => void, looks = 0, before = -1): void {
    // Not by asking `socket.readable`: zeromq.js then takes note of messages that its pending receive never hears of.
    const read = this.messagesRead();
    const unread = looks < FEWEST_LOOKS || (read > before && looks < MOST_LOOKS);
    if (this.socket.closed || !unread) lost();
    else this.later(UNREAD_MS, () => this.afterUnread(lost, looks + 1, read));
  }

  stop(): void {
    for (const timer of this.timers) clearTimeout(timer);
  }

  /** If many connections break at a time, the next series of probes finds the rest. */
  private probe(): void {
    if (this.series >= MOST_SERIES) {
      this.probeAgain = true;
      return;
    }
    this.series++;
    for (const wait of PROBES) this.later(wait, this.pingAll);
    this.later(Math.max(...PROBES), () => this.endSeries());
  }

  private endSeries(): void {
    this.series--;
    if (!this.probeAgain) return;
    this.probeAgain = false;
    this.probe();
  }

  private later(milliseconds: number, work: () => void): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      work();
    }, milliseconds);
    this.timers.add(timer);
  }
}
