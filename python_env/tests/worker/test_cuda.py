"""The worker on a GPU: the same step as on the CPU, in every precision. Skipped where there is no CUDA."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mixhead.knn import knn_predictions
from mixhead.mirror import Mirror
from mixhead.worker.augment import Crop, augment
from mixhead.worker.frozen import Labelled
from mixhead.worker.linear import linear_probe
from mixhead.worker.randomness import generator
from mixhead.worker.spans import Spans
from mixhead.worker.state import State, choose_device, start
from mixhead.worker.step import finish, student_rows, teacher_rows
from tests.worker.runs import Reply, clock, config, reply, start_rows
from tests.worker.test_loop import run
from tests.worker.test_loop import start as start_plugin
from tests.worker.test_step import views_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")

ARMS = ["decoupled", "joint"]


@pytest.fixture(autouse=True)
def exact() -> None:
    """Products in whole float32, as on the CPU; a run leaves convolutions their TF32."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def begin(device: str, arm: str, **changes: object) -> State:
    state = start(config(device=device, prototypes=arm, **changes), choose_device(device))
    if state.mirror is not None:
        state.mirror = Mirror(torch.from_numpy(start_rows()).to(state.device))
    return state


def take_step(state: State) -> None:
    views = [view.to(state.device) for view in views_of(state)]
    h, z = teacher_rows(state, views[:1]), student_rows(state, views)
    assert h.device.type == z.device.type == state.device.type and h.dtype == z.dtype == torch.float32
    answer = reply(state.step, h.cpu(), start_rows()) if state.mirror else Reply(clock(state.step))
    finish(state, h, z, answer)


@pytest.mark.parametrize("arm", ARMS)
def test_steps_are_the_cpus(arm: str):
    cpu, cuda = begin("cpu", arm), begin("cuda", arm)
    for _ in range(3):
        take_step(cpu)
        take_step(cuda)
        assert float(cuda.measured["loss"]) == pytest.approx(float(cpu.measured["loss"]), rel=1e-3)
        # Not the parameters: of a bias before a batch norm the gradient is rounding, which AdamW scales up.
        rows = [teacher_rows(state, [views_of(state)[0].to(state.device)]).cpu() for state in (cpu, cuda)]
        torch.testing.assert_close(*rows, rtol=0, atol=1e-2)
        # The next step starts from equal weights, since its loss would double that rounding several times.
        for left, right in ((cpu.student, cuda.student), (cpu.teacher, cuda.teacher)):
            right.load_state_dict(left.state_dict())


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_starts_near_the_full_one_and_stays_finite(arm: str, precision: str):
    full, half = begin("cuda", arm), begin("cuda", arm, precision=precision)
    take_step(full)
    take_step(half)
    assert float(half.measured["loss"]) == pytest.approx(float(full.measured["loss"]), rel=0.03)
    for _ in range(3):
        take_step(half)  # the first of which the scaler may skip
    assert all(parameter.isfinite().all() for parameter in half.student.parameters())


def test_views_are_the_cpus():
    images = torch.randint(256, (16, 3, 32, 32), dtype=torch.uint8, generator=generator(0, "images"))
    crop = Crop(2, 24, (0.3, 1))
    views = [
        augment(
            images.to(device),
            crop,
            *(torch.full((3,), 0.4, device=device) for _ in range(2)),
            generator(0, "augment"),
        ).cpu()
        for device in ("cpu", "cuda")
    ]
    torch.testing.assert_close(*views, rtol=1e-4, atol=1e-4)


def test_evaluation_is_the_cpus():
    random = generator(0, "features")
    centres = torch.randn(5, 20, generator=random)

    def labelled(n: int) -> Labelled:
        y = torch.randint(5, (n,), generator=random)
        return Labelled(centres[y] + 2 * torch.randn(n, 20, generator=random), y)

    train, test = labelled(1000), labelled(500)
    found = []
    for device in map(torch.device, ("cpu", "cuda")):
        on, of = train.to(device), test.to(device)
        nearest = knn_predictions(on.x, on.y, of.x, 5)
        linear = linear_probe(on.x, on.y, of.x, 5)
        found.append(torch.stack([*nearest.values(), linear.predictions]).cpu())
    assert found[0].shape == (5, 500)
    assert (found[0] == found[1]).float().mean() > 0.995


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("method", ["dino", "carp", "swav", "msn", "pmsn"])
def test_a_run_evaluates_and_continues_from_its_checkpoint(
    method: str, precision: str, tmp_path: Path, data_dir: Path
):
    options = {"device": "cuda", "precision": precision, "method": method}
    last = ["evaluate", "probe", "checkpoint", "stop"]
    first = start_plugin(tmp_path, "first", data_dir, {-1: ["evaluate"], 2: last}, **options)
    assert run(first) == 0
    texts = {header.command: header.text for header, _ in first.results}
    assert 0 <= json.loads(texts["probe"]["evaluation"])["linear"] <= 1
    path = texts["checkpoint"]["path"]
    again = start_plugin(tmp_path, "again", data_dir, {4: ["stop"]}, step=3, resume=path, **options)
    assert run(again) == 0
    assert [header.step for header, _ in again.embeddings] == [3, 4]


def test_a_trace_shows_the_devices_own_time_on_the_hosts_clock(tmp_path: Path):
    a = torch.randn(4096, 4096, device="cuda")
    _ = a @ a
    torch.cuda.synchronize()
    with Spans(a.device, str(tmp_path / "trace.jsonl")) as span, span("step", 0):
        with span("queued"):
            for _ in range(20):
                a = (a @ a).tanh()
        with span("awaited"):
            torch.cuda.synchronize()
    events = [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text().splitlines()]
    lanes = {event["tid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    assert list(lanes.values()) == ["host", "device, stream 1"]
    spans = {(event["name"], lanes[event["tid"]]): event for event in events if event["ph"] == "X"}
    queued, worked = spans["queued", "host"], spans["queued", "device, stream 1"]
    awaited = spans["awaited", "host"]
    assert worked["dur"] > queued["dur"], "launching returns before the work is done"
    assert worked["ts"] > queued["ts"] - 200
    assert abs(worked["ts"] + worked["dur"] - (awaited["ts"] + awaited["dur"])) < 1000  # microseconds
