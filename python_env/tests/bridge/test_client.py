"""The client where there is no plugin, one that hangs, or one that breaks the protocol.

How it works with the real one is tested from TypeScript, in test/bridge/python.test.ts.
"""

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec import UNSET, msgpack, structs

from mixhead.bridge import BatchError, Client, DeadlinePassed, PeerLost
from mixhead.bridge.codec import decode
from mixhead.bridge.errors import ProtocolError
from mixhead.bridge.protocol import Bye, Embeddings, Error, Pong, Reject, State, Targets, Welcome
from tests.bridge.plugin import Plugin
from tests.bridge.test_codec import GOLDEN, golden


@pytest.fixture
def client(plugin: Plugin) -> Iterator[Client]:
    """A client that has been welcomed."""
    with Client(plugin.endpoint, "run", deadline=10) as client, ThreadPoolExecutor() as pool:
        hello = pool.submit(plugin.welcome)
        assert client.connect().prototypes.shape == (3, 2)
        hello.result()
        yield client


def test_a_plugin_that_is_not_there_is_waited_for_until_the_deadline(tmp_path: Path) -> None:
    expected = r'run "run", rank 1: waited for a welcome .* is it running'
    client = Client(f"ipc://{tmp_path}/nobody", "run", rank=1, world=2, deadline=0.2)
    with client, pytest.raises(DeadlinePassed, match=expected):
        client.connect()


def test_a_plugin_that_does_not_answer_a_hello_is_given_up_at_the_deadline(plugin: Plugin) -> None:
    with (
        Client(plugin.endpoint, "run", deadline=0.2) as client,
        pytest.raises(DeadlinePassed, match="not answer"),
    ):
        client.connect()


def test_an_invalid_endpoint_is_refused() -> None:
    with (
        Client("nonsense", "run") as client,
        pytest.raises(ValueError, match='"nonsense" is not an endpoint'),
    ):
        client.connect()


def test_a_plugin_that_hangs_is_given_up_at_the_deadline(client: Client) -> None:
    client.deadline = 0.2
    client.send_embeddings(4, 0, np.ones((1, 2), np.float32), {})
    with pytest.raises(DeadlinePassed, match=r"waited for targets of step 4 .* no sign of life for 0.2 s"):
        client.receive_targets(4)


def test_rows_may_be_changed_as_soon_as_they_are_sent(plugin: Plugin, client: Client) -> None:
    rows = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    client.send_embeddings(0, 1, rows, {"loss": 2.0})
    with torch.no_grad():
        rows.zero_()
    header, tensors = plugin.receive()
    assert (header.step, header.epoch, header.scalars) == (0, 1, {"loss": 2.0})
    assert tensors["h"].tolist() == [[1, 1], [1, 1]]
    assert tensors["h"].dtype == np.float32


def test_what_belongs_to_another_generation_or_step_is_passed_over(plugin: Plugin, client: Client) -> None:
    plugin.send(Targets("another", 1, {}, [], None))
    plugin.send(Targets(client._generation, 0, {}, ["stop"], None))
    plugin.send(Targets(client._generation, 1, {}, ["evaluate"], None))
    assert client.receive_targets(1).commands == ["evaluate"]


def sparse(offsets: list[int], columns: list[int]) -> dict[str, np.ndarray]:
    return {
        "targets.offsets": np.array(offsets, np.int32),
        "targets.columns": np.array(columns, np.int32),
        "targets.values": np.ones(len(columns), np.float32),
    }


@pytest.mark.parametrize(
    "tensors",
    [
        sparse([0, 1], [3]),
        sparse([0, 1], [-1]),
        sparse([0, 2], [1]),
        sparse([1, 1], [1]),
        sparse([0, 2, 1], [1]),
        sparse([0, 0, 1], [1]),
        {"targets.offsets": np.zeros(2, np.int32)},
        {"targets": np.ones((2, 3), np.float32)},
        {"targets": np.ones((1, 4), np.float32)},
        {"targets": np.ones((1, 3), np.int32)},
        {"rows": np.ones((2, 2), np.float32)},
        {"rows": np.ones((3, 5), np.float32)},
        {"rows": np.ones((1, 2), np.float32), "indices": np.array([3], np.int32)},
        {"rows": np.ones((2, 2), np.float32), "indices": np.array([0], np.int32)},
        {"indices": np.array([0], np.int32)},
        {"rows": np.full((3, 2), np.nan, np.float32)},
        {"rows": np.array([[1, 0], [np.inf, 0], [-np.inf, 0]], np.float32)},
        {"rows": np.float32(1)},
        {"rows": np.ones((1, 2), np.float32), "indices": np.int32(0)},
        {"rows": np.ones((1, 2), np.float32), "indices": np.array([[0]], np.int32)},
        {"targets": np.full((1, 3), np.nan, np.float32)},
        {**sparse([0, 1], [1]), "targets.values": np.full(1, np.nan, np.float32)},
        {**sparse([0, 1], [1]), "targets.offsets": np.int32(1)},
        {**sparse([0, 1], [1]), "targets.columns": np.zeros((1, 1), np.int32)},
        {**sparse([0, 1], [1]), "targets.values": np.ones(1, np.int32)},
        sparse([0, 2**31 - 1, -(2**31), 1], [1]),
    ],
)
def test_an_answer_that_does_not_fit_one_row_three_components_and_two_dimensions_is_refused(
    plugin: Plugin, client: Client, tensors: dict[str, np.ndarray]
) -> None:
    client.send_embeddings(0, 0, np.ones((1, 2), np.float32), {})
    plugin.targets(0, **tensors)
    with pytest.raises(ProtocolError, match="the plugin sent"):
        client.receive_targets(0)


def test_a_hello_from_the_plugin_is_ignored(plugin: Plugin, client: Client) -> None:
    header, _ = decode(golden(next(path for path in GOLDEN if path.stem == "hello")))
    plugin.send(structs.replace(header, generation=client._generation))
    client.send_embeddings(0, 0, None, {})
    plugin.targets(0)
    assert client.receive_targets(0).step == 0


def test_a_pong_of_another_generation_is_no_sign_of_life(plugin: Plugin, client: Client) -> None:
    client.deadline = 0.5
    client.send_embeddings(0, 0, None, {})
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(client.receive_targets, 0)
        for _ in range(100):
            plugin.send(Pong("another"))
            if waiting.done():
                break
            time.sleep(0.05)
        with pytest.raises(DeadlinePassed):
            waiting.result(0)


def test_a_shape_of_a_megabyte_is_refused_without_multiplying_it_out(plugin: Plugin, client: Client) -> None:
    info = {"name": "rows", "dtype": "float32", "shape": [2**31] * 60_000, "frames": 1}
    header = {"type": "targets", "generation": client._generation, "step": 0, "scalars": {}, "commands": []}
    client.send_embeddings(0, 0, None, {})
    plugin.receive()
    plugin.socket.send_multipart(
        [plugin.peer, msgpack.encode({**header, "run": None, "tensors": [info]}), bytes(8)]
    )
    with pytest.raises(ProtocolError, match=r"the targets message .* at `\$.tensors\[0\].shape`"):
        client.receive_targets(0)


def test_a_start_or_a_state_of_the_wrong_kind_is_refused(plugin: Plugin, client: Client) -> None:
    plugin.send(State(client._generation, 0), sums=np.zeros(2, np.int32))
    with pytest.raises(ProtocolError, match='"sums" is int32'):
        client.request_state()
    welcome = Welcome(2, client._generation, 0, "{}", [], None)
    plugin.send(welcome, prototypes=np.full((3, 2), np.nan, np.float32))
    with pytest.raises(ProtocolError, match="prototypes that are not finite"):
        client.load_state(0, {})


def test_what_the_plugin_says_moves_no_cursor(plugin: Plugin, client: Client) -> None:
    plugin.send(Error(client._generation, 0, "plugin", -1, "\x1b[2Jgone" + "x" * 100_000))
    with pytest.raises(BatchError) as raised:
        client.receive_targets(0)
    assert r"\x1b[2Jgone" in str(raised.value)
    assert len(str(raised.value)) < 3000


def test_a_lost_plugin_is_noticed_and_stays_lost(plugin: Plugin, client: Client) -> None:
    plugin.socket.close(0)
    with pytest.raises(PeerLost, match=r"targets of step 0 .* the connection broke"):
        client.receive_targets(0)
    with pytest.raises(PeerLost, match=r"step 1: the plugin .* is gone"):
        client.send_embeddings(1, 0, None, {})
    client.close()
    client.close()


def test_a_goodbye_that_arrived_between_calls_is_the_reason(plugin: Plugin, client: Client) -> None:
    plugin.send(Bye(client._generation, "the server was stopped"))
    plugin.socket.close(1000)
    while not client._is_lost():
        time.sleep(0.01)
    with pytest.raises(PeerLost, match=r"step 1: the plugin .* it left: the server was stopped"):
        client.send_embeddings(1, 0, None, {})


def _use_in_fork(client: Client, answers: "multiprocessing.Queue[str]") -> None:
    try:
        client.send_embeddings(0, 0, None, {})
    except RuntimeError as error:
        answers.put(str(error))
    client.close()


def test_a_fork_cannot_use_its_parents_client(plugin: Plugin, client: Client) -> None:
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()
    child = fork.Process(target=_use_in_fork, args=(client, answers))
    child.start()
    sentence = answers.get(timeout=20)
    child.join(20)
    assert f"belongs to process {os.getpid()}" in sentence
    assert child.exitcode == 0
    client.send_embeddings(0, 0, None, {})
    assert isinstance(plugin.receive()[0], Embeddings)


def test_a_client_speaks_version_2_to_a_plugin_of_version_2(plugin: Plugin) -> None:
    with ThreadPoolExecutor() as pool, Client(plugin.endpoint, "r", secret="s") as client:
        joining = pool.submit(client.connect)
        newest = plugin.hello()
        assert (newest.version, newest.oldest, newest.secret) == (3, 2, "s")
        plugin.send(Reject("version", "version 3 is not spoken here"))
        older = plugin.hello()
        assert older.version == 2
        assert (older.oldest, older.secret, older.capabilities) == (UNSET, UNSET, UNSET)
        plugin.send(Welcome(2, plugin.generation, 7, "{}", [], None))
        assert joining.result(10).step == 7
