"""Two ranks: one mixture of the whole batch, the same prototypes everywhere, and one end for all."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
import zmq

import mixhead
from mixhead.bridge import Rejected
from mixhead.dropin.plugin_process import PluginProcess
from mixhead.dropin.ranks import Ranks, ranks
from mixhead.dropin.registry import mixture

from .heads import IN, lightly_head, with_teacher

ROOT = Path(__file__).parents[2]


#: `start(placement, world, *scenarios, rank_1=(), **environment)`; `rank_1`: a command that runs rank 1's.
Start = Callable[..., list[subprocess.Popen]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def start(folder: Path) -> Iterator[Start]:
    """The ranks as torchrun starts them, but each left to its own fate; none outlives its tests."""
    started = []

    def start(
        placement: str, world: int, *scenarios: str, rank_1: tuple[str, ...] = (), **environment: str
    ) -> list[subprocess.Popen]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(world)}
        own = {"OMP_NUM_THREADS": "1", "MIXHEAD_ENDPOINT": "", **group, **environment}
        program = [sys.executable, "-m", "tests.dropin.rank"]
        (folder / placement).mkdir(exist_ok=True)
        ranks = [
            subprocess.Popen(
                [*(rank_1 if rank == 1 else ()), *program, str(folder / placement), placement, *scenarios],
                cwd=ROOT,
                env={**os.environ, **own, "RANK": str(rank)},
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


#: What both worlds do, and what takes two ranks.
TOGETHER = ("trained_and_resumed", "uneven", "normed")
OF_TWO = ("saved_by_all", "joined_late", "moved")
ON_DEVICES = ("perturbed", "perturbed_unnoticed")

Result = Callable[..., list[torch.Tensor]]


@pytest.fixture(scope="module", params=["host", "device"])
def placement(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def ran(folder: Path, start: Start) -> Callable[[str], list[str]]:
    """Has the scenarios run under a placement, in a world of one and in one of two. What the two wrote to
    stderr."""

    @cache
    def ran(placement: str) -> list[str]:
        more = ON_DEVICES if placement == "device" else ()
        written = []
        for world, scenarios in ((1, TOGETHER), (2, (*TOGETHER, *OF_TWO, *more))):
            for process in start(placement, world, *scenarios):
                _, err = process.communicate(timeout=300)
                assert process.returncode == 0, err
                written.append(err)
        return written[1:]

    return ran


@pytest.fixture
def result(placement: str, folder: Path, ran: Callable[[str], list[str]]) -> Result:
    """What a scenario gave in a rank."""
    ran(placement)
    return lambda scenario, rank, world=2: torch.load(folder / placement / f"{scenario}-{rank}-of-{world}.pt")


def test_two_ranks_train_as_one_with_the_whole_batch_and_resume_bit_for_bit(result: Result):
    zero, one = (result("trained_and_resumed", rank) for rank in range(2))
    alone = result("trained_and_resumed", 0, 1)
    for ours, theirs, whole in zip(zero, one, alone, strict=True):
        assert torch.equal(ours, theirs)
        torch.testing.assert_close(ours, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("placement", ["device"])
def test_both_placements_train_the_same(folder: Path, result: Result, ran: Callable[[str], list[str]]):
    ran("host")
    there = torch.load(folder / "host" / "trained_and_resumed-0-of-2.pt")
    for ours, theirs in zip(result("trained_and_resumed", 0), there, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_ranks_may_bring_different_numbers_of_rows_or_none(placement: str, result: Result):
    (zero, *of_zero), (one, *of_one) = (result("uneven", rank) for rank in range(2))
    alone, *targets = result("uneven", 0, 1)
    assert torch.equal(zero, one)
    torch.testing.assert_close(zero, alone, rtol=1e-5, atol=1e-5)
    assert [len(each) for each in of_zero] == (
        [16, 3, 0, 9, 8] if placement == "host" else [16, 3, 0, 9, 0, 8]
    )
    for whole, *parts in zip(targets, of_zero, of_one, strict=True):
        torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-4, atol=1e-5)


def test_the_norm_over_all_ranks_is_that_of_the_whole_batch_even_if_one_rank_has_a_single_row(result: Result):
    zero, one = (result("normed", rank) for rank in range(2))
    alone = result("normed", 0, 1)
    statistics, rows = slice(2), slice(2, None)
    for ours, theirs, whole in zip(zero[statistics], one[statistics], alone[statistics], strict=True):
        assert torch.equal(ours, theirs)
        torch.testing.assert_close(ours, whole)
    for ours, theirs, whole in zip(zero[rows], one[rows], alone[rows], strict=True):
        torch.testing.assert_close(torch.cat([ours, theirs]), whole, rtol=1e-4, atol=1e-5)


def test_every_rank_may_save_whatever_the_others_wait_for(result: Result):
    states = [result("saved_by_all", rank) for rank in range(2)]
    for zero, one in zip(*states, strict=True):
        assert torch.equal(zero, one)


@pytest.mark.parametrize("scenario", ["joined_late", "moved"])
def test_ranks_may_join_at_different_times_and_their_heads_may_move(result: Result, scenario: str):
    (zero,), (one,) = (result(scenario, rank) for rank in range(2))
    assert torch.equal(zero, one)


@pytest.mark.parametrize("placement", ["device"])
def test_a_rank_whose_prototypes_drifted_gets_those_of_rank_0(
    result: Result, ran: Callable[[str], list[str]]
):
    (apart,) = result("perturbed", 0)
    assert apart[3] > 0 and not apart[4 + 1 :].any()
    (apart,) = result("perturbed_unnoticed", 0)
    # A sum of all prototypes is compared with what step 100 measures, which travels with step 101.
    assert (apart[50:101] > 0).all() and not apart[101:].any()
    for err in ran("device"):
        assert "rank 1 held other prototypes than rank 0" in err


@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_dies_ends_the_others_with_a_sentence(placement: str, start: Start, victim: int):
    ranks = start(placement, 2, "dies", VICTIM=str(victim), HOW="SIGKILL")
    ranks[victim].communicate(timeout=120)
    died = time.monotonic()
    _, err = ranks[1 - victim].communicate(timeout=120)
    assert time.monotonic() - died < 30
    assert ranks[1 - victim].returncode == 1
    # Which of the two it hears of first is a matter of chance: that rank, or the plugin that rank 0 owned.
    told = {
        0: "rank 1: waited for .* from the plugin|rank 1, step .: the plugin .* is gone",
        1: "rank 1: its process ended or its connection broke",
    }[victim]
    if placement == "device":
        told += f"|rank {1 - victim}: the teacher's rows of all ranks could not be gathered, a rank has ended"
    assert re.search(told, err.splitlines()[-1]), err


def test_a_plugin_that_dies_in_a_step_of_two_ranks_ends_both_with_a_sentence(placement: str, start: Start):
    ranks = start(placement, 2, "plugin_dies", DEADLINE="20")
    told = "the plugin .* (is gone|has ended)|waited for .* from the plugin|a rank has ended"
    for process in ranks:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 1
        assert re.search(told, err.strip().splitlines()[-1]), err


def test_a_rank_that_hangs_ends_the_others_by_the_deadline(placement: str, start: Start):
    zero, one = start(placement, 2, "dies", VICTIM="1", HOW="SIGSTOP", DEADLINE="12")
    _, err = zero.communicate(timeout=120)
    assert zero.returncode == 1
    late = {  # the plugin hears its heart beat no more
        "host": "rank 1: its process ended or its connection broke",
        "device": "a rank has sent none within 12 s",
    }
    assert late[placement] in err.splitlines()[-1], err
    one.kill()


#: What launchers say to the second of two processes: torchrun, srun, an older srun, mpirun.
LAUNCHERS = [
    {"WORLD_SIZE": "2", "RANK": "1"},
    {"SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"},
    {"SLURM_NTASKS": "2", "SLURM_PROCID": "1"},
    {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"},
    {"PMI_SIZE": "2", "PMI_RANK": "1"},
]
#: A process that is alone: in a batch script whose job could have more, in a task that says so, on a desk.
ALONE = [
    {"SLURM_NTASKS": "2", "SLURM_PROCID": "0"},
    {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "WORLD_SIZE": "1", "RANK": "0"},
    {"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"},
    {"WORLD_SIZE": "2"},
    {"WORLD_SIZE": "two", "RANK": "0"},
    {},
]


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Has a launcher's variables in the environment, and nobody else's."""
    for name in {name for case in (*LAUNCHERS, *ALONE) for name in case}:
        monkeypatch.delenv(name, raising=False)
    return lambda said: [monkeypatch.setenv(*each) for each in said.items()] and None


@pytest.mark.parametrize("said", LAUNCHERS)
def test_a_head_before_the_process_group_is_reported_in_one_sentence(
    launched: Callable[..., None], said: dict
):
    launched(said)
    with pytest.raises(RuntimeError, match=r"2 processes .* call torch\.distributed\.init_process_group"):
        lightly_head()(torch.randn(2, IN))


@pytest.mark.parametrize("said", ALONE)
def test_a_process_that_is_alone_needs_no_process_group(launched: Callable[..., None], said: dict):
    launched(said)
    assert ranks(60) == Ranks(0, 1, 60)


SEVERAL = r"rank 1 on .* cannot reach rank 0's plugin on .*mixhead serve --endpoint tcp://HOST:PORT --keys"


def assert_several_machines(ranks: list[subprocess.Popen]) -> None:
    """Both ranks end with the sentence, long before the deadline that they have."""
    for rank in ranks:
        _, err = rank.communicate(timeout=60)
        assert rank.returncode == 1 and re.search(SEVERAL, err.splitlines()[-1]), err


def test_ranks_on_several_machines_get_a_sentence_that_says_what_they_need(placement: str, start: Start):
    assert_several_machines(start(placement, 2, "elsewhere", DEADLINE="600"))


@pytest.mark.parametrize("placement", ["host"])
def test_ranks_without_a_shared_folder_for_sockets_get_a_sentence_that_says_what_they_need(
    placement: str, start: Start, tmp_path: Path
):
    """As in two containers of one machine: rank 1 has an empty folder in its place."""
    own_mounts = ("unshare", "--map-root-user", "--mount")
    if (
        shutil.which("unshare") is None
        or subprocess.run([*own_mounts, "true"], stderr=subprocess.DEVNULL).returncode
    ):
        pytest.skip("no mounts of one's own here")
    hidden = (*own_mounts, "sh", "-c", 'mount -t tmpfs none "$TMPDIR" && exec "$@"', "sh")
    environment = {"DEADLINE": "600", "TMPDIR": str(tmp_path)}
    assert_several_machines(start(placement, 2, "forward", rank_1=hidden, **environment))


def test_a_plugin_over_tcp_admits_clients_with_its_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
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
        with pytest.raises(Rejected, match="does not admit it"):
            lightly_head(name="other")(torch.randn(2, IN))
    plugin.stop()


def test_keys_that_cannot_be_read_are_reported_in_one_sentence(tmp_path: Path):
    for content in ("", "{}", '{"server": "short", "public": "short", "secret": "short"}'):
        (tmp_path / "keys.json").write_text(content)
        with pytest.raises(ValueError, match=r"the keys in .*keys.json"):
            mixhead.attach(config={"bridge": {"keys": str(tmp_path / "keys.json")}})
