"""Two ranks: one mixture of the whole batch, the same prototypes everywhere, and one end for all."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import zmq

import mixhead
from mixhead.bridge import DeadlinePassed
from mixhead.dropin.plugin_process import PluginProcess
from mixhead.dropin.ranks import Ranks, ranks
from mixhead.dropin.registry import mixture

from .heads import IN, lightly_head, with_teacher

ROOT = Path(__file__).parents[2]


Start = Callable[[str, int], list[subprocess.Popen]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """The ranks as torchrun starts them, but each left to its own fate; none outlives its test."""
    started = []

    def start(mode: str, world: int) -> list[subprocess.Popen]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(world)}
        ranks = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.dropin.rank", str(tmp_path), mode],
                cwd=ROOT,
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    "MIXHEAD_ENDPOINT": "",
                    "RANK": str(rank),
                    **group,
                },
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(world)
        ]
        started.extend(ranks)
        return ranks

    yield start
    for process in started:
        process.kill()
        process.wait()


def result(folder: Path, rank: int, world: int) -> list[torch.Tensor]:
    return torch.load(folder / f"result-{rank}-of-{world}.pt")


def test_two_ranks_train_as_one_with_the_whole_batch(tmp_path: Path, start: Start):
    for world in (1, 2):
        for process in start("train", world):
            _, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
    zero, one, alone = result(tmp_path, 0, 2), result(tmp_path, 1, 2), result(tmp_path, 0, 1)
    assert torch.equal(zero[0], one[0])
    for ours, theirs, whole in zip(zero, one, alone, strict=True):
        assert torch.equal(ours, theirs)
        torch.testing.assert_close(ours, whole, rtol=1e-5, atol=1e-5)


def test_a_rank_that_dies_ends_the_others_with_a_sentence(start: Start):
    zero, one = start("dies", 2)
    one.communicate(timeout=120)
    died = time.monotonic()
    _, err = zero.communicate(timeout=120)
    assert time.monotonic() - died < 30
    assert zero.returncode == 1
    assert "rank 1: its process ended or its connection broke" in err.splitlines()[-1], err


def test_torchrun_without_a_process_group_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match=r"call torch\.distributed\.init_process_group"):
        ranks(60)


def test_a_plugin_over_tcp_lets_in_those_who_have_its_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plugin = PluginProcess(
        ("--endpoint", "tcp://127.0.0.1:0", "--keys", str(tmp_path / "keys"), "backend=wasm")
    )
    config = {"bridge": {"deadline": 3}}
    monkeypatch.setenv("MIXHEAD_KEYS", str(tmp_path / "keys" / "client.json"))
    mixhead.attach(plugin.endpoint, config)
    student, teacher = with_teacher(lightly_head())
    teacher(torch.randn(4, IN))
    student(torch.randn(4, IN))
    assert mixture("default").save()[1].step == 1

    public, secret = (key.decode() for key in zmq.curve_keypair())
    stranger = {
        **json.loads((tmp_path / "keys" / "client.json").read_text()),
        "public": public,
        "secret": secret,
    }
    (tmp_path / "stranger.json").write_text(json.dumps(stranger))
    for keys in ("", str(tmp_path / "stranger.json")):
        monkeypatch.setenv("MIXHEAD_KEYS", keys)
        mixhead.attach(plugin.endpoint, config, "other")
        with pytest.raises(DeadlinePassed, match="its keys"):
            lightly_head(name="other")(torch.randn(2, IN))
    plugin.stop()


def test_keys_that_cannot_be_read_and_ranks_that_cannot_reach_the_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for content in ("", "{}", '{"server": "short", "public": "short", "secret": "short"}'):
        (tmp_path / "keys.json").write_text(content)
        with pytest.raises(ValueError, match=r"the keys in .*keys.json"):
            mixhead.attach(config={"bridge": {"keys": str(tmp_path / "keys.json")}})
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    with pytest.raises(
        RuntimeError, match=r"several machines.*mixhead serve --endpoint tcp://HOST:PORT --keys"
    ):
        Ranks(0, 2, 60).must_share_a_host()
