import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { noteFailure } from "../../src/experiment/failure.ts";
import { Workplace } from "../api/support.ts";
import { leaveRun } from "../experiment/leave-run.ts";
import { mixhead } from "./command.ts";

describe("mixhead report", () => {
  const place = new Workplace();
  beforeEach(() => place.enter());
  afterEach(() => place.leave());

  it("writes one page of several runs, beside them or at --out", async () => {
    for (const name of ["a", "b"]) await leaveRun(name, { arms: ["joint"] });
    const beside = await mixhead(process.cwd(), "report", "a", "b");
    assert.deepEqual([beside.status, beside.stdout], [0, "runs/report-a-b.html\n"]);
    assert.match(await readFile("runs/report-a-b.html", "utf8"), /a\/joint.*b\/joint/s);
    const out = await mixhead(process.cwd(), "report", "a", "--out", "pages/a.html");
    assert.deepEqual([out.status, out.stdout], [0, "pages/a.html\n"]);
    assert.ok(existsSync("pages/a.html") && !existsSync("runs/a/report.html"));
  });

  it("leaves the summary of a run alone that has not ended", async () => {
    await leaveRun("a", { arms: ["joint"], reached: () => 50 });
    const { status, stdout } = await mixhead(process.cwd(), "report", "a");
    assert.deepEqual([status, stdout], [0, "runs/a/report.html\n"]);
    assert.ok(!existsSync("runs/a/summary.json"));
  });

  it("draws a run of which every training failed, and sums nothing up", async () => {
    const { jobs } = await leaveRun("a", { arms: ["joint"], reached: () => 50 });
    for (const job of jobs) await noteFailure(job, "it went wrong");
    const { status, stdout } = await mixhead(process.cwd(), "report", "a");
    assert.deepEqual([status, stdout], [0, "runs/a/report.html\n"]);
    assert.match(await readFile("runs/a/report.html", "utf8"), /it went wrong/);
    assert.ok(!existsSync("runs/a/summary.json"));
  });

  it("refuses a run that was never evaluated in one sentence", async () => {
    await leaveRun("a", { arms: ["joint"], reached: () => -1 });
    const { status, stderr } = await mixhead(process.cwd(), "report", "a");
    assert.deepEqual(
      [status, stderr],
      [2, "mixhead: runs/a has no evaluation yet, so there is nothing to show of it\n"],
    );
  });
});
