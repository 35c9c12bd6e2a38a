"""A client that carries out the plugin's runs, whatever it waits for."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

import numpy as np
import pytest
import torch
from msgspec import msgpack, structs

from mixhead.bridge import BatchError, Client, DeadlinePassed, PeerLost, Rejected
from mixhead.bridge.errors import ProtocolError
from mixhead.bridge.protocol import (
    Bye,
    Embeddings,
    Error,
    Execute,
    Failed,
    Ping,
    Reject,
    State,
    Values,
    Welcome,
)
from mixhead.executor import KERNELS_VERSION, Executor, Outcome, Run
from tests.bridge.plugin import Plugin, info_of
from tests.executor.programs import definition, run_of, spec

K, D, N = 2, 2, 4

#: Prototypes that are uploaded at the start: handle 1.
START = Run(seq=1, uploads={1: np.ones((K, D), np.float32)}, prototypes=1)

#: A step: the rows doubled, which are the targets too, prototypes plus one number, and a vector of metrics.
STEP = definition(
    inputs=[spec(N, D), spec(K, D)],
    literals=[spec(), spec(2)],
    code=[
        ["Add", [0, 0], {}, [spec(N, D)]],
        ["Add", [1, 2], {}, [spec(K, D)]],
        ["Multiply", [3, 2], {}, [spec(2)]],
    ],
    outputs=[4, 5, 6],
)


def step_run(seq: int, prototypes: int, base: int, **more: object) -> Run:
    """A step from the prototypes' handle to new ones, base + 1, with the rows as base - 1."""
    named = {"rows": base - 1, "targets": base, "prototypes": base + 1, "metrics": base + 2}
    used = {"inputs": (base - 1, prototypes), "free": (base - 1, prototypes, base, base + 2)}
    run = run_of(STEP, seq=seq, literals=[0.5, 1, 2], base=base, **used, **named)
    return replace(run, **more)


@pytest.fixture
def client(plugin: Plugin) -> Iterator[Client]:
    """A client with an executor that the start has run on."""
    executor = Executor("cpu")
    with (
        Client(plugin.endpoint, "run", deadline=10, executor=executor) as client,
        ThreadPoolExecutor() as pool,
    ):
        hello = pool.submit(plugin.welcome, START)
        welcome = client.connect()
        assert welcome.prototypes is executor.prototypes
        assert (client.components, client.dim) == (K, D)
        assert hello.result().executor == KERNELS_VERSION
        assert hello.result().device == "cpu"
        yield client


def test_a_client_without_an_executor_says_so_and_refuses_runs(plugin: Plugin) -> None:
    with Client(plugin.endpoint, "run", deadline=10) as client, ThreadPoolExecutor() as pool:
        hello = pool.submit(plugin.welcome)
        client.connect()
        assert (hello.result().executor, hello.result().device) == (0, "")
        plugin.execute(Run(seq=1, reads=(1,)))
        client.send_embeddings(0, 0, None, {})
        plugin.targets(0)
        client.receive_targets(0)
        assert isinstance(plugin.receive()[0], Embeddings)
        failed, _ = plugin.receive()
        assert isinstance(failed, Failed)
        assert (failed.seq, failed.code) == (1, "program")
        with pytest.raises(ValueError, match="has an executor"):
            client.send_embeddings(1, 0, torch.ones(N, D), {}, announced=N)


def test_a_step_runs_on_announced_rows_and_its_metrics_travel_with_the_next(
    plugin: Plugin, client: Client
) -> None:
    rows = torch.arange(8.0, dtype=torch.float64).reshape(N, D)
    client.send_embeddings(0, 2, rows, {"loss": 1.0}, announced=N)
    rows.zero_()
    header, tensors = plugin.receive()
    assert (header.announced, header.epoch, tensors) == (N, 2, {})
    plugin.targets(0, step_run(2, prototypes=1, base=11))
    answer = client.receive_targets(0)
    assert answer.targets.tolist() == [[0, 2], [4, 6], [8, 10], [12, 14]]
    assert answer.prototypes.tolist() == [[1.5, 1.5]] * K
    client.send_embeddings(1, 2, rows, {}, announced=N)
    _, tensors = plugin.receive()
    assert tensors["metrics"].tolist() == [0.5, 1]
    plugin.targets(1, replace(step_run(3, prototypes=12, base=21), definition=None))
    assert client.receive_targets(1).prototypes.tolist() == [[2, 2]] * K
    client.send_embeddings(2, 2, None, {})
    assert plugin.receive()[1].keys() == {"metrics"}
    client.send_embeddings(2, 2, None, {})
    assert plugin.receive()[1] == {}


def test_runs_that_arrive_during_any_wait_are_carried_out_and_their_values_sent(
    plugin: Plugin, client: Client
) -> None:
    reads = Run(seq=2, reads=(1, 2), uploads={2: np.array([[True], [False]])})
    plugin.execute(reads)
    plugin.send(State(plugin.generation, 7))
    assert client.request_state() == (7, {})
    assert isinstance(plugin.receive()[0], State)
    header, values = plugin.receive()
    assert isinstance(header, Values)
    assert (header.seq, list(values)) == (2, ["0", "1"])
    assert values["0"].tolist() == [[1, 1]] * K
    assert values["1"].tolist() == [[True], [False]]
    plugin.execute(Run(seq=3, uploads={5: np.zeros((K, D), np.float32)}))
    plugin.send(Welcome(2, plugin.generation, 9, "", [], info_of(Run(seq=4, prototypes=5))))
    assert client.load_state(9, {}).prototypes.tolist() == [[0, 0]] * K


class Slow(Executor):
    """One on a slow device."""

    def run(self, run: Run) -> Outcome:
        time.sleep(0.15)
        return super().run(run)


def test_what_runs_take_on_the_device_is_not_the_plugins_silence(plugin: Plugin) -> None:
    executor = Slow("cpu")
    with (
        Client(plugin.endpoint, "run", deadline=10, executor=executor) as client,
        ThreadPoolExecutor() as pool,
    ):
        hello = pool.submit(plugin.welcome)
        client.connect()
        hello.result()
        client.deadline = 0.4
        client.send_embeddings(0, 0, None, {})
        for seq in range(1, 6):
            plugin.execute(Run(seq=seq))
        plugin.targets(0)
        assert client.receive_targets(0).step == 0


def test_a_plugin_that_sends_runs_for_ever_is_given_up_at_the_deadline(
    plugin: Plugin, client: Client
) -> None:
    client.deadline = 0.4
    client.send_embeddings(0, 0, None, {})
    ended = Event()

    def run_on() -> None:
        seq = 1
        while not ended.wait(0.02):
            seq += 1
            plugin.execute(Run(seq=seq))

    with ThreadPoolExecutor() as pool:
        running = pool.submit(run_on)
        try:
            with pytest.raises(DeadlinePassed, match=r"\d+ runs came, but no answer within 0.4 s"):
                client.receive_targets(0)
        finally:
            ended.set()
        running.result()


def test_the_same_run_again_is_not_run_again(plugin: Plugin, client: Client) -> None:
    for _ in range(2):
        client.send_embeddings(0, 0, torch.ones(N, D), {}, announced=N)
        plugin.targets(0, step_run(2, prototypes=1, base=11))
        assert client.receive_targets(0).prototypes.tolist() == [[1.5, 1.5]] * K
    assert client._device.executor.handles == {12}


def test_poll_executes_waiting_runs_and_keeps_other_messages(plugin: Plugin, client: Client) -> None:
    client.poll()
    client.send_embeddings(0, 0, torch.ones(N, D), {}, announced=N)
    plugin.targets(0, step_run(2, prototypes=1, base=11))
    plugin.send(Ping(plugin.generation))
    executor = client._device.executor
    until = time.monotonic() + 5
    while executor.handles == {1} and time.monotonic() < until:
        client.poll()
    assert executor.handles == {12}
    plugin.execute(Run(seq=3, uploads={4: np.ones(1, np.float32)}))
    while executor.handles == {12} and time.monotonic() < until:
        client.poll()
    answer = client.receive_targets(0)
    assert (answer.prototypes.tolist(), answer.targets.shape) == ([[1.5, 1.5]] * K, (N, K))


def test_a_goodbye_that_poll_received_is_the_reason(plugin: Plugin, client: Client) -> None:
    plugin.send(Bye(plugin.generation, "enough"))
    until = time.monotonic() + 5
    while not client._inbox and time.monotonic() < until:
        client.poll()
    with pytest.raises(PeerLost, match="it left: enough"):
        client.request_state()


def test_a_failed_run_is_reported_and_the_plugin_answers(plugin: Plugin, client: Client) -> None:
    client.send_embeddings(0, 0, torch.ones(N + 1, D), {}, announced=N + 1)
    plugin.targets(0, step_run(2, prototypes=1, base=11))
    plugin.send(Error(plugin.generation, 0, "plugin", -1, "Add of [5, 2] failed"))
    with pytest.raises(BatchError, match=r"Add of \[5, 2\] failed"):
        client.receive_targets(0)
    plugin.receive()
    failed, _ = plugin.receive()
    message = "input 0 is float32 [5, 2]; the program declares float32 [4, 2]"
    assert failed == Failed(plugin.generation, 2, -1, "shape", message, tensors=[])
    client.send_embeddings(0, 0, torch.ones(N, D), {}, announced=N)
    plugin.targets(0, replace(step_run(3, prototypes=1, base=11), definition=None))
    assert client.receive_targets(0).step == 0


def test_a_failed_start_is_reported_and_the_rejection_awaited(plugin: Plugin) -> None:
    executor = Executor("cpu", memory=8)
    with (
        Client(plugin.endpoint, "run", deadline=10, executor=executor) as client,
        ThreadPoolExecutor() as pool,
    ):

        def refuse() -> Failed:
            plugin.welcome(START)
            failed, _ = plugin.receive()
            plugin.send(Reject("state", failed.message))
            return failed

        failed = pool.submit(refuse)
        with pytest.raises(Rejected, match="would take"):
            client.connect()
        assert failed.result().code == "memory"


@pytest.mark.parametrize("announced", [N - 1, N + 1])
def test_rows_that_are_not_as_many_as_announced_are_refused(client: Client, announced: int) -> None:
    for rows in (torch.ones(N, D), torch.ones(announced), None):
        with pytest.raises(ValueError, match=f"{announced} rows are announced"):
            client.send_embeddings(0, 0, rows, {}, announced=announced)


def test_targets_of_another_number_of_rows_are_refused(plugin: Plugin, client: Client) -> None:
    client.send_embeddings(0, 0, np.ones((N, D), np.float32), {})
    plugin.targets(0, Run(seq=2, targets=1))
    with pytest.raises(ProtocolError, match="sent targets that do not fit"):
        client.receive_targets(0)


def test_serve_carries_out_runs_until_the_plugin_says_goodbye(plugin: Plugin, client: Client) -> None:
    plugin.execute(Run(seq=2, reads=(1,)))
    plugin.execute(Run(seq=3, reads=(8,)))
    plugin.execute(Run(seq=4, free=(1,)))
    plugin.send(Bye("another", "not meant"))
    plugin.send(Bye(plugin.generation, "done"))
    with ThreadPoolExecutor() as pool:
        served = pool.submit(client.serve)
        assert plugin.receive()[1]["0"].tolist() == [[1, 1]] * K
        assert plugin.receive()[0].code == "handle"
        assert served.result() == "done"


def test_serve_ends_with_the_connection(plugin: Plugin, client: Client) -> None:
    plugin.socket.close(0)
    with pytest.raises(PeerLost, match=r"waited for a goodbye .* connection broke"):
        client.serve()


def test_what_the_executor_holds_is_free_when_the_client_closes(client: Client) -> None:
    executor = client._device.executor
    assert executor.held > 0
    client.close()
    assert executor.held == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seq", 0),
        ("program", "0123"),
        ("program", "../0123456789abc"),
        ("inputs", [-1]),
        ("inputs", "1"),
        ("base", -1),
        ("free", [True]),
        ("reads", [1.5]),
        ("literals", b"1234"),
        ("literals", [1.0]),
        ("rows", -2),
        ("forget", 1),
        ("more", 1),
    ],
)
def test_an_invalid_run_is_refused(plugin: Plugin, client: Client, field: str, value: object) -> None:
    run = structs.asdict(info_of(Run(seq=1)))
    header = {"type": "execute", "generation": plugin.generation, "run": {**run, field: value}}
    plugin.socket.send_multipart([plugin.peer, msgpack.encode({**header, "tensors": []})])
    with pytest.raises(ProtocolError, match=r"the execute message is invalid: .* `\$\.run"):
        client.request_state()


def test_an_upload_that_names_no_handle_is_refused(plugin: Plugin, client: Client) -> None:
    header = Execute(plugin.generation, info_of(Run(seq=2)))
    plugin.send(header, **{"upload.x": np.ones(1, np.float32)})
    with pytest.raises(ProtocolError, match="which names no handle"):
        client.request_state()
