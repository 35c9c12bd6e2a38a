"""The loop against a plugin that speaks the real protocol over a real socket."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zmq
from safetensors.torch import load_file

from mixhead.bridge.codec import Tensors, decode, encode
from mixhead.bridge.protocol import (
    NEWEST_VERSION,
    Bye,
    Embeddings,
    Header,
    Hello,
    Ping,
    Pong,
    Result,
    Targets,
    Welcome,
)
from mixhead.worker import evaluate
from mixhead.worker.__main__ import main
from tests.worker.runs import COMPONENTS, DIM, clock, raw_config, reply, start_rows


class Plugin(threading.Thread):
    """Answers one worker: commands before step 0 and after each step as given; keeps what it was sent."""

    def __init__(
        self, folder: Path, config: dict[str, Any], commands: dict[int, list[str]], **welcome: Any
    ) -> None:
        super().__init__(daemon=True)
        self.endpoint = f"ipc://{folder}/bridge"
        self.commands, self.joint = commands, config["prototypes"] == "joint"
        self.first, self.welcome = welcome.pop("step", 0), {"config": config, "resume": None, **welcome}
        self.prototypes = start_rows()
        self.embeddings: list[tuple[Embeddings, Tensors]] = []
        self.results: list[tuple[Result, Tensors]] = []
        self.reason: str | None = None
        self.socket = zmq.Context.instance().socket(zmq.ROUTER)
        self.socket.bind(self.endpoint)
        self.start()

    def run(self) -> None:
        while self.reason is None:
            identity, *frames = self.socket.recv_multipart()
            header, tensors = decode(frames)
            answer = getattr(self, f"on_{header.kind}")(header, tensors)
            if answer is not None:
                self.socket.send_multipart([identity, *encode(*answer)])
        self.socket.close(0)

    def on_hello(self, header: Hello, tensors: Tensors) -> tuple[Header, Tensors]:
        out = {} if self.joint else {"prototypes": self.prototypes}
        config = json.dumps(self.welcome)
        commands = self.commands.get(-1, [])
        return Welcome(NEWEST_VERSION, header.generation, self.first, config, commands, None), out

    def on_embeddings(self, header: Embeddings, tensors: Tensors) -> tuple[Header, Tensors]:
        self.embeddings.append((header, tensors))
        step = header.step
        head = Targets(header.generation, step, clock(step), self.commands.get(step, []), None)
        if self.joint:
            return head, {}
        answer = reply(step, torch.from_numpy(tensors["h"]), self.prototypes)
        return head, {"rows": answer.rows, "indices": answer.indices, "targets": answer.targets}

    def on_result(self, header: Result, tensors: Tensors) -> None:
        self.results.append((header, tensors))

    def on_ping(self, header: Ping, tensors: Tensors) -> tuple[Header, Tensors]:
        return Pong(header.generation), {}

    def on_bye(self, header: Bye, tensors: Tensors) -> None:
        self.reason = header.reason


def run(plugin: Plugin) -> int:
    code = main(["--endpoint", plugin.endpoint, "--run", "test", "--deadline", "20"])
    plugin.join(timeout=20)
    assert not plugin.is_alive()
    return code


def start(
    tmp_path: Path, name: str, data_dir: Path, commands: dict[int, list[str]], **options: Any
) -> Plugin:
    folder = tmp_path / name
    folder.mkdir()
    welcome = {key: options.pop(key) for key in ("step", "resume") if key in options}
    return Plugin(
        folder,
        raw_config(**options),
        commands,
        dataDir=str(data_dir),
        checkpointDir=str(folder / "checkpoints"),
        **welcome,
    )


@pytest.mark.parametrize("arm", ["decoupled", "joint"])
def test_a_run_evaluates_checkpoints_and_stops_as_commanded(
    arm: str, tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
):
    last = ["evaluate", "probe", "checkpoint", "stop"]
    plugin = start(tmp_path, "run", data_dir, {-1: ["evaluate"], 2: last}, prototypes=arm)
    assert run(plugin) == 0
    assert plugin.reason == ""

    assert [header.step for header, _ in plugin.embeddings] == [0, 1, 2]
    assert [header.epoch for header, _ in plugin.embeddings] == [0, 0, 0]
    for header, tensors in plugin.embeddings:
        # What a step found travels with the next one.
        found = {"loss", "gradNorm", "spread", "online", "stepSeconds", "loadSeconds", "waitSeconds"}
        assert header.scalars.keys() == (found if header.step > 0 else set())
        if arm == "joint":
            assert not tensors
        else:
            np.testing.assert_allclose(np.linalg.norm(tensors["h"], axis=1), 1, rtol=1e-5)
            assert tensors["h"].shape == (16, DIM)

    commands = [(header.command, header.step) for header, _ in plugin.results]
    assert commands == [("evaluate", 0), *((command, 3) for command in last)]
    header, tensors = plugin.results[1]
    assert {"knn", "knn.10", "knn.20", "knn.100", "knn.200", "spread", "loss"} <= header.scalars.keys()
    assert {"alignment", "uniformity"} <= header.scalars.keys()
    assert json.loads(header.text["classNames"])[9] == "boot"
    assert tensors["classCounts"].shape == (10,) and tensors["classCounts"].sum() == 40
    assert header.scalars["knn"] == header.scalars["knn.20"]
    assert tensors["wins"].shape == (COMPONENTS,) and tensors["wins"].sum() == 40
    assert tensors["sample"].shape == (30, DIM) and tensors["labels"].tolist() == [i % 10 for i in range(30)]
    assert ("prototypes" in tensors) == (arm == "joint")

    probe, nearest = plugin.results[2]
    shown = tensors["wins"][nearest["nearestPrototypes"]]
    assert len(shown) == min(12, (tensors["wins"] > 0).sum())
    assert shown[-1] > 0 and (np.diff(shown) <= 0).all()
    assert nearest["nearestImages"].shape == (len(shown), 8, 32, 32, 3)
    assert nearest["nearestLabels"].shape == (len(shown), 8)

    folder = Path(plugin.results[3][0].text["path"])
    assert folder.name == "incoming-3" and folder.parent == tmp_path / "run" / "checkpoints"
    assert load_file(folder / "encoder.safetensors")["layers.0.weight"].shape == (16, 3, 3, 3)
    capsys.readouterr()
    config = json.dumps(raw_config(prototypes=arm))
    assert evaluate.main([str(folder), "--config", config, "--data-dir", str(data_dir), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["knn"]["20"] == header.scalars["knn"] and "groups" not in found
    assert json.loads(probe.text["evaluation"]) == found


@pytest.mark.parametrize("arm", ["decoupled", "joint"])
def test_a_resumed_run_sends_what_the_unbroken_one_would_have_sent(arm: str, tmp_path: Path, data_dir: Path):
    last = ["checkpoint", "stop"]
    commands = {0: ["evaluate"], 1: ["checkpoint"], 3: last}
    unbroken = start(tmp_path, "unbroken", data_dir, commands, prototypes=arm)
    assert run(unbroken) == 0
    halfway = unbroken.results[1][0].text["path"]
    resumed = start(tmp_path, "resumed", data_dir, {3: last}, prototypes=arm, step=2, resume=halfway)
    assert run(resumed) == 0
    assert [header.step for header, _ in resumed.embeddings] == [2, 3]
    for (left, left_h), (right, right_h) in zip(unbroken.embeddings[2:], resumed.embeddings, strict=True):
        for name in ("loss", "gradNorm", "spread", "online"):
            assert left.scalars[name] == right.scalars[name]
        if arm == "decoupled":
            assert np.array_equal(left_h["h"], right_h["h"])
    ends = [Path(plugin.results[-2][0].text["path"]) for plugin in (unbroken, resumed)]
    for name in ("encoder", "head", "student"):
        left, right = (load_file(folder / f"{name}.safetensors") for folder in ends)
        assert all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"encoder": {"name": "conv-smal"}}, 'no encoder "conv-smal"'),
        ({"method": "dyno"}, "mixhead/worker/methods: METHODS in its __init__.py has only dino, ibot, carp"),
        ({"data": {"name": "cifar10"}}, "CIFAR-10 is not here"),
        ({"step": 7}, "expects step 7"),
        ({"resume": "/nowhere"}, "the checkpoint /nowhere"),
    ],
)
def test_a_known_failure_is_one_sentence_on_both_sides(
    options: dict, sentence: str, tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
):
    plugin = start(tmp_path, "run", data_dir, {}, **options)
    assert run(plugin) == 2, "bad input"
    error = capsys.readouterr().err
    assert sentence in error and len(error.splitlines()) == 1
    assert plugin.reason is not None and sentence in plugin.reason


def test_a_plugin_that_is_not_there_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--endpoint", f"ipc://{tmp_path}/none", "--run", "test", "--deadline", "0.5"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
