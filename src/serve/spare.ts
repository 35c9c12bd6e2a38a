import { RECENT } from "../mixture/recent-use.ts";

/** Steps before the first look: on CIFAR-10 use grew for 5,000 steps, and rested for hundreds in between. */
const FIRST = 10_000;
/** Use is steady where its mean changes by at most this share from one quarter of the steps to the next. */
const STEADY = 0.05;
/** Recent rows for each component in use, at least: with fewer, use may be low because too few rows came. */
const ROWS_EACH = 100;
/** The least number that is suggested, and the share of K that it is at most. */
const LEAST = 256;
const WORTH = 0.5;

/**
 * Notices that a mixture has many more components than it uses and that it comes to use no more of them. It looks after
 * 10,000 steps, and whenever their number has doubled, at how steady use was in the second half of them: its mean in the
 * third quarter against that in the fourth, since single steps vary.
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
    this.half[this.steps > 0.75 * this.look ? "fourth" : "third"] += used;
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
    const { third, fourth, most, rows } = this.half;
    const inUse = Math.round(most * this.components);
    const enough = Math.max(LEAST, 2 ** Math.ceil(Math.log2(2 * inUse)));
    const steady = Math.abs(fourth - third) <= STEADY * third;
    const recentRows = (rows / (this.look / 2)) * RECENT;
    const told = steady && recentRows >= ROWS_EACH * inUse && enough <= WORTH * this.components;
    return told ? enough : null;
  }
}

/** Sums of use in the two quarters of the half, the most in use at a time, and the rows that came. */
function beginHalf() {
  return { third: 0, fourth: 0, most: 0, rows: 0 };
}
