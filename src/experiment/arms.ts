import { RejectError } from "../bridge/errors.ts";
import type { Arm } from "./arm.ts";

interface Expected {
  arm: Promise<Arm>;
  isReady: boolean;
  ready(arm: Arm): void;
  never(error: Error): void;
}

/** The trainings that ranks may join, by name. A rank waits for one that is not ready yet. */
export class Arms {
  private readonly expected = new Map<string, Expected>();

  /** From now on ranks with this name wait for an arm; ranks that wait already keep waiting. */
  expect(name: string): void {
    if (this.expected.get(name)?.isReady === false) return;
    let settle: Pick<Expected, "ready" | "never"> | undefined;
    const arm = new Promise<Arm>((ready, never) => {
      settle = { ready, never };
    });
    arm.catch(() => {}); // nobody may have asked for it
    if (settle !== undefined) this.expected.set(name, { arm, isReady: false, ...settle });
  }

  ready(name: string, arm: Arm): void {
    const expected = this.expected.get(name);
    if (expected === undefined) return;
    expected.isReady = true;
    expected.ready(arm);
  }

  /** It is over. */
  end(name: string): void {
    this.expected.get(name)?.never(new RejectError("unknown", `${name} has ended`));
    this.expected.delete(name);
  }

  /** @throws RejectError if there is none. */
  async of(name: string): Promise<Arm> {
    const expected = this.expected.get(name);
    if (expected === undefined) {
      const known = [...this.expected.keys()].join(", ") || "none";
      throw new RejectError("unknown", `no training here is called ${name}; there is ${known}`);
    }
    return expected.arm;
  }
}
