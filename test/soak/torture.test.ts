import { torture } from "./torture.ts";

describe("a training that is killed at random moments", function () {
  this.timeout(600_000);

  it("leaves bit for bit what the unbroken one leaves, no step twice and no process", () =>
    torture(3, 3, () => {}));
});
