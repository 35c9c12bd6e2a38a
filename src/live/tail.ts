import { type FileHandle, open } from "node:fs/promises";
import { readExactly } from "../files/numbers.ts";

/** Bytes before the place read up to that must be the same at the next look: else the file is another one. */
const MARK_BYTES = 256;

export interface Found {
  /** The file is shorter or another one than it was: `lines` are from its start. */
  restarted: boolean;
  /** Whole lines that came since the last look, without their ends; none empty. */
  lines: string[];
}

/**
 * Follows a text file that grows. A line counts once its end is written. A file that was cut, as a
 * resumed run cuts its metrics, or replaced is read again from its start. A missing file has no lines.
 */
export class Tail {
  /** Bytes of whole lines that were read. */
  private offset = 0;
  private mark: Buffer = Buffer.alloc(0);

  constructor(readonly path: string) {}

  /** Reads new lines. Do not call it again before it has settled. */
  async look(): Promise<Found> {
    let file: FileHandle;
    try {
      file = await open(this.path, "r");
    } catch {
      return this.restart();
    }
    try {
      const { size } = await file.stat();
      const restarted = !(await this.isSame(file, size)) && this.restart().restarted;
      return { restarted, lines: await this.readTo(size, file) };
    } catch {
      // Cut or removed between two reads: the next look sees it whole.
      return this.restart();
    } finally {
      await file.close();
    }
  }

  private restart(): Found {
    const restarted = this.offset > 0;
    this.offset = 0;
    this.mark = Buffer.alloc(0);
    return { restarted, lines: [] };
  }

  private async isSame(file: FileHandle, size: number): Promise<boolean> {
    if (size < this.offset) return false;
    const there = Buffer.alloc(this.mark.length);
    await readExactly(file, there, this.offset - there.length);
    return there.equals(this.mark);
  }

  private async readTo(size: number, file: FileHandle): Promise<string[]> {
    const fresh = Buffer.alloc(size - this.offset);
    await readExactly(file, fresh, this.offset);
    const whole = fresh.subarray(0, fresh.lastIndexOf("\n") + 1);
    if (whole.length === 0) return [];
    this.offset += whole.length;
    this.mark = Buffer.from(Buffer.concat([this.mark, whole.subarray(-MARK_BYTES)]).subarray(-MARK_BYTES));
    return whole
      .toString("utf8")
      .split("\n")
      .filter((line) => line !== "");
  }
}
