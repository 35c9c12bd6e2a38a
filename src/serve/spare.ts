import { RECENT } from "../mixture/recent-use.ts";

/** Steps before the first look: on CIFAR-10 use grew for 5,000 steps, and rested for hundreds in between. */
const FIRST = 10_000;
/** Use is steady where it varies by at most this share of its greatest value. */
const STEADY = 0.1;
/** Rows of late for each component in use, at least: with fewer it may be rows that are wanting. */
const ROWS_EACH = 100;
/** The least number that is suggested, and the share of K that it is at most. */
const LEAST = 256;
const WORTH = 0.5;

/**
 * Notices that a mixture has many more components than it uses and that it comes to use no more of them. It looks after
 * 10,000 steps, and whenever their number has doubled, at how steady use was in the second half of them.
 */
export class Spare {
  private steps = 0;
  private look = FIRST;
  private half = beginHalf();

  constructor(private readonly components: number) {}

  /**
   * After a step on `rows` rows; `used`: the share of components that have won a row of late.
   *
   * @returns how many components would be enough, a power of two of at least twice the number in use: once. Null before
   * and after that, and where nothing is to be spared.
   */
  note(used: number, rows: number): number | null {
    this.steps++;
    this.half.least = Math.min(this.half.least, used);
    this.half.most = Math.max(this.half.most, used);
    this.half.rows += rows;
    let enough: number | null = null;
    if (this.steps === this.look) {
      enough = this.enough();
      this.look = enough === null ? 2 * this.look : Number.POSITIVE_INFINITY;
    }
    if (this.steps === this.look / 2) this.half = beginHalf();
    return enough;
  }

  private enough(): number | null {
    const { least, most, rows } = this.half;
    const inUse = Math.round(most * this.components);
    const enough = Math.max(LEAST, 2 ** Math.ceil(Math.log2(2 * inUse)));
    const steady = most - least <= STEADY * most;
    const recentRows = (rows / (this.look / 2)) * RECENT;
    const told = steady && recentRows >= ROWS_EACH * inUse && enough <= WORTH * this.components;
    return told ? enough : null;
  }
}

function beginHalf() {
  return { least: Number.POSITIVE_INFINITY, most: 0, rows: 0 };
}
