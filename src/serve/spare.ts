import { RECENT } from "../mixture/recent-use.ts";

/** Steps before the first check: on CIFAR-10 use grew for 5,000 steps, with pauses of hundreds of steps. */
const FIRST = 10_000;
/** Use is steady if its mean changes by at most this share from the third quarter of the steps to the fourth. */
const STEADY = 0.05;
/** The minimum of recent rows for each component in use: with fewer, use may be low for lack of rows. */
const ROWS_EACH = 100;
/** The smallest number that is suggested, and the largest share of K for which a suggestion is worth while. */
const LEAST = 256;
const WORTH = 0.5;

/**
 * Detects that a mixture has many more components than it uses, and that use does not grow any more. After 10,000 steps,
 * and each time that number doubles, it checks whether use was steady in the second half of the steps: it compares the
 * mean of the third quarter with that of the fourth, since single steps vary.
 */
export class Spare {
  private steps = 0;
  private look = FIRST;
  private half = beginHalf();

  constructor(private readonly components: number) {}

  /**
   * Call it after a step on `rows` rows. `used`: the share of components that have won a row recently.
   *
   * @returns the number of components that would be enough, a power of two and at least twice the number in use. It is
   * returned once; before and after that, or if the mixture is not too large, null.
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

/** Sums of use in the third and fourth quarter, the maximum of use, and the number of rows. */
function beginHalf() {
  return { third: 0, fourth: 0, most: 0, rows: 0 };
}
