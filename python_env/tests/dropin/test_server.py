"""A plugin that outlives its scripts, `mixhead serve`: what it keeps of a mixture under each placement."""

import copy
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import mixhead
from mixhead.bridge import PeerLost, Rejected
from mixhead.dropin import registry
from mixhead.dropin.plugin_process import plugin_command
from mixhead.dropin.registry import mixture

from .heads import IN, lightly_head, with_teacher
from .test_life import start_script


class Server:
    """`mixhead serve`, which heeds SIGTERM, as a plugin that a script owns does not."""

    def __init__(self, *arguments: str) -> None:
        command = [*plugin_command(), "serve", "--json", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.endpoint = json.loads(self.process.stdout.readline())["endpoint"]

    def stop(self) -> None:
        """Ends it; one that still waits for a script is ended at once."""
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


Serve = Callable[[], Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a server that keeps its mixtures in one folder; one that is not its script's own."""
    started = []

    def serve() -> Server:
        started.append(Server("--state", str(tmp_path / "state"), "backend=wasm"))
        return started[-1]

    yield serve
    for each in started:
        each.stop()


def attach(server: Server, placement: str) -> None:
    mixhead.attach(server.endpoint, {"run": "mine", "placement": placement, "bridge": {"deadline": 30}})


def train_until_lost(on_step: Callable[[int], None]) -> tuple[int, torch.Tensor]:
    """The steps that were answered, and the prototypes that the last of them has left."""
    student, teacher = with_teacher(lightly_head())
    for step in range(10_000):
        try:
            with torch.no_grad():
                teacher(torch.randn(8, IN))
            on_step(step)
            student(torch.randn(8, IN))
        except PeerLost as error:
            assert "the server was stopped" in str(error)
            break
    the = mixture("default").steps
    return the.taken, the.in_use.rows.clone()


def test_a_stopped_server_saves_the_mixture_and_continues_with_it(serve: Serve, placement: str):
    server = serve()
    attach(server, placement)
    steps, prototypes = train_until_lost(
        lambda step: server.process.send_signal(signal.SIGTERM) if step == 5 else None
    )
    assert steps >= 5
    server.stop()
    for each in registry.mixtures():
        each.close()
    registry._mixtures.clear()

    attach(serve(), placement)
    student, teacher = with_teacher(lightly_head())
    assert torch.equal(mixhead.prototypes(), prototypes)
    assert mixture("default").save()[1].step == steps
    for _ in range(2):
        teacher(torch.randn(8, IN))
        student(torch.randn(8, IN))
    assert mixture("default").save()[1].step == steps + 2


KILLED = """
import os, signal, torch, mixhead
from mixhead.dropin.registry import mixture
from tests.dropin.heads import IN, lightly_head, with_teacher
mixhead.attach(config={{"run": "mine", "placement": "{placement}"}})
student, teacher = with_teacher(lightly_head())
for _ in range(3):
    teacher(torch.randn(8, IN))
    student(torch.randn(8, IN))
mixture("default").save()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_a_script_is_killed_its_mixture_is_kept_in_node_and_lost_on_a_device(
    serve: Serve, placement: str
):
    server = serve()
    script = start_script(KILLED.format(placement=placement), MIXHEAD_ENDPOINT=server.endpoint)
    _, err = script.communicate(timeout=60)
    assert script.returncode == -signal.SIGKILL, err
    attach(server, placement)
    head = lightly_head()
    head(torch.randn(2, IN))
    assert mixture("default").save()[1].step == (3 if placement == "host" else 0)


def test_a_script_learns_that_its_server_was_killed_and_continues_with_its_own_state_elsewhere(
    serve: Serve, placement: str
):
    server = serve()
    attach(server, placement)
    torch.manual_seed(1)
    student, teacher = with_teacher(lightly_head())
    take_steps(student, teacher, range(3))
    saved = [copy.deepcopy(head.state_dict()) for head in (student, teacher)]
    server.process.kill()
    with pytest.raises(PeerLost, match="its process ended or the connection broke"):
        take_steps(student, teacher, range(3, 1000))

    results = []
    for _ in range(2):  # another server knows nothing of the run
        attach(serve(), placement)
        student, teacher = with_teacher(lightly_head())
        for head, state in zip((student, teacher), saved, strict=True):
            head.load_state_dict(state)
        take_steps(student, teacher, range(3, 5))
        results.append(student.state_dict())
        del student, teacher
        registry.mixtures()[0].close()
        registry._mixtures.clear()
    assert results[0]["last_layer.mixture.step"] == 5
    assert all(torch.equal(tensor, results[1][name]) for name, tensor in results[0].items())


def test_a_script_that_starts_again_goes_back_to_its_own_checkpoint_whatever_the_server_has_seen_since(
    serve: Serve,
):
    server = serve()
    attach(server, "host")
    torch.manual_seed(1)
    student, teacher = with_teacher(lightly_head())
    take_steps(student, teacher, range(2))
    saved = [copy.deepcopy(head.state_dict()) for head in (student, teacher)]
    take_steps(student, teacher, range(2, 4))
    unbroken = student.state_dict()
    lose_the_script()

    attach(server, "host")
    student, teacher = with_teacher(lightly_head())
    for head, state in zip((student, teacher), saved, strict=True):
        head.load_state_dict(state)
    take_steps(student, teacher, range(2, 4))
    assert all(torch.equal(tensor, unbroken[name]) for name, tensor in student.state_dict().items())


def test_a_run_is_continued_only_with_the_secret_that_it_was_begun_with(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
):
    server = serve()
    attach(server, "host")
    take_steps(*with_teacher(lightly_head()), range(2))
    lose_the_script()

    def is_refused_to_another_account() -> None:
        with monkeypatch.context() as patch:
            patch.setenv("MIXHEAD_SECRET", "another account's")
            attach(server, "host")
            with pytest.raises(Rejected, match='run "mine" began with a secret') as raised:
                lightly_head()(torch.randn(2, IN))
        assert raised.value.code == "secret"
        registry._mixtures.clear()

    is_refused_to_another_account()
    server.stop()
    server = serve()
    is_refused_to_another_account()
    attach(server, "host")
    lightly_head()(torch.randn(2, IN))
    assert mixture("default").save()[1].step == 2


def take_steps(student: torch.nn.Module, teacher: torch.nn.Module, steps: range) -> None:
    for step in steps:
        rows = torch.randn(8, IN, generator=torch.Generator().manual_seed(step))
        with torch.no_grad():
            teacher(rows)
        student(rows)


def lose_the_script() -> None:
    """As a kill does: nobody says goodbye to the server."""
    for each in registry.mixtures():
        each.attachment.connection._client._link.close(deliver=False)
    registry._mixtures.clear()
