import type { Frames } from "./codec.ts";
import { LIMITS } from "./limits.ts";

/** Milliseconds until the next attempt to send on a full connection. */
const AGAIN_MS = 1;

/**
 * The outgoing messages of one peer, in order. zeromq queues a few of them; the rest wait here, where their bytes are
 * counted, since zeromq counts messages only.
 */
export class Outbox {
  private waiting: Frames[] = [];
  private bytes = 0;
  /** Whether the first waiting message was handed to zeromq, which has not accepted it yet. */
  private trying = false;
  private draining = false;
  private timer: NodeJS.Timeout | undefined;

  /**
   * `send` hands a message to zeromq, and rejects with EAGAIN if the connection is full. `failed` is called once, with
   * the reason, when no further message can be sent.
   */
  constructor(
    private readonly send: (frames: Frames) => Promise<void>,
    private readonly failed: (error: unknown) => void,
  ) {}

  push(frames: Frames): void {
    this.waiting.push(frames);
    this.bytes += bytesOf(frames);
    // A single message may exceed the limit: a peer that has read everything before it still gets it.
    const behind = this.bytes - bytesOf(this.waiting[0] ?? []);
    if (behind > LIMITS.pendingBytes || this.waiting.length > LIMITS.pendingMessages) {
      this.fail(new Error(`it does not read what it is sent: ${this.waiting.length} messages wait for it`));
    } else if (!this.draining) void this.drain();
  }

  /** Hands all waiting messages to zeromq and forgets them, whether it accepts them or not. */
  flush(): void {
    const rest = this.waiting.slice(this.trying ? 1 : 0);
    this.clear();
    for (const frames of rest) this.send(frames).catch(() => {});
  }

  private async drain(): Promise<void> {
    this.draining = true;
    for (let first = this.waiting[0]; first; first = this.waiting[0]) {
      this.trying = true;
      try {
        await this.send(first);
      } catch (error) {
        if (this.waiting[0] !== first) break; // flushed or failed meanwhile
        if (!isFull(error)) this.fail(error);
        else this.timer = setTimeout(() => void this.drain(), AGAIN_MS);
        this.trying = false;
        return;
      }
      if (this.waiting[0] !== first) break;
      this.waiting.shift();
      this.bytes -= bytesOf(first);
    }
    this.trying = this.draining = false;
  }

  private fail(error: unknown): void {
    this.clear();
    this.failed(error);
  }

  private clear(): void {
    clearTimeout(this.timer);
    this.waiting = [];
    this.bytes = 0;
  }
}

function bytesOf(frames: Frames): number {
  return frames.reduce((sum, frame) => sum + frame.length, 0);
}

function isFull(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "EAGAIN";
}
