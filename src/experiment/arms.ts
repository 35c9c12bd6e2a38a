import { RejectError } from "../bridge/errors.ts";
import type { Arm } from "./arm.ts";

interface Expected {
  arm: Promise<Arm>;
  ready(arm: Arm): void;
  never(error: Error): void;
}

/** The trainings that ranks may join, by the name that they say: one that is not ready yet is waited for. */
export class Arms {
  private readonly expected = new Map<string, Expected>();

  /** From now on a rank that names it waits for an arm that is to come. */
  expect(name: string): void {
    let settle: Pick<Expected, "ready" | "never"> | undefined;
    const arm = new Promise<Arm>((ready, never) => {
      settle = { ready, never };
    });
    arm.catch(() => {}); // nobody may have asked for it
    if (settle !== undefined) this.expected.set(name, { arm, ...settle });
  }

  ready(name: string, arm: Arm): void {
    this.expected.get(name)?.ready(arm);
  }

  /** It is over. */
  end(name: string): void {
    this.expected.get(name)?.never(new RejectError("unknown", `${name} has ended`));
    this.expected.delete(name);
  }

  /** @throws RejectError where there is none. */
  async of(name: string): Promise<Arm> {
    const expected = this.expected.get(name);
    if (expected === undefined) {
      const known = [...this.expected.keys()].join(", ") || "none";
      throw new RejectError("unknown", `no training here is called ${name}; there is ${known}`);
    }
    return expected.arm;
  }
}
